//! Drafts without a model: what they find, and greedy equality with them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;

use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::{
    Cascade, Draft, NoDraft, PromptLookup, Proposal, Sampler, SeededUniform, SessionConfig,
    SuffixLookup, TokenId, Transform, generate, generate_plain,
};
use proptest::prelude::*;

fn proposed(draft: &mut impl Draft, context: &[TokenId], gamma: usize) -> Vec<TokenId> {
    let (transform, mut rng) = (Transform::default(), SeededUniform::new(0));
    let mut out = Proposal::new();
    draft
        .propose(
            context,
            gamma,
            &mut Sampler::new(&transform, &mut rng),
            &mut out,
        )
        .unwrap();
    out.tokens().to_vec()
}

/// Length of the longest ending that occurs earlier, by trying all of them.
fn longest_repeat(text: &[TokenId]) -> usize {
    (1..text.len())
        .rev()
        .find(|&n| {
            let ending = &text[text.len() - n..];
            text[..text.len() - 1].windows(n).any(|w| w == ending)
        })
        .unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 400 }) })]

    #[test]
    fn the_longest_repeated_ending_is_found(
        text in prop::collection::vec(0u32..3, 1..60),
        shortest in 1usize..5,
    ) {
        let mut lookup = SuffixLookup::new(shortest);
        // In steps, as a session sees its context grow.
        for end in (1..=text.len()).step_by(3).chain([text.len()]) {
            let seen = &text[..end];
            let got = proposed(&mut lookup, seen, 4);
            lookup.truncate(seen.len()).unwrap();
            let longest = longest_repeat(seen);
            if longest < shortest {
                prop_assert!(got.is_empty());
                continue;
            }
            let ending = &seen[end - longest..];
            let fits = (longest..end).any(|i| {
                seen[..i].ends_with(ending) && seen[i..].iter().take(4).eq(got.iter())
            });
            prop_assert!(fits, "{:?} behind {:?}", got, seen);
        }
    }

    #[test]
    fn lookups_keep_the_greedy_output(seed in any::<u64>(), prompt in prop::collection::vec(0u32..6, 1..9)) {
        let config = SessionConfig {
            max_new_tokens: if cfg!(miri) { 6 } else { 30 },
            transform: Transform::greedy(),
            ..SessionConfig::default()
        };
        let table = Table::new(6, 1, seed);
        let mut target = MockTarget::new(table.clone());
        let expected = generate_plain(&mut target, &prompt, &config, |_| ControlFlow::Continue(()));
        let expected = expected.unwrap().tokens;
        let go = |draft: &mut dyn FnMut(&mut MockTarget) -> Vec<TokenId>| draft(&mut MockTarget::new(table.clone()));
        let suffix = go(&mut |t| {
            let mut draft = SuffixLookup::default();
            generate(&mut draft, t, &prompt, &config, |_| ControlFlow::Continue(())).unwrap().tokens
        });
        let cascade = go(&mut |t| {
            let inner = Cascade::new(PromptLookup::new(2, 3), NoDraft);
            let mut draft = Cascade::new(inner, MockDraft::new(table.clone().with_noise(1, 2.0)));
            generate(&mut draft, t, &prompt, &config, |_| ControlFlow::Continue(())).unwrap().tokens
        });
        prop_assert_eq!(&suffix, &expected);
        prop_assert_eq!(&cascade, &expected);
    }
}

#[test]
fn a_new_text_starts_afresh() {
    let mut lookup = SuffixLookup::new(1);
    assert_eq!(proposed(&mut lookup, &[1, 2, 1], 3), [2, 1]);
    assert_eq!(proposed(&mut lookup, &[3, 4, 3], 3), [4, 3]);
    lookup.truncate(0).unwrap();
    assert!(proposed(&mut lookup, &[1, 2], 3).is_empty());
}

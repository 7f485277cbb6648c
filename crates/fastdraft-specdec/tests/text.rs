//! Drafting across tokenizers by text gives what plain decoding gives.
#![cfg(feature = "text")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;
use std::ops::ControlFlow;

use fastdraft_specdec::mock::{MockError, MockTarget, Table};
use fastdraft_specdec::text::{StringMatch, Tokenizer};
use fastdraft_specdec::{
    DraftModel, LogitRows, SessionConfig, Stop, Target, TokenId, Transform, Vocabulary, generate,
    generate_plain,
};
use proptest::prelude::*;

/// Takes the longest token that fits; a byte that no token begins with is left out.
struct Longest(&'static [&'static str]);

impl Tokenizer for Longest {
    type Error = Infallible;
    fn decode(&self, tokens: &[TokenId], out: &mut Vec<u8>) -> Result<(), Infallible> {
        for &token in tokens {
            out.extend_from_slice(self.0[token as usize].as_bytes());
        }
        Ok(())
    }
    fn encode(&self, mut text: &[u8], out: &mut Vec<TokenId>) -> Result<(), Infallible> {
        while !text.is_empty() {
            let fits = |(_, t): &(u32, &&str)| !t.is_empty() && text.starts_with(t.as_bytes());
            let best = (0..).zip(self.0).filter(fits).max_by_key(|(_, t)| t.len());
            let length = best.map_or(1, |(_, t)| t.len());
            out.extend(best.map(|(token, _)| token));
            text = &text[length..];
        }
        Ok(())
    }
}

const TARGET: Longest = Longest(&["a", "b", "c", "ab", "bc", "ca", "abc", ""]);
const DRAFT: Longest = Longest(&["c", "a", "b", "aa", "cab"]);
/// Cannot write "b" at all.
const POOR: Longest = Longest(&["a", "ca", "c"]);

/// A draft model that checks that its cache is a prefix of what it is asked about.
struct Model {
    table: Table,
    size: usize,
    cache: Vec<TokenId>,
}

impl DraftModel for Model {
    type Error = MockError;
    fn logits(&mut self, context: &[TokenId], out: &mut Vec<f32>) -> Result<(), MockError> {
        assert!(context.starts_with(&self.cache), "stale cache");
        self.cache = context.to_vec();
        out.clear();
        out.extend((0..self.size as TokenId).map(|t| self.table.logit(context, t)));
        Ok(())
    }
    fn truncate(&mut self, len: usize) -> Result<(), MockError> {
        self.cache.truncate(len);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 600 }) })]

    #[test]
    fn greedy_output_equals_plain_decoding(
        seed in any::<u64>(),
        prompt in prop::collection::vec(0u32..8, 1..12),
        gamma in 0usize..7,
        max_new_tokens in 0usize..40,
        stop in 0u32..9,
        poor in any::<bool>(),
    ) {
        let table = Table::new(8, 2, seed);
        let config = SessionConfig {
            gamma,
            max_new_tokens,
            transform: Transform::greedy(),
            stop: Stop::token(stop),
            seed,
        };
        let go = |_: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
        let mut target = MockTarget::new(table);
        let plain = generate_plain(&mut target, &prompt, &config, go).unwrap();
        let tokenizer = if poor { POOR } else { DRAFT };
        let size = tokenizer.0.len();
        let model = Model { table: Table::new(size, 3, seed ^ 1), size, cache: Vec::new() };
        let mut draft = StringMatch::new(model, tokenizer, TARGET);
        for _ in 0..2 {
            let fast = generate(&mut draft, &mut target, &prompt, &config, go).unwrap();
            prop_assert_eq!(&fast.tokens, &plain.tokens);
            prop_assert_eq!(fast.stop_reason, plain.stop_reason);
        }
    }
}

/// Writes "abc" over and over, in its longest tokens.
struct Alphabet(Vocabulary, Vec<u8>);

impl Target for Alphabet {
    type Error = Infallible;
    fn vocabulary(&self) -> &Vocabulary {
        &self.0
    }
    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), Infallible> {
        let size = TARGET.0.len();
        let rows = out.reset(proposal.len() + 1, size).chunks_mut(size);
        for (index, row) in rows.enumerate() {
            self.1.clear();
            TARGET.decode(context, &mut self.1)?;
            TARGET.decode(&proposal[..index], &mut self.1)?;
            let coming = match self.1.last() {
                Some(b'a') => "bc",
                Some(b'b') => "ca",
                _ => "abc",
            };
            for (logit, token) in row.iter_mut().zip(TARGET.0) {
                let fits = !token.is_empty() && coming.starts_with(token);
                *logit = if fits { token.len() as f32 } else { -1.0 };
            }
        }
        Ok(())
    }
    fn truncate(&mut self, _: usize) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn text_that_agrees_is_accepted_whatever_the_tokens() {
    // One letter at a time, in other ids than the target's.
    let table =
        [(0, 1), (1, 2), (2, 0)]
            .into_iter()
            .fold(Table::new(5, 1, 0), |table, (last, next)| {
                let logits: Vec<f32> = (0..5).map(|t| if t == next { 9.0 } else { 0.0 }).collect();
                table.with_row(&[last], &logits)
            });
    let model = Model {
        table,
        size: 5,
        cache: Vec::new(),
    };
    let mut draft = StringMatch::new(model, DRAFT, TARGET);
    let mut target = Alphabet(Vocabulary::new(TARGET.0.len(), 0), Vec::new());
    let config = SessionConfig {
        gamma: 6,
        max_new_tokens: 60,
        transform: Transform::greedy(),
        ..SessionConfig::default()
    };
    let go = |_: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
    let got = generate(&mut draft, &mut target, &[6], &config, go).unwrap();
    assert_eq!(got.tokens, vec![6; 60]);
    // Six letters are two of the target's tokens, so a pass gives three.
    assert!(
        got.metrics.acceptance_rate() > Some(0.9),
        "{:?}",
        got.metrics
    );
    assert!(
        got.metrics.block_efficiency() > Some(2.5),
        "{:?}",
        got.metrics
    );
}

//! A draft interpolated with repetitions: its distributions by hand, and what it asks its draft.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;
use std::ops::ControlFlow;

use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::{
    Distribution, Draft, Interpolated, NoDraft, Proposal, Sampler, SeededUniform, Session,
    SessionConfig, TokenId, Transform, gamma::ConfidenceThreshold, generate, generate_plain,
};
use proptest::prelude::*;

const WEIGHTS: [f64; 4] = [0.0, 0.25, 0.5, 0.85];

/// Always says the same, and notes how long the contexts were that it was asked about.
struct Constant {
    says: Distribution,
    asked: Vec<usize>,
}

impl Constant {
    fn new(tokens: &[TokenId]) -> Self {
        let share = 1.0 / tokens.len() as f64;
        let says = Distribution::from_parts(tokens.to_vec(), vec![share; tokens.len()]).unwrap();
        Self {
            says,
            asked: Vec::new(),
        }
    }
}

impl Draft for Constant {
    type Error = Infallible;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Infallible> {
        assert_eq!(gamma, 1, "every token is decided anew");
        self.asked.push(context.len());
        out.push(sampler.draw(&self.says).unwrap(), &self.says);
        Ok(())
    }

    fn truncate(&mut self, _len: usize) -> Result<(), Infallible> {
        Ok(())
    }
}

fn propose(
    draft: &mut impl Draft,
    context: &[TokenId],
    gamma: usize,
    transform: &Transform,
) -> Proposal {
    let (mut rng, mut out) = (SeededUniform::new(3), Proposal::new());
    let mut sampler = Sampler::new(transform, &mut rng);
    draft
        .propose(context, gamma, &mut sampler, &mut out)
        .unwrap();
    out
}

/// Length of the longest ending of `text` that occurs before in its first `known` tokens, with
/// everything that follows it there, by trying all of them.
fn longest(text: &[TokenId], known: usize) -> (usize, Vec<TokenId>) {
    let ends = |n: usize| {
        let ending = &text[text.len() - n..];
        (n..=known.min(text.len() - 1)).filter(move |&end| text[end - n..end] == *ending)
    };
    let n = (1..text.len()).rev().find(|&n| ends(n).next().is_some());
    let n = n.unwrap_or(0);
    (n, ends(n).map(|end| text[end]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 300 }) })]

    #[test]
    fn every_token_comes_from_the_weighed_sum(
        context in prop::collection::vec(0u32..4, 2..40),
        one_at_a_time in any::<bool>(),
    ) {
        let constant = Constant::new(&[1, 3]);
        let q = constant.says.clone();
        let mut draft = Interpolated::with_weights(constant, &WEIGHTS);
        let mut text = context.clone();
        let mut drafted: Vec<(TokenId, Distribution)> = Vec::new();
        for gamma in if one_at_a_time { vec![1; 4] } else { vec![4] } {
            let out = propose(&mut draft, &text, gamma, &Transform::default());
            text.extend(out.tokens());
            drafted.extend(out.tokens().iter().copied().zip(out.distributions().iter().cloned()));
        }
        prop_assert_eq!(drafted.len(), 4);
        for (index, (token, got)) in drafted.iter().enumerate() {
            prop_assert!(got.validate().is_ok() && got.probability(*token) > 0.0);
            let seen = &text[..context.len() + index];
            let (length, following) = longest(seen, context.len());
            let weight = WEIGHTS[length.min(3)];
            let fits = following.iter().chain((weight == 0.0).then_some(&0)).any(|&repeated| {
                (0..4).all(|t| {
                    let r = if t == repeated { weight } else { 0.0 };
                    (got.probability(t) - (1.0 - weight) * q.probability(t) - r).abs() < 1e-12
                })
            });
            prop_assert!(fits, "{:?} behind {:?}", got, seen);
        }
    }

    #[test]
    fn greedy_output_stays(seed in any::<u64>(), prompt in prop::collection::vec(0u32..6, 1..12)) {
        let config = SessionConfig {
            max_new_tokens: if cfg!(miri) { 6 } else { 30 },
            transform: Transform::greedy(),
            ..SessionConfig::default()
        };
        let table = Table::new(6, 1, seed);
        let plain = generate_plain(&mut MockTarget::new(table.clone()), &prompt, &config, |_| ControlFlow::Continue(())).unwrap();
        let draft = || Interpolated::new(MockDraft::new(table.clone().with_noise(1, 2.0)));
        let fixed = generate(&mut draft(), &mut MockTarget::new(table.clone()), &prompt, &config, |_| ControlFlow::Continue(())).unwrap();
        let mut session = Session::new(draft(), MockTarget::new(table.clone()), &prompt, &config)
            .unwrap()
            .with_policy(ConfidenceThreshold { max: 5, threshold: 0.6 });
        while session.advance().unwrap().is_some() {}
        prop_assert_eq!(&fixed.tokens, &plain.tokens);
        prop_assert_eq!(session.tokens(), &plain.tokens);
    }
}

#[test]
fn a_sure_repetition_asks_no_draft() {
    let context = [9, 1, 2, 3, 4, 5, 8, 9, 1, 2, 3];
    let mut constant = Constant::new(&[1, 3]);
    let mut draft = Interpolated::with_weights(&mut constant, &[0.0, 0.2, 0.4, 0.6, 0.9]);
    let sampled = propose(&mut draft, &context, 3, &Transform::default());
    assert_eq!(sampled.tokens(), [4, 5, 8]);
    // An ending of three tokens is not sure, but more likely than what the draft says.
    let greedy = propose(&mut draft, &context[1..], 2, &Transform::greedy());
    assert_eq!(greedy.tokens(), [4, 5]);
    let unsure = propose(&mut draft, &[7, 5, 6, 7], 1, &Transform::greedy());
    assert_eq!(unsure.tokens(), [1]);
    assert_eq!(constant.asked, [4]);
}

#[test]
fn tokens_that_the_draft_does_not_know_are_copied() {
    let mut draft = Interpolated::with_weights(Constant::new(&[1, 3]), &[0.0, 0.4]);
    let out = propose(&mut draft, &[7, 5, 6, 7], 1, &Transform::default());
    let says = &out.distributions()[0];
    assert_eq!(says.tokens(), [1, 3, 5]);
    assert_eq!(says.probabilities(), [0.3, 0.3, 0.4]);
}

#[test]
fn weights_are_brought_between_0_and_1() {
    let weights = [f64::NAN, -1.0, 7.0];
    let mut draft = Interpolated::with_weights(Constant::new(&[1, 3]), &weights);
    let transform = Transform::default();
    let nothing = propose(&mut draft, &[5, 6], 1, &transform);
    assert_eq!(nothing.distributions()[0].tokens(), [1, 3]);
    draft.truncate(0).unwrap();
    let negative = propose(&mut draft, &[5, 6, 7, 5], 1, &transform);
    assert_eq!(negative.distributions()[0].tokens(), [1, 3]);
    draft.truncate(0).unwrap();
    let certain = propose(&mut draft, &[5, 6, 7, 5, 6], 1, &transform);
    assert_eq!(certain.distributions()[0], Distribution::one_hot(7));
    let without = propose(
        &mut Interpolated::with_weights(Constant::new(&[2]), &[]),
        &[5, 5, 5],
        1,
        &transform,
    );
    assert_eq!(without.tokens(), [2]);
}

#[test]
fn where_the_draft_has_nothing_repetitions_are_copied() {
    let mut draft = Interpolated::with_weights(NoDraft, &[0.0, 0.2]);
    let out = propose(&mut draft, &[7, 5, 6, 7], 5, &Transform::default());
    assert_eq!(out.tokens(), [5, 6, 7, 5, 6]);
    assert_eq!(out.distributions()[4], Distribution::one_hot(6));
    draft.truncate(0).unwrap();
    assert!(propose(&mut draft, &[7, 5, 6], 5, &Transform::default()).is_empty());
}

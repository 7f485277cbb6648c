//! A draft and a target, and how far a law is from the target's.

use std::collections::BTreeMap;

use fastdraft_specdec::mock::Table;
use fastdraft_specdec::{Distribution, Rule, TokenId, Transform, TransformError};

/// Probabilities of the blocks that a step can give.
pub type Law = BTreeMap<Vec<TokenId>, f64>;

/// A pair of models behind `prompt`, with the rule and transform that decode them.
#[derive(Clone, Debug)]
pub struct Models {
    pub rule: Rule,
    pub size: TokenId,
    /// The tokens that the draft knows.
    pub kept: Vec<TokenId>,
    pub target: Table,
    pub draft: Table,
    pub transform: Transform,
    pub prompt: Vec<TokenId>,
}

impl Models {
    pub fn new(size: TokenId, seed: u64, transform: Transform) -> Self {
        let target = Table::new(size as usize, 2, seed);
        Self {
            rule: Rule::Rejection,
            size,
            kept: (0..size).collect(),
            draft: target.clone().with_noise(seed + 1, 3.0),
            target,
            transform,
            prompt: vec![1],
        }
    }

    /// These models under each rule that is lossless: at temperature 0 both, else rejection alone.
    pub fn under_each_rule(&self) -> impl Iterator<Item = Self> {
        let rules = [Rule::Rejection, Rule::Greedy];
        let count = 1 + usize::from(self.transform.is_greedy());
        let with = |rule| Self {
            rule,
            ..self.clone()
        };
        rules.into_iter().take(count).map(with)
    }

    /// The target's distribution after `history`.
    pub fn p(&self, history: &[TokenId]) -> Distribution {
        let logits = (0..self.size).map(|t| self.target.logit(history, t));
        let logits: Vec<f32> = logits.collect();
        let mut out = Distribution::new();
        self.transform.apply(&logits, history, &mut out).unwrap();
        out
    }

    /// The draft's, `None` when the transform permits none of its tokens.
    pub fn q(&self, history: &[TokenId]) -> Option<Distribution> {
        let logits = self.kept.iter().map(|&t| self.draft.logit(history, t));
        let logits: Vec<f32> = logits.collect();
        let mut out = Distribution::new();
        let applied = self
            .transform
            .apply_subset(&logits, &self.kept, history, &mut out);
        if applied == Err(TransformError::NoSupport) {
            return None;
        }
        applied.unwrap();
        Some(out)
    }

    /// Largest deviation of `law` from the target's, over the first `length` tokens.
    ///
    /// Blocks that are shorter count as completed by the target.
    pub fn deviation(&self, law: &Law, length: usize) -> f64 {
        let mut worst = (law.values().sum::<f64>() - 1.0).abs();
        let mut stack = vec![(Vec::new(), 1.0, 0.0)];
        while let Some((sequence, wanted, got)) = stack.pop() {
            if sequence.len() == length {
                worst = worst.max(f64::abs(wanted - got));
                continue;
            }
            let history: Vec<_> = self.prompt.iter().chain(&sequence).copied().collect();
            let p = self.p(&history);
            for token in 0..self.size {
                let mut longer = sequence.clone();
                longer.push(token);
                let ended = law.get(&longer).copied().unwrap_or(0.0);
                let share = p.probability(token);
                stack.push((longer, wanted * share, got * share + ended));
            }
        }
        worst
    }
}

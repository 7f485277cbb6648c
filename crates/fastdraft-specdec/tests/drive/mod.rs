//! Public entry points driven by arbitrary bytes: whatever they are, nothing may panic.
//!
//! Each tells whether the bytes made a valid call, so that a driver can see that some do.

use std::ops::ControlFlow;

use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
use fastdraft_specdec::tree::{ByPath, Merge, TreeProposal, generate_tree, verify_tree};
use fastdraft_specdec::{
    Distribution, Proposal, Rule, SeededUniform, SessionConfig, Stop, SuffixLookup, TokenId,
    Transform, TypicalAcceptance, generate, verify, verify_typical,
};

/// Reads numbers from bytes, zeros behind the end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let length = N.min(self.0.len());
        let (head, rest) = self.0.split_at(length);
        for (to, from) in out.iter_mut().zip(head) {
            *to = *from;
        }
        self.0 = rest;
        out
    }

    fn small(&mut self, below: usize) -> usize {
        usize::from(self.take::<1>()[0]) % below.max(1)
    }

    fn tokens(&mut self, most: usize, below: usize) -> Vec<TokenId> {
        (0..self.small(most))
            .map(|_| self.small(below) as TokenId)
            .collect()
    }

    /// Any bits at all one time in four, else something ordinary.
    fn number(&mut self) -> f64 {
        match self.small(4) {
            0 => f64::from_le_bytes(self.take()),
            _ => f64::from(i16::from_le_bytes(self.take())) / 4096.0,
        }
    }

    fn logits(&mut self, most: usize) -> Vec<f32> {
        let wild = self.small(4) == 0;
        (0..self.small(most))
            .map(|_| {
                if wild {
                    f32::from_le_bytes(self.take())
                } else {
                    f32::from(i16::from_le_bytes(self.take())) / 1024.0
                }
            })
            .collect()
    }

    fn transform(&mut self) -> Transform {
        let mut some = |yes: bool| yes.then(|| self.number().abs().min(1.0));
        let (top_p, min_p) = (some(true), some(false));
        Transform {
            temperature: self.number().abs(),
            top_k: (self.small(2) == 1).then(|| self.small(20)),
            top_p: if self.small(2) == 1 { top_p } else { None },
            min_p: if self.small(2) == 1 {
                Some(self.number())
            } else {
                min_p
            },
            repetition_penalty: if self.small(2) == 1 {
                self.number()
            } else {
                1.0
            },
            presence_penalty: if self.small(2) == 1 {
                self.number()
            } else {
                0.0
            },
            frequency_penalty: if self.small(2) == 1 {
                self.number()
            } else {
                0.0
            },
            logit_bias: self
                .tokens(3, 12)
                .into_iter()
                .map(|t| (t, self.number() as f32))
                .collect(),
            allowed: (self.small(4) == 0).then(|| self.tokens(8, 12)),
        }
    }

    /// What a transform of anything gives, or one time in two a few tokens of any shares.
    fn distribution(&mut self) -> Distribution {
        let mut out = Distribution::new();
        if self.small(2) == 0 {
            let (transform, logits) = (self.transform(), self.logits(12));
            let _ = transform.apply(&logits, &[], &mut out);
            return out;
        }
        let shares: Vec<(TokenId, f64)> = (0..12)
            .map(|token| (token, self.small(256).saturating_sub(128) as f64))
            .filter(|share| share.1 > 0.0)
            .collect();
        let total: f64 = shares.iter().map(|share| share.1).sum();
        let (tokens, parts) = shares.into_iter().map(|(t, s)| (t, s / total)).unzip();
        Distribution::from_parts(tokens, parts).unwrap_or_default()
    }

    /// Mostly a token of `distribution`.
    fn token(&mut self, distribution: &Distribution) -> TokenId {
        let any = self.small(12);
        if self.small(8) == 0 {
            return any as TokenId;
        }
        let known = distribution.tokens();
        let token = any.checked_rem(known.len()).and_then(|i| known.get(i));
        token.copied().unwrap_or_default()
    }
}

/// Transforms of any row: an error, or a valid distribution.
pub fn transform(data: &[u8]) -> bool {
    let mut bytes = Bytes(data);
    let transform = bytes.transform();
    let history = bytes.tokens(9, 12);
    let ids = bytes.tokens(20, 40);
    let logits = bytes.logits(255);
    let mut out = Distribution::new();
    let mut valid = false;
    for subset in [false, true] {
        let result = if subset {
            transform.apply_subset(&logits, &ids, &history, &mut out)
        } else {
            transform.apply(&logits, &history, &mut out)
        };
        valid |= result.is_ok();
        match result {
            Ok(()) => {
                assert!(out.validate().is_ok(), "{transform:?}");
                assert!(
                    out.sample(0.999_999)
                        .is_some_and(|t| out.probability(t) > 0.0)
                );
            }
            Err(_) => assert!(out.is_empty()),
        }
    }
    valid
}

/// Every verification rule over any proposal: an error, or a verdict the target allows.
pub fn verification(data: &[u8]) -> bool {
    let mut bytes = Bytes(data);
    let length = bytes.small(5);
    let (mut proposal, mut tree) = (Proposal::new(), TreeProposal::new());
    for _ in 0..length {
        let q = bytes.distribution();
        let token = bytes.token(&q);
        proposal.push(token, &q);
        let parent = bytes.small(tree.len() + 1).checked_sub(1);
        tree.push(parent, token, &q);
    }
    let count = match bytes.small(4) {
        0 => bytes.small(7),
        _ => length + 1,
    };
    let rows: Vec<_> = (0..count).map(|_| bytes.distribution()).collect();
    let mut rng = SeededUniform::new(bytes.small(256) as u64);
    let mut valid = false;
    for rule in [Rule::Greedy, Rule::Rejection] {
        if let Ok(verdict) = verify(rule, &proposal, &rows, &mut rng) {
            assert!(verdict.accepted <= proposal.len());
            valid |= rule == Rule::Rejection && !proposal.is_empty();
            let p = rows
                .get(verdict.accepted)
                .map_or(0.0, |d| d.probability(verdict.next));
            assert!(p > 0.0);
        }
        if let Ok(verdict) = verify_tree(rule, &tree, &rows, &mut rng) {
            let row = verdict.path.last().map_or(0, |n| n + 1);
            let p = rows.get(row).map_or(0.0, |d| d.probability(verdict.next));
            assert!(p > 0.0);
        }
    }
    let rule = TypicalAcceptance {
        epsilon: bytes.number(),
        delta: bytes.number(),
    };
    if let Ok(verdict) = verify_typical(rule, &proposal, &rows, &mut rng) {
        assert!(verdict.accept().accepted <= proposal.len());
    }
    valid
}

/// Whole generations with any settings, as chains and as trees.
pub fn generation(data: &[u8]) -> bool {
    let mut bytes = Bytes(data);
    let config = SessionConfig {
        gamma: bytes.small(6),
        max_new_tokens: bytes.small(12),
        transform: bytes.transform(),
        stop: Stop {
            tokens: bytes.tokens(2, 9),
            sequences: vec![bytes.tokens(4, 9)],
        },
        seed: bytes.small(256) as u64,
    };
    let prompt = bytes.tokens(6, 10);
    let table = Table::new(9, 1, bytes.small(256) as u64);
    let mut target = MockTarget::new(table.clone());
    let mut draft = MockDraft::trimmed(table.with_noise(1, 2.0), bytes.tokens(9, 9));
    let go = |_: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
    let chain = generate(&mut draft, &mut target, &prompt, &config, go);
    let mut merged = Merge::new(draft, SuffixLookup::new(1));
    let tree = generate_tree(&mut merged, &mut ByPath::new(target), &prompt, &config, go);
    let valid = chain.as_ref().is_ok_and(|g| g.metrics.drafted > 0);
    for tokens in [chain.map(|g| g.tokens).ok(), tree.map(|g| g.tokens).ok()] {
        let tokens = tokens.unwrap_or_default();
        assert!(tokens.len() <= config.max_new_tokens);
        assert!(
            (1..tokens.len()).all(|end| !config.stop.ends(tokens.get(..end).unwrap_or_default()))
        );
    }
    valid
}

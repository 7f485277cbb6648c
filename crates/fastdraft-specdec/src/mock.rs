//! Models made of tables and hashes, for tests: they log calls and check the caller's contract.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::uniform::mix64;
use crate::{
    Distribution, Draft, LogitRows, Proposal, Sampler, Target, TokenId, TransformError, Vocabulary,
};

/// A call that a mock received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// [`Draft::propose`].
    Propose {
        /// Length of the context.
        context: usize,
        /// Tokens asked for.
        gamma: usize,
    },
    /// [`Target::score`].
    Score {
        /// Length of the context.
        context: usize,
        /// Length of the proposal.
        proposal: usize,
    },
    /// `truncate` of either.
    Truncate {
        /// The length to keep.
        len: usize,
    },
}

/// What a mock reports.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MockError {
    /// The cached tokens are not a prefix of the context.
    StaleCache {
        /// Number of cached tokens.
        cached: usize,
        /// Length of the context.
        context: usize,
    },
    /// The fault that was asked for.
    Injected {
        /// Index of the call that failed.
        call: usize,
    },
    /// Sampling failed.
    Transform(TransformError),
}

impl fmt::Display for MockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleCache { cached, context } => write!(
                f,
                "the {cached} cached tokens are no prefix of the context of {context}"
            ),
            Self::Injected { call } => write!(f, "injected fault at call {call}"),
            Self::Transform(error) => write!(f, "{error}"),
        }
    }
}

impl Error for MockError {}

impl From<TransformError> for MockError {
    fn from(error: TransformError) -> Self {
        Self::Transform(error)
    }
}

/// Logits as a function of the last tokens: a table, and a hash for what it lacks.
#[derive(Clone, Debug)]
pub struct Table {
    vocabulary: usize,
    order: usize,
    seed: u64,
    rows: BTreeMap<Vec<TokenId>, Vec<f32>>,
    noise: Option<(u64, f32)>,
}

impl Table {
    /// Hashes the last `order` tokens with `seed` to `vocabulary` logits in [−4, 4).
    #[must_use]
    pub fn new(vocabulary: usize, order: usize, seed: u64) -> Self {
        Self {
            vocabulary,
            order,
            seed,
            rows: BTreeMap::new(),
            noise: None,
        }
    }

    /// Sets the logits after `ending`; tokens beyond `logits` get −∞.
    #[must_use]
    pub fn with_row(mut self, ending: &[TokenId], logits: &[f32]) -> Self {
        self.rows.insert(ending.to_vec(), logits.to_vec());
        self
    }

    /// Adds hashed noise in [−`scale`, `scale`) to every logit, as a draft differs from its target.
    #[must_use]
    pub fn with_noise(mut self, seed: u64, scale: f32) -> Self {
        self.noise = Some((seed, scale));
        self
    }

    /// The logit of `token` after `context` and `proposal`.
    #[must_use]
    pub fn logit(&self, context: &[TokenId], token: TokenId) -> f32 {
        let start = context.len().saturating_sub(self.order);
        let ending = context.get(start..).unwrap_or_default();
        let base = match self.rows.get(ending) {
            Some(row) => row
                .get(token as usize)
                .copied()
                .unwrap_or(f32::NEG_INFINITY),
            None => 4.0 * unit(self.seed, ending, token),
        };
        match self.noise {
            Some((seed, scale)) => base + scale * unit(seed, ending, token),
            None => base,
        }
    }
}

/// A hash of the arguments as a number in [−1, 1).
fn unit(seed: u64, ending: &[TokenId], token: TokenId) -> f32 {
    let mut hash = mix64(seed ^ 0x5851_f42d_4c95_7f2d);
    for &t in ending.iter().chain([&token]) {
        hash = mix64(hash ^ (u64::from(t) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    (hash >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// What both mocks keep: the cache, the log, the fault to inject.
#[derive(Clone, Debug, Default)]
struct Ledger {
    cache: Vec<TokenId>,
    calls: Vec<Call>,
    fail_at: Option<usize>,
}

impl Ledger {
    fn log(&mut self, call: Call) -> Result<(), MockError> {
        let index = self.calls.len();
        self.calls.push(call);
        if self.fail_at == Some(index) {
            return Err(MockError::Injected { call: index });
        }
        Ok(())
    }

    fn extend(&mut self, context: &[TokenId]) -> Result<(), MockError> {
        if !context.starts_with(&self.cache) {
            return Err(MockError::StaleCache {
                cached: self.cache.len(),
                context: context.len(),
            });
        }
        self.cache.clear();
        self.cache.extend_from_slice(context);
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), MockError> {
        self.log(Call::Truncate { len })?;
        self.cache.truncate(len);
        Ok(())
    }
}

/// A target driven by a [`Table`].
#[derive(Clone, Debug)]
pub struct MockTarget {
    table: Table,
    vocabulary: Vocabulary,
    ledger: Ledger,
}

impl MockTarget {
    /// A target with the logits of `table`.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self {
            vocabulary: Vocabulary::new(table.vocabulary, table.seed),
            table,
            ledger: Ledger::default(),
        }
    }

    /// Makes the call of index `call` fail, counting from 0.
    #[must_use]
    pub fn fail_at(mut self, call: usize) -> Self {
        self.ledger.fail_at = Some(call);
        self
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.ledger.calls
    }
}

impl Target for MockTarget {
    type Error = MockError;

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn score(
        &mut self,
        context: &[TokenId],
        proposal: &[TokenId],
        out: &mut LogitRows,
    ) -> Result<(), MockError> {
        self.ledger.log(Call::Score {
            context: context.len(),
            proposal: proposal.len(),
        })?;
        self.ledger.extend(context)?;
        self.ledger.cache.extend_from_slice(proposal);
        let size = self.table.vocabulary;
        let rows = out.reset(proposal.len() + 1, size);
        for (index, row) in rows.chunks_mut(size.max(1)).enumerate() {
            let seen = self.ledger.cache.get(..context.len() + index);
            for (token, logit) in (0..).zip(row) {
                *logit = self.table.logit(seen.unwrap_or_default(), token);
            }
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), MockError> {
        self.ledger.truncate(len)
    }
}

/// A draft driven by a [`Table`], over all of its tokens or some.
#[derive(Clone, Debug)]
pub struct MockDraft {
    table: Table,
    tokens: Vec<TokenId>,
    logits: Vec<f32>,
    distribution: Distribution,
    ledger: Ledger,
}

impl MockDraft {
    /// A draft with the logits of `table`.
    #[must_use]
    pub fn new(table: Table) -> Self {
        let size = TokenId::try_from(table.vocabulary).unwrap_or(TokenId::MAX);
        Self::trimmed(table, (0..size).collect())
    }

    /// A draft that knows only `tokens`.
    #[must_use]
    pub fn trimmed(table: Table, tokens: Vec<TokenId>) -> Self {
        Self {
            table,
            tokens,
            logits: Vec::new(),
            distribution: Distribution::new(),
            ledger: Ledger::default(),
        }
    }

    /// Makes the call of index `call` fail, counting from 0.
    #[must_use]
    pub fn fail_at(mut self, call: usize) -> Self {
        self.ledger.fail_at = Some(call);
        self
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.ledger.calls
    }
}

impl Draft for MockDraft {
    type Error = MockError;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), MockError> {
        self.ledger.log(Call::Propose {
            context: context.len(),
            gamma,
        })?;
        self.ledger.extend(context)?;
        for _ in 0..gamma {
            let history = &self.ledger.cache;
            self.logits.clear();
            self.logits
                .extend(self.tokens.iter().map(|&t| self.table.logit(history, t)));
            let sampled =
                sampler.sample_subset(&self.logits, &self.tokens, history, &mut self.distribution);
            match sampled {
                Ok(token) => {
                    out.push(token, &self.distribution);
                    self.ledger.cache.push(token);
                }
                // A trimmed vocabulary may hold no permitted token: then there is nothing to propose.
                Err(TransformError::NoSupport) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), MockError> {
        self.ledger.truncate(len)
    }
}

//! The loop: propose, score, verify, commit.

use alloc::vec::Vec;

use crate::gamma::{Fixed, GammaPolicy, StepReport, step_gamma};
use crate::sequence::Sequence;
use crate::{
    Clock, Draft, Emitted, GenerateError, Generation, LogitRows, Metrics, NoClock, SessionConfig,
    StopReason, Target, TokenId,
};

/// A generation under way: it owns the loop, and the caller decides when the next pass runs.
///
/// [`Session::advance`] runs one pass of the target and lends the tokens it committed; the session is
/// also an iterator over owned [`Step`]s. Between passes it can be cancelled and its metrics read.
/// Models are owned or given as `&mut`. [`generate`](crate::generate) is this in one call.
///
/// ```
/// use fastdraft_specdec::gamma::Heuristic;
/// use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
/// use fastdraft_specdec::{Session, SessionConfig};
/// let table = Table::new(16, 2, 7);
/// let (draft, target) = (MockDraft::new(table.clone()), MockTarget::new(table));
/// let mut session = Session::new(draft, target, &[1, 2], &SessionConfig::default())?
///     .with_policy(Heuristic::new(2, 8));
/// let first = session.next().transpose()?;
/// assert_eq!(first.map(|step| step.tokens.len()), Some(3));
/// session.cancel();
/// assert_eq!(session.finish().metrics.target_passes, 1);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session<D, T, P = Fixed, C = NoClock> {
    draft: D,
    target: T,
    policy: P,
    clock: C,
    sequence: Sequence,
    rows: LogitRows,
}

/// Tokens committed by one target pass, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The tokens, at least one.
    pub tokens: Vec<TokenId>,
    /// How many of the first of them came from the draft.
    pub accepted: usize,
}

impl<D: Draft, T: Target> Session<D, T> {
    /// Prepares a generation behind `prompt` and empties both models' caches.
    ///
    /// # Errors
    /// When the prompt is empty or has a token outside the vocabulary, a setting is out of range, or
    /// a model fails to empty its cache.
    pub fn new(
        mut draft: D,
        mut target: T,
        prompt: &[TokenId],
        config: &SessionConfig,
    ) -> Result<Self, GenerateError<D::Error, T::Error>> {
        let sequence = Sequence::new(prompt, config, target.vocabulary().size)?;
        draft.truncate(0).map_err(GenerateError::Draft)?;
        target.truncate(0).map_err(GenerateError::Target)?;
        Ok(Self {
            draft,
            target,
            policy: Fixed(config.gamma),
            clock: NoClock,
            sequence,
            rows: LogitRows::new(),
        })
    }
}

impl<D, T, P, C> Session<D, T, P, C> {
    /// Lets `policy` decide how many tokens to draft, instead of the settings' γ.
    #[must_use]
    pub fn with_policy<Q: GammaPolicy>(self, policy: Q) -> Session<D, T, Q, C> {
        Session {
            draft: self.draft,
            target: self.target,
            policy,
            clock: self.clock,
            sequence: self.sequence,
            rows: self.rows,
        }
    }

    /// Times the models with `clock`, for a policy that needs it.
    #[must_use]
    pub fn with_clock<K: Clock>(self, clock: K) -> Session<D, T, P, K> {
        Session {
            draft: self.draft,
            target: self.target,
            policy: self.policy,
            clock,
            sequence: self.sequence,
            rows: self.rows,
        }
    }

    /// Ends the generation; what was committed stays.
    pub fn cancel(&mut self) {
        self.sequence.end(StopReason::Cancelled);
    }

    /// The tokens generated so far.
    #[must_use]
    pub fn tokens(&self) -> &[TokenId] {
        self.sequence.generated()
    }

    /// The cost so far.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.sequence.metrics()
    }

    /// Why the generation ended, `None` while it goes on.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.sequence.stop_reason()
    }

    /// The policy in use.
    #[must_use]
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The result; a generation still under way counts as cancelled.
    #[must_use]
    pub fn finish(self) -> Generation {
        self.sequence.finish()
    }
}

impl<D: Draft, T: Target, P: GammaPolicy, C: Clock> Session<D, T, P, C> {
    /// Runs one pass and lends what it committed, `None` once the generation has ended.
    ///
    /// # Errors
    /// When a model fails or breaks its contract, or a target row that is reached is not usable. The
    /// generation has then ended; tokens committed before remain valid.
    pub fn advance(&mut self) -> Result<Option<Emitted<'_>>, GenerateError<D::Error, T::Error>> {
        if self.sequence.stop_reason().is_some() {
            return Ok(None);
        }
        if let Err(error) = self.pass() {
            self.cancel();
            return Err(error);
        }
        Ok(Some(self.sequence.emitted()))
    }

    fn pass(&mut self) -> Result<(), GenerateError<D::Error, T::Error>> {
        let prefill = self.sequence.metrics().target_passes == 0;
        let gamma = step_gamma(self.policy.gamma(), self.sequence.remaining());
        let begin = self.clock.seconds();
        self.sequence
            .propose(&mut self.draft, gamma, self.policy.stop_below())?;
        let drafted = self.clock.seconds();
        self.target
            .score(
                self.sequence.context(),
                self.sequence.proposal().tokens(),
                &mut self.rows,
            )
            .map_err(GenerateError::Target)?;
        let scored = self.clock.seconds();
        self.sequence.judge(&self.rows)?;
        let kept = self.sequence.kept();
        self.draft.truncate(kept).map_err(GenerateError::Draft)?;
        self.target.truncate(kept).map_err(GenerateError::Target)?;
        self.policy.observe(&StepReport {
            prefill,
            drafted: self.sequence.proposal().len(),
            accepted: self.sequence.emitted().accepted,
            draft_seconds: drafted - begin,
            target_seconds: scored - drafted,
        });
        Ok(())
    }
}

impl<D: Draft, T: Target, P: GammaPolicy, C: Clock> Iterator for Session<D, T, P, C> {
    type Item = Result<Step, GenerateError<D::Error, T::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.advance().transpose()?;
        Some(step.map(|emitted| Step {
            tokens: emitted.tokens.to_vec(),
            accepted: emitted.accepted,
        }))
    }
}

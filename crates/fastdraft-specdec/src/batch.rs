//! Several sequences in each target pass.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use crate::gamma::{Fixed, GammaPolicy, StepReport, step_gamma};
use crate::sequence::Sequence;
use crate::{
    Clock, Draft, Emitted, GenerateError, Generation, LogitRows, NoClock, SessionConfig,
    StopReason, Target, TokenId, Vocabulary,
};

/// One sequence's share of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchItem<'a> {
    /// Which sequence it is; cached state belongs to a slot.
    pub slot: usize,
    /// The tokens so far.
    pub context: &'a [TokenId],
    /// The drafted tokens to score.
    pub proposal: &'a [TokenId],
}

/// A target that scores several sequences in one pass.
pub trait BatchTarget {
    /// What can go wrong in the target.
    type Error: core::error::Error;

    /// The target's vocabulary; its size is the length of a logits row.
    fn vocabulary(&self) -> &Vocabulary;

    /// Scores every item; `out[i]` is for `items[i]` what [`Target::score`] gives.
    ///
    /// # Errors
    /// When the target fails; the whole batch ends with that error.
    fn score(&mut self, items: &[BatchItem<'_>], out: &mut [LogitRows]) -> Result<(), Self::Error>;

    /// Forgets what is cached in `slot` beyond the first `len` tokens; 0 frees the slot.
    ///
    /// # Errors
    /// When the target fails; the whole batch ends with that error.
    fn truncate(&mut self, slot: usize, len: usize) -> Result<(), Self::Error>;
}

/// A sequence to generate.
#[derive(Clone, Debug)]
pub struct BatchRequest<'a, D, P = Fixed> {
    /// Proposes tokens for this sequence.
    pub draft: D,
    /// What to continue.
    pub prompt: &'a [TokenId],
    /// Settings, with their own transform and seed.
    pub config: SessionConfig,
    /// How many tokens to draft for this sequence.
    pub policy: P,
}

impl<'a, D> BatchRequest<'a, D> {
    /// A request that drafts the settings' γ in every step.
    #[must_use]
    pub fn new(draft: D, prompt: &'a [TokenId], config: SessionConfig) -> Self {
        Self {
            draft,
            prompt,
            policy: Fixed(config.gamma),
            config,
        }
    }
}

impl<'a, D, P> BatchRequest<'a, D, P> {
    /// Lets `policy` decide how many tokens to draft; box it where sequences differ in kind.
    #[must_use]
    pub fn with_policy<Q: GammaPolicy>(self, policy: Q) -> BatchRequest<'a, D, Q> {
        BatchRequest {
            draft: self.draft,
            prompt: self.prompt,
            config: self.config,
            policy,
        }
    }
}

/// How each sequence of a batch ended.
pub type BatchResults<D, T> = Vec<Result<Generation, GenerateError<D, T>>>;

/// The sequences of a batch, or the target's failure that ended them all.
pub type BatchOutcome<D, T> = Result<BatchResults<D, T>, GenerateError<D, T>>;

/// Generates all `requests` with one target pass per step for those still under way.
///
/// Each sequence has its own transform, random numbers, policy and stop, and comes out as
/// [`generate`](crate::generate) would give it alone. One that ends, or whose draft or logits fail,
/// leaves the batch while the others go on. `on_tokens` receives the index of a request with each
/// step's tokens; [`ControlFlow::Break`] ends that sequence.
///
/// # Errors
/// When the target fails; sequences that fail by themselves have their error in the result.
pub fn generate_batch<D: Draft, T: BatchTarget, P: GammaPolicy>(
    requests: &mut [BatchRequest<'_, D, P>],
    target: &mut T,
    on_tokens: impl FnMut(usize, Emitted<'_>) -> ControlFlow<()>,
) -> BatchOutcome<D::Error, T::Error> {
    generate_batch_timed(requests, target, &mut NoClock, on_tokens)
}

/// As [`generate_batch`], timed by `clock` for policies that weigh time.
///
/// A policy is told its draft's seconds and an equal share of the target's pass.
///
/// # Errors
/// As [`generate_batch`].
pub fn generate_batch_timed<D: Draft, T: BatchTarget, P: GammaPolicy, C: Clock>(
    requests: &mut [BatchRequest<'_, D, P>],
    target: &mut T,
    clock: &mut C,
    mut on_tokens: impl FnMut(usize, Emitted<'_>) -> ControlFlow<()>,
) -> BatchOutcome<D::Error, T::Error> {
    let vocabulary = target.vocabulary().size;
    let mut sequences = Vec::with_capacity(requests.len());
    for (slot, request) in requests.iter_mut().enumerate() {
        target.truncate(slot, 0).map_err(GenerateError::Target)?;
        let emptied = request.draft.truncate(0).map_err(GenerateError::Draft);
        let new = Sequence::new(request.prompt, &request.config, vocabulary);
        sequences.push(new.and_then(|sequence| emptied.map(|()| sequence)));
    }
    let mut rows: Vec<LogitRows> = Vec::new();
    let mut drafting = alloc::vec![0.0; requests.len()];
    loop {
        propose(requests, &mut sequences, clock, &mut drafting);
        let active = sequences.iter().enumerate().filter_map(|(slot, s)| {
            let sequence = s.as_ref().ok().filter(|s| s.stop_reason().is_none())?;
            Some(BatchItem {
                slot,
                context: sequence.context(),
                proposal: sequence.proposal().tokens(),
            })
        });
        let items: Vec<BatchItem<'_>> = active.collect();
        if items.is_empty() {
            break;
        }
        rows.resize_with(rows.len().max(items.len()), LogitRows::new);
        let out = rows.get_mut(..items.len()).unwrap_or_default();
        let begin = clock.seconds();
        target.score(&items, out).map_err(GenerateError::Target)?;
        let share = (clock.seconds() - begin) / items.len() as f64;
        let slots: Vec<usize> = items.iter().map(|item| item.slot).collect();
        for (slot, rows) in slots.into_iter().zip(&rows) {
            let Some((request, entry)) = requests.get_mut(slot).zip(sequences.get_mut(slot)) else {
                continue;
            };
            let judged = judge(
                entry,
                request,
                rows,
                StepReport {
                    draft_seconds: drafting.get(slot).copied().unwrap_or(0.0),
                    target_seconds: share,
                    ..StepReport::default()
                },
            );
            if let Err(error) = judged {
                *entry = Err(error);
            }
            let mut keep = 0;
            if let Ok(sequence) = entry {
                if on_tokens(slot, sequence.emitted()).is_break() {
                    sequence.end(StopReason::Cancelled);
                }
                if sequence.stop_reason().is_none() {
                    keep = sequence.kept();
                }
            }
            target.truncate(slot, keep).map_err(GenerateError::Target)?;
        }
    }
    let ended = sequences.into_iter();
    Ok(ended
        .map(|sequence| sequence.map(Sequence::finish))
        .collect())
}

/// Drafts for every sequence under way; one that fails becomes its error.
fn propose<D: Draft, T, P: GammaPolicy, C: Clock>(
    requests: &mut [BatchRequest<'_, D, P>],
    sequences: &mut [Result<Sequence, GenerateError<D::Error, T>>],
    clock: &mut C,
    seconds: &mut [f64],
) {
    for ((request, entry), seconds) in requests.iter_mut().zip(sequences).zip(seconds) {
        let Ok(sequence) = entry else { continue };
        if sequence.stop_reason().is_some() {
            continue;
        }
        let gamma = step_gamma(request.policy.gamma(), sequence.remaining());
        let begin = clock.seconds();
        let stop_below = request.policy.stop_below();
        if let Err(error) = sequence.propose(&mut request.draft, gamma, stop_below) {
            *entry = Err(error);
        }
        *seconds = clock.seconds() - begin;
    }
}

/// Commits what a pass gave for one sequence and tells its policy, whose report has the times.
fn judge<D: Draft, T, P: GammaPolicy>(
    entry: &mut Result<Sequence, GenerateError<D::Error, T>>,
    request: &mut BatchRequest<'_, D, P>,
    rows: &LogitRows,
    times: StepReport,
) -> Result<(), GenerateError<D::Error, T>> {
    if let Ok(sequence) = entry {
        let prefill = sequence.metrics().target_passes == 0;
        sequence.judge(rows)?;
        request
            .draft
            .truncate(sequence.kept())
            .map_err(GenerateError::Draft)?;
        request.policy.observe(&StepReport {
            prefill,
            drafted: sequence.proposal().len(),
            accepted: sequence.emitted().accepted,
            ..times
        });
    }
    Ok(())
}

/// One target per slot, scored one after the other: the batch for engines without batches.
///
/// Slots beyond the last share it, which suits only targets without a cache.
#[derive(Clone, Debug)]
pub struct Separate<T> {
    first: T,
    more: Vec<T>,
}

impl<T: Target> Separate<T> {
    /// `first` for slot 0, then `more`.
    #[must_use]
    pub fn new(first: T, more: Vec<T>) -> Self {
        Self { first, more }
    }

    fn slot(&mut self, slot: usize) -> &mut T {
        let last = self.more.len();
        match slot.min(last).checked_sub(1) {
            Some(index) => self.more.get_mut(index).unwrap_or(&mut self.first),
            None => &mut self.first,
        }
    }
}

impl<T: Target> BatchTarget for Separate<T> {
    type Error = T::Error;

    fn vocabulary(&self) -> &Vocabulary {
        self.first.vocabulary()
    }

    fn score(&mut self, items: &[BatchItem<'_>], out: &mut [LogitRows]) -> Result<(), Self::Error> {
        for (item, rows) in items.iter().zip(out) {
            self.slot(item.slot)
                .score(item.context, item.proposal, rows)?;
        }
        Ok(())
    }

    fn truncate(&mut self, slot: usize, len: usize) -> Result<(), Self::Error> {
        self.slot(slot).truncate(len)
    }
}

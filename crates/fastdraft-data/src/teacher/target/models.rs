//! The models of a teacher, and what they have under way.

use fastdraft_specdec::batch::{BatchItem, BatchTarget};
use fastdraft_specdec::{Draft, LogitRows};

use super::Observer;
use super::sequence::Sequence;
use crate::teacher::Request;

pub(super) struct Models<'a, T, D> {
    pub(super) target: T,
    pub(super) drafts: Vec<D>,
    pub(super) observer: Option<Box<Observer<'a>>>,
}

/// Where a call stands.
pub(super) struct Round<'r> {
    pub(super) requests: &'r [Request],
    pub(super) next: usize,
    pub(super) free: Vec<usize>,
    pub(super) running: Vec<Sequence>,
    pub(super) rows: Vec<LogitRows>,
}

impl<T: BatchTarget, D: Draft> Models<'_, T, D> {
    pub(super) fn forget(&mut self, slot: usize, len: usize) -> Result<(), String> {
        if let Some(draft) = self.drafts.get_mut(slot) {
            draft
                .truncate(len)
                .map_err(|error| format!("draft: {error}"))?;
        }
        self.target
            .truncate(slot, len)
            .map_err(|error| error.to_string())
    }

    /// Scores all answers together; if that fails, one by one, to find whose fault it is.
    pub(super) fn score(&mut self, round: &mut Round<'_>, problems: &mut [Option<String>]) {
        round
            .rows
            .resize_with(round.rows.len().max(round.running.len()), LogitRows::new);
        if problems.iter().all(Option::is_none) {
            let items: Vec<BatchItem<'_>> = round.running.iter().map(item).collect();
            if self
                .target
                .score(&items, &mut round.rows[..items.len()])
                .is_ok()
            {
                return;
            }
        }
        for (position, problem) in problems.iter_mut().enumerate() {
            let sequence = &round.running[position];
            if problem.is_some() {
                continue;
            }
            // After a failed pass nobody knows what is cached.
            let scored = self.target.truncate(sequence.slot, 0).and_then(|()| {
                let rows = &mut round.rows[position..=position];
                self.target.score(&[item(sequence)], rows)
            });
            *problem = scored.err().map(|error| error.to_string());
        }
    }
}

fn item(sequence: &Sequence) -> BatchItem<'_> {
    BatchItem {
        slot: sequence.slot,
        context: &sequence.context,
        proposal: sequence.proposal.tokens(),
    }
}

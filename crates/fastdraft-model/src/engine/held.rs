//! A sequence's cache and the tokens in it.

use super::sequence;
use crate::error::ModelError;

/// Keys and values of one sequence.
pub(super) trait Cache {
    /// Forgets all tokens from `len` on.
    fn truncate(&mut self, len: usize);
}

/// What one sequence keeps between passes.
#[derive(Debug)]
pub(super) struct Held<C> {
    pub(super) cache: C,
    pub(super) tokens: Vec<u32>,
}

impl<C: Cache> Held<C> {
    pub(super) fn new(cache: C, capacity: usize) -> Self {
        Self {
            cache,
            tokens: Vec::with_capacity(capacity),
        }
    }

    pub(super) fn forget(&mut self, len: usize) {
        self.cache.truncate(len);
        self.tokens.truncate(len);
    }

    /// Keeps what `context` then `extra` begins with; returns the tokens still to feed, at least
    /// the last `outputs`.
    pub(super) fn begin(
        &mut self,
        context: &[u32],
        extra: &[u32],
        outputs: usize,
    ) -> Result<Vec<u32>, ModelError> {
        let (shared, pending) = sequence::pending(&self.tokens, context, extra, outputs)?;
        self.forget(shared);
        Ok(pending)
    }

    /// Feeds whole passes of `piece` tokens of `pending`, leaving in it what one pass then feeds.
    pub(super) fn feed_early(
        &mut self,
        pending: &mut Vec<u32>,
        outputs: usize,
        piece: usize,
        mut feed: impl FnMut(&mut C, &[u32]) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        // The rows asked for come from one pass, the last.
        let early = (pending.len() - outputs) / piece * piece;
        for tokens in pending[..early].chunks_exact(piece) {
            feed(&mut self.cache, tokens)?;
            self.tokens.extend_from_slice(tokens);
        }
        pending.drain(..early);
        Ok(())
    }
}

//! A draft that reads only the end of a long context.

use crate::{Draft, Proposal, Sampler, TokenId};

/// Hands a draft the last tokens of a context that is long.
///
/// For drafts whose own context is shorter than the target's. A draft misses what it does not read, but
/// the output stays lossless, as it does with any draft. A context of more than twice `tokens` is cut to its last `tokens`; what the draft
/// has cached then serves until the rest has grown to twice `tokens` again.
///
/// The draft's penalties see what it reads, the target's all of the context.
///
/// ```
/// use fastdraft_specdec::mock::{MockDraft, MockTarget, Table};
/// use fastdraft_specdec::{RecentContext, SessionConfig, generate};
/// use core::ops::ControlFlow;
/// let table = Table::new(16, 2, 7);
/// let (prompt, config) = ([1; 50], SessionConfig::default());
/// let mut draft = RecentContext::new(MockDraft::new(table.clone()), 8);
/// let mut target = MockTarget::new(table);
/// let text = generate(&mut draft, &mut target, &prompt, &config, |_| ControlFlow::Continue(()))?;
/// assert!(text.metrics.accepted > 0);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RecentContext<D> {
    draft: D,
    tokens: usize,
    /// Where what the draft reads begins.
    start: usize,
}

impl<D> RecentContext<D> {
    /// `draft` reads at least the last `tokens` of a context, at least one, and at most twice as many;
    /// with `usize::MAX` it reads every context whole.
    #[must_use]
    pub fn new(draft: D, tokens: usize) -> Self {
        Self {
            draft,
            tokens: tokens.max(1),
            start: 0,
        }
    }

    /// Where a draft begins to read a context of `len` tokens that it has seen nothing of.
    fn first_read(len: usize, tokens: usize) -> usize {
        if len > tokens.saturating_mul(2) {
            len - tokens
        } else {
            0
        }
    }
}

impl<D: Draft> Draft for RecentContext<D> {
    type Error = D::Error;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), D::Error> {
        let read = context.len().checked_sub(self.start);
        if read.is_none_or(|read| read == 0 || read > self.tokens.saturating_mul(2)) {
            self.draft.truncate(0)?;
            self.start = Self::first_read(context.len(), self.tokens);
        }
        let recent = context.get(self.start..).unwrap_or_default();
        self.draft.propose(recent, gamma, sampler, out)
    }

    fn truncate(&mut self, len: usize) -> Result<(), D::Error> {
        let kept = len.saturating_sub(self.start);
        if kept == 0 {
            self.start = 0;
        }
        self.draft.truncate(kept)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::convert::Infallible;

    use super::*;
    use crate::{SeededUniform, Transform};

    /// Notes what it is asked and how much of it is new.
    #[derive(Default)]
    struct Reader {
        cached: Vec<TokenId>,
        asked: Vec<(usize, usize)>,
    }

    impl Draft for Reader {
        type Error = Infallible;

        fn propose(
            &mut self,
            context: &[TokenId],
            _gamma: usize,
            _sampler: &mut Sampler<'_>,
            out: &mut Proposal,
        ) -> Result<(), Infallible> {
            assert!(
                context.starts_with(&self.cached),
                "the cache is of another context"
            );
            self.asked
                .push((context.len(), context.len() - self.cached.len()));
            self.cached = context.to_vec();
            out.push_certain(0);
            Ok(())
        }

        fn truncate(&mut self, len: usize) -> Result<(), Infallible> {
            self.cached.truncate(len);
            Ok(())
        }
    }

    fn ask<D: Draft<Error = Infallible>>(draft: &mut D, context: &[TokenId]) {
        let (transform, mut rng) = (Transform::default(), SeededUniform::new(0));
        let mut sampler = Sampler::new(&transform, &mut rng);
        let Ok(()) = draft.propose(context, 1, &mut sampler, &mut Proposal::new());
    }

    #[test]
    fn a_long_prompt_is_cut_once_and_read_on() {
        let context: Vec<TokenId> = (0..200).collect();
        let mut draft = RecentContext::new(Reader::default(), 10);
        for len in [100, 103, 109, 110, 111, 120] {
            ask(&mut draft, &context[..len]);
        }
        // Twenty tokens at most; at 111 the last ten begin anew.
        let expected = [(10, 10), (13, 3), (19, 6), (20, 1), (10, 10), (19, 9)];
        assert_eq!(draft.draft.asked, expected);
    }

    #[test]
    fn shorter_contexts_and_new_ones_are_read_from_where_they_begin() {
        let context: Vec<TokenId> = (0..200).collect();
        let mut draft = RecentContext::new(Reader::default(), 10);
        ask(&mut draft, &context[..100]);
        let Ok(()) = draft.truncate(95);
        ask(&mut draft, &context[..96]);
        let Ok(()) = draft.truncate(50);
        ask(&mut draft, &context[..60]);
        let Ok(()) = draft.truncate(0);
        ask(&mut draft, &context[150..165]);
        ask(&mut draft, &context[150..170]);
        let expected = [(10, 10), (6, 1), (10, 10), (15, 15), (20, 5)];
        assert_eq!(draft.draft.asked, expected);
    }

    #[test]
    fn whole_contexts_stay_whole() {
        let context: Vec<TokenId> = (0..200).collect();
        let mut draft = RecentContext::new(Reader::default(), usize::MAX);
        ask(&mut draft, &context[..190]);
        ask(&mut draft, &context);
        assert_eq!(draft.draft.asked, [(190, 190), (200, 10)]);
        assert_eq!(RecentContext::<Reader>::first_read(200, usize::MAX), 0);
    }
}

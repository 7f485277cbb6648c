//! Drafting from the longest ending of the context that occurred before, however long.

use alloc::vec::Vec;
use core::convert::Infallible;

use crate::{Draft, Proposal, Sampler, TokenId};

const ROOT: usize = 0;

/// A set of substrings that end at the same positions.
#[derive(Clone, Debug)]
struct State {
    length: usize,
    link: Option<usize>,
    /// One past the end of an occurrence, the latest that was noticed.
    end: usize,
    /// Transitions in ascending token order.
    next: Vec<(TokenId, usize)>,
}

impl State {
    fn step(&self, token: TokenId) -> Option<usize> {
        let index = self.next.binary_search_by_key(&token, |e| e.0).ok()?;
        self.next.get(index).map(|e| e.1)
    }

    fn set(&mut self, token: TokenId, to: usize) {
        match self.next.binary_search_by_key(&token, |e| e.0) {
            Ok(index) => {
                if let Some(edge) = self.next.get_mut(index) {
                    edge.1 = to;
                }
            }
            Err(index) => self.next.insert(index, (token, to)),
        }
    }
}

/// Proposes what followed an earlier occurrence of the longest repeated ending, in amortised constant
/// time per token of prompt and output.
///
/// A suffix automaton over the context finds that ending: the suffix link of the whole text is the
/// longest suffix that occurs elsewhere too (Blumer et al., 1985; SAM-Decoding, arXiv 2411.10666).
/// Tokens are proposed with certainty, so the draft is lossless. What a context gains counts as drafted
/// until [`truncate`](Draft::truncate) is called, as a session does behind every pass, and is not
/// searched before.
///
/// ```
/// use fastdraft_specdec::{Draft, Proposal, Sampler, SeededUniform, SuffixLookup, Transform};
/// let (transform, mut rng) = (Transform::default(), SeededUniform::new(0));
/// let mut out = Proposal::new();
/// let mut sampler = Sampler::new(&transform, &mut rng);
/// SuffixLookup::new(2).propose(&[5, 6, 7, 8, 5, 6, 7], 2, &mut sampler, &mut out)?;
/// assert_eq!(out.tokens(), &[8, 5]);
/// # Ok::<(), core::convert::Infallible>(())
/// ```
#[derive(Clone, Debug)]
pub struct SuffixLookup {
    shortest: usize,
    text: Vec<TokenId>,
    states: Vec<State>,
    last: usize,
    /// Length of the repeated ending and one past the end of its earlier occurrence.
    repeat: (usize, usize),
    /// Whether what is asked about next is committed: tokens that a step has only drafted so far would
    /// have to be taken out again.
    committed: bool,
}

impl SuffixLookup {
    /// Proposes only behind an ending of at least `shortest` tokens; below 1 counts as 1.
    #[must_use]
    pub fn new(shortest: usize) -> Self {
        let mut lookup = Self {
            shortest: shortest.max(1),
            text: Vec::new(),
            states: Vec::new(),
            last: ROOT,
            repeat: (0, 0),
            committed: true,
        };
        lookup.reset();
        lookup
    }

    fn reset(&mut self) {
        self.text.clear();
        self.states.clear();
        self.states.push(State {
            length: 0,
            link: None,
            end: 0,
            next: Vec::new(),
        });
        self.last = ROOT;
        self.repeat = (0, 0);
    }

    /// Follows `context`, from the start unless it continues the text known so far.
    fn follow(&mut self, context: &[TokenId]) {
        if !context.starts_with(&self.text) {
            self.reset();
        }
        for &token in context.get(self.text.len()..).unwrap_or_default() {
            self.extend(token);
        }
    }

    /// The length of the longest ending of `context` that occurred before in what is committed, and one
    /// past the end of an occurrence.
    ///
    /// The first call behind a [`truncate`](Draft::truncate) takes all of `context` for committed,
    /// later ones what they add for drafted.
    pub(crate) fn repeated(&mut self, context: &[TokenId]) -> (usize, usize) {
        if self.committed || !context.starts_with(&self.text) {
            self.follow(context);
            self.committed = false;
        }
        let drafted = context.get(self.text.len()..).unwrap_or_default();
        if drafted.is_empty() {
            return self.repeat;
        }
        let mut at = self.states.get(self.last).and_then(|state| state.link);
        let mut length = self.repeat.0;
        for &token in drafted {
            loop {
                let state = at.and_then(|at| self.states.get(at));
                if let Some(to) = state.and_then(|state| state.step(token)) {
                    (at, length) = (Some(to), length + 1);
                    break;
                }
                let Some(shorter) = state.and_then(|state| state.link) else {
                    (at, length) = (Some(ROOT), 0);
                    break;
                };
                at = Some(shorter);
                length = self.states.get(shorter).map_or(0, |state| state.length);
            }
        }
        let end = at
            .and_then(|at| self.states.get(at))
            .map_or(0, |state| state.end);
        (length, end)
    }

    fn extend(&mut self, token: TokenId) {
        self.text.push(token);
        let end = self.text.len();
        let current = self.states.len();
        self.states.push(State {
            length: end,
            link: Some(ROOT),
            end,
            next: Vec::new(),
        });
        let mut walk = Some(self.last);
        while let Some(state) = walk.and_then(|at| self.states.get_mut(at)) {
            match state.step(token) {
                None => {
                    state.set(token, current);
                    walk = state.link;
                }
                Some(to) => {
                    let wanted = state.length + 1;
                    let link = self.split(walk, token, to, wanted);
                    if let Some(new) = self.states.get_mut(current) {
                        new.link = Some(link);
                    }
                    break;
                }
            }
        }
        self.last = current;
        let link = self.states.get(current).and_then(|s| s.link);
        if let Some(repeated) = self.states.get_mut(link.unwrap_or(ROOT)) {
            self.repeat = (repeated.length, repeated.end);
            repeated.end = end;
        }
    }

    /// The state of length `wanted` reached over `token`, split off from `to` if that is longer.
    fn split(&mut self, from: Option<usize>, token: TokenId, to: usize, wanted: usize) -> usize {
        let Some(target) = self.states.get(to).filter(|s| s.length != wanted) else {
            return to;
        };
        let mut shorter = target.clone();
        shorter.length = wanted;
        let copy = self.states.len();
        self.states.push(shorter);
        let mut walk = from;
        while let Some(state) = walk.and_then(|at| self.states.get_mut(at)) {
            if state.step(token) != Some(to) {
                break;
            }
            state.set(token, copy);
            walk = state.link;
        }
        if let Some(target) = self.states.get_mut(to) {
            target.link = Some(copy);
        }
        copy
    }
}

impl Default for SuffixLookup {
    fn default() -> Self {
        Self::new(2)
    }
}

impl Draft for SuffixLookup {
    type Error = Infallible;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        _sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        let (length, end) = self.repeated(context);
        if length >= self.shortest {
            let following = context.get(end..).unwrap_or_default();
            following
                .iter()
                .take(gamma)
                .for_each(|&token| out.push_certain(token));
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        // Drafted tokens stay out of the text, so between the passes of a session nothing is cut.
        if len < self.text.len() {
            self.reset();
        }
        self.committed = true;
        Ok(())
    }
}

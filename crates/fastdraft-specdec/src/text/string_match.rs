//! A draft of another tokenizer whose text becomes the target's tokens.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use super::Tokenizer;
use crate::{Draft, DraftModel, Proposal, Sampler, TokenId};

/// Target tokens before the end of the context that are tokenized again with the drafted text.
const WINDOW: usize = 8;

/// String-level exact match: drafts greedily with any model and proposes the target's tokens of its
/// text (SLEM, arXiv 2502.05202).
///
/// The tokens are proposed with certainty, so verification keeps one when the target chooses that
/// token itself: the output equals plain decoding at temperature 0 and follows the target's
/// distribution otherwise, whatever the two tokenizers do. Needs no shared token, but at temperature
/// above 0 accepts less than [`TokenIntersection`](crate::TokenIntersection).
#[derive(Clone, Debug)]
pub struct StringMatch<M, D, T> {
    model: M,
    draft: D,
    target: T,
    /// The text of the context as the model knows it, drafted text included.
    text: Vec<u8>,
    /// The model's tokens of `text`, each with the end of its text.
    own: Vec<TokenId>,
    ends: Vec<usize>,
    /// The target's tokens whose text is the beginning of `text`, each with its end.
    seen: Vec<TokenId>,
    seen_ends: Vec<usize>,
    logits: Vec<f32>,
    bytes: Vec<u8>,
    tokens: Vec<TokenId>,
}

impl<M: DraftModel, D: Tokenizer, T: Tokenizer> StringMatch<M, D, T> {
    /// Drafts with `model`, whose tokenizer is `draft`, for a target whose tokenizer is `target`.
    #[must_use]
    pub fn new(model: M, draft: D, target: T) -> Self {
        Self {
            model,
            draft,
            target,
            text: Vec::new(),
            own: Vec::new(),
            ends: Vec::new(),
            seen: Vec::new(),
            seen_ends: Vec::new(),
            logits: Vec::new(),
            bytes: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// Makes `text` and the model's tokens those of `context`, keeping what still holds.
    fn follow(&mut self, context: &[TokenId]) -> Result<(), Failure<M, D, T>> {
        let common = self.seen.iter().zip(context);
        let common = common.take_while(|(a, b)| a == b).count();
        self.seen.truncate(common);
        self.seen_ends.truncate(common);
        let start = self.seen_ends.last().copied().unwrap_or(0);
        self.bytes.clear();
        for &token in context.get(common..).unwrap_or_default() {
            self.target
                .decode(&[token], &mut self.bytes)
                .map_err(StringMatchError::TargetTokenizer)?;
            self.seen.push(token);
            self.seen_ends.push(start + self.bytes.len());
        }
        // Text the model drafted itself stays in its own tokens where the target agreed.
        let drafted = self.text.get(start..).unwrap_or_default();
        let agreed = drafted.iter().zip(&self.bytes);
        let agreed = start + agreed.take_while(|(a, b)| a == b).count();
        let kept = self.ends.partition_point(|&end| end <= agreed);
        self.forget(kept)?;
        self.text.truncate(start);
        self.text.extend_from_slice(&self.bytes);
        let from = self.ends.last().copied().unwrap_or(0);
        self.tokens.clear();
        self.draft
            .encode(self.text.get(from..).unwrap_or_default(), &mut self.tokens)
            .map_err(StringMatchError::DraftTokenizer)?;
        let mut end = from;
        for index in 0..self.tokens.len() {
            let token = self.tokens.get(index).copied().unwrap_or_default();
            end += self.length(token)?;
            self.own.push(token);
            // A tokenizer that normalises may give tokens of another text than it was given.
            self.ends.push(end.min(self.text.len()));
        }
        Ok(())
    }

    /// Bytes of one of the model's tokens, which are left in `bytes`.
    fn length(&mut self, token: TokenId) -> Result<usize, Failure<M, D, T>> {
        self.bytes.clear();
        self.draft
            .decode(&[token], &mut self.bytes)
            .map_err(StringMatchError::DraftTokenizer)?;
        Ok(self.bytes.len())
    }

    fn forget(&mut self, own: usize) -> Result<(), Failure<M, D, T>> {
        if own < self.own.len() {
            self.own.truncate(own);
            self.ends.truncate(own);
            self.model.truncate(own).map_err(StringMatchError::Model)?;
        }
        Ok(())
    }

    /// Drafts the model's most likely tokens, up to `count`, behind its own.
    fn extend(&mut self, count: usize) -> Result<(), Failure<M, D, T>> {
        for _ in 0..count {
            self.model
                .logits(&self.own, &mut self.logits)
                .map_err(StringMatchError::Model)?;
            let best = (0..).zip(&self.logits).fold(
                None,
                |best: Option<(TokenId, f32)>, (token, &logit)| match best {
                    Some((_, highest)) if logit <= highest || logit.is_nan() => best,
                    _ if logit.is_nan() => best,
                    _ => Some((token, logit)),
                },
            );
            let Some((token, _)) = best else { break };
            self.length(token)?;
            self.text.extend_from_slice(&self.bytes);
            self.own.push(token);
            self.ends.push(self.text.len());
        }
        Ok(())
    }

    /// The target's tokens of what `text` has behind `context`, in `tokens` from the returned index.
    fn translate(&mut self, context: &[TokenId]) -> Result<usize, Failure<M, D, T>> {
        let end = self.seen_ends.last().copied().unwrap_or(0);
        // Tokenizing a little of the context again lets tokens reach across where the draft began.
        let before = context.len().saturating_sub(WINDOW);
        let window = context.get(before..).unwrap_or_default();
        let start = match before.checked_sub(1) {
            Some(last) => self.seen_ends.get(last).copied().unwrap_or(end),
            None => 0,
        };
        for (from, kept) in [(start, window), (end, &[][..])] {
            self.tokens.clear();
            self.target
                .encode(self.text.get(from..).unwrap_or_default(), &mut self.tokens)
                .map_err(StringMatchError::TargetTokenizer)?;
            if self.tokens.starts_with(kept) {
                return Ok(kept.len());
            }
        }
        Ok(0)
    }
}

impl<M: DraftModel, D: Tokenizer, T: Tokenizer> Draft for StringMatch<M, D, T>
where
    M::Error: 'static,
    D::Error: 'static,
    T::Error: 'static,
{
    type Error = StringMatchError<M::Error, D::Error, T::Error>;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        _sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        self.follow(context)?;
        if self.own.is_empty() {
            return Ok(());
        }
        self.extend(gamma)?;
        let from = self.translate(context)?;
        let proposed = self.tokens.get(from..).unwrap_or_default();
        for &token in proposed.iter().take(gamma) {
            out.push_certain(token);
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        self.seen.truncate(len);
        self.seen_ends.truncate(len);
        // Drafted text may yet turn out to be the target's; only a new generation drops it all.
        if len == 0 {
            self.text.clear();
            self.own.clear();
            self.ends.clear();
            self.model.truncate(0).map_err(StringMatchError::Model)?;
        }
        Ok(())
    }
}

type Failure<M, D, T> =
    StringMatchError<<M as DraftModel>::Error, <D as Tokenizer>::Error, <T as Tokenizer>::Error>;

/// What can go wrong in a [`StringMatch`]: the model's, the draft tokenizer's, the target tokenizer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StringMatchError<M, D, T> {
    /// The model failed.
    Model(M),
    /// The draft's tokenizer failed.
    DraftTokenizer(D),
    /// The target's tokenizer failed.
    TargetTokenizer(T),
}

impl<M: fmt::Display, D: fmt::Display, T: fmt::Display> fmt::Display for StringMatchError<M, D, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => write!(f, "{error}"),
            Self::DraftTokenizer(error) => write!(f, "draft tokenizer: {error}"),
            Self::TargetTokenizer(error) => write!(f, "target tokenizer: {error}"),
        }
    }
}

impl<M, D, T> Error for StringMatchError<M, D, T>
where
    M: Error + 'static,
    D: Error + 'static,
    T: Error + 'static,
{
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Model(error) => Some(error),
            Self::DraftTokenizer(error) => Some(error),
            Self::TargetTokenizer(error) => Some(error),
        }
    }
}

//! A draft with another vocabulary, through the tokens both have.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::{Distribution, Draft, Proposal, Sampler, TokenId, TransformError};

/// A model that gives logits over its own vocabulary.
pub trait DraftModel {
    /// What can go wrong in the model.
    type Error: Error;

    /// Writes the logits of the token after `context`, both in the model's own token ids.
    ///
    /// Cached state always belongs to a prefix of `context`.
    ///
    /// # Errors
    /// When the model fails; the generation ends with that error.
    fn logits(&mut self, context: &[TokenId], out: &mut Vec<f32>) -> Result<(), Self::Error>;

    /// Forgets cached state beyond the first `len` of its own tokens.
    ///
    /// # Errors
    /// When the model fails; the generation ends with that error.
    fn truncate(&mut self, len: usize) -> Result<(), Self::Error>;
}

/// Token-level intersection: drafts with a model of another vocabulary (arXiv 2502.05202, algorithm 4).
///
/// The model's distribution is restricted to the tokens both vocabularies have and normalised; the
/// others get probability 0 in the draft, so the output follows the target exactly.
#[derive(Clone, Debug)]
pub struct TokenIntersection<M> {
    model: M,
    own: Vec<TokenId>,
    shared: Vec<TokenId>,
    translation: Vec<Vec<TokenId>>,
    seen: Vec<TokenId>,
    translated: Vec<TokenId>,
    ends: Vec<usize>,
    logits: Vec<f32>,
    kept: Vec<f32>,
    distribution: Distribution,
}

impl<M: DraftModel> TokenIntersection<M> {
    /// Drafts with `model` over `shared`, pairs of the model's and the target's id of one token.
    ///
    /// `translation` holds for each target token the model's tokens with the same text, which may be
    /// several or none: how the model reads the context.
    #[must_use]
    pub fn new(
        model: M,
        mut shared: Vec<(TokenId, TokenId)>,
        translation: Vec<Vec<TokenId>>,
    ) -> Self {
        shared.sort_unstable_by_key(|pair| pair.1);
        let (own, shared) = shared.into_iter().unzip();
        Self {
            model,
            own,
            shared,
            translation,
            seen: Vec::new(),
            translated: Vec::new(),
            ends: Vec::new(),
            logits: Vec::new(),
            kept: Vec::new(),
            distribution: Distribution::new(),
        }
    }

    /// Translates `token` and appends it to what was seen.
    fn see(&mut self, token: TokenId) -> Result<(), IntersectionError<M::Error>> {
        let own = self
            .translation
            .get(token as usize)
            .ok_or(IntersectionError::NoTranslation { token })?;
        self.translated.extend_from_slice(own);
        self.seen.push(token);
        self.ends.push(self.translated.len());
        Ok(())
    }

    fn forget(&mut self, len: usize) -> Result<(), IntersectionError<M::Error>> {
        self.seen.truncate(len);
        self.ends.truncate(len);
        let own = self.ends.last().copied().unwrap_or(0);
        self.translated.truncate(own);
        self.model.truncate(own).map_err(IntersectionError::Model)
    }

    /// The model's logits of the shared tokens, in the order of the target's ids.
    fn score(&mut self) -> Result<(), IntersectionError<M::Error>> {
        self.model
            .logits(&self.translated, &mut self.logits)
            .map_err(IntersectionError::Model)?;
        self.kept.clear();
        for &token in &self.own {
            let logit = self.logits.get(token as usize).copied();
            self.kept
                .push(logit.ok_or(IntersectionError::NoLogit { token })?);
        }
        Ok(())
    }
}

impl<M: DraftModel> Draft for TokenIntersection<M>
where
    M::Error: 'static,
{
    type Error = IntersectionError<M::Error>;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        let common = self.seen.iter().zip(context);
        let common = common.take_while(|(a, b)| a == b).count();
        if common < self.seen.len() {
            self.forget(common)?;
        }
        for &token in context.get(common..).unwrap_or_default() {
            self.see(token)?;
        }
        for _ in 0..gamma {
            self.score()?;
            let sampled =
                sampler.sample_subset(&self.kept, &self.shared, &self.seen, &mut self.distribution);
            match sampled {
                Ok(token) => {
                    out.push(token, &self.distribution);
                    self.see(token)?;
                }
                // None of the shared tokens may be sampled here: then there is nothing to propose.
                Err(TransformError::NoSupport) => break,
                Err(error) => return Err(IntersectionError::Transform(error)),
            }
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        self.forget(len)
    }
}

/// What can go wrong in a [`TokenIntersection`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum IntersectionError<E> {
    /// The model failed.
    Model(E),
    /// Sampling failed.
    Transform(TransformError),
    /// The translation ends before this target token.
    NoTranslation {
        /// That token.
        token: TokenId,
    },
    /// The model gave no logit for this token of its own.
    NoLogit {
        /// That token.
        token: TokenId,
    },
}

impl<E: fmt::Display> fmt::Display for IntersectionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => write!(f, "{error}"),
            Self::Transform(error) => write!(f, "{error}"),
            Self::NoTranslation { token } => {
                write!(f, "target token {token} has no translation for the draft")
            }
            Self::NoLogit { token } => write!(f, "the draft gave no logit for its token {token}"),
        }
    }
}

impl<E: Error + 'static> Error for IntersectionError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Model(error) => Some(error),
            Self::Transform(error) => Some(error),
            _ => None,
        }
    }
}

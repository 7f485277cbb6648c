//! How two vocabularies relate and what follows from it.

use alloc::string::String;
use core::fmt;

use super::Vocabulary;
use crate::TokenId;

/// How a draft's vocabulary relates to the target's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabularyVerdict {
    /// Same tokens, same number of rows.
    Identical,
    /// The fingerprints agree; the draft has fewer rows: trimmed, or padded less.
    DraftHasFewerRows {
        /// Rows of the target.
        target: usize,
        /// Rows of the draft.
        draft: usize,
    },
    /// The fingerprints agree; the draft has more rows, so some of its rows name no target token.
    DraftHasMoreRows {
        /// Rows of the target.
        target: usize,
        /// Rows of the draft.
        draft: usize,
    },
    /// The same tokens under the same ids, but another number of padding rows behind them.
    PaddedRowsDiffer {
        /// Rows of the target.
        target: usize,
        /// Rows of the draft.
        draft: usize,
    },
    /// Every token of the draft is one of the target's, which has more, or has them in other places.
    DraftIsSubset {
        /// Tokens of the target.
        target: usize,
        /// Tokens of the draft.
        draft: usize,
    },
    /// A special token that both have means another token, or only one of them names it.
    SpecialIdsDiffer {
        /// Its role, such as `eos`.
        role: String,
        /// The target's token.
        target: Option<TokenId>,
        /// The draft's token.
        draft: Option<TokenId>,
    },
    /// Same number of rows but other tokens; `shared` is `None` where only fingerprints are known.
    DifferentTokens {
        /// How many tokens of the draft the target has too.
        shared: Option<usize>,
        /// Number of rows.
        rows: usize,
    },
    /// Neither the tokens nor the number of rows agree; `shared` as above.
    Unrelated {
        /// How many tokens of the draft the target has too.
        shared: Option<usize>,
        /// The target's vocabulary.
        target: Vocabulary,
        /// The draft's vocabulary.
        draft: Vocabulary,
    },
}

/// What to do about a [`VocabularyVerdict`]; each keeps the output lossless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Use the pair as it is.
    None,
    /// Cut the draft's logits to the target's rows before sampling.
    CutRows,
    /// Sample with [`Sampler::sample_subset`](crate::Sampler::sample_subset) and the target ids of
    /// the draft's tokens, from [`shared_tokens`](crate::shared_tokens); others get probability 0.
    SampleSubset,
    /// Take stop tokens and the prompt's special tokens from the target's tokenizer.
    TargetSpecials,
    /// Draft through [`TokenIntersection`](crate::TokenIntersection), or through
    /// `text::StringMatch` (feature `text`) where few tokens are shared.
    Translate,
    /// Use another draft: no token is shared.
    OtherDraft,
}

impl Remedy {
    /// The remedy as a sentence.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::None => "use the pair as it is",
            Self::CutRows => "cut the draft's logits to the target's rows before sampling",
            Self::SampleSubset => {
                "sample the draft with its target token ids; missing tokens get probability 0"
            }
            Self::TargetSpecials => {
                "take stop tokens and the prompt's special tokens from the target's tokenizer"
            }
            Self::Translate => {
                "draft through the tokens both have, or match strings when decoding greedily"
            }
            Self::OtherDraft => "use a draft trained for the target's tokenizer",
        }
    }
}

impl VocabularyVerdict {
    /// Whether the pair can be used without mapping one vocabulary to the other by text.
    #[must_use]
    pub fn is_compatible(&self) -> bool {
        !matches!(
            self,
            Self::DraftIsSubset { .. } | Self::DifferentTokens { .. } | Self::Unrelated { .. }
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Identical => Remedy::None,
            Self::DraftHasFewerRows { .. } | Self::DraftIsSubset { .. } => Remedy::SampleSubset,
            Self::DraftHasMoreRows { .. } => Remedy::CutRows,
            Self::PaddedRowsDiffer { target, draft } if draft > target => Remedy::CutRows,
            Self::PaddedRowsDiffer { .. } => Remedy::SampleSubset,
            Self::SpecialIdsDiffer { .. } => Remedy::TargetSpecials,
            Self::DifferentTokens { shared, .. } | Self::Unrelated { shared, .. } => match shared {
                Some(0) => Remedy::OtherDraft,
                _ => Remedy::Translate,
            },
        }
    }

    /// What to do about it, as a sentence.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        self.remedy().advice()
    }
}

impl fmt::Display for VocabularyVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = |f: &mut fmt::Formatter<'_>, shared: &Option<usize>| match shared {
            Some(count) => write!(f, ", {count} tokens shared"),
            None => Ok(()),
        };
        match self {
            Self::Identical => write!(f, "the vocabularies are identical")?,
            Self::DraftHasFewerRows { target, draft } => write!(
                f,
                "the tokens agree; the draft has {draft} rows, fewer than the target's {target}"
            )?,
            Self::DraftHasMoreRows { target, draft } => write!(
                f,
                "the tokens agree; the draft has {draft} rows, more than the target's {target}"
            )?,
            Self::PaddedRowsDiffer { target, draft } => write!(
                f,
                "the tokens agree; with padding the draft has {draft} rows, the target {target}"
            )?,
            Self::DraftIsSubset { target, draft } => write!(
                f,
                "the draft's {draft} tokens are among the target's {target}"
            )?,
            Self::SpecialIdsDiffer {
                role,
                target,
                draft,
            } => write!(
                f,
                "the special token {role} is {draft:?} in the draft, {target:?} in the target"
            )?,
            Self::DifferentTokens {
                shared: count,
                rows,
            } => {
                write!(f, "the tokens of the {rows} rows differ")?;
                shared(f, count)?;
            }
            Self::Unrelated {
                shared: count,
                target,
                draft,
            } => {
                write!(
                    f,
                    "the vocabularies differ: {} rows of the draft, {} of the target",
                    draft.size, target.size
                )?;
                shared(f, count)?;
            }
        }
        write!(f, "; {}", self.advice())
    }
}

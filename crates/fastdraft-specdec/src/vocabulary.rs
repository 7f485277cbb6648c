//! Vocabularies and whether a draft's fits a target's.

use core::fmt;

/// A vocabulary, identified by its size and a fingerprint of its tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Vocabulary {
    /// Number of rows, which is the length of a logits row; padding rows count.
    pub size: usize,
    /// Hash of the tokens themselves without padding rows, such as [`Vocabulary::from_tokens`]'s.
    ///
    /// A draft with a trimmed vocabulary carries the fingerprint of the full one.
    pub fingerprint: u64,
}

impl Vocabulary {
    /// A vocabulary of `size` rows whose tokens hash to `fingerprint`.
    #[must_use]
    pub fn new(size: usize, fingerprint: u64) -> Self {
        Self { size, fingerprint }
    }

    /// A vocabulary of `size` rows with the fingerprint of `tokens`, given in id order.
    ///
    /// The fingerprint is 64-bit FNV-1a over each token's length and bytes.
    pub fn from_tokens<T: AsRef<[u8]>>(size: usize, tokens: impl IntoIterator<Item = T>) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut feed = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        for token in tokens {
            let bytes = token.as_ref();
            (bytes.len() as u64)
                .to_le_bytes()
                .into_iter()
                .for_each(&mut feed);
            bytes.iter().copied().for_each(&mut feed);
        }
        Self::new(size, hash)
    }
}

/// How a draft's vocabulary relates to the target's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VocabularyVerdict {
    /// Same tokens, same number of rows.
    Identical,
    /// Same tokens; the draft has fewer rows: trimmed, or padded less.
    DraftHasFewerRows {
        /// Rows of the target.
        target: usize,
        /// Rows of the draft.
        draft: usize,
    },
    /// Same tokens; the draft has more rows, so some of its rows name no target token.
    DraftHasMoreRows {
        /// Rows of the target.
        target: usize,
        /// Rows of the draft.
        draft: usize,
    },
    /// Same number of rows but different tokens.
    DifferentTokens {
        /// Fingerprint of the target's tokens.
        target: u64,
        /// Fingerprint of the draft's tokens.
        draft: u64,
    },
    /// Neither the tokens nor the number of rows agree.
    Unrelated {
        /// The target's vocabulary.
        target: Vocabulary,
        /// The draft's vocabulary.
        draft: Vocabulary,
    },
}

impl VocabularyVerdict {
    /// Whether the pair can be used without mapping one vocabulary to the other.
    #[must_use]
    pub fn is_compatible(&self) -> bool {
        matches!(
            self,
            Self::Identical | Self::DraftHasFewerRows { .. } | Self::DraftHasMoreRows { .. }
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Identical => "use the pair as it is",
            Self::DraftHasFewerRows { .. } => {
                "sample the draft with its target token ids; missing tokens get probability 0"
            }
            Self::DraftHasMoreRows { .. } => {
                "cut the draft's logits to the target's rows before sampling"
            }
            Self::DifferentTokens { .. } | Self::Unrelated { .. } => {
                "use a draft trained for the target's tokenizer"
            }
        }
    }
}

impl fmt::Display for VocabularyVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            Self::DifferentTokens { target, draft } => write!(
                f,
                "the tokens differ: fingerprint {draft:016x} of the draft, {target:016x} of the target"
            )?,
            Self::Unrelated { target, draft } => write!(
                f,
                "the vocabularies differ: {} rows of the draft, {} of the target",
                draft.size, target.size
            )?,
        }
        write!(f, "; {}", self.advice())
    }
}

/// Compares a draft's vocabulary with the target's before a session.
///
/// ```
/// use fastdraft_specdec::{Vocabulary, VocabularyVerdict, preflight};
/// let target = Vocabulary::from_tokens(3, ["a", "b", "c"]);
/// assert_eq!(preflight(&target, &target.clone()), VocabularyVerdict::Identical);
/// ```
#[must_use]
pub fn preflight(target: &Vocabulary, draft: &Vocabulary) -> VocabularyVerdict {
    use core::cmp::Ordering;
    let (t, d) = (target.size, draft.size);
    match (target.fingerprint == draft.fingerprint, d.cmp(&t)) {
        (true, Ordering::Equal) => VocabularyVerdict::Identical,
        (true, Ordering::Less) => VocabularyVerdict::DraftHasFewerRows {
            target: t,
            draft: d,
        },
        (true, Ordering::Greater) => VocabularyVerdict::DraftHasMoreRows {
            target: t,
            draft: d,
        },
        (false, Ordering::Equal) => VocabularyVerdict::DifferentTokens {
            target: target.fingerprint,
            draft: draft.fingerprint,
        },
        (false, _) => VocabularyVerdict::Unrelated {
            target: target.clone(),
            draft: draft.clone(),
        },
    }
}

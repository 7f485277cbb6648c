//! What tells two vocabularies apart at no cost: size and fingerprint.

use super::VocabularyVerdict;

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

/// Compares a draft's vocabulary with the target's before a session, by size and fingerprint.
///
/// [`preflight_text`](crate::preflight_text) reads the tokens too and tells more.
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
            shared: None,
            rows: t,
        },
        (false, _) => VocabularyVerdict::Unrelated {
            shared: None,
            target: target.clone(),
            draft: draft.clone(),
        },
    }
}

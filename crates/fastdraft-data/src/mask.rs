//! Ids together with the choice of which of them are learned.

use serde::{Deserialize, Serialize};

use crate::DataError;

/// A token sequence and, for each token, whether the model is trained to produce it.
///
/// ```
/// use fastdraft_data::MaskedTokens;
///
/// let tokens = MaskedTokens::new(vec![5, 6, 7], vec![false, true, true])?;
/// assert_eq!(tokens.trained(), 2);
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskedTokens {
    /// The tokens.
    pub ids: Vec<u32>,
    /// True where the token is a training target.
    pub mask: Vec<bool>,
}

impl MaskedTokens {
    /// Joins ids and mask.
    ///
    /// # Errors
    ///
    /// [`DataError::MaskLength`] when the lengths differ, [`DataError::Mask`] when no token or
    /// every token is marked: both mean that the prompt was not told apart from the answer.
    pub fn new(ids: Vec<u32>, mask: Vec<bool>) -> Result<Self, DataError> {
        if ids.len() != mask.len() {
            return Err(DataError::MaskLength {
                ids: ids.len(),
                mask: mask.len(),
            });
        }
        let tokens = Self { ids, mask };
        let (trained, total) = (tokens.trained(), tokens.ids.len());
        if trained == 0 || trained == total {
            return Err(DataError::Mask { trained, total });
        }
        Ok(tokens)
    }

    /// A prompt that is read and an answer that is learned.
    ///
    /// # Errors
    ///
    /// [`DataError::Mask`] when either is empty.
    pub fn from_answer(prompt: &[u32], answer: &[u32]) -> Result<Self, DataError> {
        let mut mask = vec![false; prompt.len()];
        mask.resize(prompt.len() + answer.len(), true);
        Self::new([prompt, answer].concat(), mask)
    }

    /// Number of tokens that are training targets.
    #[must_use]
    pub fn trained(&self) -> usize {
        self.mask.iter().filter(|&&on| on).count()
    }

    /// Number of tokens.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no tokens.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sided_masks_are_errors() {
        for (prompt, answer) in [(&[1, 2][..], &[][..]), (&[], &[1, 2]), (&[], &[])] {
            let error = MaskedTokens::from_answer(prompt, answer).unwrap_err();
            assert!(matches!(error, DataError::Mask { .. }), "{error}");
        }
    }

    #[test]
    fn lengths_must_agree() {
        let error = MaskedTokens::new(vec![1, 2, 3], vec![true]).unwrap_err();
        assert_eq!(error.to_string(), "3 ids but 1 mask entries");
    }
}

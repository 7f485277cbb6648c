//! A model in host memory: configuration, weights, and the maps of a trimmed head.

use crate::{config::DecoderConfig, error::ModelError, weights::Weights};

/// Which target tokens a draft's head covers, ascending.
///
/// Stored in checkpoints as `d2t` (target id minus row index) and `t2d` (mask over the target
/// vocabulary), the names the field's draft trainers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftVocabulary {
    token_ids: Vec<u32>,
}

impl DraftVocabulary {
    /// The draft vocabulary of these target token ids.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] when empty or not strictly ascending,
    /// [`ModelError::TokenOutOfRange`] when an id is not below `vocabulary_size`.
    pub fn new(token_ids: Vec<u32>, vocabulary_size: usize) -> Result<Self, ModelError> {
        if token_ids.is_empty() || !token_ids.windows(2).all(|w| w[0] < w[1]) {
            return Err(ModelError::InvalidConfig {
                reason: "draft vocabulary ids must be strictly ascending and not empty".into(),
            });
        }
        match token_ids.last() {
            Some(&id) if id as usize >= vocabulary_size => Err(ModelError::TokenOutOfRange {
                id,
                vocabulary_size,
            }),
            _ => Ok(Self { token_ids }),
        }
    }

    /// Target id of each row of the head, `[head_size]`, ascending.
    #[must_use]
    pub fn token_ids(&self) -> &[u32] {
        &self.token_ids
    }

    /// Row of the head for each target token, `None` where the draft never proposes it:
    /// `[vocabulary_size]`.
    #[must_use]
    pub fn rows(&self, vocabulary_size: usize) -> Vec<Option<u32>> {
        let mut rows = vec![None; vocabulary_size];
        for (row, &id) in self.token_ids.iter().enumerate() {
            if let Some(slot) = rows.get_mut(id as usize) {
                *slot = Some(row as u32);
            }
        }
        rows
    }
}

/// A model in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Shape and constants.
    pub config: DecoderConfig,
    /// Weights under Hugging Face names.
    pub weights: Weights,
    /// Set for a draft whose head covers part of the target's vocabulary.
    pub draft_vocabulary: Option<DraftVocabulary>,
}

//! What a target model answered to a prompt.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::source::{read_jsonl, write_jsonl};
use crate::{DataError, MaskedTokens};

/// One answer, with the exact ids that went in and came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Name of the prompt.
    pub id: String,
    /// The prompt as text.
    pub prompt: String,
    /// The answer as text.
    pub answer: String,
    /// The prompt as the model saw it.
    pub prompt_ids: Vec<u32>,
    /// The answer as the model produced it, end token included if it came.
    pub answer_ids: Vec<u32>,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f32,
}

impl Answer {
    /// The prompt and the answer in ids, with the answer marked.
    ///
    /// # Errors
    ///
    /// [`DataError::Mask`] when the prompt or the answer is empty.
    pub fn masked(&self) -> Result<MaskedTokens, DataError> {
        MaskedTokens::from_answer(&self.prompt_ids, &self.answer_ids)
    }
}

/// Reads a JSON Lines file of answers.
///
/// # Errors
///
/// [`DataError::Io`] when it cannot be opened, [`DataError::BadLine`] at the first bad row.
pub fn read_answers(path: impl AsRef<Path>) -> Result<Vec<Answer>, DataError> {
    read_jsonl(path)
}

/// Writes answers as JSON Lines, the whole file or nothing.
///
/// # Errors
///
/// [`DataError::Io`] when the file cannot be written.
pub fn write_answers<'a>(
    path: impl AsRef<Path>,
    answers: impl IntoIterator<Item = &'a Answer>,
) -> Result<(), DataError> {
    write_jsonl(path, answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_mask() {
        let answer = Answer {
            id: "a".into(),
            prompt: "1 + 1".into(),
            answer: "2".into(),
            prompt_ids: vec![4, 5],
            answer_ids: vec![6, 0],
            temperature: 0.7,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.jsonl");
        write_answers(&path, [&answer]).unwrap();
        assert_eq!(read_answers(&path).unwrap(), std::slice::from_ref(&answer));
        let masked = answer.masked().unwrap();
        assert_eq!(masked.ids, [4, 5, 6, 0]);
        assert_eq!(masked.mask, [false, false, true, true]);
    }
}

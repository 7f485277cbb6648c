//! Prompts for generating answers and for measuring.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::source::jsonl::read_jsonl;

/// A prompt without any chat template applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// A name that is unique in its file.
    pub id: String,
    /// The kind of task, such as `code` or `summarization`.
    pub task: String,
    /// The text.
    pub prompt: String,
}

/// Reads a file of prompts.
///
/// # Errors
///
/// [`DataError::Io`] when it cannot be opened, [`DataError::BadLine`] at the first bad row.
pub fn read_prompts(path: impl AsRef<Path>) -> Result<Vec<Prompt>, DataError> {
    read_jsonl(path)
}

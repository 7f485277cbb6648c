//! What can go wrong between a model file and its logits.

use std::path::PathBuf;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what its format says.
    #[error("{path}: not a valid {format} file: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The format it was read as.
        format: &'static str,
        /// What is wrong, with the values found.
        reason: String,
    },
    /// The model needs something this crate does not have.
    #[error("{path}: unsupported {what}: {value}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The kind of thing.
        what: &'static str,
        /// The value found.
        value: String,
    },
    /// A tensor is missing.
    #[error("tensor `{name}` is missing")]
    MissingTensor {
        /// Its Hugging Face name.
        name: String,
    },
    /// A tensor that no part of the model uses.
    #[error("tensor `{name}` is not part of this model")]
    UnexpectedTensor {
        /// Its name in the file.
        name: String,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("tensor `{name}` has shape {found:?}, the configuration needs {expected:?}")]
    ShapeMismatch {
        /// Its Hugging Face name.
        name: String,
        /// Shape the configuration asks for.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A configuration contradicts itself.
    #[error("configuration: {reason}")]
    InvalidConfig {
        /// What contradicts what.
        reason: String,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocabulary_size} tokens")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        vocabulary_size: usize,
    },
    /// The sequence does not fit the KV cache.
    #[error("{tokens} tokens do not fit the context of {capacity} tokens")]
    ContextOverflow {
        /// Tokens asked for.
        tokens: usize,
        /// Tokens the cache holds.
        capacity: usize,
    },
    /// A pass without tokens, or a shorter context than the cache holds.
    #[error("invalid pass: {reason}")]
    InvalidPass {
        /// What is wrong.
        reason: String,
    },
    /// Sampling a draft token failed.
    #[error("draft sampling failed: {reason}")]
    Sampling {
        /// What the sampler said.
        reason: String,
    },
    /// A text that looks like a path, with nothing there.
    #[error(
        "{path}: no such file or directory; give the path of a GGUF file or of a Hugging Face directory"
    )]
    MissingPath {
        /// The path.
        path: PathBuf,
    },
    /// A name that is not in the table of known models.
    #[error("`{name}` is neither a path nor a known model; known models: {}", known.join(", "))]
    UnknownModel {
        /// The name.
        name: String,
        /// The names that would work.
        known: Vec<&'static str>,
    },
    /// One place a model may come from did not give it.
    #[error("{place}: {reason}")]
    Fetch {
        /// The place.
        place: &'static str,
        /// Why not.
        reason: String,
    },
    /// A downloaded file is not the file that was asked for.
    #[error("{path}: sha256 is {found}, expected {expected}")]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The digest it must have.
        expected: String,
        /// The digest it has.
        found: String,
    },
    /// No place gave a model that was asked for by name.
    #[error("model `{name}` is not available:\n  - {}\n{help}", attempts.join("\n  - "))]
    Unavailable {
        /// The name.
        name: String,
        /// What was tried, and why it failed.
        attempts: Vec<String>,
        /// How to give a path or fill the cache.
        help: String,
    },
}

impl ModelError {
    /// An [`ModelError::Io`] for `path`.
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }
}

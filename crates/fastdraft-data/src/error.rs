//! What can go wrong between text and training rows.

use std::path::{Path, PathBuf};

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of a JSON Lines file is not what it should be.
    #[error("{path}:{line}: {reason}")]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A row could not be turned into JSON.
    #[error("{path}: row {row} cannot be written as JSON: {reason}")]
    Serialize {
        /// The file being written.
        path: PathBuf,
        /// The row, counted from 1.
        row: usize,
        /// What the serializer said.
        reason: String,
    },
    /// A `tokenizer.json` could not be understood.
    #[error("{origin}: not a usable tokenizer: {reason}")]
    TokenizerFormat {
        /// Where the tokenizer came from.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A vocabulary asks for a text splitting rule that this crate does not have.
    #[error("unknown pre-tokenizer `{pre}`; known: {known}")]
    UnknownPreTokenizer {
        /// The name found.
        pre: String,
        /// The names that work.
        known: &'static str,
    },
    /// Two ids of a vocabulary have the same text.
    #[error("token `{token}` stands twice in the vocabulary, as {first} and {second}")]
    DuplicateToken {
        /// The text.
        token: String,
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// A vocabulary contradicts itself.
    #[error("vocabulary: {reason}")]
    Vocabulary {
        /// What is wrong, with the values found.
        reason: String,
    },
    /// Text could not be turned into ids.
    #[error("cannot encode {bytes} bytes of text: {reason}")]
    Encode {
        /// Length of the text.
        bytes: usize,
        /// What the tokenizer said.
        reason: String,
    },
    /// Ids could not be turned into text.
    #[error("cannot decode {tokens} ids: {reason}")]
    Decode {
        /// Number of ids.
        tokens: usize,
        /// What the tokenizer said.
        reason: String,
    },
    /// A chat template does not parse, or stopped while rendering.
    #[error("chat template: {reason}")]
    Template {
        /// What the template engine said.
        reason: String,
    },
    /// A chat template rewrites earlier turns, so the answer cannot be found in its output.
    #[error("chat template: the text before assistant message {message} changes once it is there")]
    TemplateRewrites {
        /// The message, counted from 0.
        message: usize,
    },
    /// Nothing, or everything, would be trained.
    #[error("{trained} of {total} tokens are marked for training; some but not all must be")]
    Mask {
        /// Marked tokens.
        trained: usize,
        /// All tokens.
        total: usize,
    },
    /// Ids and mask do not belong together.
    #[error("{ids} ids but {mask} mask entries")]
    MaskLength {
        /// Number of ids.
        ids: usize,
        /// Number of mask entries.
        mask: usize,
    },
    /// There is nothing to train on.
    #[error("no trainable token in {documents} documents at sequence length {sequence_length}")]
    EmptyCorpus {
        /// Documents and examples pushed.
        documents: usize,
        /// Row length asked for.
        sequence_length: usize,
    },
    /// The weights of a mixture do not fit its sources.
    #[error("mixture: weights {weights:?} for sources of {rows:?} rows: {reason}")]
    Mixture {
        /// The weights given.
        weights: Vec<u32>,
        /// Rows in each source.
        rows: Vec<usize>,
        /// What is wrong.
        reason: &'static str,
    },
    /// A rank is not one of a run's workers.
    #[error("rank {rank} is not below the world size {world}")]
    Rank {
        /// The rank given.
        rank: usize,
        /// The number of workers given.
        world: usize,
    },
    /// A file is no shard, or its header contradicts itself.
    #[error("{path}: not a usable shard: {reason}")]
    ShardFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the values found.
        reason: String,
    },
    /// A shard is shorter or longer than its header says.
    #[error("{path}: the shard should be {expected} bytes long and is {found}")]
    ShardLength {
        /// The file.
        path: PathBuf,
        /// Length by the header.
        expected: u64,
        /// Length of the file.
        found: u64,
    },
    /// Bytes of a shard have changed since it was written.
    #[error("{path}: {part} has checksum {found:08x}, not {expected:08x}: the file is damaged")]
    ShardDamaged {
        /// The file.
        path: PathBuf,
        /// The header or the block.
        part: String,
        /// Checksum stored in the file.
        expected: u64,
        /// Checksum of its bytes.
        found: u64,
    },
    /// A shard was made with another vocabulary.
    #[error("{path}: made with vocabulary {found:016x}, but {expected:016x} is in use")]
    ShardVocabulary {
        /// The file.
        path: PathBuf,
        /// Fingerprint of the vocabulary in use.
        expected: u64,
        /// Fingerprint in the shard.
        found: u64,
    },
    /// Tokens do not fit the shard they are written to.
    #[error("{path}: cannot take these tokens: {reason}")]
    ShardInput {
        /// The file being written.
        path: PathBuf,
        /// What does not fit, with the values found.
        reason: String,
    },
    /// A file is no data card.
    #[error("{path}: not a data card: {reason}")]
    CardFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A dataset's file is not the one its card describes.
    #[error("{path}: has sha256 {found}, its card says {expected}")]
    CardMismatch {
        /// The file.
        path: PathBuf,
        /// Digest by the card.
        expected: String,
        /// Digest of the file.
        found: String,
    },
    /// Answers cannot be generated, or not be generated any more.
    #[error("generation: {reason}")]
    Generate {
        /// What is wrong.
        reason: String,
    },
    /// There are not that many rows.
    #[error("{path}: row {row} of {rows}")]
    NoRow {
        /// The file or folder.
        path: PathBuf,
        /// The row asked for, counted from 0.
        row: u64,
        /// Rows there are.
        rows: u64,
    },
}

impl DataError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn shard(path: &Path, reason: impl Into<String>) -> Self {
        Self::ShardFormat {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }

    pub(crate) fn line(path: &Path, line: usize, reason: impl std::fmt::Display) -> Self {
        Self::BadLine {
            path: path.to_path_buf(),
            line,
            reason: reason.to_string(),
        }
    }
}

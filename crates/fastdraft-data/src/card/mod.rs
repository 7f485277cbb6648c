//! Data cards: what a dataset was made of, beside the dataset.
//!
//! Every folder of shards gets `card.json` and `card.md`, every answers file
//! `NAME.card.json` and `NAME.card.md`. The JSON is the record, the Markdown the same for reading.

mod digest;
mod markdown;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hygiene::HygieneCounts;
use crate::{DataError, atomic};

pub use digest::FileDigest;

const FORMAT: &str = "fastdraft-data-card";
const VERSION: u32 = 1;

/// What the dataset holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatasetKind {
    /// A folder of token shards.
    Shards,
    /// A file of answers, JSON Lines.
    Answers,
    /// A file of instructions, JSON Lines.
    Instructions,
}

/// One origin of texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceCard {
    /// What it is.
    pub name: String,
    /// SPDX expression or words; none where nobody stated it.
    pub licence: Option<String>,
    /// Its files, as they were read.
    pub files: Vec<FileDigest>,
    /// Documents that were used.
    pub documents: u64,
    /// Their tokens, before packing.
    pub tokens: u64,
}

impl SourceCard {
    /// A source of one file, which is read once for its digest.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when it cannot be read.
    pub fn of_file(path: impl AsRef<Path>, licence: Option<&str>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            licence: licence.map(str::to_owned),
            files: vec![FileDigest::of_file(path)?],
            documents: 0,
            tokens: 0,
        })
    }
}

/// The part of a card that no dataset file says by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provenance {
    /// A name for the dataset.
    pub name: String,
    /// Where its texts come from.
    pub sources: Vec<SourceCard>,
    /// Seed of everything random on the way.
    pub seed: Option<u64>,
    /// Documents that were dropped, and why.
    pub hygiene: HygieneCounts,
    /// Settings and remarks, in order.
    pub notes: Vec<String>,
}

/// The tokenizer whose ids the dataset has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerCard {
    /// [`Tokenizer::fingerprint`](crate::Tokenizer::fingerprint) in hexadecimal.
    pub fingerprint: String,
    /// The highest id plus one.
    pub vocabulary_size: u64,
}

impl TokenizerCard {
    pub(crate) fn new(fingerprint: u64, vocabulary_size: usize) -> Self {
        Self {
            fingerprint: format!("{fingerprint:016x}"),
            vocabulary_size: vocabulary_size as u64,
        }
    }
}

/// How much the dataset holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetCounts {
    /// Documents, examples or answers.
    pub documents: u64,
    /// Packed rows, or lines of a file.
    pub rows: u64,
    /// Tokens, without those that only fill rows up.
    pub tokens: u64,
    /// Tokens that count as labels.
    pub trained: u64,
    /// Tokens that only fill rows up.
    pub padding: u64,
}

/// What a dataset was made of, what it holds, and how to tell that it is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataCard {
    format: String,
    version: u32,
    /// What the dataset is.
    pub kind: DatasetKind,
    /// Where it comes from.
    pub provenance: Provenance,
    /// Its vocabulary.
    pub tokenizer: TokenizerCard,
    /// How much it holds.
    pub counts: DatasetCounts,
    /// Its files.
    pub files: Vec<FileDigest>,
}

impl DataCard {
    pub(crate) fn new(
        kind: DatasetKind,
        provenance: Provenance,
        tokenizer: TokenizerCard,
        counts: DatasetCounts,
        files: Vec<FileDigest>,
    ) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            kind,
            provenance,
            tokenizer,
            counts,
            files,
        }
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when it cannot be read, [`DataError::CardFormat`] when it is no card.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(DataError::io(path))?;
        let error = |reason: String| DataError::CardFormat {
            path: path.to_path_buf(),
            reason,
        };
        let card: Self = serde_json::from_slice(&bytes).map_err(|e| error(e.to_string()))?;
        if (card.format.as_str(), card.version) != (FORMAT, VERSION) {
            return Err(error(format!("{} version {}", card.format, card.version)));
        }
        Ok(card)
    }

    /// Compares the dataset's files with their digests; `folder` is where the card lies.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when a file cannot be read, [`DataError::CardMismatch`] for the first
    /// that is another.
    pub fn verify(&self, folder: impl AsRef<Path>) -> Result<(), DataError> {
        for file in &self.files {
            let path = folder.as_ref().join(&file.name);
            let found = FileDigest::of_file(&path)?;
            if (found.bytes, &found.sha256) != (file.bytes, &file.sha256) {
                return Err(DataError::CardMismatch {
                    path,
                    expected: file.sha256.clone(),
                    found: found.sha256,
                });
            }
        }
        Ok(())
    }

    /// The card as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes `path` and the Markdown beside it, each whole or not at all; the JSON comes last.
    pub(crate) fn write(&self, path: &Path) -> Result<(), DataError> {
        let text = path.with_extension("md");
        atomic::write(&text, |file| {
            file.write_all(self.markdown().as_bytes())
                .map_err(DataError::io(&text))
        })?;
        atomic::write(path, |file| {
            serde_json::to_writer_pretty(&mut *file, self)
                .map_err(std::io::Error::from)
                .and_then(|()| file.write_all(b"\n"))
                .map_err(DataError::io(path))
        })
    }
}

/// The card of a dataset: `card.json` in a folder, `answers.card.json` beside `answers.jsonl`.
#[must_use]
pub fn card_path(dataset: &Path) -> PathBuf {
    if dataset.is_dir() {
        dataset.join("card.json")
    } else {
        dataset.with_extension("card.json")
    }
}

/// Removes a card that is about to become wrong.
pub(crate) fn withdraw(dataset: &Path) -> Result<(), DataError> {
    let path = card_path(dataset);
    for path in [path.with_extension("md"), path] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(DataError::io(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

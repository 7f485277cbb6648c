//! The list of the shards of a folder.

use std::fs;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::header::ShardHeader;
use crate::{DataError, atomic};

/// Name of the index in its folder.
pub const INDEX_FILE: &str = "index.json";
const FORMAT: &str = "fastdraft-shards";
const VERSION: u32 = 1;

/// One shard of a folder. Everything but the name repeats the shard's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Name of the file in the folder.
    pub file: String,
    /// Rows in the file.
    pub rows: u64,
    /// Tokens that count as labels.
    pub trained: u64,
    /// Documents and examples that begin in the file.
    pub documents: u64,
    /// Tokens that only fill rows up.
    pub padding: u64,
    /// [`ShardHeader::checksum`] in hexadecimal.
    pub crc32: String,
}

impl ShardEntry {
    pub(super) fn new(file: String, header: &ShardHeader) -> Self {
        Self {
            file,
            rows: header.rows,
            trained: header.trained,
            documents: header.documents,
            padding: header.padding,
            crc32: format!("{:08x}", header.checksum()),
        }
    }
}

/// The shards of a folder, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardIndex {
    format: String,
    version: u32,
    /// Fingerprint of the vocabulary in hexadecimal, as JSON numbers are too short for it.
    pub fingerprint: String,
    /// Tokens in a row.
    pub row_width: u32,
    /// Rows in all shards.
    pub rows: u64,
    /// The shards.
    pub shards: Vec<ShardEntry>,
}

impl ShardIndex {
    pub(super) fn new(fingerprint: u64, row_width: u32, shards: Vec<ShardEntry>) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            fingerprint: format!("{fingerprint:016x}"),
            row_width,
            rows: shards.iter().map(|shard| shard.rows).sum(),
            shards,
        }
    }

    /// Reads the index of a folder.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when there is none, [`DataError::ShardFormat`] when it is not an index.
    pub fn read(folder: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = folder.as_ref().join(INDEX_FILE);
        let bytes = fs::read(&path).map_err(DataError::io(&path))?;
        let index: Self = serde_json::from_slice(&bytes)
            .map_err(|error| DataError::shard(&path, error.to_string()))?;
        index
            .problem()
            .map_or(Ok(index), |reason| Err(DataError::shard(&path, reason)))
    }

    fn problem(&self) -> Option<String> {
        if (self.format.as_str(), self.version) != (FORMAT, VERSION) {
            return Some(format!("{} version {}", self.format, self.version));
        }
        // An index must not reach outside its folder.
        let plain = |file: &str| {
            let mut parts = Path::new(file).components();
            matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none()
        };
        if let Some(shard) = self.shards.iter().find(|shard| !plain(&shard.file)) {
            return Some(format!("`{}` is not a file name", shard.file));
        }
        let rows = self
            .shards
            .iter()
            .try_fold(0u64, |sum, shard| sum.checked_add(shard.rows));
        (rows != Some(self.rows)).then(|| format!("{} rows, but {rows:?} in shards", self.rows))
    }

    /// Writes the index of a folder, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when it cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<(), DataError> {
        let path = folder.as_ref().join(INDEX_FILE);
        atomic::write(&path, |file| {
            serde_json::to_writer_pretty(&mut *file, self)
                .map_err(std::io::Error::from)
                .and_then(|()| file.write_all(b"\n"))
                .map_err(DataError::io(&path))
        })
    }
}

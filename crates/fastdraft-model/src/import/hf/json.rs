//! JSON files of bounded size.

use std::{fs::File, io::Read, path::Path};

use serde::de::DeserializeOwned;

use crate::error::ModelError;

/// Published configurations are below 100 KiB.
pub(super) const CONFIG_BYTES: u64 = 1 << 20;
/// The index of the largest published models is below 10 MiB.
pub(super) const INDEX_BYTES: u64 = 64 << 20;

pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    format: &'static str,
    limit: u64,
) -> Result<T, ModelError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|source| ModelError::io(path, source))?;
    let corrupt = |reason: String| ModelError::Corrupt {
        path: path.to_owned(),
        format,
        reason,
    };
    if bytes.len() as u64 > limit {
        return Err(corrupt(format!("longer than {limit} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))
}

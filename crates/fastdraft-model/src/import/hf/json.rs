//! JSON files of bounded size.

use std::{fs::File, io::Read, path::Path};

use serde::de::DeserializeOwned;

use crate::error::ModelError;

/// The index of the largest published models is below 10 MiB.
const MAX_BYTES: u64 = 64 << 20;

pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    format: &'static str,
) -> Result<T, ModelError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| ModelError::io(path, source))?;
    let corrupt = |reason: String| ModelError::Corrupt {
        path: path.to_owned(),
        format,
        reason,
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(corrupt(format!("longer than {MAX_BYTES} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))
}

//! Which bytes a file has.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::DataError;

/// A file's length and SHA-256.
///
/// ```
/// use fastdraft_data::card::FileDigest;
///
/// let digest = FileDigest::of_bytes("empty", b"");
/// assert!(digest.sha256.starts_with("e3b0c44298fc1c14"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Name of the file, without its folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

impl FileDigest {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when it cannot be read.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let mut file = File::open(path).map_err(DataError::io(path))?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer).map_err(DataError::io(path))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            bytes += read as u64;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.into_owned(),
            bytes,
            sha256: hex(&hash.finalize()),
        })
    }

    /// What a file of these bytes would have.
    #[must_use]
    pub fn of_bytes(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(bytes)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

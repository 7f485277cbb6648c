//! The directory of downloaded models.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::known::KnownModel;
use super::options::SourceOptions;
use crate::error::ModelError;

const PLACE: &str = "cache";

/// The model in the cache directory.
///
/// Only the size is checked here: files enter the cache by [`install`], which checks the digest.
pub(super) fn find(model: &KnownModel, options: &SourceOptions) -> Result<PathBuf, ModelError> {
    let path = directory(PLACE, options)?.join(model.file);
    match fs::metadata(&path) {
        Ok(found) if found.len() == model.bytes => Ok(path),
        Ok(found) => Err(ModelError::Fetch {
            place: PLACE,
            reason: format!(
                "{} has {} bytes, not {}",
                path.display(),
                found.len(),
                model.bytes
            ),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ModelError::Fetch {
            place: PLACE,
            reason: format!(
                "no {} in {}",
                model.file,
                directory(PLACE, options)?.display()
            ),
        }),
        Err(error) => Err(ModelError::io(path, error)),
    }
}

pub(super) fn directory<'a>(
    place: &'static str,
    options: &'a SourceOptions,
) -> Result<&'a Path, ModelError> {
    options
        .cache_dir
        .as_deref()
        .ok_or_else(|| ModelError::Fetch {
            place,
            reason: "no cache directory: FASTDRAFT_CACHE, XDG_CACHE_HOME and HOME are unset"
                .to_owned(),
        })
}

/// Copies `content` into `directory` as the file of `model`, which appears complete and checked or
/// not at all. `origin` stands for the content in errors.
pub(super) fn install(
    model: &KnownModel,
    directory: &Path,
    origin: &Path,
    content: &mut dyn Read,
) -> Result<PathBuf, ModelError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(model.file).suffix(".part");
    // Temporary files are private by default, a cache may be shared.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut part = builder
        .tempfile_in(directory)
        .map_err(|error| ModelError::io(directory, error))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0_u64;
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(ModelError::Corrupt {
                    path: origin.to_owned(),
                    format: "zip",
                    reason: format!("{} after {bytes} bytes: {error}", model.member),
                });
            }
        };
        bytes += count as u64;
        if bytes > model.bytes {
            break;
        }
        digest.update(&buffer[..count]);
        part.write_all(&buffer[..count])
            .map_err(|error| ModelError::io(part.path(), error))?;
    }
    if bytes != model.bytes {
        let more = if bytes > model.bytes {
            "more than "
        } else {
            ""
        };
        let found = bytes.min(model.bytes);
        return Err(ModelError::Corrupt {
            path: origin.to_owned(),
            format: "zip",
            reason: format!(
                "{} has {more}{found} bytes, not {}",
                model.member, model.bytes
            ),
        });
    }
    let found = hexadecimal(&digest.finalize());
    if found != model.sha256 {
        return Err(ModelError::Checksum {
            path: origin.join(model.member),
            expected: model.sha256.to_owned(),
            found,
        });
    }
    part.as_file()
        .sync_all()
        .map_err(|error| ModelError::io(part.path(), error))?;
    let path = directory.join(model.file);
    part.persist(&path)
        .map_err(|error| ModelError::io(&path, error.error))?;
    Ok(path)
}

/// The sha256 digest of a file, in lower-case hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String, ModelError> {
    let mut digest = Sha256::new();
    let mut file = fs::File::open(path).map_err(|error| ModelError::io(path, error))?;
    io::copy(&mut file, &mut digest).map_err(|error| ModelError::io(path, error))?;
    Ok(hexadecimal(&digest.finalize()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

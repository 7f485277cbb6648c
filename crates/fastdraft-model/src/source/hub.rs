//! The Hugging Face hub.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo};

use super::cache::sha256;
use super::known::KnownModel;
use super::options::SourceOptions;
use crate::error::ModelError;

/// The directory of the model in the cache of the hub, downloaded where it is missing.
pub(super) fn fetch(model: &KnownModel, options: &SourceOptions) -> Result<PathBuf, ModelError> {
    let Some(directory) = &options.hub_cache_dir else {
        return Err(failed("no cache directory: HF_HOME and HOME are unset"));
    };
    let cache = Cache::new(directory.clone());
    let cached = cache.model(model.hub_repository.to_owned());
    let local: Option<Vec<_>> = model
        .hub_files
        .iter()
        .map(|file| cached.get(file))
        .collect();
    if let Some(files) = local {
        return common_parent(&files);
    }
    if !options.hub {
        return Err(failed(
            "skipped, FASTDRAFT_OFFLINE or HF_HUB_OFFLINE is set",
        ));
    }
    let api = ApiBuilder::from_cache(cache.clone())
        .with_endpoint(options.hub_endpoint.clone())
        .with_retries(3)
        .build()
        .map_err(failed)?;
    let repository = api.repo(Repo::model(model.hub_repository.to_owned()));
    answers(
        &api,
        repository.url(model.hub_files[0]),
        options.hub_timeout,
    )?;
    let mut files = Vec::new();
    for file in model.hub_files {
        let path = match cached.get(file) {
            Some(path) => path,
            None => {
                let path = repository.download(file).map_err(|error| {
                    failed(format!("{file} of {}: {error}", model.hub_repository))
                })?;
                verify(&path)?;
                path
            }
        };
        files.push(path);
    }
    common_parent(&files)
}

/// The client itself waits without limit for a network that swallows packets.
fn answers(api: &Api, url: String, timeout: Duration) -> Result<(), ModelError> {
    let (sender, receiver) = mpsc::channel();
    let api = api.clone();
    let request = url.clone();
    thread::Builder::new()
        .spawn(move || sender.send(api.metadata(&request).map(drop)))
        .map_err(failed)?;
    match receiver.recv_timeout(timeout) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(format!("{url}: {error}"))),
        Err(_) => Err(failed(format!(
            "{url}: no answer in {} s",
            timeout.as_secs()
        ))),
    }
}

/// Large files lie in the cache under their sha256; small ones under a git hash, not checked.
fn verify(path: &Path) -> Result<(), ModelError> {
    let blob = fs::canonicalize(path).map_err(|error| ModelError::io(path, error))?;
    let expected = match blob.file_name().and_then(|name| name.to_str()) {
        Some(name) if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
        _ => return Ok(()),
    };
    let found = sha256(&blob)?;
    if found == expected {
        return Ok(());
    }
    let error = ModelError::Checksum {
        path: path.to_owned(),
        expected: expected.to_owned(),
        found,
    };
    for bad in [path, &blob] {
        fs::remove_file(bad).map_err(|error| ModelError::io(bad, error))?;
    }
    Err(error)
}

fn common_parent(files: &[PathBuf]) -> Result<PathBuf, ModelError> {
    let mut parents = files.iter().map(|file| file.parent());
    match parents.next().flatten() {
        Some(first) if parents.all(|parent| parent == Some(first)) => Ok(first.to_owned()),
        _ => Err(failed(
            "the repository changed while it was downloaded; try again",
        )),
    }
}

fn failed(reason: impl ToString) -> ModelError {
    ModelError::Fetch {
        place: "Hugging Face hub",
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use tempfile::TempDir;

    use super::super::known;
    use super::*;

    fn model() -> &'static KnownModel {
        known::find("smollm2-135m-instruct").unwrap()
    }

    #[test]
    fn local_hub_cache_serves_without_network() {
        let directory = TempDir::new().unwrap();
        let repository = directory
            .path()
            .join("models--HuggingFaceTB--SmolLM2-135M-Instruct");
        let snapshot = repository.join("snapshots/abc");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), "abc").unwrap();
        let options = SourceOptions {
            hub_cache_dir: Some(directory.path().to_owned()),
            ..SourceOptions::offline()
        };
        for file in model().hub_files {
            let error = fetch(model(), &options).unwrap_err();
            assert!(error.to_string().contains("skipped"), "{error}");
            fs::write(snapshot.join(file), "x").unwrap();
        }
        assert_eq!(fetch(model(), &options).unwrap(), snapshot);
    }

    #[test]
    fn silent_hub_is_given_up() {
        let directory = TempDir::new().unwrap();
        // Connections queue in the backlog and get no answer.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = SourceOptions {
            hub_cache_dir: Some(directory.path().to_owned()),
            hub_endpoint: format!("http://{}", listener.local_addr().unwrap()),
            hub: true,
            hub_timeout: Duration::from_millis(200),
            ..SourceOptions::offline()
        };
        let start = Instant::now();
        let error = fetch(model(), &options).unwrap_err();
        assert!(error.to_string().contains("no answer"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn blob_with_another_digest_is_removed() {
        let directory = TempDir::new().unwrap();
        let blob = directory.path().join("0".repeat(64));
        fs::write(&blob, "x").unwrap();
        let path = directory.path().join("model.safetensors");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&blob, &path).unwrap();
        #[cfg(not(unix))]
        return;
        let error = verify(&path).unwrap_err();
        assert!(matches!(error, ModelError::Checksum { .. }), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

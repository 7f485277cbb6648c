//! Model directories that transformers reads.

mod config;
mod weights;

use std::{fs, path::Path};

use crate::{checkpoint::Checkpoint, error::ModelError, import::layout};

/// Writes `model.safetensors` (float32), `generation_config.json` and `config.json` into `dir`,
/// creating it if needed.
///
/// Each file is written under another name and then renamed, the configuration last, so a reader
/// never sees half a file.
///
/// A trimmed head is written with `d2t`, `t2d` and `draft_vocab_size`, for this crate and the
/// trainers of the field that use those names. transformers refuses such a directory, naming
/// `lm_head.weight`, instead of sampling the wrong tokens: no weights of a full head have the
/// draft's law, in which the tokens left out have probability 0.
///
/// # Errors
/// [`ModelError::InvalidConfig`] when the family's `config.json` cannot express the
/// configuration, the tensor errors when the weights are not those of the configuration, and
/// [`ModelError::Io`].
pub fn save(dir: &Path, checkpoint: &Checkpoint) -> Result<(), ModelError> {
    layout::check(checkpoint)?;
    let config = config::document(checkpoint)?;
    let generation = config::generation(&checkpoint.config);
    fs::create_dir_all(dir).map_err(|source| ModelError::io(dir, source))?;
    let staging = tempfile::TempDir::new_in(dir).map_err(|source| ModelError::io(dir, source))?;
    weights::write(&staging.path().join("model.safetensors"), checkpoint)?;
    config::write(&staging.path().join("generation_config.json"), &generation)?;
    config::write(&staging.path().join("config.json"), &config)?;
    for name in ["model.safetensors", "generation_config.json", "config.json"] {
        let (from, to) = (staging.path().join(name), dir.join(name));
        fs::File::open(&from)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&from, &to))
            .map_err(|source| ModelError::io(&to, source))?;
    }
    Ok(())
}

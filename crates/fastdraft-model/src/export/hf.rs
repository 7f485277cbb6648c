//! Model directories that transformers reads.

mod config;
mod tokenizer;
mod weights;
mod write;

use std::path::Path;

pub use self::tokenizer::TokenizerFiles;
use crate::{checkpoint::Checkpoint, error::ModelError, import::layout};

/// [`save_with`] without a tokenizer.
///
/// # Errors
/// Those of [`save_with`].
pub fn save(dir: &Path, checkpoint: &Checkpoint) -> Result<(), ModelError> {
    save_with(dir, checkpoint, &TokenizerFiles::new())
}

/// Writes `model.safetensors` (float32), `generation_config.json`, the files of a tokenizer and
/// `config.json` into `dir`.
///
/// All or nothing: a directory that is not there yet appears with every file in it. In one that
/// is there, files of these names are replaced and others stay; where one of them cannot be
/// written, all are as before. `config.json` is away while others are replaced, so that nobody
/// reads a mixture.
///
/// A trimmed head is written with `d2t`, `t2d` and `draft_vocab_size`, for this crate and the
/// trainers of the field that use those names. transformers refuses such a directory, naming
/// `lm_head.weight`, instead of sampling the wrong tokens: no weights of a full head have the
/// draft's law, in which the tokens left out have probability 0.
///
/// ```
/// use fastdraft_model::{DecoderConfig, draft::init, export::hf, import};
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("draft");
/// let draft = init::random(DecoderConfig::llama(100, 64, 2), None, 42)?;
/// let mut files = hf::TokenizerFiles::new();
/// files.insert("chat_template.jinja", "{{ messages[0].content }}")?;
/// hf::save_with(&out, &draft, &files)?;
/// assert_eq!(import::load(&out)?, draft);
/// # Ok::<(), fastdraft_model::ModelError>(())
/// ```
///
/// # Errors
/// [`ModelError::InvalidConfig`] when the family's `config.json` cannot express the
/// configuration, the tensor errors when the weights are not those of the configuration, and
/// [`ModelError::Io`].
pub fn save_with(
    dir: &Path,
    checkpoint: &Checkpoint,
    tokenizer: &TokenizerFiles,
) -> Result<(), ModelError> {
    layout::check(checkpoint)?;
    let config = config::document(checkpoint)?;
    let generation = config::generation(&checkpoint.config);
    write::directory(dir, |staging| {
        weights::write(&staging.join("model.safetensors"), checkpoint)?;
        for (name, bytes) in tokenizer.iter() {
            write::file(&staging.join(name), bytes)?;
        }
        config::write(&staging.join("generation_config.json"), &generation)?;
        config::write(&staging.join(write::LAST), &config)
    })
}

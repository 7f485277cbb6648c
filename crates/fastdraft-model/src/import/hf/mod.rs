//! Hugging Face model directories: `config.json` and safetensors.

mod config;
mod draft;
mod foreign;
mod json;
mod rope;
mod shards;
mod stream;
mod weights;

use std::path::Path;

pub(crate) use self::stream::Stream;
use crate::{
    checkpoint::Checkpoint,
    config::DecoderConfig,
    error::ModelError,
    import::{layout, limits},
};

/// The model in a directory as transformers saves it.
///
/// `config.json` is read in the spelling of transformers 5 and in the older one. A directory
/// with `draft_vocab_size` in its configuration has a head for part of the vocabulary, and the
/// maps `d2t` and `t2d`.
///
/// # Errors
/// [`ModelError::Io`] or [`ModelError::Corrupt`] for a file that cannot be read,
/// [`ModelError::Unsupported`] for an architecture, rope or tensor type outside this crate,
/// [`ModelError::InvalidConfig`] for sizes that contradict each other, and
/// [`ModelError::MissingTensor`], [`ModelError::UnexpectedTensor`] or
/// [`ModelError::ShapeMismatch`] when the weights are not those of the configuration.
pub fn load(dir: &Path) -> Result<Checkpoint, ModelError> {
    let (config, trimmed) = read_config(dir)?;
    let shards = shards::Shards::open(dir)?;
    let plan = weights::plan(&config, trimmed, &shards)?;
    let draft_vocabulary = if trimmed {
        Some(draft::read(
            config.head_size,
            config.vocabulary_size,
            &shards,
        )?)
    } else {
        None
    };
    let weights = weights::read(&config, plan, &shards)?;
    let checkpoint = Checkpoint {
        config,
        weights,
        draft_vocabulary,
    };
    layout::check(&checkpoint)?;
    Ok(checkpoint)
}

fn read_config(dir: &Path) -> Result<(DecoderConfig, bool), ModelError> {
    let path = dir.join("config.json");
    let (mut config, trimmed) = config::read(&path)?;
    let generation = dir.join("generation_config.json");
    if generation.exists() {
        for id in config::generation_eos(&generation)? {
            if !config.eos_ids.contains(&id) {
                config.eos_ids.push(id);
            }
        }
    }
    limits::check(&config)?;
    Ok((config, trimmed))
}

//! GGUF files that llama.cpp reads.

mod header;
mod metadata;
mod quantize;
mod tensors;

use std::{
    fs,
    io::{BufWriter, Write},
    path::Path,
};

use crate::{
    checkpoint::Checkpoint,
    config::{DecoderConfig, Family, RopeScaling},
    error::ModelError,
    import::{
        gguf::{GgufTokenizer, TensorType},
        layout,
    },
    rope::YARN_BETAS,
};

/// How the matrices of a file are stored. Norms and biases are float32 in every format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GgufFormat {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper half of 32-bit floats.
    BF16,
    /// 8 bits and a scale per 32; a matrix whose rows are not whole blocks is stored as F16.
    Q8_0,
    /// 4 bits and a scale per 32; a matrix whose rows are not whole blocks is stored as F16.
    Q4_0,
}

/// Which matrices are stored how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgufFormats {
    /// Of the blocks.
    pub blocks: GgufFormat,
    /// Of the embedding and the head.
    pub vocabulary: GgufFormat,
}

impl From<GgufFormat> for GgufFormats {
    fn from(format: GgufFormat) -> Self {
        Self {
            blocks: format,
            vocabulary: format,
        }
    }
}

impl GgufFormat {
    const fn tensor_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::BF16 => TensorType::BF16,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q4_0 => TensorType::Q4_0,
        }
    }

    /// `general.file_type` of the format.
    const fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::BF16 => 32,
        }
    }
}

/// Writes a model and its tokenizer as one file, under another name first.
///
/// The tokenizer is byte-level BPE or SentencePiece. Rows of the vocabulary beyond its tokens become unused
/// tokens. The end tokens are the tokenizer's, and the first other one of the configuration.
///
/// A head that covers part of the vocabulary is refused: llama.cpp reads as many logits as there
/// are tokens, and no finite row of weights gives a token the probability 0 that the draft's own
/// law has for it.
///
/// # Errors
/// [`ModelError::InvalidConfig`] for a trimmed head, a tokenizer that does not fit, or something
/// llama.cpp does not compute for the family (a sliding window shorter than the context, biases
/// of Qwen3, dynamic rope scaling); the tensor errors when the weights are not those of the configuration, and
/// [`ModelError::Io`].
pub fn save(
    path: &Path,
    checkpoint: &Checkpoint,
    tokenizer: &GgufTokenizer,
    formats: impl Into<GgufFormats>,
) -> Result<(), ModelError> {
    let formats = formats.into();
    if checkpoint.draft_vocabulary.is_some() {
        return Err(invalid(format!(
            "a head of {} rows for {} tokens has no exact form in a GGUF file: llama.cpp needs a \
             logit for every token, and no weights give the others probability 0",
            checkpoint.config.head_size, checkpoint.config.vocabulary_size
        )));
    }
    layout::check(checkpoint)?;
    let arch = architecture(&checkpoint.config)?;
    let metadata = metadata::of(checkpoint, arch, tokenizer, formats.blocks)?;
    let tensors = tensors::of(checkpoint, formats)?;

    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    fs::create_dir_all(dir).map_err(|source| ModelError::io(dir, source))?;
    let failed = |source| ModelError::io(path, source);
    let mut builder = tempfile::Builder::new();
    // A temporary file is private unless told otherwise; the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut staged = builder.tempfile_in(dir).map_err(failed)?;
    let mut out = BufWriter::new(staged.as_file_mut());
    header::write(&mut out, &metadata, &tensors).map_err(failed)?;
    for tensor in &tensors {
        let bytes = tensor.bytes();
        out.write_all(&bytes)
            .and_then(|()| header::pad(&mut out, bytes.len()))
            .map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    drop(out);
    staged.as_file().sync_all().map_err(failed)?;
    staged
        .persist(path)
        .map_err(|error| failed(error.error))
        .map(drop)
}

/// The architecture whose computation in llama.cpp is that of the configuration.
fn architecture(config: &DecoderConfig) -> Result<&'static str, ModelError> {
    if let Some(window) = config.sliding_window
        && window < config.context_length
    {
        return Err(invalid(format!(
            "llama.cpp has no sliding window for {:?}: {window} of {} tokens",
            config.family, config.context_length
        )));
    }
    match config.rope_scaling {
        RopeScaling::Dynamic { .. } => {
            return Err(invalid("llama.cpp has no dynamic rope scaling".into()));
        }
        RopeScaling::Yarn {
            beta_fast,
            beta_slow,
            truncate,
            ..
        } if (beta_fast, beta_slow, truncate) != (YARN_BETAS[0], YARN_BETAS[1], true) => {
            return Err(invalid(format!(
                "llama.cpp blends the frequencies of yarn between {} and {} turns, widened to \
                 whole pairs: {beta_fast} and {beta_slow}, widened: {truncate}",
                YARN_BETAS[0], YARN_BETAS[1]
            )));
        }
        _ => {}
    }
    let (arch, fits) = match config.family {
        Family::Llama | Family::Mistral => ("llama", !config.qk_norm),
        Family::Qwen2 => ("qwen2", config.qkv_bias && !config.qk_norm),
        Family::Qwen3 => ("qwen3", config.qk_norm && !config.qkv_bias),
        // Its attention is as wide as the model.
        Family::Phi3 if config.heads * config.head_dim != config.hidden_size => {
            return Err(invalid(format!(
                "llama.cpp has no phi3 with {} heads of {} in a width of {}",
                config.heads, config.head_dim, config.hidden_size
            )));
        }
        Family::Phi3 => ("phi3", !config.qk_norm && !config.qkv_bias),
    };
    let plain = arch == "llama" || (!config.output_bias && !config.mlp_bias);
    if !fits || !plain {
        return Err(invalid(format!(
            "llama.cpp's {arch} has no such biases or norms: {config:?}"
        )));
    }
    Ok(arch)
}

fn invalid(reason: String) -> ModelError {
    ModelError::InvalidConfig { reason }
}

//! Metadata into a configuration.

use super::{GgufFile, corrupt, rope, tokenizer, unsupported};
use crate::{
    config::{DecoderConfig, Family},
    error::ModelError,
    import::limits,
};

pub(super) fn read(file: &GgufFile) -> Result<DecoderConfig, ModelError> {
    let arch = file.string("general.architecture")?.ok_or_else(|| {
        corrupt(
            file.path(),
            "metadata `general.architecture` is missing".into(),
        )
    })?;
    let family = match arch {
        "llama" => Family::Llama,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "phi3" => Family::Phi3,
        other => return Err(unsupported(file.path(), "architecture", other.to_owned())),
    };
    let keys = Keys { file, arch };
    keys.refuse_foreign()?;
    let vocabulary_size =
        rows(file, "token_embd.weight")?.ok_or_else(|| ModelError::MissingTensor {
            name: "model.embed_tokens.weight".into(),
        })?;
    let head_size = rows(file, "output.weight")?;
    let hidden_size = keys.size("embedding_length")?;
    let heads = keys.size("attention.head_count")?;
    let (head_dim, rotary_dim) = head(&keys, family, hidden_size, heads)?;
    let has = |name: &str| file.tensor(name).is_some();
    let mut config = DecoderConfig {
        family,
        vocabulary_size,
        head_size: head_size.unwrap_or(vocabulary_size),
        hidden_size,
        intermediate_size: keys.size("feed_forward_length")?,
        layers: keys.size("block_count")?,
        heads,
        kv_heads: keys.optional("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        rotary_dim,
        norm_epsilon: keys
            .float("attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon"))?,
        rope_theta: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: rope::scaling(file, arch)?,
        context_length: keys.size("context_length")?,
        // Older converters write 0 where there is no window.
        full_attention_layers: Vec::new(),
        sliding_window: keys
            .optional("attention.sliding_window")?
            .filter(|&window| window > 0),
        tied: head_size.is_none(),
        qkv_bias: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
        output_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_down.bias"),
        qk_norm: has("blk.0.attn_q_norm.weight"),
        bos_id: bos(file, vocabulary_size)?,
        eos_ids: eos(file, vocabulary_size)?,
    };
    if config.head_size != vocabulary_size {
        return Err(limits::invalid(format!(
            "a head of {} rows for a vocabulary of {vocabulary_size} tokens",
            config.head_size
        )));
    }
    limits::check(&config)?;
    config.rope_scaling = rope::from_factors(file, &config, arch)?;
    limits::check(&config)?;
    Ok(config)
}

/// What other models of the format have, fine only when absent or 0.
const FOREIGN: [&str; 8] = [
    "attention.clamp_kqv",
    "attention.scale",
    "attn_logit_softcapping",
    "embedding_scale",
    "expert_count",
    "final_logit_softcapping",
    "logit_scale",
    "residual_scale",
];

/// Metadata under the architecture's prefix.
struct Keys<'a> {
    file: &'a GgufFile,
    arch: &'a str,
}

impl Keys<'_> {
    fn optional(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let key = format!("{}.{key}", self.arch);
        let Some(value) = self.file.unsigned(&key)? else {
            return Ok(None);
        };
        usize::try_from(value)
            .map(Some)
            .map_err(|_| corrupt(self.file.path(), format!("`{key}` is {value}")))
    }

    fn size(&self, key: &str) -> Result<usize, ModelError> {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.file.float(&format!("{}.{key}", self.arch))
    }

    /// Settings that would change what the model computes.
    fn refuse_foreign(&self) -> Result<(), ModelError> {
        if let Some(count) = self.file.unsigned("split.count")?
            && count > 1
        {
            let value = format!("one of {count}; merge them with llama-gguf-split --merge");
            return Err(unsupported(self.file.path(), "split file", value));
        }
        for key in FOREIGN {
            if let Some(value) = self.float(key)?
                && value != 0.0
            {
                let value = format!("`{}.{key}`: {value}", self.arch);
                return Err(unsupported(self.file.path(), "setting", value));
            }
        }
        Ok(())
    }

    fn missing(&self, key: &str) -> ModelError {
        corrupt(
            self.file.path(),
            format!("metadata `{}.{key}` is missing", self.arch),
        )
    }
}

/// Width of a head, and of its rotated part where that is narrower.
fn head(
    keys: &Keys<'_>,
    family: Family,
    hidden_size: usize,
    heads: usize,
) -> Result<(usize, Option<usize>), ModelError> {
    let key = keys.optional("attention.key_length")?;
    let value = keys.optional("attention.value_length")?;
    let head_dim = match key {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            return Err(limits::invalid(format!(
                "an embedding of {hidden_size} does not divide into {heads} heads"
            )));
        }
    };
    let rotary = keys.optional("rope.dimension_count")?.unwrap_or(head_dim);
    let whole = rotary == head_dim || family == Family::Phi3;
    if !whole || value.unwrap_or(head_dim) != head_dim {
        return Err(unsupported(
            keys.file.path(),
            "head",
            format!("keys of {head_dim}, values of {value:?}, rotary part of {rotary}"),
        ));
    }
    Ok((head_dim, (rotary != head_dim).then_some(rotary)))
}

/// Outermost extent of a matrix.
fn rows(file: &GgufFile, name: &str) -> Result<Option<usize>, ModelError> {
    match file.tensor(name).map(|tensor| tensor.shape.as_slice()) {
        None => Ok(None),
        Some(&[rows, _]) => Ok(Some(rows)),
        Some(shape) => Err(corrupt(
            file.path(),
            format!("tensor `{name}` has shape {shape:?}"),
        )),
    }
}

/// The first token, where the model wants one.
fn bos(file: &GgufFile, vocabulary_size: usize) -> Result<Option<u32>, ModelError> {
    let id = tokenizer::token_id(file, "bos_token_id", vocabulary_size)?;
    let declined = file.flag("tokenizer.ggml.add_bos_token")? == Some(false);
    Ok(id.filter(|_| !declined))
}

fn eos(file: &GgufFile, vocabulary_size: usize) -> Result<Vec<u32>, ModelError> {
    let mut ids = Vec::new();
    for name in ["eos_token_id", "eot_token_id"] {
        if let Some(id) = tokenizer::token_id(file, name, vocabulary_size)?
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

//! `config.json` of the supported families.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{foreign, json, rope};
use crate::{
    config::{DecoderConfig, Family},
    error::ModelError,
    import::limits,
};

#[derive(Debug, Deserialize)]
struct Raw {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<usize>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    qkv_bias: Option<bool>,
    mlp_bias: Option<bool>,
    /// Outer `None`: the key is absent, and the family's default holds.
    #[serde(default, deserialize_with = "present")]
    sliding_window: Option<Option<usize>>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    architectures: Option<Vec<String>>,
    bos_token_id: Option<TokenIds>,
    eos_token_id: Option<TokenIds>,
    draft_vocab_size: Option<usize>,
    quantization_config: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(u32),
    Many(Vec<u32>),
}

impl TokenIds {
    fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The configuration, and whether its head is trimmed.
pub(super) fn read(path: &Path) -> Result<(DecoderConfig, bool), ModelError> {
    // The type is looked at first, so that an unknown family is named whatever its other fields.
    let value: Value = json::read(path, "config.json", json::CONFIG_BYTES)?;
    let family = family(path, value.get("model_type").and_then(Value::as_str))?;
    let corrupt = |error: serde_json::Error| ModelError::Corrupt {
        path: path.to_owned(),
        format: "config.json",
        reason: error.to_string(),
    };
    foreign::check(path, &value)?;
    let raw = Raw::deserialize(&value).map_err(corrupt)?;
    let rope = rope::Raw::deserialize(&value).map_err(corrupt)?;
    convert(path, family, raw, rope)
}

/// What transformers takes for a field that is absent.
struct Defaults {
    kv_heads: Option<usize>,
    norm_epsilon: f64,
    context_length: usize,
}

fn defaults(family: Family) -> Defaults {
    let (kv_heads, norm_epsilon, context_length) = match family {
        Family::Llama => (None, 1e-6, 2048),
        Family::Mistral => (Some(8), 1e-6, 4096 * 32),
        Family::Qwen2 | Family::Qwen3 => (Some(32), 1e-6, 32_768),
        Family::Phi3 => (None, 1e-5, 4096),
    };
    Defaults {
        kv_heads,
        norm_epsilon,
        context_length,
    }
}

/// End tokens in `generation_config.json`.
pub(super) fn generation_eos(path: &Path) -> Result<Vec<u32>, ModelError> {
    #[derive(Deserialize)]
    struct Generation {
        eos_token_id: Option<TokenIds>,
    }
    let generation: Generation = json::read(path, "generation_config.json", json::CONFIG_BYTES)?;
    Ok(generation
        .eos_token_id
        .map(TokenIds::into_vec)
        .unwrap_or_default())
}

fn family(path: &Path, model_type: Option<&str>) -> Result<Family, ModelError> {
    match model_type {
        Some("llama") => Ok(Family::Llama),
        Some("mistral") => Ok(Family::Mistral),
        Some("qwen2") => Ok(Family::Qwen2),
        Some("qwen3") => Ok(Family::Qwen3),
        Some("phi3") => Ok(Family::Phi3),
        other => Err(unsupported(
            path,
            "model type",
            other.unwrap_or("config.json names none").into(),
        )),
    }
}

fn convert(
    path: &Path,
    family: Family,
    raw: Raw,
    rope: rope::Raw,
) -> Result<(DecoderConfig, bool), ModelError> {
    supported(path, family, &raw)?;
    let defaults = defaults(family);
    let context_length = raw
        .max_position_embeddings
        .unwrap_or(defaults.context_length);
    let rope = rope::convert(path, family, rope, context_length)?;
    let heads = raw.num_attention_heads;
    let head_dim = match (raw.head_dim, family) {
        (Some(head_dim), _) => head_dim,
        // Qwen3's own default does not follow from its width.
        (None, Family::Qwen3) => 128,
        (None, _) if heads > 0 && raw.hidden_size.is_multiple_of(heads) => raw.hidden_size / heads,
        (None, _) => {
            return Err(limits::invalid(format!(
                "a hidden size of {} does not divide into {heads} heads",
                raw.hidden_size
            )));
        }
    };
    let attention_bias = raw.attention_bias.unwrap_or(false);
    let (qkv_bias, output_bias) = match family {
        Family::Llama | Family::Qwen3 => (attention_bias, attention_bias),
        Family::Qwen2 => (raw.qkv_bias.unwrap_or(true), false),
        Family::Mistral | Family::Phi3 => (false, false),
    };
    let (sliding_window, full_attention_layers) = windows(path, family, &raw)?;
    // As Python's `int` rounds it.
    let rotary = (head_dim as f64 * rope.partial) as usize;
    let config = DecoderConfig {
        family,
        vocabulary_size: raw.vocab_size,
        head_size: raw.draft_vocab_size.unwrap_or(raw.vocab_size),
        hidden_size: raw.hidden_size,
        intermediate_size: raw.intermediate_size,
        layers: raw.num_hidden_layers,
        heads,
        kv_heads: (raw.num_key_value_heads)
            .or(defaults.kv_heads)
            .unwrap_or(heads),
        head_dim,
        rotary_dim: (rotary != head_dim).then_some(rotary),
        norm_epsilon: raw.rms_norm_eps.unwrap_or(defaults.norm_epsilon),
        rope_theta: rope.theta,
        rope_scaling: rope.scaling,
        context_length,
        sliding_window,
        full_attention_layers,
        tied: raw.tie_word_embeddings.unwrap_or(false),
        qkv_bias,
        output_bias,
        mlp_bias: family == Family::Llama && raw.mlp_bias.unwrap_or(false),
        qk_norm: family == Family::Qwen3,
        bos_id: raw
            .bos_token_id
            .and_then(|ids| ids.into_vec().first().copied()),
        eos_ids: raw.eos_token_id.map(TokenIds::into_vec).unwrap_or_default(),
    };
    Ok((config, raw.draft_vocab_size.is_some()))
}

/// Refuses what the family's decoder does not compute.
fn supported(path: &Path, family: Family, raw: &Raw) -> Result<(), ModelError> {
    for act in raw.hidden_act.iter().chain(&raw.hidden_activation) {
        if !matches!(act.as_str(), "silu" | "swish") {
            return Err(unsupported(path, "activation", act.clone()));
        }
    }
    if let Some(quantization) = &raw.quantization_config {
        let method = quantization.get("quant_method").unwrap_or(quantization);
        return Err(unsupported(path, "quantization", method.to_string()));
    }
    let mut architectures = raw.architectures.iter().flatten();
    if let Some(name) = architectures.find(|name| !name.ends_with("ForCausalLM")) {
        return Err(unsupported(path, "architecture", name.clone()));
    }
    // Transformers ignores a bias that its class has not; other programs do not.
    let attention_bias = !matches!(family, Family::Mistral | Family::Phi3);
    for (name, value, known) in [
        ("attention_bias", raw.attention_bias, attention_bias),
        ("mlp_bias", raw.mlp_bias, family == Family::Llama),
        ("qkv_bias", raw.qkv_bias, family == Family::Qwen2),
    ] {
        if value == Some(true) && !known {
            return Err(unsupported(path, name, format!("true in {family:?}")));
        }
    }
    Ok(())
}

/// The window, and the layers that have none in spite of it.
fn windows(
    path: &Path,
    family: Family,
    raw: &Raw,
) -> Result<(Option<usize>, Vec<usize>), ModelError> {
    let layers = raw.num_hidden_layers;
    let window = match family {
        // Its class has no window, its key-value cache would have one.
        Family::Llama => match raw.sliding_window.flatten() {
            Some(window) => {
                let value = format!("{window} in {family:?}");
                return Err(unsupported(path, "sliding_window", value));
            }
            None => None,
        },
        Family::Mistral => raw.sliding_window.unwrap_or(Some(4096)),
        Family::Phi3 => raw.sliding_window.flatten(),
        Family::Qwen2 | Family::Qwen3 if raw.use_sliding_window == Some(true) => {
            raw.sliding_window.unwrap_or(Some(4096))
        }
        Family::Qwen2 | Family::Qwen3 => None,
    };
    let own_layers = matches!(family, Family::Qwen2 | Family::Qwen3);
    let typed = (raw.layer_types.as_ref())
        .map(|types| full_layers(path, types, layers))
        .transpose()?;
    let full = match (typed, window) {
        (Some(full), _) => full,
        (None, None) => return Ok((None, Vec::new())),
        // A number of layers beyond the limit is refused with the other sizes.
        (None, Some(_)) if own_layers && layers <= limits::MAX_LAYERS => {
            (0..raw.max_window_layers.unwrap_or(28).min(layers)).collect()
        }
        (None, Some(_)) => Vec::new(),
    };
    match window {
        None if full.len() == layers => Ok((None, Vec::new())),
        // The class of Phi-3 does not look at layer types.
        Some(_) if full.len() == layers && family != Family::Phi3 => Ok((None, Vec::new())),
        Some(_) if full.is_empty() || own_layers => Ok((window, full)),
        window => Err(unsupported(
            path,
            "attention",
            format!(
                "sliding window of {window:?} in {} of {layers} layers",
                layers - full.len()
            ),
        )),
    }
}

fn full_layers(path: &Path, types: &[String], layers: usize) -> Result<Vec<usize>, ModelError> {
    if types.len() != layers {
        return Err(limits::invalid(format!(
            "{} layer types for {layers} layers",
            types.len()
        )));
    }
    let mut full = Vec::new();
    for (layer, kind) in types.iter().enumerate() {
        match kind.as_str() {
            "full_attention" => full.push(layer),
            "sliding_attention" => {}
            other => return Err(unsupported(path, "layer type", other.to_owned())),
        }
    }
    Ok(full)
}

pub(super) fn unsupported(path: &Path, what: &'static str, value: String) -> ModelError {
    ModelError::Unsupported {
        path: path.to_owned(),
        what,
        value,
    }
}

//! `config.json` and `generation_config.json`, in the spelling every transformers release reads.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    checkpoint::Checkpoint,
    config::{DecoderConfig, Family, RopeScaling},
    error::ModelError,
};

pub(super) fn document(checkpoint: &Checkpoint) -> Result<Value, ModelError> {
    let config = &checkpoint.config;
    expressible(config)?;
    let (model_type, architecture) = match config.family {
        Family::Llama => ("llama", "LlamaForCausalLM"),
        Family::Phi3 => ("phi3", "Phi3ForCausalLM"),
        Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
        Family::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        Family::Mistral => ("mistral", "MistralForCausalLM"),
    };
    let mut document = json!({
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "max_position_embeddings": config.context_length,
        "rope_theta": config.rope_theta,
        "rope_scaling": rope_scaling(config),
        "tie_word_embeddings": config.tied,
        "bos_token_id": config.bos_id,
        "eos_token_id": eos(&config.eos_ids),
        "pad_token_id": null,
        "torch_dtype": "float32",
        "use_cache": true,
    });
    match config.family {
        Family::Llama => {
            document["attention_bias"] = json!(config.qkv_bias);
            document["mlp_bias"] = json!(config.mlp_bias);
        }
        Family::Phi3 => {
            let original = match &config.rope_scaling {
                RopeScaling::LongRope {
                    original_context, ..
                } => *original_context,
                _ => config.context_length,
            };
            document["original_max_position_embeddings"] = json!(original);
            if let Some(rotary) = config.rotary_dim {
                document["partial_rotary_factor"] = json!(part(rotary, config.head_dim));
            }
            document["sliding_window"] = json!(config.sliding_window);
        }
        Family::Mistral => document["sliding_window"] = json!(config.sliding_window),
        Family::Qwen2 | Family::Qwen3 => {
            if config.family == Family::Qwen3 {
                document["attention_bias"] = json!(config.qkv_bias);
            }
            document["sliding_window"] = json!(config.sliding_window);
            document["use_sliding_window"] = json!(config.sliding_window.is_some());
            let full = (0..config.layers).map(|layer| config.window(layer).is_none());
            let unwindowed = full.clone().filter(|full| *full).count();
            document["max_window_layers"] = json!(unwindowed);
            if !config.full_attention_layers.is_empty() {
                let name = |full| {
                    if full {
                        "full_attention"
                    } else {
                        "sliding_attention"
                    }
                };
                document["layer_types"] = full.map(name).collect();
            }
        }
    }
    if checkpoint.draft_vocabulary.is_some() {
        document["draft_vocab_size"] = json!(config.head_size);
    }
    Ok(document)
}

pub(super) fn generation(config: &DecoderConfig) -> Value {
    json!({ "bos_token_id": config.bos_id, "eos_token_id": eos(&config.eos_ids) })
}

pub(super) fn write(path: &Path, document: &Value) -> Result<(), ModelError> {
    super::write::file(path, format!("{document:#}\n").as_bytes())
}

/// Refuses what the family's `config.json` has no field for, and would read back differently.
fn expressible(config: &DecoderConfig) -> Result<(), ModelError> {
    let family = config.family;
    let same_biases = config.qkv_bias == config.output_bias;
    let wrong = [
        ("qk_norm", config.qk_norm != (family == Family::Qwen3)),
        ("mlp_bias", config.mlp_bias && family != Family::Llama),
        (
            "sliding_window",
            config.sliding_window.is_some() && family == Family::Llama,
        ),
        (
            "full_attention_layers",
            !config.full_attention_layers.is_empty()
                && !matches!(family, Family::Qwen2 | Family::Qwen3),
        ),
        (
            "qkv_bias and output_bias",
            match family {
                Family::Llama | Family::Qwen3 => !same_biases,
                Family::Qwen2 => !config.qkv_bias || config.output_bias,
                Family::Mistral | Family::Phi3 => config.qkv_bias || config.output_bias,
            },
        ),
        (
            "head_dim",
            // Its class counts the long and short factors by the width of such a head.
            family == Family::Phi3
                && matches!(config.rope_scaling, RopeScaling::LongRope { .. })
                && config.heads * config.head_dim != config.hidden_size,
        ),
        (
            "rope_scaling",
            family == Family::Phi3
                && !matches!(
                    config.rope_scaling,
                    RopeScaling::None | RopeScaling::LongRope { .. }
                ),
        ),
        (
            "head_dim",
            // Its class refuses such a width.
            family == Family::Llama && !config.hidden_size.is_multiple_of(config.heads),
        ),
    ];
    match wrong.iter().find(|(_, wrong)| *wrong) {
        Some((field, _)) => Err(ModelError::InvalidConfig {
            reason: format!("config.json of {family:?} cannot express this `{field}`: {config:?}"),
        }),
        None => Ok(()),
    }
}

fn rope_scaling(config: &DecoderConfig) -> Value {
    match config.rope_scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Dynamic { factor } => json!({ "rope_type": "dynamic", "factor": factor }),
        RopeScaling::Yarn {
            factor,
            original_context,
            beta_fast,
            beta_slow,
            truncate,
            attention_factor,
        } => {
            json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original_context,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "truncate": truncate,
                "attention_factor": attention_factor,
            })
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_context,
            })
        }
        RopeScaling::LongRope {
            ref short,
            ref long,
            original_context,
            attention_factor,
        } => {
            let mut value = json!({
                "type": "longrope",
                "factor": config.context_length as f64 / original_context as f64,
                "short_factor": short,
                "long_factor": long,
                "original_max_position_embeddings": original_context,
            });
            if let Some(factor) = attention_factor {
                value["attention_factor"] = json!(factor);
            }
            value
        }
    }
}

/// The factor whose product with `head_dim` Python's `int` rounds to `rotary`.
fn part(rotary: usize, head_dim: usize) -> f64 {
    let part = rotary as f64 / head_dim as f64;
    if (head_dim as f64 * part) as usize == rotary {
        part
    } else {
        part.next_up()
    }
}

fn eos(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    }
}

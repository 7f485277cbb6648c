//! Fields that would change what a model computes, and that none of the families has.
//!
//! Other fields are ignored: those about training (dropout, initialisation, auxiliary losses),
//! about other programs (parallel plans, caches, names of files) and about text generation.

use std::path::Path;

use serde_json::Value;

use super::config::unsupported;
use crate::error::ModelError;

/// Fields of architectures close to the families read here, fine only when they are unset.
const UNSET: [&str; 39] = [
    "add_cross_attention",
    "alibi",
    "attention_chunk_size",
    "attn_logit_softcapping",
    "attn_temperature_tuning",
    "clip_qkv",
    "compression_config",
    "cross_attention_layers",
    "dim_model_base",
    "final_logit_softcapping",
    "first_k_dense_replace",
    "full_attention_interval",
    "is_encoder_decoder",
    "kv_lora_rank",
    "layers_block_type",
    "llama_4_scaling_beta",
    "lm_head_bias",
    "logits_soft_cap",
    "moe_intermediate_size",
    "n_routed_experts",
    "no_rope_layer_interval",
    "no_rope_layers",
    "norm_after",
    "num_experts",
    "num_kv_shared_layers",
    "num_local_experts",
    "parallel_attn",
    "pruned_heads",
    "q_lora_rank",
    "qk_layernorm",
    "qk_norm",
    "query_pre_attn_scalar",
    "rope_interleaved",
    "sparse_attention",
    "text_config",
    "use_mrope",
    "use_parallel_residual",
    "use_qk_norm",
    "vision_config",
];

/// Factors, fine when they are 1.
const ONE: [&str; 9] = [
    "attention_multiplier",
    "embedding_multiplier",
    "logit_scale",
    "logits_scaling",
    "mup_base_width",
    "norm_weight_offset",
    "residual_multiplier",
    "scale_depth",
    "scale_emb",
];

/// Refuses a configuration with a field of an architecture that computes something else.
pub(super) fn check(path: &Path, config: &Value) -> Result<(), ModelError> {
    let set = |name: &&&str| {
        config.get(**name).is_some_and(|value| match value {
            Value::Null => false,
            Value::Bool(set) => *set,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::Array(values) => !values.is_empty(),
            Value::Object(values) => !values.is_empty(),
            Value::String(_) => true,
        })
    };
    let factor = |name: &&&str| {
        config
            .get(**name)
            .is_some_and(|value| !value.is_null() && value.as_f64() != Some(1.0))
    };
    let wrong = (UNSET.iter().find(set)).or_else(|| ONE.iter().find(factor));
    match wrong {
        Some(name) => {
            let value = format!("`{name}`: {}", config[*name]);
            Err(unsupported(path, "setting", value))
        }
        None => Ok(()),
    }
}

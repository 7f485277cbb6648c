//! What a configuration must satisfy before anything is allocated for it.

use crate::{
    config::{DecoderConfig, Family, RopeScaling},
    error::ModelError,
};

/// Above every published model, and low enough that no product of two overflows.
const MAX_WIDTH: usize = 1 << 24;
pub(crate) const MAX_LAYERS: usize = 4096;
const MAX_HEADS: usize = 1 << 14;
const MAX_HEAD_DIM: usize = 1 << 14;
const MAX_CONTEXT: usize = 1 << 31;

pub(crate) fn check(config: &DecoderConfig) -> Result<(), ModelError> {
    let sizes = [
        ("vocabulary size", config.vocabulary_size, MAX_WIDTH),
        ("head size", config.head_size, config.vocabulary_size),
        ("hidden size", config.hidden_size, MAX_WIDTH),
        ("intermediate size", config.intermediate_size, MAX_WIDTH),
        ("number of layers", config.layers, MAX_LAYERS),
        ("number of heads", config.heads, MAX_HEADS),
        ("number of key-value heads", config.kv_heads, config.heads),
        ("head dimension", config.head_dim, MAX_HEAD_DIM),
        ("context length", config.context_length, MAX_CONTEXT),
        (
            "sliding window",
            config.sliding_window.unwrap_or(1),
            usize::MAX,
        ),
    ];
    for (name, value, limit) in sizes {
        if value == 0 || value > limit {
            return Err(invalid(format!("{name} is {value}, must be 1 to {limit}")));
        }
    }
    let full = &config.full_attention_layers;
    let ascending = full.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = full.last().is_none_or(|last| *last < config.layers);
    if !(ascending && inside && (full.is_empty() || config.sliding_window.is_some())) {
        return Err(invalid(format!(
            "full attention in layers {full:?} of {}, window {:?}",
            config.layers, config.sliding_window
        )));
    }
    if !config.heads.is_multiple_of(config.kv_heads) {
        return Err(invalid(format!(
            "{} heads are not a multiple of {} key-value heads",
            config.heads, config.kv_heads
        )));
    }
    if !config.head_dim.is_multiple_of(2) {
        return Err(invalid(format!(
            "head dimension {} is odd",
            config.head_dim
        )));
    }
    let rotary = config.rotary_dim.unwrap_or(config.head_dim);
    if rotary == 0 || !rotary.is_multiple_of(2) || rotary > config.head_dim {
        return Err(invalid(format!(
            "{rotary} rotated elements in a head of {}",
            config.head_dim
        )));
    }
    if config.rotary_dim.is_some() && config.family != Family::Phi3 {
        return Err(invalid(format!(
            "{rotary} rotated elements in a head of {} of {:?}",
            config.head_dim, config.family
        )));
    }
    if config.heads * config.head_dim > MAX_WIDTH {
        return Err(invalid(format!(
            "{} heads of {} are wider than {MAX_WIDTH}",
            config.heads, config.head_dim
        )));
    }
    if config.tied && config.head_size != config.vocabulary_size {
        return Err(invalid(format!(
            "a head of {} rows cannot be tied to an embedding of {}",
            config.head_size, config.vocabulary_size
        )));
    }
    positive("rope theta", config.rope_theta)?;
    positive("norm epsilon", config.norm_epsilon)?;
    rope_scaling(config, rotary)?;
    for &id in config.bos_id.iter().chain(&config.eos_ids) {
        if id as usize >= config.vocabulary_size {
            return Err(ModelError::TokenOutOfRange {
                id,
                vocabulary_size: config.vocabulary_size,
            });
        }
    }
    Ok(())
}

fn rope_scaling(config: &DecoderConfig, rotary: usize) -> Result<(), ModelError> {
    match config.rope_scaling {
        RopeScaling::None => Ok(()),
        RopeScaling::Linear { factor } => positive("rope factor", factor),
        RopeScaling::Dynamic { factor } => {
            positive("rope factor", factor)?;
            // The base grows by a power with the denominator `rotary - 2`.
            if rotary <= 2 || factor < 1.0 {
                return Err(invalid(format!(
                    "dynamic rope of factor {factor} on {rotary} elements"
                )));
            }
            Ok(())
        }
        RopeScaling::Yarn {
            factor,
            original_context,
            beta_fast,
            beta_slow,
            attention_factor,
            ..
        } => {
            positive("rope factor", factor)?;
            positive("beta_fast", beta_fast)?;
            positive("beta_slow", beta_slow)?;
            positive("attention_factor", attention_factor)?;
            // Its range divides by the logarithm of the base.
            if config.rope_theta <= 1.0 {
                return Err(invalid(format!("yarn on a base of {}", config.rope_theta)));
            }
            context(original_context, 1)
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            positive("rope factor", factor)?;
            positive("low_freq_factor", low_freq_factor)?;
            positive("high_freq_factor", high_freq_factor)?;
            if high_freq_factor <= low_freq_factor {
                return Err(invalid(format!(
                    "high_freq_factor {high_freq_factor} is not above low_freq_factor \
                     {low_freq_factor}"
                )));
            }
            context(original_context, 1)
        }
        RopeScaling::LongRope {
            ref short,
            ref long,
            original_context,
            attention_factor,
        } => {
            let pairs = rotary / 2;
            for (name, factors) in [("short_factor", short), ("long_factor", long)] {
                if factors.len() != pairs {
                    return Err(invalid(format!(
                        "{} values in {name} for {pairs} pairs of a head",
                        factors.len()
                    )));
                }
                factors.iter().try_for_each(|&f| positive(name, f))?;
            }
            if let Some(factor) = attention_factor {
                positive("attention_factor", factor)?;
            }
            // The attention factor divides by the logarithm of it.
            context(original_context, 2)
        }
    }
}

fn context(tokens: usize, least: usize) -> Result<(), ModelError> {
    if (least..=MAX_CONTEXT).contains(&tokens) {
        return Ok(());
    }
    Err(invalid(format!("original context of {tokens} tokens")))
}

fn positive(name: &str, value: f64) -> Result<(), ModelError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(invalid(format!(
        "{name} is {value}, must be finite and above 0"
    )))
}

pub(crate) fn invalid(reason: String) -> ModelError {
    ModelError::InvalidConfig { reason }
}

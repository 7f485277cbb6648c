//! Rotary settings in both spellings of `config.json`.

use std::path::Path;

use serde::Deserialize;

use super::config::unsupported;
use crate::{
    config::RopeScaling, error::ModelError, import::limits, rope::longrope_attention_factor,
};

const DEFAULT_THETA: f64 = 10_000.0;

#[derive(Debug, Deserialize)]
pub(super) struct Raw {
    /// Transformers 5.
    rope_parameters: Option<Parameters>,
    /// Transformers 4.
    rope_scaling: Option<Parameters>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    max_position_embeddings: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    rope_type: Option<String>,
    #[serde(rename = "type")]
    legacy_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    attention_factor: Option<f64>,
}

/// Base of the frequencies and their scaling.
pub(super) fn convert(path: &Path, raw: &Raw) -> Result<(f64, RopeScaling), ModelError> {
    let none = Parameters::default();
    let parameters = raw
        .rope_parameters
        .as_ref()
        .or(raw.rope_scaling.as_ref())
        .unwrap_or(&none);
    let partial = parameters
        .partial_rotary_factor
        .or(raw.partial_rotary_factor)
        .unwrap_or(1.0);
    if partial != 1.0 {
        return Err(unsupported(
            path,
            "partial_rotary_factor",
            partial.to_string(),
        ));
    }
    let theta = parameters
        .rope_theta
        .or(raw.rope_theta)
        .unwrap_or(DEFAULT_THETA);
    let kind = parameters
        .rope_type
        .as_deref()
        .or(parameters.legacy_type.as_deref());
    let scaling = match kind.unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: required("factor", parameters.factor)?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: required("factor", parameters.factor)?,
            low_freq_factor: required("low_freq_factor", parameters.low_freq_factor)?,
            high_freq_factor: required("high_freq_factor", parameters.high_freq_factor)?,
            original_context: original_context(raw, parameters)?,
        },
        "longrope" => longrope(raw, parameters)?,
        other => return Err(unsupported(path, "rope type", other.to_owned())),
    };
    Ok((theta, scaling))
}

fn longrope(raw: &Raw, parameters: &Parameters) -> Result<RopeScaling, ModelError> {
    let original_context = original_context(raw, parameters)?;
    // A stated factor stands for the ratio of the two context lengths, where it is another one.
    let ratio = raw.max_position_embeddings.unwrap_or(0) as f64 / original_context as f64;
    let attention_factor = parameters.attention_factor.or_else(|| {
        parameters
            .factor
            .filter(|factor| (factor - ratio).abs() > 1e-9 * ratio)
            .map(|factor| longrope_attention_factor(factor, original_context))
    });
    Ok(RopeScaling::LongRope {
        short: required("short_factor", parameters.short_factor.clone())?,
        long: required("long_factor", parameters.long_factor.clone())?,
        original_context,
        attention_factor,
    })
}

fn original_context(raw: &Raw, parameters: &Parameters) -> Result<usize, ModelError> {
    let context = parameters
        .original_max_position_embeddings
        .or(raw.original_max_position_embeddings);
    required("original_max_position_embeddings", context)
}

fn required<T>(name: &str, value: Option<T>) -> Result<T, ModelError> {
    value.ok_or_else(|| limits::invalid(format!("the rope settings have no `{name}`")))
}

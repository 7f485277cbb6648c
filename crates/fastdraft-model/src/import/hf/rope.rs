//! Rotary settings in both spellings of `config.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::unsupported;
use crate::{
    config::{Family, RopeScaling},
    error::ModelError,
    import::limits,
    rope::{YARN_BETAS, longrope_attention_factor, yarn_attention_factor},
};

const DEFAULT_THETA: f64 = 10_000.0;
/// Of Phi-3, whatever its rope settings say.
const PHI3_ORIGINAL_CONTEXT: usize = 4096;

#[derive(Debug, Deserialize)]
pub(super) struct Raw {
    /// Transformers 5.
    rope_parameters: Option<Map<String, Value>>,
    /// Transformers 4; it wins where both are there.
    rope_scaling: Option<Map<String, Value>>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

/// Every setting of every type that is read; another one would change the angles unseen.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
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
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    /// A remark of the first yarn models, without an effect.
    #[serde(rename = "finetuned")]
    _finetuned: Option<bool>,
}

/// What the rotary settings of a `config.json` come to.
pub(super) struct Rope {
    pub(super) theta: f64,
    pub(super) scaling: RopeScaling,
    /// Part of each head that is rotated.
    pub(super) partial: f64,
}

/// Contexts that the settings refer to.
struct Contexts {
    model: usize,
    original: usize,
}

/// The settings of a model of `context_length` tokens.
pub(super) fn convert(
    path: &Path,
    family: Family,
    raw: Raw,
    context_length: usize,
) -> Result<Rope, ModelError> {
    let stated = [raw.rope_scaling, raw.rope_parameters]
        .into_iter()
        .flatten()
        .find(|parameters| !parameters.is_empty());
    let parameters = stated.map_or(Ok(Parameters::default()), |map| parameters(path, map))?;
    let partial = parameters
        .partial_rotary_factor
        .or(raw.partial_rotary_factor)
        .unwrap_or(1.0);
    if partial != 1.0 && family != Family::Phi3 {
        let value = format!("{partial} of {family:?}");
        return Err(unsupported(path, "partial_rotary_factor", value));
    }
    let contexts = Contexts {
        model: context_length,
        original: raw
            .original_max_position_embeddings
            .or((family == Family::Phi3).then_some(PHI3_ORIGINAL_CONTEXT))
            .or(parameters.original_max_position_embeddings)
            .unwrap_or(context_length),
    };
    Ok(Rope {
        theta: parameters
            .rope_theta
            .or(raw.rope_theta)
            .unwrap_or(DEFAULT_THETA),
        scaling: scaling(path, family, &contexts, parameters)?,
        partial,
    })
}

fn parameters(path: &Path, mut map: Map<String, Value>) -> Result<Parameters, ModelError> {
    map.retain(|_, value| !value.is_null());
    if let Some((name, _)) = map.iter().find(|(_, value)| value.is_object()) {
        let value = format!("settings of their own for `{name}`");
        return Err(unsupported(path, "rope", value));
    }
    Parameters::deserialize(Value::Object(map))
        .map_err(|error| unsupported(path, "rope", error.to_string()))
}

fn scaling(
    path: &Path,
    family: Family,
    contexts: &Contexts,
    parameters: Parameters,
) -> Result<RopeScaling, ModelError> {
    let kind = parameters
        .rope_type
        .as_deref()
        .or(parameters.legacy_type.as_deref())
        .unwrap_or("default");
    let kind = match (kind, family) {
        // What the first files of Phi-3 call it.
        ("su" | "yarn", Family::Phi3) => "longrope",
        (kind, _) => kind,
    };
    Ok(match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: required("factor", parameters.factor)?,
        },
        "dynamic" => RopeScaling::Dynamic {
            factor: required("factor", parameters.factor)?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: required("factor", parameters.factor)?,
            low_freq_factor: required("low_freq_factor", parameters.low_freq_factor)?,
            high_freq_factor: required("high_freq_factor", parameters.high_freq_factor)?,
            original_context: contexts.original,
        },
        "yarn" => yarn(contexts, &parameters),
        "longrope" => longrope(contexts, parameters)?,
        other => return Err(unsupported(path, "rope type", other.to_owned())),
    })
}

fn yarn(contexts: &Contexts, parameters: &Parameters) -> RopeScaling {
    let factor = parameters.factor.unwrap_or(ratio(contexts));
    // 0 stands for the default in each of them.
    let stated = |value: Option<f64>| value.filter(|&value| value != 0.0);
    let inferred = match (stated(parameters.mscale), stated(parameters.mscale_all_dim)) {
        (Some(weight), Some(all)) => {
            yarn_attention_factor(factor, weight) / yarn_attention_factor(factor, all)
        }
        _ => yarn_attention_factor(factor, 1.0),
    };
    RopeScaling::Yarn {
        factor,
        original_context: contexts.original,
        beta_fast: stated(parameters.beta_fast).unwrap_or(YARN_BETAS[0]),
        beta_slow: stated(parameters.beta_slow).unwrap_or(YARN_BETAS[1]),
        truncate: parameters.truncate.unwrap_or(true),
        attention_factor: parameters.attention_factor.unwrap_or(inferred),
    }
}

fn longrope(contexts: &Contexts, parameters: Parameters) -> Result<RopeScaling, ModelError> {
    // A stated factor stands for the ratio of the two context lengths, where it is another one.
    let ratio = ratio(contexts);
    let attention_factor = parameters.attention_factor.or_else(|| {
        parameters
            .factor
            .filter(|factor| (factor - ratio).abs() > 1e-9 * ratio)
            .map(|factor| longrope_attention_factor(factor, contexts.original))
    });
    Ok(RopeScaling::LongRope {
        short: required("short_factor", parameters.short_factor)?,
        long: required("long_factor", parameters.long_factor)?,
        original_context: contexts.original,
        attention_factor,
    })
}

fn ratio(contexts: &Contexts) -> f64 {
    contexts.model as f64 / contexts.original as f64
}

fn required<T>(name: &str, value: Option<T>) -> Result<T, ModelError> {
    value.ok_or_else(|| limits::invalid(format!("the rope settings have no `{name}`")))
}

//! Rotary settings in the metadata, and the factors some files store as a tensor.

use super::{GgufFile, corrupt, unsupported};
use crate::{
    config::{DecoderConfig, RopeScaling},
    error::ModelError,
    import::limits,
    rope::{YARN_BETAS, yarn_attention_factor},
};

/// Divisors of the frequencies, one for each rotated pair.
pub(crate) const FACTORS: &str = "rope_freqs.weight";
/// The same for sequences within the original context, and for longer ones.
pub(crate) const SHORT: &str = "rope_factors_short.weight";
pub(crate) const LONG: &str = "rope_factors_long.weight";

const YARN_SETTINGS: [&str; 5] = [
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
    "yarn_ext_factor",
    "yarn_log_multiplier",
];

/// Published factors of Llama 3.1 and Llama 3.2.
const LLAMA3_FACTORS: [f64; 2] = [8.0, 32.0];
/// Stored factors went through float32 twice.
const TOLERANCE: f32 = 1e-3;

/// The scaling the metadata names.
pub(super) fn scaling(file: &GgufFile, arch: &str) -> Result<RopeScaling, ModelError> {
    let factor = match file.float(&format!("{arch}.rope.scaling.factor"))? {
        Some(factor) => Some(factor),
        None => file.float(&format!("{arch}.rope.scale_linear"))?,
    };
    let kind = file.string(&format!("{arch}.rope.scaling.type"))?;
    match (kind, factor) {
        // Its factors are tensors.
        (Some("longrope"), _) => Ok(RopeScaling::None),
        (Some("none"), _) | (None, None) => Ok(RopeScaling::None),
        // A factor without a type is linear, and 1 is how "no scaling" was written.
        (None | Some("linear"), Some(1.0)) => Ok(RopeScaling::None),
        (None | Some("linear"), Some(factor)) => Ok(RopeScaling::Linear { factor }),
        (Some("linear"), None) => Err(corrupt(
            file.path(),
            "linear rope scaling without a factor".into(),
        )),
        (Some("yarn"), Some(factor)) => yarn(file, arch, factor),
        (Some(other), _) => Err(unsupported(file.path(), "rope scaling", other.to_owned())),
    }
}

fn yarn(file: &GgufFile, arch: &str, factor: f64) -> Result<RopeScaling, ModelError> {
    // Of these constants llama.cpp reads none for the architectures read here.
    for key in YARN_SETTINGS {
        if let Some(value) = file.float(&format!("{arch}.rope.scaling.{key}"))? {
            let value = format!("`{key}`: {value}");
            return Err(unsupported(file.path(), "rope scaling", value));
        }
    }
    let attention = file.float(&format!("{arch}.rope.scaling.attn_factor"))?;
    let original = original_context(file, arch)?.ok_or_else(|| {
        limits::invalid("yarn rope scaling without an original context length".into())
    })?;
    Ok(RopeScaling::Yarn {
        factor,
        original_context: original,
        beta_fast: YARN_BETAS[0],
        beta_slow: YARN_BETAS[1],
        truncate: true,
        attention_factor: attention.unwrap_or(1.0) * yarn_attention_factor(factor, 1.0),
    })
}

fn original_context(file: &GgufFile, arch: &str) -> Result<Option<usize>, ModelError> {
    let key = format!("{arch}.rope.scaling.original_context_length");
    file.unsigned(&key)?
        .map(|length| {
            usize::try_from(length)
                .map_err(|_| corrupt(file.path(), format!("`{key}` is {length}")))
        })
        .transpose()
}

/// Divisors of a tensor, where there is one, for each rotated pair.
fn divisors(
    file: &GgufFile,
    config: &DecoderConfig,
    name: &str,
) -> Result<Option<Vec<f32>>, ModelError> {
    let Some(tensor) = file.tensor(name) else {
        return Ok(None);
    };
    let expected = vec![config.rotary_dim.unwrap_or(config.head_dim) / 2];
    if tensor.shape != expected {
        return Err(ModelError::ShapeMismatch {
            name: name.to_owned(),
            expected,
            found: tensor.shape.clone(),
        });
    }
    file.dequantize(tensor).map(Some)
}

/// The scaling that the tensors of the file stand for, else that of `config`.
pub(super) fn from_factors(
    file: &GgufFile,
    config: &DecoderConfig,
    arch: &str,
) -> Result<RopeScaling, ModelError> {
    let pair = (
        divisors(file, config, SHORT)?,
        divisors(file, config, LONG)?,
    );
    if let (Some(short), Some(long)) = pair {
        let original = original_context(file, arch)?.unwrap_or(config.context_length);
        return Ok(RopeScaling::LongRope {
            short: widen(&short),
            long: widen(&long),
            original_context: original,
            attention_factor: file.float(&format!("{arch}.rope.scaling.attn_factor"))?,
        });
    }
    match divisors(file, config, FACTORS)? {
        Some(stored) => Ok(recognise(config, &stored)),
        None => Ok(config.rope_scaling.clone()),
    }
}

fn widen(divisors: &[f32]) -> Vec<f64> {
    divisors.iter().map(|&value| f64::from(value)).collect()
}

/// The published `llama3` scaling with these divisors, of which the file keeps only the result;
/// else the divisors themselves, for every length.
fn recognise(config: &DecoderConfig, stored: &[f32]) -> RopeScaling {
    let plain = DecoderConfig {
        rope_scaling: RopeScaling::None,
        ..config.clone()
    };
    let base = plain.rope_frequencies();
    let llama3 = LLAMA3_FACTORS.map(|factor| RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192,
    });
    for candidate in std::iter::once(RopeScaling::None).chain(llama3) {
        let scaled = DecoderConfig {
            rope_scaling: candidate.clone(),
            ..plain.clone()
        };
        let same = scaled.rope_frequencies().iter().zip(&base).zip(stored).all(
            |((scaled, base), stored)| (base / scaled - stored).abs() <= TOLERANCE * stored.abs(),
        );
        if same {
            return candidate;
        }
    }
    RopeScaling::LongRope {
        short: widen(stored),
        long: widen(stored),
        original_context: config.context_length,
        attention_factor: Some(1.0),
    }
}

//! Rotary settings in the metadata, and the factors some files store as a tensor.

use super::{GgufFile, corrupt, unsupported};
use crate::{
    config::{DecoderConfig, RopeScaling},
    error::ModelError,
};

/// Divisors of the frequencies, `[head_dim / 2]`.
pub(super) const FACTORS: &str = "rope_freqs.weight";

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
        (Some("none"), _) | (None, None) => Ok(RopeScaling::None),
        // A factor without a type is linear, and 1 is how "no scaling" was written.
        (None | Some("linear"), Some(1.0)) => Ok(RopeScaling::None),
        (None | Some("linear"), Some(factor)) => Ok(RopeScaling::Linear { factor }),
        (Some("linear"), None) => Err(corrupt(
            file.path(),
            "linear rope scaling without a factor".into(),
        )),
        (Some(other), _) => Err(unsupported(file.path(), "rope scaling", other.to_owned())),
    }
}

/// The `llama3` scaling whose factors are these: the file keeps only the result.
pub(super) fn from_factors(
    file: &GgufFile,
    config: &DecoderConfig,
) -> Result<RopeScaling, ModelError> {
    let Some(tensor) = file.tensor(FACTORS) else {
        return Ok(config.rope_scaling.clone());
    };
    let expected = vec![config.head_dim / 2];
    if tensor.shape != expected {
        return Err(ModelError::ShapeMismatch {
            name: FACTORS.to_owned(),
            expected,
            found: tensor.shape.clone(),
        });
    }
    let stored = file.dequantize(tensor)?;
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
        let same = scaled
            .rope_frequencies()
            .iter()
            .zip(&base)
            .zip(&stored)
            .all(|((scaled, base), stored)| {
                (base / scaled - stored).abs() <= TOLERANCE * stored.abs()
            });
        if same {
            return Ok(candidate);
        }
    }
    let value = format!("`{FACTORS}` with factors of no published model");
    Err(unsupported(file.path(), "rope scaling", value))
}

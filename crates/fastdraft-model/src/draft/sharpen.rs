//! A draft's confidence, set without training.

use crate::{checkpoint::Checkpoint, error::ModelError};

const NORM: &str = "model.norm.weight";

/// Multiplies the draft's logits by `scale`, through the weights of its last norm.
///
/// A small draft trained by KL divergence spreads its probability wider than its target. Drawing
/// from a sharper one is as lossless, since a proposal carries the distribution it was drawn from,
/// and can be accepted more often.
///
/// # Errors
/// [`ModelError::InvalidConfig`] when `scale` is not a positive number,
/// [`ModelError::MissingTensor`] or [`ModelError::ShapeMismatch`] without that norm.
///
/// ```
/// use fastdraft_model::{DecoderConfig, draft::{init, sharpen::sharpen}};
/// let mut config = DecoderConfig::llama(100, 32, 1);
/// (config.heads, config.kv_heads, config.head_dim) = (2, 2, 16);
/// let mut draft = init::random(config, None, 1)?;
/// sharpen(&mut draft, 1.35)?;
/// let norm = draft.weights.get("model.norm.weight", &[32])?;
/// assert_eq!(norm.data[0], 1.35);
/// # Ok::<(), fastdraft_model::ModelError>(())
/// ```
pub fn sharpen(draft: &mut Checkpoint, scale: f32) -> Result<(), ModelError> {
    if !scale.is_finite() || scale <= 0.0 {
        return Err(ModelError::InvalidConfig {
            reason: format!("logits cannot be multiplied by {scale}"),
        });
    }
    let shape = vec![draft.config.hidden_size];
    let norm = &draft.weights.get(NORM, &shape)?.data;
    let scaled = norm.iter().map(|weight| weight * scale).collect();
    draft.weights.insert(NORM, shape, scaled);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::DecoderConfig,
        draft::init,
        engine::cpu::{CpuModel, Segment, WeightFormat, Workspace},
    };

    fn logits(checkpoint: &Checkpoint) -> Vec<f32> {
        let model = CpuModel::new(checkpoint, WeightFormat::F32).unwrap();
        let (mut cache, mut out) = (model.cache(2), Vec::new());
        let mut segments = [Segment {
            cache: &mut cache,
            tokens: &[3, 1],
            outputs: 2,
        }];
        model
            .forward(&mut segments, &mut Workspace::new(), &mut out)
            .unwrap();
        out
    }

    #[test]
    fn logits_are_multiplied() {
        let mut draft = init::random(DecoderConfig::llama(60, 64, 2), None, 5).unwrap();
        let before = logits(&draft);
        sharpen(&mut draft, 1.5).unwrap();
        for (a, b) in before.iter().zip(logits(&draft)) {
            assert!((a * 1.5 - b).abs() < 1e-6, "{a} {b}");
        }
        for wrong in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(sharpen(&mut draft, wrong).is_err());
        }
    }
}

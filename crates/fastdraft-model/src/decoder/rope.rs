//! Rotary position embedding and the causal mask, as tensors.

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{DecoderConfig, Rotary};

/// What every block of a pass shares.
#[derive(Debug, Clone)]
pub(crate) struct Positions {
    /// `[1, 1, seq, head_dim / 2]`
    cos: Tensor<4>,
    /// `[1, 1, seq, head_dim / 2]`
    sin: Tensor<4>,
    /// `[1, 1, seq, span]`, 0 where visible and very negative elsewhere.
    pub(crate) mask: Tensor<4>,
    /// First position that a key is needed for.
    pub(crate) first: usize,
}

impl Positions {
    /// Positions of a whole sequence of `seq` tokens.
    pub(super) fn new(config: &DecoderConfig, seq: usize, device: &Device) -> Self {
        Self::after(config, &config.rotary(seq), 0, seq, device)
    }

    /// Positions of `seq` tokens after `past` others.
    pub(crate) fn after(
        config: &DecoderConfig,
        rotary: &Rotary,
        past: usize,
        seq: usize,
        device: &Device,
    ) -> Self {
        let half = rotary.frequencies.len();
        let end = past + seq;
        let angles = |f: fn(f32) -> f32| -> Tensor<4> {
            let scale = rotary.attention_factor;
            let data: Vec<f32> = (past..end)
                .flat_map(|p| (rotary.frequencies.iter()).map(move |w| scale * f(p as f32 * w)))
                .collect();
            Tensor::from_data(TensorData::new(data, [1, 1, seq, half]), device)
        };
        let window = config.sliding_window.unwrap_or(end);
        let first = (past + 1).saturating_sub(window);
        let mask: Vec<f32> = (past..end)
            .flat_map(|q| {
                (first..end).map(move |k| if k <= q && q - k < window { 0.0 } else { -1e9 })
            })
            .collect();
        Self {
            cos: angles(f32::cos),
            sin: angles(f32::sin),
            mask: Tensor::from_data(TensorData::new(mask, [1, 1, seq, end - first]), device),
            first,
        }
    }

    /// Rotates `[batch, heads, seq, head_dim]`, pairing element `i` with `i + head_dim / 2`.
    pub(super) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let low = x.clone().narrow(3, 0, half);
        let high = x.narrow(3, half, half);
        let turned_low = low.clone() * self.cos.clone() - high.clone() * self.sin.clone();
        let turned_high = high * self.cos.clone() + low * self.sin.clone();
        Tensor::cat(vec![turned_low, turned_high], 3)
    }
}

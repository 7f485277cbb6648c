//! Rotary position embedding and the causal mask, as tensors.

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::DecoderConfig;

/// What every block of a pass shares.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    /// `[1, 1, seq, head_dim / 2]`
    cos: Tensor<4>,
    /// `[1, 1, seq, head_dim / 2]`
    sin: Tensor<4>,
    /// `[1, 1, seq, seq]`, 0 where visible and very negative elsewhere.
    pub(super) mask: Tensor<4>,
}

impl Positions {
    pub(super) fn new(config: &DecoderConfig, seq: usize, device: &Device) -> Self {
        let frequencies = config.rope_frequencies();
        let half = frequencies.len();
        let angles = |f: fn(f32) -> f32| -> Tensor<4> {
            let data: Vec<f32> = (0..seq)
                .flat_map(|p| frequencies.iter().map(move |w| f(p as f32 * w)))
                .collect();
            Tensor::from_data(TensorData::new(data, [1, 1, seq, half]), device)
        };
        let window = config.sliding_window.unwrap_or(seq);
        let mask: Vec<f32> = (0..seq)
            .flat_map(|q| (0..seq).map(move |k| if k <= q && q - k < window { 0.0 } else { -1e9 }))
            .collect();
        Self {
            cos: angles(f32::cos),
            sin: angles(f32::sin),
            mask: Tensor::from_data(TensorData::new(mask, [1, 1, seq, seq]), device),
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

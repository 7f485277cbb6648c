//! Rotary position embedding and the causal mask, as tensors.

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::{DecoderConfig, Rotary};

/// What every block of a pass shares.
#[derive(Debug, Clone)]
pub(crate) struct Positions {
    pub(super) angles: Angles,
    views: Views,
}

/// By what queries and keys are turned.
#[derive(Debug, Clone)]
pub(crate) struct Angles {
    /// `[1, 1, seq, head_dim / 2]`
    cos: Tensor<4>,
    /// `[1, 1, seq, head_dim / 2]`
    sin: Tensor<4>,
}

/// What the tokens of a pass see, block by block.
#[derive(Debug, Clone)]
pub(crate) struct Views {
    full: View,
    windowed: Option<View>,
}

/// What the tokens of a pass see in a block.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// `[1, 1, seq, span]`, 0 where visible and very negative elsewhere.
    pub(crate) mask: Tensor<4>,
    /// First position that a key is needed for.
    pub(crate) first: usize,
}

impl View {
    /// Of `seq` tokens after `past` others, each over at most `window` positions.
    fn new(window: usize, past: usize, seq: usize, device: &Device) -> Self {
        let end = past + seq;
        let first = (past + 1).saturating_sub(window);
        let mask: Vec<f32> = (past..end)
            .flat_map(|q| {
                (first..end).map(move |k| if k <= q && q - k < window { 0.0 } else { -1e9 })
            })
            .collect();
        Self {
            mask: Tensor::from_data(TensorData::new(mask, [1, 1, seq, end - first]), device),
            first,
        }
    }
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
        Self {
            angles: Angles::at(rotary, past..past + seq, device),
            views: Views::new(config, past, seq, device),
        }
    }

    /// Angles of the tokens of several sequences, one after the other.
    pub(crate) fn angles(all: &[Self]) -> Angles {
        let join = |part: fn(&Angles) -> &Tensor<4>| match all {
            [one] => part(&one.angles).clone(),
            all => Tensor::cat(all.iter().map(|one| part(&one.angles).clone()).collect(), 2),
        };
        Angles {
            cos: join(|angles| &angles.cos),
            sin: join(|angles| &angles.sin),
        }
    }

    /// What the tokens see in block `layer`.
    pub(crate) fn view(&self, config: &DecoderConfig, layer: usize) -> &View {
        self.views.of(config, layer)
    }
}

impl Views {
    /// Of `seq` tokens after `past` others.
    pub(crate) fn new(config: &DecoderConfig, past: usize, seq: usize, device: &Device) -> Self {
        Self {
            full: View::new(past + seq, past, seq, device),
            windowed: (config.sliding_window).map(|window| View::new(window, past, seq, device)),
        }
    }

    /// What the tokens see in block `layer`.
    pub(crate) fn of(&self, config: &DecoderConfig, layer: usize) -> &View {
        match &self.windowed {
            Some(windowed) if config.window(layer).is_some() => windowed,
            _ => &self.full,
        }
    }
}

impl Angles {
    /// Of tokens at these positions.
    pub(crate) fn at(
        rotary: &Rotary,
        positions: impl ExactSizeIterator<Item = usize> + Clone,
        device: &Device,
    ) -> Self {
        let shape = [1, 1, positions.len(), rotary.frequencies.len()];
        let angles = |f: fn(f32) -> f32| -> Tensor<4> {
            let scale = rotary.attention_factor;
            let data: Vec<f32> = (positions.clone())
                .flat_map(|p| (rotary.frequencies.iter()).map(move |w| scale * f(p as f32 * w)))
                .collect();
            Tensor::from_data(TensorData::new(data, shape), device)
        };
        Self {
            cos: angles(f32::cos),
            sin: angles(f32::sin),
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

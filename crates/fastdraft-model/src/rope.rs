//! Rotary frequencies and how they change for long contexts.

use serde::{Deserialize, Serialize};

use crate::config::DecoderConfig;

/// How rotary frequencies are changed for long contexts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Frequencies are used as they are.
    None,
    /// Positions are divided by `factor`.
    Linear {
        /// Divisor of every frequency.
        factor: f64,
    },
    /// The piecewise scaling of Llama 3.1 (`rope_type: llama3`).
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of the original training.
        original_context: usize,
    },
    /// A larger base for sequences longer than the context (`rope_type: dynamic`).
    Dynamic {
        /// How far the base grows.
        factor: f64,
    },
    /// High frequencies kept, low ones divided, those between blended (`rope_type: yarn`;
    /// Peng et al. 2023, sections 3.2 to 3.4).
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Context length of the original training.
        original_context: usize,
        /// Turns within the original context above which a frequency is kept.
        beta_fast: f64,
        /// Turns within the original context below which a frequency is divided.
        beta_slow: f64,
        /// Whether the blended range is widened to whole pairs.
        truncate: bool,
        /// Factor on cosines and sines.
        attention_factor: f64,
    },
    /// A divisor for every frequency, from one of two lists (`rope_type: longrope`, Phi-3).
    LongRope {
        /// Divisors of sequences within the original context, one for each rotated pair.
        short: Vec<f64>,
        /// Divisors of longer sequences, one for each rotated pair.
        long: Vec<f64>,
        /// Context length of the original training.
        original_context: usize,
        /// Factor on cosines and sines; `None` is √(1 + ln(s) / ln(`original_context`)), where
        /// s is the context length over the original one, and 1 where s is at most 1.
        attention_factor: Option<f64>,
    },
}

/// What rotates queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Angle per position, one for each pair of a head, 0 for those that are not rotated:
    /// `[head_dim / 2]`.
    pub frequencies: Vec<f32>,
    /// Factor on cosines and sines; 1 unless the scaling is [`RopeScaling::Yarn`] or
    /// [`RopeScaling::LongRope`].
    pub attention_factor: f32,
}

impl DecoderConfig {
    /// Rotary frequencies of sequences within the original context, one for each pair of a
    /// head: `[head_dim / 2]`. The same as those of [`rotary`](Self::rotary) for a length of 0.
    #[must_use]
    pub fn rope_frequencies(&self) -> Vec<f32> {
        self.rotary(0).frequencies
    }

    /// What rotates the queries and keys of a sequence of `length` tokens.
    ///
    /// Only [`RopeScaling::LongRope`] and [`RopeScaling::Dynamic`] depend on `length`. Keys
    /// rotated for one length cannot be mixed with queries for another, so an engine with a cache
    /// takes its capacity for the length, as llama.cpp and vLLM do.
    ///
    /// `llama3` follows the piecewise rule published with Llama 3.1: long wavelengths are
    /// divided by `factor`, short ones kept, those between blended.
    #[must_use]
    pub fn rotary(&self, length: usize) -> Rotary {
        let dim = self.rotary_dim.unwrap_or(self.head_dim);
        let theta = self.base(length, dim as f64);
        let ramp = self.rope_scaling.ramp(theta, dim as f64);
        let frequencies = (0..self.head_dim / 2)
            .map(|i| {
                if i >= dim / 2 {
                    return 0.0;
                }
                let base = theta.powf(-((2 * i) as f64) / dim as f64);
                self.rope_scaling.apply(base, i, length, ramp) as f32
            })
            .collect();
        Rotary {
            frequencies,
            attention_factor: self.rope_scaling.attention_factor(self.context_length) as f32,
        }
    }

    fn base(&self, length: usize, dim: f64) -> f64 {
        let RopeScaling::Dynamic { factor } = self.rope_scaling else {
            return self.rope_theta;
        };
        let stretch = length.max(self.context_length) as f64 / self.context_length as f64;
        self.rope_theta * (factor * stretch - (factor - 1.0)).powf(dim / (dim - 2.0))
    }
}

impl RopeScaling {
    /// First and last pair of the blended range of YaRN.
    fn ramp(&self, theta: f64, dim: f64) -> (f64, f64) {
        let Self::Yarn {
            original_context,
            beta_fast,
            beta_slow,
            truncate,
            ..
        } = *self
        else {
            return (0.0, 0.0);
        };
        // The pair that makes this many turns within the original context.
        let pair = |turns: f64| {
            let turn = turns * 2.0 * std::f64::consts::PI;
            dim * (original_context as f64 / turn).ln() / (2.0 * theta.ln())
        };
        let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low.max(0.0), high.min(dim - 1.0))
    }

    /// The scaled frequency of pair `index`.
    fn apply(&self, base: f64, index: usize, length: usize, (low, high): (f64, f64)) -> f64 {
        match self {
            // What `dynamic` scales is the base.
            Self::None | Self::Dynamic { .. } => base,
            Self::Linear { factor } => base / factor,
            Self::Yarn { factor, .. } => {
                let width = if low == high { 1e-3 } else { high - low };
                let divided = ((index as f64 - low) / width).clamp(0.0, 1.0);
                base / factor * divided + base * (1.0 - divided)
            }
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let context = *original_context as f64;
                let wavelength = 2.0 * std::f64::consts::PI / base;
                if wavelength < context / high_freq_factor {
                    base
                } else if wavelength > context / low_freq_factor {
                    base / factor
                } else {
                    let smooth = (context / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * base / factor + smooth * base
                }
            }
            Self::LongRope {
                short,
                long,
                original_context,
                ..
            } => {
                let divisors = if length > *original_context {
                    long
                } else {
                    short
                };
                base / divisors.get(index).copied().unwrap_or(1.0)
            }
        }
    }

    fn attention_factor(&self, context_length: usize) -> f64 {
        match *self {
            Self::Yarn {
                attention_factor, ..
            } => attention_factor,
            Self::LongRope {
                original_context,
                attention_factor,
                ..
            } => attention_factor.unwrap_or_else(|| {
                longrope_attention_factor(
                    context_length as f64 / original_context as f64,
                    original_context,
                )
            }),
            _ => 1.0,
        }
    }
}

/// Turns between which YaRN blends, fast and slow, where nothing else is said.
pub(crate) const YARN_BETAS: [f64; 2] = [32.0, 1.0];

/// Factor on cosines and sines of a context `scale` times the original one.
pub(crate) fn longrope_attention_factor(scale: f64, original_context: usize) -> f64 {
    if scale <= 1.0 {
        return 1.0;
    }
    (1.0 + scale.ln() / (original_context as f64).ln()).sqrt()
}

/// Factor on cosines and sines that YaRN takes for a context `scale` times the original one, with
/// the logarithm weighted by `weight`.
pub(crate) fn yarn_attention_factor(scale: f64, weight: f64) -> f64 {
    if scale <= 1.0 {
        return 1.0;
    }
    0.1 * weight * scale.ln() + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longrope() -> DecoderConfig {
        DecoderConfig {
            rope_scaling: RopeScaling::LongRope {
                short: vec![1.0; 32],
                long: vec![2.0; 32],
                original_context: 128,
                attention_factor: None,
            },
            context_length: 2048,
            ..DecoderConfig::llama(100, 64, 1)
        }
    }

    #[test]
    fn long_divisors_start_after_the_original_context() {
        let config = longrope();
        let (short, long) = (config.rotary(128), config.rotary(129));
        assert_eq!(short.frequencies, config.rope_frequencies());
        for (a, b) in short.frequencies.iter().zip(&long.frequencies) {
            assert!((a - 2.0 * b).abs() < 1e-7);
        }
    }

    #[test]
    fn the_attention_factor_follows_the_context() {
        // ln 16 / ln 128 = 4 / 7.
        let expected = (11.0_f32 / 7.0).sqrt();
        assert!((longrope().rotary(1).attention_factor - expected).abs() < 1e-6);
        let plain = DecoderConfig::llama(100, 64, 1);
        assert_eq!(plain.rotary(1).attention_factor, 1.0);
    }

    #[test]
    fn pairs_beyond_the_rotary_part_stand_still() {
        let config = DecoderConfig {
            rotary_dim: Some(32),
            ..DecoderConfig::llama(100, 64, 1)
        };
        let frequencies = config.rope_frequencies();
        let narrow = DecoderConfig {
            head_dim: 32,
            ..config.clone()
        };
        assert_eq!(frequencies[..16], narrow.rope_frequencies());
        assert_eq!(frequencies[16..], [0.0; 16]);
    }

    #[test]
    fn a_dynamic_base_grows_beyond_the_context_alone() {
        let plain = DecoderConfig::llama(100, 64, 1);
        let config = DecoderConfig {
            rope_scaling: RopeScaling::Dynamic { factor: 2.0 },
            ..plain.clone()
        };
        assert_eq!(config.rotary(2048), plain.rotary(2048));
        // 2 · 2 - 1 = 3 times the base, to the power 64 / 62.
        let grown = DecoderConfig {
            rope_theta: 10_000.0 * 3_f64.powf(64.0 / 62.0),
            ..plain
        };
        assert_eq!(config.rotary(4096), grown.rotary(4096));
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_divides_slow_ones() {
        let plain = DecoderConfig::llama(100, 64, 1);
        let config = DecoderConfig {
            rope_scaling: RopeScaling::Yarn {
                factor: 4.0,
                original_context: 512,
                beta_fast: 32.0,
                beta_slow: 1.0,
                truncate: true,
                attention_factor: yarn_attention_factor(4.0, 1.0),
            },
            ..plain.clone()
        };
        let (scaled, base) = (config.rope_frequencies(), plain.rope_frequencies());
        // 64 · ln(512 / 64π) / (2 ln 10000) = 3.2 and 64 · ln(512 / 2π) / (2 ln 10000) = 15.3.
        assert_eq!(scaled[..4], base[..4]);
        assert!(scaled[4] < base[4] && scaled[15] > base[15] / 4.0);
        for (a, b) in scaled[16..].iter().zip(&base[16..]) {
            assert!((a - b / 4.0).abs() <= 1e-6 * b);
        }
        // 1 + 0.1 ln 4.
        assert!((config.rotary(1).attention_factor - 1.138_629_4).abs() < 1e-6);
    }
}

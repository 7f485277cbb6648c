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
    /// A divisor for every frequency, from one of two lists (`rope_type: longrope`, Phi-3).
    LongRope {
        /// Divisors of sequences within the original context: `[head_dim / 2]`.
        short: Vec<f64>,
        /// Divisors of longer sequences: `[head_dim / 2]`.
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
    /// Angle per position, one for each pair of a head: `[head_dim / 2]`.
    pub frequencies: Vec<f32>,
    /// Factor on cosines and sines; 1 unless the scaling is [`RopeScaling::LongRope`].
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
    /// Only [`RopeScaling::LongRope`] depends on `length`. Keys rotated for one side of its
    /// original context cannot be mixed with queries for the other, so an engine with a cache
    /// takes its capacity for the length, as llama.cpp and vLLM do.
    ///
    /// `llama3` follows the piecewise rule published with Llama 3.1: long wavelengths are
    /// divided by `factor`, short ones kept, those between blended.
    #[must_use]
    pub fn rotary(&self, length: usize) -> Rotary {
        let base = |i: usize| {
            self.rope_theta
                .powf(-((2 * i) as f64) / self.head_dim as f64)
        };
        let frequencies = (0..self.head_dim / 2)
            .map(|i| self.rope_scaling.apply(base(i), i, length) as f32)
            .collect();
        Rotary {
            frequencies,
            attention_factor: self.rope_scaling.attention_factor(self.context_length) as f32,
        }
    }
}

impl RopeScaling {
    /// The scaled frequency of pair `index`.
    fn apply(&self, base: f64, index: usize, length: usize) -> f64 {
        match self {
            Self::None => base,
            Self::Linear { factor } => base / factor,
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
        let Self::LongRope {
            original_context,
            attention_factor,
            ..
        } = self
        else {
            return 1.0;
        };
        attention_factor.unwrap_or_else(|| {
            longrope_attention_factor(
                context_length as f64 / *original_context as f64,
                *original_context,
            )
        })
    }
}

/// Factor on cosines and sines of a context `scale` times the original one.
pub(crate) fn longrope_attention_factor(scale: f64, original_context: usize) -> f64 {
    if scale <= 1.0 {
        return 1.0;
    }
    (1.0 + scale.ln() / (original_context as f64).ln()).sqrt()
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
}

//! Sizes of a decoder, as far as its speed depends on them.

use serde::{Deserialize, Serialize};

use crate::error::HwError;

/// No decoder is wider or has more rows; products of sizes below it fit in 64 bits.
const MOST: u64 = 1 << 24;
/// No decoder is deeper.
const MOST_LAYERS: u64 = 1 << 12;

/// Sizes of a Llama-like decoder: RMS norms, grouped-query attention, a gated MLP.
///
/// ```
/// use fastdraft_hw::shape::DecoderShape;
///
/// let draft = DecoderShape::new(32_064, 512, 6, 1408, 8);
/// assert_eq!(draft.parameters() / 1_000_000, 52);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderShape {
    /// Decoder blocks.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width of the gated MLP.
    pub intermediate_size: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of one head.
    pub head_dim: u64,
    /// Rows of the embedding.
    pub vocabulary_size: u64,
    /// Rows of the head: the vocabulary, or what is kept of it.
    pub head_size: u64,
    /// The head is the embedding, transposed.
    pub tied: bool,
}

impl DecoderShape {
    /// As many key and value heads as query heads, which together are as wide as the stream; a full,
    /// untied head.
    #[must_use]
    pub fn new(
        vocabulary_size: u64,
        hidden_size: u64,
        layers: u64,
        intermediate_size: u64,
        heads: u64,
    ) -> Self {
        Self {
            layers,
            hidden_size,
            intermediate_size,
            heads,
            kv_heads: heads,
            head_dim: hidden_size.checked_div(heads).unwrap_or(0),
            vocabulary_size,
            head_size: vocabulary_size,
            tied: false,
        }
    }

    /// A published target by its name on the hub, in any case and with or without its owner.
    ///
    /// Sizes are those of the models' own `config.json`.
    #[must_use]
    pub fn known(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let short = lower.rsplit('/').next().unwrap_or(&lower);
        let grouped = |shape: Self, kv_heads| Self { kv_heads, ..shape };
        Some(match short {
            "smollm2-135m-instruct" | "smollm2-135m" => Self {
                tied: true,
                ..grouped(Self::new(49_152, 576, 30, 1536, 9), 3)
            },
            "phi-3-mini-4k-instruct" => Self::new(32_064, 3072, 32, 8192, 32),
            "llama-3.1-8b-instruct" | "llama-3.1-8b" => {
                grouped(Self::new(128_256, 4096, 32, 14_336, 32), 8)
            }
            _ => return None,
        })
    }

    /// Parameters that a pass reads: blocks, last norm and head; of the embedding it reads one row.
    #[must_use]
    pub fn pass_parameters(&self) -> u64 {
        self.block_parameters() + self.hidden_size + self.head_size * self.hidden_size
    }

    /// All parameters.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let embedding = self.vocabulary_size * self.hidden_size;
        self.pass_parameters() + if self.tied { 0 } else { embedding }
    }

    /// Parameters of all blocks.
    #[must_use]
    pub fn block_parameters(&self) -> u64 {
        let attention = 2 * self.hidden_size * (self.query_width() + self.kv_width());
        let mlp = 3 * self.hidden_size * self.intermediate_size;
        self.layers * (attention + mlp + 2 * self.hidden_size)
    }

    /// Width of all query heads.
    #[must_use]
    pub fn query_width(&self) -> u64 {
        self.heads * self.head_dim
    }

    /// Width of all key heads, and of all value heads.
    #[must_use]
    pub fn kv_width(&self) -> u64 {
        self.kv_heads * self.head_dim
    }

    /// Checks every size.
    ///
    /// # Errors
    ///
    /// [`HwError::InvalidPlan`] with the path below `path` of the first that is 0 or beyond any
    /// decoder, a head with more rows than the vocabulary, or a tied head of another size.
    pub fn check(&self, path: &str) -> Result<(), HwError> {
        let wrong = |field: &str, reason: String| HwError::InvalidPlan {
            path: format!("{path}.{field}"),
            reason,
        };
        for (field, value, most) in [
            ("layers", self.layers, MOST_LAYERS),
            ("hidden_size", self.hidden_size, MOST),
            ("intermediate_size", self.intermediate_size, MOST),
            ("heads", self.heads, MOST_LAYERS),
            ("kv_heads", self.kv_heads, self.heads),
            ("head_dim", self.head_dim, MOST_LAYERS),
            ("vocabulary_size", self.vocabulary_size, MOST),
            ("head_size", self.head_size, self.vocabulary_size),
        ] {
            if value == 0 || value > most {
                return Err(wrong(field, format!("{value} is not in 1..={most}")));
            }
        }
        if self.tied && self.head_size != self.vocabulary_size {
            let reason = "a tied head has the rows of the embedding".to_owned();
            return Err(wrong("head_size", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_targets_have_their_published_sizes() {
        for (name, parameters) in [
            ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
            ("microsoft/Phi-3-mini-4k-instruct", 3_821_079_552),
            ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248),
        ] {
            let shape = DecoderShape::known(name).unwrap();
            assert_eq!(shape.parameters(), parameters, "{name}");
            shape.check("target").unwrap();
        }
        assert_eq!(DecoderShape::known("gpt-2"), None);
    }

    #[test]
    fn sizes_that_no_decoder_has_are_named() {
        let shape = DecoderShape::new(100, 64, 2, 128, 4);
        shape.check("draft").unwrap();
        for (shape, field) in [
            (DecoderShape { layers: 0, ..shape }, "draft.layers"),
            (DecoderShape { heads: 0, ..shape }, "draft.heads"),
            (
                DecoderShape {
                    head_size: 101,
                    ..shape
                },
                "draft.head_size",
            ),
            (
                DecoderShape {
                    hidden_size: u64::MAX,
                    ..shape
                },
                "draft.hidden_size",
            ),
            (
                DecoderShape {
                    tied: true,
                    head_size: 50,
                    ..shape
                },
                "draft.head_size",
            ),
        ] {
            let error = shape.check("draft").unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
        let most = DecoderShape {
            layers: MOST_LAYERS,
            hidden_size: MOST,
            intermediate_size: MOST,
            heads: MOST_LAYERS,
            kv_heads: MOST_LAYERS,
            head_dim: MOST_LAYERS,
            vocabulary_size: MOST,
            head_size: MOST,
            tied: false,
        };
        most.check("draft").unwrap();
        assert!(most.parameters() > 0, "no overflow");
    }
}

//! The one configuration every decoder family maps onto.

use serde::{Deserialize, Serialize};

pub use crate::rope::{RopeScaling, Rotary};

/// A decoder family: which published architecture a checkpoint follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Family {
    /// Llama 2/3, SmolLM2 and every draft this workspace trains.
    Llama,
    /// Phi-3: `qkv_proj` and `gate_up_proj` are stored fused.
    Phi3,
    /// Qwen2: biases on q, k and v.
    Qwen2,
    /// Qwen3: RMS norm on every query and key head.
    Qwen3,
    /// Mistral: sliding-window attention.
    Mistral,
}

/// Shape and constants of a decoder language model.
///
/// ```
/// use fastdraft_model::DecoderConfig;
/// let config = DecoderConfig::llama(49_152, 256, 4);
/// assert_eq!(config.head_dim * config.heads, 256);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecoderConfig {
    /// Architecture of the checkpoint.
    pub family: Family,
    /// Tokens on the input side.
    pub vocabulary_size: usize,
    /// Rows of the head; smaller than `vocabulary_size` for a draft with a trimmed vocabulary.
    pub head_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Decoder blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` is a multiple of it.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Elements of a head that are rotated, `None` where all of them are. Element `i` is paired
    /// with `i + head_dim / 2` here too, and the pairs that are not rotated are the last ones.
    #[serde(default)]
    pub rotary_dim: Option<usize>,
    /// ε of every RMS norm.
    pub norm_epsilon: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Long-context scaling of the rotary frequencies.
    pub rope_scaling: RopeScaling,
    /// Longest sequence, in tokens.
    pub context_length: usize,
    /// Attention sees at most this many latest tokens, itself included.
    pub sliding_window: Option<usize>,
    /// Blocks that see every earlier token in spite of the window, ascending; empty without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub full_attention_layers: Vec<usize>,
    /// The head is the embedding, transposed.
    pub tied: bool,
    /// q, k and v projections have biases.
    pub qkv_bias: bool,
    /// The output projection of attention has a bias.
    pub output_bias: bool,
    /// The MLP projections have biases.
    pub mlp_bias: bool,
    /// RMS norm on each query and key head.
    pub qk_norm: bool,
    /// First token of a sequence, when the model wants one.
    pub bos_id: Option<u32>,
    /// Tokens that end a sequence.
    pub eos_ids: Vec<u32>,
}

impl DecoderConfig {
    /// A Llama-style decoder of `layers` blocks of width `hidden_size`, heads of 64 (or one
    /// head when narrower), an untied head and an MLP of 8/3 the width, rounded up to 32.
    #[must_use]
    pub fn llama(vocabulary_size: usize, hidden_size: usize, layers: usize) -> Self {
        let head_dim = if hidden_size.is_multiple_of(64) {
            64
        } else {
            hidden_size
        };
        let heads = (hidden_size / head_dim).max(1);
        Self {
            family: Family::Llama,
            vocabulary_size,
            head_size: vocabulary_size,
            hidden_size,
            intermediate_size: (hidden_size * 8 / 3).div_ceil(32) * 32,
            layers,
            heads,
            kv_heads: heads,
            head_dim,
            rotary_dim: None,
            norm_epsilon: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            context_length: 2048,
            sliding_window: None,
            full_attention_layers: Vec::new(),
            tied: false,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            bos_id: None,
            eos_ids: Vec::new(),
        }
    }

    /// Tokens that attention of block `layer` sees at most, `None` for all.
    #[must_use]
    pub fn window(&self, layer: usize) -> Option<usize> {
        (self.sliding_window).filter(|_| !self.full_attention_layers.contains(&layer))
    }

    /// The configuration of a decoder made of some of this one's blocks, in that order.
    #[must_use]
    pub fn of_blocks(&self, blocks: &[usize]) -> Self {
        let full = |block: &usize| self.full_attention_layers.contains(block);
        Self {
            layers: blocks.len(),
            full_attention_layers: (0..blocks.len()).filter(|to| full(&blocks[*to])).collect(),
            ..self.clone()
        }
    }

    /// Parameters read by one decode pass: every block, the last norm and the head, not the
    /// embedding table (one row of it is read).
    #[must_use]
    pub fn pass_parameters(&self) -> usize {
        let q = self.heads * self.head_dim;
        let kv = self.kv_heads * self.head_dim;
        let attention = self.hidden_size * (q + 2 * kv) + q * self.hidden_size;
        let mlp = 3 * self.hidden_size * self.intermediate_size;
        let norms = 2 * self.hidden_size;
        self.layers * (attention + mlp + norms)
            + self.hidden_size
            + self.head_size * self.hidden_size
    }
}

//! The tensors of a file, in its names and orders.

use std::borrow::Cow;

use super::{GgufFormat, GgufFormats, quantize};
use crate::{
    checkpoint::Checkpoint,
    config::{DecoderConfig, Family, RopeScaling},
    error::ModelError,
    import::{
        fused,
        gguf::{TensorType, llama::rotary_heads, names, rope},
        layout::{self, Projections},
    },
};

/// A tensor that becomes bytes when it is written, one at a time.
pub(super) struct Stored<'a> {
    pub(super) name: String,
    /// Outermost first.
    pub(super) shape: Vec<usize>,
    pub(super) kind: TensorType,
    data: Cow<'a, [f32]>,
    /// Heads and their width, where rows of each head are to be interleaved.
    rotary: Option<(usize, usize)>,
}

impl Stored<'_> {
    /// Bytes in the file.
    pub(super) fn len(&self) -> usize {
        self.data.len() / self.kind.block_len() * self.kind.block_bytes()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        match self.rotary {
            Some((heads, dim)) => {
                quantize::quantize(self.kind, &interleave(&self.data, heads, dim))
            }
            None => quantize::quantize(self.kind, &self.data),
        }
    }
}

pub(super) fn of(
    checkpoint: &Checkpoint,
    formats: GgufFormats,
) -> Result<Vec<Stored<'_>>, ModelError> {
    let config = &checkpoint.config;
    let fused = config.family == Family::Phi3;
    let mut joined = if fused {
        fused::join(config, &checkpoint.weights)?
    } else {
        Vec::new()
    };
    let projections = if fused {
        Projections::Fused
    } else {
        Projections::Separate
    };
    // Mistral's files are those of Llama.
    let reordered = DecoderConfig {
        family: match config.family {
            Family::Mistral => Family::Llama,
            family => family,
        },
        ..config.clone()
    };
    let mut list = factors(config);
    for (name, shape) in layout::tensors(config, projections) {
        let data = match joined.iter_mut().find(|(fused, _)| *fused == name) {
            Some((_, tensor)) => Cow::Owned(std::mem::take(&mut tensor.data)),
            None => Cow::Borrowed(checkpoint.weights.get(&name, &shape)?.data.as_slice()),
        };
        let stored = names::stored(&name)
            .ok_or_else(|| ModelError::UnexpectedTensor { name: name.clone() })?;
        let format = match name.as_str() {
            "model.embed_tokens.weight" | "lm_head.weight" => formats.vocabulary,
            _ => formats.blocks,
        };
        list.push(Stored {
            kind: kind(&shape, format),
            rotary: rotary_heads(&reordered, &name).map(|heads| (heads, config.head_dim)),
            name: stored,
            shape,
            data,
        });
    }
    Ok(list)
}

/// Vectors stay float32, and rows that are not whole blocks 16-bit floats.
fn kind(shape: &[usize], format: GgufFormat) -> TensorType {
    let kind = format.tensor_type();
    match shape {
        [_, columns] if columns.is_multiple_of(kind.block_len()) => kind,
        [_, _] => TensorType::F16,
        _ => TensorType::F32,
    }
}

/// Divisors of the rotary frequencies, where the metadata cannot say them.
fn factors<'a>(config: &DecoderConfig) -> Vec<Stored<'a>> {
    let stored = |name: &str, values: Vec<f32>| Stored {
        name: name.to_owned(),
        shape: vec![values.len()],
        kind: TensorType::F32,
        data: Cow::Owned(values),
        rotary: None,
    };
    let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
    match &config.rope_scaling {
        RopeScaling::None
        | RopeScaling::Linear { .. }
        | RopeScaling::Dynamic { .. }
        | RopeScaling::Yarn { .. } => Vec::new(),
        RopeScaling::Llama3 { .. } => {
            let plain = DecoderConfig {
                rope_scaling: RopeScaling::None,
                ..config.clone()
            };
            let divisors = (plain.rope_frequencies().iter())
                .zip(config.rope_frequencies())
                .map(|(base, scaled)| base / scaled)
                .collect();
            vec![stored(rope::FACTORS, divisors)]
        }
        RopeScaling::LongRope { short, long, .. } => vec![
            stored(rope::LONG, narrow(long)),
            stored(rope::SHORT, narrow(short)),
        ],
    }
}

/// Within each head, the two halves become pairs of adjacent rows.
fn interleave(data: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
    let stride = data.len() / (heads * head_dim);
    let mut out = Vec::with_capacity(data.len());
    for head in data.chunks_exact(head_dim * stride) {
        let (low, high) = head.split_at(head.len() / 2);
        for (low, high) in low.chunks_exact(stride).zip(high.chunks_exact(stride)) {
            out.extend_from_slice(low);
            out.extend_from_slice(high);
        }
    }
    out
}

//! Tensors of the Llama-like architectures into the layout of Hugging Face.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{GgufFile, config, names, rope, tensor::TensorInfo};
use crate::{
    checkpoint::Checkpoint,
    config::{DecoderConfig, Family},
    error::ModelError,
    import::{
        fused,
        layout::{self, Projections},
        partial,
    },
    weights::Weights,
};

pub(super) fn load(file: &GgufFile) -> Result<Checkpoint, ModelError> {
    let config = config::read(file)?;
    let plan = plan(file, &config)?;
    let tensors = plan
        .into_par_iter()
        .map(|(name, tensor)| {
            let data = file.dequantize(tensor)?;
            let data = match rotary_heads(&config, &name) {
                Some(heads) => deinterleave(&data, heads, config.head_dim),
                None => data,
            };
            Ok((name, tensor.shape.clone(), data))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    let mut weights = Weights::new();
    for (name, shape, data) in tensors {
        weights.insert(name, shape, data);
    }
    if config.family == Family::Phi3 {
        fused::split(&config, &mut weights)?;
    }
    partial::pair(&config, &mut weights);
    let checkpoint = Checkpoint {
        config,
        weights,
        draft_vocabulary: None,
    };
    layout::check(&checkpoint)?;
    Ok(checkpoint)
}

/// Each tensor the configuration asks for, under its Hugging Face name. Names and shapes are
/// checked before any data is read.
pub(super) fn plan<'a>(
    file: &'a GgufFile,
    config: &DecoderConfig,
) -> Result<Vec<(String, &'a TensorInfo)>, ModelError> {
    let projections = if config.family == Family::Phi3 {
        Projections::Fused
    } else {
        Projections::Separate
    };
    let mut left: BTreeMap<&str, &TensorInfo> = file
        .tensors()
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();
    for factors in [rope::FACTORS, rope::SHORT, rope::LONG] {
        left.remove(factors);
    }
    let mut plan = Vec::new();
    for (name, expected) in layout::tensors(config, projections) {
        let stored = names::stored(&name);
        let Some(tensor) = stored.and_then(|stored| left.remove(stored.as_str())) else {
            return Err(ModelError::MissingTensor { name });
        };
        if tensor.shape != expected {
            return Err(ModelError::ShapeMismatch {
                name,
                expected,
                found: tensor.shape.clone(),
            });
        }
        plan.push((name, tensor));
    }
    match left.keys().next() {
        Some(name) => Err(ModelError::UnexpectedTensor {
            name: (*name).to_owned(),
        }),
        None => Ok(plan),
    }
}

/// Heads of a projection whose rows the converter reordered: q and k of `llama`.
pub(crate) fn rotary_heads(config: &DecoderConfig, name: &str) -> Option<usize> {
    if config.family != Family::Llama {
        return None;
    }
    let (module, _) = name.rsplit_once('.')?;
    match module.rsplit_once('.')?.1 {
        "q_proj" => Some(config.heads),
        "k_proj" => Some(config.kv_heads),
        _ => None,
    }
}

/// Within each head, pairs of adjacent rows become the two halves of the head, whatever a row is
/// made of.
pub(super) fn deinterleave<T: Copy>(data: &[T], heads: usize, head_dim: usize) -> Vec<T> {
    let stride = data.len() / (heads * head_dim);
    let mut out = Vec::with_capacity(data.len());
    for head in data.chunks_exact(head_dim * stride) {
        for side in 0..2 {
            for pair in head.chunks_exact(2 * stride) {
                out.extend_from_slice(&pair[side * stride..(side + 1) * stride]);
            }
        }
    }
    out
}

//! Safetensors of any float type into float32.

use std::{collections::BTreeSet, ops::Range};

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::{config::unsupported, draft, shards::Shards};
use crate::{
    config::{DecoderConfig, Family},
    error::ModelError,
    import::{
        fused,
        layout::{self, Projections},
        partial,
    },
    weights::Weights,
};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// The names to read. Every tensor of the files is checked against the configuration first.
pub(super) fn plan(
    config: &DecoderConfig,
    trimmed: bool,
    shards: &Shards,
) -> Result<Vec<String>, ModelError> {
    let projections = if config.family == Family::Phi3 {
        Projections::Fused
    } else {
        Projections::Separate
    };
    let mut names = BTreeSet::new();
    for (name, expected) in layout::tensors(config, projections) {
        let (path, view) = shards.tensor(&name)?;
        if view.shape() != expected {
            return Err(ModelError::ShapeMismatch {
                name,
                expected,
                found: view.shape().to_vec(),
            });
        }
        if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let value = format!("{:?} of `{name}`", view.dtype());
            return Err(unsupported(path, "tensor type", value));
        }
        names.insert(name);
    }
    for name in shards.names() {
        let known = names.contains(name)
            || name.ends_with(".rotary_emb.inv_freq")
            || (trimmed && draft::NAMES.contains(&name))
            || (config.tied && name == HEAD && is_embedding(shards)?);
        if !known {
            return Err(ModelError::UnexpectedTensor {
                name: name.to_owned(),
            });
        }
    }
    Ok(names.into_iter().collect())
}

/// Some tied models store their embedding twice.
fn is_embedding(shards: &Shards) -> Result<bool, ModelError> {
    let (head, embedding) = (shards.tensor(HEAD)?.1, shards.tensor(EMBEDDING)?.1);
    Ok(head.shape() == embedding.shape()
        && head.dtype() == embedding.dtype()
        && head.data() == embedding.data())
}

/// Reads the planned tensors and splits fused ones.
pub(super) fn read(
    config: &DecoderConfig,
    plan: Vec<String>,
    shards: &Shards,
) -> Result<Weights, ModelError> {
    let tensors = plan
        .into_par_iter()
        .map(|name| {
            let (_, view) = shards.tensor(&name)?;
            let data = elements(shards, &name, 0..view.shape().iter().product())?;
            Ok((name, view.shape().to_vec(), data))
        })
        .collect::<Result<Vec<_>, ModelError>>()?;
    let mut weights = Weights::new();
    for (name, shape, data) in tensors {
        weights.insert(name, shape, data);
    }
    if config.family == Family::Phi3 {
        fused::split(config, &mut weights)?;
    }
    partial::pair(config, &mut weights);
    Ok(weights)
}

/// Some elements of a tensor, row-major.
pub(super) fn elements(
    shards: &Shards,
    name: &str,
    range: Range<usize>,
) -> Result<Vec<f32>, ModelError> {
    let (path, view) = shards.tensor(name)?;
    let size = if view.dtype() == Dtype::F32 { 4 } else { 2 };
    let bytes = view.data().get(range.start * size..range.end * size);
    bytes
        .and_then(|bytes| widen(view.dtype(), bytes))
        .ok_or_else(|| {
            let value = format!("{:?} of `{name}`", view.dtype());
            unsupported(path, "tensor type", value)
        })
}

fn widen(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let (pairs, _) = bytes.as_chunks::<2>();
    match dtype {
        Dtype::F32 => Some(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
        ),
        Dtype::F16 => Some(
            pairs
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
        ),
        Dtype::BF16 => Some(
            pairs
                .iter()
                .map(|b| bf16::from_le_bytes(*b).to_f32())
                .collect(),
        ),
        _ => None,
    }
}

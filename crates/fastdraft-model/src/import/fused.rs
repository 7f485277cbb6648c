//! Projections stored as one matrix, to and from separate ones.

use crate::{
    config::DecoderConfig,
    error::ModelError,
    import::{layout, partial},
    weights::{HostTensor, Weights},
};

/// Replaces `qkv_proj` and `gate_up_proj` by their parts.
pub(crate) fn split(config: &DecoderConfig, weights: &mut Weights) -> Result<(), ModelError> {
    for (fused, parts) in groups(config) {
        let whole = weights
            .remove(&fused)
            .ok_or_else(|| ModelError::MissingTensor {
                name: fused.clone(),
            })?;
        let rows: usize = parts.iter().map(|(_, rows)| rows).sum();
        if whole.shape.first() != Some(&rows) {
            return Err(ModelError::ShapeMismatch {
                name: fused,
                expected: vec![rows, config.hidden_size],
                found: whole.shape,
            });
        }
        let stride = whole.data.len() / rows;
        let mut rest = whole.data.as_slice();
        for (name, rows) in parts {
            let (part, tail) = rest.split_at(rows * stride);
            rest = tail;
            let mut shape = whole.shape.clone();
            shape[0] = rows;
            weights.insert(name, shape, part.to_vec());
        }
    }
    Ok(())
}

/// The fused matrices of a model, by name, in the order of files; the parts stay as they are.
pub(crate) fn join(
    config: &DecoderConfig,
    weights: &Weights,
) -> Result<Vec<(String, HostTensor)>, ModelError> {
    groups(config)
        .into_iter()
        .map(|(fused, parts)| {
            let mut data = Vec::new();
            let mut total = 0;
            for (name, rows) in parts {
                let part = weights.get(&name, &[rows, config.hidden_size])?;
                match partial::unpair(config, &name, part) {
                    Some(stored) => data.extend(stored),
                    None => data.extend_from_slice(&part.data),
                }
                total += rows;
            }
            Ok((
                fused,
                HostTensor {
                    shape: vec![total, config.hidden_size],
                    data,
                },
            ))
        })
        .collect()
}

/// Each fused name with the names and rows of its parts, in storage order.
pub(crate) fn groups(config: &DecoderConfig) -> Vec<(String, Vec<(String, usize)>)> {
    let q = config.heads * config.head_dim;
    let kv = config.kv_heads * config.head_dim;
    let width = config.intermediate_size;
    let name = |prefix: &str, projection: &str| format!("{prefix}{projection}.weight");
    (0..config.layers)
        .map(layout::block)
        .flat_map(|prefix| {
            let part = |projection: &str, rows: usize| (name(&prefix, projection), rows);
            [
                (
                    name(&prefix, "self_attn.qkv_proj"),
                    vec![
                        part("self_attn.q_proj", q),
                        part("self_attn.k_proj", kv),
                        part("self_attn.v_proj", kv),
                    ],
                ),
                (
                    name(&prefix, "mlp.gate_up_proj"),
                    vec![part("mlp.gate_proj", width), part("mlp.up_proj", width)],
                ),
            ]
        })
        .collect()
}

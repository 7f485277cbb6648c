//! Heads of which a leading part is rotated, to and from the pairs of whole heads.
//!
//! Files keep the rotated elements together, pairing `i` with `i + rotary / 2`, and the others
//! after them. Attention does not depend on the order of a head's elements as long as queries and
//! keys share it, so the rows of both projections move to where whole heads have their pairs, and
//! the engines turn the pairs that stand still by an angle of 0.

use crate::{
    config::DecoderConfig,
    weights::{HostTensor, Weights},
};

/// Moves the rows of every query and key projection out of the order of files.
pub(crate) fn pair(config: &DecoderConfig, weights: &mut Weights) {
    let names: Vec<String> = weights
        .iter()
        .filter(|(name, _)| moves(config, name))
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in names {
        if let Some(HostTensor { shape, data }) = weights.remove(&name) {
            let data = paired(config, &name, &data, shape[0]).unwrap_or(data);
            weights.insert(name, shape, data);
        }
    }
}

/// Whether the rows of that tensor move.
pub(crate) fn moves(config: &DecoderConfig, name: &str) -> bool {
    config.rotary_dim.is_some() && is_rotated(name)
}

/// A tensor of `rows` rows out of the order of files, where that is another one.
pub(crate) fn paired(
    config: &DecoderConfig,
    name: &str,
    data: &[f32],
    rows: usize,
) -> Option<Vec<f32>> {
    let rotary = config.rotary_dim.filter(|_| is_rotated(name))?;
    let from = stored(config.head_dim, rotary);
    let scale = 1.0 / attention_factor(config);
    let still = |_, from| from >= rotary;
    Some(moved(data, rows, &from, still, scale))
}

/// The rows of a tensor in the order of files, where that is another one.
pub(crate) fn unpair(config: &DecoderConfig, name: &str, tensor: &HostTensor) -> Option<Vec<f32>> {
    let rotary = config.rotary_dim.filter(|_| is_rotated(name))?;
    let mut from = vec![0; config.head_dim];
    for (row, stored) in stored(config.head_dim, rotary).into_iter().enumerate() {
        from[stored] = row;
    }
    let scale = attention_factor(config);
    let rows = tensor.shape[0];
    Some(moved(
        &tensor.data,
        rows,
        &from,
        |to, _| to >= rotary,
        scale,
    ))
}

fn is_rotated(name: &str) -> bool {
    name.contains(".q_proj.") || name.contains(".k_proj.")
}

/// The engines scale every pair by it, where files mean the rotated ones.
fn attention_factor(config: &DecoderConfig) -> f32 {
    config.rotary(0).attention_factor
}

/// Row in the file of each row of a head.
fn stored(head_dim: usize, rotary: usize) -> Vec<usize> {
    let (half, turned) = (head_dim / 2, rotary / 2);
    (0..head_dim)
        .map(|row| {
            let (side, pair) = (row / half, row % half);
            if pair < turned {
                side * turned + pair
            } else {
                rotary + side * (half - turned) + pair - turned
            }
        })
        .collect()
}

/// Row `i` of each head from row `from[i]`, scaled where neither is a rotated one.
fn moved(
    data: &[f32],
    rows: usize,
    from: &[usize],
    still: impl Fn(usize, usize) -> bool,
    scale: f32,
) -> Vec<f32> {
    let stride = data.len() / rows;
    let mut out = Vec::with_capacity(data.len());
    for head in data.chunks_exact(from.len() * stride) {
        for (to, &from) in from.iter().enumerate() {
            let row = &head[from * stride..(from + 1) * stride];
            let scale = if still(to, from) { scale } else { 1.0 };
            out.extend(row.iter().map(|value| value * scale));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_meet_across_the_halves() {
        // A head of 8 with 4 rotated: pairs (0, 2) and (1, 3) of the file.
        assert_eq!(stored(8, 4), [0, 1, 4, 5, 2, 3, 6, 7]);
    }

    #[test]
    fn rows_return_to_where_they_were() {
        let config = DecoderConfig {
            heads: 2,
            head_dim: 8,
            rotary_dim: Some(4),
            ..DecoderConfig::llama(10, 16, 1)
        };
        let name = "model.layers.0.self_attn.q_proj.weight";
        let data: Vec<f32> = (0..32).map(|value| value as f32).collect();
        let mut weights = Weights::new();
        weights.insert(name, vec![16, 2], data.clone());
        pair(&config, &mut weights);
        let paired = weights.get(name, &[16, 2]).unwrap();
        assert_eq!(paired.data[..8], [0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0]);
        assert_eq!(unpair(&config, name, paired).unwrap(), data);
        assert_eq!(unpair(&config, "model.norm.weight", paired), None);
    }
}

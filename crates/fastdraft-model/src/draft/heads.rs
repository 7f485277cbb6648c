//! A draft with some of a model's attention heads.

use std::ops::Range;

use nalgebra::DMatrix;

use crate::{checkpoint::Checkpoint, config::DecoderConfig, error::ModelError};

/// The `count` key-value heads of each block through which most of the residual stream passes,
/// ascending.
///
/// A query head reads the stream through the values `V` `[head_dim, hidden]` of its key-value
/// head, scaled by the norm before them, and writes it back through its columns `O`
/// `[hidden, head_dim]` of the output projection. A key-value head weighs the sum of `‖O · V‖²`
/// (Frobenius) over the query heads that share it. No text is needed.
///
/// # Errors
/// [`ModelError::InvalidConfig`] when there are not that many heads, or none are asked for; the
/// tensor errors when one is missing.
pub fn heaviest(model: &Checkpoint, count: usize) -> Result<Vec<Vec<usize>>, ModelError> {
    let config = &model.config;
    if count == 0 || count > config.kv_heads {
        return Err(invalid(format!(
            "{count} key-value heads of a model with {}",
            config.kv_heads
        )));
    }
    (0..config.layers)
        .map(|block| {
            let weights = weigh(model, block)?;
            let mut order: Vec<usize> = (0..config.kv_heads).collect();
            order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
            order.truncate(count);
            order.sort_unstable();
            Ok(order)
        })
        .collect()
}

/// The same model with only the key-value heads that `kept` lists for each block, and the query
/// heads that share them: rows of q, k and v, columns of the output projection.
///
/// With all heads it is the model unchanged.
///
/// # Errors
/// [`ModelError::InvalidConfig`] when `kept` has not one list for each block, the lists differ in
/// length, are empty, name a head twice or one that is not there; the tensor errors when one is
/// missing.
///
/// ```
/// use fastdraft_model::{DecoderConfig, draft::{heads, init}};
/// let mut config = DecoderConfig::llama(100, 128, 2);
/// (config.heads, config.kv_heads, config.head_dim) = (4, 2, 32);
/// let target = init::random(config, None, 1)?;
/// let draft = heads::keep(&target, &heads::heaviest(&target, 1)?)?;
/// assert_eq!((draft.config.heads, draft.config.kv_heads), (2, 1));
/// # Ok::<(), fastdraft_model::ModelError>(())
/// ```
pub fn keep(model: &Checkpoint, kept: &[Vec<usize>]) -> Result<Checkpoint, ModelError> {
    let config = &model.config;
    let count = check(config, kept)?;
    let (hidden, dim) = (config.hidden_size, config.head_dim);
    let group = config.heads / config.kv_heads;
    let mut draft = model.clone();
    for (block, heads) in kept.iter().enumerate() {
        let values: Vec<Range<usize>> = heads.iter().map(|h| h * dim..(h + 1) * dim).collect();
        let queries: Vec<Range<usize>> = (heads.iter())
            .map(|h| h * group * dim..(h + 1) * group * dim)
            .collect();
        for (part, rows, ranges) in [
            ("q_proj", config.heads * dim, &queries),
            ("k_proj", config.kv_heads * dim, &values),
            ("v_proj", config.kv_heads * dim, &values),
        ] {
            let name = tensor(block, part, "weight");
            let found = &model.weights.get(&name, &[rows, hidden])?.data;
            let data = rows_of(found, hidden, ranges);
            (draft.weights).insert(name, vec![data.len() / hidden, hidden], data);
            if config.qkv_bias {
                let name = tensor(block, part, "bias");
                let data = rows_of(&model.weights.get(&name, &[rows])?.data, 1, ranges);
                draft.weights.insert(name, vec![data.len()], data);
            }
        }
        let name = tensor(block, "o_proj", "weight");
        let wide = config.heads * dim;
        let found = &model.weights.get(&name, &[hidden, wide])?.data;
        let data = columns_of(found, wide, &queries);
        (draft.weights).insert(name, vec![hidden, data.len() / hidden], data);
    }
    draft.config.heads = count * group;
    draft.config.kv_heads = count;
    Ok(draft)
}

/// The number of heads that every block keeps.
fn check(config: &DecoderConfig, kept: &[Vec<usize>]) -> Result<usize, ModelError> {
    let count = kept.first().map_or(0, Vec::len);
    let (layers, heads) = (config.layers, config.kv_heads);
    if kept.len() != layers || count == 0 || heads == 0 || !config.heads.is_multiple_of(heads) {
        return Err(invalid(format!(
            "{count} key-value heads in each of {} blocks, of a model with {heads} of {} heads in \
             {layers}",
            kept.len(),
            config.heads
        )));
    }
    for (block, list) in kept.iter().enumerate() {
        let mut seen = vec![false; heads];
        let twice_or_absent = list
            .iter()
            .any(|&head| (seen.get_mut(head)).is_none_or(|seen| std::mem::replace(seen, true)));
        if twice_or_absent || list.len() != count {
            return Err(invalid(format!(
                "heads {list:?} in block {block}: {count} different ones below {heads} expected"
            )));
        }
    }
    Ok(count)
}

/// What each key-value head of a block weighs, see [`heaviest`].
fn weigh(model: &Checkpoint, block: usize) -> Result<Vec<f64>, ModelError> {
    let config = &model.config;
    let (hidden, dim) = (config.hidden_size, config.head_dim);
    let wide = config.heads * dim;
    let get =
        |part: &str, shape: [usize; 2]| model.weights.get(&tensor(block, part, "weight"), &shape);
    let values = &get("v_proj", [config.kv_heads * dim, hidden])?.data;
    let output = &get("o_proj", [hidden, wide])?.data;
    let norm = format!("model.layers.{block}.input_layernorm.weight");
    let norm = &model.weights.get(&norm, &[hidden])?.data;
    let group = config.heads / config.kv_heads;
    let mut weights = vec![0.0; config.kv_heads];
    for (head, weight) in weights.iter_mut().enumerate() {
        let rows = DMatrix::from_fn(dim, hidden, |row, column| {
            f64::from(values[(head * dim + row) * hidden + column] * norm[column])
        });
        let inner = &rows * rows.transpose();
        // ‖O · V‖² is the inner product of OᵀO and VVᵀ, both [head_dim, head_dim].
        for query in head * group..(head + 1) * group {
            let columns = DMatrix::from_fn(hidden, dim, |row, column| {
                f64::from(output[row * wide + query * dim + column])
            });
            *weight += inner.dot(&columns.tr_mul(&columns));
        }
    }
    Ok(weights)
}

fn tensor(block: usize, part: &str, kind: &str) -> String {
    format!("model.layers.{block}.self_attn.{part}.{kind}")
}

fn rows_of(data: &[f32], columns: usize, ranges: &[Range<usize>]) -> Vec<f32> {
    (ranges.iter())
        .flat_map(|range| &data[range.start * columns..range.end * columns])
        .copied()
        .collect()
}

fn columns_of(data: &[f32], columns: usize, ranges: &[Range<usize>]) -> Vec<f32> {
    (data.chunks_exact(columns))
        .flat_map(|row| rows_of(row, 1, ranges))
        .collect()
}

fn invalid(reason: String) -> ModelError {
    ModelError::InvalidConfig { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        draft::init,
        engine::cpu::{CpuModel, Segment, WeightFormat, Workspace},
    };

    const HIDDEN: usize = 48;
    const DIM: usize = 8;
    const HEADS: usize = 6;

    /// Three key-value heads, two query heads each.
    fn model() -> Checkpoint {
        let mut config = DecoderConfig::llama(70, HIDDEN, 2);
        (config.heads, config.kv_heads, config.head_dim) = (HEADS, 3, DIM);
        init::random(config, None, 9).unwrap()
    }

    fn logits(checkpoint: &Checkpoint) -> Vec<f32> {
        let model = CpuModel::new(checkpoint, WeightFormat::F32).unwrap();
        let (mut cache, mut out) = (model.cache(4), Vec::new());
        let mut segments = [Segment {
            cache: &mut cache,
            tokens: &[3, 1, 44, 7],
            outputs: 4,
        }];
        model
            .forward(&mut segments, &mut Workspace::new(), &mut out)
            .unwrap();
        out
    }

    /// Silences the output columns of the query heads of one key-value head.
    fn silence(model: &mut Checkpoint, block: usize, head: usize) {
        let name = tensor(block, "o_proj", "weight");
        let shape = [HIDDEN, HEADS * DIM];
        let mut data = model.weights.get(&name, &shape).unwrap().data.clone();
        for row in data.chunks_exact_mut(HEADS * DIM) {
            row[head * 2 * DIM..(head + 1) * 2 * DIM].fill(0.0);
        }
        model.weights.insert(name, shape.to_vec(), data);
    }

    #[test]
    fn without_silent_heads_the_logits_are_the_same() {
        let mut model = model();
        silence(&mut model, 0, 1);
        silence(&mut model, 1, 2);
        let kept = heaviest(&model, 2).unwrap();
        assert_eq!(kept, [[0, 2], [0, 1]]);
        let draft = keep(&model, &kept).unwrap();
        assert_eq!((draft.config.heads, draft.config.kv_heads), (4, 2));
        for (a, b) in logits(&model).iter().zip(logits(&draft)) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
        let other = keep(&model, &[vec![1, 2], vec![0, 1]]).unwrap();
        assert!(logits(&model) != logits(&other));
    }

    #[test]
    fn all_heads_in_their_order_are_the_model() {
        let model = model();
        let all = heaviest(&model, 3).unwrap();
        assert_eq!(all, [[0, 1, 2], [0, 1, 2]]);
        assert_eq!(keep(&model, &all).unwrap(), model);
    }

    #[test]
    fn the_weight_is_the_norm_of_the_product() {
        let model = model();
        let wide = HEADS * DIM;
        let values = tensor(1, "v_proj", "weight");
        let values = &model.weights.get(&values, &[3 * DIM, HIDDEN]).unwrap().data;
        let output = tensor(1, "o_proj", "weight");
        let output = &model.weights.get(&output, &[HIDDEN, wide]).unwrap().data;
        let mut expected = 0.0;
        for query in [2, 3] {
            for row in 0..HIDDEN {
                for column in 0..HIDDEN {
                    let product: f64 = (0..DIM)
                        .map(|d| {
                            let o = output[row * wide + query * DIM + d];
                            f64::from(o) * f64::from(values[(DIM + d) * HIDDEN + column])
                        })
                        .sum();
                    expected += product * product;
                }
            }
        }
        let found = weigh(&model, 1).unwrap()[1];
        assert!(
            (found - expected).abs() < 1e-9 * expected,
            "{found} {expected}"
        );
    }

    #[test]
    fn biases_go_with_their_heads() {
        let mut model = model();
        model.config.qkv_bias = true;
        for block in 0..2 {
            for (part, rows) in [("q_proj", 48), ("k_proj", 24), ("v_proj", 24)] {
                let data = (0..rows).map(|i| i as f32).collect();
                (model.weights).insert(tensor(block, part, "bias"), vec![rows], data);
            }
        }
        let draft = keep(&model, &[vec![2], vec![1]]).unwrap();
        let bias = |block, part| {
            let name = tensor(block, part, "bias");
            let found = draft.weights.iter().find(|(n, _)| *n == name).unwrap().1;
            (found.data[0], found.data.len())
        };
        assert_eq!(bias(0, "q_proj"), (32.0, 16));
        assert_eq!(bias(1, "v_proj"), (8.0, 8));
    }

    #[test]
    fn heads_that_are_not_there_are_refused() {
        let model = model();
        assert!(heaviest(&model, 0).is_err() && heaviest(&model, 4).is_err());
        let wrong: [&[Vec<usize>]; 5] = [
            &[vec![0]],
            &[vec![0], vec![3]],
            &[vec![0, 0], vec![0, 1]],
            &[vec![0], vec![0, 1]],
            &[vec![], vec![]],
        ];
        for kept in wrong {
            assert!(keep(&model, kept).is_err(), "{kept:?}");
        }
    }
}

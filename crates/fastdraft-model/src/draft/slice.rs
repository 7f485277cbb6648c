//! A draft from the target's blocks at a narrower width.

use super::{
    init,
    subspace::{leading_subspace, scaled_gram},
};
use crate::{
    checkpoint::{Checkpoint, DraftVocabulary},
    error::ModelError,
    weights::Weights,
};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
/// Matrices of a block that read the residual stream, with the norm before them.
const READERS: [(&str, &str); 5] = [
    ("self_attn.q_proj", "input_layernorm"),
    ("self_attn.k_proj", "input_layernorm"),
    ("self_attn.v_proj", "input_layernorm"),
    ("mlp.gate_proj", "post_attention_layernorm"),
    ("mlp.up_proj", "post_attention_layernorm"),
];
/// Matrices of a block that write to the residual stream.
const WRITERS: [&str; 2] = ["self_attn.o_proj", "mlp.down_proj"];
/// Norms of the residual stream, by the end of their names.
const STREAM_NORMS: [&str; 3] = [
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
    "model.norm.weight",
];

/// Some blocks of the target with a residual stream of `width` instead of the target's.
///
/// The stream is rotated and its last directions are cut off, as RMS norms commute with rotations
/// once their weights are moved into the matrices behind them (SliceGPT, arXiv 2401.15024,
/// section 3). The directions are those that hold most of the embedding and of the chosen blocks'
/// matrices, each scaled to the same energy, so no text is needed. Heads and MLP keep their sizes.
/// The head's rows are the embedding's, without the last norm's weights, so that head and
/// embedding can be one matrix, see [`whole`](super::whole).
///
/// # Errors
/// [`ModelError::InvalidConfig`] when the width is 0 or above the target's or weights are not
/// finite, and as [`init::from_target`].
pub fn from_target(
    target: &Checkpoint,
    blocks: &[usize],
    width: usize,
    vocabulary: Option<DraftVocabulary>,
) -> Result<Checkpoint, ModelError> {
    let n = target.config.hidden_size;
    if width == 0 || width > n {
        return Err(ModelError::InvalidConfig {
            reason: format!("width {width} of a target with {n}"),
        });
    }
    let mut draft = init::from_target(target, blocks, vocabulary)?;
    let tokens = draft.config.vocabulary_size;
    let embedding = draft.weights.get(EMBEDDING, &[tokens, n])?.data.clone();
    let mut readers = Vec::new();
    let mut writers = Vec::new();
    for (name, tensor) in draft.weights.iter() {
        let Some((block, part)) = split(name) else {
            continue;
        };
        if let Some((_, norm)) = READERS.iter().find(|(reader, _)| *reader == part) {
            let norm = format!("{block}.{norm}.weight");
            let scale = &draft.weights.get(&norm, &[n])?.data;
            let rows = tensor.data.chunks_exact(n);
            let folded = rows.flat_map(|row| row.iter().zip(scale).map(|(w, g)| w * g));
            readers.push((name.to_owned(), folded.collect::<Vec<f32>>()));
        } else if WRITERS.contains(&part) {
            writers.push((name.to_owned(), transposed(&tensor.data, n)));
        }
    }

    let share = 1.0 / (readers.len() + writers.len()) as f64;
    let mut gram = scaled_gram(&embedding, n);
    for (_, rows) in readers.iter().chain(&writers) {
        gram += scaled_gram(rows, n) * share;
    }
    let basis = leading_subspace(gram, width)?;

    let mut weights = Weights::new();
    for (name, tensor) in draft.weights.iter() {
        let bias = split_bias(name).is_some_and(|part| WRITERS.contains(&part));
        if bias {
            weights.insert(name, vec![width], basis.project(&tensor.data));
        } else if STREAM_NORMS.iter().any(|norm| name.ends_with(norm)) {
            // The stream's mean square is over fewer directions now.
            let scale = ((n as f64) / (width as f64)).sqrt() as f32;
            weights.insert(name, vec![width], vec![scale; width]);
        } else {
            weights.insert(name, tensor.shape.clone(), tensor.data.clone());
        }
    }
    for (name, rows) in readers {
        let rows = basis.project(&rows);
        weights.insert(name, vec![rows.len() / width, width], rows);
    }
    for (name, columns) in writers {
        let columns = basis.project(&columns);
        let inner = columns.len() / width;
        weights.insert(name, vec![width, inner], transposed(&columns, inner));
    }
    let narrow = basis.project(&embedding);
    let head = match &draft.draft_vocabulary {
        None => narrow.clone(),
        Some(kept) => (kept.token_ids().iter())
            .flat_map(|&id| &narrow[id as usize * width..(id as usize + 1) * width])
            .copied()
            .collect(),
    };
    weights.insert(HEAD, vec![head.len() / width, width], head);
    weights.insert(EMBEDDING, vec![tokens, width], narrow);
    draft.config.hidden_size = width;
    draft.weights = weights;
    Ok(draft)
}

/// `model.layers.1.mlp.up_proj.weight` is `model.layers.1` and `mlp.up_proj`.
fn split(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_suffix(".weight")?;
    let rest = name.strip_prefix("model.layers.")?;
    let block = rest.find('.')?;
    Some(name.split_at("model.layers.".len() + block))
        .map(|(block, part)| (block, part.trim_start_matches('.')))
}

fn split_bias(name: &str) -> Option<&str> {
    let rest = name.strip_suffix(".bias")?.strip_prefix("model.layers.")?;
    rest.split_once('.').map(|(_, part)| part)
}

/// Of a matrix with `rows` rows, or back.
fn transposed(data: &[f32], rows: usize) -> Vec<f32> {
    let columns = data.len() / rows.max(1);
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| data[row * columns + column]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::DecoderConfig,
        engine::cpu::{CpuModel, Segment, WeightFormat, Workspace},
    };

    fn logits(checkpoint: &Checkpoint, tokens: &[u32]) -> Vec<f32> {
        let model = CpuModel::new(checkpoint, WeightFormat::F32).unwrap();
        let mut cache = model.cache(tokens.len());
        let mut out = Vec::new();
        let mut segments = [Segment {
            cache: &mut cache,
            tokens,
            outputs: tokens.len(),
        }];
        model
            .forward(&mut segments, &mut Workspace::new(), &mut out)
            .unwrap();
        out
    }

    /// A tied target whose last norm has no weights of its own.
    fn target() -> Checkpoint {
        let mut target = init::random(DecoderConfig::llama(60, 64, 3), None, 5).unwrap();
        let embedding = target
            .weights
            .get(EMBEDDING, &[60, 64])
            .unwrap()
            .data
            .clone();
        target.weights.insert(HEAD, vec![60, 64], embedding);
        for block in 0..3 {
            let name = format!("model.layers.{block}.input_layernorm.weight");
            let data = (0..64).map(|i| 0.5 + (i % 7) as f32 / 7.0).collect();
            target.weights.insert(name, vec![64], data);
        }
        target
    }

    #[test]
    fn at_full_width_nothing_changes_but_the_basis() {
        let target = target();
        let same = init::from_target(&target, &[0, 2], None).unwrap();
        let turned = from_target(&target, &[0, 2], 64, None).unwrap();
        let (a, b) = (logits(&same, &[3, 1, 40]), logits(&turned, &[3, 1, 40]));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        let name = "model.layers.1.mlp.up_proj.weight";
        let shape = [192, 64];
        assert_ne!(
            same.weights.get(name, &shape).unwrap(),
            turned.weights.get(name, &shape).unwrap()
        );
    }

    #[test]
    fn a_narrow_draft_runs_and_keeps_the_head_with_the_embedding() {
        let kept = DraftVocabulary::new(vec![1, 7, 59], 60).unwrap();
        let draft = from_target(&target(), &[1], 24, Some(kept)).unwrap();
        assert_eq!(logits(&draft, &[3, 1]).len(), 6);
        let head = &draft.weights.get(HEAD, &[3, 24]).unwrap().data;
        let embedding = &draft.weights.get(EMBEDDING, &[60, 24]).unwrap().data;
        assert_eq!(head[24..48], embedding[7 * 24..8 * 24]);
    }

    #[test]
    fn widths_out_of_range_are_refused() {
        for width in [0, 65] {
            assert!(from_target(&target(), &[0], width, None).is_err());
        }
    }
}

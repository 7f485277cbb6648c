//! A target's embedding and head at a narrower width.

use rayon::prelude::*;

use crate::{checkpoint::Checkpoint, error::ModelError};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
/// Steps end when the captured energy grows by less than this share.
const TOLERANCE: f64 = 1e-7;
const MAX_STEPS: usize = 100;

/// Replaces the embedding and head of `draft` by the target's, projected to the draft's width:
/// `E · V` and `H · V`, where the columns of `V` `[target hidden, draft hidden]` are an
/// orthonormal basis of the leading right singular subspace of both stacked, each scaled to the
/// same energy. No other basis of that width loses less of them. Returns the share of the
/// energy that is kept, 0 to 1.
///
/// The rows of the head are those of the draft's vocabulary. The target's residual stream is
/// rotated, which its blocks would not survive: this is for drafts with blocks of their own.
///
/// # Errors
/// [`ModelError::InvalidConfig`] when the draft is wider than the target, tied, or of another
/// vocabulary; [`ModelError::MissingTensor`] or [`ModelError::ShapeMismatch`] for a broken model.
pub fn project_vocabulary(draft: &mut Checkpoint, target: &Checkpoint) -> Result<f64, ModelError> {
    let (narrow, wide) = (&draft.config, &target.config);
    let (k, n) = (narrow.hidden_size, wide.hidden_size);
    if k > n || narrow.tied || narrow.vocabulary_size != wide.vocabulary_size {
        return Err(ModelError::InvalidConfig {
            reason: format!(
                "a draft of width {k} and {} tokens (tied: {}) from a target of width {n} and {}",
                narrow.vocabulary_size, narrow.tied, wide.vocabulary_size
            ),
        });
    }
    let name = if wide.tied { EMBEDDING } else { HEAD };
    let shape = [wide.vocabulary_size, n];
    let embedding = &target.weights.get(EMBEDDING, &shape)?.data;
    let head = &target.weights.get(name, &[wide.head_size, n])?.data;
    let rows: Vec<u32> = match &draft.draft_vocabulary {
        Some(kept) => kept.token_ids().to_vec(),
        None => (0..narrow.head_size as u32).collect(),
    };
    if let Some(&id) = rows.iter().find(|id| **id as usize >= wide.head_size) {
        return Err(ModelError::TokenOutOfRange {
            id,
            vocabulary_size: wide.head_size,
        });
    }
    let kept: Vec<f32> = (rows.iter())
        .flat_map(|&id| &head[id as usize * n..(id as usize + 1) * n])
        .copied()
        .collect();

    let mut gram = scaled_gram(embedding, n);
    for (sum, value) in gram.iter_mut().zip(scaled_gram(&kept, n)) {
        *sum += value;
    }
    let (basis, energy) = leading_subspace(&gram, n, k);
    let total: f64 = (0..n).map(|i| gram[i * n + i]).sum();
    let vocabulary = narrow.vocabulary_size;
    (draft.weights).insert(
        EMBEDDING,
        vec![vocabulary, k],
        project(embedding, &basis, n),
    );
    (draft.weights).insert(HEAD, vec![rows.len(), k], project(&kept, &basis, n));
    Ok(if total > 0.0 { energy / total } else { 1.0 })
}

/// `XᵀX` divided by its trace: `[n, n]`, of `x` `[rows, n]`.
fn scaled_gram(x: &[f32], n: usize) -> Vec<f64> {
    let mut gram: Vec<f64> = (0..n)
        .into_par_iter()
        .flat_map_iter(|i| {
            let mut row = vec![0.0_f64; n];
            for x in x.chunks_exact(n) {
                let weight = f64::from(x[i]);
                for (sum, value) in row.iter_mut().zip(x) {
                    *sum += weight * f64::from(*value);
                }
            }
            row
        })
        .collect();
    let trace: f64 = (0..n).map(|i| gram[i * n + i]).sum();
    if trace > 0.0 {
        gram.iter_mut().for_each(|value| *value /= trace);
    }
    gram
}

/// Orthonormal rows `[k, n]` that span the leading eigenvectors of a symmetric `gram` `[n, n]`,
/// by orthogonal iteration, and the energy in them, the trace of `V · gram · Vᵀ`.
fn leading_subspace(gram: &[f64], n: usize, k: usize) -> (Vec<f64>, f64) {
    // The rows of largest diagonal, so that the start is not orthogonal to what is sought.
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| gram[b * n + b].total_cmp(&gram[a * n + a]));
    let mut basis: Vec<f64> = (order.iter().take(k))
        .flat_map(|&i| (0..n).map(move |j| if i == j { 1.0 } else { 1e-3 * noise(i * n + j) }))
        .collect();
    orthonormalise(&mut basis, n);
    let mut energy = 0.0;
    for _ in 0..MAX_STEPS {
        let moved = apply(gram, &basis, n);
        let found = dot(&moved, &basis);
        basis = moved;
        orthonormalise(&mut basis, n);
        if found - energy <= TOLERANCE * found {
            break;
        }
        energy = found;
    }
    let energy = dot(&apply(gram, &basis, n), &basis);
    (basis, energy)
}

/// Each row of `basis` times the symmetric `gram`.
fn apply(gram: &[f64], basis: &[f64], n: usize) -> Vec<f64> {
    basis
        .par_chunks_exact(n)
        .flat_map_iter(|row| {
            let mut out = vec![0.0; n];
            for (weight, gram) in row.iter().zip(gram.chunks_exact(n)) {
                for (sum, value) in out.iter_mut().zip(gram) {
                    *sum += weight * value;
                }
            }
            out
        })
        .collect()
}

/// Modified Gram and Schmidt over rows, twice, which leaves them orthogonal to rounding. Rows
/// that depend on others become the next unit vector that does not.
fn orthonormalise(basis: &mut [f64], n: usize) {
    let mut unit = 0;
    for i in 0..basis.len() / n {
        let (done, rest) = basis.split_at_mut(i * n);
        let row = &mut rest[..n];
        while !reduce(done, row, n) {
            row.fill(0.0);
            row[unit % n] = 1.0;
            unit += 1;
        }
    }
}

/// Whether a part of `row` is orthogonal to `done`; that part is left in it, of length 1.
fn reduce(done: &[f64], row: &mut [f64], n: usize) -> bool {
    let before = dot(row, row).sqrt();
    for _ in 0..2 {
        for other in done.chunks_exact(n) {
            let along = dot(row, other);
            for (value, other) in row.iter_mut().zip(other) {
                *value -= along * other;
            }
        }
    }
    let length = dot(row, row).sqrt();
    if length <= 1e-12 * before || before == 0.0 {
        return false;
    }
    row.iter_mut().for_each(|value| *value /= length);
    true
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A fixed value in -1 to 1.
fn noise(index: usize) -> f64 {
    let mixed = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 11) as f64 / (1u64 << 52) as f64
        - 1.0
}

/// Coordinates of the rows of `x` `[rows, n]` in `basis` `[k, n]`: `[rows, k]`.
fn project(x: &[f32], basis: &[f64], n: usize) -> Vec<f32> {
    x.par_chunks_exact(n)
        .flat_map_iter(|row| {
            basis.chunks_exact(n).map(|axis| {
                let pairs = row.iter().zip(axis);
                pairs.map(|(x, a)| f64::from(*x) * a).sum::<f64>() as f32
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkpoint::DraftVocabulary, config::DecoderConfig, draft::init};

    fn models(kept: Option<DraftVocabulary>) -> (Checkpoint, Checkpoint) {
        let draft = init::random(DecoderConfig::llama(90, 16, 1), kept, 1).unwrap();
        (
            draft,
            init::random(DecoderConfig::llama(90, 32, 1), None, 2).unwrap(),
        )
    }

    #[test]
    fn a_diagonal_gram_gives_its_largest_entries() {
        let n = 12;
        let mut gram = vec![0.0; n * n];
        for i in 0..n {
            gram[i * n + i] = ((i * 5) % n) as f64 + 1.0;
        }
        let (basis, energy) = leading_subspace(&gram, n, 3);
        assert!((energy - (12.0 + 11.0 + 10.0)).abs() < 1e-3, "{energy}");
        for (i, a) in basis.chunks(n).enumerate() {
            for (j, b) in basis.chunks(n).enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((dot(a, b) - expected).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_target_of_low_rank_loses_nothing() {
        let (mut draft, mut target) = models(None);
        // Both matrices live in the first 16 coordinates, so inner products must survive.
        for name in [EMBEDDING, HEAD] {
            let mut data = target.weights.get(name, &[90, 32]).unwrap().data.clone();
            for row in data.chunks_mut(32) {
                row[16..].fill(0.0);
            }
            target.weights.insert(name, vec![90, 32], data);
        }
        let kept = project_vocabulary(&mut draft, &target).unwrap();
        assert!((kept - 1.0).abs() < 1e-9, "{kept}");
        let wide = |name| &target.weights.get(name, &[90, 32]).unwrap().data;
        let narrow = |name| &draft.weights.get(name, &[90, 16]).unwrap().data;
        for (i, j) in [(0, 0), (3, 70), (89, 12)] {
            let product = |e: &[f32], h: &[f32], n: usize| -> f32 {
                let pairs = e[i * n..(i + 1) * n].iter().zip(&h[j * n..(j + 1) * n]);
                pairs.map(|(a, b)| a * b).sum()
            };
            let a = product(wide(EMBEDDING), wide(HEAD), 32);
            let b = product(narrow(EMBEDDING), narrow(HEAD), 16);
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }

    #[test]
    fn a_trimmed_head_keeps_its_rows() {
        let kept = DraftVocabulary::new(vec![4, 40, 89], 90).unwrap();
        let (mut draft, target) = models(Some(kept));
        let share = project_vocabulary(&mut draft, &target).unwrap();
        assert!((0.3..1.0).contains(&share), "{share}");
        assert!(draft.weights.get(HEAD, &[3, 16]).is_ok());
        let (mut wide, narrow) = (target, draft);
        assert!(project_vocabulary(&mut wide, &narrow).is_err());
    }
}

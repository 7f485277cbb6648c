//! A target's embedding and head at a narrower width.

use super::subspace::{leading_subspace, scaled_gram};
use crate::{checkpoint::Checkpoint, error::ModelError};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

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
/// vocabulary, or weights are not finite; [`ModelError::MissingTensor`] or
/// [`ModelError::ShapeMismatch`] for a broken model.
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

    let gram = scaled_gram(embedding, n) + scaled_gram(&kept, n);
    let total = gram.trace();
    let basis = leading_subspace(gram, k)?;
    let vocabulary = narrow.vocabulary_size;
    (draft.weights).insert(EMBEDDING, vec![vocabulary, k], basis.project(embedding));
    (draft.weights).insert(HEAD, vec![rows.len(), k], basis.project(&kept));
    Ok(if total > 0.0 {
        basis.energy / total
    } else {
        1.0
    })
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

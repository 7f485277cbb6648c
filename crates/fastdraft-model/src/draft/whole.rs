//! The whole vocabulary for a draft whose head is part of its embedding.

use crate::{checkpoint::Checkpoint, error::ModelError};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// The same model with one matrix as embedding and head, over the whole vocabulary.
///
/// Where `draft` has a trimmed head, this is another draft: it also proposes the tokens that were
/// trimmed, with the logits that the embedding gives them. Both are lossless. Programs that know
/// no trimmed heads, such as llama.cpp, can run it.
///
/// # Errors
/// [`ModelError::InvalidConfig`] when a row of the head differs from the embedding's, as after
/// training one of them alone; the tensor errors when one is missing.
pub fn whole(draft: &Checkpoint) -> Result<Checkpoint, ModelError> {
    let mut config = draft.config.clone();
    if config.tied {
        return Ok(draft.clone());
    }
    let width = config.hidden_size;
    let embedding = &(draft.weights)
        .get(EMBEDDING, &[config.vocabulary_size, width])?
        .data;
    let head = &draft.weights.get(HEAD, &[config.head_size, width])?.data;
    let ids: Vec<u32> = match &draft.draft_vocabulary {
        Some(kept) => kept.token_ids().to_vec(),
        None => (0..config.head_size as u32).collect(),
    };
    for (row, id) in head.chunks_exact(width).zip(ids) {
        let start = id as usize * width;
        if embedding.get(start..start + width) != Some(row) {
            return Err(ModelError::InvalidConfig {
                reason: format!(
                    "the head's row of token {id} is not the embedding's, so one matrix cannot \
                     be both; train with both frozen"
                ),
            });
        }
    }
    let mut whole = draft.clone();
    config.tied = true;
    config.head_size = config.vocabulary_size;
    whole.config = config;
    whole.draft_vocabulary = None;
    whole.weights.remove(HEAD);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::DraftVocabulary,
        config::DecoderConfig,
        draft::{init, slice},
    };

    #[test]
    fn the_head_becomes_the_embedding_or_is_refused() {
        let target = init::random(DecoderConfig::llama(60, 64, 2), None, 5).unwrap();
        let kept = DraftVocabulary::new(vec![1, 7, 59], 60).unwrap();
        let mut draft = slice::from_target(&target, &[1], 24, Some(kept)).unwrap();
        let one = whole(&draft).unwrap();
        assert!(one.config.tied && one.draft_vocabulary.is_none());
        assert_eq!(one.config.head_size, 60);
        assert!(one.weights.get(HEAD, &[3, 24]).is_err());
        let mut head = draft.weights.get(HEAD, &[3, 24]).unwrap().data.clone();
        head[30] += 0.5;
        draft.weights.insert(HEAD, vec![3, 24], head);
        let error = whole(&draft).unwrap_err().to_string();
        assert!(error.contains("token 7"), "{error}");
    }
}

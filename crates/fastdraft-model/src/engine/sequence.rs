//! What every engine's sequence does the same way as a `Draft` and a `Target`.

use fastdraft_specdec::{Distribution, LogitRows, Proposal, Sampler, TokenId};

use super::{
    batch::{Part, Passes},
    held::Held,
};
use crate::{checkpoint::DraftVocabulary, error::ModelError};

/// A sequence that can be fed tokens.
pub(super) trait Sequence {
    /// Feeds `context` then `extra`, leaving the logits of the last `outputs` tokens.
    fn feed(&mut self, context: &[u32], extra: &[u32], outputs: usize) -> Result<(), ModelError>;
    /// `[outputs, head_size]` of the last [`feed`](Self::feed).
    fn logits(&self) -> &[f32];
    fn head_size(&self) -> usize;
    fn draft_vocabulary(&self) -> Option<&DraftVocabulary>;
}

/// How many of the cached tokens stay, and the tokens still to feed. The longest common prefix is
/// kept, short of the tokens whose logits are asked for.
pub(super) fn pending(
    cached: &[u32],
    context: &[u32],
    extra: &[u32],
    outputs: usize,
) -> Result<(usize, Vec<u32>), ModelError> {
    let total = context.len() + extra.len();
    if outputs == 0 || total < outputs {
        return Err(ModelError::InvalidPass {
            reason: format!("{total} tokens for {outputs} rows of logits"),
        });
    }
    let wanted = || context.iter().chain(extra);
    let shared = cached.iter().zip(wanted()).take_while(|(a, b)| a == b);
    let shared = shared.count().min(total - outputs);
    Ok((shared, wanted().skip(shared).copied().collect()))
}

/// Feeds `context` then `extra` to the model, as far as `held` does not have them, for the logits
/// of the last `outputs` tokens.
pub(super) fn feed<P: Passes>(
    model: &mut P,
    held: &mut Held<P::Cache>,
    context: &[u32],
    extra: &[u32],
    outputs: usize,
) -> Result<(), ModelError> {
    let mut pending = held.begin(context, extra, outputs)?;
    let early = |cache: &mut P::Cache, tokens: &[u32]| model.prefill(cache, tokens);
    held.feed_early(&mut pending, outputs, P::PREFILL, early)?;
    model.pass(vec![Part {
        cache: &mut held.cache,
        tokens: &pending,
        outputs,
    }])?;
    held.tokens.extend_from_slice(&pending);
    Ok(())
}

pub(super) fn score(
    sequence: &mut impl Sequence,
    context: &[TokenId],
    proposal: &[TokenId],
    out: &mut LogitRows,
) -> Result<(), ModelError> {
    let rows = proposal.len() + 1;
    sequence.feed(context, proposal, rows)?;
    out.reset(rows, sequence.head_size())
        .copy_from_slice(sequence.logits());
    Ok(())
}

pub(super) fn propose(
    sequence: &mut impl Sequence,
    context: &[TokenId],
    gamma: usize,
    sampler: &mut Sampler<'_>,
    out: &mut Proposal,
) -> Result<(), ModelError> {
    let mut history = context.to_vec();
    let mut distribution = Distribution::default();
    for _ in 0..gamma {
        sequence.feed(&history, &[], 1)?;
        let logits = sequence.logits();
        let token = match sequence.draft_vocabulary() {
            Some(kept) => {
                sampler.sample_subset(logits, kept.token_ids(), &history, &mut distribution)
            }
            None => sampler.sample(logits, &history, &mut distribution),
        }
        .map_err(|error| ModelError::Sampling {
            reason: error.to_string(),
        })?;
        out.push(token, &distribution);
        history.push(token);
    }
    Ok(())
}

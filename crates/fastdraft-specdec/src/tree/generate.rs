//! The loop over trees.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::verify::{TreeRows, walk};
use super::{TreeDraft, TreeProposal, TreeTarget, TreeVerdict};
use crate::gamma::step_gamma;
use crate::sequence::{Sequence, outside};
use crate::verify::rows::RowError;
use crate::{
    Distribution, Emitted, GenerateError, Generation, LogitRows, Rule, SessionConfig, TokenId,
    Transform,
};

struct Scored<'a> {
    rows: &'a LogitRows,
    transform: &'a Transform,
    history: &'a mut Vec<TokenId>,
    out: &'a mut Distribution,
}

impl TreeRows for Scored<'_> {
    type Error = RowError;

    fn row(&mut self, index: usize, accepted: Option<TokenId>) -> Result<&Distribution, RowError> {
        self.history.extend(accepted);
        let logits = self.rows.row(index).unwrap_or_default();
        self.transform
            .apply(logits, self.history, self.out)
            .map_err(RowError::Transform)?;
        Ok(self.out)
    }
}

/// Generates after `prompt` what the target alone would, with `draft` proposing trees.
///
/// As [`generate`](crate::generate) with γ as the depth of a tree. The metrics count positions, not
/// nodes: a tree of depth d counts as d drafted tokens, of which the path that is kept was accepted.
///
/// # Errors
/// As [`generate`](crate::generate); a tree deeper than asked for counts as too long a proposal.
pub fn generate_tree<D: TreeDraft, T: TreeTarget>(
    draft: &mut D,
    target: &mut T,
    prompt: &[TokenId],
    config: &SessionConfig,
    mut on_tokens: impl FnMut(Emitted<'_>) -> ControlFlow<()>,
) -> Result<Generation, GenerateError<D::Error, T::Error>> {
    let vocabulary = target.vocabulary().size;
    let mut sequence = Sequence::new(prompt, config, vocabulary)?;
    draft.truncate(0).map_err(GenerateError::Draft)?;
    target.keep(0, &[]).map_err(GenerateError::Target)?;
    let rule = if config.transform.is_greedy() {
        Rule::Greedy
    } else {
        Rule::Rejection
    };
    let (mut tree, mut rows) = (TreeProposal::new(), LogitRows::new());
    let (mut distribution, mut work) = (Distribution::new(), Vec::new());
    let (mut verdict, mut history) = (TreeVerdict::default(), Vec::new());
    while sequence.stop_reason().is_none() {
        let start = sequence.context().len();
        let gamma = step_gamma(config.gamma, sequence.remaining());
        tree.clear();
        if gamma > 0 {
            let (context, mut sampler) = sequence.sampler();
            draft
                .propose_tree(context, gamma, &mut sampler, &mut tree)
                .map_err(GenerateError::Draft)?;
        }
        check(&tree, gamma, vocabulary)?;
        target
            .score_tree(sequence.context(), &tree, &mut rows)
            .map_err(GenerateError::Target)?;
        let expected = (tree.len() + 1, vocabulary);
        let actual = (rows.rows(), rows.vocabulary());
        if actual != expected {
            return Err(GenerateError::RowShape { expected, actual });
        }
        history.clear();
        history.extend_from_slice(sequence.context());
        let mut scored = Scored {
            rows: &rows,
            transform: &config.transform,
            history: &mut history,
            out: &mut distribution,
        };
        let rng = sequence.rng();
        walk(rule, &tree, &mut scored, rng, &mut work, &mut verdict)?;
        let path = verdict.path.iter();
        let accepted = path.filter_map(|&node| tree.tokens().get(node).copied());
        sequence.accept(accepted, verdict.path.len(), verdict.next, tree.depth());
        let kept = sequence.emitted().accepted;
        let path = verdict.path.get(..kept).unwrap_or_default();
        target.keep(start, path).map_err(GenerateError::Target)?;
        // A draft may have cached another path than the one accepted.
        draft.truncate(start).map_err(GenerateError::Draft)?;
        if on_tokens(sequence.emitted()).is_break() {
            sequence.end(crate::StopReason::Cancelled);
        }
    }
    Ok(sequence.finish())
}

fn check<D, T>(
    tree: &TreeProposal,
    gamma: usize,
    vocabulary: usize,
) -> Result<(), GenerateError<D, T>> {
    let proposed = tree.depth();
    if proposed > gamma {
        return Err(GenerateError::ProposalTooLong {
            asked: gamma,
            proposed,
        });
    }
    match outside(tree.tokens(), vocabulary) {
        None => Ok(()),
        Some((position, token)) => Err(GenerateError::ProposedToken {
            position,
            token,
            vocabulary,
        }),
    }
}

//! The loop over trees.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::verify::{TreeRows, walk};
use super::{TreeDraft, TreeProposal, TreeTarget, TreeVerdict};
use crate::gamma::{Fixed, GammaPolicy, StepReport, step_gamma};
use crate::sequence::{Sequence, outside};
use crate::{
    Clock, Distribution, Emitted, GenerateError, Generation, LogitRows, NoClock, RowError, Rule,
    SessionConfig, TokenId, Transform,
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
    on_tokens: impl FnMut(Emitted<'_>) -> ControlFlow<()>,
) -> Result<Generation, GenerateError<D::Error, T::Error>> {
    let policy = &mut Fixed(config.gamma);
    generate_tree_with(
        draft,
        target,
        prompt,
        config,
        policy,
        &mut NoClock,
        on_tokens,
    )
}

/// As [`generate_tree`], with `policy` deciding the depth of each tree and `clock` timing the models.
///
/// A tree is proposed in one call, so a policy's
/// [`stop_below`](crate::gamma::GammaPolicy::stop_below) has no effect. Depth takes the place of
/// drafted tokens in what a policy is told, as in the metrics.
///
/// # Errors
/// As [`generate_tree`].
pub fn generate_tree_with<D: TreeDraft, T: TreeTarget, P: GammaPolicy, C: Clock>(
    draft: &mut D,
    target: &mut T,
    prompt: &[TokenId],
    config: &SessionConfig,
    policy: &mut P,
    clock: &mut C,
    mut on_tokens: impl FnMut(Emitted<'_>) -> ControlFlow<()>,
) -> Result<Generation, GenerateError<D::Error, T::Error>> {
    let vocabulary = target.vocabulary().size;
    let mut sequence = Sequence::new(prompt, config, vocabulary)?;
    draft.truncate(0).map_err(GenerateError::Draft)?;
    target.keep(0, &[]).map_err(GenerateError::Target)?;
    let rule = Rule::for_transform(&config.transform);
    let (mut tree, mut rows) = (TreeProposal::new(), LogitRows::new());
    let (mut distribution, mut work) = (Distribution::new(), Vec::new());
    let (mut verdict, mut history) = (TreeVerdict::default(), Vec::new());
    while sequence.stop_reason().is_none() {
        let start = sequence.context().len();
        let prefill = sequence.metrics().target_passes == 0;
        let gamma = step_gamma(policy.gamma(), sequence.remaining());
        let begin = clock.seconds();
        tree.clear();
        if gamma > 0 {
            let (context, mut sampler) = sequence.sampler();
            draft
                .propose_tree(context, gamma, &mut sampler, &mut tree)
                .map_err(GenerateError::Draft)?;
        }
        check(&tree, gamma, vocabulary)?;
        let drafted = clock.seconds();
        target
            .score_tree(sequence.context(), &tree, &mut rows)
            .map_err(GenerateError::Target)?;
        let scored_at = clock.seconds();
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
        policy.observe(&StepReport {
            prefill,
            drafted: tree.depth(),
            accepted: kept,
            draft_seconds: drafted - begin,
            target_seconds: scored_at - drafted,
        });
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

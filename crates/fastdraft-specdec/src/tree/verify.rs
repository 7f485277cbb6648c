//! Multi-candidate verification of a tree.

use alloc::vec::Vec;

use super::TreeProposal;
use crate::verify::rejection::draw;
use crate::{Distribution, Rule, TokenId, Uniform, VerifyError, cumulative};

/// The outcome of verifying a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeVerdict {
    /// The accepted nodes from a child of the context on.
    pub path: Vec<usize>,
    /// The target's token that follows them.
    pub next: TokenId,
}

/// Gives the target's distribution behind a node.
pub(super) trait TreeRows {
    type Error: From<VerifyError>;

    /// Row `index`; `accepted` is the token of the node it belongs to, on the path walked so far.
    fn row(
        &mut self,
        index: usize,
        accepted: Option<TokenId>,
    ) -> Result<&Distribution, Self::Error>;
}

impl TreeRows for &[Distribution] {
    type Error = VerifyError;

    fn row(&mut self, index: usize, _: Option<TokenId>) -> Result<&Distribution, VerifyError> {
        self.get(index)
            .filter(|d| !d.is_empty())
            .ok_or(VerifyError::EmptyDistribution { row: index })
    }
}

/// Decides which path of `tree` to keep and which token follows.
///
/// `target` holds `tree.len() + 1` distributions: entry 0 for the token after the context, entry
/// `i + 1` for the token after node `i`. At each node the draws below it are tried in order: a draw of
/// x from q is accepted with probability min(1, p(x)/q(x)), else p becomes the normalised
/// max(p − q, 0) and the next is tried; after the last, the token comes from what p has become. The
/// output follows the target exactly, whatever the distributions, so long as each token was drawn from
/// its own (SpecInfer, arXiv 2305.09781, algorithm 2; recursive rejection without replacement, arXiv
/// 2402.14160). [`Rule::Greedy`] follows the most likely tokens and draws no random number.
///
/// ```
/// use fastdraft_specdec::tree::{TreeProposal, verify_tree};
/// use fastdraft_specdec::{Distribution, Rule, SeededUniform};
/// let mut tree = TreeProposal::new();
/// tree.push(None, 1, &Distribution::one_hot(1));
/// tree.push(None, 2, &Distribution::one_hot(2));
/// let target = [2, 0, 5].map(Distribution::one_hot);
/// let verdict = verify_tree(Rule::Rejection, &tree, &target, &mut SeededUniform::new(0))?;
/// assert_eq!((verdict.path, verdict.next), (vec![1], 5));
/// # Ok::<(), fastdraft_specdec::VerifyError>(())
/// ```
///
/// # Errors
/// When the lengths do not match, a target distribution is empty, a token has probability 0 in the
/// distribution it was drawn from (rejection only), or a random number is outside `[0, 1)`.
pub fn verify_tree<R: Uniform + ?Sized>(
    rule: Rule,
    tree: &TreeProposal,
    target: &[Distribution],
    rng: &mut R,
) -> Result<TreeVerdict, VerifyError> {
    if target.len() != tree.len() + 1 {
        return Err(VerifyError::LengthMismatch {
            proposed: tree.len(),
            rows: target.len(),
        });
    }
    if let Some(row) = target.iter().position(Distribution::is_empty) {
        return Err(VerifyError::EmptyDistribution { row });
    }
    let mut verdict = TreeVerdict::default();
    walk(
        rule,
        tree,
        &mut { target },
        rng,
        &mut Vec::new(),
        &mut verdict,
    )?;
    Ok(verdict)
}

pub(super) fn walk<S: TreeRows, R: Uniform + ?Sized>(
    rule: Rule,
    tree: &TreeProposal,
    rows: &mut S,
    rng: &mut R,
    work: &mut Vec<f64>,
    verdict: &mut TreeVerdict,
) -> Result<(), S::Error> {
    if rule == Rule::Rejection {
        let impossible =
            |(_, (token, q)): &(usize, (TokenId, &Distribution))| q.probability(*token) <= 0.0;
        if let Some((position, (token, _))) = tree.all_draws().enumerate().find(impossible) {
            return Err(VerifyError::ZeroDraftProbability { position, token }.into());
        }
    }
    verdict.path.clear();
    let mut at: Option<usize> = None;
    loop {
        let row = at.map_or(0, |node| node + 1);
        let accepted = at.and_then(|node| tree.tokens().get(node)).copied();
        let p = rows.row(row, accepted)?;
        let empty = || VerifyError::EmptyDistribution { row };
        let child = match rule {
            Rule::Greedy => {
                verdict.next = p.argmax().ok_or_else(empty)?;
                tree.child(at, verdict.next)
            }
            Rule::Rejection => {
                let (child, next) = candidates(tree, at, p, rng, work)?;
                verdict.next = next.ok_or_else(empty)?;
                child
            }
        };
        match child {
            Some(node) => verdict.path.push(node),
            None => return Ok(()),
        }
        at = child;
    }
}

/// Tries the draws below `at`: the accepted node with its token, or a token of the residual.
fn candidates<R: Uniform + ?Sized>(
    tree: &TreeProposal,
    at: Option<usize>,
    p: &Distribution,
    rng: &mut R,
    weights: &mut Vec<f64>,
) -> Result<(Option<usize>, Option<TokenId>), VerifyError> {
    weights.clear();
    weights.extend_from_slice(p.probabilities());
    let mut mass = cumulative::sum(weights);
    for (node, token, q) in tree.draws(at) {
        let index = p.tokens().binary_search(&token).ok();
        let weight = index.and_then(|i| weights.get(i)).copied().unwrap_or(0.0);
        // Strict, so that a token the target cannot produce is rejected even at u = 0.
        if draw(rng)? * q.probability(token) * mass < weight {
            return Ok((Some(node), Some(token)));
        }
        let left =
            |(&token, weight): (&TokenId, &f64)| (weight - mass * q.probability(token)).max(0.0);
        let remaining: f64 = p.tokens().iter().zip(weights.iter()).map(left).sum();
        // Rounding can reject although p and q are equal; p is then the limit of the residual.
        if remaining > 0.0 {
            for (token, weight) in p.tokens().iter().zip(weights.iter_mut()) {
                *weight = (*weight - mass * q.probability(*token)).max(0.0);
            }
            mass = remaining;
        }
    }
    let index = cumulative::pick(draw(rng)? * mass, weights);
    Ok((None, index.and_then(|i| p.tokens().get(i)).copied()))
}

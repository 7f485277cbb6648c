//! What tests of trees have in common.

use fastdraft_specdec::tree::TreeProposal;
use fastdraft_specdec::{Distribution, TokenId};

/// `q` once `token` is drawn, `None` when nothing is left.
pub fn without(q: &Distribution, token: TokenId) -> Option<Distribution> {
    let kept: Vec<_> = q.iter().filter(|e| e.0 != token).collect();
    let total: f64 = kept.iter().map(|e| e.1).sum();
    let (tokens, weights) = kept.into_iter().map(|(t, p)| (t, p / total)).unzip();
    (total > 0.0).then(|| Distribution::from_parts(tokens, weights).unwrap())
}

/// `prompt` and the tokens down to `node`.
pub fn history(prompt: &[TokenId], tree: &TreeProposal, node: Option<usize>) -> Vec<TokenId> {
    let mut path: Vec<_> = node.into_iter().flat_map(|n| tree.ancestry(n)).collect();
    path.reverse();
    let drafted = path.iter().map(|&n| tree.tokens()[n]);
    prompt.iter().copied().chain(drafted).collect()
}

/// Every choice of some of `size` tokens.
pub fn vocabularies(size: TokenId) -> impl Iterator<Item = Vec<TokenId>> {
    (1..1u32 << size).map(move |set| (0..size).filter(|t| set >> t & 1 == 1).collect())
}

//! What is left of the target after a rejection: max(p − q, 0).

use alloc::vec::Vec;

use crate::{Distribution, TokenId, cumulative};

/// Writes max(p − q, 0) for each token of `target`'s support to `out`.
pub(crate) fn excess(target: &Distribution, draft: &Distribution, out: &mut Vec<f64>) {
    out.clear();
    let pairs = target.tokens().iter().zip(target.probabilities());
    match (target.is_dense(), draft.is_dense()) {
        (true, true) => {
            let padded = draft
                .probabilities()
                .iter()
                .copied()
                .chain(core::iter::repeat(0.0));
            let p = target.probabilities().iter();
            if draft.len() >= target.len() {
                // Two slices side by side become vector code, a chain does not.
                let q = draft.probabilities().iter();
                out.extend(p.zip(q).map(|(p, q)| (p - q).max(0.0)));
            } else {
                out.extend(p.zip(padded).map(|(p, q)| (p - q).max(0.0)));
            }
        }
        (_, true) => out.extend(pairs.map(|(&t, p)| (p - draft.probability(t)).max(0.0))),
        _ => {
            let mut other = draft.iter().peekable();
            out.extend(pairs.map(|(&token, p)| {
                while other.next_if(|&(t, _)| t < token).is_some() {}
                let q = other.next_if(|&(t, _)| t == token).map_or(0.0, |(_, q)| q);
                (p - q).max(0.0)
            }));
        }
    }
}

/// The token at quantile `u` of the normalised max(p − q, 0); `work` is overwritten.
pub(crate) fn sample(
    target: &Distribution,
    draft: &Distribution,
    u: f64,
    work: &mut Vec<f64>,
) -> Option<TokenId> {
    excess(target, draft, work);
    let mass = cumulative::sum(work);
    // Rounding can reject although p and q are equal; the target is then the limit of the residual.
    if mass > 0.0 {
        let index = cumulative::pick(u * mass, work)?;
        target.tokens().get(index).copied()
    } else {
        target.sample(u)
    }
}

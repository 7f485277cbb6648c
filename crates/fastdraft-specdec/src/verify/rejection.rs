//! Speculative sampling: accept with probability min(1, p/q), else sample the residual.

use crate::distribution::pick;
use crate::{Distribution, Proposal, TokenId, Uniform, Verdict, VerifyError};

pub(super) fn verify<R: Uniform + ?Sized>(
    proposal: &Proposal,
    target: &[Distribution],
    rng: &mut R,
) -> Result<Verdict, VerifyError> {
    let drafted = || proposal.tokens().iter().zip(proposal.distributions());
    // Every position is checked before any is judged, so an error never depends on chance.
    for (position, (&token, draft)) in drafted().enumerate() {
        if draft.probability(token) <= 0.0 {
            return Err(VerifyError::ZeroDraftProbability { position, token });
        }
    }
    for (row, distribution) in target.iter().enumerate() {
        if distribution.is_empty() {
            return Err(VerifyError::EmptyDistribution { row });
        }
    }
    for (row, ((&token, draft), distribution)) in drafted().zip(target).enumerate() {
        let (p, q) = (distribution.probability(token), draft.probability(token));
        // Strict, so that a token the target cannot produce is rejected even at u = 0.
        if draw(rng)? * q < p {
            continue;
        }
        let u = draw(rng)?;
        let next =
            residual(distribution, draft, u).ok_or(VerifyError::EmptyDistribution { row })?;
        return Ok(Verdict {
            accepted: row,
            next,
            bonus: false,
        });
    }
    let row = proposal.len();
    let u = draw(rng)?;
    let next = target
        .get(row)
        .and_then(|d| d.sample(u))
        .ok_or(VerifyError::EmptyDistribution { row })?;
    Ok(Verdict {
        accepted: row,
        next,
        bonus: true,
    })
}

fn draw<R: Uniform + ?Sized>(rng: &mut R) -> Result<f64, VerifyError> {
    let value = rng.uniform();
    if (0.0..1.0).contains(&value) {
        Ok(value)
    } else {
        Err(VerifyError::UniformOutOfRange { value })
    }
}

/// The token at quantile `u` of the normalised max(p − q, 0).
fn residual(target: &Distribution, draft: &Distribution, u: f64) -> Option<TokenId> {
    let mass: f64 = excess(target, draft).map(|(_, weight)| weight).sum();
    // Rounding can reject although p and q are equal; the target is then the limit of the residual.
    if mass > 0.0 {
        pick(u * mass, excess(target, draft))
    } else {
        target.sample(u)
    }
}

fn excess<'a>(
    target: &'a Distribution,
    draft: &'a Distribution,
) -> impl Iterator<Item = (TokenId, f64)> + 'a {
    let mut other = draft.iter().peekable();
    target.iter().map(move |(token, p)| {
        while other.next_if(|&(t, _)| t < token).is_some() {}
        let q = other.next_if(|&(t, _)| t == token).map_or(0.0, |(_, q)| q);
        (token, (p - q).max(0.0))
    })
}

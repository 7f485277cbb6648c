//! Speculative sampling: accept with probability min(1, p/q), else sample the residual.

use alloc::vec::Vec;

use super::residual;
use super::rows::Rows;
use crate::{Proposal, Uniform, Verdict, VerifyError};

pub(super) fn verify<S: Rows, R: Uniform + ?Sized>(
    proposal: &Proposal,
    target: &mut S,
    rng: &mut R,
    work: &mut Vec<f64>,
) -> Result<Verdict, S::Error> {
    let drafted = || proposal.tokens().iter().zip(proposal.distributions());
    // Every position is checked before any is judged, so this error never depends on chance.
    for (position, (&token, draft)) in drafted().enumerate() {
        if draft.probability(token) <= 0.0 {
            return Err(VerifyError::ZeroDraftProbability { position, token }.into());
        }
    }
    for (row, (&token, draft)) in drafted().enumerate() {
        let bound = draw(rng)? * draft.probability(token);
        if target.surely_exceeds(row, token, bound) {
            continue;
        }
        let distribution = target.row(row)?;
        // Strict, so that a token the target cannot produce is rejected even at u = 0.
        if bound < distribution.probability(token) {
            continue;
        }
        let u = draw(rng)?;
        let next = residual::sample(distribution, draft, u, work)
            .ok_or(VerifyError::EmptyDistribution { row })?;
        return Ok(Verdict {
            accepted: row,
            next,
            bonus: false,
        });
    }
    let row = proposal.len();
    let distribution = target.row(row)?;
    let u = draw(rng)?;
    let next = distribution
        .sample(u)
        .ok_or(VerifyError::EmptyDistribution { row })?;
    Ok(Verdict {
        accepted: row,
        next,
        bonus: true,
    })
}

/// The next random number, checked.
pub(crate) fn draw<R: Uniform + ?Sized>(rng: &mut R) -> Result<f64, VerifyError> {
    let value = rng.uniform();
    if (0.0..1.0).contains(&value) {
        Ok(value)
    } else {
        Err(VerifyError::UniformOutOfRange { value })
    }
}

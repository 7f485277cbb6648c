//! Exact match with the target's most likely token.

use crate::{Distribution, Proposal, Verdict, VerifyError};

pub(super) fn verify(proposal: &Proposal, target: &[Distribution]) -> Result<Verdict, VerifyError> {
    // A pass over all rows ends inside: the last row has no proposed token to match.
    for (row, distribution) in target.iter().enumerate() {
        let next = distribution
            .argmax()
            .ok_or(VerifyError::EmptyDistribution { row })?;
        if proposal.tokens().get(row) != Some(&next) {
            return Ok(Verdict {
                accepted: row,
                next,
                bonus: row == proposal.len(),
            });
        }
    }
    Err(VerifyError::LengthMismatch {
        proposed: proposal.len(),
        rows: target.len(),
    })
}

//! Exact match with the target's most likely token.

use super::rows::Rows;
use crate::{Proposal, Verdict, VerifyError};

pub(super) fn verify<S: Rows>(proposal: &Proposal, target: &mut S) -> Result<Verdict, S::Error> {
    let mut row = 0;
    loop {
        let next = target
            .row(row)?
            .argmax()
            .ok_or(VerifyError::EmptyDistribution { row })?;
        // The last row has no proposed token to match, so the loop ends there.
        if proposal.tokens().get(row) != Some(&next) {
            return Ok(Verdict {
                accepted: row,
                next,
                bonus: row == proposal.len(),
            });
        }
        row += 1;
    }
}

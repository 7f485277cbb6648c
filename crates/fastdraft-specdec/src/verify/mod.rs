//! Which proposed tokens to keep and what follows them.

mod greedy;
pub(crate) mod rejection;
pub(crate) mod residual;
pub(crate) mod rows;
mod sure;
mod typical;
mod verifier;

use alloc::vec::Vec;

use rows::Rows;

pub use typical::{Lossy, TypicalAcceptance, verify_typical};
pub use verifier::Verifier;

use crate::{Distribution, Proposal, TokenId, Transform, Uniform, VerifyError};

/// How proposed tokens are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Rule {
    /// Accept a token when it is the target's most likely one; draws no random numbers.
    Greedy,
    /// Accept with probability min(1, p/q), else sample from the normalised max(p − q, 0).
    ///
    /// The output follows the target's distribution exactly (Leviathan et al., arXiv 2211.17192;
    /// Chen et al., arXiv 2302.01318).
    Rejection,
}

impl Rule {
    /// The lossless rule for a transform: greedy at temperature 0, else rejection.
    #[must_use]
    pub fn for_transform(transform: &Transform) -> Self {
        if transform.is_greedy() {
            Self::Greedy
        } else {
            Self::Rejection
        }
    }
}

/// The outcome of one verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// How many of the proposed tokens are kept, from the first on.
    pub accepted: usize,
    /// The target's token that follows them.
    pub next: TokenId,
    /// Whether everything was accepted, so that `next` was sampled from the last row as it is.
    pub bonus: bool,
}

/// Decides how much of `proposal` to keep and which token follows.
///
/// `target` holds `proposal.len() + 1` distributions: entry `i` is the target's for the token after
/// the context and the first `i` proposed tokens. Pure: the same arguments and random numbers give
/// the same verdict. Rejection draws one number for each token looked at and one for `next`.
///
/// ```
/// use fastdraft_specdec::{Distribution, Proposal, Rule, SeededUniform, verify};
/// let mut proposal = Proposal::new();
/// proposal.push(1, &Distribution::one_hot(1));
/// let target = [Distribution::one_hot(1), Distribution::one_hot(4)];
/// let verdict = verify(Rule::Rejection, &proposal, &target, &mut SeededUniform::new(0))?;
/// assert_eq!((verdict.accepted, verdict.next), (1, 4));
/// # Ok::<(), fastdraft_specdec::VerifyError>(())
/// ```
///
/// # Errors
/// When the lengths do not match, a target distribution is empty, a proposed token
/// has probability 0 in the distribution it was sampled from (rejection only), or a random number
/// is outside `[0, 1)`.
pub fn verify<R: Uniform + ?Sized>(
    rule: Rule,
    proposal: &Proposal,
    target: &[Distribution],
    rng: &mut R,
) -> Result<Verdict, VerifyError> {
    if target.len() != proposal.len() + 1 {
        return Err(VerifyError::LengthMismatch {
            proposed: proposal.len(),
            rows: target.len(),
        });
    }
    // All rows are checked before any is judged, so an error never depends on chance.
    if let Some(row) = target.iter().position(Distribution::is_empty) {
        return Err(VerifyError::EmptyDistribution { row });
    }
    verify_rows(rule, proposal, &mut { target }, rng, &mut Vec::new())
}

/// As [`verify`] over rows that are asked for one after the other, up to the first rejection.
pub(crate) fn verify_rows<S: Rows, R: Uniform + ?Sized>(
    rule: Rule,
    proposal: &Proposal,
    target: &mut S,
    rng: &mut R,
    work: &mut Vec<f64>,
) -> Result<Verdict, S::Error> {
    match rule {
        Rule::Greedy => greedy::verify(proposal, target),
        Rule::Rejection => rejection::verify(proposal, target, rng, work),
    }
}

//! Verification of logits, for a loop that is not the session's.

use alloc::vec::Vec;

use super::rows::Scored;
use super::verify_rows;
use crate::{
    Distribution, LogitRows, Proposal, RowError, Rule, TokenId, Transform, Uniform, Verdict,
    VerifyError,
};

/// Verifies proposals against rows of logits in work space that is kept from step to step.
///
/// As transforming each row and calling [`verify`](crate::verify), but rows behind the first
/// rejection are not looked at. A [`Session`](crate::Session) does the same by itself.
///
/// ```
/// use fastdraft_specdec::{Distribution, LogitRows, Proposal, SeededUniform, Transform, Verifier};
/// let mut proposal = Proposal::new();
/// proposal.push(1, &Distribution::one_hot(1));
/// let mut rows = LogitRows::new();
/// rows.reset(2, 3).copy_from_slice(&[0.0, 9.0, 0.0, 0.0, 0.0, 9.0]);
/// let (transform, mut rng) = (Transform::greedy(), SeededUniform::new(0));
/// let verdict = Verifier::new().verify(&transform, &[0], &proposal, &rows, &mut rng)?;
/// assert_eq!((verdict.accepted, verdict.next), (1, 2));
/// # Ok::<(), fastdraft_specdec::RowError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    distribution: Distribution,
    history: Vec<TokenId>,
    work: Vec<f64>,
}

impl Verifier {
    /// A verifier without work space yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides how much of `proposal`, drafted after `context`, to keep and which token follows.
    ///
    /// `rows` has shape `[proposal.len() + 1, vocabulary]`; row `i` holds the target's logits of the
    /// token after the context and the first `i` proposed tokens. A greedy `transform` selects
    /// [`Rule::Greedy`], any other [`Rule::Rejection`].
    ///
    /// # Errors
    /// As [`verify`](crate::verify), and when a row that is reached has no distribution.
    pub fn verify<R: Uniform + ?Sized>(
        &mut self,
        transform: &Transform,
        context: &[TokenId],
        proposal: &Proposal,
        rows: &LogitRows,
        rng: &mut R,
    ) -> Result<Verdict, RowError> {
        if rows.rows() != proposal.len() + 1 {
            return Err(RowError::Verify(VerifyError::LengthMismatch {
                proposed: proposal.len(),
                rows: rows.rows(),
            }));
        }
        self.history.clear();
        self.history.extend_from_slice(context);
        self.history.extend_from_slice(proposal.tokens());
        let mut scored = Scored {
            rows,
            transform,
            history: &self.history,
            context: context.len(),
            out: &mut self.distribution,
        };
        let rule = Rule::for_transform(transform);
        verify_rows(rule, proposal, &mut scored, rng, &mut self.work)
    }
}

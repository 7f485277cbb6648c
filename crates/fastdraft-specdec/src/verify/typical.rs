//! Typical acceptance, which changes the output's distribution.

use super::rejection::draw;
use crate::math::{exp_nonpositive, ln};
use crate::{Distribution, Proposal, Uniform, Verdict, VerifyError};

/// A result that does not follow the target's distribution.
///
/// [`Lossy::accept`] takes it out, in so many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Lossy<V>(V);

impl<V> Lossy<V> {
    /// The result, knowing that the output is no longer the target's.
    pub fn accept(self) -> V {
        self.0
    }
}

/// Accepts a token x where p(x) > min(ε, δ e^(−H(p))), H being the entropy of p in nats.
///
/// Lossy: see [`verify_typical`]. The rule of Medusa (arXiv 2401.10774, section 2.3.1).
///
/// ```
/// use fastdraft_specdec::{Distribution, TypicalAcceptance};
/// let rule = TypicalAcceptance { epsilon: 0.3, delta: 0.09 };
/// let p = Distribution::dense(vec![0.5, 0.5])?;
/// assert!((rule.threshold(&p) - 0.045).abs() < 1e-12);
/// # Ok::<(), fastdraft_specdec::DistributionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TypicalAcceptance {
    /// ε, a probability that is enough whatever the entropy.
    pub epsilon: f64,
    /// δ, which scales the threshold where the target is unsure.
    pub delta: f64,
}

impl TypicalAcceptance {
    /// The probability a token has to exceed under `p`.
    #[must_use]
    pub fn threshold(&self, p: &Distribution) -> f64 {
        let positive = p.probabilities().iter().filter(|&&x| x > 1e-300);
        let entropy: f64 = positive.map(|&x| -x * ln(x)).sum();
        self.epsilon
            .min(self.delta * exp_nonpositive(-entropy.max(0.0)))
    }
}

/// Keeps the tokens that `rule` finds typical of the target, up to the first that is not.
///
/// Lossy: a typical token is kept as the draft chose it. What follows the kept tokens is sampled from
/// the target's row there. Draws one random number.
///
/// # Errors
/// When the lengths do not match, a target distribution is empty or a random number is outside
/// `[0, 1)`.
pub fn verify_typical<R: Uniform + ?Sized>(
    rule: TypicalAcceptance,
    proposal: &Proposal,
    target: &[Distribution],
    rng: &mut R,
) -> Result<Lossy<Verdict>, VerifyError> {
    if target.len() != proposal.len() + 1 {
        return Err(VerifyError::LengthMismatch {
            proposed: proposal.len(),
            rows: target.len(),
        });
    }
    if let Some(row) = target.iter().position(Distribution::is_empty) {
        return Err(VerifyError::EmptyDistribution { row });
    }
    let judged = proposal.tokens().iter().zip(target);
    let accepted = judged
        .take_while(|(token, p)| p.probability(**token) > rule.threshold(p))
        .count();
    let u = draw(rng)?;
    let next = target.get(accepted).and_then(|p| p.sample(u));
    Ok(Lossy(Verdict {
        accepted,
        next: next.ok_or(VerifyError::EmptyDistribution { row: accepted })?,
        bonus: accepted == proposal.len(),
    }))
}

//! How often the target takes what the draft proposes.

use super::speedup::{fraction, iid_tau};
use crate::error::HwError;

/// What is known of acceptance.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Acceptance {
    /// Every draft token is accepted with this probability, independent of the rest.
    Independent(f64),
    /// The token at each position is accepted with this probability, given that all before it were.
    /// Beyond the last position nothing is known, and nothing is drafted.
    PerPosition(Vec<f64>),
}

impl Acceptance {
    /// Independent acceptance that gives the acceptance rate `acceptance_rate` at `gamma`.
    ///
    /// # Errors
    ///
    /// As for [`alpha_from_acceptance_rate`].
    pub fn from_rate(acceptance_rate: f64, gamma: u32) -> Result<Self, HwError> {
        alpha_from_acceptance_rate(acceptance_rate, gamma).map(Self::Independent)
    }

    /// τ at `gamma`: 1 + Σᵢ Πⱼ≤ᵢ pⱼ. `None` when `gamma` is beyond the last known position.
    ///
    /// # Errors
    ///
    /// [`HwError::OutOfRange`] for a probability outside 0 ..= 1.
    pub fn block_efficiency(&self, gamma: u32) -> Result<Option<f64>, HwError> {
        match self {
            Self::Independent(alpha) => {
                fraction("acceptance probability", *alpha)?;
                Ok(Some(iid_tau(*alpha, gamma)))
            }
            Self::PerPosition(probabilities) => {
                for &probability in probabilities {
                    fraction("acceptance probability", probability)?;
                }
                let Some(used) = probabilities.get(..gamma as usize) else {
                    return Ok(None);
                };
                let reached = used.iter().scan(1.0, |all, probability| {
                    *all *= probability;
                    Some(*all)
                });
                Ok(Some(1.0 + reached.sum::<f64>()))
            }
        }
    }
}

/// The α with (α + α² + … + α^γ) / γ = AR: independent acceptance that an AR at a fixed γ stands for.
///
/// # Errors
///
/// [`HwError::OutOfRange`] unless 0 ≤ `acceptance_rate` ≤ 1 and `gamma` > 0.
pub fn alpha_from_acceptance_rate(acceptance_rate: f64, gamma: u32) -> Result<f64, HwError> {
    fraction("acceptance_rate", acceptance_rate)?;
    if gamma == 0 {
        return Err(HwError::OutOfRange {
            name: "gamma",
            value: 0.0,
            accepted: "above 0",
        });
    }
    let rate = |alpha: f64| (iid_tau(alpha, gamma) - 1.0) / f64::from(gamma);
    let (mut low, mut high) = (0.0, 1.0);
    // The rate rises with α, so halving an interval 60 times leaves less than one ulp.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if rate(middle) < acceptance_rate {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_gives_the_rate_back() {
        for gamma in [1, 3, 8] {
            for rate in [0.0, 0.1, 0.402, 0.9, 1.0] {
                let alpha = alpha_from_acceptance_rate(rate, gamma).unwrap();
                let sum: f64 = (1..=gamma).map(|i| alpha.powi(i.cast_signed())).sum();
                assert!(
                    (sum / f64::from(gamma) - rate).abs() < 1e-5,
                    "{gamma} {rate}"
                );
            }
        }
        assert!(alpha_from_acceptance_rate(0.5, 0).is_err());
        assert!(alpha_from_acceptance_rate(1.5, 3).is_err());
    }

    #[test]
    fn equal_positions_are_independent_acceptance() {
        let independent = Acceptance::Independent(0.7);
        let positions = Acceptance::PerPosition(vec![0.7; 4]);
        for gamma in 0..=4 {
            let a = independent.block_efficiency(gamma).unwrap().unwrap();
            let b = positions.block_efficiency(gamma).unwrap().unwrap();
            assert!((a - b).abs() < 1e-12);
        }
        assert_eq!(positions.block_efficiency(5).unwrap(), None);
    }

    #[test]
    fn later_positions_count_only_when_earlier_ones_were_accepted() {
        let tau = Acceptance::PerPosition(vec![0.5, 0.0, 1.0]);
        assert_eq!(tau.block_efficiency(3).unwrap(), Some(1.5));
        assert!(
            Acceptance::PerPosition(vec![1.1])
                .block_efficiency(0)
                .is_err()
        );
    }
}

//! Formulas of block efficiency, MBSU and speed-up.

use crate::error::HwError;

/// The γ that pays most.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BestGamma {
    /// Draft tokens per target pass; 0 says that drafting does not pay.
    pub gamma: u32,
    /// MBSU at this γ, 1 for γ = 0.
    pub mbsu: f64,
}

/// τ = 1 + γ·AR, the block efficiency at a fixed γ: each pass emits the accepted tokens and one of
/// the target's own.
///
/// # Errors
///
/// [`HwError::OutOfRange`] unless 0 ≤ `acceptance_rate` ≤ 1.
pub fn block_efficiency(acceptance_rate: f64, gamma: u32) -> Result<f64, HwError> {
    fraction("acceptance_rate", acceptance_rate)?;
    Ok(1.0 + f64::from(gamma) * acceptance_rate)
}

/// τ = (1 − α^(γ+1)) / (1 − α), the block efficiency when draft tokens are accepted independently
/// (Leviathan, Kalman and Matias, arXiv 2211.17192, equation 1).
///
/// # Errors
///
/// [`HwError::OutOfRange`] unless 0 ≤ `alpha` ≤ 1.
pub fn iid_block_efficiency(alpha: f64, gamma: u32) -> Result<f64, HwError> {
    fraction("alpha", alpha)?;
    Ok(iid_tau(alpha, gamma))
}

/// MBSU = (1 + γ·AR) / (cγ + 1), the memory-bound speed-up.
///
/// # Errors
///
/// [`HwError::OutOfRange`] unless 0 ≤ `acceptance_rate` ≤ 1 and `draft_cost` is finite and ≥ 0.
pub fn mbsu(acceptance_rate: f64, gamma: u32, draft_cost: f64) -> Result<f64, HwError> {
    speedup(acceptance_rate, gamma, draft_cost, 1.0)
}

/// (1 + γ·AR) / (cγ + v), the wall-clock speed-up.
///
/// # Errors
///
/// [`HwError::OutOfRange`] unless 0 ≤ `acceptance_rate` ≤ 1, `draft_cost` is finite and ≥ 0, and
/// `verify_cost` is finite and > 0.
pub fn speedup(
    acceptance_rate: f64,
    gamma: u32,
    draft_cost: f64,
    verify_cost: f64,
) -> Result<f64, HwError> {
    cost(draft_cost)?;
    positive("verify_cost", verify_cost)?;
    let tau = block_efficiency(acceptance_rate, gamma)?;
    Ok(tau / (draft_cost * f64::from(gamma) + verify_cost))
}

/// AR = (cγ + v − 1) / γ, the acceptance rate at which the speed-up is exactly 1.
///
/// `None` when even AR = 1 does not pay, or γ = 0. An AR of 0 says that any draft pays.
///
/// # Errors
///
/// [`HwError::OutOfRange`] as for [`speedup`].
pub fn break_even_acceptance(
    gamma: u32,
    draft_cost: f64,
    verify_cost: f64,
) -> Result<Option<f64>, HwError> {
    cost(draft_cost)?;
    positive("verify_cost", verify_cost)?;
    if gamma == 0 {
        return Ok(None);
    }
    let gamma = f64::from(gamma);
    let rate = (draft_cost * gamma + verify_cost - 1.0) / gamma;
    Ok((rate <= 1.0).then_some(rate.max(0.0)))
}

/// The γ in 0 ..= `max_gamma` with the highest MBSU, for independent acceptance with probability
/// `alpha`: the largest (1 − α^(γ+1)) / ((1 − α)(cγ + 1)). The smallest γ wins a tie.
///
/// # Errors
///
/// [`HwError::OutOfRange`] unless 0 ≤ `alpha` ≤ 1 and `draft_cost` is finite and ≥ 0.
pub fn best_gamma(alpha: f64, draft_cost: f64, max_gamma: u32) -> Result<BestGamma, HwError> {
    fraction("alpha", alpha)?;
    cost(draft_cost)?;
    let mut best = BestGamma {
        gamma: 0,
        mbsu: 1.0,
    };
    for gamma in 1..=max_gamma {
        let mbsu = iid_tau(alpha, gamma) / (draft_cost * f64::from(gamma) + 1.0);
        if mbsu > best.mbsu {
            best = BestGamma { gamma, mbsu };
        }
    }
    Ok(best)
}

pub(super) fn iid_tau(alpha: f64, gamma: u32) -> f64 {
    // The closed form divides by zero at α = 1 and cancels near it.
    if 1.0 - alpha < 1e-6 {
        let gamma = f64::from(gamma);
        return (gamma + 1.0) * (1.0 - (1.0 - alpha) * gamma / 2.0).max(0.0);
    }
    (1.0 - alpha.powf(f64::from(gamma) + 1.0)) / (1.0 - alpha)
}

pub(super) fn fraction(name: &'static str, value: f64) -> Result<(), HwError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(HwError::OutOfRange {
        name,
        value,
        accepted: "between 0 and 1",
    })
}

fn cost(value: f64) -> Result<(), HwError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(HwError::OutOfRange {
        name: "draft_cost",
        value,
        accepted: "finite and at least 0",
    })
}

fn positive(name: &'static str, value: f64) -> Result<(), HwError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(HwError::OutOfRange {
        name,
        value,
        accepted: "finite and above 0",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} != {b}");
    }

    #[test]
    fn fixed_gamma_formulas() {
        close(block_efficiency(0.5, 4).unwrap(), 3.0);
        close(mbsu(0.5, 4, 0.125).unwrap(), 2.0);
        close(speedup(0.5, 4, 0.125, 1.5).unwrap(), 1.5);
        close(mbsu(0.9, 0, 0.3).unwrap(), 1.0);
    }

    /// AR at γ = 3 of arXiv 2411.11055 on summaries, stories, instructions and code, parameters of
    /// draft and target, and MBSU worked out by hand from them.
    #[test]
    fn the_papers_rates_give_its_mbsu() {
        let phi = (50e6, 3.82e9);
        let llama = (150e6, 8.03e9);
        for ((draft, target), rates, expected) in [
            (phi, [0.311, 0.277, 0.245, 0.229], [1.86, 1.76, 1.67, 1.62]),
            (phi, [0.304, 0.287, 0.226, 0.561], [1.84, 1.79, 1.61, 2.58]),
            (phi, [0.369, 0.306, 0.370, 0.562], [2.03, 1.85, 2.03, 2.59]),
            (
                llama,
                [0.307, 0.266, 0.334, 0.649],
                [1.82, 1.70, 1.90, 2.79],
            ),
        ] {
            for (rate, expected) in rates.into_iter().zip(expected) {
                let gain = mbsu(rate, 3, draft / target).unwrap();
                assert!((gain - expected).abs() < 0.006, "{rate}: {gain}");
            }
        }
        // The abstract: up to 3 on code, up to 2 elsewhere.
        let gain = |rate: f64, (draft, target): (f64, f64)| mbsu(rate, 3, draft / target).unwrap();
        assert_eq!(gain(0.649, llama).round(), 3.0);
        assert_eq!(gain(0.370, phi).round(), 2.0);
    }

    #[test]
    fn break_even_is_where_speedup_is_one() {
        let rate = break_even_acceptance(3, 0.1, 1.3).unwrap().unwrap();
        close(speedup(rate, 3, 0.1, 1.3).unwrap(), 1.0);
        assert_eq!(break_even_acceptance(3, 0.5, 3.0).unwrap(), None);
        assert_eq!(break_even_acceptance(0, 0.1, 1.0).unwrap(), None);
        assert_eq!(break_even_acceptance(2, 0.0, 0.9).unwrap(), Some(0.0));
    }

    #[test]
    fn iid_efficiency_is_the_geometric_sum() {
        for alpha in [0.0, 0.3, 0.8, 0.999_999_5, 1.0_f64] {
            for gamma in [0, 1, 3, 8] {
                let sum: f64 = (0..=gamma).map(|i| alpha.powi(i)).sum();
                let tau = iid_block_efficiency(alpha, gamma.try_into().unwrap()).unwrap();
                close(tau, sum);
            }
        }
    }

    #[test]
    fn best_gamma_beats_its_neighbours_and_says_no() {
        let best = best_gamma(0.7, 0.05, 32).unwrap();
        let at = |gamma: u32| iid_tau(0.7, gamma) / (0.05 * f64::from(gamma) + 1.0);
        assert!(best.mbsu >= at(best.gamma - 1) && best.mbsu >= at(best.gamma + 1));
        close(best.mbsu, at(best.gamma));
        assert_eq!(best_gamma(0.2, 0.5, 16).unwrap().gamma, 0);
        assert_eq!(best_gamma(1.0, 0.0, 16).unwrap().gamma, 16);
    }

    #[test]
    fn inputs_out_of_range_are_named() {
        for error in [
            mbsu(1.1, 3, 0.1).unwrap_err(),
            mbsu(f64::NAN, 3, 0.1).unwrap_err(),
            mbsu(0.5, 3, -0.1).unwrap_err(),
            speedup(0.5, 3, 0.1, 0.0).unwrap_err(),
            best_gamma(0.5, f64::INFINITY, 3).unwrap_err(),
        ] {
            assert!(matches!(error, HwError::OutOfRange { .. }), "{error}");
        }
    }
}

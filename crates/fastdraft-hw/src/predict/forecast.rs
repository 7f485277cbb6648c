//! The speed-up of a draft at every γ, and what it would take.

use serde::Serialize;

use super::{Acceptance, Latency};
use crate::error::HwError;

/// One γ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GammaForecast {
    /// Draft tokens per target pass.
    pub gamma: u32,
    /// Tokens emitted per target pass.
    pub block_efficiency: f64,
    /// τ / (cγ + 1) with c from the latencies of one token.
    pub mbsu: f64,
    /// τ·T(1) / (γ·D(1) + T(γ + 1)): plain over speculative time for the same tokens.
    pub speedup: f64,
    /// AR at which the speed-up is 1; above 1 when no draft of this cost pays at this γ.
    pub break_even: f64,
}

/// The acceptance rate that a draft must reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Needed {
    /// γ at which least is needed.
    pub gamma: u32,
    /// AR at which the speed-up is 1 there.
    pub acceptance_rate: f64,
}

/// What a draft will gain.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Forecast {
    /// γ = 1, 2, …
    pub by_gamma: Vec<GammaForecast>,
    /// The γ with the highest speed-up; 0 says that drafting does not pay.
    pub best_gamma: u32,
    /// Speed-up at the best γ, 1 for γ = 0.
    pub speedup: f64,
    /// MBSU at the best γ, 1 for γ = 0.
    pub mbsu: f64,
    /// What a draft must reach to pay; `None` when not even a perfect one of this cost does.
    pub needed: Option<Needed>,
}

impl Forecast {
    /// Whether drafting pays.
    #[must_use]
    pub fn pays(&self) -> bool {
        self.best_gamma > 0
    }
}

/// Speed-up for γ = 1 ..= `max_gamma`, where the draft runs one pass over one token for each token
/// it proposes, and the target one pass over γ + 1 tokens.
///
/// ```
/// use fastdraft_hw::predict::{Acceptance, forecast};
///
/// let draft = |_tokens: u32| 1e-3;
/// let target = |tokens: u32| 9e-3 + 1e-3 * f64::from(tokens);
/// let good = forecast(&Acceptance::Independent(0.8), &draft, &target, 8)?;
/// assert!(good.pays() && good.speedup > 1.5);
/// let poor = forecast(&Acceptance::Independent(0.1), &draft, &target, 8)?;
/// assert!(!poor.pays() && poor.needed.is_some());
/// # Ok::<(), fastdraft_hw::HwError>(())
/// ```
///
/// # Errors
///
/// [`HwError::OutOfRange`] for an acceptance outside 0 ..= 1 or a latency that is not above 0.
pub fn forecast(
    acceptance: &Acceptance,
    draft: &impl Latency,
    target: &impl Latency,
    max_gamma: u32,
) -> Result<Forecast, HwError> {
    let draft_token = checked("draft latency", draft.seconds(1))?;
    let plain = checked("target latency", target.seconds(1))?;
    let cost = draft_token / plain;
    let mut by_gamma = Vec::new();
    for gamma in 1..=max_gamma {
        let Some(block_efficiency) = acceptance.block_efficiency(gamma)? else {
            break;
        };
        let verify = checked(
            "target latency",
            target.seconds(gamma.saturating_add(1)) / plain,
        )?;
        let drafted = cost * f64::from(gamma);
        by_gamma.push(GammaForecast {
            gamma,
            block_efficiency,
            mbsu: block_efficiency / (drafted + 1.0),
            speedup: block_efficiency / (drafted + verify),
            break_even: ((drafted + verify - 1.0) / f64::from(gamma)).max(0.0),
        });
    }
    let needed = by_gamma
        .iter()
        .min_by(|a, b| a.break_even.total_cmp(&b.break_even))
        .filter(|row| row.break_even <= 1.0)
        .map(|row| Needed {
            gamma: row.gamma,
            acceptance_rate: row.break_even,
        });
    let best = by_gamma
        .iter()
        .filter(|row| row.speedup > 1.0)
        .rev()
        .max_by(|a, b| a.speedup.total_cmp(&b.speedup))
        .copied();
    Ok(Forecast {
        by_gamma,
        best_gamma: best.map_or(0, |row| row.gamma),
        speedup: best.map_or(1.0, |row| row.speedup),
        mbsu: best.map_or(1.0, |row| row.mbsu),
        needed,
    })
}

fn checked(name: &'static str, value: f64) -> Result<f64, HwError> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
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
    use crate::predict::{break_even_acceptance, mbsu, speedup};

    #[test]
    fn each_gamma_agrees_with_the_formulas() {
        let draft = |_: u32| 0.1;
        let target = |tokens: u32| 0.8 + 0.2 * f64::from(tokens);
        let forecast = forecast(&Acceptance::Independent(0.6), &draft, &target, 6).unwrap();
        assert_eq!(forecast.by_gamma.len(), 6);
        for row in &forecast.by_gamma {
            let gamma = f64::from(row.gamma);
            let rate = (row.block_efficiency - 1.0) / gamma;
            let verify = 1.0 + 0.2 * gamma;
            let expected = speedup(rate, row.gamma, 0.1, verify).unwrap();
            assert!((row.speedup - expected).abs() < 1e-12);
            assert!((row.mbsu - mbsu(rate, row.gamma, 0.1).unwrap()).abs() < 1e-12);
            let even = break_even_acceptance(row.gamma, 0.1, verify)
                .unwrap()
                .unwrap();
            assert!((row.break_even - even).abs() < 1e-12);
            assert!(row.speedup <= forecast.speedup);
        }
    }

    #[test]
    fn it_says_no_and_why() {
        let draft = |_: u32| 0.9;
        let target = |tokens: u32| f64::from(tokens);
        let hopeless = forecast(&Acceptance::Independent(1.0), &draft, &target, 8).unwrap();
        assert!(!hopeless.pays() && hopeless.speedup == 1.0);
        assert_eq!(
            hopeless.needed, None,
            "a pass over γ + 1 tokens costs γ + 1"
        );

        let draft = |_: u32| 0.2;
        let target = |_: u32| 1.0;
        let poor = forecast(&Acceptance::Independent(0.1), &draft, &target, 8).unwrap();
        let needed = poor.needed.unwrap();
        assert!(!poor.pays());
        assert!((needed.acceptance_rate - 0.2).abs() < 1e-12);
        let enough = Acceptance::from_rate(0.25, needed.gamma).unwrap();
        let enough = forecast(&enough, &draft, &target, needed.gamma).unwrap();
        assert!(enough.pays(), "{enough:?}");
    }

    #[test]
    fn known_positions_bound_gamma() {
        let acceptance = Acceptance::PerPosition(vec![0.9, 0.8]);
        let forecast = forecast(&acceptance, &|_: u32| 0.01, &|_: u32| 1.0, 8).unwrap();
        assert_eq!(forecast.by_gamma.len(), 2);
        assert_eq!(forecast.best_gamma, 2);
    }

    #[test]
    fn bad_latencies_are_named() {
        let one = |_: u32| 1.0;
        let nan = |_: u32| f64::NAN;
        let acceptance = Acceptance::Independent(0.5);
        let error = forecast(&acceptance, &nan, &one, 2)
            .unwrap_err()
            .to_string();
        assert!(error.contains("draft latency"), "{error}");
        assert!(forecast(&acceptance, &one, &nan, 2).is_err());
    }
}

//! What a plan rests on without proof.

use super::{ValidPlan, forecast};
use crate::error::HwError;
use crate::profile::{Figure, Profile};

/// Every unproven figure of the profile; for the efficiency, what half and twice as much would give.
pub(super) fn of(input: &ValidPlan, profile: &Profile, count: u64) -> Result<Vec<String>, HwError> {
    let mut list = Vec::new();
    for (name, figure) in profile.figures() {
        let Some(text) = unproven(name, figure) else {
            continue;
        };
        list.push(text);
        if name == "efficiency" {
            let (low, high) = (figure.value / 2.0, (figure.value * 2.0).min(1.0));
            let hours = |efficiency: f64| {
                let mut other = profile.clone();
                other.efficiency.value = efficiency;
                forecast(input, &other, count).map(|plan| plan.hours)
            };
            list.push(format!(
                "with an efficiency of {low:.2} the run takes {:.3} h, with {high:.2} {:.3} h",
                hours(low)?,
                hours(high)?
            ));
        }
    }
    if profile.launch_overhead.is_none() {
        list.push("the cost of starting an operation is unknown and counted as 0".to_owned());
    }
    Ok(list)
}

/// The figure with its source when nothing proves it.
pub(crate) fn unproven(name: &str, figure: &Figure) -> Option<String> {
    let value = match figure.value {
        value if (0.01..1000.0).contains(&value) => format!("{value:.2}"),
        value => format!("{value:.2e}"),
    };
    let basis = figure.basis;
    basis
        .is_unproven()
        .then(|| format!("{name} {value} is {basis}: {}", figure.source))
}

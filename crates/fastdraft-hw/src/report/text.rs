//! The report on one screen.

use std::fmt::{self, Display, Formatter};

use super::Report;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.training(f)?;
        self.budget(f)?;
        self.gain(f)?;
        self.limits(f)?;
        self.others(f)?;
        if !self.plan.assumptions.is_empty() {
            writeln!(f, "\nTaken without proof")?;
            for assumption in &self.plan.assumptions {
                writeln!(f, "  {assumption}")?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn training(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        writeln!(
            f,
            "Training on {} × {} ({})",
            plan.count, plan.device, self.reason
        )?;
        let draft = &self.draft;
        writeln!(
            f,
            "Draft: {} blocks × {}, MLP {}, head {}: {:.1}M parameters, {:.1}M in a pass",
            draft.layers,
            draft.hidden_size,
            draft.intermediate_size,
            draft.head_size,
            draft.parameters() as f64 / 1e6,
            draft.pass_parameters() as f64 / 1e6,
        )?;
        writeln!(
            f,
            "\n  {:<8} {:>10} {:>12} {:>10} {:>10} {:>9} {:>6}",
            "stage", "tokens", "tokens/s", "hours", "answers", "memory", "MFU"
        )?;
        for stage in &plan.stages {
            writeln!(
                f,
                "  {:<8} {:>10} {:>12.0} {:>10} {:>10} {:>9} {:>5.1}%",
                stage.name,
                amount(stage.tokens),
                stage.tokens_per_second,
                span(stage.hours),
                span(stage.answer_hours),
                format!("{:.1} GB", stage.memory_bytes / 1e9),
                stage.utilization * 100.0,
            )?;
        }
        writeln!(
            f,
            "  {:<8} {:>10} {:>12} {:>10} {:>10} {:>9}",
            "all",
            "",
            "",
            span(plan.hours),
            "",
            format!("{:.1} GB", plan.memory_bytes / 1e9),
        )?;
        writeln!(
            f,
            "  of {:.1} GB that a device has for it",
            plan.memory_available / 1e9
        )
    }

    fn budget(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (Some(hours), Some(within), Some(needed)) = (
            self.budget_hours,
            self.within_budget,
            self.utilization_for_budget,
        ) else {
            return Ok(());
        };
        let verdict = if within { "within" } else { "BEYOND" };
        writeln!(
            f,
            "  {verdict} the budget of {}, for which training alone needs {}",
            span(hours),
            if needed > 1.0 {
                format!("{needed:.0} times the peak of the devices")
            } else {
                format!("an MFU of {:.2}%", needed * 100.0)
            }
        )
    }

    fn gain(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nDecoding on {}, if the draft reaches AR {:.3} at γ = {}; a draft token costs {:.3} \
             of a target pass",
            self.run_on, self.acceptance_rate, self.acceptance_gamma, self.cost
        )?;
        writeln!(
            f,
            "  {:>3} {:>6} {:>6} {:>9} {:>12}",
            "γ", "τ", "MBSU", "speed-up", "AR to pay"
        )?;
        for row in self.forecast.by_gamma.iter().take(8) {
            let mark = if row.gamma == self.best_gamma {
                "  best"
            } else {
                ""
            };
            let even = if row.break_even <= 1.0 {
                format!("{:.3}", row.break_even)
            } else {
                "none does".to_owned()
            };
            writeln!(
                f,
                "  {:>3} {:>6.2} {:>6.2} {:>8.2}× {even:>12}{mark}",
                row.gamma, row.block_efficiency, row.mbsu, row.speedup
            )?;
        }
        Ok(())
    }

    fn limits(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.limits, &self.forecast.needed) {
            (Some(limits), _) => writeln!(
                f,
                "\nAt γ = {} the speed-up falls below 1 if the AR is below {:.3}, or a draft token \
                 costs more than {:.3}\nof a target pass, or a target pass over {} tokens more than \
                 {:.2} passes over one",
                self.best_gamma,
                limits.acceptance_rate,
                limits.draft_cost,
                self.best_gamma + 1,
                limits.verify_cost,
            ),
            (None, Some(needed)) => writeln!(
                f,
                "\nDrafting does NOT pay: it takes an AR of {:.3} at γ = {}",
                needed.acceptance_rate, needed.gamma
            ),
            (None, None) => writeln!(
                f,
                "\nDrafting does NOT pay: not even a draft whose every token is accepted does"
            ),
        }
    }

    fn others(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(best) = self.shapes.first() else {
            return Ok(());
        };
        writeln!(
            f,
            "\nOther shapes, at the AR that the parameters of their blocks are taken to bring:"
        )?;
        for ranked in self.shapes.iter().take(4) {
            let mark = if std::ptr::eq(ranked, best) {
                "  best"
            } else {
                ""
            };
            writeln!(
                f,
                "  {:>2} blocks × {:<5} {:>6.1}M in a pass, cost {:.3}, AR {:.3}, γ = {}, {:.2}×{mark}",
                ranked.shape.layers,
                ranked.shape.hidden_size,
                ranked.shape.pass_parameters() as f64 / 1e6,
                ranked.cost,
                ranked.acceptance_rate,
                ranked.forecast.best_gamma,
                ranked.forecast.speedup
            )?;
        }
        Ok(())
    }
}

/// `5.0B`, `100M`, `12k`.
fn amount(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.1}B", v / 1e9),
        v if v >= 1e6 => format!("{:.1}M", v / 1e6),
        v if v >= 1e3 => format!("{:.1}k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// `3.2 h`, `12 min`, `40 days`.
fn span(hours: f64) -> String {
    match hours {
        0.0 => "-".to_owned(),
        h if h < 1.0 => format!("{:.1} min", h * 60.0),
        h if h < 100.0 => format!("{h:.1} h"),
        h if h < 24.0 * 1000.0 => format!("{:.0} days", h / 24.0),
        h => format!("{:.0} years", h / 24.0 / 365.25),
    }
}

//! A plan and a forecast on one screen, or as one JSON object.

mod assumptions;
mod text;

use serde::Serialize;

use crate::error::HwError;
use crate::plan::{Plan, ValidPlan, plan};
use crate::predict::{Forecast, Latency, RooflineLatency, SizeLaw, forecast};
use crate::profile::{Choice, Profile};
use crate::shape::DecoderShape;

/// What is asked, besides the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Where the draft is trained.
    pub train_on: Choice,
    /// Where draft and target run afterwards.
    pub run_on: Choice,
    /// Acceptance rate that a draft of the sizes of `reference` is taken to reach.
    pub acceptance_rate: f64,
    /// γ that `acceptance_rate` is for.
    pub gamma: u32,
    /// Sizes that `acceptance_rate` is for.
    pub reference: DecoderShape,
    /// What twice the parameters in the blocks add to the chance that a token is accepted.
    pub per_doubling: f64,
    /// Largest γ that is looked at.
    pub max_gamma: u32,
    /// Bytes of a weight of draft and target when they run.
    pub weight_bytes: f64,
    /// Hours there are.
    pub budget_hours: Option<f64>,
}

/// A draft shape and its forecast.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RankedShape {
    /// The shape.
    pub shape: DecoderShape,
    /// Seconds of a pass over one token, over those of the target.
    pub cost: f64,
    /// Acceptance rate that it is taken to reach at the question's γ.
    pub acceptance_rate: f64,
    /// What it gains at that acceptance.
    pub forecast: Forecast,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What training costs.
    #[serde(flatten)]
    pub plan: Plan,
    /// Whether this machine has the devices of the training.
    pub present: bool,
    /// Why this profile.
    pub reason: String,
    /// Sizes of the draft.
    pub draft: DecoderShape,
    /// Device that draft and target run on.
    pub run_on: String,
    /// Acceptance rate that the draft is taken to reach.
    pub acceptance_rate: f64,
    /// γ it is for.
    pub acceptance_gamma: u32,
    /// Seconds of a pass of the draft over those of the target, one token each.
    pub cost: f64,
    /// Highest wall-clock speed-up; 1 when drafting does not pay.
    pub speedup: f64,
    /// MBSU at that γ.
    pub mbsu: f64,
    /// γ of the highest speed-up; 0 when drafting does not pay.
    pub best_gamma: u32,
    /// What would make the speed-up fall below 1.
    pub limits: Option<Limits>,
    /// Forecast at every γ.
    pub forecast: Forecast,
    /// Hours there are.
    pub budget_hours: Option<f64>,
    /// Whether the plan stays within them.
    pub within_budget: Option<bool>,
    /// MFU at which training alone would take all of them.
    pub utilization_for_budget: Option<f64>,
    /// Other shapes, the one with the highest speed-up first.
    pub shapes: Vec<RankedShape>,
}

/// At the best γ, each bound with all else as forecast: beyond it, plain decoding is faster.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// Least acceptance rate.
    pub acceptance_rate: f64,
    /// Highest cost of a draft token, in target passes over one token.
    pub draft_cost: f64,
    /// Highest cost of a target pass over γ + 1 tokens, in the same unit.
    pub verify_cost: f64,
}

impl Report {
    /// Plans the run and forecasts the gain. `shapes` are other drafts to compare.
    ///
    /// # Errors
    ///
    /// As [`plan`] and [`forecast`](crate::predict::forecast()), and
    /// [`HwError::InvalidPlan`] for a run without a target.
    pub fn new(
        input: &ValidPlan,
        question: &Question,
        shapes: &[DecoderShape],
    ) -> Result<Self, HwError> {
        let target = input.target.ok_or_else(|| HwError::InvalidPlan {
            path: "target".to_owned(),
            reason: "its sizes are needed for a forecast".to_owned(),
        })?;
        let choice = &question.train_on;
        let mut plan = plan(input, &choice.profile, choice.count)?;
        plan.assumptions.extend(assumptions::of(question));
        let own = rank(&[input.draft], &target, question)?
            .pop()
            .ok_or_else(|| HwError::InvalidPlan {
                path: "draft".to_owned(),
                reason: "no shape to forecast".to_owned(),
            })?;
        let forecast = own.forecast;
        let budget = question.budget_hours;
        Ok(Self {
            present: choice.present,
            reason: choice.reason.clone(),
            draft: input.draft,
            run_on: question.run_on.profile.name.clone(),
            acceptance_rate: own.acceptance_rate,
            acceptance_gamma: question.gamma,
            cost: own.cost,
            speedup: forecast.speedup,
            mbsu: forecast.mbsu,
            best_gamma: forecast.best_gamma,
            limits: limits(&forecast, own.cost),
            forecast,
            budget_hours: budget,
            within_budget: budget.map(|hours| plan.hours <= hours),
            utilization_for_budget: budget.map(|hours| plan.utilization_for(hours)),
            shapes: rank(shapes, &target, question)?,
            plan,
        })
    }
}

/// Forecasts each shape at the acceptance that its size is taken to bring, highest speed-up first.
///
/// Cost and acceptance both grow with a draft, so the best is neither the smallest nor the largest.
///
/// # Errors
///
/// [`HwError::InvalidPlan`] for a shape that no decoder has, or as [`SizeLaw::new`] and
/// [`forecast`](crate::predict::forecast()).
pub fn rank(
    shapes: &[DecoderShape],
    target: &DecoderShape,
    question: &Question,
) -> Result<Vec<RankedShape>, HwError> {
    let profile: &Profile = &question.run_on.profile;
    let law = SizeLaw::new(
        question.acceptance_rate,
        question.gamma,
        &question.reference,
        question.per_doubling,
    )?;
    let latency =
        |shape: &DecoderShape| RooflineLatency::new(shape, profile, question.weight_bytes);
    let target = latency(target);
    let mut ranked = Vec::with_capacity(shapes.len());
    for shape in shapes {
        shape.check("draft")?;
        let draft = latency(shape);
        ranked.push(RankedShape {
            shape: *shape,
            cost: draft.seconds(1) / target.seconds(1),
            acceptance_rate: law.rate(shape, question.gamma),
            forecast: forecast(&law.acceptance(shape), &draft, &target, question.max_gamma)?,
        });
    }
    // Where none pays, the nearest to paying is first.
    let most = |ranked: &RankedShape| {
        let rows = ranked.forecast.by_gamma.iter();
        rows.map(|row| row.speedup).fold(0.0, f64::max)
    };
    ranked.sort_by(|a, b| most(b).total_cmp(&most(a)));
    Ok(ranked)
}

fn limits(forecast: &Forecast, cost: f64) -> Option<Limits> {
    let gamma = forecast.best_gamma;
    let row = forecast.by_gamma.iter().find(|row| row.gamma == gamma)?;
    let steps = f64::from(gamma);
    let verify = row.block_efficiency / row.speedup - cost * steps;
    Some(Limits {
        acceptance_rate: row.break_even,
        draft_cost: (row.block_efficiency - verify) / steps,
        verify_cost: row.block_efficiency - cost * steps,
    })
}

#[cfg(test)]
mod tests;

//! What the page is made of.

use super::{LossPoint, ShapeRow};
use crate::{evaluate::TaskReport, stage::StageReport};

/// Everything on the page. Parts without data are left out of it.
///
/// ```
/// use fastdraft_train::report::HtmlReport;
/// let report = HtmlReport { target: "smollm2".into(), gamma: Some(3), ..HtmlReport::default() };
/// assert!(report.page().starts_with("<!DOCTYPE html>"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct HtmlReport {
    /// Name of the target.
    pub target: String,
    /// Name or folder of the draft.
    pub draft: String,
    /// Parameters that a pass over the target reads.
    pub target_parameters: Option<usize>,
    /// Parameters that a pass over the draft reads.
    pub draft_parameters: Option<usize>,
    /// Draft tokens a step.
    pub gamma: Option<usize>,
    /// Temperature of the evaluation; 0 is greedy.
    pub temperature: Option<f64>,
    /// More of the header, each with its name.
    pub facts: Vec<(String, String)>,
    /// The stages, in order.
    pub stages: Vec<StageSection>,
    /// Measured speed-up by γ.
    pub speedup_by_gamma: Vec<GammaCurve>,
    /// Drafts of one budget, measured.
    pub shapes: Vec<ShapeRow>,
}

/// One stage.
#[derive(Debug, Clone)]
pub struct StageSection {
    /// What was trained.
    pub training: StageReport,
    /// Loss of every step, in order.
    pub losses: Vec<LossPoint>,
    /// What was measured after it; empty when nothing was.
    pub tasks: Vec<TaskReport>,
}

impl StageSection {
    /// A stage without losses and without a measurement.
    #[must_use]
    pub fn new(training: StageReport) -> Self {
        Self {
            training,
            losses: Vec::new(),
            tasks: Vec::new(),
        }
    }
}

/// Speed-up of one task over γ.
#[derive(Debug, Clone, PartialEq)]
pub struct GammaCurve {
    /// The task.
    pub name: String,
    /// γ with the speed-up there.
    pub points: Vec<(usize, f64)>,
}

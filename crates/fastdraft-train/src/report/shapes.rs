//! Draft shapes of one parameter budget, measured.

use serde::{Deserialize, Serialize};

use crate::evaluate::TaskReport;

/// One shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShapeRow {
    /// Decoder blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Parameters that a pass reads.
    pub pass_parameters: usize,
    /// Seconds of a pass over one token.
    pub latency: f64,
    /// Accepted share of its tokens, where it was trained.
    #[serde(default)]
    pub acceptance_rate: Option<f64>,
}

/// The `report.json` of a run.
///
/// ```
/// use fastdraft_train::report::RunReport;
/// let text = r#"{"tasks": [], "shapes": [
///     {"layers": 2, "hidden_size": 512, "pass_parameters": 8000000, "latency": 0.0004}]}"#;
/// let report: RunReport = serde_json::from_str(text)?;
/// assert_eq!(report.shapes[0].acceptance_rate, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunReport {
    /// What was measured after the last stage.
    pub tasks: Vec<TaskReport>,
    /// Measured shapes of the draft's budget; a run keeps those that are there.
    #[serde(default)]
    pub shapes: Vec<ShapeRow>,
}

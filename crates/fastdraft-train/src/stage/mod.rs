//! One stage of the recipe: a mixture, a schedule and a budget.

mod budget;
mod trainer;

pub use budget::Budget;
pub use trainer::{StageConfig, StageReport, Trainer};

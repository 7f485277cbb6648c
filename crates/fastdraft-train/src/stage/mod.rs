//! One stage of the recipe: a mixture, a schedule, a loss and a budget.

mod budget;
mod config;
mod source;
mod state;
mod trainer;

pub use budget::Budget;
pub use config::StageConfig;
pub use source::Source;
pub use state::{StageReport, StageState, Step};
pub use trainer::Trainer;

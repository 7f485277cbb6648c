//! One stage of the recipe: a mixture, a schedule, a loss and a budget.

mod budget;
mod config;
mod engine;
mod freeze;
mod precision;
mod source;
mod state;
mod teacher_logits;
mod trainer;

pub use budget::Budget;
pub use config::StageConfig;
pub(crate) use engine::Snapshot;
pub use engine::{Engine, Observer};
pub use freeze::Freeze;
pub use precision::Precision;
pub use source::Source;
pub use state::{StageReport, StageState, Step};
pub use teacher_logits::TeacherLogits;
pub use trainer::Trainer;
pub(crate) use trainer::loader;

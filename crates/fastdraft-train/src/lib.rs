#![doc = include_str!("../README.md")]

pub mod answers;
pub mod checkpoint;
pub mod draft;
pub mod error;
pub mod evaluate;
pub mod generate;
pub(crate) mod host;
pub mod loss;
pub mod optim;
pub mod progress;
pub mod recipe;
pub mod report;
mod spans;
pub mod stage;
pub mod target;
pub mod teacher;
pub mod torch;

pub use draft::{AnyDraft, DraftSource};
pub use error::TrainError;
pub use target::{DraftModel, TargetModel};

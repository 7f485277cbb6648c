//! Optimisation: AdamW with clipping by the joint norm in one pass, and the learning rate.

mod adamw;
pub(crate) mod host;
mod moments;
mod norm;
pub mod schedule;

pub use adamw::{AdamW, AdamWConfig};
pub use moments::Moments;
pub use norm::global_norm;

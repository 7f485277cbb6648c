//! Optimisation: learning-rate schedule and global-norm clipping around Burn's AdamW.

pub mod clip;
pub mod schedule;

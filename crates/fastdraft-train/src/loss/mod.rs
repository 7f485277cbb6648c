//! Losses.

pub mod cross_entropy;

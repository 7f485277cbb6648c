//! Inference engines.

pub mod cpu;

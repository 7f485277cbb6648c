//! Inference engines.

#[cfg(feature = "burn")]
pub mod burn;
pub mod cpu;
#[cfg(feature = "specdec")]
mod sequence;

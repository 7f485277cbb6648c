//! Inference engines.

#[cfg(feature = "specdec")]
mod batch;
#[cfg(feature = "burn")]
pub mod burn;
pub mod cpu;
#[cfg(feature = "specdec")]
mod held;
#[cfg(feature = "specdec")]
mod sequence;

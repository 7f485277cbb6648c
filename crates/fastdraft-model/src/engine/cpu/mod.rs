//! Decoding on a CPU: one stream over the weights for all tokens of a pass.
//!
//! The logits of a token do not depend on how many tokens share its pass, bit for bit, so greedy
//! speculative output equals greedy plain output exactly.

mod arch;
mod attention;
mod awake;
#[cfg(feature = "specdec")]
mod batch;
mod cache;
mod layer;
mod matrix;
mod model;
mod ops;
mod pass;
mod rounding;
#[cfg(feature = "specdec")]
mod specdec;
mod workspace;

#[cfg(feature = "specdec")]
pub use batch::CpuBatch;
pub use cache::{KvCache, KvFormat};
pub use matrix::WeightFormat;
pub use model::CpuModel;
pub use pass::Segment;
pub use rounding::{Rounding, rounding};
#[cfg(feature = "specdec")]
pub use specdec::CpuEngine;
pub use workspace::Workspace;

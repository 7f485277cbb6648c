//! Losses on the text of the target and on its recorded probabilities.
//!
//! With `y` the token that was written, `q` the draft's distribution over its head and `p̂` the
//! target's recorded probabilities: only those tokens count that the head has, divided by their
//! sum `m`. What the target gave to other tokens is left out, and the position weighs `m`, so
//! that one whose tokens the draft cannot say teaches little. A position is left out of a term
//! when the head lacks `y`, or all recorded tokens.
//!
//! - cross-entropy: mean of `−ln q(y)`
//! - KL: `Σ m · Σᵢ p̂ᵢ ln(p̂ᵢ / qᵢ) / Σ m`
//! - TVD: `Σ m · (1 − Σᵢ min(p̂ᵢ, qᵢ)) / Σ m`, one minus the acceptance rate of `q` against `p̂`
//!
//! The mixtures are those that arXiv 2411.11055 compares.

mod batch;
mod checkpointed;
mod fused;
pub(crate) mod gradients;
mod head;
mod kind;
mod objective;
mod plain;
mod row;

pub use batch::{Batch, Row};
pub(crate) use checkpointed::checkpointed;
pub use fused::fused;
pub(crate) use fused::{Workspace, fused_all};
pub use kind::Loss;
pub use objective::Objective;
pub(crate) use plain::plain_of;
pub use plain::{logits, plain};

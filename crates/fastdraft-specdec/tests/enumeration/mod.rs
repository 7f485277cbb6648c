//! Exhaustive enumeration: the law of a verifier's output, found by driving its random numbers.

mod models;
mod outcomes;
mod transforms;

pub use models::{Law, Models};
pub use outcomes::{Script, outcomes};
pub use transforms::transforms;

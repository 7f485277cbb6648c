//! Trees of proposed tokens, verified in one pass.

mod draft;
mod generate;
mod merge;
mod proposal;
mod target;
mod verify;

pub use draft::TreeDraft;
pub use generate::{generate_tree, generate_tree_with};
pub use merge::Merge;
pub use proposal::TreeProposal;
pub use target::{ByPath, TreeTarget};
pub use verify::{TreeVerdict, verify_tree};

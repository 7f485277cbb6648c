//! Drafts that need no model.

mod cascade;
mod prompt;
mod suffix;

pub use cascade::{Cascade, EitherError};
pub use prompt::PromptLookup;
pub use suffix::SuffixLookup;

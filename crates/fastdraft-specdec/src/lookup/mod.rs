//! Drafts from the context's own repetitions, alone or beside another draft.

mod cascade;
mod interpolated;
mod prompt;
mod suffix;

pub use cascade::{Cascade, EitherError};
pub use interpolated::{Interpolated, InterpolatedError};
pub use prompt::PromptLookup;
pub use suffix::SuffixLookup;

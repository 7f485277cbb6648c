//! Vocabularies and whether a draft's fits a target's.

mod fingerprint;
mod text;
mod verdict;

pub use fingerprint::{Vocabulary, preflight};
pub use text::{TokenTable, TokenText, preflight_text, shared_tokens};
pub use verdict::{Remedy, VocabularyVerdict};

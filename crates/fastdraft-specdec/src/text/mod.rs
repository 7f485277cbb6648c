//! Drafting across tokenizers through the text itself.

mod string_match;
mod tokenizer;

pub use string_match::{StringMatch, StringMatchError};
pub use tokenizer::Tokenizer;

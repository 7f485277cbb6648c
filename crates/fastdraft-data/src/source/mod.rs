//! Text and prompts from files.
//!
//! All sources are read lazily, one document at a time, in an order that depends on nothing but
//! the input. [`encode`] tokenises them on all cores without changing it.

pub mod code;
pub mod cut;
pub mod encode;
pub mod jsonl;
pub mod licence;
mod lines;
mod open;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod prompts;
pub mod text;

pub use jsonl::{Document, Documents, Rows, documents, read_jsonl, rows, rows_up_to, write_jsonl};
pub use open::open;
pub use prompts::{Prompt, read_prompts};

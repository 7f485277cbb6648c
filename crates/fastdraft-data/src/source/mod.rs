//! Text and prompts from files.

pub mod jsonl;
pub mod prompts;

pub use jsonl::{Document, Documents, Rows, documents, read_jsonl, rows, write_jsonl};
pub use prompts::{Prompt, read_prompts};

//! [`Checkpoint`](crate::Checkpoint)s into model files.

pub mod gguf;
pub mod hf;

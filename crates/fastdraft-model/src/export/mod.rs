//! [`Checkpoint`](crate::Checkpoint)s into model files.

pub mod hf;

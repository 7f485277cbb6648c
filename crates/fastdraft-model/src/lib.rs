#![doc = include_str!("../README.md")]

pub mod checkpoint;
pub mod config;
#[cfg(feature = "burn")]
pub mod decoder;
pub mod draft;
pub mod engine;
pub mod error;
pub mod export;
pub mod import;
mod rope;
#[cfg(feature = "hub")]
pub mod source;
pub mod weights;

pub use checkpoint::{Checkpoint, DraftVocabulary};
pub use config::{DecoderConfig, Family, RopeScaling, Rotary};
pub use error::ModelError;
pub use weights::{HostTensor, Weights};

//! Training, and answers of a target, out of process: a PyTorch worker on one or more ranks,
//! started through `torchrun`.
//!
//! The worker is a small Python program that travels inside this crate and needs torch, numpy and
//! safetensors. It runs where Burn has no device: on Gaudi, on several accelerators, on several
//! machines. A stage is handed over as a folder: `stage.json`, the rows as shards, the weights in
//! Hugging Face's layout and the optimizer's moments. Then both sides go step by step: this side
//! sends the learning rate, the worker answers with loss and norm, and the observer of the stage
//! sees the same [`Step`](crate::stage::Step) as from the Burn trainer. It may save a checkpoint,
//! which the worker writes, or end the stage.
//!
//! ```no_run
//! use fastdraft_train::{stage::{Engine, Freeze}, torch::{TorchConfig, TorchEngine}};
//! # use fastdraft_model::{DecoderConfig, draft::init};
//! # let draft = init::random(DecoderConfig::llama(32, 32, 1), None, 7)?;
//! let config = TorchConfig { ranks: 2, ..TorchConfig::default() };
//! let mut engine: Box<dyn Engine> = Box::new(TorchEngine::new(draft, Freeze::NONE, config)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod config;
mod engine;
mod event;
mod failure;
mod files;
mod handover;
mod process;
mod python;

pub use answer::TorchTarget;
pub use config::{Nodes, TorchConfig, TorchDevice};
pub use engine::TorchEngine;

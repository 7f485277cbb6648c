#![doc = include_str!("../README.md")]

pub mod answers;
mod atomic;
pub mod card;
pub mod chat;
pub mod decontaminate;
mod error;
pub mod frequency;
pub mod generate;
mod hash;
pub mod hygiene;
pub mod instruct;
pub mod loader;
pub mod mask;
pub mod mixture;
pub mod pack;
mod rank;
mod sentence_piece;
pub mod shard;
mod shard_loader;
pub mod show;
pub mod source;
mod stream;
pub mod teacher;
pub mod tokenizer;
mod vocabulary;

pub use card::{DataCard, Provenance, SourceCard};
pub use chat::{ChatTemplate, Message};
pub use error::DataError;
pub use loader::Loader;
pub use mask::MaskedTokens;
pub use mixture::{Mixture, MixtureLoader};
pub use pack::{PackedTokens, Packer};
pub use rank::Rank;
pub use shard_loader::{Prefetch, ShardLoader};
pub use tokenizer::{BpeVocabulary, DecodeStream, SentencePieceVocabulary, Tokenizer};

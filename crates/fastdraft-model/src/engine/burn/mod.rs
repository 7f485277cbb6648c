//! Decoding any [`Decoder`](crate::decoder::Decoder) on any Burn device, with a KV cache.
//!
//! Matrix products of a device may round differently for different numbers of tokens, so logits
//! agree with those of one-token passes to a tolerance, not bit for bit as on
//! [`engine::cpu`](crate::engine::cpu).

mod cache;
mod pass;
#[cfg(feature = "specdec")]
mod specdec;

pub use cache::KvCache;
#[cfg(feature = "specdec")]
pub use specdec::BurnEngine;

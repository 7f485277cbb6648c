//! Decoding any [`Decoder`](crate::decoder::Decoder) on any Burn device, with a KV cache.
//!
//! Matrix products of a device may round differently for different numbers of tokens, so logits
//! agree with those of one-token passes to a tolerance, not bit for bit as on
//! [`engine::cpu`](crate::engine::cpu).

#[cfg(feature = "specdec")]
mod batch;
mod cache;
mod pass;
#[cfg(feature = "specdec")]
mod pool;
#[cfg(feature = "specdec")]
mod runner;
#[cfg(feature = "specdec")]
mod specdec;

#[cfg(feature = "specdec")]
pub use batch::BurnBatch;
pub use cache::KvCache;
pub use pass::Segment;
#[cfg(feature = "specdec")]
pub use specdec::BurnEngine;

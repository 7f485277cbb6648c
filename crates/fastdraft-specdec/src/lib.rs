#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod adjust;
pub mod batch;
mod candidates;
mod clock;
mod config;
mod cumulative;
mod distribution;
mod draft;
mod error;
pub mod gamma;
mod generate;
mod intersection;
mod lookup;
mod math;
mod metrics;
#[cfg(feature = "mock")]
pub mod mock;
#[cfg(feature = "rand")]
mod random;
mod recent;
mod sampler;
mod sequence;
mod session;
mod softmax;
mod stop;
mod target;
#[cfg(feature = "text")]
pub mod text;
mod token;
mod transform;
pub mod tree;
mod truncation;
mod uniform;
mod verify;
mod vocabulary;

#[cfg(feature = "std")]
pub use clock::SystemClock;
pub use clock::{Clock, NoClock};
pub use config::{Emitted, Generation, SessionConfig, StopReason};
pub use distribution::Distribution;
pub use draft::{Draft, NoDraft, Proposal};
pub use error::{DistributionError, GenerateError, RowError, TransformError, VerifyError};
pub use generate::{generate, generate_plain};
pub use intersection::{DraftModel, IntersectionError, TokenIntersection};
pub use lookup::{
    Cascade, EitherError, Interpolated, InterpolatedError, PromptLookup, SuffixLookup,
};
pub use metrics::Metrics;
#[cfg(feature = "rand")]
pub use random::RandUniform;
pub use recent::RecentContext;
pub use sampler::Sampler;
pub use session::{Session, Step};
pub use stop::Stop;
pub use target::{LogitRows, Target};
pub use token::TokenId;
pub use transform::Transform;
pub use uniform::{SeededUniform, Uniform};
pub use verify::{Lossy, Rule, TypicalAcceptance, Verdict, Verifier, verify, verify_typical};
pub use vocabulary::{
    Remedy, TokenTable, TokenText, Vocabulary, VocabularyVerdict, preflight, preflight_text,
    shared_tokens,
};

//! Making a draft.

pub mod blocks;
pub mod heads;
pub mod init;
pub mod narrow;
pub mod shape;
pub mod sharpen;
pub mod slice;
mod subspace;
pub mod whole;

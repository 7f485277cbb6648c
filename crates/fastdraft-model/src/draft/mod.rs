//! Making a draft.

pub mod init;
pub mod narrow;
pub mod shape;

//! Making a draft.

pub mod init;

//! A cursor over bytes nobody vouches for.

use std::{ops::Range, path::Path};

use super::corrupt;
use crate::error::ModelError;

pub(super) struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self { path, bytes, at: 0 }
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], ModelError> {
        let bytes = self
            .at
            .checked_add(len)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| self.error(format!("{len} bytes are wanted there")))?;
        self.at += len;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ModelError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ModelError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things that take at least `size` bytes each, and so fit what is left.
    pub(super) fn count(&mut self, what: &str, size: usize) -> Result<usize, ModelError> {
        let count = self.u64()?;
        let left = self.bytes.len() - self.at;
        usize::try_from(count)
            .ok()
            .filter(|count| count.checked_mul(size).is_some_and(|bytes| bytes <= left))
            .ok_or_else(|| self.error(format!("{count} {what} cannot fit in {left} bytes")))
    }

    /// The bytes of a string.
    pub(super) fn raw_string(&mut self) -> Result<&'a [u8], ModelError> {
        let len = self.count("characters", 1)?;
        self.take(len)
    }

    /// A string that must be UTF-8.
    pub(super) fn string(&mut self) -> Result<&'a str, ModelError> {
        let bytes = self.raw_string()?;
        std::str::from_utf8(bytes).map_err(|error| self.error(format!("string: {error}")))
    }

    /// Where `len` bytes lie, which are skipped.
    pub(super) fn skip(&mut self, len: usize) -> Result<Range<usize>, ModelError> {
        let start = self.at;
        self.take(len)?;
        Ok(start..self.at)
    }

    /// An error that says where in the file it was found.
    pub(super) fn error(&self, reason: String) -> ModelError {
        corrupt(
            self.path,
            format!("at byte {} of {}: {reason}", self.at, self.bytes.len()),
        )
    }
}

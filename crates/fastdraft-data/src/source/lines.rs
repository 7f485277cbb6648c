//! Lines of a stream, none of them longer than the memory set aside for it.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use crate::DataError;

/// Longest line by default: 64 MiB.
pub const MAX_LINE: usize = 64 << 20;

pub(crate) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    limit: usize,
    line: usize,
    failed: bool,
}

impl Lines {
    pub(crate) fn open(path: &Path, limit: usize) -> Result<Self, DataError> {
        Ok(Self {
            path: path.to_path_buf(),
            reader: super::open(path)?,
            limit,
            line: 0,
            failed: false,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Number of the last line, counted from 1.
    pub(crate) const fn line(&self) -> usize {
        self.line
    }

    pub(crate) fn error(&self, reason: impl std::fmt::Display) -> DataError {
        DataError::line(&self.path, self.line, reason)
    }

    /// Reads the next line, its end included; false at the end of the stream.
    ///
    /// After a line that is too long the next one can be read; after other errors nothing can.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, DataError> {
        line.clear();
        if self.failed {
            return Ok(false);
        }
        self.line += 1;
        let limit = self.limit as u64 + 1;
        let read = (&mut self.reader).take(limit).read_until(b'\n', line);
        match read {
            Ok(read) if read <= self.limit || line.ends_with(b"\n") => Ok(read > 0),
            Ok(_) => {
                let skipped = self.reader.skip_until(b'\n');
                self.failed = skipped.is_err();
                Err(self.error(format!("the line is longer than {} bytes", self.limit)))
            }
            Err(error) => {
                self.failed = true;
                Err(self.error(error))
            }
        }
    }
}

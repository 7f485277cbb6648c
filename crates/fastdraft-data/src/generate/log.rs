//! A file of rows that only grows, and survives being killed.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::Hash;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Failed;
use crate::DataError;

pub(crate) struct Log {
    path: PathBuf,
    file: File,
    errors_path: PathBuf,
    errors: File,
}

impl Log {
    /// Opens or creates the files; also returns the keys of the rows that are there already.
    pub(crate) fn open<K: Eq + Hash>(
        path: &Path,
        errors_path: &Path,
        key: impl FnMut(&[u8]) -> serde_json::Result<K>,
    ) -> Result<(Self, HashSet<K>), DataError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(DataError::io(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataError::Generate {
                    reason: format!("another run is writing to {}", path.display()),
                });
            }
            Err(TryLockError::Error(error)) => return Err(DataError::io(path)(error)),
        }
        let (finished, length) = finished(path, &file, key)?;
        // What was being written when a run was killed.
        file.set_len(length)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(DataError::io(path))?;
        let errors = File::create(errors_path).map_err(DataError::io(errors_path))?;
        let log = Self {
            path: path.to_path_buf(),
            file,
            errors_path: errors_path.to_path_buf(),
            errors,
        };
        Ok((log, finished))
    }

    pub(crate) fn append<T: Serialize>(&mut self, row: &T) -> Result<(), DataError> {
        append(&mut self.file, &self.path, row)
    }

    pub(crate) fn fail(&mut self, row: &Failed) -> Result<(), DataError> {
        append(&mut self.errors, &self.errors_path, row)
    }
}

fn append<T: Serialize>(file: &mut File, path: &Path, row: &T) -> Result<(), DataError> {
    let mut line = serde_json::to_vec(row).map_err(|error| DataError::Serialize {
        path: path.to_path_buf(),
        row: 0,
        reason: error.to_string(),
    })?;
    line.push(b'\n');
    file.write_all(&line)
        .and_then(|()| file.sync_data())
        .map_err(DataError::io(path))
}

/// The rows of a file, and how long it is up to the end of the last whole line.
fn finished<K: Eq + Hash>(
    path: &Path,
    file: &File,
    mut key: impl FnMut(&[u8]) -> serde_json::Result<K>,
) -> Result<(HashSet<K>, u64), DataError> {
    let mut reader = BufReader::new(file);
    let (mut found, mut length, mut number) = (HashSet::new(), 0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .read_until(b'\n', &mut line)
            .map_err(DataError::io(path))?;
        if !line.ends_with(b"\n") {
            return Ok((found, length));
        }
        number += 1;
        length += read as u64;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let key = key(&line).map_err(|error| DataError::line(path, number, error))?;
        if !found.insert(key) {
            return Err(DataError::line(path, number, "this row is there already"));
        }
    }
}

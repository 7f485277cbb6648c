//! An answers file that only grows, and survives being killed.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Failed, Generated};
use crate::DataError;
use crate::teacher::Sampling;

pub(super) struct Log {
    path: PathBuf,
    file: File,
    errors_path: PathBuf,
    errors: File,
}

/// The parts of a row that say which question it answers.
#[derive(Deserialize)]
struct Key {
    id: String,
    temperature: f32,
    // Files of other writers do not have it.
    setting: Option<String>,
}

impl Log {
    /// Opens or creates the files; also returns which prompts have which settings already.
    pub(super) fn open(
        path: &Path,
        errors_path: &Path,
    ) -> Result<(Self, HashSet<(String, String)>), DataError> {
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
        let (finished, length) = finished(path, &file)?;
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

    pub(super) fn append(&mut self, row: &Generated) -> Result<(), DataError> {
        append(&mut self.file, &self.path, row)
    }

    pub(super) fn fail(&mut self, row: &Failed) -> Result<(), DataError> {
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
fn finished(path: &Path, file: &File) -> Result<(HashSet<(String, String)>, u64), DataError> {
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
        let key: Key =
            serde_json::from_slice(&line).map_err(|error| DataError::line(path, number, error))?;
        let label = || Sampling::at(key.temperature, 0).label();
        let setting = key.setting.clone().unwrap_or_else(label);
        if !found.insert((key.id, setting)) {
            return Err(DataError::line(
                path,
                number,
                "this answer is there already",
            ));
        }
    }
}

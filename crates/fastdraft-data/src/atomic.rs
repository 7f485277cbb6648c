//! Files that are either complete or absent.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::DataError;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Writes a temporary file beside `path`, then renames it.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()));
    let result = fill_and_rename(path, &temporary, fill);
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn fill_and_rename(
    path: &Path,
    temporary: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let file = File::create(temporary).map_err(DataError::io(temporary))?;
    let mut writer = BufWriter::new(file);
    fill(&mut writer)?;
    let file = writer
        .into_inner()
        .map_err(|error| DataError::io(temporary)(error.into_error()))?;
    file.sync_all().map_err(DataError::io(temporary))?;
    fs::rename(temporary, path).map_err(DataError::io(path))
}

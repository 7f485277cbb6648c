//! Files that are either complete or absent.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::DataError;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A temporary file beside `path` that takes its place on [`commit`](Self::commit).
///
/// Dropped before that it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Pending {
    path: PathBuf,
    temporary: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl Pending {
    pub(crate) fn create(path: &Path) -> Result<Self, DataError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()));
        let file = File::create(&temporary).map_err(DataError::io(&temporary))?;
        Ok(Self {
            path: path.to_path_buf(),
            temporary,
            writer: Some(BufWriter::new(file)),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        writer
            .write_all(bytes)
            .map_err(DataError::io(&self.temporary))
    }

    /// Overwrites the first bytes of the file.
    pub(crate) fn write_at_start(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        writer
            .seek(SeekFrom::Start(0))
            .and_then(|_| writer.write_all(bytes))
            .map_err(DataError::io(&self.temporary))
    }

    pub(crate) fn commit(mut self) -> Result<(), DataError> {
        if let Some(writer) = self.writer.take() {
            let result = self.finish(writer);
            if result.is_err() {
                let _ = fs::remove_file(&self.temporary);
            }
            return result;
        }
        Ok(())
    }

    fn finish(&self, writer: BufWriter<File>) -> Result<(), DataError> {
        let file = writer
            .into_inner()
            .map_err(|error| DataError::io(&self.temporary)(error.into_error()))?;
        file.sync_all().map_err(DataError::io(&self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(DataError::io(&self.path))?;
        sync_folder(&self.path);
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a temporary file beside `path`, then renames it.
pub(crate) fn write(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut pending = Pending::create(path)?;
    if let Some(writer) = &mut pending.writer {
        fill(writer)?;
    }
    pending.commit()
}

/// Makes a new name in a folder last through a power cut, where the system can.
fn sync_folder(path: &Path) {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Not every system lets a folder be opened; the file itself is safe by now.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

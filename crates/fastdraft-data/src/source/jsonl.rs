//! JSON Lines, plain or compressed by the file's extension.

use std::io::Write;
use std::marker::PhantomData;
use std::path::Path;

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lines::{Lines, MAX_LINE};
use super::open::Compression;
use crate::{DataError, atomic};

/// Bytes that go into one zstd frame.
const FRAME: usize = 4 << 20;

/// A text and its name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Document {
    /// The row's `id`, or its line number where there is none.
    pub id: String,
    /// The text.
    pub text: String,
}

/// The rows of a JSON Lines file, read one at a time.
pub struct Rows<T> {
    lines: Lines,
    buffer: Vec<u8>,
    row: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("path", &self.lines.path())
            .field("line", &self.lines.line())
            .finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.lines.next(&mut self.buffer) {
                Ok(false) => return None,
                Ok(true) if self.buffer.trim_ascii().is_empty() => {}
                Ok(true) => {
                    let row = serde_json::from_slice(&self.buffer);
                    return Some(row.map_err(|error| self.lines.error(error)));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Opens a JSON Lines file; blank lines are passed over.
///
/// Lines of more than 64 MiB are bad lines, as memory is bounded.
///
/// # Errors
///
/// [`DataError::Io`] when it cannot be opened. The iterator returns [`DataError::BadLine`] with
/// the line for rows of another form, and can be read on after it.
pub fn rows<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Rows<T>, DataError> {
    rows_up_to(path, MAX_LINE)
}

/// [`rows`] with another limit to the bytes of a line.
///
/// # Errors
///
/// As [`rows`].
pub fn rows_up_to<T: DeserializeOwned>(
    path: impl AsRef<Path>,
    limit: usize,
) -> Result<Rows<T>, DataError> {
    Ok(Rows {
        lines: Lines::open(path.as_ref(), limit)?,
        buffer: Vec::new(),
        row: PhantomData,
    })
}

/// Reads all rows of a JSON Lines file.
///
/// # Errors
///
/// As [`rows`], at the first bad row.
pub fn read_jsonl<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>, DataError> {
    rows(path)?.collect()
}

/// The documents of a JSON Lines file, read one at a time.
#[derive(Debug)]
pub struct Documents {
    rows: Rows<Value>,
    field: String,
}

impl Iterator for Documents {
    type Item = Result<Document, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        let line = self.rows.lines.line();
        let Some(text) = row.get(&self.field).and_then(Value::as_str) else {
            let reason = format!("no text field `{}`", self.field);
            return Some(Err(self.rows.lines.error(reason)));
        };
        let id = match row.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => line.to_string(),
        };
        Some(Ok(Document {
            id,
            text: text.to_owned(),
        }))
    }
}

/// Opens a JSON Lines file whose texts stand in `field`.
///
/// # Errors
///
/// As [`rows`]; a row without the field is a [`DataError::BadLine`] too.
pub fn documents(path: impl AsRef<Path>, field: &str) -> Result<Documents, DataError> {
    Ok(Documents {
        rows: rows(path)?,
        field: field.to_owned(),
    })
}

/// Writes rows as JSON Lines, the whole file or nothing.
///
/// # Errors
///
/// [`DataError::Io`] when the file cannot be written, [`DataError::Serialize`] when a row has no
/// JSON form.
pub fn write_jsonl<T: Serialize>(
    path: impl AsRef<Path>,
    rows: impl IntoIterator<Item = T>,
) -> Result<(), DataError> {
    let path = path.as_ref();
    atomic::write(path, |file| match Compression::of(path) {
        Compression::None => write_rows(path, file, rows),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(file, flate2::Compression::best());
            write_rows(path, &mut encoder, rows)?;
            encoder.finish().map(drop).map_err(DataError::io(path))
        }
        Compression::Zstd => {
            let mut frames = Frames {
                file,
                buffer: Vec::new(),
            };
            write_rows(path, &mut frames, rows)?;
            frames.flush().map_err(DataError::io(path))
        }
    })
}

fn write_rows<T: Serialize>(
    path: &Path,
    file: &mut dyn Write,
    rows: impl IntoIterator<Item = T>,
) -> Result<(), DataError> {
    for (index, row) in rows.into_iter().enumerate() {
        let mut line = serde_json::to_vec(&row).map_err(|error| DataError::Serialize {
            path: path.to_path_buf(),
            row: index + 1,
            reason: error.to_string(),
        })?;
        line.push(b'\n');
        file.write_all(&line).map_err(DataError::io(path))?;
    }
    Ok(())
}

/// Writes zstd frames of bounded size, one after the other.
struct Frames<'a> {
    file: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= FRAME {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let mut frame = Vec::new();
        compress(
            self.buffer.as_slice(),
            &mut frame,
            CompressionLevel::Fastest,
        );
        self.buffer.clear();
        self.file.write_all(&frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_and_passed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(
            &path,
            "{\"text\":\"one\"}\n\n{oops\n{\"id\":7,\"text\":\"two\"}\n{}\n",
        )
        .unwrap();
        let found: Vec<_> = documents(&path, "text").unwrap().collect();
        assert_eq!(found[0].as_ref().unwrap().id, "1");
        let error = found[1].as_ref().unwrap_err().to_string();
        assert!(error.contains("a.jsonl:3: "), "{error}");
        assert_eq!(found[2].as_ref().unwrap().id, "7");
        let error = found[3].as_ref().unwrap_err().to_string();
        assert!(
            error.ends_with("a.jsonl:5: no text field `text`"),
            "{error}"
        );
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn gzip_is_chosen_by_extension() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl.gz");
        let document = Document {
            id: "x".into(),
            text: "é\n".into(),
        };
        write_jsonl(&path, [&document]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[..2], [0x1f, 0x8b]);
        let back: Vec<_> = documents(&path, "text")
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(back, [document]);
    }

    #[test]
    fn zstd_is_chosen_by_extension() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl.zst");
        // More than one frame.
        let rows: Vec<Document> = (0..5)
            .map(|i| Document {
                id: i.to_string(),
                text: format!("{i} é ").repeat(300_000),
            })
            .collect();
        write_jsonl(&path, &rows).unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(read_jsonl::<Document>(&path).unwrap(), rows);
    }

    #[test]
    fn long_lines_are_named_and_passed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, format!("1\n{}\n12345678\n2", "9".repeat(40))).unwrap();
        let found: Vec<_> = rows_up_to::<u64>(&path, 8).unwrap().collect();
        assert_eq!(found.len(), 4);
        let error = found[1].as_ref().unwrap_err().to_string();
        assert!(
            error.ends_with("a.jsonl:2: the line is longer than 8 bytes"),
            "{error}"
        );
        assert_eq!(*found[2].as_ref().unwrap(), 12_345_678);
        assert_eq!(*found[3].as_ref().unwrap(), 2);
    }

    #[test]
    fn a_cut_gzip_file_ends_with_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl.gz");
        write_jsonl(
            &path,
            (0..2000).map(|i| serde_json::json!({"text": i.to_string()})),
        )
        .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let found: Vec<_> = documents(&path, "text").unwrap().collect();
        assert!(found.last().unwrap().is_err());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        write_jsonl(&path, [1]).unwrap();
        let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(write_jsonl(&path, [unwritable]).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

//! Plain text.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use super::Document;
use crate::DataError;

/// Where a plain text file is cut into documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Only where a document would become too long.
    File,
    /// At blank lines.
    Paragraph,
    /// At the end of every line.
    Line,
}

/// The documents of a plain text file, read one at a time.
pub struct TextDocuments {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    unit: Unit,
    max_bytes: usize,
    // Bytes of a character that was cut off.
    carry: Vec<u8>,
    line: usize,
    failed: bool,
}

impl std::fmt::Debug for TextDocuments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextDocuments")
            .field("path", &self.path)
            .field("unit", &self.unit)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// Opens a plain text file, which may be compressed.
///
/// A document is named by the line it begins with. One that is longer than `max_bytes` is cut, at
/// the end of a line if there is one; documents of white space are left out.
///
/// ```
/// use fastdraft_data::source::text::{Unit, documents};
///
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("a.txt");
/// std::fs::write(&path, "one\ntwo\n\nthree\n").unwrap();
/// let texts: Vec<String> = documents(&path, Unit::Paragraph, 1 << 20)?
///     .map(|document| document.map(|document| document.text))
///     .collect::<Result<_, _>>()?;
/// assert_eq!(texts, ["one\ntwo\n", "three\n"]);
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
///
/// # Errors
///
/// [`DataError::Io`] when it cannot be opened. The iterator ends with a [`DataError::BadLine`]
/// when the file is not UTF-8 or cannot be read on.
pub fn documents(
    path: impl AsRef<Path>,
    unit: Unit,
    max_bytes: usize,
) -> Result<TextDocuments, DataError> {
    let path = path.as_ref();
    Ok(TextDocuments {
        path: path.to_path_buf(),
        reader: super::open(path)?,
        unit,
        // The longest character must fit.
        max_bytes: max_bytes.max(4),
        carry: Vec::new(),
        line: 1,
        failed: false,
    })
}

impl TextDocuments {
    /// The next line or the part of it that `room` bytes hold; empty at the end of the file.
    fn piece(&mut self, room: usize) -> Result<String, DataError> {
        let mut bytes = std::mem::take(&mut self.carry);
        let more = room.saturating_sub(bytes.len()) as u64;
        let result = (&mut self.reader).take(more).read_until(b'\n', &mut bytes);
        let read = result.map_err(|error| DataError::line(&self.path, self.line, error))?;
        let ended = read == 0 && more > 0;
        if !ended
            && let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            self.carry = bytes.split_off(error.valid_up_to());
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| DataError::line(&self.path, self.line, error.utf8_error()))?;
        self.line += usize::from(text.ends_with('\n'));
        Ok(text)
    }

    fn document(&mut self) -> Result<Option<Document>, DataError> {
        let mut text = String::new();
        let mut first = self.line;
        loop {
            let room = self.max_bytes - text.len();
            // A cut character would never fit in less.
            let piece = if room < 4 {
                String::new()
            } else {
                self.piece(room)?
            };
            let full = room < 4 || (piece.is_empty() && !self.carry.is_empty());
            let ended = piece.is_empty() && !full;
            let blank = piece.trim().is_empty();
            let split = match self.unit {
                Unit::File => false,
                Unit::Line => piece.ends_with('\n'),
                Unit::Paragraph => blank && !ended,
            };
            if !(split && blank && self.unit == Unit::Paragraph) {
                text.push_str(&piece);
            }
            if !(split || full || ended || text.len() == self.max_bytes) {
                continue;
            }
            if !text.trim().is_empty() {
                let id = first.to_string();
                return Ok(Some(Document { id, text }));
            }
            if ended {
                return Ok(None);
            }
            text.clear();
            first = self.line;
        }
    }
}

impl Iterator for TextDocuments {
    type Item = Result<Document, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let document = self.document();
        self.failed = document.is_err();
        document.transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], unit: Unit, max: usize) -> Result<Vec<Document>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, bytes).unwrap();
        documents(&path, unit, max)?.collect()
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_too_long(text in "[aé😀\n]{0,60}", max in 0usize..20) {
            let found = read(text.as_bytes(), Unit::File, max).unwrap();
            let joined: String = found.iter().map(|document| document.text.as_str()).collect();
            let solid = |text: &str| text.replace('\n', "");
            prop_assert_eq!(solid(&joined), solid(&text));
            prop_assert!(found.iter().all(|document| document.text.len() <= max.max(4)));
            let lines = read(text.as_bytes(), Unit::Line, 1000).unwrap();
            let expected: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            let lines: Vec<_> = lines.iter().map(|document| document.text.trim_end()).collect();
            prop_assert_eq!(lines, expected);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..80), max in 0usize..20) {
            for unit in [Unit::File, Unit::Paragraph, Unit::Line] {
                let found = read(&bytes, unit, max);
                prop_assert!(found.is_ok() || std::str::from_utf8(&bytes).is_err());
            }
        }
    }

    #[test]
    fn the_line_of_bad_bytes_is_named() {
        let error = read(b"a\nb\xff\n", Unit::File, 100)
            .unwrap_err()
            .to_string();
        assert!(error.contains("a.txt:2: "), "{error}");
        assert!(read(b"a\xf0\x9f", Unit::File, 100).is_err());
    }

    #[test]
    fn names_are_lines() {
        let found = read(b"\n\na\n\nb\nc", Unit::Paragraph, 100).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|d| (d.id.as_str(), d.text.as_str()))
            .collect();
        assert_eq!(found, [("3", "a\n"), ("5", "b\nc")]);
    }
}

//! Texts from Parquet files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use super::Document;
use crate::DataError;

/// The documents of a Parquet file, read one at a time.
pub struct ParquetDocuments {
    path: PathBuf,
    rows: RowIter<'static>,
    field: String,
    row: usize,
    failed: bool,
}

impl std::fmt::Debug for ParquetDocuments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetDocuments")
            .field("path", &self.path)
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

/// Opens a Parquet file whose texts stand in the column `field`.
///
/// Only that column and `id`, if there is one, are read. A document without an `id` is named by
/// its row, counted from 1; rows with a null text are passed over.
///
/// # Errors
///
/// [`DataError::Io`] when it cannot be opened, [`DataError::BadLine`] when it is no Parquet file
/// or has no such column. The iterator ends with a [`DataError::BadLine`], the row taken for the
/// line, when a row cannot be read or its text is no string.
///
/// ```no_run
/// for document in fastdraft_data::source::parquet::documents("train.parquet", "text")? {
///     println!("{}", document?.text);
/// }
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
pub fn documents(path: impl AsRef<Path>, field: &str) -> Result<ParquetDocuments, DataError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(DataError::io(path))?;
    let error = |reason: String| DataError::line(path, 0, reason);
    let reader = SerializedFileReader::new(file).map_err(|e| error(e.to_string()))?;
    let schema = reader.metadata().file_metadata().schema();
    let wanted: Vec<Arc<Type>> = schema
        .get_fields()
        .iter()
        .filter(|column| column.name() == field || column.name() == "id")
        .cloned()
        .collect();
    if !wanted.iter().any(|column| column.name() == field) {
        return Err(error(format!("no column `{field}`")));
    }
    let projection = Type::group_type_builder(schema.name())
        .with_fields(wanted)
        .build()
        .map_err(|e| error(e.to_string()))?;
    let rows = RowIter::from_file_into(Box::new(reader))
        .project(Some(projection))
        .map_err(|e| error(e.to_string()))?;
    Ok(ParquetDocuments {
        path: path.to_path_buf(),
        rows,
        field: field.to_owned(),
        row: 0,
        failed: false,
    })
}

impl ParquetDocuments {
    fn document(&self, row: &Row) -> Result<Option<Document>, DataError> {
        let (mut id, mut text) = (None, None);
        for (name, value) in row.get_column_iter() {
            if *name == self.field {
                text = match value {
                    Field::Str(text) => Some(text.clone()),
                    // Older writers leave the string annotation out.
                    Field::Bytes(bytes) => bytes.as_utf8().ok().map(str::to_owned),
                    Field::Null => return Ok(None),
                    _ => None,
                };
            } else {
                id = match value {
                    Field::Str(id) => Some(id.clone()),
                    Field::Null => None,
                    other => Some(other.to_string()),
                };
            }
        }
        let reason =
            || DataError::line(&self.path, self.row, format!("no text in `{}`", self.field));
        Ok(Some(Document {
            id: id.unwrap_or_else(|| self.row.to_string()),
            text: text.ok_or_else(reason)?,
        }))
    }
}

impl Iterator for ParquetDocuments {
    type Item = Result<Document, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            self.row += 1;
            let document = match self.rows.next()? {
                Ok(row) => self.document(&row),
                Err(error) => Err(DataError::line(&self.path, self.row, error)),
            };
            self.failed = document.is_err();
            if let Some(document) = document.transpose() {
                return Some(document);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    fn write(path: &Path, groups: &[&[&str]]) {
        let schema = "message m { required binary other (UTF8); optional binary text (UTF8); }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(
            WriterProperties::builder()
                .set_compression(parquet::basic::Compression::SNAPPY)
                .build(),
        );
        let file = File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
        for texts in groups {
            let all: Vec<ByteArray> = texts.iter().map(|text| ByteArray::from(*text)).collect();
            let levels: Vec<i16> = texts
                .iter()
                .map(|text| i16::from(!text.is_empty()))
                .collect();
            let some: Vec<ByteArray> = all
                .iter()
                .filter(|text| !text.is_empty())
                .cloned()
                .collect();
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(&all, None, None)
                .unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&some, Some(&levels), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
    }

    #[test]
    fn texts_of_all_row_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, &[&["one", "", "three é"], &["four"]]);
        let found: Vec<_> = documents(&path, "text")
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let found: Vec<_> = found
            .iter()
            .map(|d| (d.id.as_str(), d.text.as_str()))
            .collect();
        assert_eq!(found, [("1", "one"), ("3", "three é"), ("4", "four")]);
        let error = documents(&path, "body").unwrap_err().to_string();
        assert!(error.contains("no column `body`"), "{error}");
    }

    #[test]
    fn a_cut_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, &[&["one"]]);
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(documents(&path, "text").is_err(), "{length}");
        }
    }
}

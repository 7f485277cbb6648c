//! Writing one shard.

use std::path::{Path, PathBuf};

use super::block::Geometry;
use super::header::{HEADER_BYTES, ShardHeader, ShardSpec};
use crate::atomic::Pending;
use crate::{DataError, PackedTokens};

/// Writes rows to a shard that appears under its name only when it is complete.
///
/// Writers of different files need not know of each other; each can have a thread of its own.
#[derive(Debug)]
pub struct ShardWriter {
    path: PathBuf,
    file: Pending,
    header: ShardHeader,
    geometry: Geometry,
    block: PackedTokens,
    blocks_crc: crc32fast::Hasher,
}

impl ShardWriter {
    /// Begins a shard.
    ///
    /// # Errors
    ///
    /// [`DataError::ShardFormat`] when a number of the specification is zero or too large,
    /// [`DataError::Io`] when the file cannot be created.
    pub fn create(path: impl AsRef<Path>, spec: &ShardSpec) -> Result<Self, DataError> {
        let path = path.as_ref();
        let header = ShardHeader::for_spec(spec, path)?;
        let geometry = Geometry::new(&header)
            .ok_or_else(|| DataError::shard(path, "a block would be too large"))?;
        let mut file = Pending::create(path)?;
        file.write(&[0; HEADER_BYTES])?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            header,
            geometry,
            block: PackedTokens::empty(spec.sequence_length),
            blocks_crc: crc32fast::Hasher::new(),
        })
    }

    /// Adds all rows.
    ///
    /// # Errors
    ///
    /// [`DataError::ShardInput`] when the rows have another length or an id is outside the
    /// vocabulary; [`DataError::Io`] when they cannot be written.
    pub fn push(&mut self, rows: &PackedTokens) -> Result<(), DataError> {
        self.push_rows(rows, 0..rows.rows())
    }

    /// Adds some of the rows.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and [`DataError::NoRow`] when there are not that many.
    pub fn push_rows(
        &mut self,
        rows: &PackedTokens,
        range: std::ops::Range<usize>,
    ) -> Result<(), DataError> {
        let path = self.path.clone();
        let error = move |reason| DataError::ShardInput { path, reason };
        if range.end > rows.rows() {
            return Err(DataError::NoRow {
                path: self.path.clone(),
                row: range.end as u64,
                rows: rows.rows() as u64,
            });
        }
        let (found, expected) = (rows.sequence_length, self.block.sequence_length);
        if found != expected {
            return Err(error(format!(
                "sequence length {found}, the shard has {expected}"
            )));
        }
        if rows.mask.len() != rows.ids.len() || rows.begins.len() != rows.ids.len() {
            return Err(error(format!(
                "{} ids, {} mask entries and {} boundaries",
                rows.ids.len(),
                rows.mask.len(),
                rows.begins.len()
            )));
        }
        for index in range {
            let (ids, mask) = rows.row(index);
            let size = self.header.vocabulary_size;
            if let Some(id) = ids.iter().find(|&&id| id >= size) {
                return Err(error(format!(
                    "id {id} in a vocabulary of {size}, row {index}"
                )));
            }
            let row = self.block.rows();
            self.block.ids.extend_from_slice(ids);
            self.block.mask.extend_from_slice(mask);
            self.block.begins.extend_from_slice(rows.row_begins(index));
            self.block.set_padding(row, rows.row_padding(index) as u32);
            if self.block.rows() == self.header.rows_per_block as usize {
                self.write_block()?;
            }
        }
        Ok(())
    }

    /// Rows so far.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.header.rows + self.block.rows() as u64
    }

    fn write_block(&mut self) -> Result<(), DataError> {
        let empty = PackedTokens::empty(self.block.sequence_length);
        let block = std::mem::replace(&mut self.block, empty);
        let (bytes, crc) = self.geometry.encode(&block);
        self.file.write(&bytes)?;
        self.blocks_crc.update(&crc.to_le_bytes());
        self.header.rows += block.rows() as u64;
        self.header.trained += block.trained() as u64;
        self.header.documents += block.documents() as u64;
        self.header.padding += block.padding() as u64;
        Ok(())
    }

    /// Completes the file, makes it durable and gives it its name.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when the file cannot be written.
    pub fn finish(mut self) -> Result<ShardHeader, DataError> {
        if self.block.rows() > 0 {
            self.write_block()?;
        }
        self.header.blocks_crc = self.blocks_crc.clone().finalize();
        self.file.write_at_start(&self.header.encode())?;
        self.file.commit()?;
        Ok(self.header)
    }
}

//! Reading one shard.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Mmap;

use super::block::{Geometry, u32_of};
use super::header::ShardHeader;
use crate::{DataError, PackedTokens};

/// A memory-mapped shard.
///
/// A block is checked when a row of it is read for the first time; [`verify`](Self::verify) checks
/// all of them. The file must not be changed while it is open; replacing it by renaming is fine.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    map: Mmap,
    header: ShardHeader,
    geometry: Geometry,
    checked: Box<[AtomicBool]>,
}

impl Shard {
    /// Opens a shard and checks its header and its length.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when it cannot be read; [`DataError::ShardFormat`],
    /// [`DataError::ShardLength`] or [`DataError::ShardDamaged`] when it is not a whole shard.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(DataError::io(path))?;
        let length = file.metadata().map_err(DataError::io(path))?.len();
        if length == 0 {
            // An empty file cannot be mapped.
            ShardHeader::decode(&[], path, length)?;
        }
        // SAFETY: shards are written under another name and renamed, never changed in place.
        let map = unsafe { Mmap::map(&file) }.map_err(DataError::io(path))?;
        let header = ShardHeader::decode(&map, path, map.len() as u64)?;
        let geometry =
            Geometry::new(&header).ok_or_else(|| DataError::shard(path, "impossible sizes"))?;
        let shard = Self {
            path: path.to_path_buf(),
            checked: (0..header.blocks())
                .map(|_| AtomicBool::new(false))
                .collect(),
            map,
            header,
            geometry,
        };
        shard.check_blocks_crc()?;
        Ok(shard)
    }

    fn check_blocks_crc(&self) -> Result<(), DataError> {
        let mut crc = crc32fast::Hasher::new();
        for block in 0..self.header.blocks() {
            let (bytes, rows) = self.block(block);
            let at = self.geometry.sections(rows).crc;
            crc.update(&bytes[at..at + 4]);
        }
        self.compare(
            "the list of blocks",
            self.header.blocks_crc.into(),
            crc.finalize().into(),
        )
    }

    fn compare(&self, part: &str, expected: u64, found: u64) -> Result<(), DataError> {
        if expected == found {
            return Ok(());
        }
        Err(DataError::ShardDamaged {
            path: self.path.clone(),
            part: part.into(),
            expected,
            found,
        })
    }

    fn block(&self, block: u64) -> (&[u8], u64) {
        let (at, rows) = self.geometry.block(block, self.header.rows);
        (&self.map[at..at + self.geometry.sections(rows).end], rows)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the shard says about itself.
    #[must_use]
    pub const fn header(&self) -> &ShardHeader {
        &self.header
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.header.rows
    }

    /// Inputs in a row; a row has one token more.
    #[must_use]
    pub const fn sequence_length(&self) -> usize {
        self.header.row_width as usize - 1
    }

    /// Makes sure that the shard was made with a vocabulary.
    ///
    /// # Errors
    ///
    /// [`DataError::ShardVocabulary`] when it was made with another one.
    pub fn expect_vocabulary(&self, fingerprint: u64) -> Result<(), DataError> {
        if self.header.fingerprint == fingerprint {
            return Ok(());
        }
        Err(DataError::ShardVocabulary {
            path: self.path.clone(),
            expected: fingerprint,
            found: self.header.fingerprint,
        })
    }

    /// Some rows, in the order asked for.
    ///
    /// # Errors
    ///
    /// [`DataError::NoRow`] or [`DataError::ShardDamaged`].
    pub fn read(&self, rows: &[u64]) -> Result<PackedTokens, DataError> {
        let mut out = PackedTokens::empty(self.sequence_length());
        for &row in rows {
            self.append(row, &mut out)?;
        }
        Ok(out)
    }

    pub(super) fn append(&self, row: u64, out: &mut PackedTokens) -> Result<(), DataError> {
        if row >= self.header.rows {
            return Err(DataError::NoRow {
                path: self.path.clone(),
                row,
                rows: self.header.rows,
            });
        }
        let per_block = u64::from(self.header.rows_per_block);
        let block = row / per_block;
        self.check(block)?;
        let (bytes, rows) = self.block(block);
        self.geometry.decode_row(bytes, rows, row % per_block, out);
        Ok(())
    }

    /// Checks all blocks, on all cores.
    ///
    /// # Errors
    ///
    /// [`DataError::ShardDamaged`] or [`DataError::ShardFormat`] for a block that fails.
    pub fn verify(&self) -> Result<(), DataError> {
        use rayon::prelude::*;
        (0..self.header.blocks())
            .into_par_iter()
            .try_for_each(|block| self.check(block))
    }

    fn check(&self, block: u64) -> Result<(), DataError> {
        let checked = &self.checked[block as usize];
        if checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (bytes, rows) = self.block(block);
        let sections = self.geometry.sections(rows);
        let mut expected = [0; 8];
        expected.copy_from_slice(&bytes[sections.crc..]);
        self.compare(
            &format!("block {block}"),
            u64::from_le_bytes(expected),
            crc32fast::hash(&bytes[..sections.crc]).into(),
        )?;
        self.check_values(block, bytes)?;
        checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A checksum does not stop a program from writing nonsense in the first place.
    fn check_values(&self, block: u64, bytes: &[u8]) -> Result<(), DataError> {
        let (_, rows) = self.geometry.block(block, self.header.rows);
        let sections = self.geometry.sections(rows);
        let mut ids = Vec::with_capacity(sections.tokens);
        let end = sections.tokens * self.header.dtype.bytes();
        self.geometry.decode_ids(&bytes[..end], &mut ids);
        let size = self.header.vocabulary_size;
        if let Some(id) = ids.iter().find(|&&id| id >= size) {
            let reason = format!("id {id} in a vocabulary of {size}, block {block}");
            return Err(DataError::shard(&self.path, reason));
        }
        let padding = &bytes[sections.padding..sections.padding + rows as usize * 4];
        if let Some(padding) = padding
            .chunks_exact(4)
            .map(u32_of)
            .find(|&padding| padding > self.header.row_width)
        {
            let reason = format!("{padding} unused tokens in a row, block {block}");
            return Err(DataError::shard(&self.path, reason));
        }
        Ok(())
    }
}

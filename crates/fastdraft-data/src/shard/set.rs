//! All shards of a folder.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::header::ShardSpec;
use super::index::{ShardEntry, ShardIndex};
use super::reader::Shard;
use super::writer::ShardWriter;
use crate::card::{
    DataCard, DatasetCounts, DatasetKind, FileDigest, Provenance, TokenizerCard, card_path,
};
use crate::{DataError, PackedTokens};

/// The shards of a folder as one sequence of rows.
#[derive(Debug)]
pub struct ShardSet {
    folder: PathBuf,
    sequence_length: usize,
    shards: Vec<Shard>,
    // First row of each shard.
    starts: Vec<u64>,
    rows: u64,
}

impl ShardSet {
    /// Opens a folder made with the vocabulary of this fingerprint.
    ///
    /// # Errors
    ///
    /// As [`ShardIndex::read`] and [`Shard::open`]; [`DataError::ShardVocabulary`] for another
    /// vocabulary, [`DataError::ShardFormat`] when a shard is not the one in the index.
    pub fn open(folder: impl AsRef<Path>, fingerprint: u64) -> Result<Self, DataError> {
        let folder = folder.as_ref();
        let index = ShardIndex::read(folder)?;
        let mut set = Self {
            folder: folder.to_path_buf(),
            sequence_length: (index.row_width as usize).saturating_sub(1),
            shards: Vec::with_capacity(index.shards.len()),
            starts: Vec::with_capacity(index.shards.len()),
            rows: 0,
        };
        for entry in &index.shards {
            let shard = Shard::open(folder.join(&entry.file))?;
            shard.expect_vocabulary(fingerprint)?;
            let (width, found) = (
                shard.header().row_width,
                ShardEntry::new(entry.file.clone(), shard.header()),
            );
            if *entry != found || width != index.row_width {
                let reason = format!("the index says {entry:?}, the file {found:?}, width {width}");
                return Err(DataError::shard(shard.path(), reason));
            }
            set.starts.push(set.rows);
            set.rows += shard.rows();
            set.shards.push(shard);
        }
        if index.fingerprint != format!("{fingerprint:016x}") {
            let reason = format!("vocabulary {}, not {fingerprint:016x}", index.fingerprint);
            return Err(DataError::shard(folder, reason));
        }
        Ok(set)
    }

    /// The shards, in order.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Number of rows in all shards.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Inputs in a row; a row has one token more.
    #[must_use]
    pub const fn sequence_length(&self) -> usize {
        self.sequence_length
    }

    /// Some rows, in the order asked for.
    ///
    /// # Errors
    ///
    /// [`DataError::NoRow`] or [`DataError::ShardDamaged`].
    pub fn read(&self, rows: &[u64]) -> Result<PackedTokens, DataError> {
        let mut out = PackedTokens::empty(self.sequence_length);
        for &row in rows {
            self.append(row, &mut out)?;
        }
        Ok(out)
    }

    pub(crate) fn append(&self, row: u64, out: &mut PackedTokens) -> Result<(), DataError> {
        let after = self.starts.partition_point(|&start| start <= row);
        match after.checked_sub(1) {
            Some(shard) if row < self.rows => {
                self.shards[shard].append(row - self.starts[shard], out)
            }
            _ => Err(DataError::NoRow {
                path: self.folder.clone(),
                row,
                rows: self.rows,
            }),
        }
    }

    /// Checks every byte of every shard, on all cores.
    ///
    /// # Errors
    ///
    /// As [`Shard::verify`].
    pub fn verify(&self) -> Result<(), DataError> {
        self.shards.iter().try_for_each(Shard::verify)
    }
}

/// Writes rows to a folder as they come, a new shard whenever one is full.
///
/// The index is written last: a folder whose writing was interrupted cannot be opened.
#[derive(Debug)]
pub struct ShardSetWriter {
    folder: PathBuf,
    spec: ShardSpec,
    rows_per_shard: u64,
    current: Option<ShardWriter>,
    entries: Vec<ShardEntry>,
    provenance: Provenance,
}

impl ShardSetWriter {
    /// A writer to an existing folder.
    ///
    /// # Errors
    ///
    /// [`DataError::ShardFormat`] when no row may go into a shard.
    pub fn create(
        folder: impl AsRef<Path>,
        spec: ShardSpec,
        rows_per_shard: u64,
    ) -> Result<Self, DataError> {
        let folder = folder.as_ref();
        if rows_per_shard == 0 {
            return Err(DataError::shard(folder, "0 rows per shard"));
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            spec,
            rows_per_shard,
            current: None,
            entries: Vec::new(),
            provenance: Provenance::default(),
        })
    }

    /// What the data card says about where the rows come from; it may be known only at the end.
    pub fn set_provenance(&mut self, provenance: Provenance) {
        self.provenance = provenance;
    }

    /// Adds rows.
    ///
    /// # Errors
    ///
    /// As [`ShardWriter::create`] and [`ShardWriter::push`].
    pub fn push(&mut self, rows: &PackedTokens) -> Result<(), DataError> {
        let mut next = 0;
        while next < rows.rows() {
            let mut writer = match self.current.take() {
                Some(writer) => writer,
                None => {
                    let path = self.folder.join(file_name(self.entries.len()));
                    ShardWriter::create(path, &self.spec)?
                }
            };
            let free = usize::try_from(self.rows_per_shard - writer.rows()).unwrap_or(usize::MAX);
            let end = rows.rows().min(next.saturating_add(free));
            writer.push_rows(rows, next..end)?;
            next = end;
            if writer.rows() == self.rows_per_shard {
                self.close(writer)?;
            } else {
                self.current = Some(writer);
            }
        }
        Ok(())
    }

    fn close(&mut self, writer: ShardWriter) -> Result<(), DataError> {
        let file = file_name(self.entries.len());
        let header = writer.finish()?;
        self.entries.push(ShardEntry::new(file, &header));
        Ok(())
    }

    /// Completes the last shard and writes the data card and the index.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] when a file cannot be written.
    pub fn finish(mut self) -> Result<ShardIndex, DataError> {
        if let Some(writer) = self.current.take() {
            self.close(writer)?;
        }
        write_index(&self.folder, &self.spec, self.entries, self.provenance)
    }
}

/// Writes rows to a folder, several shards at a time; the files do not depend on how many.
///
/// The data card names no sources; [`ShardSetWriter`] can be told of them.
///
/// # Errors
///
/// As [`ShardSetWriter`].
pub fn write_set(
    folder: impl AsRef<Path>,
    spec: ShardSpec,
    rows: &PackedTokens,
    rows_per_shard: usize,
) -> Result<ShardIndex, DataError> {
    let folder = folder.as_ref();
    if rows_per_shard == 0 {
        return Err(DataError::shard(folder, "0 rows per shard"));
    }
    let ranges: Vec<Range<usize>> = (0..rows.rows())
        .step_by(rows_per_shard)
        .map(|first| first..rows.rows().min(first.saturating_add(rows_per_shard)))
        .collect();
    let entries = ranges
        .into_par_iter()
        .enumerate()
        .map(|(number, range)| {
            let file = file_name(number);
            let mut writer = ShardWriter::create(folder.join(&file), &spec)?;
            writer.push_rows(rows, range)?;
            Ok(ShardEntry::new(file, &writer.finish()?))
        })
        .collect::<Result<Vec<_>, DataError>>()?;
    write_index(folder, &spec, entries, Provenance::default())
}

fn file_name(number: usize) -> String {
    format!("shard-{number:05}.fds")
}

fn write_index(
    folder: &Path,
    spec: &ShardSpec,
    entries: Vec<ShardEntry>,
    provenance: Provenance,
) -> Result<ShardIndex, DataError> {
    let width = u32::try_from(spec.sequence_length.saturating_add(1))
        .map_err(|_| DataError::shard(folder, "the rows are too long"))?;
    let files = entries
        .par_iter()
        .map(|entry| FileDigest::of_file(folder.join(&entry.file)))
        .collect::<Result<Vec<_>, _>>()?;
    let sum = |of: fn(&ShardEntry) -> u64| entries.iter().map(of).sum::<u64>();
    let (rows, padding) = (sum(|shard| shard.rows), sum(|shard| shard.padding));
    let counts = DatasetCounts {
        documents: sum(|shard| shard.documents),
        rows,
        tokens: rows * u64::from(width) - padding,
        trained: sum(|shard| shard.trained),
        padding,
    };
    let tokenizer = TokenizerCard::new(spec.fingerprint, spec.vocabulary_size);
    DataCard::new(DatasetKind::Shards, provenance, tokenizer, counts, files)
        .write(&card_path(folder))?;
    let index = ShardIndex::new(spec.fingerprint, width, entries);
    index.write(folder)?;
    Ok(index)
}

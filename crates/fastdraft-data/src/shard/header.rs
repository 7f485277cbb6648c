//! The first 128 bytes of a shard.

use std::path::Path;

use super::block::Geometry;
use crate::{DataError, Tokenizer};

pub(super) const HEADER_BYTES: usize = 128;
const MAGIC: [u8; 8] = *b"FDSHARD\n";
const VERSION: u32 = 1;
const CRC_AT: usize = HEADER_BYTES - 4;
const ROWS_PER_BLOCK: usize = 256;

/// How a token is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Two bytes, for vocabularies of up to 65,536 tokens.
    U16,
    /// Four bytes.
    U32,
}

impl Dtype {
    /// The smallest type that holds all ids of a vocabulary.
    #[must_use]
    pub const fn for_vocabulary(size: usize) -> Self {
        if size <= 1 << 16 {
            Self::U16
        } else {
            Self::U32
        }
    }

    /// Bytes of one token.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }
}

/// What a shard is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardSpec {
    /// Inputs in a row; a row has one token more.
    pub sequence_length: usize,
    /// The highest id plus one.
    pub vocabulary_size: usize,
    /// [`Tokenizer::fingerprint`] of the vocabulary.
    pub fingerprint: u64,
    /// Rows that share a checksum.
    pub rows_per_block: usize,
}

impl ShardSpec {
    /// A specification with 256 rows a block.
    #[must_use]
    pub const fn new(sequence_length: usize, vocabulary_size: usize, fingerprint: u64) -> Self {
        Self {
            sequence_length,
            vocabulary_size,
            fingerprint,
            rows_per_block: ROWS_PER_BLOCK,
        }
    }

    /// A specification for the ids of a tokenizer.
    #[must_use]
    pub const fn for_tokenizer(sequence_length: usize, tokenizer: &Tokenizer) -> Self {
        Self::new(
            sequence_length,
            tokenizer.vocabulary_size(),
            tokenizer.fingerprint(),
        )
    }
}

/// What a shard says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardHeader {
    /// How tokens are stored.
    pub dtype: Dtype,
    /// Tokens in a row, one more than its inputs.
    pub row_width: u32,
    /// Fingerprint of the vocabulary.
    pub fingerprint: u64,
    /// The highest id plus one.
    pub vocabulary_size: u32,
    /// Rows that share a checksum.
    pub rows_per_block: u32,
    /// Rows in the file.
    pub rows: u64,
    /// Tokens that count as labels.
    pub trained: u64,
    /// Documents and examples that begin in the file.
    pub documents: u64,
    /// Tokens that only fill rows up.
    pub padding: u64,
    /// Checksum over the checksums of the blocks.
    pub blocks_crc: u32,
}

impl ShardHeader {
    pub(super) fn for_spec(spec: &ShardSpec, path: &Path) -> Result<Self, DataError> {
        let small = |value: usize, name: &str| {
            u32::try_from(value)
                .ok()
                .filter(|&value| value > 0)
                .ok_or_else(|| DataError::shard(path, format!("{name} is {value}")))
        };
        let header = Self {
            dtype: Dtype::for_vocabulary(spec.vocabulary_size),
            row_width: small(spec.sequence_length.saturating_add(1), "row width")?,
            fingerprint: spec.fingerprint,
            vocabulary_size: small(spec.vocabulary_size, "vocabulary size")?,
            rows_per_block: small(spec.rows_per_block, "rows per block")?,
            rows: 0,
            trained: 0,
            documents: 0,
            padding: 0,
            blocks_crc: 0,
        };
        Geometry::new(&header)
            .map(|_| header)
            .ok_or_else(|| DataError::shard(path, "a block would be too large"))
    }

    /// Number of blocks.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.rows.div_ceil(self.rows_per_block as u64)
    }

    /// The bytes at the beginning of the file.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        for value in [
            VERSION,
            HEADER_BYTES as u32,
            self.dtype.bytes() as u32,
            self.row_width,
        ] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&self.fingerprint.to_le_bytes());
        for value in [self.vocabulary_size, self.rows_per_block] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        for value in [self.rows, self.trained, self.documents, self.padding] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        let file_bytes = Geometry::new(self)
            .and_then(|geometry| geometry.file_bytes(self.rows))
            .unwrap_or(u64::MAX);
        bytes.extend_from_slice(&file_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.blocks_crc.to_le_bytes());
        bytes.resize(CRC_AT, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut out = [0; HEADER_BYTES];
        out.copy_from_slice(&bytes);
        out
    }

    /// Checksum of the header, which through `blocks_crc` stands for the whole file.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        crc32fast::hash(&self.encode()[..CRC_AT])
    }

    /// Reads the header and checks it against the length of the file.
    pub(super) fn decode(bytes: &[u8], path: &Path, length: u64) -> Result<Self, DataError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(DataError::ShardLength {
                path: path.to_path_buf(),
                expected: HEADER_BYTES as u64,
                found: length,
            });
        };
        let u32_at = |at: usize| {
            let mut value = [0; 4];
            value.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(value)
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..8] != MAGIC {
            return Err(DataError::shard(path, "it does not begin with FDSHARD"));
        }
        if u32_at(8) != VERSION {
            let reason = format!("version {}, this program reads {VERSION}", u32_at(8));
            return Err(DataError::shard(path, reason));
        }
        let (expected, found) = (u32_at(CRC_AT), crc32fast::hash(&bytes[..CRC_AT]));
        if expected != found {
            return Err(DataError::ShardDamaged {
                path: path.to_path_buf(),
                part: "the header".into(),
                expected: expected.into(),
                found: found.into(),
            });
        }
        let header = Self {
            dtype: match u32_at(16) {
                2 => Dtype::U16,
                4 => Dtype::U32,
                other => {
                    let reason = format!("{other} bytes a token; 2 and 4 are known");
                    return Err(DataError::shard(path, reason));
                }
            },
            row_width: u32_at(20),
            fingerprint: u64_at(24),
            vocabulary_size: u32_at(32),
            rows_per_block: u32_at(36),
            rows: u64_at(40),
            trained: u64_at(48),
            documents: u64_at(56),
            padding: u64_at(64),
            blocks_crc: u32_at(80),
        };
        let zeros = bytes[84..CRC_AT].iter().all(|&byte| byte == 0);
        if u32_at(12) as usize != HEADER_BYTES || !zeros {
            return Err(DataError::shard(path, "unknown fields in the header"));
        }
        let expected = Geometry::new(&header)
            .and_then(|geometry| geometry.file_bytes(header.rows))
            .filter(|&expected| expected == u64_at(72))
            .ok_or_else(|| DataError::shard(path, format!("impossible sizes: {header:?}")))?;
        if expected != length {
            return Err(DataError::ShardLength {
                path: path.to_path_buf(),
                expected,
                found: length,
            });
        }
        Ok(header)
    }
}

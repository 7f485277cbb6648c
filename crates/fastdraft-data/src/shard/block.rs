//! Rows as bytes: tokens, loss mask, boundaries, padding, checksum.

use super::header::{Dtype, HEADER_BYTES, ShardHeader};
use crate::PackedTokens;

const ALIGN: u64 = 8;
/// A checksum, widened so that the next block stays aligned.
const TRAILER: u64 = 8;
/// A block is encoded in memory, and one address space must hold it.
const LARGEST: u64 = 1 << 31;

/// Where things are in a shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    dtype: Dtype,
    width: u64,
    rows_per_block: u64,
}

/// Offsets inside one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sections {
    pub tokens: usize,
    pub mask: usize,
    pub begins: usize,
    pub padding: usize,
    pub crc: usize,
    pub end: usize,
}

const fn align(bytes: u64) -> u64 {
    bytes.div_ceil(ALIGN) * ALIGN
}

impl Geometry {
    /// The geometry, unless a number is zero or a block would be out of proportion.
    pub(super) fn new(header: &ShardHeader) -> Option<Self> {
        let geometry = Self {
            dtype: header.dtype,
            width: header.row_width.into(),
            rows_per_block: header.rows_per_block.into(),
        };
        let tokens = geometry.width.checked_mul(geometry.rows_per_block)?;
        let bytes = tokens.checked_mul(header.dtype.bytes() as u64 + 1)?;
        let usable = geometry.width > 0
            && geometry.rows_per_block > 0
            && header.vocabulary_size > 0
            && bytes < LARGEST;
        usable.then_some(geometry)
    }

    pub(super) const fn sections(&self, rows: u64) -> Sections {
        let tokens = rows * self.width;
        let bits = align(tokens.div_ceil(8));
        let mask = align(tokens * self.dtype.bytes() as u64);
        let padding = mask + 2 * bits;
        let crc = padding + align(rows * 4);
        Sections {
            tokens: tokens as usize,
            mask: mask as usize,
            begins: (mask + bits) as usize,
            padding: padding as usize,
            crc: crc as usize,
            end: (crc + TRAILER) as usize,
        }
    }

    /// Length of a file with this many rows.
    pub(super) fn file_bytes(&self, rows: u64) -> Option<u64> {
        let full = self.sections(self.rows_per_block).end as u64;
        let rest = match rows % self.rows_per_block {
            0 => 0,
            rest => self.sections(rest).end as u64,
        };
        (rows / self.rows_per_block)
            .checked_mul(full)?
            .checked_add(rest)?
            .checked_add(HEADER_BYTES as u64)
    }

    /// Where a block begins and how many rows it has.
    pub(super) fn block(&self, block: u64, rows: u64) -> (usize, u64) {
        let full = self.sections(self.rows_per_block).end as u64;
        let rows = (rows - block * self.rows_per_block).min(self.rows_per_block);
        ((HEADER_BYTES as u64 + block * full) as usize, rows)
    }

    /// The bytes of all rows, and the checksum at their end.
    pub(super) fn encode(&self, rows: &PackedTokens) -> (Vec<u8>, u32) {
        let sections = self.sections(rows.rows() as u64);
        let mut bytes = Vec::with_capacity(sections.end);
        match self.dtype {
            Dtype::U16 => {
                bytes.extend(rows.ids.iter().flat_map(|&id| (id as u16).to_le_bytes()));
            }
            Dtype::U32 => bytes.extend(rows.ids.iter().flat_map(|id| id.to_le_bytes())),
        }
        bytes.resize(sections.mask, 0);
        bytes.extend(pack_bits(&rows.mask));
        bytes.resize(sections.begins, 0);
        bytes.extend(pack_bits(&rows.begins));
        bytes.resize(sections.padding, 0);
        for row in 0..rows.rows() {
            bytes.extend((rows.row_padding(row) as u32).to_le_bytes());
        }
        bytes.resize(sections.crc, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend(u64::from(crc).to_le_bytes());
        (bytes, crc)
    }

    /// Adds one row of a block to `out`.
    pub(super) fn decode_row(&self, block: &[u8], rows: u64, row: u64, out: &mut PackedTokens) {
        let sections = self.sections(rows);
        let first = (row * self.width) as usize;
        let tokens = first..first + self.width as usize;
        let bytes = self.dtype.bytes();
        self.decode_ids(
            &block[tokens.start * bytes..tokens.end * bytes],
            &mut out.ids,
        );
        let bit = |section: usize| {
            let tokens = tokens.clone();
            tokens.map(move |token| block[section + token / 8] >> (token % 8) & 1 == 1)
        };
        out.mask.extend(bit(sections.mask));
        out.begins.extend(bit(sections.begins));
        let at = sections.padding + row as usize * 4;
        let padding = u32_of(&block[at..at + 4]);
        let last = out.rows().saturating_sub(1);
        out.set_padding(last, padding);
    }

    pub(super) fn decode_ids(&self, bytes: &[u8], out: &mut Vec<u32>) {
        match self.dtype {
            Dtype::U16 => out.extend(
                bytes
                    .chunks_exact(2)
                    .map(|id| u32::from(u16::from_le_bytes([id[0], id[1]]))),
            ),
            Dtype::U32 => out.extend(bytes.chunks_exact(4).map(u32_of)),
        }
    }
}

pub(super) const fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn pack_bits(bits: &[bool]) -> impl Iterator<Item = u8> + '_ {
    bits.chunks(8).map(|eight| {
        (0..)
            .zip(eight)
            .fold(0, |byte, (place, &on)| byte | u8::from(on) << place)
    })
}

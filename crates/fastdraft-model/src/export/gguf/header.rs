//! What precedes the data of a file.

use std::io::{self, Write};

use super::{metadata::Entry, tensors::Stored};
use crate::import::gguf::MAGIC;

const VERSION: u32 = 3;
const ALIGNMENT: usize = 32;

/// Writes the metadata and the tensor list, up to where the data starts.
pub(super) fn write(
    out: &mut impl Write,
    metadata: &[Entry],
    tensors: &[Stored<'_>],
) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(&mut bytes, key);
        value.write(&mut bytes);
    }
    let mut offset = 0;
    for tensor in tensors {
        string(&mut bytes, &tensor.name);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        for &extent in tensor.shape.iter().rev() {
            bytes.extend((extent as u64).to_le_bytes());
        }
        bytes.extend(tensor.kind.id().to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        offset += tensor.len().next_multiple_of(ALIGNMENT);
    }
    out.write_all(&bytes)?;
    pad(out, bytes.len())
}

/// Zeros up to the next tensor after `len` bytes.
pub(super) fn pad(out: &mut impl Write, len: usize) -> io::Result<()> {
    out.write_all(&[0; ALIGNMENT][..len.next_multiple_of(ALIGNMENT) - len])
}

pub(super) fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

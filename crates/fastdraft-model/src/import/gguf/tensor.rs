//! Entries of the tensor list.

use std::ops::Range;

use super::{reader::Reader, unsupported};
use crate::error::ModelError;

/// How the elements of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(non_camel_case_types)] // The format's own names.
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper half of 32-bit floats.
    BF16,
    /// 4 bits and a scale per 32.
    Q4_0,
    /// 4 bits, a scale and a minimum per 32.
    Q4_1,
    /// 5 bits and a scale per 32.
    Q5_0,
    /// 5 bits, a scale and a minimum per 32.
    Q5_1,
    /// 8 bits and a scale per 32.
    Q8_0,
    /// 4 bits, with 6-bit scales and minima per 32, in blocks of 256.
    Q4_K,
    /// 5 bits, with 6-bit scales and minima per 32, in blocks of 256.
    Q5_K,
    /// 6 bits, with 8-bit scales per 16, in blocks of 256.
    Q6_K,
}

impl TensorType {
    fn from_id(id: u32) -> Option<Self> {
        const ALL: [TensorType; 11] = [
            TensorType::F32,
            TensorType::F16,
            TensorType::BF16,
            TensorType::Q4_0,
            TensorType::Q4_1,
            TensorType::Q5_0,
            TensorType::Q5_1,
            TensorType::Q8_0,
            TensorType::Q4_K,
            TensorType::Q5_K,
            TensorType::Q6_K,
        ];
        ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// Its number in the format.
    pub(crate) const fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4_K => 12,
            Self::Q5_K => 13,
            Self::Q6_K => 14,
            Self::BF16 => 30,
        }
    }

    /// Elements of one block.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of one block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }
}

/// Name the format gives a type that is not read.
fn type_name(id: u32) -> String {
    let name = match id {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("type {id}"),
    };
    name.to_owned()
}

/// A tensor of the file: where it lies and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Extent of each dimension, outermost first: the reverse of the file's order.
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub kind: TensorType,
    /// Its bytes in the file.
    pub range: Range<usize>,
}

impl TensorInfo {
    /// Length of the name, number of dimensions, one dimension, type and offset.
    pub(super) const MIN_BYTES: usize = 8 + 4 + 8 + 4 + 8;

    /// The next entry; its range starts at the data, and is not yet checked.
    pub(super) fn read(reader: &mut Reader<'_>, alignment: usize) -> Result<Self, ModelError> {
        let name = reader.string()?.to_owned();
        let rank = reader.u32()?;
        if !(1..=4).contains(&rank) {
            return Err(reader.error(format!("tensor `{name}` has {rank} dimensions")));
        }
        let mut dimensions = [1; 4];
        for dimension in dimensions.iter_mut().take(rank as usize) {
            *dimension = reader.u64()?;
        }
        let id = reader.u32()?;
        let kind = TensorType::from_id(id).ok_or_else(|| {
            let value = format!("{} of `{name}`", type_name(id));
            unsupported(reader.path(), "tensor type", value)
        })?;
        let offset = reader.u64()?;
        let range = byte_range(dimensions, kind, offset, alignment).ok_or_else(|| {
            reader.error(format!(
                "tensor `{name}` of {dimensions:?} {kind:?} elements at offset {offset}: sizes \
                 must be above 0 and whole blocks, the offset a multiple of {alignment}"
            ))
        })?;
        let shape = dimensions[..rank as usize]
            .iter()
            .rev()
            .map(|&n| n as usize)
            .collect();
        Ok(Self {
            name,
            shape,
            kind,
            range,
        })
    }
}

fn byte_range(
    dimensions: [u64; 4],
    kind: TensorType,
    offset: u64,
    alignment: usize,
) -> Option<Range<usize>> {
    let elements = dimensions
        .iter()
        .try_fold(1_u64, |product, &n| product.checked_mul(n))?;
    if elements == 0 || !dimensions[0].is_multiple_of(kind.block_len() as u64) {
        return None;
    }
    // The element count itself is bounded too: it becomes a float32 array.
    usize::try_from(elements.checked_mul(4)?)
        .ok()
        .filter(|&bytes| isize::try_from(bytes).is_ok())?;
    let blocks = elements / kind.block_len() as u64;
    let len = blocks.checked_mul(kind.block_bytes() as u64)?;
    let start = usize::try_from(offset).ok()?;
    let end = usize::try_from(offset.checked_add(len)?).ok()?;
    start.is_multiple_of(alignment).then_some(start..end)
}

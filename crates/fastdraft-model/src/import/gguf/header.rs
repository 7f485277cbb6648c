//! Metadata and tensor list, checked against the length of the file.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use super::{MAGIC, reader::Reader, tensor::TensorInfo, unsupported, value::Value};
use crate::error::ModelError;

const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;
/// Length of the key, type, and a value of one byte.
const MIN_METADATA_BYTES: usize = 8 + 4 + 1;

#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: Vec<TensorInfo>,
}

impl Header {
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let mut reader = Reader::new(path, bytes);
        let magic = reader.take(MAGIC.len())?;
        if magic != MAGIC {
            return Err(reader.error(format!("starts with {magic:02x?}, not \"GGUF\"")));
        }
        let version = reader.u32()?;
        if !matches!(version, 2 | 3) {
            let value = format!("{version} (versions 2 and 3, little endian, are read)");
            return Err(unsupported(path, "GGUF version", value));
        }
        let tensor_count = reader.count("tensors", TensorInfo::MIN_BYTES)?;
        let metadata_count = reader.count("metadata values", MIN_METADATA_BYTES)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..metadata_count {
            let key = reader.string()?;
            let value = Value::read(&mut reader)?;
            if metadata.insert(key.to_owned(), value).is_some() {
                return Err(reader.error(format!("metadata key `{key}` is there twice")));
            }
        }
        let alignment = alignment(&reader, &metadata)?;
        // Both grow with what is there, not with what is claimed.
        let mut tensors = Vec::new();
        let mut names = HashSet::new();
        for _ in 0..tensor_count {
            let tensor = TensorInfo::read(&mut reader, alignment)?;
            if !names.insert(tensor.name.clone()) {
                return Err(reader.error(format!("tensor `{}` is there twice", tensor.name)));
            }
            tensors.push(tensor);
        }
        place(&reader, &mut tensors, alignment, bytes.len())?;
        Ok(Self { metadata, tensors })
    }
}

fn alignment(reader: &Reader<'_>, metadata: &BTreeMap<String, Value>) -> Result<usize, ModelError> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT as usize);
    };
    value
        .as_u64()
        .filter(|value| value.is_power_of_two() && *value <= MAX_ALIGNMENT)
        .map(|value| value as usize)
        .ok_or_else(|| reader.error(format!("`general.alignment` is {value:?}")))
}

/// Moves ranges from the start of the data to the start of the file, and checks that they lie in
/// the file and apart.
fn place(
    reader: &Reader<'_>,
    tensors: &mut [TensorInfo],
    alignment: usize,
    file_len: usize,
) -> Result<(), ModelError> {
    let data_start = reader.position().next_multiple_of(alignment);
    for tensor in tensors.iter_mut() {
        let start = tensor.range.start.checked_add(data_start);
        let end = tensor
            .range
            .end
            .checked_add(data_start)
            .filter(|end| *end <= file_len);
        let (Some(start), Some(end)) = (start, end) else {
            return Err(reader.error(format!(
                "tensor `{}` lies at {:?} of the data, which starts at {data_start}",
                tensor.name, tensor.range
            )));
        };
        tensor.range = start..end;
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.range.start);
    match order
        .windows(2)
        .find(|pair| pair[0].range.end > pair[1].range.start)
    {
        Some(pair) => Err(reader.error(format!(
            "tensors `{}` at {:?} and `{}` at {:?} overlap",
            pair[0].name, pair[0].range, pair[1].name, pair[1].range
        ))),
        None => Ok(()),
    }
}

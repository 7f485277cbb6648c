//! The tensors of a file one at a time.

use std::{collections::BTreeMap, ops::Range, path::Path};

use super::{
    GgufFile, config, dequant,
    llama::{self, deinterleave, rotary_heads},
    tensor::{TensorInfo, TensorType},
};
use crate::{
    checkpoint::DraftVocabulary,
    config::{DecoderConfig, Family},
    error::ModelError,
    import::{
        self, fused, limits, partial,
        tensors::{Blocks, Tensors, pieces},
    },
};

/// A file whose tensors have been checked against its metadata.
pub(crate) struct Stream {
    file: GgufFile,
    config: DecoderConfig,
    entries: BTreeMap<String, Entry>,
}

/// A tensor of the file, or some rows of one.
#[derive(Clone, Copy)]
struct Entry {
    index: usize,
    first_row: usize,
}

impl Stream {
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let file = GgufFile::open(path)?;
        let config = config::read(&file)?;
        limits::check(&config)?;
        let index: BTreeMap<&str, usize> = (file.tensors().iter().enumerate())
            .map(|(index, tensor)| (tensor.name.as_str(), index))
            .collect();
        let mut entries = BTreeMap::new();
        for (name, tensor) in llama::plan(&file, &config)? {
            let index = index[tensor.name.as_str()];
            let first_row = 0;
            entries.insert(name, Entry { index, first_row });
        }
        if config.family == Family::Phi3 {
            for (name, parts) in fused::groups(&config) {
                let Some(Entry { index, .. }) = entries.remove(&name) else {
                    return Err(ModelError::MissingTensor { name });
                };
                let mut first_row = 0;
                for (part, rows) in parts {
                    entries.insert(part, Entry { index, first_row });
                    first_row += rows;
                }
            }
        }
        Ok(Self {
            file,
            config,
            entries,
        })
    }

    fn find(&self, name: &str) -> Result<(&TensorInfo, usize), ModelError> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| ModelError::MissingTensor {
                name: name.to_owned(),
            })?;
        Ok((&self.file.tensors()[entry.index], entry.first_row))
    }

    /// The bytes of `rows` of a tensor of the file.
    fn bytes(
        &self,
        tensor: &TensorInfo,
        rows: Range<usize>,
        columns: usize,
    ) -> Result<&[u8], ModelError> {
        let row = columns / tensor.kind.block_len() * tensor.kind.block_bytes();
        let start = tensor.range.start + rows.start * row;
        self.file.bytes(tensor, start..start + rows.len() * row)
    }
}

impl Tensors for Stream {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn draft_vocabulary(&self) -> Option<&DraftVocabulary> {
        None
    }

    fn floats(
        &self,
        name: &str,
        shape: &[usize],
        each: &mut dyn FnMut(&[f32]),
    ) -> Result<(), ModelError> {
        let (tensor, first) = self.find(name)?;
        let (rows, columns) = match *shape {
            [rows, columns] => (rows, columns),
            _ => (1, shape.iter().product()),
        };
        let heads = rotary_heads(&self.config, name);
        if heads.is_some() || partial::moves(&self.config, name) {
            let data = self.bytes(tensor, first..first + rows, columns)?;
            let mut data = dequant::dequantize(tensor.kind, data);
            if let Some(heads) = heads {
                data = deinterleave(&data, heads, self.config.head_dim);
            }
            if let Some(paired) = partial::paired(&self.config, name, &data, shape[0]) {
                data = paired;
            }
            each(&data);
        } else {
            for piece in pieces(rows, columns) {
                let piece = first + piece.start..first + piece.end;
                let data = self.bytes(tensor, piece, columns)?;
                each(&dequant::dequantize(tensor.kind, data));
            }
        }
        import::release(&self.file.map, &tensor.range);
        Ok(())
    }

    fn blocks(&self, name: &str) -> Option<Blocks> {
        if partial::moves(&self.config, name) {
            return None;
        }
        match self.find(name).ok()?.0.kind {
            TensorType::Q4_0 => Some(Blocks::Q4_0),
            TensorType::Q4_1 => Some(Blocks::Q4_1),
            TensorType::Q8_0 => Some(Blocks::Q8_0),
            _ => None,
        }
    }

    fn stored(
        &self,
        name: &str,
        shape: &[usize],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ModelError> {
        let (tensor, first) = self.find(name)?;
        let &[rows, columns] = shape else {
            return Err(ModelError::MissingTensor {
                name: name.to_owned(),
            });
        };
        let data = self.bytes(tensor, first..first + rows, columns)?;
        match rotary_heads(&self.config, name) {
            Some(heads) => each(&deinterleave(data, heads, self.config.head_dim)),
            None => each(data),
        }
        import::release(&self.file.map, &tensor.range);
        Ok(())
    }
}

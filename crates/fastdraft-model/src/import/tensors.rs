//! Tensors one at a time and large ones piece by piece, so that an engine that lays them out anew
//! never holds a model twice.

use std::{ops::Range, path::Path};

use super::{gguf, hf, is_gguf};
use crate::{
    checkpoint::{Checkpoint, DraftVocabulary},
    config::DecoderConfig,
    error::ModelError,
};

/// Blocks of 32 that an engine can keep as a file has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    Q4_0,
    Q4_1,
    Q8_0,
}

/// Elements of a piece, 1 MiB in float32.
const PIECE: usize = 256 * 1024;

/// Where a model's tensors come from: under Hugging Face names, in the layout of [`Checkpoint`].
pub(crate) trait Tensors: Sync {
    fn config(&self) -> &DecoderConfig;

    fn draft_vocabulary(&self) -> Option<&DraftVocabulary>;

    /// Hands out the elements of a tensor in order, whole rows at a time.
    fn floats(
        &self,
        name: &str,
        shape: &[usize],
        each: &mut dyn FnMut(&[f32]),
    ) -> Result<(), ModelError>;

    /// The blocks of a matrix, `None` where it is stored otherwise or the rows of the file are not
    /// the rows of the model.
    fn blocks(&self, _name: &str) -> Option<Blocks> {
        None
    }

    /// Hands out the bytes of a matrix with [`Self::blocks`] in order, whole rows at a time.
    fn stored(
        &self,
        name: &str,
        _shape: &[usize],
        _each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ModelError> {
        Err(ModelError::MissingTensor {
            name: name.to_owned(),
        })
    }
}

/// All elements of a tensor.
pub(crate) fn whole(
    tensors: &dyn Tensors,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, ModelError> {
    let mut all = Vec::with_capacity(shape.iter().product());
    tensors.floats(name, shape, &mut |piece| all.extend_from_slice(piece))?;
    Ok(all)
}

/// The model at `path`, checked, with its tensors still in the file.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Tensors>, ModelError> {
    Ok(if is_gguf(path)? {
        Box::new(gguf::Stream::open(path)?)
    } else {
        Box::new(hf::Stream::open(path)?)
    })
}

/// Rows of the pieces of a matrix.
pub(crate) fn pieces(rows: usize, columns: usize) -> impl Iterator<Item = Range<usize>> {
    let size = (PIECE / columns.max(1)).max(1);
    (0..rows)
        .step_by(size)
        .map(move |start| start..(start + size).min(rows))
}

impl Tensors for Checkpoint {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn draft_vocabulary(&self) -> Option<&DraftVocabulary> {
        self.draft_vocabulary.as_ref()
    }

    fn floats(
        &self,
        name: &str,
        shape: &[usize],
        each: &mut dyn FnMut(&[f32]),
    ) -> Result<(), ModelError> {
        each(&self.weights.get(name, shape)?.data);
        Ok(())
    }
}

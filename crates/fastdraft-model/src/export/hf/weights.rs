//! `model.safetensors` in float32.

use std::{borrow::Cow, collections::HashMap, path::Path};

use safetensors::{Dtype, View};

use crate::{
    checkpoint::{Checkpoint, DraftVocabulary},
    config::Family,
    error::ModelError,
    import::{
        fused,
        layout::{self, Projections},
    },
    weights::HostTensor,
};

/// A tensor that becomes bytes when it is written, one at a time.
enum Stored<'a> {
    Floats(&'a HostTensor),
    Bytes {
        dtype: Dtype,
        shape: [usize; 1],
        data: Vec<u8>,
    },
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Floats(_) => Dtype::F32,
            Self::Bytes { dtype, .. } => *dtype,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Floats(tensor) => &tensor.shape,
            Self::Bytes { shape, .. } => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Floats(tensor) => tensor
                .data
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<_>>()
                .into(),
            Self::Bytes { data, .. } => data.into(),
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Self::Floats(tensor) => tensor.data.len() * size_of::<f32>(),
            Self::Bytes { data, .. } => data.len(),
        }
    }
}

pub(super) fn write(path: &Path, checkpoint: &Checkpoint) -> Result<(), ModelError> {
    let config = &checkpoint.config;
    let phi3 = config.family == Family::Phi3;
    let joined = if phi3 {
        fused::join(config, &checkpoint.weights)?
    } else {
        Vec::new()
    };
    let projections = if phi3 {
        Projections::Fused
    } else {
        Projections::Separate
    };
    let mut tensors = Vec::new();
    for (name, shape) in layout::tensors(config, projections) {
        if !joined.iter().any(|(fused, _)| *fused == name) {
            let tensor = checkpoint.weights.get(&name, &shape)?;
            tensors.push((name, Stored::Floats(tensor)));
        }
    }
    tensors.extend(
        joined
            .iter()
            .map(|(name, tensor)| (name.clone(), Stored::Floats(tensor))),
    );
    if let Some(draft) = &checkpoint.draft_vocabulary {
        tensors.extend(maps(draft, config.vocabulary_size));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(metadata), path)
        .map_err(|error| ModelError::io(path, std::io::Error::other(error)))
}

fn maps(draft: &DraftVocabulary, vocabulary_size: usize) -> [(String, Stored<'static>); 2] {
    let ids = draft.token_ids();
    let offsets = ids
        .iter()
        .enumerate()
        .flat_map(|(row, &id)| (i64::from(id) - row as i64).to_le_bytes());
    let mask = draft
        .rows(vocabulary_size)
        .iter()
        .map(|row| u8::from(row.is_some()))
        .collect();
    let d2t = Stored::Bytes {
        dtype: Dtype::I64,
        shape: [ids.len()],
        data: offsets.collect(),
    };
    let t2d = Stored::Bytes {
        dtype: Dtype::BOOL,
        shape: [vocabulary_size],
        data: mask,
    };
    [("d2t".to_owned(), d2t), ("t2d".to_owned(), t2d)]
}

//! A decoder laid out for streaming.

use std::path::Path;

use rayon::prelude::*;

use super::{
    arch::arena::Arena,
    cache::{KvCache, KvFormat},
    layer::Layer,
    matrix::{Layout, Matrix, WeightFormat},
};
use crate::{
    checkpoint::{Checkpoint, DraftVocabulary},
    config::DecoderConfig,
    error::ModelError,
    import::tensors::{self, Tensors, whole},
};

/// A decoder on the CPU. Weights only: sequences live in [`KvCache`]s.
///
/// ```no_run
/// use fastdraft_model::engine::cpu::{CpuModel, Segment, WeightFormat, Workspace};
/// let file = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// let model = CpuModel::load(file.as_ref(), WeightFormat::Gguf)?;
/// let mut cache = model.cache(256);
/// let mut logits = Vec::new();
/// let segment = Segment { cache: &mut cache, tokens: &[504, 3575, 282], outputs: 1 };
/// model.forward(&mut [segment], &mut Workspace::new(), &mut logits)?;
/// assert_eq!(logits.len(), model.config().head_size);
/// # Ok::<(), fastdraft_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct CpuModel {
    pub(super) config: DecoderConfig,
    pub(super) embedding: Matrix,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    head: Option<Matrix>,
    kv_format: KvFormat,
    draft_vocabulary: Option<DraftVocabulary>,
}

impl CpuModel {
    /// Lays a checkpoint out in `format`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] or [`ModelError::ShapeMismatch`].
    pub fn new(checkpoint: &Checkpoint, format: WeightFormat) -> Result<Self, ModelError> {
        Self::build(checkpoint, format)
    }

    /// Lays out the model of a GGUF file or a Hugging Face directory in `format`. Tensors are read
    /// one at a time and large ones in pieces, so that memory holds the weights once.
    ///
    /// # Errors
    /// Those of [`import::load`](crate::import::load).
    pub fn load(path: &Path, format: WeightFormat) -> Result<Self, ModelError> {
        Self::build(&*tensors::open(path)?, format)
    }

    fn build(tensors: &dyn Tensors, format: WeightFormat) -> Result<Self, ModelError> {
        let config = tensors.config();
        let hidden = config.hidden_size;
        let memory = &Arena::default();
        let vocabulary_layout = Layout {
            format: match format {
                WeightFormat::Int4 => WeightFormat::Int8,
                format => format,
            },
            memory,
        };
        let layout = Layout { format, memory };
        let matrix = |name: &str, rows: usize| {
            let part = (name.to_owned(), rows);
            Matrix::load(tensors, &[part], hidden, None, vocabulary_layout)
        };
        Ok(Self {
            embedding: matrix("model.embed_tokens.weight", config.vocabulary_size)?,
            head: if config.tied {
                None
            } else {
                Some(matrix("lm_head.weight", config.head_size)?)
            },
            layers: (0..config.layers)
                .into_par_iter()
                .map(|index| Layer::load(tensors, index, layout))
                .collect::<Result<_, _>>()?,
            kv_format: match format {
                WeightFormat::F32 => KvFormat::F32,
                _ => KvFormat::F16,
            },
            norm: whole(tensors, "model.norm.weight", &[hidden])?,
            config: config.clone(),
            draft_vocabulary: tensors.draft_vocabulary().cloned(),
        })
    }

    /// Shape and constants.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The target tokens a trimmed head covers.
    #[must_use]
    pub fn draft_vocabulary(&self) -> Option<&DraftVocabulary> {
        self.draft_vocabulary.as_ref()
    }

    /// An empty cache of `capacity` tokens, in half precision unless the format is [`WeightFormat::F32`].
    #[must_use]
    pub fn cache(&self, capacity: usize) -> KvCache {
        KvCache::new(&self.config, capacity, self.kv_format)
    }

    /// Bytes of weights one pass streams.
    #[must_use]
    pub fn bytes_per_pass(&self) -> usize {
        self.layers.iter().map(Layer::bytes).sum::<usize>() + self.head().bytes()
    }

    pub(super) fn head(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

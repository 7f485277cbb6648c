//! A decoder laid out for streaming.

use super::{
    cache::KvCache,
    layer::Layer,
    matrix::{Matrix, WeightFormat},
};
use crate::{
    checkpoint::{Checkpoint, DraftVocabulary},
    config::DecoderConfig,
    error::ModelError,
};

/// A decoder on the CPU. Weights only: sequences live in [`KvCache`]s.
///
/// ```no_run
/// use fastdraft_model::{engine::cpu::{CpuModel, Segment, WeightFormat, Workspace}, import};
/// let checkpoint = import::load("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref())?;
/// let model = CpuModel::new(&checkpoint, WeightFormat::F32)?;
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
    draft_vocabulary: Option<DraftVocabulary>,
}

impl CpuModel {
    /// Lays a checkpoint out in `format`.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] or [`ModelError::ShapeMismatch`].
    pub fn new(checkpoint: &Checkpoint, format: WeightFormat) -> Result<Self, ModelError> {
        let (config, weights) = (&checkpoint.config, &checkpoint.weights);
        let hidden = config.hidden_size;
        let embedding = weights.get(
            "model.embed_tokens.weight",
            &[config.vocabulary_size, hidden],
        )?;
        let head = if config.tied {
            None
        } else {
            let head = weights.get("lm_head.weight", &[config.head_size, hidden])?;
            Some(Matrix::new(&head.data, hidden, None, format))
        };
        Ok(Self {
            embedding: Matrix::new(&embedding.data, hidden, None, format),
            layers: (0..config.layers)
                .map(|index| Layer::load(weights, config, index, format))
                .collect::<Result<_, _>>()?,
            norm: weights.get("model.norm.weight", &[hidden])?.data.clone(),
            head,
            config: config.clone(),
            draft_vocabulary: checkpoint.draft_vocabulary.clone(),
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

    /// An empty cache of `capacity` tokens.
    #[must_use]
    pub fn cache(&self, capacity: usize) -> KvCache {
        KvCache::new(&self.config, capacity)
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

//! Passes of one sequence.

use burn::tensor::Tensor;

use super::{cache::KvCache, pass::Segment};
use crate::{
    decoder::Decoder,
    engine::batch::{Part, Passes},
    error::ModelError,
};

/// A decoder with the logits of its last pass.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) decoder: Decoder,
    logits: Vec<f32>,
}

impl Runner {
    pub(super) fn new(decoder: Decoder) -> Self {
        Self {
            decoder,
            logits: Vec::new(),
        }
    }
}

impl Passes for Runner {
    type Cache = KvCache;
    const PREFILL: usize = 256;

    fn empty(&mut self, _slot: usize, capacity: usize) -> KvCache {
        let device = self.decoder.norm.gamma.val().device();
        KvCache::new(self.decoder.config(), capacity, &device)
    }

    fn prefill(&mut self, cache: &mut KvCache, tokens: &[u32]) -> Result<(), ModelError> {
        let outputs = 0;
        let segment = Segment {
            cache,
            tokens,
            outputs,
        };
        self.decoder.extend(&mut [segment]).map(drop)
    }

    fn pass(&mut self, parts: Vec<Part<'_, KvCache>>) -> Result<(), ModelError> {
        let mut segments: Vec<Segment<'_>> = (parts.into_iter())
            .map(|part| Segment {
                cache: part.cache,
                tokens: part.tokens,
                outputs: part.outputs,
            })
            .collect();
        self.logits = to_host(self.decoder.forward_segments(&mut segments)?)?;
        Ok(())
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }

    fn head_size(&self) -> usize {
        self.decoder.config().head_size
    }
}

pub(super) fn to_host(logits: Tensor<2>) -> Result<Vec<f32>, ModelError> {
    (logits.into_data().convert::<f32>())
        .try_into_vec()
        .map_err(|error| ModelError::InvalidPass {
            reason: format!("logits: {error:?}"),
        })
}

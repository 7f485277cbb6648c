//! One forward pass over the new tokens of one or more sequences.

use super::{awake, cache::KvCache, model::CpuModel, ops, workspace::Workspace};
use crate::error::ModelError;

/// Bytes of weights, once for every token, above which gathering the threads of a pass costs less
/// than waking them again and again.
const LONG: usize = 1 << 26;

/// The part of a pass that belongs to one sequence.
#[derive(Debug)]
pub struct Segment<'a> {
    /// The sequence's cache; the new tokens follow what it holds.
    pub cache: &'a mut KvCache,
    /// New tokens, at least one.
    pub tokens: &'a [u32],
    /// Logits are computed for this many of the last new tokens.
    pub outputs: usize,
}

impl CpuModel {
    /// Runs the new tokens of every segment through the model in one stream over the weights and
    /// appends them to their caches. `logits` receives `[Σ outputs, head_size]`.
    ///
    /// # Errors
    /// [`ModelError::InvalidPass`] for a segment without tokens or with more outputs than
    /// tokens, [`ModelError::TokenOutOfRange`], [`ModelError::ContextOverflow`]. The caches are
    /// untouched on error.
    pub fn forward(
        &self,
        segments: &mut [Segment<'_>],
        work: &mut Workspace,
        logits: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        self.check(segments)?;
        let tokens: usize = segments.iter().map(|segment| segment.tokens.len()).sum();
        if tokens * self.bytes_per_pass() < LONG {
            // From inside the pool a product costs no wake-up of this thread.
            rayon::scope(|_| self.run(segments, work, logits));
        } else {
            awake::during(|| self.run(segments, work, logits));
        }
        Ok(())
    }

    fn run(&self, segments: &mut [Segment<'_>], work: &mut Workspace, logits: &mut Vec<f32>) {
        let config = &self.config;
        let hidden = config.hidden_size;
        let total: usize = segments.iter().map(|s| s.tokens.len()).sum();

        work.hidden.resize(total * hidden, 0.0);
        work.cos.clear();
        work.sin.clear();
        let mut row = 0;
        for segment in segments.iter() {
            for (i, token) in segment.tokens.iter().enumerate() {
                let slot = &mut work.hidden[row * hidden..(row + 1) * hidden];
                self.embedding.read_row(*token as usize, slot);
                row += 1;
                let position = (segment.cache.len() + i) as f32;
                let rotary = &segment.cache.rotary;
                for frequency in &rotary.frequencies {
                    let (sin, cos) = (position * frequency).sin_cos();
                    work.cos.push(cos * rotary.attention_factor);
                    work.sin.push(sin * rotary.attention_factor);
                }
            }
        }
        for (index, layer) in self.layers.iter().enumerate() {
            layer.forward(config, index, segments, work);
        }

        let outputs: usize = segments.iter().map(|s| s.outputs).sum();
        work.selected.resize(outputs * hidden, 0.0);
        let (mut start, mut to) = (0, 0);
        for segment in segments.iter_mut() {
            let end = start + segment.tokens.len();
            let from = (end - segment.outputs) * hidden;
            let count = segment.outputs * hidden;
            work.selected[to..to + count].copy_from_slice(&work.hidden[from..from + count]);
            to += count;
            start = end;
            segment.cache.advance(segment.tokens.len());
        }
        logits.resize(outputs * self.head().rows(), 0.0);
        if outputs > 0 {
            work.normed.resize(outputs * hidden);
            ops::rms_norm(
                &work.selected,
                &self.norm,
                config.norm_epsilon,
                &mut work.normed,
            );
            self.head()
                .apply(&work.normed[..outputs * hidden], logits, &mut work.scratch);
        }
    }

    fn check(&self, segments: &[Segment<'_>]) -> Result<(), ModelError> {
        if segments.is_empty() {
            return Err(ModelError::InvalidPass {
                reason: "no segment".into(),
            });
        }
        for segment in segments {
            if segment.tokens.is_empty() || segment.outputs > segment.tokens.len() {
                return Err(ModelError::InvalidPass {
                    reason: format!(
                        "{} tokens, {} outputs in a segment",
                        segment.tokens.len(),
                        segment.outputs
                    ),
                });
            }
            segment.cache.reserve(segment.tokens.len())?;
            let vocabulary_size = self.config.vocabulary_size;
            if let Some(&id) = segment
                .tokens
                .iter()
                .find(|id| **id as usize >= vocabulary_size)
            {
                return Err(ModelError::TokenOutOfRange {
                    id,
                    vocabulary_size,
                });
            }
        }
        Ok(())
    }
}

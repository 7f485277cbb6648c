//! Timing passes of the CPU engine.

use std::time::Instant;

use fastdraft_model::{
    ModelError,
    engine::cpu::{CpuModel, Segment, Workspace},
};

/// Largest pass that scores all its tokens.
const PROPOSAL: usize = 16;

/// How passes are timed.
#[derive(Debug, Clone, Copy)]
pub struct Passes {
    /// Tokens in the KV cache before the pass.
    pub context: usize,
    /// Passes of each size, after one that sizes the buffers.
    pub repeats: usize,
}

impl Passes {
    /// Median seconds of a pass of each size. Sizes take turns, so that a slow spell of the machine
    /// meets them all.
    ///
    /// # Errors
    /// [`ModelError::InvalidPass`] for a pass of no tokens.
    pub fn seconds(self, model: &CpuModel, tokens: &[usize]) -> Result<Vec<f64>, ModelError> {
        let largest = tokens.iter().copied().max().unwrap_or(1);
        let vocabulary = model.config().vocabulary_size as u32;
        let ids: Vec<u32> = (0..largest.max(self.context) as u32)
            .map(|i| (i * 37 + 100) % vocabulary)
            .collect();
        let (mut work, mut logits) = (Workspace::new(), Vec::new());
        let mut cache = model.cache(self.context + largest);
        if self.context > 0 {
            let segment = Segment {
                cache: &mut cache,
                tokens: &ids[..self.context],
                outputs: 1,
            };
            model.forward(&mut [segment], &mut work, &mut logits)?;
        }
        let mut times = vec![Vec::with_capacity(self.repeats); tokens.len()];
        for round in 0..=self.repeats {
            for (count, times) in tokens.iter().zip(&mut times) {
                cache.truncate(self.context);
                let start = Instant::now();
                let segment = Segment {
                    cache: &mut cache,
                    tokens: &ids[..*count],
                    // More than a proposal's worth of tokens is prefill.
                    outputs: if *count > PROPOSAL { 1 } else { *count },
                };
                model.forward(&mut [segment], &mut work, &mut logits)?;
                if round > 0 {
                    times.push(start.elapsed().as_secs_f64());
                }
            }
        }
        Ok(times.into_iter().map(median).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! Timing passes of the CPU engine.

use std::time::Instant;

use fastdraft_model::{
    ModelError,
    engine::cpu::{CpuModel, KvCache, Segment, Workspace},
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
        let mut measured = Measured::new(model, self.context, largest)?;
        let mut times = vec![Vec::with_capacity(self.repeats); tokens.len()];
        for round in 0..=self.repeats {
            for (count, times) in tokens.iter().zip(&mut times) {
                let seconds = measured.pass(*count)?;
                if round > 0 {
                    times.push(seconds);
                }
            }
        }
        Ok(times.into_iter().map(median).collect())
    }

    /// Median seconds of the first draft token and of a later one, drafted in turns with passes of the
    /// target over γ + 1 tokens, as when decoding: between them the target's weights go through the
    /// processor's caches.
    ///
    /// # Errors
    /// Those of a pass.
    pub fn draft_seconds(
        self,
        target: &CpuModel,
        draft: &CpuModel,
        gamma: usize,
    ) -> Result<(f64, f64), ModelError> {
        let mut target = Measured::new(target, self.context, gamma + 1)?;
        let mut draft = Measured::new(draft, self.context, 1)?;
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for round in 0..=self.repeats {
            target.pass(gamma + 1)?;
            for token in 0..gamma {
                let seconds = draft.pass(1)?;
                if round > 0 {
                    if token == 0 { &mut first } else { &mut later }.push(seconds);
                }
            }
        }
        Ok((median(first), median(later)))
    }
}

/// A model behind some tokens.
struct Measured<'a> {
    model: &'a CpuModel,
    ids: Vec<u32>,
    context: usize,
    cache: KvCache,
    work: Workspace,
    logits: Vec<f32>,
}

impl<'a> Measured<'a> {
    fn new(model: &'a CpuModel, context: usize, largest: usize) -> Result<Self, ModelError> {
        let vocabulary = model.config().vocabulary_size as u32;
        let mut measured = Self {
            model,
            ids: (0..largest.max(context) as u32)
                .map(|i| (i * 37 + 100) % vocabulary)
                .collect(),
            context: 0,
            cache: model.cache(context + largest),
            work: Workspace::new(),
            logits: Vec::new(),
        };
        if context > 0 {
            measured.run(context, 1)?;
        }
        measured.context = context;
        Ok(measured)
    }

    /// Seconds of a pass over `count` tokens behind the context; more than a proposal's worth of
    /// them is prefill.
    fn pass(&mut self, count: usize) -> Result<f64, ModelError> {
        self.cache.truncate(self.context);
        let start = Instant::now();
        self.run(count, if count > PROPOSAL { 1 } else { count })?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn run(&mut self, count: usize, outputs: usize) -> Result<(), ModelError> {
        let segment = Segment {
            cache: &mut self.cache,
            tokens: &self.ids[..count],
            outputs,
        };
        (self.model).forward(&mut [segment], &mut self.work, &mut self.logits)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! The training loop.

use std::time::Instant;

use burn::{
    module::Module,
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::Device,
};
use fastdraft_data::{MixtureLoader, PackedTokens};
use fastdraft_model::{Checkpoint, DraftVocabulary, decoder::Decoder};
use serde::Serialize;

use super::Budget;
use crate::{
    error::TrainError,
    loss::cross_entropy::{Row, cross_entropy},
    optim::{clip::clip_global_norm, schedule::Schedule},
    progress::Progress,
};

/// One stage.
#[derive(Debug, Clone)]
pub struct StageConfig {
    /// Shown and reported: `PT`, `CP`, `FT`.
    pub name: String,
    /// When it ends.
    pub budget: Budget,
    /// Learning rate over the stage.
    pub schedule: Schedule,
    /// Rows of a step.
    pub batch: usize,
    /// Largest joint norm of the gradients.
    pub clip: f32,
    /// Order of the rows.
    pub seed: u64,
}

/// What a stage did.
#[derive(Debug, Clone, Serialize)]
pub struct StageReport {
    /// Name of the stage.
    pub stage: String,
    /// Optimizer steps.
    pub steps: usize,
    /// Input tokens seen.
    pub tokens: usize,
    /// Wall clock.
    pub seconds: f64,
    /// Mean loss of the first tenth of the steps, in nats a token.
    pub first_loss: f32,
    /// Mean loss of the last tenth of the steps, in nats a token.
    pub last_loss: f32,
}

/// A draft in training. Optimizer moments start anew with every stage, weights carry over.
pub struct Trainer {
    decoder: Decoder,
    vocabulary: Option<DraftVocabulary>,
    head_rows: Option<Vec<Option<u32>>>,
}

impl Trainer {
    /// Puts a draft on a device for training; the embedding can be kept as it is.
    ///
    /// # Errors
    /// [`TrainError::Model`] for a checkpoint that does not fit its configuration.
    pub fn new(
        draft: &Checkpoint,
        device: &Device,
        freeze_embedding: bool,
    ) -> Result<Self, TrainError> {
        let mut decoder = Decoder::from_checkpoint(draft, &device.clone().autodiff())?;
        if freeze_embedding {
            decoder.embed_tokens = decoder.embed_tokens.no_grad();
        }
        let head_rows = draft
            .draft_vocabulary
            .as_ref()
            .map(|v| v.rows(draft.config.vocabulary_size));
        Ok(Self {
            decoder,
            vocabulary: draft.draft_vocabulary.clone(),
            head_rows,
        })
    }

    /// The draft as it is now.
    ///
    /// # Errors
    /// [`TrainError::Model`] when the device cannot hand the weights over.
    pub fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        Ok(self.decoder.to_checkpoint(self.vocabulary.clone())?)
    }

    /// Trains on a mixture: each source with its weight, in rows.
    ///
    /// # Errors
    /// [`TrainError::Empty`] without rows, [`TrainError::Diverged`] when the loss is not finite.
    pub fn run(
        &mut self,
        config: &StageConfig,
        sources: &[(&PackedTokens, u32)],
        progress: &mut Progress,
    ) -> Result<StageReport, TrainError> {
        let rows: Vec<usize> = sources.iter().map(|(packed, _)| packed.rows()).collect();
        let weights: Vec<u32> = sources.iter().map(|(_, weight)| *weight).collect();
        let loader = MixtureLoader::new(&rows, &weights, config.batch, config.seed)?;
        let mut optimizer: ModuleOptimizer = AdamWConfig::new()
            .with_beta_2(0.95)
            .with_epsilon(1e-8)
            .with_weight_decay(0.0)
            .init();
        let start = Instant::now();
        let (mut losses, mut tokens, mut step) = (Vec::new(), 0, 0);
        loop {
            let done = config.budget.spent(start, step);
            if done >= 1.0 {
                break;
            }
            let batch: Vec<Row<'_>> = loader
                .batch(step)
                .into_iter()
                .map(|(source, row)| {
                    let (ids, mask) = sources[source].0.row(row);
                    Row { ids, mask }
                })
                .collect();
            tokens += batch.iter().map(|row| row.ids.len() - 1).sum::<usize>();
            if let Some(loss) = self.step(config, &batch, done, &mut optimizer) {
                if !loss.is_finite() {
                    return Err(TrainError::Diverged {
                        stage: config.name.clone(),
                        step,
                        loss,
                    });
                }
                losses.push(loss);
                let rate = tokens as f64 / start.elapsed().as_secs_f64();
                progress.set(done, &format!("loss {loss:.3}  {rate:.0} tok/s"));
            }
            step += 1;
        }
        if losses.is_empty() {
            return Err(TrainError::Empty {
                what: format!("the trained part of the data of stage {}", config.name),
            });
        }
        let tenth = (losses.len() / 10).max(1);
        let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
        Ok(StageReport {
            stage: config.name.clone(),
            steps: step,
            tokens,
            seconds: start.elapsed().as_secs_f64(),
            first_loss: mean(&losses[..tenth]),
            last_loss: mean(&losses[losses.len() - tenth..]),
        })
    }

    /// One optimizer step; `None` when no position of the batch is trained.
    fn step(
        &mut self,
        config: &StageConfig,
        batch: &[Row<'_>],
        done: f64,
        optimizer: &mut ModuleOptimizer,
    ) -> Option<f32> {
        let (loss, _) = cross_entropy(&self.decoder, batch, self.head_rows.as_deref())?;
        let value = loss.clone().into_scalar::<f32>();
        if value.is_finite() {
            let mut gradients = GradientsParams::from_grads(loss.backward(), &self.decoder);
            clip_global_norm(&self.decoder, &mut gradients, config.clip);
            let rate = config.schedule.at(done);
            self.decoder = optimizer.step(rate, self.decoder.clone(), gradients);
        }
        Some(value)
    }
}

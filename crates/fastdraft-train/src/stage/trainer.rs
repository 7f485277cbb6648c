//! The training loop.

use std::{ops::ControlFlow, path::Path, time::Instant};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use fastdraft_data::MixtureLoader;
use fastdraft_hw::is_cpu;
use fastdraft_model::{Checkpoint, DraftVocabulary, decoder::Decoder, export};

use super::{
    Engine, Freeze, Observer, Precision, Snapshot, Source, StageConfig, StageReport, StageState,
    Step,
};
use crate::{
    checkpoint::tensors,
    error::TrainError,
    loss::{
        Batch, Objective, Row, Workspace, checkpointed, fused_all, gradients, logits, plain_of,
    },
    optim::AdamW,
    progress::Progress,
    spans,
};

/// A draft in training. Optimizer moments start anew with every stage, weights carry over.
pub struct Trainer {
    decoder: Decoder,
    vocabulary: Option<DraftVocabulary>,
    head_rows: Option<Vec<Option<u32>>>,
    on_host: bool,
    objective: Option<Box<dyn Objective>>,
}

impl Trainer {
    /// Puts a draft on a device for training; `freeze` names what stays as it is.
    ///
    /// # Errors
    /// [`TrainError::Model`] for a checkpoint that does not fit its configuration.
    pub fn new(draft: &Checkpoint, device: &Device, freeze: Freeze) -> Result<Self, TrainError> {
        let mut decoder = Decoder::from_checkpoint(draft, &device.clone().autodiff())?;
        if freeze.embedding {
            decoder.embed_tokens = decoder.embed_tokens.no_grad();
        }
        if freeze.head {
            decoder.lm_head = decoder.lm_head.map(Module::no_grad);
        }
        let head_rows = draft
            .draft_vocabulary
            .as_ref()
            .map(|v| v.rows(draft.config.vocabulary_size));
        Ok(Self {
            decoder,
            vocabulary: draft.draft_vocabulary.clone(),
            head_rows,
            on_host: is_cpu(device),
            objective: None,
        })
    }

    /// Minimises `objective` instead of the loss of the stages. What a [`Batch`] carries still
    /// follows from that loss: probabilities with one that needs them, labels with one that has
    /// cross-entropy.
    #[must_use]
    pub fn with_objective(mut self, objective: impl Objective + 'static) -> Self {
        self.objective = Some(Box::new(objective));
        self
    }

    /// The draft as it is now.
    ///
    /// # Errors
    /// [`TrainError::Model`] when the device cannot hand the weights over.
    pub fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        Ok(self.decoder.to_checkpoint(self.vocabulary.clone())?)
    }

    /// Trains on a mixture: each source with its weight, in rows. The weights stay as they were
    /// when it fails.
    ///
    /// # Errors
    /// [`TrainError::Empty`] without rows, [`TrainError::Teacher`] when the loss needs
    /// probabilities that a source lacks, [`TrainError::Engine`] for live teacher logits or a
    /// precision other than float32, [`TrainError::Diverged`] when the loss is not finite,
    /// [`TrainError::Step`] with [`TrainError::Gradient`] when a gradient is not.
    pub fn run<'a, S: Into<Source<'a>> + Copy>(
        &mut self,
        config: &StageConfig,
        sources: &[S],
        progress: &mut Progress,
    ) -> Result<StageReport, TrainError> {
        let mut show = |step: &Step<'_>| {
            if let Some(loss) = step.loss {
                let rate = step.state.tokens as f64 / step.state.seconds.max(1e-9);
                progress.set(step.done, &format!("loss {loss:.3}  {rate:.0} tok/s"));
            }
            Ok(ControlFlow::Continue(()))
        };
        let state = self.run_from(config, sources, StageState::default(), &mut show)?;
        state.report(&config.name)
    }

    /// Trains on from a state; `observe` sees every step and can end the stage. Equal weights,
    /// state and data give equal losses and weights, to the bit on one machine's CPU.
    ///
    /// # Errors
    /// As [`run`](Self::run), and what `observe` returns.
    pub fn run_from<'a, S: Into<Source<'a>> + Copy>(
        &mut self,
        config: &StageConfig,
        sources: &[S],
        mut state: StageState,
        observe: &mut Observer<'_>,
    ) -> Result<StageState, TrainError> {
        let sources: Vec<Source<'a>> = sources.iter().map(|source| (*source).into()).collect();
        if config.precision != Precision::Float32 {
            return Err(TrainError::Engine {
                reason: format!(
                    "stage {} wants {:?}, and the Burn trainer has float32 alone; on the CPU Burn \
                     turns every product into float32 and back; the torch engine has it",
                    config.name, config.precision
                ),
            });
        }
        if config.has_live_teacher() {
            return Err(TrainError::Engine {
                reason: format!(
                    "stage {} wants live teacher logits, which the torch engine has; the Burn \
                     trainer takes recorded ones",
                    config.name
                ),
            });
        }
        let loader = loader(config, &sources)?;
        let mut optimizer =
            (state.optimizer.take()).unwrap_or_else(|| AdamW::new(config.optimizer));
        let mut decoder = self.decoder.clone();
        let mut workspace = Workspace::default();
        let (start, before) = (Instant::now(), state.seconds);
        let _stage = spans::stage(&config.name);
        loop {
            let done = config.budget.spent(&state);
            if done >= 1.0 {
                state.optimizer = (optimizer.steps() > 0).then_some(optimizer);
                break;
            }
            let _step = spans::step(state.step);
            let rows: Vec<Row<'_>> = (loader.batch(state.step).into_iter())
                .map(|(source, row)| sources[source].row(row))
                .collect();
            let rate = config.schedule.at(done);
            let batch = Batch::new(&rows, self.head_rows.as_deref(), config.loss);
            let (mut loss, mut norm) = (None, None);
            if let Some(batch) = batch {
                let at = |source| at_step(config, &state, source);
                let (value, gradients) = self
                    .backward(&decoder, batch, config, &mut workspace)
                    .map_err(at)?;
                if !value.is_finite() {
                    return Err(TrainError::Diverged {
                        stage: config.name.clone(),
                        step: state.step,
                        loss: value,
                    });
                }
                let (moved, length) = optimizer
                    .step_with(decoder, gradients, rate, config.clip, |gradient| {
                        workspace.memory.give(gradient);
                    })
                    .map_err(at)?;
                decoder = moved;
                (loss, norm) = (Some(value), Some(length));
                state.losses.push(value);
            }
            state.tokens += rows.iter().map(|row| row.ids.len() - 1).sum::<usize>();
            state.step += 1;
            state.seconds = before + start.elapsed().as_secs_f64();
            state.optimizer = Some(optimizer);
            let held = Held {
                decoder: &decoder,
                vocabulary: self.vocabulary.as_ref(),
            };
            let step = Step {
                loss,
                norm,
                rate,
                done,
                state: &state,
                weights: &held,
            };
            let next = observe(&step)?;
            if next.is_break() {
                break;
            }
            optimizer = (state.optimizer.take()).unwrap_or_default();
        }
        self.decoder = decoder;
        Ok(state)
    }

    fn backward(
        &self,
        decoder: &Decoder,
        batch: Batch,
        config: &StageConfig,
        workspace: &mut Workspace,
    ) -> Result<(f32, GradientsParams), TrainError> {
        let whole = batch.trained();
        let parts = batch.split(config.batch);
        if self.on_host && self.objective.is_none() {
            let checkpointing = config.gradient_checkpointing;
            let (loss, sums) = fused_all(decoder, &parts, checkpointing, workspace)?;
            // Where the optimizer takes them, whatever holds the weights.
            return Ok((loss, sums.into_gradients(&Device::flex())));
        }
        let (mut total, mut sum) = (0.0, GradientsParams::new());
        for part in &parts {
            let share = part.trained() as f64 / whole as f64;
            let loss = |logits: Tensor<2>| match &self.objective {
                Some(objective) => objective.loss(logits, part).mul_scalar(share),
                None => plain_of(logits, part),
            };
            let (value, found) = if config.gradient_checkpointing {
                checkpointed(decoder, part, loss)
            } else {
                let loss = loss(logits(decoder, part));
                let value = loss.clone().into_scalar::<f32>();
                (value, GradientsParams::from_grads(loss.backward(), decoder))
            };
            total += value;
            gradients::add(decoder, &mut sum, found);
        }
        Ok((total, sum))
    }
}

impl Engine for Trainer {
    fn run_stage(
        &mut self,
        config: &StageConfig,
        sources: &[Source<'_>],
        state: StageState,
        observe: &mut Observer<'_>,
    ) -> Result<StageState, TrainError> {
        self.run_from(config, sources, state, observe)
    }

    fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        Self::checkpoint(self)
    }
}

/// Weights of this process.
struct Held<'a> {
    decoder: &'a Decoder,
    vocabulary: Option<&'a DraftVocabulary>,
}

impl Snapshot for Held<'_> {
    fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        Ok(self.decoder.to_checkpoint(self.vocabulary.cloned())?)
    }

    fn save(&self, folder: &Path, state: &StageState) -> Result<Option<u32>, TrainError> {
        export::hf::save(folder, &self.checkpoint()?)?;
        tensors::write(&folder.join("moments.safetensors"), state)?;
        Ok(state.optimizer.as_ref().map(AdamW::steps))
    }
}

/// The order of the rows of a stage.
///
/// # Errors
/// [`TrainError::Teacher`] when the loss needs probabilities that a source lacks,
/// [`TrainError::Data`] for an unusable mixture.
pub(crate) fn loader(
    config: &StageConfig,
    sources: &[Source<'_>],
) -> Result<MixtureLoader, TrainError> {
    let taught = config.has_live_teacher()
        || (sources.iter()).all(|source| source.is_taught() || source.weight() == 0);
    if config.loss.needs_teacher() && !taught {
        return Err(TrainError::Teacher {
            reason: format!(
                "stage {} has the loss {:?}, but a source without probabilities",
                config.name, config.loss
            ),
        });
    }
    let rows: Vec<usize> = sources.iter().map(Source::rows).collect();
    let weights: Vec<u32> = sources.iter().map(Source::weight).collect();
    Ok(MixtureLoader::new(
        &rows,
        &weights,
        config.rows(),
        config.seed,
    )?)
}

fn at_step(config: &StageConfig, state: &StageState, source: TrainError) -> TrainError {
    TrainError::Step {
        stage: config.name.clone(),
        step: state.step,
        source: Box::new(source),
    }
}

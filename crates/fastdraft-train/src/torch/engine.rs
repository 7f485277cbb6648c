//! Stages run by the worker.

use std::{cell::RefCell, fs, path::Path, time::Instant};

use fastdraft_model::{Checkpoint, import};

use super::{
    TorchConfig,
    event::{Event, Order},
    files,
    handover::{RunFolder, Start},
    process::{Failure, Worker},
    python,
};
use crate::{
    checkpoint::tensors,
    error::TrainError,
    optim::AdamW,
    spans,
    stage::Freeze,
    stage::{Engine, Observer, Snapshot, Source, StageConfig, StageState, Step, loader},
};

/// Trains a draft in PyTorch, in other processes.
#[derive(Debug)]
pub struct TorchEngine {
    draft: Checkpoint,
    freeze: Freeze,
    config: TorchConfig,
    teacher: Option<Checkpoint>,
}

impl TorchEngine {
    /// A draft to be trained; `freeze` names what stays as it is.
    ///
    /// # Errors
    /// [`TrainError::Python`] when the interpreter is missing, lacks torch, has too old a one, or
    /// sees no such device; [`TrainError::Engine`] without ranks.
    pub fn new(draft: Checkpoint, freeze: Freeze, config: TorchConfig) -> Result<Self, TrainError> {
        if config.world() == 0 {
            return Err(TrainError::Engine {
                reason: "there must be at least one rank".into(),
            });
        }
        let folder =
            tempfile::tempdir().map_err(|error| files::io(&std::env::temp_dir(), error))?;
        let program = files::write(folder.path())?;
        python::check(&config.python, &program, config.device)?;
        Ok(Self {
            draft,
            freeze,
            config,
            teacher: None,
        })
    }

    /// With the target, which stages with [live teacher logits](crate::stage::TeacherLogits::Live) need. Every
    /// rank has a copy on its device, in the precision of the stage.
    #[must_use]
    pub fn with_teacher(mut self, target: Checkpoint) -> Self {
        self.teacher = Some(target);
        self
    }

    fn check(&self, stage: &StageConfig, sources: &[Source<'_>]) -> Result<(), TrainError> {
        loader(stage, sources)?;
        if stage.has_live_teacher() && self.teacher.is_none() {
            return Err(TrainError::Teacher {
                reason: format!(
                    "stage {} has live teacher logits, but the engine was given no target",
                    stage.name
                ),
            });
        }
        let world = self.config.world();
        if world > stage.rows() {
            return Err(TrainError::Engine {
                reason: format!(
                    "stage {} has {} rows a step, too few for {world} ranks",
                    stage.name,
                    stage.rows()
                ),
            });
        }
        Ok(())
    }
}

impl Engine for TorchEngine {
    fn run_stage(
        &mut self,
        stage: &StageConfig,
        sources: &[Source<'_>],
        mut state: StageState,
        observe: &mut Observer<'_>,
    ) -> Result<StageState, TrainError> {
        self.check(stage, sources)?;
        let folder = RunFolder::new(&self.config, &stage.name)?;
        let start = Start {
            draft: &self.draft,
            freeze: self.freeze,
            stage,
            sources,
            state: &state,
            teacher: self.teacher.as_ref().filter(|_| stage.has_live_teacher()),
        };
        let seq = start.sequence_length()?;
        start.write(folder.path(), &self.config)?;
        let program = files::write(folder.path())?;
        let worker = Worker::start(&self.config, &program.join("main.py"), folder.path())?;
        let remote = Remote {
            worker: RefCell::new(worker),
            draft: &self.draft,
            stage: &stage.name,
        };
        // The worker has them now.
        state.optimizer = None;
        remote.ready(state.step)?;
        let (begun, before) = (Instant::now(), state.seconds);
        let _stage = spans::stage(&stage.name);
        loop {
            let done = stage.budget.spent(&state);
            if done >= 1.0 {
                break;
            }
            let _step = spans::step(state.step);
            let rate = stage.schedule.at(done);
            let (loss, norm) = remote.step(state.step, rate)?;
            state.losses.extend(loss);
            state.step += 1;
            state.tokens += stage.rows() * seq;
            state.seconds = before + begun.elapsed().as_secs_f64();
            let step = Step {
                loss,
                norm,
                rate,
                done,
                state: &state,
                weights: &remote,
            };
            if observe(&step)?.is_break() {
                break;
            }
        }
        let ended = folder.path().join("ended");
        fs::create_dir_all(&ended).map_err(|source| files::io(&ended, source))?;
        let updates = remote.save(&ended, &state)?.unwrap_or_default();
        remote.worker.borrow_mut().stop();
        let (losses, moments) = tensors::read(&ended.join(MOMENTS))?;
        let trained = weights(&ended, &self.draft)?;
        self.draft = trained;
        state.losses = losses;
        state.optimizer = Some(AdamW::restore(stage.optimizer, updates, moments));
        Ok(state)
    }

    fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        Ok(self.draft.clone())
    }
}

const MOMENTS: &str = "moments.safetensors";

/// The weights of a folder that the worker wrote, for a draft of the same shape.
fn weights(folder: &Path, draft: &Checkpoint) -> Result<Checkpoint, TrainError> {
    Ok(Checkpoint {
        weights: import::load(folder)?.weights,
        ..draft.clone()
    })
}

/// Weights that other processes hold.
struct Remote<'a> {
    worker: RefCell<Worker>,
    draft: &'a Checkpoint,
    stage: &'a str,
}

impl Remote<'_> {
    fn ready(&self, step: usize) -> Result<(), TrainError> {
        let event = self.worker.borrow_mut().next_event();
        match event.map_err(|failure| self.error(step, *failure))? {
            Event::Ready {} => Ok(()),
            other => Err(self.unexpected(step, &other)),
        }
    }

    /// Loss and gradient norm of a step, counted from 0.
    fn step(&self, step: usize, rate: f64) -> Result<(Option<f32>, Option<f32>), TrainError> {
        let event = self.worker.borrow_mut().ask(&Order::Step { rate });
        match event.map_err(|failure| self.error(step, *failure))? {
            Event::Step {
                step: done,
                loss,
                norm,
            } if done == step + 1 => Ok((loss, norm)),
            other => Err(self.unexpected(step, &other)),
        }
    }

    fn unexpected(&self, step: usize, event: &Event) -> TrainError {
        TrainError::Worker {
            stage: self.stage.to_owned(),
            step,
            reason: format!("the worker answered {event:?}"),
            tail: String::new(),
        }
    }

    fn error(&self, step: usize, failure: Failure) -> TrainError {
        let stage = self.stage.to_owned();
        if let Some(Event::Error {
            kind, loss, tensor, ..
        }) = &failure.event
        {
            if let ("diverged", Some(loss)) = (kind.as_str(), loss) {
                let loss = loss.parse().unwrap_or(f32::NAN);
                return TrainError::Diverged { stage, step, loss };
            }
            if let ("gradient", Some(tensor)) = (kind.as_str(), tensor) {
                let source = Box::new(TrainError::Gradient {
                    tensor: tensor.clone(),
                });
                return TrainError::Step {
                    stage,
                    step,
                    source,
                };
            }
        }
        TrainError::Worker {
            stage,
            step,
            reason: failure.reason,
            tail: failure.tail,
        }
    }
}

impl Snapshot for Remote<'_> {
    fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        let folder =
            tempfile::tempdir().map_err(|error| files::io(&std::env::temp_dir(), error))?;
        self.save(folder.path(), &StageState::default())?;
        weights(folder.path(), self.draft)
    }

    fn save(&self, folder: &Path, state: &StageState) -> Result<Option<u32>, TrainError> {
        // Rank 0 may run in another working directory.
        let folder = folder
            .canonicalize()
            .map_err(|error| files::io(folder, error))?;
        let order = Order::Save { folder: &folder };
        let event = self.worker.borrow_mut().ask(&order);
        match event.map_err(|failure| self.error(state.step, *failure))? {
            Event::Saved { updates } => Ok(Some(updates)),
            other => Err(self.unexpected(state.step, &other)),
        }
    }
}

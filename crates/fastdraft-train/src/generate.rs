//! The target answers: sequence-level distillation data, many sequences a pass.
//!
//! The paper's alignment stage (arXiv 2411.11055, section 3.3) needs no logits, only text that
//! the target itself wrote at several temperatures. Its probabilities cost nothing beyond that,
//! as every pass computes them anyway, so they can be recorded too.

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use burn::tensor::Device;
use fastdraft_data::{
    answers::Answer,
    teacher::{Request, Sampling, TargetTeacher, Teacher},
};
use fastdraft_model::{
    decoder::Decoder,
    engine::{
        burn::BurnBatch,
        cpu::{CpuBatch, CpuModel},
    },
};
use fastdraft_specdec::batch::BatchTarget;

use crate::{
    error::TrainError,
    progress::Progress,
    stage::Precision,
    target::TargetModel,
    teacher::SparseDistributions,
    torch::{TorchConfig, TorchTarget},
};

/// A prompt ready for the target.
#[derive(Debug, Clone)]
pub struct Question {
    /// Names the answer; with the seed it decides the sampling.
    pub id: String,
    /// The prompt as a person wrote it.
    pub prompt: String,
    /// Its token ids, chat template included.
    pub ids: Vec<u32>,
    /// 0 is greedy.
    pub temperature: f64,
}

/// How the target answers.
#[derive(Debug, Clone)]
pub struct GenerateConfig {
    /// Longest answer, in tokens.
    pub max_new_tokens: usize,
    /// Sequences that share a pass.
    pub batch: usize,
    /// Stop taking new tokens after this long; unfinished answers are kept as far as they go.
    pub limit: Option<Duration>,
    /// Of the sampling.
    pub seed: u64,
    /// Most probable tokens that are recorded for every token of an answer; 0 records none.
    pub top_k: usize,
    /// Where the target runs.
    pub place: Place,
    /// Type of matrix products, keys and values; [`Place::Torch`] has a choice, the others refuse
    /// any but float32.
    pub precision: Precision,
}

/// Where a target answers.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum Place {
    /// The CPU engine, with the target's weight format.
    #[default]
    Cpu,
    /// A Burn device, in float32.
    Burn(Device),
    /// PyTorch; there is no time limit then.
    Torch(TorchConfig),
}

/// A target where it answers.
pub(crate) enum Answerer {
    Cpu(Arc<CpuModel>),
    Burn(Box<Decoder>),
    Torch(Box<TorchTarget>),
}

impl Answerer {
    pub(crate) fn new(target: &TargetModel, place: &Place) -> Result<Self, TrainError> {
        Ok(match place {
            Place::Cpu => Self::Cpu(Arc::clone(&target.model)),
            Place::Burn(device) => {
                let decoder = Decoder::from_checkpoint(&target.checkpoint()?, device)?;
                Self::Burn(Box::new(decoder))
            }
            Place::Torch(config) => {
                let torch = TorchTarget::new(&target.checkpoint()?, config.clone())?;
                Self::Torch(Box::new(torch))
            }
        })
    }
}

/// An answer and what the target thought of each of its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct TaughtAnswer {
    /// The answer.
    pub answer: Answer,
    /// One position for each answer token, at temperature 1; none when nothing was recorded.
    pub teacher: SparseDistributions,
}

/// Answers of the target, in the order they end; `take` may break off. Every question is asked
/// once; with a time limit the last ones may not be. An answer depends on its question and the
/// seed alone, not on what shares its passes.
///
/// # Errors
/// [`TrainError::Empty`] without questions, [`TrainError::Decode`] for a prompt that cannot be
/// answered, and what `take` returns.
pub fn answer_each(
    target: &TargetModel,
    questions: &[Question],
    config: &GenerateConfig,
    progress: &mut Progress,
    take: impl FnMut(usize, TaughtAnswer) -> Result<ControlFlow<()>, TrainError>,
) -> Result<(), TrainError> {
    let answerer = Answerer::new(target, &config.place)?;
    answer_with(&answerer, target, questions, config, progress, take)
}

/// As [`answer_each`], with a target that is where it answers already.
pub(crate) fn answer_with(
    answerer: &Answerer,
    target: &TargetModel,
    questions: &[Question],
    config: &GenerateConfig,
    progress: &mut Progress,
    take: impl FnMut(usize, TaughtAnswer) -> Result<ControlFlow<()>, TrainError>,
) -> Result<(), TrainError> {
    let Some(longest) = questions.iter().map(|question| question.ids.len()).max() else {
        return Err(TrainError::Empty {
            what: "the list of questions".into(),
        });
    };
    if config.precision != Precision::Float32 && !matches!(answerer, Answerer::Torch(_)) {
        return Err(TrainError::Engine {
            reason: format!(
                "answers in {:?} need the torch engine; the others have a format of their own",
                config.precision
            ),
        });
    }
    let capacity = longest + config.max_new_tokens + 1;
    let fingerprint = target.tokenizer.fingerprint();
    match answerer {
        Answerer::Cpu(model) => {
            let batch = CpuBatch::new(Arc::clone(model), capacity, fingerprint);
            answer_all(batch, target, questions, config, progress, take)
        }
        Answerer::Burn(decoder) => {
            let batch = BurnBatch::new(Decoder::clone(decoder), capacity, fingerprint);
            answer_all(batch, target, questions, config, progress, take)
        }
        Answerer::Torch(torch) => answer_in_torch(torch, target, questions, config, progress, take),
    }
}

fn answer_in_torch(
    torch: &TorchTarget,
    target: &TargetModel,
    questions: &[Question],
    config: &GenerateConfig,
    progress: &mut Progress,
    mut take: impl FnMut(usize, TaughtAnswer) -> Result<ControlFlow<()>, TrainError>,
) -> Result<(), TrainError> {
    let seeds: Vec<u64> = (questions.iter())
        .map(|question| request(question, config).seed(config.seed))
        .collect();
    let (start, mut ended, mut tokens) = (Instant::now(), 0, 0);
    torch.answer(target, questions, &seeds, config, |index, answer| {
        ended += 1;
        tokens += answer.answer.answer_ids.len();
        let done = ended as f64 / questions.len() as f64;
        progress.set(done, &counts(ended, tokens, start));
        take(index, answer)
    })
}

fn request(question: &Question, config: &GenerateConfig) -> Request {
    Request {
        id: question.id.clone(),
        messages: Vec::new(),
        text: String::new(),
        ids: question.ids.clone(),
        sampling: Sampling::at(question.temperature as f32, config.max_new_tokens),
        stop: Vec::new(),
    }
}

fn counts(ended: usize, tokens: usize, start: Instant) -> String {
    let rate = tokens as f64 / start.elapsed().as_secs_f64().max(1e-9);
    format!("{ended} answers  {tokens} tokens  {rate:.0} tok/s")
}

fn answer_all(
    batch: impl BatchTarget,
    target: &TargetModel,
    questions: &[Question],
    config: &GenerateConfig,
    progress: &mut Progress,
    mut take: impl FnMut(usize, TaughtAnswer) -> Result<ControlFlow<()>, TrainError>,
) -> Result<(), TrainError> {
    let requests: Vec<Request> = (questions.iter())
        .map(|question| request(question, config))
        .collect();
    let start = Instant::now();
    let produced = AtomicUsize::new(0);
    let taught: Vec<Mutex<SparseDistributions>> = (questions.iter())
        .map(|_| Mutex::new(SparseDistributions::new(config.top_k)))
        .collect();
    let mut teacher = TargetTeacher::new(batch, &target.tokenizer, config.batch)
        .with_end_ids(&target.config().eos_ids)
        .with_seed(config.seed)
        .with_observer(|index, _, logits| {
            produced.fetch_add(1, Ordering::Relaxed);
            if let Some(sparse) = taught.get(index) {
                locked(sparse).push_logits(logits);
            }
        });
    if let Some(limit) = config.limit {
        teacher = teacher.with_limit(limit);
    }
    let mut failed = None;
    let mut ended = 0usize;
    teacher.answer(&requests, &mut |index, reply| {
        let next = (|| {
            let reply = reply.map_err(|error| TrainError::Decode {
                reason: format!("{}: {error}", questions[index].id),
            })?;
            let answer_ids = reply.answer_ids.unwrap_or_default();
            ended += 1;
            let seconds = start.elapsed().as_secs_f64();
            let by_time = (config.limit).map_or(0.0, |limit| seconds / limit.as_secs_f64());
            progress.set(
                (ended as f64 / questions.len() as f64).max(by_time),
                &counts(ended, produced.load(Ordering::Relaxed), start),
            );
            if answer_ids.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            let question = &questions[index];
            let answer = Answer {
                id: question.id.clone(),
                prompt: question.prompt.clone(),
                answer: reply.text,
                prompt_ids: question.ids.clone(),
                answer_ids,
                temperature: question.temperature as f32,
            };
            let teacher = std::mem::take(&mut *locked(&taught[index]));
            take(index, TaughtAnswer { answer, teacher })
        })();
        next.unwrap_or_else(|error| {
            failed = Some(error);
            ControlFlow::Break(())
        })
    });
    failed.map_or(Ok(()), Err)
}

/// What was recorded before a panic elsewhere is still whole: a position is added at once.
fn locked(sparse: &Mutex<SparseDistributions>) -> MutexGuard<'_, SparseDistributions> {
    sparse.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All answers of [`answer_each`].
///
/// # Errors
/// As there.
pub fn generate_answers(
    target: &TargetModel,
    questions: &[Question],
    config: &GenerateConfig,
    progress: &mut Progress,
) -> Result<Vec<TaughtAnswer>, TrainError> {
    let mut answers = Vec::new();
    answer_each(target, questions, config, progress, |_, answer| {
        answers.push(answer);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(answers)
}

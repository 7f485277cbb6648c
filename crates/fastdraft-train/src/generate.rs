//! The target answers: sequence-level distillation data, many sequences a pass.
//!
//! The paper's alignment stage (arXiv 2411.11055, section 3.3) needs no logits, only text that
//! the target itself wrote at several temperatures. Its probabilities cost nothing beyond that,
//! as every pass computes them anyway, so they can be recorded too.

use std::time::{Duration, Instant};

use fastdraft_data::answers::Answer;
use fastdraft_model::engine::cpu::{KvCache, Segment, Workspace};
use fastdraft_specdec::{Distribution, Sampler, SeededUniform, Transform};
use rayon::prelude::*;

use crate::{
    error::TrainError, progress::Progress, target::TargetModel, teacher::SparseDistributions,
};

/// A prompt ready for the target.
#[derive(Debug, Clone)]
pub struct Question {
    /// Names the answer.
    pub id: String,
    /// The prompt as a person wrote it.
    pub prompt: String,
    /// Its token ids, chat template included.
    pub ids: Vec<u32>,
}

/// How the target answers.
#[derive(Debug, Clone)]
pub struct GenerateConfig {
    /// Dealt to the questions in turn; 0 is greedy.
    pub temperatures: Vec<f64>,
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
}

/// An answer and what the target thought of each of its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct TaughtAnswer {
    /// The answer.
    pub answer: Answer,
    /// One position for each answer token, at temperature 1; none when nothing was recorded.
    pub teacher: SparseDistributions,
}

/// A sequence the target is writing.
struct Running {
    question: usize,
    cache: KvCache,
    pending: Vec<u32>,
    history: Vec<u32>,
    answer: Vec<u32>,
    transform: Transform,
    rng: SeededUniform,
    distribution: Distribution,
    teacher: SparseDistributions,
}

impl Running {
    /// Samples the next token from its logits.
    fn take(&mut self, logits: &[f32]) -> Result<(), TrainError> {
        self.teacher.push_logits(logits);
        let token = Sampler::new(&self.transform, &mut self.rng)
            .sample(logits, &self.history, &mut self.distribution)
            .map_err(|error| TrainError::Decode {
                reason: error.to_string(),
            })?;
        self.answer.push(token);
        self.history.push(token);
        self.pending.clear();
        self.pending.push(token);
        Ok(())
    }
}

/// Answers of the target, in the order they end. Every question is asked at most once; with a
/// time limit the last ones may not be.
///
/// # Errors
/// [`TrainError::Empty`] without questions or temperatures, [`TrainError::Model`] for a prompt
/// that does not fit the context.
pub fn generate_answers(
    target: &TargetModel,
    questions: &[Question],
    config: &GenerateConfig,
    progress: &mut Progress,
) -> Result<Vec<TaughtAnswer>, TrainError> {
    if questions.is_empty() || config.temperatures.is_empty() {
        return Err(TrainError::Empty {
            what: "the list of questions or temperatures".into(),
        });
    }
    let eos = &target.config().eos_ids;
    let start = Instant::now();
    let (mut work, mut logits) = (Workspace::new(), Vec::new());
    let mut waiting = 0;
    let mut running: Vec<Running> = Vec::new();
    let mut answers = Vec::new();
    let mut produced = 0usize;
    loop {
        let late = config.limit.is_some_and(|limit| start.elapsed() >= limit);
        while !late && running.len() < config.batch && waiting < questions.len() {
            running.push(begin(target, questions, waiting, config));
            waiting += 1;
        }
        if running.is_empty() || late {
            break;
        }
        let mut segments: Vec<Segment<'_>> = running
            .iter_mut()
            .map(|r| Segment {
                cache: &mut r.cache,
                tokens: &r.pending,
                outputs: 1,
            })
            .collect();
        target
            .model
            .forward(&mut segments, &mut work, &mut logits)?;
        let vocabulary = target.config().vocabulary_size;
        running
            .par_iter_mut()
            .zip(logits.par_chunks_exact(vocabulary))
            .try_for_each(|(run, row)| run.take(row))?;
        produced += running.len();
        let mut at = 0;
        while at < running.len() {
            let run = &running[at];
            let ended = run.answer.last().is_some_and(|t| eos.contains(t));
            if ended || run.answer.len() >= config.max_new_tokens {
                answers.push(finish(target, questions, running.swap_remove(at))?);
            } else {
                at += 1;
            }
        }
        let by_count = answers.len() as f64 / questions.len() as f64;
        let by_time = config
            .limit
            .map_or(0.0, |l| start.elapsed().as_secs_f64() / l.as_secs_f64());
        let rate = produced as f64 / start.elapsed().as_secs_f64();
        let message = format!(
            "{} answers  {produced} tokens  {rate:.0} tok/s",
            answers.len()
        );
        progress.set(by_count.max(by_time), &message);
    }
    for run in running {
        if !run.answer.is_empty() {
            answers.push(finish(target, questions, run)?);
        }
    }
    Ok(answers)
}

fn begin(
    target: &TargetModel,
    questions: &[Question],
    index: usize,
    config: &GenerateConfig,
) -> Running {
    let ids = &questions[index].ids;
    let temperature = config.temperatures[index % config.temperatures.len()];
    Running {
        question: index,
        cache: target.model.cache(ids.len() + config.max_new_tokens),
        pending: ids.clone(),
        history: ids.clone(),
        answer: Vec::with_capacity(config.max_new_tokens),
        transform: Transform::temperature(temperature),
        rng: SeededUniform::new(config.seed.wrapping_add(index as u64)),
        distribution: Distribution::default(),
        teacher: SparseDistributions::new(config.top_k),
    }
}

fn finish(
    target: &TargetModel,
    questions: &[Question],
    run: Running,
) -> Result<TaughtAnswer, TrainError> {
    let question = &questions[run.question];
    let answer = Answer {
        id: question.id.clone(),
        prompt: question.prompt.clone(),
        answer: target.tokenizer.decode(&run.answer, true)?,
        prompt_ids: question.ids.clone(),
        answer_ids: run.answer,
        temperature: run.transform.temperature as f32,
    };
    Ok(TaughtAnswer {
        answer,
        teacher: run.teacher,
    })
}

//! Answers of the target on disk, written once and trained on many times.
//!
//! A folder holds `manifest.json`, which says what was asked and how, and parts of
//! [`PART`] questions, or sixteen times as many as share a pass: `answers-NNNNN.jsonl`, readable by
//! [`read_answers`](fastdraft_data::answers::read_answers), and, when probabilities were recorded,
//! `answers-NNNNN.safetensors` with `ids` (`[positions, top_k]`, u32) and `probabilities` (same
//! shape, f32), 8 · `top_k` bytes a token. A part appears whole or not at all, so a run that was
//! killed loses at most one part.

mod manifest;
mod part;

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use fastdraft_data::{PackedTokens, Packer};

use crate::{
    error::TrainError,
    generate::{Answerer, GenerateConfig, Question, TaughtAnswer, answer_with},
    progress::Progress,
    stage::Source,
    target::TargetModel,
    teacher::{SparseDistributions, TaughtRows},
};
use manifest::Manifest;

/// Questions of a part, at least.
pub const PART: usize = 256;
// The last rows of a part share their passes with fewer and fewer.
const ROUNDS: usize = 16;

/// Answers in a folder.
#[derive(Debug, Clone)]
pub struct AnswersFolder {
    path: PathBuf,
}

impl AnswersFolder {
    /// The folder at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the target answer every question that is not answered here yet. `false` when `stop`
    /// became true before the last one; the unfinished part is dropped then, the others stay.
    ///
    /// # Errors
    /// [`TrainError::AnswersChanged`] when the folder belongs to other questions or settings,
    /// [`TrainError::Io`] when it cannot be written, and as
    /// [`answer_each`](crate::generate::answer_each).
    pub fn complete(
        &self,
        target: &TargetModel,
        questions: &[Question],
        config: &GenerateConfig,
        progress: &mut Progress,
        stop: &AtomicBool,
    ) -> Result<bool, TrainError> {
        let manifest = Manifest::new(target, questions, config);
        fs::create_dir_all(&self.path).map_err(|error| io(&self.path, error))?;
        manifest.claim(&self.path)?;
        let (parts, mut answerer) = (questions.chunks(manifest.part), None);
        for (number, part) in parts.enumerate() {
            if part::exists(&self.path, number) {
                continue;
            }
            if answerer.is_none() {
                answerer = Some(Answerer::new(target, &config.place)?);
            }
            progress.set(
                (number * manifest.part) as f64 / questions.len() as f64,
                &format!("part {} of {}", number + 1, manifest.parts()),
            );
            let mut answers: Vec<(usize, TaughtAnswer)> = Vec::with_capacity(part.len());
            let mut stopped = stop.load(Ordering::Relaxed);
            if let (Some(answerer), false) = (&answerer, stopped) {
                answer_with(answerer, target, part, config, progress, |index, answer| {
                    answers.push((index, answer));
                    stopped = stop.load(Ordering::Relaxed);
                    Ok(if stopped {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    })
                })?;
            }
            if stopped {
                return Ok(false);
            }
            answers.sort_by_key(|(index, _)| *index);
            part::write(&self.path, number, answers.into_iter().map(|(_, a)| a))?;
        }
        Ok(true)
    }

    /// The answers, in the order of their questions.
    ///
    /// # Errors
    /// [`TrainError::AnswersIncomplete`] when parts are missing, [`TrainError::Io`] or
    /// [`TrainError::Data`] naming the file that cannot be read, [`TrainError::Teacher`] when
    /// probabilities do not fit their answers.
    pub fn read(&self) -> Result<Vec<TaughtAnswer>, TrainError> {
        let manifest = Manifest::read(&self.path)?;
        let parts = manifest.parts();
        let found = (0..parts).filter(|number| part::exists(&self.path, *number));
        let found = found.count();
        if found < parts {
            return Err(TrainError::AnswersIncomplete {
                path: self.path.clone(),
                found,
                expected: parts,
            });
        }
        let mut all = Vec::new();
        for number in 0..parts {
            all.extend(part::read(&self.path, number, manifest.top_k)?);
        }
        Ok(all)
    }
}

/// Rows of answers, with the target's probabilities if they were recorded.
#[derive(Debug, Clone)]
pub enum AnswerRows {
    /// Text alone.
    Plain(PackedTokens),
    /// With probabilities.
    Taught(TaughtRows),
}

impl AnswerRows {
    /// The rows, without the probabilities.
    #[must_use]
    pub fn packed(&self) -> &PackedTokens {
        match self {
            Self::Plain(rows) => rows,
            Self::Taught(rows) => rows.packed(),
        }
    }

    /// The rows with their weight in a mixture.
    #[must_use]
    pub fn source(&self, weight: u32) -> Source<'_> {
        match self {
            Self::Plain(rows) => (rows, weight).into(),
            Self::Taught(rows) => (rows, weight).into(),
        }
    }
}

/// Packs answers into rows of `length` inputs; `end` fills the last one.
///
/// # Errors
/// [`TrainError::Empty`] without answers, [`TrainError::Teacher`] when some have probabilities
/// and others not.
pub fn pack(answers: &[TaughtAnswer], length: usize, end: u32) -> Result<AnswerRows, TrainError> {
    let Some(first) = answers.first() else {
        return Err(TrainError::Empty {
            what: "the list of answers".into(),
        });
    };
    let mut packer = Packer::new(length, end);
    let mut teacher = SparseDistributions::new(first.teacher.k());
    for answer in answers {
        packer.push_masked(&answer.answer.masked()?);
        teacher.append(&answer.teacher)?;
    }
    let packed = packer.finish()?;
    if teacher.k() == 0 {
        return Ok(AnswerRows::Plain(packed));
    }
    Ok(AnswerRows::Taught(TaughtRows::new(packed, teacher)?))
}

fn io(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_owned(),
        source,
    }
}

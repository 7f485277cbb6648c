//! Prompts to answers: every prompt at every setting, resumable at any moment.

mod describe;
mod log;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::answers::Answer;
use crate::card::{self, Provenance};
use crate::source::Prompt;
use crate::teacher::{Reply, Request, Sampling, StopReason, Teacher, TeacherError};
use crate::{ChatTemplate, DataError, Message, Tokenizer};
pub(crate) use log::Log;

/// Requests that are prepared at a time.
const CHUNK: usize = 1024;

/// A row of the answers file, which [`read_answers`](crate::answers::read_answers) reads too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// [`Sampling::label`] of its settings.
    pub setting: String,
    /// Why it ended.
    pub stop: StopReason,
    /// Whether the ids are the teacher's own; else they are the text, tokenised again.
    pub exact: bool,
}

/// A row of the errors file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Name of the prompt.
    pub id: String,
    /// [`Sampling::label`] of its settings.
    pub setting: String,
    /// What went wrong.
    pub reason: String,
    /// Times it was tried.
    pub attempts: u32,
}

/// What to generate.
#[derive(Debug, Clone)]
pub struct Generation<'a> {
    /// Tokenizer of the teacher.
    pub tokenizer: &'a Tokenizer,
    /// Chat template of the teacher; without one prompts are plain text to be continued.
    pub template: Option<&'a ChatTemplate>,
    /// Instructions before every prompt.
    pub system: Option<&'a str>,
    /// Every prompt is answered once for each.
    pub settings: Vec<Sampling>,
    /// For the data card; prompts and settings are added to it.
    pub provenance: Provenance,
}

/// The parts of a row that say which question it answers.
#[derive(Deserialize)]
struct Key {
    id: String,
    temperature: f32,
    // Files of other writers do not have it.
    setting: Option<String>,
}

impl Key {
    fn parse(line: &[u8]) -> serde_json::Result<(String, String)> {
        let key: Self = serde_json::from_slice(line)?;
        let label = || Sampling::at(key.temperature, 0).label();
        let setting = key.setting.clone().unwrap_or_else(label);
        Ok((key.id, setting))
    }
}

/// What became of the input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Prompts times settings.
    pub input: usize,
    /// Answered now.
    pub done: usize,
    /// Asked now without success; the reasons are in the errors file.
    pub failed: usize,
    /// Answered by an earlier run.
    pub skipped: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            input,
            done,
            failed,
            skipped,
        } = self;
        write!(
            f,
            "input {input} = done {done} + failed {failed} + skipped {skipped}"
        )
    }
}

/// Where the failures of an answers file are written: `answers.jsonl` has `answers.errors.jsonl`.
#[must_use]
pub fn errors_path(answers: &Path) -> PathBuf {
    answers.with_extension("errors.jsonl")
}

/// Has every prompt answered at every setting and appends the answers to a file.
///
/// Each answer is on disk before the next is taken. A run that was killed is gone on with by
/// calling this again: what the file has is skipped, half a last line is cut off, failures are
/// tried again. The errors file holds the failures of the last run. A run that comes to its end
/// leaves a data card beside the answers, see [`card`].
///
/// # Errors
///
/// [`DataError::Generate`] when names or settings are doubled, another run writes to the file, or
/// the teacher says that nothing will work; [`DataError::Io`] and [`DataError::BadLine`] for the
/// files. What was answered until then is kept.
pub fn generate(
    teacher: &dyn Teacher,
    prompts: &[Prompt],
    generation: &Generation<'_>,
    answers: impl AsRef<Path>,
) -> Result<Summary, DataError> {
    let answers = answers.as_ref();
    let labels: Vec<String> = generation.settings.iter().map(Sampling::label).collect();
    check_unique("setting", labels.iter().map(String::as_str))?;
    check_unique("prompt", prompts.iter().map(|prompt| prompt.id.as_str()))?;
    let (mut log, finished) = Log::open(answers, &errors_path(answers), Key::parse)?;
    card::withdraw(answers)?;
    let mut summary = Summary {
        input: prompts.len() * labels.len(),
        ..Summary::default()
    };
    let mut pairs = prompts
        .iter()
        .flat_map(|prompt| (0..labels.len()).map(move |setting| (prompt, setting)));
    loop {
        let mut requests = Vec::new();
        let mut asked = Vec::new();
        for (prompt, setting) in pairs.by_ref() {
            if finished.contains(&(prompt.id.clone(), labels[setting].clone())) {
                summary.skipped += 1;
                continue;
            }
            match generation.request(prompt, setting) {
                Ok(request) => {
                    requests.push(request);
                    asked.push((prompt, setting));
                }
                Err(error) => {
                    log.fail(&failed(prompt, &labels[setting], &error.to_string(), 0))?;
                    summary.failed += 1;
                }
            }
            if requests.len() == CHUNK {
                break;
            }
        }
        if requests.is_empty() {
            break;
        }
        generation.ask(teacher, &requests, &asked, &mut log, &mut summary)?;
    }
    if summary.input != summary.done + summary.failed + summary.skipped {
        return Err(DataError::Generate {
            reason: format!("prompts were lost: {summary}"),
        });
    }
    generation.write_card(prompts, &summary, answers)?;
    Ok(summary)
}

pub(crate) fn check_unique<'a>(
    what: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), DataError> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(DataError::Generate {
                reason: format!("the {what} `{name}` comes twice"),
            });
        }
    }
    Ok(())
}

fn failed(prompt: &Prompt, setting: &str, reason: &str, attempts: u32) -> Failed {
    Failed {
        id: prompt.id.clone(),
        setting: setting.to_owned(),
        reason: reason.to_owned(),
        attempts,
    }
}

impl Generation<'_> {
    fn request(&self, prompt: &Prompt, setting: usize) -> Result<Request, DataError> {
        let mut messages: Vec<Message> = self.system.map(Message::system).into_iter().collect();
        messages.push(Message::user(&prompt.prompt));
        let text = match self.template {
            Some(template) => template.render(&messages, true)?,
            None => prompt.prompt.clone(),
        };
        let ids = self.tokenizer.encode(&text, self.template.is_some())?;
        Ok(Request {
            id: prompt.id.clone(),
            messages,
            text,
            ids,
            sampling: self.settings[setting].clone(),
            stop: Vec::new(),
        })
    }

    fn ask(
        &self,
        teacher: &dyn Teacher,
        requests: &[Request],
        asked: &[(&Prompt, usize)],
        log: &mut Log,
        summary: &mut Summary,
    ) -> Result<(), DataError> {
        let mut open = vec![true; requests.len()];
        let mut stopped = None;
        teacher.answer(requests, &mut |index, result| {
            // A teacher that answers twice must not double a row.
            if !open
                .get_mut(index)
                .is_some_and(|open| std::mem::replace(open, false))
            {
                return ControlFlow::Continue(());
            }
            let fatal = result.as_ref().is_err_and(|error| error.fatal);
            let reason = result.as_ref().err().map(ToString::to_string);
            let written = self.note(&requests[index], asked[index].0, result, log, summary);
            stopped = written.err().or_else(|| {
                let reason = reason.filter(|_| fatal)?;
                Some(DataError::Generate { reason })
            });
            if stopped.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        for (index, _) in open.iter().enumerate().filter(|(_, open)| **open) {
            let error = TeacherError {
                reason: "the teacher gave no reply".into(),
                attempts: 1,
                fatal: false,
            };
            self.note(&requests[index], asked[index].0, Err(error), log, summary)?;
        }
        Ok(())
    }

    fn note(
        &self,
        request: &Request,
        prompt: &Prompt,
        result: Result<Reply, TeacherError>,
        log: &mut Log,
        summary: &mut Summary,
    ) -> Result<(), DataError> {
        let setting = request.sampling.label();
        let row = match result {
            Ok(reply) => self
                .row(request, prompt, reply)
                .map_err(|error| failed(prompt, &setting, &error, 1)),
            Err(error) => Err(failed(prompt, &setting, &error.reason, error.attempts)),
        };
        match row {
            Ok(row) => {
                log.append(&row)?;
                summary.done += 1;
            }
            Err(row) => {
                log.fail(&row)?;
                summary.failed += 1;
            }
        }
        Ok(())
    }

    fn row(&self, request: &Request, prompt: &Prompt, reply: Reply) -> Result<Generated, String> {
        let exact = reply.answer_ids.is_some();
        let answer_ids = match reply.answer_ids {
            Some(ids) => ids,
            None => {
                let mut ids = self
                    .tokenizer
                    .encode(&reply.text, false)
                    .map_err(|error| error.to_string())?;
                let empty = ids.is_empty();
                let ended = reply.stop == StopReason::Stop && !empty;
                ids.extend(self.tokenizer.eos_id().filter(|_| ended));
                ids
            }
        };
        let least = request.sampling.min_tokens.max(1);
        if answer_ids.len() < least {
            return Err(format!(
                "{} tokens, at least {least} wanted",
                answer_ids.len()
            ));
        }
        Ok(Generated {
            setting: request.sampling.label(),
            stop: reply.stop,
            exact,
            answer: Answer {
                id: prompt.id.clone(),
                prompt: prompt.prompt.clone(),
                answer: reply.text,
                prompt_ids: reply.prompt_ids.unwrap_or_else(|| request.ids.clone()),
                answer_ids,
                temperature: request.sampling.temperature,
            },
        })
    }
}

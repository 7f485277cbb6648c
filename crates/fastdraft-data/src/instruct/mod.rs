//! Instructions that the teacher makes up itself.
//!
//! A chat model that is given its template up to the place where the user's words would begin
//! continues with an instruction, as it has seen so many (Xu et al., "Magpie", arXiv 2406.08464,
//! section 2). [`generate`](crate::generate::generate) then has it answer them.

mod pre_query;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;

use crate::card::{
    self, DataCard, DatasetCounts, DatasetKind, FileDigest, Provenance, TokenizerCard,
};
use crate::decontaminate::Decontaminator;
use crate::generate::{Failed, Log, Summary, errors_path};
use crate::hash::mix;
use crate::hygiene::{Cleaner, DuplicateConfig, Fate};
use crate::source::Prompt;
use crate::teacher::{Reply, Request, Sampling, StopReason, Teacher, TeacherError};
use crate::{ChatTemplate, DataError, Tokenizer};

pub use pre_query::PreQuery;

/// Requests that are prepared at a time.
const CHUNK: usize = 1024;

/// Which instructions to ask for, and which to keep.
///
/// ```no_run
/// use fastdraft_data::generate::{Generation, generate};
/// use fastdraft_data::instruct::{SelfInstruction, instruct};
/// use fastdraft_data::source::read_prompts;
/// use fastdraft_data::teacher::{Sampling, Teacher};
/// use fastdraft_data::{ChatTemplate, Provenance, Tokenizer};
///
/// # fn run(teacher: &dyn Teacher, tokenizer: &Tokenizer, template: &ChatTemplate)
/// # -> Result<(), fastdraft_data::DataError> {
/// let wanted = SelfInstruction::new(tokenizer, template, 10_000);
/// println!("{}", instruct(teacher, &wanted, "instructions.jsonl")?);
/// let generation = Generation {
///     tokenizer,
///     template: Some(template),
///     system: None,
///     settings: vec![Sampling::greedy(512), Sampling::at(0.8, 512)],
///     provenance: Provenance::default(),
/// };
/// let prompts = read_prompts("instructions.jsonl")?;
/// println!("{}", generate(teacher, &prompts, &generation, "answers.jsonl")?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SelfInstruction<'a> {
    /// Tokenizer of the teacher.
    pub tokenizer: &'a Tokenizer,
    /// Chat template of the teacher.
    pub template: &'a ChatTemplate,
    /// Instructions before every conversation; steers what is asked about.
    pub system: Option<&'a str>,
    /// Instructions to ask for; fewer are kept.
    pub count: usize,
    /// How they are drawn; its seed is the seed of the whole run.
    pub sampling: Sampling,
    /// Lengths that are kept, in characters.
    pub characters: RangeInclusive<usize>,
    /// What counts as asked before.
    pub duplicates: DuplicateConfig,
    /// Texts that must not be asked about.
    pub evaluation: Option<&'a Decontaminator>,
    /// Task of the prompts, and the beginning of their names.
    pub task: String,
    /// For the data card.
    pub provenance: Provenance,
}

impl<'a> SelfInstruction<'a> {
    /// Up to 256 tokens at temperature 1, seed 0; 8 to 2,000 characters are kept.
    #[must_use]
    pub fn new(tokenizer: &'a Tokenizer, template: &'a ChatTemplate, count: usize) -> Self {
        Self {
            tokenizer,
            template,
            system: None,
            count,
            sampling: Sampling {
                seed: Some(0),
                ..Sampling::at(1.0, 256)
            },
            characters: 8..=2000,
            duplicates: DuplicateConfig {
                threshold: 0.7,
                ..DuplicateConfig::default()
            },
            evaluation: None,
            task: "self-instruct".into(),
            provenance: Provenance::default(),
        }
    }

    fn request(&self, index: usize, around: &PreQuery, ids: &[u32]) -> Request {
        let seed = self.sampling.seed.unwrap_or_default();
        Request {
            id: self.name(index),
            messages: Vec::new(),
            text: around.prefix.clone(),
            ids: ids.to_vec(),
            sampling: Sampling {
                // Servers take seeds of 31 bits.
                seed: Some(mix(seed ^ mix(index as u64)) >> 33),
                sample: index as u32,
                ..self.sampling.clone()
            },
            stop: vec![around.end.clone()],
        }
    }

    fn name(&self, index: usize) -> String {
        format!("{}-{index:06}", self.task)
    }

    /// The instruction in a reply, or why there is none.
    fn accept(
        &self,
        reply: &Reply,
        around: &PreQuery,
        cleaner: &mut Cleaner<'_>,
    ) -> Result<String, String> {
        let text = reply.text.split(&around.end).next().unwrap_or_default();
        let ended = reply.stop == StopReason::Stop || text.len() < reply.text.len();
        if !ended {
            return Err("the instruction did not end".into());
        }
        let text = text.trim();
        let length = text.chars().count();
        if !self.characters.contains(&length) {
            let (least, most) = (self.characters.start(), self.characters.end());
            return Err(format!("{length} characters, wanted {least} to {most}"));
        }
        let ids = self
            .tokenizer
            .encode(text, true)
            .map_err(|e| e.to_string())?;
        if let Some(&id) = ids.iter().find(|&&id| self.tokenizer.is_special(id)) {
            let token = self.tokenizer.token(id).unwrap_or_default();
            return Err(format!("the special token `{token}` in the text"));
        }
        match cleaner.admit(text) {
            Fate::Kept => Ok(text.to_owned()),
            Fate::Exact => Err("asked before".into()),
            Fate::Near => Err("asked before in nearly the same words".into()),
            Fate::Contaminated => Err("shares a run of words with the evaluation".into()),
        }
    }

    fn write_card(
        &self,
        around: &PreQuery,
        summary: &Summary,
        cleaner: &Cleaner<'_>,
        path: &Path,
    ) -> Result<(), DataError> {
        let mut provenance = self.provenance.clone();
        provenance.seed = self.sampling.seed;
        provenance.hygiene = cleaner.counts();
        provenance.notes.extend([
            format!("self-instruction after the text `{}`", around.prefix),
            format!(
                "setting {}, at most {} tokens",
                self.sampling.label(),
                self.sampling.max_tokens
            ),
            format!("last run: {summary}"),
        ]);
        let kept = (summary.done + summary.skipped) as u64;
        let counts = DatasetCounts {
            documents: kept,
            rows: kept,
            ..DatasetCounts::default()
        };
        let tokenizer = TokenizerCard::new(
            self.tokenizer.fingerprint(),
            self.tokenizer.vocabulary_size(),
        );
        let files = vec![FileDigest::of_file(path)?];
        DataCard::new(
            DatasetKind::Instructions,
            provenance,
            tokenizer,
            counts,
            files,
        )
        .write(&card::card_path(path))
    }
}

/// Has the teacher make up instructions and appends those that are kept to a file of prompts.
///
/// Each is on disk before the next is taken, in the order of their numbers, so which of two
/// similar ones is kept does not depend on which came first. A run that was killed is gone on
/// with by calling this again. What is not kept counts as failed and stands in the errors file
/// with the reason; it is asked again by the next run.
///
/// # Errors
///
/// [`DataError::Template`] when the template has no user's turn, [`DataError::Generate`] when the
/// temperature is 0, another run writes to the file or the teacher says that nothing will work;
/// [`DataError::Io`] and [`DataError::BadLine`] for the files.
pub fn instruct(
    teacher: &dyn Teacher,
    wanted: &SelfInstruction<'_>,
    path: impl AsRef<Path>,
) -> Result<Summary, DataError> {
    let path = path.as_ref();
    if wanted.sampling.temperature <= 0.0 {
        return Err(DataError::Generate {
            reason: "at temperature 0 all instructions are the same".into(),
        });
    }
    let around = PreQuery::find(wanted.template, wanted.tokenizer, wanted.system)?;
    let ids = wanted.tokenizer.encode(&around.prefix, true)?;
    let mut cleaner = Cleaner::new(Some(wanted.duplicates.clone()), wanted.evaluation);
    let (log, finished) = Log::open(path, &errors_path(path), |line| {
        let prompt: Prompt = serde_json::from_slice(line)?;
        cleaner.admit(&prompt.prompt);
        Ok(prompt.id)
    })?;
    card::withdraw(path)?;
    let mut run = Run {
        wanted,
        around: &around,
        cleaner,
        log,
        summary: Summary {
            input: wanted.count,
            ..Summary::default()
        },
    };
    let mut indices = (0..wanted.count).filter(|&index| !finished.contains(&wanted.name(index)));
    loop {
        let asked: Vec<usize> = indices.by_ref().take(CHUNK).collect();
        if asked.is_empty() {
            break;
        }
        let requests: Vec<Request> = asked
            .iter()
            .map(|&index| wanted.request(index, &around, &ids))
            .collect();
        run.ask(teacher, &requests)?;
    }
    let names = (0..wanted.count).map(|index| wanted.name(index));
    run.summary.skipped = names.filter(|name| finished.contains(name)).count();
    let summary = run.summary;
    if summary.input != summary.done + summary.failed + summary.skipped {
        return Err(DataError::Generate {
            reason: format!("instructions were lost: {summary}"),
        });
    }
    wanted.write_card(&around, &summary, &run.cleaner, path)?;
    Ok(summary)
}

struct Run<'r, 'a> {
    wanted: &'r SelfInstruction<'a>,
    around: &'r PreQuery,
    cleaner: Cleaner<'a>,
    log: Log,
    summary: Summary,
}

impl Run<'_, '_> {
    /// Asks, and takes the replies in the order of the requests.
    fn ask(&mut self, teacher: &dyn Teacher, requests: &[Request]) -> Result<(), DataError> {
        let (mut early, mut next) = (BTreeMap::new(), 0);
        let (mut fatal, mut failure) = (None, None);
        teacher.answer(requests, &mut |index, result| {
            if index >= requests.len() || index < next {
                return ControlFlow::Continue(());
            }
            if let Err(error) = &result
                && error.fatal
            {
                fatal = Some(error.to_string());
                return ControlFlow::Break(());
            }
            early.entry(index).or_insert(result);
            while let Some(result) = early.remove(&next) {
                if let Err(error) = self.take(&requests[next], result) {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
                next += 1;
            }
            ControlFlow::Continue(())
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let silent = || TeacherError {
            reason: "the teacher gave no reply".into(),
            attempts: 1,
            fatal: false,
        };
        // What came early is kept even when the rest will not come.
        for (index, request) in requests.iter().enumerate().skip(next) {
            match early.remove(&index) {
                Some(result) => self.take(request, result)?,
                None if fatal.is_none() => self.take(request, Err(silent()))?,
                None => {}
            }
        }
        match fatal {
            Some(reason) => Err(DataError::Generate { reason }),
            None => Ok(()),
        }
    }

    fn take(
        &mut self,
        request: &Request,
        result: Result<Reply, TeacherError>,
    ) -> Result<(), DataError> {
        let (outcome, attempts) = match result {
            Ok(reply) => (
                self.wanted.accept(&reply, self.around, &mut self.cleaner),
                1,
            ),
            Err(error) => (Err(error.reason), error.attempts),
        };
        match outcome {
            Ok(prompt) => {
                self.log.append(&Prompt {
                    id: request.id.clone(),
                    task: self.wanted.task.clone(),
                    prompt,
                })?;
                self.summary.done += 1;
            }
            Err(reason) => {
                self.log.fail(&Failed {
                    id: request.id.clone(),
                    setting: self.wanted.sampling.label(),
                    reason,
                    attempts,
                })?;
                self.summary.failed += 1;
            }
        }
        Ok(())
    }
}

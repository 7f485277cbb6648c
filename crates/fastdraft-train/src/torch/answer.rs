//! Answers of a target in the worker.

use std::{cell::RefCell, fmt, fs, ops::ControlFlow, path::Path};

use fastdraft_data::answers::Answer;
use fastdraft_model::{Checkpoint, DecoderConfig, export};
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use super::{
    TorchConfig, TorchDevice,
    event::{Event, Order},
    files,
    handover::RotaryTable,
    process::{Failure, Worker},
    python,
};
use crate::{
    error::TrainError,
    generate::{GenerateConfig, Question, TaughtAnswer},
    target::TargetModel,
    teacher::SparseDistributions,
};

const FORMAT: &str = "fastdraft-torch-answers";
const VERSION: u32 = 2;

/// A target that answers in PyTorch, on any device that torch has. It draws by
/// inversion with numbers of its own, so its answers are not those of the other engines; like
/// theirs, they depend on question and seed alone, as far as torch's arithmetic does not depend
/// on the batch.
pub struct TorchTarget {
    config: TorchConfig,
    folder: tempfile::TempDir,
    // Ranks that wait for questions, and how many files they were given.
    worker: RefCell<(Option<Worker>, usize)>,
}

impl fmt::Debug for TorchTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TorchTarget")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Ask<'a> {
    format: &'static str,
    version: u32,
    device: TorchDevice,
    model: &'a DecoderConfig,
    rotary: RotaryTable,
    ends: &'a [u32],
    max_new_tokens: usize,
    batch: usize,
    top_k: usize,
    precision: Option<&'static str>,
    seeds: Vec<String>,
    temperatures: Vec<f64>,
    prompts: Vec<&'a [u32]>,
}

impl TorchTarget {
    /// Hands the weights over.
    ///
    /// # Errors
    /// [`TrainError::Python`] when the interpreter is missing, lacks torch, has too old a one, or
    /// sees no such device; [`TrainError::Io`] or [`TrainError::Model`] when a temporary folder
    /// cannot be written.
    pub fn new(target: &Checkpoint, config: TorchConfig) -> Result<Self, TrainError> {
        let folder =
            tempfile::tempdir().map_err(|error| files::io(&std::env::temp_dir(), error))?;
        let program = files::write(folder.path())?;
        python::check(&config.python, &program, config.device)?;
        export::hf::save(&folder.path().join("model"), target)?;
        Ok(Self {
            config,
            folder,
            worker: RefCell::default(),
        })
    }

    /// Answers of all questions, in the order they end; `take` may break off. `seeds` has one
    /// number for each question.
    ///
    /// # Errors
    /// [`TrainError::Worker`] when the worker fails, and what `take` returns.
    pub(crate) fn answer(
        &self,
        target: &TargetModel,
        questions: &[Question],
        seeds: &[u64],
        config: &GenerateConfig,
        mut take: impl FnMut(usize, TaughtAnswer) -> Result<ControlFlow<()>, TrainError>,
    ) -> Result<(), TrainError> {
        let model = target.config();
        let longest = questions.iter().map(|question| question.ids.len()).max();
        let ask = Ask {
            format: FORMAT,
            version: VERSION,
            device: self.config.device,
            model,
            rotary: RotaryTable::new(model, longest.unwrap_or(0) + config.max_new_tokens),
            ends: &model.eos_ids,
            max_new_tokens: config.max_new_tokens,
            batch: config.batch.max(1),
            top_k: config.top_k.min(model.vocabulary_size),
            precision: config.precision.autocast(),
            seeds: seeds.iter().map(|seed| format!("{seed:016x}")).collect(),
            temperatures: questions.iter().map(|q| q.temperature).collect(),
            prompts: questions.iter().map(|q| q.ids.as_slice()).collect(),
        };
        let folder = self.folder.path();
        let (held, asks) = &mut *self.worker.borrow_mut();
        crate::report::write_json(&folder.join(format!("ask-{asks}.json")), &ask)?;
        // Gone after an error, so that the next questions start ranks anew.
        let mut worker = match held.take() {
            Some(worker) => worker,
            None => {
                let script = folder.join("worker").join("answer.py");
                Worker::start(&self.config, &script, folder)?
            }
        };
        let mut answered = 0;
        let mut said = worker.ask(&Order::Answer { ask: *asks });
        *asks += 1;
        loop {
            let file = match said {
                Ok(Event::Answered { file }) => file,
                Ok(other) => {
                    return Err(failed(format!("the worker said {other:?}"), String::new()));
                }
                Err(failure) => {
                    let Failure { reason, tail, .. } = *failure;
                    return Err(failed(reason, tail));
                }
            };
            let path = folder.join(&file);
            for (index, ids, teacher) in read(&path, config.top_k)? {
                answered += 1;
                let Some(question) = questions.get(index) else {
                    return Err(failed(format!("{file}: an answer {index}"), String::new()));
                };
                let answer = Answer {
                    id: question.id.clone(),
                    prompt: question.prompt.clone(),
                    answer: text(target, &ids)?,
                    prompt_ids: question.ids.clone(),
                    answer_ids: ids,
                    temperature: question.temperature as f32,
                };
                if take(index, TaughtAnswer { answer, teacher })?.is_break() {
                    worker.abort();
                    return Ok(());
                }
            }
            fs::remove_file(&path).map_err(|source| files::io(&path, source))?;
            if answered >= questions.len() {
                *held = Some(worker);
                return Ok(());
            }
            said = worker.next_event();
        }
    }
}

fn failed(reason: String, tail: String) -> TrainError {
    TrainError::Worker {
        stage: "answers".into(),
        step: 0,
        reason,
        tail,
    }
}

/// What an answer says before the token that ends it.
fn text(target: &TargetModel, ids: &[u32]) -> Result<String, TrainError> {
    let ends = &target.config().eos_ids;
    let said = match ids.split_last() {
        Some((last, said)) if ends.contains(last) => said,
        _ => ids,
    };
    Ok(target.tokenizer.decode(said, false)?)
}

type Found = (usize, Vec<u32>, SparseDistributions);

/// Question, ids and probabilities of every answer in a file of the worker.
fn read(path: &Path, top_k: usize) -> Result<Vec<Found>, TrainError> {
    let bytes = fs::read(path).map_err(|source| files::io(path, source))?;
    let wrong = |reason: String| failed(format!("{}: {reason}", path.display()), String::new());
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
    let data = |name: &str, dtype: Dtype| {
        let view = (tensors.tensor(name)).map_err(|error| wrong(format!("{name}: {error}")))?;
        if view.dtype() != dtype {
            return Err(wrong(format!(
                "{name} is {:?}, not {dtype:?}",
                view.dtype()
            )));
        }
        Ok(view.data().to_vec())
    };
    let whole = |name: &str| -> Result<Vec<usize>, TrainError> {
        let bytes = data(name, Dtype::I64)?;
        let (words, _) = bytes.as_chunks::<8>();
        let number = |word: &[u8; 8]| usize::try_from(i64::from_le_bytes(*word));
        (words.iter().map(number))
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(format!("{name}: {error}")))
    };
    let (questions, lengths, ids) = (whole("questions")?, whole("lengths")?, whole("ids")?);
    if questions.len() != lengths.len() || lengths.iter().sum::<usize>() != ids.len() {
        return Err(wrong("its lengths do not fit".into()));
    }
    let taught = if top_k > 0 {
        let (top_ids, top_p) = (data("top_ids", Dtype::I32)?, data("top_p", Dtype::F32)?);
        let words = |bytes: &[u8]| bytes.as_chunks::<4>().0.to_vec();
        let k = words(&top_ids).len().checked_div(ids.len()).unwrap_or(0);
        SparseDistributions::from_parts(
            k.max(1),
            words(&top_ids)
                .into_iter()
                .map(u32::from_le_bytes)
                .collect(),
            words(&top_p).into_iter().map(f32::from_le_bytes).collect(),
        )?
    } else {
        SparseDistributions::new(0)
    };
    if top_k > 0 && taught.positions() != ids.len() {
        return Err(wrong("its probabilities do not fit".into()));
    }
    let mut at = 0;
    let found = questions
        .into_iter()
        .zip(lengths)
        .map(|(question, length)| {
            let from = at;
            at += length;
            let own = ids[from..at].iter().map(|id| *id as u32).collect();
            (question, own, taught.span(from, at))
        });
    Ok(found.collect())
}

//! The data the repository carries, as rows for training and prompts for measuring.

use std::path::{Path, PathBuf};

use fastdraft_data::{
    PackedTokens, Packer, frequency,
    source::{Prompt, documents, read_prompts},
};
use fastdraft_train::{TargetModel, TrainError, generate::Question, progress::Progress};

/// Tokens of a document whose continuation the target writes.
const CONTINUE_FROM: usize = 40;
/// Dealt to the questions in turn, as in the paper's alignment stage; 0 is greedy.
const TEMPERATURES: [f64; 4] = [0.6, 0.8, 0.0, 1.0];
pub const TASKS: [&str; 4] = ["code", "instructions", "stories", "summarization"];

/// Everything quickstart reads.
pub struct Data {
    pub text: PackedTokens,
    pub code: PackedTokens,
    pub questions: Vec<Question>,
    pub evaluation: Vec<Prompt>,
}

impl Data {
    /// Reads and tokenizes; `per_task` evaluation prompts of each task are kept, at least two.
    pub fn load(
        target: &TargetModel,
        sequence: usize,
        seed: u64,
        per_task: usize,
        progress: &mut Progress,
    ) -> Result<Self, TrainError> {
        let assets = assets();
        let (text, mut openings) = pack(&assets.join("corpus/text.jsonl.gz"), target, sequence)?;
        progress.set(0.4, "text");
        let (code, code_openings) = pack(&assets.join("corpus/code.jsonl.gz"), target, sequence)?;
        progress.set(0.8, "code");
        openings.extend(code_openings);
        let mut questions = Vec::new();
        for prompt in read_prompts(assets.join("prompts/instructions.jsonl"))? {
            let ids = target.encode(&prompt.prompt, false)?;
            questions.push(Question {
                id: prompt.id,
                prompt: prompt.prompt,
                ids,
                temperature: 0.0,
            });
        }
        for (i, ids) in openings.into_iter().enumerate() {
            let prompt = target.tokenizer.decode(&ids, false)?;
            questions.push(Question {
                id: format!("continue-{i}"),
                prompt,
                ids,
                temperature: 0.0,
            });
        }
        shuffle(&mut questions, seed);
        for (question, temperature) in questions.iter_mut().zip(TEMPERATURES.iter().cycle()) {
            question.temperature = *temperature;
        }
        let mut evaluation = Vec::new();
        for task in TASKS {
            let prompts = read_prompts(assets.join(format!("eval/{task}.jsonl")))?;
            evaluation.extend(prompts.into_iter().take(per_task.max(2)));
        }
        Ok(Self {
            text,
            code,
            questions,
            evaluation,
        })
    }

    /// The `n` most frequent tokens of the corpus, with all special ones, ascending.
    pub fn frequent(&self, n: usize, target: &TargetModel) -> Vec<u32> {
        let special: Vec<u32> = (0..target.config().vocabulary_size as u32)
            .filter(|id| target.tokenizer.is_special(*id))
            .collect();
        let packed = self.text.ids.iter().chain(&self.code.ids).copied();
        let asked = self.questions.iter().flat_map(|q| q.ids.iter().copied());
        frequency::top_n(packed.chain(asked), n, &special)
    }
}

/// Rows of a corpus, and the opening of every document that is long enough.
fn pack(
    path: &Path,
    target: &TargetModel,
    sequence: usize,
) -> Result<(PackedTokens, Vec<Vec<u32>>), TrainError> {
    let mut packer = Packer::new(sequence, end(target));
    let mut openings = Vec::new();
    for document in documents(path, "text")? {
        let ids = target.tokenizer.encode(&document?.text, false)?;
        if ids.len() > 2 * CONTINUE_FROM {
            openings.push(ids[..CONTINUE_FROM].to_vec());
        }
        packer.push_document(&ids);
    }
    Ok((packer.finish()?, openings))
}

/// What fills the last row.
pub fn end(target: &TargetModel) -> u32 {
    target.config().eos_ids.first().copied().unwrap_or(0)
}

pub fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets")
}

/// Fisher and Yates over SplitMix64.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut rng = fastdraft_specdec::SeededUniform::new(seed);
    for i in (1..items.len()).rev() {
        items.swap(i, (rng.next_u64() % (i as u64 + 1)) as usize);
    }
}

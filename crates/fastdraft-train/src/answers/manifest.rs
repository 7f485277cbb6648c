//! What a folder of answers was made from.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{PART, ROUNDS, io};
use crate::{
    error::TrainError,
    generate::{GenerateConfig, Place, Question},
    stage::Precision,
    target::TargetModel,
};

const NAME: &str = "manifest.json";
const VERSION: u32 = 1;

/// All that decides the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    version: u32,
    /// Of the target's tokenizer.
    vocabulary: String,
    /// Shape of the target, and how its weights are held.
    target: String,
    questions: usize,
    /// Questions of a part.
    #[serde(default = "least")]
    pub(super) part: usize,
    /// Over names, ids and temperatures of the questions.
    questions_hash: String,
    max_new_tokens: usize,
    seed: u64,
    pub(super) top_k: usize,
}

impl Manifest {
    pub(super) fn new(
        target: &TargetModel,
        questions: &[Question],
        config: &GenerateConfig,
    ) -> Self {
        let model = target.config();
        let held = match config.place {
            Place::Cpu => format!("{} bytes a pass", target.model.bytes_per_pass()),
            Place::Burn(_) => "float32 on a Burn device".into(),
            Place::Torch(_) if config.precision == Precision::Float32 => {
                "float32 in PyTorch".into()
            }
            Place::Torch(_) => format!("{:?} in PyTorch", config.precision),
        };
        Self {
            version: VERSION,
            vocabulary: format!("{:016x}", target.tokenizer.fingerprint()),
            target: format!(
                "{} blocks of width {}, {}",
                model.layers, model.hidden_size, held
            ),
            questions: questions.len(),
            part: PART.max(ROUNDS * config.batch),
            questions_hash: format!("{:016x}", hash(questions)),
            max_new_tokens: config.max_new_tokens,
            seed: config.seed,
            top_k: config.top_k,
        }
    }

    pub(super) fn parts(&self) -> usize {
        self.questions.div_ceil(self.part.max(1))
    }

    pub(super) fn read(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(NAME);
        let text = fs::read(&path).map_err(|error| io(&path, error))?;
        serde_json::from_slice(&text).map_err(|error| io(&path, error.into()))
    }

    /// Makes an empty folder ours, and refuses one that is another's.
    pub(super) fn claim(&self, folder: &Path) -> Result<(), TrainError> {
        if !folder.join(NAME).exists() {
            return crate::report::write_json(&folder.join(NAME), self);
        }
        let found = Self::read(folder)?;
        if found == *self {
            return Ok(());
        }
        let text = |manifest| serde_json::to_string_pretty(manifest).unwrap_or_default();
        Err(TrainError::AnswersChanged {
            path: folder.to_owned(),
            diff: crate::checkpoint::diff::lines(&text(&found), &text(self)),
        })
    }
}

/// Of folders that do not say it.
fn least() -> usize {
    PART
}

/// FNV-1a, 64 bits.
fn hash(questions: &[Question]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut write = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for question in questions {
        write(question.id.as_bytes());
        write(&[0xff]);
        write(&question.temperature.to_le_bytes());
        write(&(question.ids.len() as u64).to_le_bytes());
        for id in &question.ids {
            write(&id.to_le_bytes());
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_question_counts() {
        let question = Question {
            id: "a".into(),
            prompt: String::new(),
            ids: vec![1, 2],
            temperature: 0.6,
        };
        let with = |change: fn(&mut Question)| {
            let mut changed = question.clone();
            change(&mut changed);
            hash(&[changed])
        };
        let all = [
            with(|_| {}),
            with(|q| q.id = "b".into()),
            with(|q| q.ids = vec![1]),
            with(|q| q.temperature = 0.0),
            hash(&[question.clone(), question.clone()]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one), "{i}");
        }
    }
}

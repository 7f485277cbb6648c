//! What the example programs share: arguments and the way to a model.

pub mod passes;
pub mod place;

use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::ValueEnum;
use fastdraft_data::{
    DataError,
    source::{Prompt, read_prompts},
};
use fastdraft_model::{
    ModelError,
    engine::cpu::WeightFormat,
    source::{self, SourceOptions},
};
use fastdraft_train::{AnyDraft, TargetModel, TrainError, draft::WITH_LOOKUP};

/// Exit code after Ctrl-C, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// What an example returns: any error ends it with one line and exit code 1.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Runs a program body; its error becomes one line on stderr.
pub fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Weight format on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Dtype {
    /// 4 bytes a weight.
    F32,
    /// 2 bytes a weight.
    Bf16,
    /// 1 byte a weight, 16-bit activations.
    Int8,
    /// The blocks of a GGUF file as they are, 8-bit activations for four-bit ones; what is not in
    /// such blocks as int8.
    Gguf,
    /// Half a byte a weight in blocks, 1 byte in embedding and head: for drafts.
    Int4,
}

impl fmt::Display for Dtype {
    /// As it is written on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl From<Dtype> for WeightFormat {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::Bf16,
            Dtype::Int8 => Self::Int8,
            Dtype::Gguf => Self::Gguf,
            Dtype::Int4 => Self::Int4,
        }
    }
}

/// Loads a target by path or name.
///
/// # Errors
/// What the source, the file or the tokenizer says.
pub fn target(spec: &str, dtype: Dtype) -> Result<TargetModel, TrainError> {
    TargetModel::load(&resolve(spec)?, dtype.into())
}

/// Loads a draft by path and checks it against its target, or takes one of
/// [`AnyDraft::NAMES`], or a path after [`WITH_LOOKUP`].
///
/// # Errors
/// [`TrainError::Vocabulary`] for another model's draft.
pub fn draft(spec: &str, dtype: Dtype, target: &TargetModel) -> Result<AnyDraft, TrainError> {
    if let Some(draft) = AnyDraft::by_name(spec) {
        return Ok(draft);
    }
    if spec.starts_with(WITH_LOOKUP) {
        return AnyDraft::load(Path::new(spec), dtype.into(), target);
    }
    AnyDraft::load(&resolve(spec)?, dtype.into(), target)
}

/// `draft` reading only the last `context` tokens of a context twice as long, or for 0 all of it.
#[must_use]
pub fn reading(draft: AnyDraft, context: usize) -> AnyDraft {
    match context {
        0 => draft,
        tokens => draft.with_recent(tokens),
    }
}

/// The prompts of all files, of each the first `limit`, or all for 0.
///
/// # Errors
/// What a file says.
pub fn prompts(files: &[PathBuf], limit: usize) -> Result<Vec<Prompt>, DataError> {
    let mut prompts = Vec::new();
    for file in files {
        let mut found = read_prompts(file)?;
        if limit > 0 {
            found.truncate(limit);
        }
        prompts.extend(found);
    }
    Ok(prompts)
}

/// The file of a model given by path or name, fetched if need be.
///
/// # Errors
/// What the source says.
pub fn resolve(spec: &str) -> Result<PathBuf, ModelError> {
    source::resolve(spec, &SourceOptions::default())
}

/// Fails before any work when `path` cannot be created as a folder.
///
/// # Errors
/// The system's message with the path.
pub fn writable(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(path)
        .and_then(|()| tempfile::tempfile_in(path).map(drop))
        .map_err(|error| format!("{}: cannot write here: {error}", path.display()).into())
}

/// `90s`, `10m`, `1h` or `1h30m`.
///
/// # Errors
/// A sentence that names the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time such as 90s, 10m or 1h30m");
    let (mut seconds, mut number) = (0u64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        let value: u64 = number.parse().map_err(|_| wrong())?;
        seconds = value
            .checked_mul(unit)
            .and_then(|v| v.checked_add(seconds))
            .ok_or_else(wrong)?;
        number.clear();
    }
    if !number.is_empty() || seconds == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "10", "m", "3d", "0s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

//! A stage as a folder that the worker reads.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fastdraft_data::shard::{ShardSpec, write_set};
use fastdraft_model::{Checkpoint, DecoderConfig, export};
use safetensors::{Dtype, tensor::TensorView};
use serde::Serialize;

use super::{TorchConfig, TorchDevice, files::io};
use crate::{
    checkpoint::tensors,
    error::TrainError,
    optim::{AdamW, AdamWConfig},
    stage::Freeze,
    stage::{Source, StageConfig, StageState},
    teacher::TaughtRows,
};

const FORMAT: &str = "fastdraft-torch-stage";
const VERSION: u32 = 2;
const ROWS_PER_SHARD: usize = 1 << 16;
const TEACHER: &str = "teacher";
const TAUGHT: &str = "taught.safetensors";

#[derive(Serialize)]
struct Stage<'a> {
    format: &'static str,
    version: u32,
    stage: &'a str,
    device: TorchDevice,
    autocast: Option<&'static str>,
    batch: usize,
    accumulation: usize,
    gradient_checkpointing: bool,
    seed: u64,
    sequence_length: usize,
    clip: Option<f32>,
    loss: Terms,
    optimizer: AdamWConfig,
    freeze: Freeze,
    fingerprint: String,
    step: usize,
    updates: u32,
    model: &'a DecoderConfig,
    rotary: RotaryTable,
    sources: Vec<SourceEntry>,
    teacher: Option<TeacherEntry<'a>>,
}

/// A target that says what it thinks of the rows of each step.
#[derive(Serialize)]
struct TeacherEntry<'a> {
    folder: &'static str,
    model: &'a DecoderConfig,
    rotary: RotaryTable,
}

#[derive(Serialize)]
struct Terms {
    cross_entropy: f32,
    kl: f32,
    tvd: f32,
}

/// A [`Rotary`](fastdraft_model::Rotary) for the worker.
#[derive(Serialize)]
pub(super) struct RotaryTable {
    frequencies: Vec<f32>,
    attention_factor: f32,
}

impl RotaryTable {
    /// For sequences of up to `length` tokens.
    pub(super) fn new(model: &DecoderConfig, length: usize) -> Self {
        let rotary = model.rotary(length);
        Self {
            frequencies: rotary.frequencies,
            attention_factor: rotary.attention_factor,
        }
    }
}

#[derive(Serialize)]
struct SourceEntry {
    folder: String,
    weight: u32,
    rows: usize,
    taught: Option<TaughtEntry>,
}

#[derive(Serialize)]
struct TaughtEntry {
    file: &'static str,
    crc32: String,
}

/// What a stage starts from.
pub(super) struct Start<'a> {
    pub(super) draft: &'a Checkpoint,
    pub(super) freeze: Freeze,
    pub(super) stage: &'a StageConfig,
    pub(super) sources: &'a [Source<'a>],
    pub(super) state: &'a StageState,
    /// The target, for a stage with live teacher logits.
    pub(super) teacher: Option<&'a Checkpoint>,
}

impl Start<'_> {
    /// Inputs of a row, the same in all sources.
    pub(super) fn sequence_length(&self) -> Result<usize, TrainError> {
        let lengths: Vec<usize> = (self.sources.iter())
            .map(|source| source.packed().sequence_length)
            .collect();
        match lengths.first() {
            Some(&first) if first > 0 && lengths.iter().all(|length| *length == first) => Ok(first),
            _ => Err(TrainError::Engine {
                reason: format!("rows of {lengths:?} tokens in one stage"),
            }),
        }
    }

    /// Writes everything below `folder`; `stage.json` comes last.
    ///
    /// # Errors
    /// [`TrainError::Engine`] for rows of several lengths, [`TrainError::Data`] for ids outside
    /// the vocabulary, [`TrainError::Model`] or [`TrainError::Io`] when the folder cannot be
    /// written.
    pub(super) fn write(&self, folder: &Path, config: &TorchConfig) -> Result<(), TrainError> {
        let seq = self.sequence_length()?;
        let (stage, model) = (self.stage, &self.draft.config);
        export::hf::save(&folder.join("model"), self.draft)?;
        tensors::write(&folder.join("moments.safetensors"), self.state)?;
        let spec = ShardSpec::new(seq, model.vocabulary_size, config.fingerprint);
        let sources = (self.sources.iter().enumerate())
            .map(|(number, source)| entry(folder, number, source, spec))
            .collect::<Result<_, _>>()?;
        let teacher = (self.teacher)
            .map(|target| {
                export::hf::save(&folder.join(TEACHER).join("model"), target)?;
                Ok::<_, TrainError>(TeacherEntry {
                    folder: TEACHER,
                    model: &target.config,
                    rotary: RotaryTable::new(&target.config, seq),
                })
            })
            .transpose()?;
        let [cross_entropy, kl, tvd] = stage.loss.weights();
        let document = Stage {
            format: FORMAT,
            version: VERSION,
            stage: &stage.name,
            device: config.device,
            autocast: stage.precision.autocast(),
            batch: stage.batch,
            accumulation: stage.accumulation.max(1),
            gradient_checkpointing: stage.gradient_checkpointing,
            seed: stage.seed,
            sequence_length: seq,
            clip: stage.clip.is_finite().then_some(stage.clip),
            loss: Terms {
                cross_entropy,
                kl,
                tvd,
            },
            optimizer: stage.optimizer,
            freeze: self.freeze,
            fingerprint: format!("{:016x}", config.fingerprint),
            step: self.state.step,
            updates: self.state.optimizer.as_ref().map_or(0, AdamW::steps),
            model,
            rotary: RotaryTable::new(model, seq),
            sources,
            teacher,
        };
        crate::report::write_json(&folder.join("stage.json"), &document)
    }
}

/// Writes the rows of one source.
fn entry(
    folder: &Path,
    number: usize,
    source: &Source<'_>,
    spec: ShardSpec,
) -> Result<SourceEntry, TrainError> {
    let name = format!("data/{number}");
    let path = folder.join(&name);
    fs::create_dir_all(&path).map_err(|source| io(&path, source))?;
    let packed = source.packed();
    write_set(&path, spec, packed, ROWS_PER_SHARD)?;
    let taught = match source.taught() {
        Some(taught) => Some(TaughtEntry {
            file: TAUGHT,
            crc32: format!("{:08x}", write_taught(&path.join(TAUGHT), taught)?),
        }),
        None => None,
    };
    Ok(SourceEntry {
        folder: name,
        weight: source.weight(),
        rows: packed.rows(),
        taught,
    })
}

/// Writes `ids` and `probabilities` `[positions, k]` and the first position of each row, `first`
/// `[rows]`; returns the file's checksum.
fn write_taught(path: &Path, taught: &TaughtRows) -> Result<u32, TrainError> {
    let (ids, probabilities) = taught.teacher().columns();
    let (k, positions) = (taught.teacher().k(), taught.teacher().positions());
    let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let shares: Vec<u8> = (probabilities.iter())
        .flat_map(|share| share.to_le_bytes())
        .collect();
    let first: Vec<u8> = (taught.first().iter())
        .flat_map(|first| (*first as u64).to_le_bytes())
        .collect();
    let wide = vec![positions, k];
    let views = [
        ("ids", Dtype::U32, wide.clone(), ids.as_slice()),
        ("probabilities", Dtype::F32, wide, shares.as_slice()),
        ("first", Dtype::U64, vec![taught.first().len()], &first),
    ];
    let wrong = |error: safetensors::SafeTensorError| io(path, std::io::Error::other(error));
    let views = (views.into_iter())
        .map(|(name, dtype, shape, data)| Ok((name, TensorView::new(dtype, shape, data)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(wrong)?;
    let bytes = safetensors::serialize(views, None).map_err(wrong)?;
    fs::write(path, &bytes).map_err(|source| io(path, source))?;
    Ok(crc32fast::hash(&bytes))
}

/// The folder of a stage: below the given one, or temporary.
pub(super) enum RunFolder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl RunFolder {
    pub(super) fn new(config: &TorchConfig, stage: &str) -> Result<Self, TrainError> {
        let Some(folder) = &config.folder else {
            let folder = tempfile::tempdir().map_err(|error| io(&std::env::temp_dir(), error))?;
            return Ok(Self::Temporary(folder));
        };
        let path = folder.join(stage);
        fs::create_dir_all(&path).map_err(|source| io(&path, source))?;
        // Ranks may run in another working directory.
        let path = path.canonicalize().map_err(|source| io(&path, source))?;
        Ok(Self::Kept(path))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

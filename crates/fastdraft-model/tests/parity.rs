//! Every model directory with `expected.safetensors` against the peer that computed it.
//!
//! `FASTDRAFT_PARITY=DIRECTORY cargo test -p fastdraft-model --test parity -- --nocapture` prints
//! the table of the models in DIRECTORY, which `tests/peers/transformers_make.py` makes; without
//! it, that of the models in `tests/fixtures/hf`.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in `#[test]` functions, not in their helpers.

use std::{env, fs, path::Path, path::PathBuf};

#[cfg(all(feature = "burn", feature = "specdec"))]
use fastdraft_model::Checkpoint;
use fastdraft_model::{
    engine::cpu::{CpuModel, KvCache, Segment, WeightFormat, Workspace},
    import,
};
use safetensors::SafeTensors;

/// The tolerance of float32 logits.
const LIMIT: f32 = 1e-4;

struct Expected {
    seq: usize,
    input_ids: Vec<u32>,
    logits: Vec<f32>,
    greedy_ids: Option<Vec<u32>>,
}

impl Expected {
    fn read(dir: &Path) -> Self {
        let bytes = fs::read(dir.join("expected.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let ids = |name: &str| -> Option<Vec<u32>> {
            let (words, _) = file.tensor(name).ok()?.data().as_chunks::<8>();
            Some(
                words
                    .iter()
                    .map(|b| i64::from_le_bytes(*b) as u32)
                    .collect(),
            )
        };
        let (words, _) = file.tensor("logits").unwrap().data().as_chunks::<4>();
        Self {
            seq: file.tensor("input_ids").unwrap().shape()[1],
            input_ids: ids("input_ids").unwrap(),
            logits: words.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            greedy_ids: ids("greedy_ids"),
        }
    }
}

fn directories() -> Vec<PathBuf> {
    let root = env::var_os("FASTDRAFT_PARITY").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hf"),
        PathBuf::from,
    );
    let mut list: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.safetensors").exists())
        .collect();
    list.sort();
    list
}

fn pass(model: &CpuModel, cache: &mut KvCache, tokens: &[u32]) -> Vec<f32> {
    let mut logits = Vec::new();
    let outputs = tokens.len();
    let segment = Segment {
        cache,
        tokens,
        outputs,
    };
    model
        .forward(&mut [segment], &mut Workspace::new(), &mut logits)
        .unwrap();
    logits
}

fn best(logits: &[f32]) -> u32 {
    (0..logits.len())
        .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        .unwrap() as u32
}

/// Largest difference of a logit.
fn difference(model: &CpuModel, expected: &Expected) -> f32 {
    let found: Vec<f32> = expected
        .input_ids
        .chunks_exact(expected.seq)
        .flat_map(|row| pass(model, &mut model.cache(expected.seq), row))
        .collect();
    assert_eq!(found.len(), expected.logits.len());
    found
        .iter()
        .zip(&expected.logits)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// Whether greedy decoding, one token at a time, takes the expected path.
fn same_path(model: &CpuModel, expected: &Expected) -> Option<bool> {
    let greedy = expected.greedy_ids.as_ref()?;
    let rows = expected.input_ids.len() / expected.seq;
    let added = greedy.len() / rows;
    let same = expected
        .input_ids
        .chunks_exact(expected.seq)
        .zip(greedy.chunks_exact(added))
        .all(|(row, greedy)| {
            let mut cache = model.cache(expected.seq + added);
            let size = model.config().head_size;
            let mut logits = pass(model, &mut cache, row);
            greedy.iter().all(|&wanted| {
                let next = best(&logits[logits.len() - size..]);
                logits = pass(model, &mut cache, &[next]);
                next == wanted
            })
        });
    Some(same)
}

/// Largest difference of a logit on a Burn device, and whether the greedy path is the same.
#[cfg(all(feature = "burn", feature = "specdec"))]
fn on_burn(checkpoint: &Checkpoint, expected: &Expected) -> (f32, Option<bool>) {
    use std::ops::ControlFlow;

    use fastdraft_model::engine::burn::BurnEngine;
    use fastdraft_specdec::{LogitRows, SessionConfig, Target, Transform, generate_plain};

    let device = burn::tensor::Device::flex();
    let rows = expected.input_ids.len() / expected.seq;
    let greedy = expected.greedy_ids.as_deref();
    let added = greedy.map_or(0, |ids| ids.len() / rows);
    let (mut difference, mut same) = (0.0f32, true);
    for (i, row) in expected.input_ids.chunks_exact(expected.seq).enumerate() {
        // Angles that depend on the length follow the capacity.
        let engine = |capacity| BurnEngine::from_checkpoint(checkpoint, &device, capacity, 0);
        let mut found = LogitRows::default();
        engine(expected.seq)
            .unwrap()
            .score(&row[..1], &row[1..], &mut found)
            .unwrap();
        let size = expected.logits.len() / expected.input_ids.len();
        let wanted = &expected.logits[i * expected.seq * size..];
        for (place, wanted) in wanted.chunks_exact(size).take(expected.seq).enumerate() {
            for (a, b) in found.row(place).unwrap().iter().zip(wanted) {
                difference = difference.max((a - b).abs());
            }
        }
        if let Some(greedy) = greedy {
            let session = SessionConfig {
                max_new_tokens: added,
                transform: Transform::greedy(),
                ..SessionConfig::default()
            };
            let mut engine = engine(expected.seq + added).unwrap();
            let out = generate_plain(&mut engine, row, &session, |_| ControlFlow::Continue(()));
            same &= out.unwrap().tokens == greedy[i * added..(i + 1) * added];
        }
    }
    (difference, greedy.map(|_| same))
}

#[test]
fn logits_and_greedy_ids_equal_those_of_the_peer() {
    let formats = [
        ("f32", WeightFormat::F32),
        ("bf16", WeightFormat::Bf16),
        ("int8", WeightFormat::Int8),
    ];
    println!("| model | weights | max abs diff | greedy equal |\n|---|---|---|---|");
    let (mut count, mut wrong) = (0, Vec::new());
    for dir in directories() {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let expected = Expected::read(&dir);
        let checkpoint = match import::load(&dir) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                println!("| {name} | refused: {error} | | |");
                wrong.push(name);
                continue;
            }
        };
        for (format, weights) in formats {
            let model = CpuModel::new(&checkpoint, weights).unwrap();
            let difference = difference(&model, &expected);
            let same = same_path(&model, &expected);
            let shown = same.map_or("not asked", |same| if same { "yes" } else { "no" });
            println!("| {name} | {format} | {difference:.1e} | {shown} |");
            if format == "f32" && (difference.is_nan() || difference > LIMIT || same == Some(false))
            {
                wrong.push(name.clone());
            }
        }
        #[cfg(all(feature = "burn", feature = "specdec"))]
        {
            let (difference, same) = on_burn(&checkpoint, &expected);
            let shown = same.map_or("not asked", |same| if same { "yes" } else { "no" });
            println!("| {name} | Burn f32 | {difference:.1e} | {shown} |");
            if difference.is_nan() || difference > LIMIT || same == Some(false) {
                wrong.push(format!("{name} on Burn"));
            }
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(count >= 4, "{count} models");
}

//! Every family against transformers, on every engine.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use fastdraft_model::{
    decoder::Decoder,
    engine::{
        burn::KvCache,
        cpu::{CpuModel, Segment, WeightFormat, Workspace},
    },
    import,
};
use fastdraft_tests::model_directories;
use safetensors::SafeTensors;

struct Expected {
    batch: usize,
    seq: usize,
    input_ids: Vec<u32>,
    logits: Vec<f32>,
    greedy_ids: Vec<u32>,
}

impl Expected {
    fn read(dir: &Path) -> Self {
        let bytes = std::fs::read(dir.join("expected.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let ids = |name: &str| -> Vec<u32> {
            let data = file.tensor(name).unwrap().data().to_vec();
            data.chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32)
                .collect()
        };
        let logits = file.tensor("logits").unwrap();
        let shape = file.tensor("input_ids").unwrap().shape().to_vec();
        Self {
            batch: shape[0],
            seq: shape[1],
            input_ids: ids("input_ids"),
            logits: logits
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            greedy_ids: ids("greedy_ids"),
        }
    }
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max)
}

#[test]
fn cpu_engine_logits_and_greedy_ids_equal_transformers() {
    let directories = model_directories();
    assert!(directories.len() >= 4, "{directories:?}");
    for dir in directories {
        let expected = Expected::read(&dir);
        let model = CpuModel::new(&import::load(&dir).unwrap(), WeightFormat::F32).unwrap();
        let (mut work, mut logits, mut all) = (Workspace::new(), Vec::new(), Vec::new());
        let added = expected.greedy_ids.len() / expected.batch;
        for (row, greedy) in expected
            .input_ids
            .chunks_exact(expected.seq)
            .zip(expected.greedy_ids.chunks_exact(added))
        {
            let mut cache = model.cache(expected.seq + added);
            let outputs = row.len();
            let segment = Segment {
                cache: &mut cache,
                tokens: row,
                outputs,
            };
            model
                .forward(&mut [segment], &mut work, &mut logits)
                .unwrap();
            all.extend_from_slice(&logits);
            let vocabulary = model.config().head_size;
            for wanted in greedy {
                let last = &logits[logits.len() - vocabulary..];
                let best = (0..vocabulary)
                    .max_by(|a, b| last[*a].total_cmp(&last[*b]))
                    .unwrap();
                assert_eq!(best as u32, *wanted, "{}", dir.display());
                let tokens = [best as u32];
                let segment = Segment {
                    cache: &mut cache,
                    tokens: &tokens,
                    outputs: 1,
                };
                model
                    .forward(&mut [segment], &mut work, &mut logits)
                    .unwrap();
            }
        }
        let difference = max_difference(&all, &expected.logits);
        println!("{}: {difference:e}", dir.display());
        assert!(difference < 1e-4, "{}: {difference}", dir.display());
    }
}

#[test]
fn burn_engine_logits_and_greedy_ids_equal_transformers() {
    for dir in model_directories() {
        let expected = Expected::read(&dir);
        let device = Device::flex();
        let decoder = Decoder::from_checkpoint(&import::load(&dir).unwrap(), &device).unwrap();
        let added = expected.greedy_ids.len() / expected.batch;
        let host = |logits: Tensor<2>| -> Vec<f32> { logits.into_data().try_into_vec().unwrap() };
        let (mut all, mut single) = (Vec::new(), Vec::new());
        for (row, greedy) in expected
            .input_ids
            .chunks_exact(expected.seq)
            .zip(expected.greedy_ids.chunks_exact(added))
        {
            let mut cache = KvCache::new(decoder.config(), expected.seq + added, &device);
            let mut logits = host(decoder.forward_cached(row, row.len(), &mut cache).unwrap());
            all.extend_from_slice(&logits);
            let vocabulary = decoder.config().head_size;
            for wanted in greedy {
                let last = &logits[logits.len() - vocabulary..];
                let best = (0..vocabulary)
                    .max_by(|a, b| last[*a].total_cmp(&last[*b]))
                    .unwrap();
                assert_eq!(best as u32, *wanted, "{}", dir.display());
                let next = decoder.forward_cached(&[best as u32], 1, &mut cache);
                logits = host(next.unwrap());
            }
            cache.truncate(0);
            for token in row {
                let next = decoder.forward_cached(&[*token], 1, &mut cache);
                single.extend(host(next.unwrap()));
            }
        }
        let difference = max_difference(&all, &expected.logits);
        let apart = max_difference(&single, &all);
        println!("{}: {difference:e}, one by one {apart:e}", dir.display());
        assert!(difference < 1e-4, "{}: {difference}", dir.display());
        assert!(apart < 2e-5, "{}: {apart}", dir.display());
    }
}

#[test]
fn burn_logits_equal_transformers() {
    for dir in model_directories() {
        let expected = Expected::read(&dir);
        let device = Device::flex();
        let decoder = Decoder::from_checkpoint(&import::load(&dir).unwrap(), &device).unwrap();
        let ids: Vec<i64> = expected.input_ids.iter().map(|id| i64::from(*id)).collect();
        let shape = [expected.batch, expected.seq];
        let tokens: Tensor<2, Int> = Tensor::from_data(TensorData::new(ids, shape), &device);
        let logits: Vec<f32> = decoder.forward(tokens).into_data().try_into_vec().unwrap();
        let difference = max_difference(&logits, &expected.logits);
        println!("{}: {difference:e}", dir.display());
        assert!(difference < 1e-4, "{}: {difference}", dir.display());
    }
}

#[test]
fn the_older_spelling_of_a_configuration_is_the_same_model() {
    for dir in model_directories() {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        std::fs::copy(
            dir.join("config.legacy.json"),
            copy.path().join("config.json"),
        )
        .unwrap();
        let (new, old) = (
            import::load(&dir).unwrap(),
            import::load(copy.path()).unwrap(),
        );
        assert_eq!(new.config, old.config, "{}", dir.display());
        assert_eq!(new.weights, old.weights, "{}", dir.display());
    }
}

#[test]
fn export_and_import_keep_every_bit() {
    for dir in model_directories() {
        let checkpoint = import::load(&dir).unwrap();
        let copy = tempfile::tempdir().unwrap();
        fastdraft_model::export::hf::save(copy.path(), &checkpoint).unwrap();
        let again = import::load(copy.path()).unwrap();
        assert_eq!(checkpoint.weights, again.weights, "{}", dir.display());
        assert_eq!(checkpoint.config, again.config, "{}", dir.display());
    }
}

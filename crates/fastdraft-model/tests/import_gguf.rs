//! GGUF files: small ones read right, hostile ones refused.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in `#[test]` functions, not in their helpers.

use std::{fs, path::PathBuf};

use fastdraft_model::{
    Checkpoint, ModelError,
    import::{self, gguf::GgufFile},
};
use proptest::prelude::*;

const HIDDEN: usize = 8;
const HEADS: usize = 2;
const WIDTH: usize = 12;
const VOCABULARY: usize = 6;

/// Builds files in memory.
#[derive(Clone, Default)]
struct Writer {
    metadata: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Writer {
    fn value(&mut self, key: &str, kind: u32, bytes: Vec<u8>) -> &mut Self {
        self.metadata.push((key.to_owned(), kind, bytes));
        self
    }

    fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.value(key, 4, value.to_le_bytes().to_vec())
    }

    fn strings(&mut self, key: &str, values: &[&str]) -> &mut Self {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| string(value)));
        self.value(key, 9, bytes)
    }

    /// A float32 tensor, shape outermost first, counting up from `first`.
    fn tensor(&mut self, name: &str, shape: &[usize], first: f32) -> &mut Self {
        let count: usize = shape.iter().product();
        let data = (0..count)
            .flat_map(|i| (first + i as f32).to_le_bytes())
            .collect();
        let dimensions = shape.iter().rev().map(|&n| n as u64).collect();
        self.tensors.push((name.to_owned(), dimensions, 0, data));
        self
    }

    /// The file, and where its header ends.
    fn build(&self) -> (Vec<u8>, usize) {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.metadata {
            bytes.extend(string(key));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(value);
        }
        let mut data = Vec::new();
        for (name, dimensions, kind, values) in &self.tensors {
            bytes.extend(string(name));
            bytes.extend((dimensions.len() as u32).to_le_bytes());
            bytes.extend(dimensions.iter().flat_map(|n| n.to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(values);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        let header = bytes.len();
        bytes.resize(header.next_multiple_of(32), 0);
        bytes.extend(data);
        (bytes, header)
    }
}

fn model(arch: &str) -> Writer {
    let mut writer = Writer::default();
    writer.value("general.architecture", 8, string(arch));
    let key = |name: &str| format!("{arch}.{name}");
    writer
        .u32(&key("block_count"), 1)
        .u32(&key("embedding_length"), HIDDEN as u32)
        .u32(&key("feed_forward_length"), WIDTH as u32)
        .u32(&key("attention.head_count"), HEADS as u32)
        .u32(&key("attention.head_count_kv"), 1)
        .u32(&key("context_length"), 32)
        .value(
            &key("attention.layer_norm_rms_epsilon"),
            6,
            1e-5_f32.to_le_bytes().to_vec(),
        )
        .u32("tokenizer.ggml.eos_token_id", 2)
        .strings("tokenizer.ggml.tokens", &["a", "b", "c", "d", "e", "ab"])
        .strings("tokenizer.ggml.merges", &["a b"]);
    let head_dim = HIDDEN / HEADS;
    writer
        .tensor("token_embd.weight", &[VOCABULARY, HIDDEN], 0.0)
        .tensor("blk.0.attn_q.weight", &[HIDDEN, HIDDEN], 100.0)
        .tensor("blk.0.attn_k.weight", &[head_dim, HIDDEN], 200.0)
        .tensor("blk.0.attn_v.weight", &[head_dim, HIDDEN], 300.0)
        .tensor("blk.0.attn_output.weight", &[HIDDEN, HIDDEN], 400.0)
        .tensor("blk.0.ffn_gate.weight", &[WIDTH, HIDDEN], 500.0)
        .tensor("blk.0.ffn_up.weight", &[WIDTH, HIDDEN], 600.0)
        .tensor("blk.0.ffn_down.weight", &[HIDDEN, WIDTH], 700.0)
        .tensor("blk.0.attn_norm.weight", &[HIDDEN], 800.0)
        .tensor("blk.0.ffn_norm.weight", &[HIDDEN], 900.0)
        .tensor("output_norm.weight", &[HIDDEN], 1000.0);
    writer
}

struct Scratch {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            path: dir.path().join("model.gguf"),
            _dir: dir,
        }
    }

    fn load(&self, bytes: &[u8]) -> Result<Checkpoint, ModelError> {
        fs::write(&self.path, bytes).unwrap();
        import::gguf::load(&self.path)
    }
}

/// First element of each row.
fn rows(checkpoint: &Checkpoint, name: &str, shape: &[usize]) -> Vec<f32> {
    let tensor = checkpoint.weights.get(name, shape).unwrap();
    tensor.data.chunks(shape[1]).map(|row| row[0]).collect()
}

#[test]
fn llama_rows_return_to_halves() {
    let scratch = Scratch::new();
    let checkpoint = scratch.load(&model("llama").build().0).unwrap();
    assert_eq!(checkpoint.weights.len(), 11);
    assert!(checkpoint.config.tied);
    assert_eq!(checkpoint.config.eos_ids, [2]);
    let q = rows(
        &checkpoint,
        "model.layers.0.self_attn.q_proj.weight",
        &[8, 8],
    );
    assert_eq!(q, [100.0, 116.0, 108.0, 124.0, 132.0, 148.0, 140.0, 156.0]);
    let k = rows(
        &checkpoint,
        "model.layers.0.self_attn.k_proj.weight",
        &[4, 8],
    );
    assert_eq!(k, [200.0, 216.0, 208.0, 224.0]);
    let v = rows(
        &checkpoint,
        "model.layers.0.self_attn.v_proj.weight",
        &[4, 8],
    );
    assert_eq!(v, [300.0, 308.0, 316.0, 324.0]);
    assert_eq!(import::load(&scratch.path).unwrap(), checkpoint);
}

#[test]
fn qwen2_rows_stay_in_place() {
    let checkpoint = Scratch::new().load(&model("qwen2").build().0).unwrap();
    let q = rows(
        &checkpoint,
        "model.layers.0.self_attn.q_proj.weight",
        &[8, 8],
    );
    assert_eq!(q, [100.0, 108.0, 116.0, 124.0, 132.0, 140.0, 148.0, 156.0]);
}

#[test]
fn the_tokenizer_comes_along() {
    let scratch = Scratch::new();
    fs::write(&scratch.path, model("llama").build().0).unwrap();
    let tokenizer = GgufFile::open(&scratch.path).unwrap().tokenizer().unwrap();
    assert_eq!(tokenizer.tokens, ["a", "b", "c", "d", "e", "ab"]);
    assert_eq!(tokenizer.merges, ["a b"]);
    assert_eq!((tokenizer.bos_id, tokenizer.eos_id), (None, Some(2)));
    assert_eq!(tokenizer.token_types, [1; 6]);
}

#[test]
fn every_truncation_is_an_error() {
    let (bytes, header) = model("llama").build();
    let scratch = Scratch::new();
    for len in (0..=header).chain([bytes.len() - 32]) {
        let error = scratch.load(&bytes[..len]).unwrap_err();
        assert!(
            matches!(error, ModelError::Corrupt { .. }),
            "{len}: {error}"
        );
    }
}

#[test]
fn wrong_magic_and_version_are_named() {
    let (bytes, _) = model("llama").build();
    let scratch = Scratch::new();
    let mut wrong = bytes.clone();
    wrong[0] = b'X';
    assert!(matches!(
        scratch.load(&wrong),
        Err(ModelError::Corrupt { .. })
    ));
    assert!(matches!(
        import::load(&scratch.path),
        Err(ModelError::Unsupported { .. })
    ));
    let mut wrong = bytes;
    wrong[4] = 1;
    assert!(matches!(
        scratch.load(&wrong),
        Err(ModelError::Unsupported { .. })
    ));
}

#[test]
fn huge_counts_are_corrupt() {
    let (bytes, _) = model("llama").build();
    let scratch = Scratch::new();
    // Tensor count, metadata count, and the length of the first key.
    for at in [8, 16, 24] {
        for huge in [u64::MAX, u64::MAX / 2, 1 << 40] {
            let mut wrong = bytes.clone();
            wrong[at..at + 8].copy_from_slice(&huge.to_le_bytes());
            assert!(
                matches!(scratch.load(&wrong), Err(ModelError::Corrupt { .. })),
                "{at} {huge}"
            );
        }
    }
}

#[test]
fn huge_zero_and_unknown_tensors_are_refused() {
    let scratch = Scratch::new();
    for dimensions in [
        vec![1 << 40, 1 << 40],
        vec![u64::MAX],
        vec![0, 8],
        vec![],
        vec![1; 5],
    ] {
        let mut writer = model("llama");
        writer.tensors[0].1 = dimensions;
        let error = scratch.load(&writer.build().0).unwrap_err();
        assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");
    }
    let mut writer = model("llama");
    writer.tensors[0].2 = 10;
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(
        error.to_string().contains("Q2_K of `token_embd.weight`"),
        "{error}"
    );
}

#[test]
fn wrong_alignments_are_corrupt() {
    let scratch = Scratch::new();
    for alignment in [0_u32, 3, 48, 1 << 30] {
        let mut writer = model("llama");
        writer.u32("general.alignment", alignment);
        let error = scratch.load(&writer.build().0).unwrap_err();
        assert!(error.to_string().contains("general.alignment"), "{error}");
    }
    // The offset of the first tensor is the last number of its entry.
    let (bytes, _) = model("llama").build();
    let name = b"token_embd.weight";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    let at = at + name.len() + 4 + 2 * 8 + 4;
    for (offset, reason) in [
        (16_u64, "the offset a multiple of 32"),
        (1 << 20, "token_embd.weight` lies at"),
        (u64::MAX - 31, "the offset a multiple of 32"),
    ] {
        let mut wrong = bytes.clone();
        wrong[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        let error = scratch.load(&wrong).unwrap_err();
        assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn metadata_of_other_models_is_named() {
    let scratch = Scratch::new();
    let cases: [(&str, f32); 4] = [
        ("llama.logit_scale", 0.5),
        ("llama.attention.clamp_kqv", 8.0),
        ("llama.residual_scale", 0.2),
        ("llama.rope.scaling.yarn_log_multiplier", 0.1),
    ];
    for (key, value) in cases {
        let mut writer = model("llama");
        writer
            .value("llama.rope.scaling.type", 8, string("yarn"))
            .value("llama.rope.scaling.factor", 6, 2_f32.to_le_bytes().to_vec())
            .value(key, 6, value.to_le_bytes().to_vec());
        let error = scratch.load(&writer.build().0).unwrap_err();
        assert!(matches!(error, ModelError::Unsupported { .. }), "{error}");
        let name = key.rsplit_once('.').unwrap().1;
        assert!(error.to_string().contains(name), "{error}");
    }
    let mut writer = model("llama");
    writer.u32("llama.expert_count", 8);
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(error.to_string().contains("expert_count"), "{error}");
    let mut writer = model("llama");
    writer.value("split.count", 2, 3_u16.to_le_bytes().to_vec());
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(error.to_string().contains("one of 3"), "{error}");
    let mut writer = model("llama");
    writer.u32("llama.block_count", 1);
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(error.to_string().contains("is there twice"), "{error}");
    let mut writer = model("llama");
    writer.u32("llama.rope.dimension_count", 2);
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(error.to_string().contains("rotary part of 2"), "{error}");
}

#[test]
fn overlap_and_repetition_are_corrupt() {
    let scratch = Scratch::new();
    let mut writer = model("llama");
    // Declared twice as long as stored, so it reaches into the next tensor.
    writer.tensors[0].1[1] *= 2;
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(error.to_string().contains("overlap"), "{error}");
    let mut writer = model("llama");
    writer.tensors[1].0 = "token_embd.weight".into();
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn wrong_tensors_are_named() {
    let scratch = Scratch::new();
    let mut writer = model("llama");
    writer.tensor("blk.0.extra.weight", &[4], 0.0);
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(matches!(error, ModelError::UnexpectedTensor { name } if name == "blk.0.extra.weight"));
    let mut writer = model("llama");
    writer.tensors.pop();
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(matches!(error, ModelError::MissingTensor { name } if name == "model.norm.weight"));
    let mut writer = model("llama");
    writer.metadata[0].2 = string("mamba");
    let error = scratch.load(&writer.build().0).unwrap_err();
    assert!(error.to_string().contains("mamba"), "{error}");
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// `fixtures/dequant.json` has random blocks and what version 0.19.0 of the `gguf` package for
/// Python makes of them.
#[test]
fn every_type_expands_like_the_reference() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("fixtures/dequant.json")).unwrap();
    let scratch = Scratch::new();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let expected = unhex(case["values"].as_str().unwrap());
        let count = expected.len() as u64 / 4;
        let mut writer = Writer::default();
        writer.tensors.push((
            "t".into(),
            vec![count],
            case["id"].as_u64().unwrap() as u32,
            unhex(case["blocks"].as_str().unwrap()),
        ));
        fs::write(&scratch.path, writer.build().0).unwrap();
        let file = GgufFile::open(&scratch.path).unwrap();
        let values = file.dequantize(file.tensor("t").unwrap()).unwrap();
        let found: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        assert!(found == expected, "{}", case["type"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut bytes, header) = model("llama").build();
        for (index, value) in flips {
            bytes[index.index(header)] = value;
        }
        let scratch = Scratch::new();
        let _ = scratch.load(&bytes);
        if let Ok(file) = GgufFile::open(&scratch.path) {
            let _ = file.tokenizer();
        }
    }
}

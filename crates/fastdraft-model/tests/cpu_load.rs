//! A model laid out straight from its file is the model of the file.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in `#[test]` functions, not in their helpers.

use std::{fs, path::Path};

use fastdraft_model::{
    Checkpoint, DecoderConfig, DraftVocabulary, Family,
    draft::init,
    engine::cpu::{CpuModel, Segment, WeightFormat, Workspace},
    export::{gguf, hf},
    import::{self, gguf::GgufTokenizer},
};
use half::f16;

const VOCABULARY: u32 = 300;
const FORMATS: [WeightFormat; 4] = [
    WeightFormat::F32,
    WeightFormat::Bf16,
    WeightFormat::Int8,
    WeightFormat::Int4,
];

/// Logits of 40 tokens, `size` tokens a pass.
fn logits(model: &CpuModel, size: usize) -> Vec<f32> {
    let tokens: Vec<u32> = (0..40).map(|i| (i * i + 7) % VOCABULARY).collect();
    let (mut work, mut rows, mut all) = (Workspace::new(), Vec::new(), Vec::new());
    let mut cache = model.cache(tokens.len());
    for tokens in tokens.chunks(size) {
        let segment = Segment {
            cache: &mut cache,
            tokens,
            outputs: tokens.len(),
        };
        let pass = model.forward(&mut [segment], &mut work, &mut rows);
        pass.unwrap();
        all.extend_from_slice(&rows);
    }
    all
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn tiny(family: Family) -> Checkpoint {
    let mut config = DecoderConfig::llama(VOCABULARY as usize, 64, 2);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 16);
    let mut checkpoint = init::random(config, None, 3).unwrap();
    checkpoint.config.family = family;
    if family == Family::Qwen2 {
        checkpoint.config.qkv_bias = true;
        for (layer, (part, rows)) in
            (0..2).flat_map(|layer| [("q", 64), ("k", 32), ("v", 32)].map(|part| (layer, part)))
        {
            let name = format!("model.layers.{layer}.self_attn.{part}_proj.bias");
            let bias = (0..rows).map(|row| row as f32 / 50.0).collect();
            checkpoint.weights.insert(name, vec![rows], bias);
        }
    }
    checkpoint
}

fn tokenizer() -> GgufTokenizer {
    GgufTokenizer {
        model: "gpt2".to_owned(),
        add_space_prefix: true,
        scores: Vec::new(),
        token_types: vec![1; VOCABULARY as usize],
        merges: vec!["t1 t2".to_owned()],
        pre: "smollm".to_owned(),
        bos_id: None,
        eos_id: Some(2),
        unknown_id: None,
        add_bos: false,
        chat_template: None,
        tokens: (0..VOCABULARY).map(|id| format!("t{id}")).collect(),
    }
}

fn loads_as_imported(path: &Path) {
    let checkpoint = import::load(path).unwrap();
    // In four bits the blocks of a GGUF file stay what they are, and a float32 copy is rounded anew.
    let kept = |format: &WeightFormat| path.is_file() && *format == WeightFormat::Int4;
    for format in FORMATS.into_iter().filter(|format| !kept(format)) {
        let whole = logits(&CpuModel::new(&checkpoint, format).unwrap(), 5);
        let pieces = CpuModel::load(path, format).unwrap();
        assert_eq!(pieces.config(), &checkpoint.config);
        assert_eq!(
            pieces.draft_vocabulary(),
            checkpoint.draft_vocabulary.as_ref()
        );
        assert!(same_bits(&whole, &logits(&pieces, 5)), "{format:?}");
    }
}

#[test]
fn pieces_make_the_model_that_is_imported_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut partial = tiny(Family::Phi3);
    partial.config.rotary_dim = Some(12);
    let models = [
        tiny(Family::Llama),
        tiny(Family::Qwen2),
        tiny(Family::Phi3),
        partial,
    ];
    for (i, checkpoint) in models.iter().enumerate() {
        let out = dir.path().join(i.to_string());
        hf::save(&out, checkpoint).unwrap();
        loads_as_imported(&out);
        for format in [gguf::GgufFormat::F16, gguf::GgufFormat::Q8_0] {
            let out = dir.path().join(format!("{i}-{format:?}.gguf"));
            gguf::save(&out, checkpoint, &tokenizer(), format).unwrap();
            loads_as_imported(&out);
        }
    }
}

#[test]
fn a_trimmed_head_comes_along() {
    let dir = tempfile::tempdir().unwrap();
    let kept = DraftVocabulary::new((0..VOCABULARY).step_by(3).collect(), VOCABULARY as usize);
    let config = tiny(Family::Llama).config;
    let out = dir.path().join("draft");
    hf::save(&out, &init::random(config, Some(kept.unwrap()), 3).unwrap()).unwrap();
    loads_as_imported(&out);
}

/// A Llama file whose matrices have random blocks of a type: its number in the format and the
/// half-precision constants and bytes of a block.
fn blocks_file(path: &Path, kind: u32, constants: usize, bytes: usize) {
    let string = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut state = 1u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let (hidden, width, head) = (128usize, 160usize, 32usize);
    let vocabulary = VOCABULARY as usize;
    let mut tensors = vec![("token_embd.weight".to_owned(), vec![vocabulary, hidden])];
    for (name, rows, columns) in [
        ("attn_q", hidden, hidden),
        ("attn_k", head, hidden),
        ("attn_v", head, hidden),
        ("attn_output", hidden, hidden),
        ("ffn_gate", width, hidden),
        ("ffn_up", width, hidden),
        ("ffn_down", hidden, width),
    ] {
        tensors.push((format!("blk.0.{name}.weight"), vec![rows, columns]));
    }
    for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"] {
        tensors.push((format!("{name}.weight"), vec![hidden]));
    }
    let metadata: Vec<(&str, u32, Vec<u8>)> = vec![
        ("general.architecture", 8, string("llama")),
        ("llama.block_count", 4, 1u32.to_le_bytes().into()),
        (
            "llama.embedding_length",
            4,
            (hidden as u32).to_le_bytes().into(),
        ),
        (
            "llama.feed_forward_length",
            4,
            (width as u32).to_le_bytes().into(),
        ),
        ("llama.attention.head_count", 4, 4u32.to_le_bytes().into()),
        (
            "llama.attention.head_count_kv",
            4,
            1u32.to_le_bytes().into(),
        ),
        ("llama.context_length", 4, 64u32.to_le_bytes().into()),
        ("llama.vocab_size", 4, VOCABULARY.to_le_bytes().into()),
        (
            "llama.attention.layer_norm_rms_epsilon",
            6,
            1e-5f32.to_le_bytes().into(),
        ),
        ("tokenizer.ggml.eos_token_id", 4, 2u32.to_le_bytes().into()),
    ];
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((metadata.len() as u64).to_le_bytes());
    for (key, kind, value) in metadata {
        file.extend(string(key));
        file.extend(kind.to_le_bytes());
        file.extend(value);
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, shape) in tensors {
        file.extend(string(&name));
        file.extend((shape.len() as u32).to_le_bytes());
        file.extend(shape.iter().rev().flat_map(|&n| (n as u64).to_le_bytes()));
        file.extend(if shape.len() == 1 { 0 } else { kind }.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        let elements: usize = shape.iter().product();
        if shape.len() == 1 {
            data.extend((0..elements).flat_map(|_| 1f32.to_le_bytes()));
        } else {
            for _ in 0..elements / 32 {
                let scale = (1 + random() % 100) as f32 / if bytes == 32 { 4e4 } else { 4e3 };
                data.extend(f16::from_f32(scale).to_le_bytes());
                for _ in 1..constants {
                    data.extend(f16::from_f32(scale * -7.3).to_le_bytes());
                }
                data.extend((0..bytes).map(|_| random() as u8));
            }
        }
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    fs::write(path, file).unwrap();
}

#[test]
fn blocks_keep_their_values_and_tokens_their_logits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    for (kind, constants, bytes) in [(2, 1, 16), (3, 2, 16), (8, 1, 32)] {
        blocks_file(&path, kind, constants, bytes);
        let exact = CpuModel::load(&path, WeightFormat::F32).unwrap();
        let model = CpuModel::load(&path, WeightFormat::Gguf).unwrap();
        let bytes_of = |format| CpuModel::load(&path, format).unwrap().bytes_per_pass();
        if bytes < 32 {
            // Blocks of 18 or 20 bytes for 32 weights.
            assert!(model.bytes_per_pass() < bytes_of(WeightFormat::Int8) * 2 / 3);
        }
        let alone = logits(&model, 1);
        for together in [2, 3, 8, 13, 40] {
            assert!(same_bits(&alone, &logits(&model, together)), "{together}");
        }
        // The weights are the file's, so only the rounding of activations, keys and values is between
        // the two.
        let exact = logits(&exact, 40);
        let (mut error, mut size) = (0.0, 0.0);
        for (a, b) in alone.iter().zip(&exact) {
            error += f64::from(a - b).powi(2);
            size += f64::from(*b).powi(2);
        }
        let relative = (error / size).sqrt();
        let limit = if bytes == 32 { 1e-3 } else { 0.02 };
        assert!(relative < limit, "type {kind}: {relative}");
    }
}

#[test]
fn four_bits_are_for_blocks_alone() {
    let checkpoint = tiny(Family::Llama);
    let [exact, int8, int4] = [WeightFormat::F32, WeightFormat::Int8, WeightFormat::Int4]
        .map(|format| CpuModel::new(&checkpoint, format).unwrap());
    let head = VOCABULARY as usize * 64;
    // A scale of four bytes for every 64 weights, or scale and minimum of two each for every 32.
    let blocks = exact.bytes_per_pass() / 4 - head;
    assert!(int4.bytes_per_pass() < blocks * 6 / 10 + head * 11 / 10 + 4096);
    assert!(int4.bytes_per_pass() < int8.bytes_per_pass());
    let error = |model: &CpuModel| -> f32 {
        let (found, exact) = (logits(model, 8), logits(&exact, 8));
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
        let difference = square(&mut found.iter().zip(&exact).map(|(a, b)| a - b));
        (difference / square(&mut exact.iter().copied())).sqrt()
    };
    let (eight, four) = (error(&int8), error(&int4));
    assert!(
        eight < 0.02 && four < 0.2 && four > 2.0 * eight,
        "{eight} {four}"
    );
}

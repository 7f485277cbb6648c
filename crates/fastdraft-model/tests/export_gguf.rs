//! GGUF files: written, read back, and refused when llama.cpp would compute something else.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in `#[test]` functions, not in their helpers.

use std::path::PathBuf;

use fastdraft_model::{
    Checkpoint, DecoderConfig, DraftVocabulary, Family, ModelError, RopeScaling,
    draft::init,
    export::gguf::{GgufFormat, GgufFormats, save},
    import::{
        self,
        gguf::{GgufFile, GgufTokenizer, TensorType},
    },
};
use half::{bf16, f16};

const VOCABULARY: usize = 300;

fn tokenizer() -> GgufTokenizer {
    let mut tokens: Vec<String> = (0..290).map(|id| format!("t{id}")).collect();
    tokens.extend(["a", "b", "ab"].map(str::to_owned));
    let mut token_types = vec![1; tokens.len()];
    token_types[0] = 3;
    GgufTokenizer {
        model: "gpt2".to_owned(),
        add_space_prefix: true,
        scores: Vec::new(),
        token_types,
        merges: vec!["a b".to_owned()],
        pre: "smollm".to_owned(),
        bos_id: Some(1),
        eos_id: Some(2),
        unknown_id: Some(0),
        add_bos: true,
        chat_template: Some("{{ messages }} ü".to_owned()),
        tokens,
    }
}

fn model() -> Checkpoint {
    let mut config = DecoderConfig::llama(VOCABULARY, 64, 2);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 32);
    (config.bos_id, config.eos_ids) = (Some(1), vec![2, 5]);
    init::random(config, None, 3).unwrap()
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    (dir, path)
}

fn round_trip(checkpoint: &Checkpoint, format: impl Into<GgufFormats>) -> Checkpoint {
    let (_dir, path) = file();
    save(&path, checkpoint, &tokenizer(), format).unwrap();
    import::load(&path).unwrap()
}

/// What a value is after storage.
type Rounding = fn(f32) -> f32;

#[test]
fn each_format_reads_back_as_rounded() {
    let checkpoint = model();
    let formats: [(GgufFormat, Rounding); 3] = [
        (GgufFormat::F32, |v| v),
        (GgufFormat::F16, |v| f16::from_f32(v).to_f32()),
        (GgufFormat::BF16, |v| bf16::from_f32(v).to_f32()),
    ];
    for (format, round) in formats {
        let read = round_trip(&checkpoint, format);
        assert_eq!(read.weights.len(), checkpoint.weights.len());
        for (name, tensor) in checkpoint.weights.iter() {
            let found = read.weights.get(name, &tensor.shape).unwrap();
            let matrix = tensor.shape.len() == 2;
            for (a, b) in tensor.data.iter().zip(&found.data) {
                assert_eq!(if matrix { round(*a) } else { *a }, *b, "{format:?} {name}");
            }
        }
        // Float32 metadata keeps the constants to their first seven digits.
        let mut config = read.config;
        assert!((config.norm_epsilon - 1e-5).abs() < 1e-12);
        config.norm_epsilon = checkpoint.config.norm_epsilon;
        assert_eq!(config, checkpoint.config);
    }
}

#[test]
fn eight_bits_are_half_a_step_from_the_weights() {
    let checkpoint = model();
    let read = round_trip(&checkpoint, GgufFormat::Q8_0);
    for (name, tensor) in checkpoint.weights.iter() {
        let found = read.weights.get(name, &tensor.shape).unwrap();
        for (block, found) in tensor.data.chunks(32).zip(found.data.chunks(32)) {
            let step = block.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
            for (a, b) in block.iter().zip(found) {
                // The stored scale has eleven bits.
                assert!((a - b).abs() <= step * (0.5 + 127.0 / 2048.0), "{name}");
            }
        }
    }
}

#[test]
fn four_bits_are_half_a_step_from_the_weights() {
    let checkpoint = model();
    let formats = GgufFormats {
        blocks: GgufFormat::F32,
        vocabulary: GgufFormat::Q4_0,
    };
    let read = round_trip(&checkpoint, formats);
    for (name, tensor) in checkpoint.weights.iter() {
        let found = read.weights.get(name, &tensor.shape).unwrap();
        if name != "model.embed_tokens.weight" && name != "lm_head.weight" {
            assert_eq!(tensor, found, "{name}");
            continue;
        }
        for (block, found) in tensor.data.chunks(32).zip(found.data.chunks(32)) {
            let largest = block.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            for (a, b) in block.iter().zip(found) {
                // The other side has one step less, so its end is a whole step away.
                assert!((a - b).abs() <= largest / 8.0 * 1.001, "{name}: {a} {b}");
            }
            let worst = block.iter().zip(found).map(|(a, b)| (a - b).abs());
            let mean = worst.sum::<f32>() / block.len() as f32;
            assert!(mean <= largest / 8.0 * 0.4, "{name}: {mean} of {largest}");
        }
    }
}

#[test]
fn rows_of_no_whole_blocks_become_half_floats() {
    let mut config = DecoderConfig::llama(VOCABULARY, 64, 1);
    config.intermediate_size = 40;
    let (_dir, path) = file();
    let checkpoint = init::random(config, None, 1).unwrap();
    save(&path, &checkpoint, &tokenizer(), GgufFormat::Q8_0).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let kind = |name: &str| file.tensor(name).unwrap().kind;
    assert_eq!(kind("blk.0.ffn_down.weight"), TensorType::F16);
    assert_eq!(kind("blk.0.ffn_up.weight"), TensorType::Q8_0);
    assert_eq!(kind("blk.0.ffn_norm.weight"), TensorType::F32);
}

#[test]
fn the_tokenizer_travels_along() {
    let (_dir, path) = file();
    save(&path, &model(), &tokenizer(), GgufFormat::F16).unwrap();
    let read = GgufFile::open(&path).unwrap().tokenizer().unwrap();
    let written = tokenizer();
    let count = written.tokens.len();
    assert_eq!(read.tokens.len(), VOCABULARY);
    assert_eq!(
        (&read.tokens[299], read.token_types[299]),
        (&"[PAD299]".to_owned(), 5)
    );
    let cut = GgufTokenizer {
        tokens: read.tokens[..count].to_vec(),
        token_types: read.token_types[..count].to_vec(),
        ..read
    };
    assert_eq!(cut, written);
}

#[test]
fn a_sentence_piece_tokenizer_reads_back() {
    let (_dir, path) = file();
    let mut written = tokenizer();
    let count = written.tokens.len();
    written.model = "llama".to_owned();
    written.merges.clear();
    written.scores = (0..count).map(|id| -(id as f32)).collect();
    written.add_space_prefix = false;
    save(&path, &model(), &written, GgufFormat::F32).unwrap();
    let mut read = GgufFile::open(&path).unwrap().tokenizer().unwrap();
    read.tokens.truncate(count);
    read.token_types.truncate(count);
    read.scores.truncate(count);
    assert_eq!(read, written);
    written.scores.pop();
    let error = save(&path, &model(), &written, GgufFormat::F32).unwrap_err();
    assert!(error.to_string().contains("292 scores for 293"), "{error}");
}

#[test]
fn rope_scalings_read_back() {
    let llama3 = |original_context| RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context,
    };
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_context: 64,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate: true,
        attention_factor: 1.0 + 0.1 * 4_f64.ln(),
    };
    let mut checkpoint = model();
    for scaling in [RopeScaling::Linear { factor: 2.0 }, llama3(8192), yarn] {
        checkpoint.config.rope_scaling = scaling.clone();
        let read = round_trip(&checkpoint, GgufFormat::F32);
        assert_eq!(read.config.rope_scaling, scaling);
    }
    let longrope = RopeScaling::LongRope {
        short: vec![1.25; 16],
        long: vec![3.5; 16],
        original_context: 64,
        attention_factor: None,
    };
    // One that no published model has, and one whose metadata has no name.
    for scaling in [llama3(512), longrope] {
        checkpoint.config.rope_scaling = scaling;
        let read = round_trip(&checkpoint, GgufFormat::F32);
        for length in [1, 65] {
            let (a, b) = (checkpoint.config.rotary(length), read.config.rotary(length));
            assert_eq!(a.attention_factor, b.attention_factor);
            for (a, b) in a.frequencies.iter().zip(&b.frequencies) {
                assert!((a - b).abs() <= 1e-6 * a, "{a} {b}");
            }
        }
    }
}

#[test]
fn a_partly_rotated_head_reads_back_equal() {
    let mut config = DecoderConfig::llama(VOCABULARY, 64, 2);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 16);
    let mut checkpoint = init::random(config, None, 3).unwrap();
    checkpoint.config.family = Family::Phi3;
    checkpoint.config.rotary_dim = Some(12);
    let read = round_trip(&checkpoint, GgufFormat::F32);
    assert_eq!(read.config.rotary_dim, Some(12));
    assert_eq!(read.weights, checkpoint.weights);
}

#[test]
fn what_has_no_exact_form_is_refused() {
    let (_dir, path) = file();
    let refused = |checkpoint: &Checkpoint, tokenizer: &GgufTokenizer| {
        let error = save(&path, checkpoint, tokenizer, GgufFormat::F16).unwrap_err();
        assert!(!path.exists());
        assert!(matches!(error, ModelError::InvalidConfig { .. }), "{error}");
        error.to_string()
    };
    let full = model();
    let kept = DraftVocabulary::new(vec![0, 2, 9], VOCABULARY).unwrap();
    let trimmed = init::from_target(&full, &[0], Some(kept)).unwrap();
    let reason = refused(&trimmed, &tokenizer());
    assert!(reason.contains("3 rows for 300 tokens"), "{reason}");

    let mut windowed = full.clone();
    windowed.config.family = Family::Mistral;
    windowed.config.sliding_window = Some(8);
    let reason = refused(&windowed, &tokenizer());
    assert!(reason.contains("8 of 2048"), "{reason}");

    let mut grown = full.clone();
    grown.config.rope_scaling = RopeScaling::Dynamic { factor: 2.0 };
    assert!(refused(&grown, &tokenizer()).contains("dynamic"));

    let mut blended = full.clone();
    blended.config.rope_scaling = RopeScaling::Yarn {
        factor: 2.0,
        original_context: 1024,
        beta_fast: 16.0,
        beta_slow: 1.0,
        truncate: true,
        attention_factor: 1.0,
    };
    assert!(refused(&blended, &tokenizer()).contains("16 and 1"));

    let mut wide = full.clone();
    wide.config.family = Family::Phi3;
    assert!(refused(&wide, &tokenizer()).contains("4 heads of 32"));

    let mut pieces = tokenizer();
    pieces.merges.clear();
    assert!(refused(&full, &pieces).contains("merges"));
    let mut many = tokenizer();
    many.token_types.resize(301, 1);
    many.tokens.resize(301, String::new());
    assert!(refused(&full, &many).contains("301 tokens"));
}

//! Mutated model files: no panic, and no more memory than a small multiple of their length.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in `#[test]` functions, not in their helpers.
#![allow(unsafe_code)] // A global allocator is unsafe to implement.

mod drive;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use drive::Scratch;
use fastdraft_model::{
    Checkpoint, DecoderConfig, DraftVocabulary,
    draft::init,
    export::{self, gguf::GgufFormat},
    import::gguf::GgufTokenizer,
};

/// Mutants of each kind of file.
const MUTANTS: usize = 4000;
/// Bytes for each byte that is read.
const MULTIPLE: usize = 16;
/// What does not grow with the file: paths, messages, buffers of the system.
const FIXED: usize = 64 << 10;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// One test at a time: they count each other's bytes.
static MEASURING: Mutex<()> = Mutex::new(());

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn measuring() -> MutexGuard<'static, ()> {
    MEASURING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Bytes that `work` had allocated at most, beyond those from before.
fn peak(work: impl FnOnce()) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed).saturating_sub(before)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}

const INTERESTING: [u64; 12] = [
    0,
    1,
    2,
    31,
    33,
    255,
    1 << 16,
    1 << 31,
    1 << 40,
    u64::MAX / 2,
    u64::MAX - 1,
    u64::MAX,
];
const JSON: [&str; 20] = [
    "0",
    "-1",
    "1e308",
    "1.5",
    "18446744073709551615",
    "99999999999999999999999",
    "4096",
    "16777216",
    "null",
    "true",
    "[]",
    "[1,2,3]",
    "{}",
    "\"\"",
    "\"silu\"",
    "{\"rope_type\":\"yarn\",\"factor\":1e-300}",
    "{\"rope_type\":\"longrope\",\"short_factor\":[0],\"long_factor\":[1]}",
    "[[[[[[[[[[[[",
    "\"\\u0000\"",
    "\"F64\"",
];

/// Changes some bytes of `seed`, most of them within its first `header` bytes.
fn mutant(random: &mut Random, seed: &[u8], header: usize, json: bool) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(3) {
        let span = if random.below(16) == 0 {
            bytes.len()
        } else {
            header.min(bytes.len())
        };
        let at = random.below(span);
        match random.below(7) {
            _ if bytes.is_empty() => {}
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => bytes.truncate(at),
            3 => {
                let end = (at + 1 + random.below(32)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + 1 + random.below(64)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            _ if json => {
                // A value, up to the comma or bracket after it.
                let start = (bytes[at..].iter().position(|&b| b == b':')).map(|i| at + i + 1);
                let start = start.unwrap_or(at).min(bytes.len());
                let end = (bytes[start..].iter().position(|b| b",}]".contains(b)))
                    .map_or(bytes.len(), |i| start + i);
                let value = JSON[random.below(JSON.len())];
                bytes.splice(start..end, value.bytes());
            }
            _ => {
                let width = 1 << random.below(4);
                let value = INTERESTING[random.below(INTERESTING.len())].to_le_bytes();
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&value[..end - at]);
            }
        }
    }
    bytes
}

fn model() -> Checkpoint {
    let mut config = DecoderConfig::llama(40, 32, 1);
    config.eos_ids = vec![2];
    init::random(config, None, 3).unwrap()
}

fn gguf() -> Vec<u8> {
    let scratch = Scratch::new();
    let tokenizer = GgufTokenizer {
        tokens: (0..40).map(|id| format!("t{id}")).collect(),
        merges: vec!["a b".into(), "b c".into()],
        token_types: vec![1; 40],
        pre: "default".into(),
        bos_id: Some(1),
        eos_id: Some(2),
        unknown_id: None,
        add_bos: false,
        chat_template: Some("{{ messages }}".into()),
        ..GgufTokenizer::default()
    };
    let path = scratch.path("seed.gguf");
    export::gguf::save(&path, &model(), &tokenizer, GgufFormat::Q8_0).unwrap();
    fs::read(path).unwrap()
}

/// A saved directory, and the bytes of one of its files.
fn directory(checkpoint: &Checkpoint, name: &str) -> (Scratch, Vec<u8>) {
    let scratch = Scratch::new();
    export::hf::save(&scratch.path(""), checkpoint).unwrap();
    let bytes = fs::read(scratch.path(name)).unwrap_or_default();
    (scratch, bytes)
}

/// Runs seeded mutants and says how many were still models.
fn survive(
    seed: &[u8],
    header: usize,
    json: bool,
    others: usize,
    run: impl Fn(&[u8]) -> bool,
) -> usize {
    // The thread pool and the seed itself, which must be a model.
    assert!(run(seed));
    let mut random = Random(seed.len() as u64);
    let (mut models, mut worst) = (0, 0.0_f64);
    for index in 0..MUTANTS {
        let bytes = mutant(&mut random, seed, header, json);
        let mut accepted = false;
        let used = peak(|| accepted = run(&bytes));
        // Weights are read only for a model that is whole.
        let length = bytes.len() + if accepted { others } else { 0 };
        assert!(
            used <= MULTIPLE * length + FIXED,
            "mutant {index} of {length} bytes took {used}"
        );
        models += usize::from(accepted);
        worst = worst.max(used.saturating_sub(FIXED) as f64 / length.max(1) as f64);
    }
    println!("{MUTANTS} mutants, {models} still models, at most {worst:.1} bytes a byte");
    models
}

#[test]
fn mutated_gguf_files_are_refused_or_read() {
    let _one = measuring();
    let seed = gguf();
    let scratch = Scratch::new();
    let header = seed.len().min(3000);
    let models = survive(&seed, header, false, 0, |bytes| scratch.gguf(bytes));
    assert!(models < MUTANTS / 2, "{models} mutants changed nothing");
}

#[test]
fn mutated_safetensors_headers_are_refused_or_read() {
    let _one = measuring();
    let (scratch, seed) = directory(&model(), "model.safetensors");
    let header = 8 + u64::from_le_bytes(seed[..8].try_into().unwrap()) as usize;
    survive(&seed, header, true, 1000, |bytes| {
        scratch.directory("model.safetensors", bytes)
    });
}

#[test]
fn mutated_draft_maps_are_refused_or_read() {
    let _one = measuring();
    let mut config = DecoderConfig::llama(40, 32, 1);
    config.eos_ids = vec![2];
    let kept = DraftVocabulary::new((0..40).step_by(3).collect(), 40).unwrap();
    let trimmed = init::random(config, Some(kept), 3).unwrap();
    let (scratch, seed) = directory(&trimmed, "model.safetensors");
    survive(&seed, seed.len(), false, 1000, |bytes| {
        scratch.directory("model.safetensors", bytes)
    });
}

#[test]
fn mutated_safetensors_indices_are_refused_or_read() {
    let _one = measuring();
    let checkpoint = model();
    let (scratch, weights) = directory(&checkpoint, "model.safetensors");
    fs::rename(
        scratch.path("model.safetensors"),
        scratch.path("a.safetensors"),
    )
    .unwrap();
    let names = checkpoint.weights.iter().map(|(name, _)| name);
    let map: serde_json::Map<String, serde_json::Value> = names
        .map(|name| (name.to_owned(), "a.safetensors".into()))
        .collect();
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    let seed = index.to_string().into_bytes();
    survive(&seed, seed.len(), true, weights.len(), |bytes| {
        scratch.directory("model.safetensors.index.json", bytes)
    });
}

#[test]
fn mutated_configurations_are_refused_or_read() {
    let _one = measuring();
    let (scratch, seed) = directory(&model(), "config.json");
    let weights = fs::read(scratch.path("model.safetensors")).unwrap().len();
    survive(&seed, seed.len(), true, weights, |bytes| {
        scratch.directory("config.json", bytes)
    });
}

/// Short files that claim a hundred gigabytes cost what they are.
#[test]
fn large_claims_cost_nothing() {
    let _one = measuring();
    let (scratch, config) = directory(&model(), "config.json");
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let header = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let embedding = r#"{"model.embed_tokens.weight":{"dtype":"F32","shape":[16777216,1600],"data_offsets":[0,107374182400]}}"#;
    let claims = [
        header(embedding),
        (100_u64 << 30).to_le_bytes().to_vec(),
        header(&format!(
            "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{0},{0},{0}],\"data_offsets\":[0,0]}}}}",
            u64::MAX
        )),
    ];
    for claim in claims {
        let used = peak(|| assert!(!scratch.directory("model.safetensors", &claim)));
        assert!(used < FIXED, "{used}");
    }
    // 4096 blocks of 16,777,216 elements.
    let (scratch, _) = directory(&model(), "config.json");
    let mut wide = config;
    wide["num_hidden_layers"] = 4096.into();
    let used = peak(|| assert!(!scratch.directory("config.json", wide.to_string().as_bytes())));
    assert!(used < FIXED, "{used}");

    let scratch = Scratch::new();
    let seed = gguf();
    for at in [8, 16] {
        for count in [100_u64 << 30, 1 << 24] {
            let mut bytes = seed[..1024].to_vec();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            let used = peak(|| assert!(!scratch.gguf(&bytes)));
            assert!(used < FIXED, "{at} {count}: {used}");
        }
    }
}

//! A small draft, its data, and the interpreter.

use std::{path::PathBuf, process::Command};

use burn::tensor::{Device, Tensor, TensorData};
use fastdraft_data::{MaskedTokens, PackedTokens, Packer};
use fastdraft_model::{Checkpoint, DecoderConfig, DraftVocabulary, decoder::Decoder, draft::init};
use fastdraft_train::teacher::{SparseDistributions, TaughtRows};

pub const VOCABULARY: u32 = 97;
pub const SEQ: usize = 24;

/// The interpreter of `FASTDRAFT_PYTHON`, which must have torch, or `python3` if it has.
pub fn python() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FASTDRAFT_PYTHON") {
        return Some(path.into());
    }
    let path = PathBuf::from("python3");
    let imports = [
        "-c",
        "import torch, numpy, safetensors, torch.distributed.run",
    ];
    let found = Command::new(&path).args(imports).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(path);
    }
    println!("python3 has no torch: left out; FASTDRAFT_PYTHON names another interpreter");
    None
}

/// Grouped heads and a trimmed head.
pub fn draft() -> Checkpoint {
    let config = DecoderConfig {
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ..DecoderConfig::llama(VOCABULARY as usize, 64, 2)
    };
    let kept = DraftVocabulary::new((0..90).collect(), VOCABULARY as usize).unwrap();
    init::random(config, Some(kept), 5).unwrap()
}

pub fn corpus() -> PackedTokens {
    let mut packer = Packer::new(SEQ, 0);
    for start in 1..VOCABULARY {
        let mut token = start;
        let document: Vec<u32> = (0..40)
            .map(|_| {
                token = (token * 5 + 1) % VOCABULARY;
                token
            })
            .collect();
        packer.push_document(&document);
    }
    packer.finish().unwrap()
}

/// Answers with the probabilities of a target that likes the token that was written.
pub fn taught() -> TaughtRows {
    let mut packer = Packer::new(SEQ, 0);
    let mut teacher = SparseDistributions::new(6);
    for start in 1..60u32 {
        let answer: Vec<u32> = (0..10).map(|i| (start + 3 * i) % VOCABULARY).collect();
        packer.push_masked(&MaskedTokens::from_answer(&[start, 5, 6], &answer).unwrap());
        for id in answer {
            let logits: Vec<f32> = (0..VOCABULARY)
                .map(|other| {
                    let liked = if other == id { 3.0 } else { 0.0 };
                    liked + ((other * 7 + id * 3) % 11) as f32 * 0.3
                })
                .collect();
            teacher.push_logits(&logits);
        }
    }
    TaughtRows::new(packer.finish().unwrap(), teacher).unwrap()
}

/// A target with opinions: random weights, and a head eight times as long.
pub fn target() -> Checkpoint {
    let config = DecoderConfig::llama(VOCABULARY as usize, 32, 3);
    let mut target = init::random(config, None, 8).unwrap();
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        if let Some(tensor) = target.weights.remove(name) {
            let longer = tensor.data.iter().map(|x| 8.0 * x).collect();
            target.weights.insert(name, tensor.shape, longer);
        }
    }
    target
}

/// Answers with the probabilities that `target` gives to every token of the vocabulary.
pub fn taught_by(target: &Checkpoint) -> TaughtRows {
    let rows = taught().packed().clone();
    let decoder = Decoder::from_checkpoint(target, &Device::flex()).unwrap();
    let mut teacher = SparseDistributions::new(VOCABULARY as usize);
    for row in 0..rows.rows() {
        let (ids, mask) = rows.row(row);
        let inputs: Vec<i64> = ids[..SEQ].iter().map(|id| i64::from(*id)).collect();
        let inputs = TensorData::new(inputs, [1, SEQ]);
        let logits = decoder.forward(Tensor::from_data(inputs, &Device::flex()));
        let logits = logits.into_data().try_to_vec::<f32>().unwrap();
        let mut logits = logits.chunks(VOCABULARY as usize);
        // The first token of a row has no input that predicts it.
        let mut before = vec![0.0; VOCABULARY as usize];
        for masked in mask {
            if *masked {
                teacher.push_logits(&before);
            }
            before = logits.next().unwrap_or_default().to_vec();
        }
    }
    TaughtRows::new(rows, teacher).unwrap()
}

/// Enough rows for many blocks of a shard.
pub fn many_rows() -> PackedTokens {
    let mut packer = Packer::new(4, 0);
    let document: Vec<u32> = (0..60_000).map(|i| i * i % VOCABULARY).collect();
    packer.push_document(&document);
    packer.finish().unwrap()
}

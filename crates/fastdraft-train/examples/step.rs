//! Tokens a second of the training loop at the shipped draft's shape, 4 blocks of SmolLM2-135M with
//! its vocabulary frozen: `step [STEPS] [ROWS] [LENGTH] [CHECKPOINTING] [MASKED]`, with
//! `CHECKPOINTING` 0 or 1 and of every 8 positions `MASKED` not trained.

use burn::tensor::Device;
use fastdraft_data::{MaskedTokens, Packer};
use fastdraft_model::{DecoderConfig, DraftVocabulary, draft::init};
use fastdraft_train::{
    optim::schedule::Schedule,
    progress::Progress,
    stage::{Budget, Freeze, StageConfig, Trainer},
};

const VOCABULARY: u32 = 49_152;
const HEAD: u32 = 8192;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| match arguments.next() {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let (steps, batch, sequence) = (number(20)?, number(2)?, number(384)?);
    let (checkpointing, masked) = (number(0)?, number(0)?);
    let kept = DraftVocabulary::new((0..HEAD).collect(), VOCABULARY as usize)?;
    let draft = init::random(shape(), Some(kept), 1)?;
    let mut trainer = Trainer::new(&draft, &Device::flex(), Freeze::VOCABULARY)?;
    drop(draft);
    let mut packer = Packer::new(sequence, 0);
    let document: Vec<u32> = (0..1u32 << 16).map(|i| i.wrapping_mul(i) % HEAD).collect();
    for part in document.chunks_exact(sequence / 8 * 8) {
        let (prompt, answer) = part.split_at((part.len() / 8 * masked.min(7)).max(1));
        packer.push_masked(&MaskedTokens::from_answer(prompt, answer)?);
    }
    let packed = packer.finish()?;
    let stage = StageConfig {
        name: "step".into(),
        budget: Budget::Steps(steps),
        schedule: Schedule::cosine(1e-4),
        batch,
        gradient_checkpointing: checkpointing > 0,
        seed: 1,
        ..StageConfig::default()
    };
    let report = trainer.run(&stage, &[(&packed, 1)], &mut Progress::hidden())?;
    println!(
        "{} steps, {:.0} tok/s, loss {:.4} → {:.4}",
        report.steps,
        report.tokens as f64 / report.seconds,
        report.first_loss,
        report.last_loss
    );
    Ok(())
}

/// Four blocks of SmolLM2-135M.
fn shape() -> DecoderConfig {
    DecoderConfig {
        intermediate_size: 1536,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        ..DecoderConfig::llama(VOCABULARY as usize, 576, 4)
    }
}

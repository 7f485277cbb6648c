//! Tokens a second of pre-training a random Llama of width 256:
//! `pretrain_speed VOCABULARY [BATCH] [LENGTH] [STEPS] [WARM] [ACCUMULATION] [CHECKPOINTING]
//! [BLOCKS] [HEAD] [DEVICE]`, `CHECKPOINTING` 0 or 1, `DEVICE` as `train --device` takes it, `cpu` if not given. Head
//! and embedding are one matrix, unless `HEAD` names the tokens of a trimmed head, 0 for none.
//! Prints one JSON object.

use std::ops::ControlFlow;

use fastdraft_data::Packer;
use fastdraft_hw::open;
use fastdraft_model::{DecoderConfig, DraftVocabulary, draft::init};
use fastdraft_train::{
    optim::schedule::Schedule,
    stage::{Budget, Freeze, StageConfig, StageState, Step, Trainer},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| match arguments.next() {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let (vocabulary, batch, length) = (number(8192)?, number(8)?, number(256)?);
    let (steps, warm) = (number(6)?, number(2)?);
    let (accumulation, checkpointing, blocks) = (number(1)?, number(0)?, number(4)?);
    let head = number(0)?;
    let device = open(&arguments.next().as_deref().unwrap_or("cpu").parse()?)?;
    let config = DecoderConfig::llama(vocabulary, 256, blocks);
    let draft = if head > 0 {
        let kept = DraftVocabulary::new((0..head as u32).collect(), vocabulary)?;
        init::random(config, Some(kept), 1)?
    } else {
        let mut draft = init::random(config, None, 1)?;
        draft.config.tied = true;
        draft.weights.remove("lm_head.weight");
        draft
    };
    let parameters: usize = draft.weights.iter().map(|(_, t)| t.data.len()).sum();
    let mut trainer = Trainer::new(&draft, &device, Freeze::NONE)?;
    drop(draft);
    let mut packer = Packer::new(length, 0);
    // Every position trains: the text has tokens of the head alone.
    let known = if head > 0 { head } else { vocabulary };
    let document: Vec<u32> = (0..1u32 << 17)
        .map(|i| i.wrapping_mul(i).wrapping_mul(2_654_435_761) % known as u32)
        .collect();
    packer.push_document(&document);
    let packed = packer.finish()?;
    let stage = StageConfig {
        name: "PT".into(),
        budget: Budget::Steps(warm + steps),
        schedule: Schedule::cosine(1e-4),
        batch,
        accumulation,
        gradient_checkpointing: checkpointing > 0,
        ..StageConfig::default()
    };
    // The first steps take memory for the moments of the optimizer.
    let mut warmed = (0, 0.0);
    let mut observe = |step: &Step<'_>| {
        if step.state.step == warm {
            warmed = (step.state.tokens, step.state.seconds);
        }
        Ok(ControlFlow::Continue(()))
    };
    let state = trainer.run_from(&stage, &[(&packed, 1)], StageState::default(), &mut observe)?;
    let (tokens, seconds) = (state.tokens - warmed.0, state.seconds - warmed.1);
    let report = state.report(&stage.name)?;
    println!(
        "{}",
        serde_json::json!({
            "parameters": parameters,
            "tokens_per_second": tokens as f64 / seconds,
            "loss": report.last_loss,
            "peak_mb": peak(),
        })
    );
    Ok(())
}

/// The largest resident size of this process so far, where the system says it.
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some((kibibytes * 1.024e-3).round())
}

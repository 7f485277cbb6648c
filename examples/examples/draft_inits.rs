//! What a draft accepts before any training, by what it is made of.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use fastdraft_data::source::{Prompt, read_prompts};
use fastdraft_examples::{Dtype, Outcome, finish, target};
use fastdraft_model::{
    Checkpoint, DecoderConfig, ModelError,
    draft::{heads, init, narrow, slice},
};
use fastdraft_train::{
    DraftModel,
    evaluate::{DraftLength, EvaluateConfig, PlainSpeed, evaluate},
    progress::Progress,
};

/// Makes drafts of a target in several ways and measures the acceptance rate of each, untrained.
#[derive(Parser)]
struct Args {
    /// Path, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Prompts to measure on; code and stories go without the chat template.
    #[arg(long, required = true, num_args = 1..)]
    prompts: Vec<PathBuf>,
    /// Prompts of each file.
    #[arg(long, default_value_t = 3)]
    limit: usize,
    /// Numbers of blocks.
    #[arg(long, value_delimiter = ',', default_value = "4,8,16")]
    blocks: Vec<usize>,
    /// Widths that the residual stream is cut to, besides the target's own.
    #[arg(long, value_delimiter = ',', default_value = "384")]
    widths: Vec<usize>,
    /// Numbers of key-value heads that are kept, besides all of them.
    #[arg(long, value_delimiter = ',', default_value = "2,1")]
    kv_heads: Vec<usize>,
    #[arg(long, default_value_t = 3)]
    gamma: usize,
    #[arg(long, default_value_t = 0.6)]
    temperature: f64,
    #[arg(long, default_value_t = 40)]
    max_new_tokens: usize,
    /// Weight format of drafts and target.
    #[arg(long, value_enum, default_value = "int8")]
    dtype: Dtype,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let target = target(&args.target, args.dtype)?;
    let weights = target.checkpoint()?;
    let mut prompts: Vec<Prompt> = Vec::new();
    for path in &args.prompts {
        prompts.extend(read_prompts(path)?.into_iter().take(args.limit));
    }
    let measured = EvaluateConfig {
        gamma: args.gamma,
        length: DraftLength::Fixed,
        temperature: args.temperature,
        max_new_tokens: args.max_new_tokens,
        seed: 1,
        raw_tasks: vec!["code".into(), "stories".into()],
        raw: false,
    };
    let config = &weights.config;
    let mut shapes = vec![(config.hidden_size, config.kv_heads)];
    shapes.extend(args.widths.iter().map(|width| (*width, config.kv_heads)));
    shapes.extend(
        args.kv_heads
            .iter()
            .map(|heads| (config.hidden_size, *heads)),
    );
    let mut header = false;
    for &count in &args.blocks {
        for (name, blocks) in choices(count, config.layers) {
            for &(width, kv_heads) in &shapes {
                let Some(draft) = made(&weights, name, &blocks, width, kv_heads)? else {
                    continue;
                };
                let draft = DraftModel::from_checkpoint(&draft, args.dtype.into(), &target)?;
                let quiet = &mut Progress::hidden();
                let plain = PlainSpeed::default();
                let rows = evaluate(&target, &draft, &prompts, &plain, &measured, quiet)?;
                if !header {
                    let tasks: String = rows.iter().map(|row| format!(" {} |", row.task)).collect();
                    println!("| blocks | which | width | key-value heads |{tasks}");
                    println!("|---:|---|---:|---:|{}", "---:|".repeat(rows.len()));
                    header = true;
                }
                let rates: String = (rows.iter())
                    .map(|row| format!(" {:.3} |", row.acceptance_rate))
                    .collect();
                println!("| {count} | {name} | {width} | {kv_heads} |{rates}");
            }
        }
    }
    Ok(())
}

const RANDOM: &str = "random";
const PROJECTED: &str = "random, vocabulary projected";

/// `count` of a target's `layers` blocks.
fn choices(count: usize, layers: usize) -> Vec<(&'static str, Vec<usize>)> {
    let count = count.clamp(1, layers);
    let last = layers - 1;
    let ends = count.div_ceil(2);
    vec![
        (RANDOM, (0..count).collect()),
        (PROJECTED, (0..count).collect()),
        ("first", (0..count).collect()),
        ("last", (layers - count..layers).collect()),
        (
            "even",
            (0..count).map(|i| i * last / (count - 1).max(1)).collect(),
        ),
        (
            "both ends",
            (0..ends).chain(layers - (count - ends)..layers).collect(),
        ),
    ]
}

/// `None` where a kind of draft does not come in this shape.
fn made(
    target: &Checkpoint,
    which: &str,
    blocks: &[usize],
    width: usize,
    kv_heads: usize,
) -> Result<Option<Checkpoint>, ModelError> {
    let of = &target.config;
    if which == RANDOM || which == PROJECTED {
        if kv_heads != of.kv_heads {
            return Ok(None);
        }
        let config = DecoderConfig {
            bos_id: of.bos_id,
            eos_ids: of.eos_ids.clone(),
            ..DecoderConfig::llama(of.vocabulary_size, width, blocks.len())
        };
        let mut draft = init::random(config, None, 1)?;
        if which == PROJECTED {
            narrow::project_vocabulary(&mut draft, target)?;
        }
        return Ok(Some(draft));
    }
    let draft = if width == of.hidden_size {
        init::from_target(target, blocks, None)?
    } else {
        slice::from_target(target, blocks, width, None)?
    };
    if kv_heads == of.kv_heads {
        return Ok(Some(draft));
    }
    heads::keep(&draft, &heads::heaviest(&draft, kv_heads)?).map(Some)
}

//! What a draft accepts before any training, by what it is made of.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use fastdraft_data::source::{Prompt, read_prompts};
use fastdraft_examples::{Dtype, Outcome, finish, target};
use fastdraft_model::{
    Checkpoint, DecoderConfig, ModelError,
    draft::{init, slice},
};
use fastdraft_train::{
    DraftModel,
    evaluate::{EvaluateConfig, PlainSpeed, evaluate},
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
    let config = EvaluateConfig {
        gamma: args.gamma,
        temperature: args.temperature,
        max_new_tokens: args.max_new_tokens,
        seed: 1,
        raw_tasks: vec!["code".into(), "stories".into()],
        raw: false,
    };
    let (layers, width) = (weights.config.layers, weights.config.hidden_size);
    let mut header = false;
    for &count in &args.blocks {
        for (name, blocks) in choices(count, layers) {
            for width in std::iter::once(width).chain(args.widths.iter().copied()) {
                let draft = made(&weights, &blocks, count, width)?;
                let draft = DraftModel::from_checkpoint(&draft, args.dtype.into(), &target)?;
                let quiet = &mut Progress::hidden();
                let plain = PlainSpeed::default();
                let rows = evaluate(&target, &draft, &prompts, &plain, &config, quiet)?;
                if !header {
                    let tasks: Vec<String> =
                        rows.iter().map(|row| format!("{:>14}", row.task)).collect();
                    println!(
                        "{:>6}  {:<13} {:>5}{}",
                        "blocks",
                        "which",
                        "width",
                        tasks.concat()
                    );
                    header = true;
                }
                let rates: String = (rows.iter())
                    .map(|row| format!("{:>14.3}", row.acceptance_rate))
                    .collect();
                println!("{count:>6}  {name:<13} {width:>5}{rates}");
            }
        }
    }
    Ok(())
}

/// `count` of a target's `layers` blocks; none means random weights.
fn choices(count: usize, layers: usize) -> Vec<(&'static str, Vec<usize>)> {
    let count = count.clamp(1, layers);
    let last = layers - 1;
    let ends = count.div_ceil(2);
    vec![
        ("random", Vec::new()),
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

fn made(
    target: &Checkpoint,
    blocks: &[usize],
    count: usize,
    width: usize,
) -> Result<Checkpoint, ModelError> {
    if blocks.is_empty() {
        let config = DecoderConfig {
            bos_id: target.config.bos_id,
            eos_ids: target.config.eos_ids.clone(),
            ..DecoderConfig::llama(target.config.vocabulary_size, width, count)
        };
        return init::random(config, None, 1);
    }
    if width == target.config.hidden_size {
        init::from_target(target, blocks, None)
    } else {
        slice::from_target(target, blocks, width, None)
    }
}

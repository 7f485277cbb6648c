//! What a weight format costs in time and quality: pass times, perplexity, agreement with f32.

use std::{collections::BTreeMap, path::Path, process::ExitCode, time::Instant};

use clap::Parser;
use fastdraft_data::source::{documents, read_prompts};
use fastdraft_examples::{Dtype, Outcome, finish, target};
use fastdraft_hw::measure::bandwidth;
use fastdraft_model::{
    Checkpoint,
    engine::cpu::{CpuModel, Rounding, Segment, WeightFormat, Workspace, rounding},
};
use fastdraft_train::TargetModel;

const PASSES: [usize; 5] = [1, 2, 4, 8, 16];
const REPEATS: usize = 30;
const CONTEXT: usize = 64;
const WINDOW: usize = 512;

/// Compares the weight formats of the CPU engine on a target.
#[derive(Parser)]
struct Args {
    /// Path, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Windows of 512 tokens for the perplexity.
    #[arg(long, default_value_t = 12)]
    windows: usize,
    /// Greedy tokens for the agreement, over all prompts.
    #[arg(long, default_value_t = 32)]
    max_new_tokens: usize,
    /// Prints the rounding of every kind of matrix in bf16 and int8, and nothing else.
    #[arg(long)]
    rounding: bool,
}

struct Quality {
    perplexity: f64,
    greedy: Vec<Vec<u32>>,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    if args.rounding {
        return print_rounding(&target(&args.target, Dtype::F32)?.checkpoint()?);
    }
    println!(
        "format  MB/pass  bound ms  {}  prefill tok/s  perplexity  agrees with f32",
        PASSES.map(|t| format!("{t:>2} tok ms")).join("  ")
    );
    let mut reference: Option<Quality> = None;
    for (name, dtype) in [
        ("f32", Dtype::F32),
        ("bf16", Dtype::Bf16),
        ("int8", Dtype::Int8),
        ("gguf", Dtype::Gguf),
    ] {
        let model = target(&args.target, dtype)?;
        let bound = model.model.bytes_per_pass() as f64 / bandwidth()?.bytes_per_second * 1e3;
        let (passes, prefill) = speed(&model.model)?;
        let quality = quality(&model, args)?;
        let reference = reference.get_or_insert_with(|| Quality {
            perplexity: quality.perplexity,
            greedy: quality.greedy.clone(),
        });
        println!(
            "{name:<6}  {:>7.1}  {bound:>8.2}  {}  {prefill:>13.0}  {:>10.3}  {:>14.1}%",
            model.model.bytes_per_pass() as f64 / 1e6,
            passes
                .iter()
                .map(|ms| format!("{ms:>9.2}"))
                .collect::<Vec<_>>()
                .join("  "),
            quality.perplexity,
            100.0 * agreement(&reference.greedy, &quality.greedy),
        );
    }
    Ok(())
}

/// One line for each kind of matrix: mean and worst of its blocks.
fn print_rounding(checkpoint: &Checkpoint) -> Outcome {
    println!("| matrix | in blocks | bf16 error | worst | int8 error | worst | int8 largest |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut kinds: BTreeMap<String, [Vec<Rounding>; 2]> = BTreeMap::new();
    for (index, format) in [WeightFormat::Bf16, WeightFormat::Int8]
        .into_iter()
        .enumerate()
    {
        for matrix in rounding(checkpoint, format)? {
            let name = matrix.name.trim_end_matches(".weight");
            let kind = match name
                .strip_prefix("model.layers.")
                .and_then(|n| n.split_once('.'))
            {
                Some((_, part)) => part,
                None => name.trim_start_matches("model."),
            };
            kinds.entry(kind.to_owned()).or_default()[index].push(matrix);
        }
    }
    for (kind, [bf16, int8]) in &kinds {
        println!(
            "| `{kind}` | {} | {} | {} | {:.1e} |",
            int8.len(),
            mean_and_worst(bf16),
            mean_and_worst(int8),
            int8.iter().map(|m| m.largest_error).fold(0.0, f64::max),
        );
    }
    Ok(())
}

fn mean_and_worst(matrices: &[Rounding]) -> String {
    let errors = || matrices.iter().map(|matrix| matrix.relative_error);
    let mean = errors().sum::<f64>() / matrices.len().max(1) as f64;
    format!("{mean:.1e} | {:.1e}", errors().fold(0.0, f64::max))
}

/// Median time of a pass over each number of tokens, and prefill speed.
fn speed(model: &CpuModel) -> Result<(Vec<f64>, f64), fastdraft_model::ModelError> {
    let (mut work, mut logits) = (Workspace::new(), Vec::new());
    let mut cache = model.cache(WINDOW);
    let tokens: Vec<u32> = (0..WINDOW as u32).map(|i| i % 50 + 100).collect();
    let start = Instant::now();
    for chunk in tokens.chunks(64) {
        let segment = Segment {
            cache: &mut cache,
            tokens: chunk,
            outputs: 1,
        };
        model.forward(&mut [segment], &mut work, &mut logits)?;
    }
    let prefill = WINDOW as f64 / start.elapsed().as_secs_f64();
    let mut passes = Vec::new();
    for t in PASSES {
        let mut times = Vec::with_capacity(REPEATS);
        for _ in 0..REPEATS {
            cache.truncate(CONTEXT);
            let start = Instant::now();
            let segment = Segment {
                cache: &mut cache,
                tokens: &tokens[..t],
                outputs: t,
            };
            model.forward(&mut [segment], &mut work, &mut logits)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        passes.push(times[REPEATS / 2]);
    }
    Ok((passes, prefill))
}

fn quality(target: &TargetModel, args: &Args) -> Result<Quality, Box<dyn std::error::Error>> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let (mut work, mut logits) = (Workspace::new(), Vec::new());
    let (mut nats, mut count) = (0.0, 0usize);
    let files = ["corpus/text.jsonl.gz", "corpus/code.jsonl.gz"];
    for file in files {
        for document in documents(assets.join(file), "text")?.take(args.windows / files.len()) {
            let mut ids = target.tokenizer.encode(&document?.text, false)?;
            ids.truncate(WINDOW);
            if ids.len() < 2 {
                continue;
            }
            let mut cache = target.model.cache(WINDOW);
            let last = ids.len() - 1;
            let segment = Segment {
                cache: &mut cache,
                tokens: &ids[..last],
                outputs: last,
            };
            target
                .model
                .forward(&mut [segment], &mut work, &mut logits)?;
            for (row, label) in logits
                .chunks_exact(target.config().head_size)
                .zip(&ids[1..])
            {
                let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = row.iter().map(|v| f64::from(v - max).exp()).sum();
                nats += sum.ln() - f64::from(row[*label as usize] - max);
                count += 1;
            }
        }
    }
    let mut greedy = Vec::new();
    for prompt in read_prompts(assets.join("eval/instructions.jsonl"))? {
        greedy.push(continuation(target, &prompt.prompt, args.max_new_tokens)?);
    }
    Ok(Quality {
        perplexity: (nats / count.max(1) as f64).exp(),
        greedy,
    })
}

fn continuation(
    target: &TargetModel,
    prompt: &str,
    tokens: usize,
) -> Result<Vec<u32>, Box<dyn std::error::Error>> {
    let (mut work, mut logits) = (Workspace::new(), Vec::new());
    let mut pending = target.encode(prompt, false)?;
    let mut cache = target.model.cache(pending.len() + tokens);
    let mut out = Vec::with_capacity(tokens);
    for _ in 0..tokens {
        let segment = Segment {
            cache: &mut cache,
            tokens: &pending,
            outputs: 1,
        };
        target
            .model
            .forward(&mut [segment], &mut work, &mut logits)?;
        let best =
            (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)));
        pending = vec![best.unwrap_or(0) as u32];
        out.extend_from_slice(&pending);
    }
    Ok(out)
}

/// Share of the tokens before the first difference.
fn agreement(reference: &[Vec<u32>], other: &[Vec<u32>]) -> f64 {
    let (mut same, mut all) = (0, 0);
    for (a, b) in reference.iter().zip(other) {
        same += a.iter().zip(b).take_while(|(x, y)| x == y).count();
        all += a.len();
    }
    same as f64 / all.max(1) as f64
}

//! What a pass costs by the number of its tokens, against the bound of memory.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use fastdraft_examples::{Dtype, Outcome, finish, passes::Passes};
use fastdraft_hw::measure::bandwidth;
use fastdraft_model::{
    engine::cpu::CpuModel,
    source::{self, SourceOptions},
};
use fastdraft_train::DraftModel;
use serde::Serialize;

/// Measures passes of the CPU engine: all tokens of a pass are scored up to 16, beyond that the
/// last one, as in prefill.
#[derive(Parser)]
struct Args {
    /// Path, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Tokens of a pass.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16")]
    tokens: Vec<usize>,
    /// Weight format.
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    /// Tokens in the KV cache before the pass.
    #[arg(long, default_value_t = 64)]
    context: usize,
    /// Passes of each size; they take turns.
    #[arg(long, default_value_t = 40)]
    repeats: usize,
    /// Threads; as many as there are cores if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// A draft whose tokens are measured too, in turns with passes of the target.
    #[arg(long)]
    draft: Option<PathBuf>,
    /// Weight format of the draft; that of the target if not given.
    #[arg(long, value_enum)]
    draft_dtype: Option<Dtype>,
    /// Draft tokens between two passes of the target.
    #[arg(long, default_value_t = 3)]
    gamma: usize,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    dtype: String,
    weights_bytes: usize,
    bandwidth_gb_s: f64,
    bound_ms: f64,
    passes: Vec<PassCost>,
    threads: usize,
    /// Keys and values of the cache.
    cache_bytes: usize,
    /// Most memory while loading, and memory after the passes; absent where the system does not
    /// tell.
    loading_peak_bytes: Option<usize>,
    resident_bytes: Option<usize>,
    draft: Option<DraftCost>,
}

#[derive(Serialize)]
struct DraftCost {
    dtype: String,
    weights_bytes: usize,
    gamma: usize,
    /// Milliseconds of the first draft token behind a pass of the target, and of one behind another.
    first_ms: f64,
    later_ms: f64,
    /// Mean cost of a draft token over that of a pass of the target over one.
    c: f64,
}

#[derive(Serialize)]
struct PassCost {
    tokens: usize,
    ms: f64,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    if args.tokens.is_empty() || args.tokens.contains(&0) || args.repeats == 0 || args.gamma == 0 {
        return Err("--tokens, --repeats and --gamma must be at least 1".into());
    }
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()?;
    }
    let path = source::resolve(&args.target, &SourceOptions::default())?;
    let model = CpuModel::load(&path, args.dtype.into())?;
    let loaded = memory("VmHWM:");
    let weights_bytes = model.bytes_per_pass();
    let largest = args.tokens.iter().copied().max().unwrap_or(1);
    let before = bandwidth()?.bytes_per_second;
    let measured = Passes {
        context: args.context,
        repeats: args.repeats,
    };
    let seconds = measured.seconds(&model, &args.tokens)?;
    let resident_bytes = memory("VmRSS:");
    let draft = match &args.draft {
        Some(path) => Some(draft_cost(args, path, &model, measured)?),
        None => None,
    };
    // Both ends of the run, because a machine's neighbours come and go.
    let bytes_per_second = before.max(bandwidth()?.bytes_per_second);
    let report = Report {
        dtype: args.dtype.to_string(),
        weights_bytes,
        bandwidth_gb_s: bytes_per_second / 1e9,
        bound_ms: weights_bytes as f64 / bytes_per_second * 1e3,
        passes: (args.tokens.iter().zip(seconds))
            .map(|(tokens, seconds)| PassCost {
                tokens: *tokens,
                ms: seconds * 1e3,
            })
            .collect(),
        threads: rayon::current_num_threads(),
        cache_bytes: model.cache(args.context + largest).bytes(),
        loading_peak_bytes: loaded,
        resident_bytes,
        draft,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!(
        "{}: {:.1} MB a pass, {:.1} GB/s, bound {:.2} ms",
        report.dtype,
        weights_bytes as f64 / 1e6,
        report.bandwidth_gb_s,
        report.bound_ms
    );
    if let (Some(loading), Some(resident)) = (report.loading_peak_bytes, report.resident_bytes) {
        println!(
            "{} threads; memory: {:.1} MB at most while loading, {:.1} MB after the passes, of \
             which {:.1} MB cache",
            report.threads,
            loading as f64 / 1e6,
            resident as f64 / 1e6,
            report.cache_bytes as f64 / 1e6
        );
    }
    println!("tokens      ms  of the bound  of the first");
    let first = report.passes.first().map_or(1.0, |pass| pass.ms);
    for pass in &report.passes {
        println!(
            "{:>6}  {:>6.2}  {:>11.2}×  {:>11.2}×",
            pass.tokens,
            pass.ms,
            pass.ms / report.bound_ms,
            pass.ms / first
        );
    }
    if let Some(draft) = &report.draft {
        println!(
            "draft, {}: {:.1} MB a token, {:.2} ms behind a pass of the target, {:.2} ms behind a draft \
             token; c = {:.3} at γ = {}",
            draft.dtype,
            draft.weights_bytes as f64 / 1e6,
            draft.first_ms,
            draft.later_ms,
            draft.c,
            draft.gamma
        );
    }
    Ok(())
}

fn draft_cost(
    args: &Args,
    path: &Path,
    target: &CpuModel,
    passes: Passes,
) -> Result<DraftCost, Box<dyn std::error::Error>> {
    let dtype = args.draft_dtype.unwrap_or(args.dtype);
    // The tokenizer and the float32 weights that the blocks of a draft are completed with.
    let whole = fastdraft_examples::target(&args.target, args.dtype)?;
    let draft = DraftModel::load(path, dtype.into(), &whole)?;
    let (first, later) = passes.draft_seconds(target, &draft.model, args.gamma)?;
    let one = passes.seconds(target, &[1])?[0];
    let gamma = args.gamma as f64;
    Ok(DraftCost {
        dtype: dtype.to_string(),
        weights_bytes: draft.model.bytes_per_pass(),
        gamma: args.gamma,
        first_ms: first * 1e3,
        later_ms: later * 1e3,
        c: (first + (gamma - 1.0) * later) / gamma / one,
    })
}

/// A line of this process's status on Linux, in bytes.
fn memory(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: usize = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

//! Depths and widths of a draft at one parameter budget, with the latency that each has here.

mod svg;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use fastdraft_examples::{Dtype, Outcome, finish, passes::Passes, resolve};
use fastdraft_hw::{
    measure::bandwidth,
    predict::{Acceptance, MeasuredLatency, forecast},
};
use fastdraft_model::{
    DecoderConfig, DraftVocabulary,
    draft::{
        init,
        shape::{Candidate, Machine, ShapeRule, candidates},
    },
    engine::cpu::{CpuModel, WeightFormat},
};
use serde::Serialize;

/// Acceptance probabilities of a draft token that speed-ups are predicted for.
const ASSUMED: [f64; 3] = [0.4, 0.6, 0.8];
const MAX_GAMMA: u32 = 8;

/// Measures the decode latency of every depth at one parameter budget, and predicts the speed-up of
/// the target with such drafts. Weights are random: latency does not depend on them, acceptance does,
/// so it is assumed.
#[derive(Parser)]
struct Args {
    /// The target, by path or name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Parameters that a draft pass reads, such as 8M.
    #[arg(long, value_parser = parameters, default_value = "8M")]
    budget: usize,
    /// Rows of the draft's head: the most frequent tokens of the target.
    #[arg(long, default_value_t = 8192)]
    head: usize,
    /// Most blocks.
    #[arg(long, default_value_t = 12)]
    layers: usize,
    /// Weight format of drafts and target.
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    /// Tokens in the KV cache before a pass.
    #[arg(long, default_value_t = 64)]
    context: usize,
    /// Passes of each shape.
    #[arg(long, default_value_t = 40)]
    repeats: usize,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Where to draw latency over depth.
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    dtype: String,
    budget: usize,
    bandwidth_gb_s: f64,
    target_ms: f64,
    /// Best first.
    shapes: Vec<Shape>,
}

#[derive(Serialize)]
struct Shape {
    layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    heads: usize,
    /// Parameters that a pass reads.
    pass_parameters: usize,
    /// The same and the embedding.
    parameters: usize,
    ms_per_token: f64,
    /// What the roofline says of it: weights over bandwidth.
    bound_ms: f64,
    /// Latency over the target's: the c of MBSU.
    cost: f64,
    gains: Vec<Gain>,
}

/// Predicted speed-up at the best γ, where every draft token is accepted with this probability.
#[derive(Serialize)]
struct Gain {
    acceptance: f64,
    best_gamma: u32,
    speedup: f64,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    if args.repeats == 0 {
        return Err("--repeats must be at least 1".into());
    }
    let measured = Passes {
        context: args.context,
        repeats: args.repeats,
    };
    let format = args.dtype.into();
    let target = CpuModel::load(&resolve(&args.target)?, format)?;
    let sizes = [1, 2, 3, 5, MAX_GAMMA as usize + 1];
    let seconds = measured.seconds(&target, &sizes)?;
    let target_latency = MeasuredLatency::new(
        (sizes.iter().map(|size| *size as u32))
            .zip(seconds.iter().copied())
            .collect(),
    )?;
    let bytes_per_second = bandwidth()?.bytes_per_second;
    let vocabulary_size = target.config().vocabulary_size;
    let rule = ShapeRule {
        layers: (1, args.layers),
        ..ShapeRule::new(args.head.min(vocabulary_size))
    };
    let machine = Machine {
        bandwidth: bytes_per_second,
        weight_bytes: bytes_per_weight(args.dtype),
        block_overhead: 0.0,
    };
    drop(target);
    let mut shapes = Vec::new();
    for candidate in candidates(args.budget, vocabulary_size, &rule, &machine)? {
        let model = laid_out(&candidate.config, format)?;
        let draft = measured.seconds(&model, &[1])?[0];
        let gains = ASSUMED
            .iter()
            .map(|&acceptance| {
                let gain = forecast(
                    &Acceptance::Independent(acceptance),
                    &|_: u32| draft,
                    &target_latency,
                    MAX_GAMMA,
                )?;
                Ok(Gain {
                    acceptance,
                    best_gamma: gain.best_gamma,
                    speedup: gain.speedup,
                })
            })
            .collect::<Result<_, fastdraft_hw::HwError>>()?;
        let bound = model.bytes_per_pass() as f64 / bytes_per_second;
        shapes.push(shape(&candidate, draft, bound, seconds[0], gains));
    }
    // At equal acceptance the fastest gains most, whatever the acceptance.
    shapes.sort_by(|a, b| a.ms_per_token.total_cmp(&b.ms_per_token));
    let report = Report {
        dtype: args.dtype.to_string(),
        budget: args.budget,
        bandwidth_gb_s: bytes_per_second / 1e9,
        target_ms: seconds[0] * 1e3,
        shapes,
    };
    if let Some(path) = &args.svg {
        std::fs::write(path, svg::draw(&report))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

fn print(report: &Report) {
    println!(
        "{}: budget {:.1}M parameters a pass; the target takes {:.2} ms a token; {:.1} GB/s",
        report.dtype,
        report.budget as f64 / 1e6,
        report.target_ms,
        report.bandwidth_gb_s
    );
    println!(
        "blocks  width    mlp  pass M    all M  ms/token  bound ms      c  speed-up (best γ) if a token is accepted"
    );
    let assumed = ASSUMED.map(|a| format!("{:>12}", format!("{a:.1}")));
    println!("{:>60}{}", "", assumed.concat());
    for shape in &report.shapes {
        let gains: String = (shape.gains.iter())
            .map(|gain| {
                format!(
                    "{:>12}",
                    format!("{:.2}× ({})", gain.speedup, gain.best_gamma)
                )
            })
            .collect();
        println!(
            "{:>6}  {:>5}  {:>5}  {:>6.2}  {:>7.2}  {:>8.3}  {:>8.3}  {:>5.3}{gains}",
            shape.layers,
            shape.hidden_size,
            shape.intermediate_size,
            shape.pass_parameters as f64 / 1e6,
            shape.parameters as f64 / 1e6,
            shape.ms_per_token,
            shape.bound_ms,
            shape.cost,
        );
    }
}

fn shape(candidate: &Candidate, seconds: f64, bound: f64, target: f64, gains: Vec<Gain>) -> Shape {
    let config = &candidate.config;
    Shape {
        layers: config.layers,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        heads: config.heads,
        pass_parameters: candidate.pass_parameters,
        parameters: candidate.parameters,
        ms_per_token: seconds * 1e3,
        bound_ms: bound * 1e3,
        cost: seconds / target,
        gains,
    }
}

/// A draft of that shape with random weights, whose head has the first rows.
fn laid_out(
    config: &DecoderConfig,
    format: WeightFormat,
) -> Result<CpuModel, fastdraft_model::ModelError> {
    let vocabulary = config.vocabulary_size;
    let kept = (config.head_size < vocabulary)
        .then(|| DraftVocabulary::new((0..config.head_size as u32).collect(), vocabulary))
        .transpose()?;
    CpuModel::new(&init::random(config.clone(), kept, 1)?, format)
}

fn bytes_per_weight(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => 4.0,
        Dtype::Bf16 => 2.0,
        // Random weights are in no file's blocks.
        Dtype::Int8 | Dtype::Gguf => 1.0625,
        // What blocks have; a head has that of int8.
        Dtype::Int4 => 0.625,
    }
}

/// `8M`, `1.5B`, `250k` or a whole number.
fn parameters(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{text}` is not a number of parameters such as 8M or 150000");
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'B' | 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let count = (number * unit).round();
    if (1.0..1e15).contains(&count) {
        Ok(count as usize)
    } else {
        Err(wrong())
    }
}

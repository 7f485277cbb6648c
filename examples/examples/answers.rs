//! Has a target answer prompts, for the alignment stage:
//! `answers --target T --prompts P --out DIR [--raw] [--top-k 32]`.
//!
//! A run that was stopped is gone on with by the same command.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;
use fastdraft_data::source::read_prompts;
use fastdraft_examples::{Dtype, INTERRUPTED, finish, place::PlaceArgs, target};
use fastdraft_train::{
    TargetModel,
    answers::AnswersFolder,
    generate::{GenerateConfig, Question},
    progress::Progress,
    stage::Precision,
};

/// Writes a folder of answers that a recipe can name.
#[derive(Parser)]
struct Args {
    /// A directory, a GGUF file, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Prompts, one JSON object a line with `id`, `task` and `prompt`.
    #[arg(long, required = true, num_args = 1..)]
    prompts: Vec<PathBuf>,
    /// The folder.
    #[arg(long)]
    out: PathBuf,
    /// Without the chat template: prompts are continued.
    #[arg(long)]
    raw: bool,
    /// Dealt to the prompts in turn; 0 is greedy.
    #[arg(long, value_delimiter = ',', default_value = "0.6,0.8,0,1")]
    temperatures: Vec<f64>,
    /// Answers to each prompt; each is of another temperature, as far as there are as many.
    #[arg(long, default_value_t = 1)]
    samples: usize,
    /// Longest answer, in tokens.
    #[arg(long, default_value_t = 96)]
    max_new_tokens: usize,
    /// Most probable tokens recorded for every token.
    #[arg(long, default_value_t = 32)]
    top_k: usize,
    /// Sequences that share a pass.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Of the sampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Weight format of the target on the CPU.
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    /// Type of matrix products of the torch engine: f32 or bf16.
    #[arg(long, default_value = "f32", value_parser = precision)]
    precision: Precision,
    #[command(flatten)]
    place: PlaceArgs,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(INTERRUPTED),
        Err(error) => finish(Err(error)),
    }
}

fn run(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    if args.temperatures.is_empty() {
        return Err("--temperatures names none".into());
    }
    let target = target(&args.target, args.dtype)?;
    let questions = questions(args, &target)?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    ctrlc::set_handler(move || seen.store(true, Ordering::Relaxed))?;
    let config = GenerateConfig {
        max_new_tokens: args.max_new_tokens,
        batch: args.batch,
        limit: None,
        seed: args.seed,
        top_k: args.top_k,
        place: args.place.open(target.tokenizer.fingerprint())?,
        precision: args.precision,
    };
    let folder = AnswersFolder::new(&args.out);
    let mut progress = Progress::start("answers of the target");
    if !folder.complete(&target, &questions, &config, &mut progress, &stop)? {
        eprintln!("stopped; the same command goes on");
        return Ok(false);
    }
    let answers = folder.read()?;
    let tokens: usize = answers.iter().map(|a| a.answer.answer_ids.len()).sum();
    progress.finish(&format!("{} answers, {tokens} tokens", answers.len()));
    println!("answers: {}", args.out.display());
    Ok(true)
}

fn precision(text: &str) -> Result<Precision, String> {
    serde_json::from_value(text.into()).map_err(|_| format!("{text} is neither f32 nor bf16"))
}

/// All prompts once, then all again, so that a part of the answers is one of all prompts.
fn questions(
    args: &Args,
    target: &TargetModel,
) -> Result<Vec<Question>, Box<dyn std::error::Error>> {
    let mut first = Vec::new();
    for path in &args.prompts {
        for prompt in read_prompts(path)? {
            first.push(Question {
                ids: target.encode(&prompt.prompt, args.raw)?,
                id: prompt.id,
                prompt: prompt.prompt,
                temperature: 0.0,
            });
        }
    }
    let mut all = Vec::with_capacity(first.len() * args.samples);
    for sample in 0..args.samples {
        for (i, question) in first.iter().enumerate() {
            let mut question = question.clone();
            question.temperature = args.temperatures[(i + sample) % args.temperatures.len()];
            if sample > 0 {
                question.id = format!("{}#{sample}", question.id);
            }
            all.push(question);
        }
    }
    Ok(all)
}

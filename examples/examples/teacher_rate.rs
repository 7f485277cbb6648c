//! Tokens a second of a teacher, by the number of answers that share a pass:
//! `teacher_rate --target T --prompts P [--batches 1,8,32] [--json]`.
//!
//! Every answer is greedy and has exactly `--new-tokens` tokens. Reading the prompts is in the time.

use std::{
    cell::Cell, ops::ControlFlow, path::PathBuf, process::ExitCode, sync::Arc, time::Instant,
};

use clap::Parser;
use fastdraft_data::{
    source::read_prompts,
    teacher::{Request, Sampling, TargetTeacher, Teacher},
};
use fastdraft_examples::{Dtype, Outcome, finish, target};
use fastdraft_model::engine::cpu::CpuBatch;
use fastdraft_train::TargetModel;
use serde::Serialize;

/// Measures a teacher.
#[derive(Parser)]
struct Args {
    /// A directory, a GGUF file, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Prompts, one JSON object a line with `id`, `task` and `prompt`.
    #[arg(long, default_value = "assets/prompts/instructions.jsonl")]
    prompts: PathBuf,
    /// Answers that share a pass.
    #[arg(long, value_delimiter = ',', default_value = "1,8,32")]
    batches: Vec<usize>,
    /// Answers at each batch size; at least as many as share a pass.
    #[arg(long, default_value_t = 8)]
    answers: usize,
    /// Tokens of every answer.
    #[arg(long, default_value_t = 64)]
    new_tokens: usize,
    /// Weight format of the target.
    #[arg(long, value_enum, default_value = "int8")]
    dtype: Dtype,
    /// One JSON object, with the ids of prompts and answers.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    prompts: Vec<Vec<u32>>,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Run {
    batch: usize,
    tokens: usize,
    seconds: f64,
    tokens_per_second: f64,
    answers: Vec<Vec<u32>>,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let target = target(&args.target, args.dtype)?;
    let most = args.batches.iter().copied().max().unwrap_or(0);
    let wanted = most.max(args.answers);
    let prompts: Vec<Vec<u32>> = read_prompts(&args.prompts)?
        .into_iter()
        .take(wanted)
        .map(|prompt| target.encode(&prompt.prompt, false))
        .collect::<Result<_, _>>()?;
    if prompts.len() < wanted || args.batches.contains(&0) {
        return Err(format!(
            "{} prompts for batches of {:?}",
            prompts.len(),
            args.batches
        )
        .into());
    }
    let mut runs = Vec::new();
    for &batch in &args.batches {
        let run = measure(
            &target,
            &prompts[..batch.max(args.answers)],
            batch,
            args.new_tokens,
        )?;
        if !args.json {
            println!(
                "batch {batch:>3}: {:>7.1} tokens/s ({} tokens in {:.2} s)",
                run.tokens_per_second, run.tokens, run.seconds
            );
        }
        runs.push(run);
    }
    if args.json {
        println!("{}", serde_json::to_string(&Report { prompts, runs })?);
    }
    Ok(())
}

fn measure(
    target: &TargetModel,
    prompts: &[Vec<u32>],
    batch: usize,
    new_tokens: usize,
) -> Result<Run, Box<dyn std::error::Error>> {
    let requests: Vec<Request> = prompts
        .iter()
        .enumerate()
        .map(|(index, ids)| Request {
            id: index.to_string(),
            messages: Vec::new(),
            text: String::new(),
            ids: ids.clone(),
            sampling: Sampling::greedy(new_tokens),
            stop: Vec::new(),
        })
        .collect();
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let passes = CpuBatch::new(
        Arc::clone(&target.model),
        longest + new_tokens + 1,
        target.tokenizer.fingerprint(),
    );
    // Without an end token every answer becomes as long as every other.
    let teacher = TargetTeacher::new(passes, &target.tokenizer, batch).with_end_ids(&[]);
    // Memory is taken and pages are touched once before the clock runs.
    teacher.answer(&requests[..batch.min(requests.len())], &mut |_, _| {
        ControlFlow::Break(())
    });
    let mut answers = vec![Vec::new(); requests.len()];
    let failed = Cell::new(None);
    let start = Instant::now();
    teacher.answer(&requests, &mut |index, reply| match reply {
        Ok(reply) => {
            answers[index] = reply.answer_ids.unwrap_or_default();
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed.set(Some(error));
            ControlFlow::Break(())
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    if let Some(error) = failed.take() {
        return Err(error.into());
    }
    let tokens = answers.iter().map(Vec::len).sum();
    Ok(Run {
        batch,
        tokens,
        seconds,
        tokens_per_second: tokens as f64 / seconds,
        answers,
    })
}

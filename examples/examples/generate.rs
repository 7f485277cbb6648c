//! Text from a model, with or without a draft.

use std::{
    io::{IsTerminal, Write, stdout},
    ops::ControlFlow,
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use fastdraft_examples::{Dtype, Outcome, draft, finish, reading, target};
use fastdraft_specdec::{
    Emitted, Session, SessionConfig, Stop, SystemClock, Transform, generate_plain,
};
use fastdraft_train::{DraftSource, evaluate::DraftLength};

/// Streams the answer to a prompt; accepted draft tokens are green on a terminal.
#[derive(Parser)]
struct Args {
    /// Path, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    model: String,
    /// Draft directory, file of blocks or GGUF file; prompt-lookup or suffix-lookup, which need no
    /// model; or suffix-lookup+PATH, which interpolates the model with the lookup.
    #[arg(long)]
    draft: Option<String>,
    /// What to say.
    #[arg(long)]
    prompt: String,
    /// Draft tokens a step.
    #[arg(long, default_value_t = 3)]
    gamma: usize,
    /// What decides how many tokens up to γ are drafted: fixed, cost-aware, or a probability of a
    /// drafted token below which drafting ends.
    #[arg(long, default_value = "fixed")]
    draft_length: DraftLength,
    /// 0 is greedy.
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Keep the k most probable tokens.
    #[arg(long)]
    top_k: Option<usize>,
    /// Keep the most probable tokens up to this sum.
    #[arg(long)]
    top_p: Option<f64>,
    /// Keep tokens at least this fraction of the most probable.
    #[arg(long)]
    min_p: Option<f64>,
    /// Of the sampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Longest answer, in tokens.
    #[arg(long, default_value_t = 64)]
    max_new_tokens: usize,
    /// Send the prompt without chat template.
    #[arg(long)]
    raw: bool,
    /// Weight format of the target, and of the draft if --draft-dtype is not given.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Weight format of the draft.
    #[arg(long, value_enum)]
    draft_dtype: Option<Dtype>,
    /// The draft reads the whole context (0), or only the last so many tokens of one twice as long.
    #[arg(long, default_value_t = 0)]
    draft_context: usize,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let target_model = target(&args.model, args.dtype)?;
    let draft_model = match &args.draft {
        Some(spec) => {
            let dtype = args.draft_dtype.unwrap_or(args.dtype);
            let draft = draft(spec, dtype, &target_model)?;
            Some(reading(draft, args.draft_context))
        }
        None => None,
    };
    let ids = target_model.encode(&args.prompt, args.raw)?;
    let session = SessionConfig {
        gamma: args.gamma,
        max_new_tokens: args.max_new_tokens,
        transform: Transform {
            top_k: args.top_k,
            top_p: args.top_p,
            min_p: args.min_p,
            ..Transform::temperature(args.temperature)
        },
        stop: Stop {
            tokens: target_model.config().eos_ids.clone(),
            ..Stop::default()
        },
        seed: args.seed,
    };
    let capacity = ids.len() + args.max_new_tokens + args.gamma + 1;
    let mut engine = target_model.engine(capacity);
    let highlight = draft_model.is_some() && stdout().is_terminal();
    let mut stream = target_model.tokenizer.stream();
    let mut failure = None;
    let mut show = |emitted: Emitted<'_>| {
        for (i, token) in emitted.tokens.iter().enumerate() {
            if target_model.tokenizer.is_special(*token) {
                continue;
            }
            match stream.push(*token) {
                Ok(Some(text)) if highlight && i < emitted.accepted => {
                    print!("\x1b[32m{text}\x1b[0m");
                }
                Ok(Some(text)) => print!("{text}"),
                Ok(None) => {}
                Err(error) => {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        // A closed pipe ends the stream, not the program's correctness.
        if stdout().flush().is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let start = Instant::now();
    let out = match &draft_model {
        Some(draft) => {
            let mut generation = Session::new(draft.draft(capacity), &mut engine, &ids, &session)?
                .with_policy(args.draft_length.policy(args.gamma))
                .with_clock(SystemClock::default());
            while let Some(step) = generation.advance()? {
                if show(step).is_break() {
                    generation.cancel();
                }
            }
            generation.finish()
        }
        None => generate_plain(&mut engine, &ids, &session, show)?,
    };
    if let Some(error) = failure {
        return Err(error.into());
    }
    let seconds = start.elapsed().as_secs_f64();
    println!();
    eprint!(
        "{} tokens, {:.1} tok/s, prompt of {} tokens included",
        out.metrics.emitted,
        out.metrics.emitted as f64 / seconds,
        ids.len()
    );
    if let (Some(rate), Some(tau)) = (
        out.metrics.acceptance_rate(),
        out.metrics.block_efficiency(),
    ) {
        eprint!(", acceptance rate {rate:.3}, block efficiency {tau:.2}");
    }
    eprintln!();
    Ok(())
}

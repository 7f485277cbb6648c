//! The draft that comes with the repository, at work.

use std::{
    io::{Write, stdout},
    ops::ControlFlow,
    path::Path,
    time::Instant,
};

use fastdraft_data::source::read_prompts;
use fastdraft_examples::{Dtype, Outcome, draft, target};
use fastdraft_specdec::{Session, SessionConfig, Stop, SystemClock, Transform, generate_plain};
use fastdraft_train::{
    DraftSource,
    evaluate::{DraftLength, EvaluateConfig, compare},
    progress::Progress,
    report,
};

use crate::data::{TASKS, assets};

const TARGET: &str = "smollm2-135m-instruct";
const PROMPT: &str =
    "Write a Python function that returns the n-th Fibonacci number, and explain it.";
const TOKENS: usize = 96;
const PER_TASK: usize = 2;
const LENGTH: DraftLength = DraftLength::CostAware;

/// One text, written greedily with and without the draft, then some prompts of each task.
pub fn show(gamma: usize, seed: u64) -> Outcome {
    let target = target(TARGET, Dtype::Int8)?;
    let path = assets().join("smollm2-135m-draft");
    let draft = draft(&path.display().to_string(), Dtype::Int4, &target)?;
    let ids = target.encode(PROMPT, false)?;
    let session = SessionConfig {
        gamma,
        max_new_tokens: TOKENS,
        transform: Transform::temperature(0.0),
        stop: Stop {
            tokens: target.config().eos_ids.clone(),
            ..Stop::default()
        },
        seed,
    };
    let capacity = ids.len() + TOKENS + gamma + 1;
    let mut engine = target.engine(capacity);
    let start = Instant::now();
    let plain = generate_plain(&mut engine, &ids, &session, |_| ControlFlow::Continue(()))?;
    let plain_seconds = start.elapsed().as_secs_f64();

    println!("> {PROMPT}\n");
    let mut text = target.tokenizer.stream();
    let (mut drafting, mut engine) = (draft.draft(capacity), target.engine(capacity));
    let start = Instant::now();
    let mut generation = Session::new(&mut drafting, &mut engine, &ids, &session)?
        .with_policy(LENGTH.policy(gamma))
        .with_clock(SystemClock::default());
    while let Some(emitted) = generation.advance()? {
        for token in emitted.tokens {
            if let Ok(Some(piece)) = text.push(*token) {
                print!("{piece}");
            }
        }
        let _ = stdout().flush();
    }
    let out = generation.finish();
    let seconds = start.elapsed().as_secs_f64();
    let same = if out.tokens == plain.tokens {
        "the same text"
    } else {
        "ANOTHER TEXT"
    };
    println!(
        "\n\nplain {:.0} tokens/s, with the draft {:.0} tokens/s, {same}; {:.2} tokens a target pass\n",
        plain.tokens.len() as f64 / plain_seconds,
        out.tokens.len() as f64 / seconds,
        out.metrics.block_efficiency().unwrap_or(0.0),
    );
    table(&target, &draft, gamma, seed, &assets())
}

fn table(
    target: &fastdraft_train::TargetModel,
    draft: &fastdraft_train::AnyDraft,
    gamma: usize,
    seed: u64,
    assets: &Path,
) -> Outcome {
    let mut prompts = Vec::new();
    for task in TASKS {
        let all = read_prompts(assets.join(format!("eval/{task}.jsonl")))?;
        prompts.extend(all.into_iter().take(PER_TASK));
    }
    let config = EvaluateConfig {
        gamma,
        length: LENGTH,
        temperature: 0.6,
        max_new_tokens: 64,
        seed,
        raw_tasks: vec!["code".into(), "stories".into()],
        raw: false,
    };
    let mut progress = Progress::start("plain, and with the draft");
    let all = compare(target, draft, &prompts, &[config], &mut progress)?;
    progress.finish("done");
    for tasks in &all {
        print!("{}", report::table(tasks));
    }
    Ok(())
}

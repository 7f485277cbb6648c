//! What a draft is trained on, learned text in green: `show [--target T] FILE [--rows 3] [--plain]`.
//!
//! FILE holds answers (`prompt_ids`, `answer_ids`) or conversations (`messages`), one JSON object a line,
//! or is a folder of shards.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::Parser;
use fastdraft_data::{
    MaskedTokens, Message,
    answers::Answer,
    shard::ShardSet,
    show::{Style, render},
    source::rows,
};
use fastdraft_examples::{Dtype, Outcome, finish, target};
use fastdraft_train::TargetModel;
use serde::Deserialize;

/// Shows training examples.
#[derive(Parser)]
struct Args {
    /// The target, for its tokenizer and chat template: a directory, a GGUF file, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Answers or conversations as JSON lines, or a folder of shards.
    file: PathBuf,
    /// How many are shown.
    #[arg(long, default_value_t = 3)]
    rows: usize,
    /// Brackets around learned text instead of colours.
    #[arg(long)]
    plain: bool,
}

/// A line of FILE.
#[derive(Deserialize)]
#[serde(untagged)]
enum Example {
    Answer(Answer),
    Conversation { messages: Vec<Message> },
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let target = target(&args.target, Dtype::Gguf)?;
    let style = if args.plain || !std::io::stdout().is_terminal() {
        Style::Plain
    } else {
        Style::Ansi
    };
    for (number, tokens) in examples(args, &target)?.into_iter().enumerate() {
        println!(
            "{}--- {}: {} of {} tokens are learned",
            if number == 0 { "" } else { "\n" },
            number + 1,
            tokens.trained(),
            tokens.len()
        );
        println!("{}", render(&target.tokenizer, &tokens, style)?);
    }
    Ok(())
}

fn examples(
    args: &Args,
    target: &TargetModel,
) -> Result<Vec<MaskedTokens>, Box<dyn std::error::Error>> {
    if args.file.is_dir() {
        let set = ShardSet::open(&args.file, target.tokenizer.fingerprint())?;
        let wanted: Vec<u64> = (0..set.rows()).take(args.rows).collect();
        let packed = set.read(&wanted)?;
        return Ok((0..packed.rows())
            .map(|row| {
                let (ids, mask) = packed.row(row);
                // Rows of plain text are learned whole, which `MaskedTokens::new` refuses.
                MaskedTokens {
                    ids: ids.to_vec(),
                    mask: mask.to_vec(),
                }
            })
            .collect());
    }
    let chat = target.chat.as_ref();
    rows::<Example>(&args.file)?
        .take(args.rows)
        .map(|example| match example? {
            Example::Answer(answer) => Ok(answer.masked()?),
            Example::Conversation { messages } => {
                let chat = chat.ok_or("this target has no chat template")?;
                Ok(chat.encode_with_mask(&target.tokenizer, &messages)?)
            }
        })
        .collect()
}

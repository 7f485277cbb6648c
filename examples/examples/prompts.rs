//! Cuts prompts from documents: `prompts --documents F… --cut functions --task code --out P`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use fastdraft_data::{
    decontaminate::Decontaminator,
    hygiene::{Cleaner, DuplicateConfig, Fate},
    source::{
        cut::{Cut, CutConfig, cut},
        documents, read_prompts, write_jsonl,
    },
};
use fastdraft_examples::{Outcome, finish};

/// Words in a row that count as the same text.
const WORDS: usize = 13;

/// Writes a file of prompts, none of them doubled or taken from an evaluation.
#[derive(Parser)]
struct Args {
    /// Documents, one JSON object a line: a corpus, or answers of a target.
    #[arg(long, required = true, num_args = 1..)]
    documents: Vec<PathBuf>,
    /// Key of a document's text; that of an answer is `answer`.
    #[arg(long, default_value = "text")]
    field: String,
    /// What becomes a prompt.
    #[arg(long, value_enum)]
    cut: Kind,
    /// The instruction before a passage.
    #[arg(long, default_value = "Summarize:")]
    instruction: String,
    /// Name of the task.
    #[arg(long)]
    task: String,
    /// Prompts that must not be trained on; documents that share 13 words in a row with one are
    /// left out.
    #[arg(long, num_args = 1..)]
    evaluation: Vec<PathBuf>,
    /// Shortest prompt, in bytes.
    #[arg(long, default_value_t = 80)]
    shortest: usize,
    /// Longest prompt, in bytes.
    #[arg(long, default_value_t = 1200)]
    longest: usize,
    /// Most prompts of a document.
    #[arg(long, default_value_t = 8)]
    per_document: usize,
    /// Most prompts in all, spread over the documents.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// The file.
    #[arg(long)]
    out: PathBuf,
}

/// Ways to cut.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// First sentences of paragraphs.
    Openings,
    /// Python functions up to their docstring.
    Functions,
    /// Paragraphs behind an instruction.
    Passages,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let mut evaluation = Decontaminator::new(WORDS);
    for path in &args.evaluation {
        for prompt in read_prompts(path)? {
            evaluation.add(&prompt.prompt);
        }
    }
    let kind = match args.cut {
        Kind::Openings => Cut::Openings,
        Kind::Functions => Cut::Functions,
        Kind::Passages => Cut::Passages {
            instruction: args.instruction.clone(),
        },
    };
    let config = CutConfig {
        shortest: args.shortest,
        longest: args.longest,
        per_document: args.per_document,
    };
    let mut documents_out = 0;
    let mut cleaner = Cleaner::new(Some(DuplicateConfig::default()), Some(&evaluation));
    let mut all = Vec::new();
    for path in &args.documents {
        for document in documents(path, &args.field)? {
            let document = document?;
            if evaluation.contaminated(&document.text) {
                documents_out += 1;
                continue;
            }
            let prompts = cut(&document, &args.task, &kind, config);
            all.extend(
                prompts
                    .into_iter()
                    .filter(|p| matches!(cleaner.admit(&p.prompt), Fate::Kept)),
            );
        }
    }
    let step = all.len().div_ceil(args.limit.max(1)).max(1);
    let kept: Vec<_> = all.iter().step_by(step).collect();
    println!(
        "{documents_out} documents of the evaluation left out; prompts: {}; written: {}",
        cleaner.counts(),
        kept.len()
    );
    write_jsonl(&args.out, kept)?;
    Ok(())
}

//! The table of a report.json in Markdown, stage by stage.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use fastdraft_examples::{Outcome, finish};
use fastdraft_train::{evaluate::TaskReport, report};
use serde::Deserialize;

/// Prints what quickstart or evaluate measured.
#[derive(Parser)]
struct Args {
    /// A report.json.
    report: PathBuf,
    /// Also what was measured after every stage.
    #[arg(long)]
    stages: bool,
}

#[derive(Deserialize)]
struct Report {
    tasks: Vec<TaskReport>,
    #[serde(default)]
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
struct Stage {
    training: Training,
    tasks: Vec<TaskReport>,
}

#[derive(Deserialize)]
struct Training {
    stage: String,
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let text = std::fs::read_to_string(&args.report)
        .map_err(|e| format!("{}: {e}", args.report.display()))?;
    let file: Report =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", args.report.display()))?;
    if args.stages {
        for stage in &file.stages {
            println!(
                "After {}:\n\n{}",
                stage.training.stage,
                report::markdown(&stage.tasks)
            );
        }
    } else {
        print!("{}", report::markdown(&file.tasks));
    }
    Ok(())
}

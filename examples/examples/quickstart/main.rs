//! A draft for a real model in ten minutes: pre-train, continue on code, align, measure.

mod data;
mod pretrained;

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use data::Data;
use fastdraft_data::PackedTokens;
use fastdraft_examples::{Dtype, Outcome, duration, finish, target, writable};
use fastdraft_hw::{DeviceSpec, open};
use fastdraft_model::{DraftVocabulary, draft::init, engine::cpu::WeightFormat};
use fastdraft_train::{
    DraftModel, TargetModel, TrainError,
    answers::pack,
    evaluate::{DraftLength, EvaluateConfig, PlainSpeed, TaskReport, evaluate, plain_speed},
    generate::{GenerateConfig, Place, generate_answers},
    optim::schedule::Schedule,
    progress::Progress,
    report::{self, HtmlReport, LossPoint, StageSection},
    stage::{Budget, Freeze, Precision, StageConfig, StageReport, StageState, Step, Trainer},
    target::save_draft,
};
use serde::Serialize;

/// Shares of the budget: PT, CP, answers of the target, FT. The rest is evaluation.
const SHARES: [f64; 4] = [0.18, 0.18, 0.17, 0.18];
/// Budget that pays for one evaluation prompt of each task.
const SECONDS_PER_PROMPT: f64 = 100.0;
const SEQUENCE: usize = 128;
const BATCH: usize = 2;
const DRAFT_VOCABULARY: usize = 8192;

/// Trains a small draft for a target and measures it.
#[derive(Parser)]
struct Args {
    /// Path, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// Time for training, answers and evaluation.
    #[arg(long, default_value = "10m", value_parser = duration)]
    budget: Duration,
    /// Of data order and sampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the draft and the report go.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Weight format for decoding, target and draft.
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    /// Draft tokens a step; with --pretrained at most, as many as pay.
    #[arg(long, default_value_t = 3)]
    gamma: usize,
    /// Train nothing: show what the draft in assets/ does for its target.
    #[arg(long)]
    pretrained: bool,
}

#[derive(Serialize)]
struct Report {
    target: String,
    draft: PathBuf,
    gamma: usize,
    temperature: f64,
    draft_parameters_per_pass: usize,
    target_parameters_per_pass: usize,
    answers: usize,
    answer_tokens: usize,
    stages: Vec<StageResult>,
    tasks: Vec<TaskReport>,
}

#[derive(Serialize)]
struct StageResult {
    training: StageReport,
    tasks: Vec<TaskReport>,
    #[serde(skip)]
    losses: Vec<LossPoint>,
}

impl Report {
    fn page(&self) -> HtmlReport {
        HtmlReport {
            target: self.target.clone(),
            draft: self.draft.display().to_string(),
            target_parameters: Some(self.target_parameters_per_pass),
            draft_parameters: Some(self.draft_parameters_per_pass),
            gamma: Some(self.gamma),
            temperature: Some(self.temperature),
            facts: vec![(
                "Answers of the target".into(),
                format!("{} ({} tokens)", self.answers, self.answer_tokens),
            )],
            stages: (self.stages.iter())
                .map(|stage| StageSection {
                    training: stage.training.clone(),
                    losses: stage.losses.clone(),
                    tasks: stage.tasks.clone(),
                })
                .collect(),
            ..HtmlReport::default()
        }
    }
}

/// What a stage did, and the loss of each of its steps.
type Trained = (StageReport, Vec<LossPoint>);

fn train(
    trainer: &mut Trainer,
    config: &StageConfig,
    sources: &[(&PackedTokens, u32)],
    progress: &mut Progress,
) -> Result<Trained, TrainError> {
    let mut losses = Vec::new();
    let mut observe = |step: &Step<'_>| {
        if let Some(loss) = step.loss {
            let tokens = step.state.tokens;
            losses.push(LossPoint { tokens, loss });
            let rate = tokens as f64 / step.state.seconds.max(1e-9);
            progress.set(step.done, &format!("loss {loss:.3}  {rate:.0} tok/s"));
        }
        Ok(ControlFlow::Continue(()))
    };
    let state = trainer.run_from(config, sources, StageState::default(), &mut observe)?;
    Ok((state.report(&config.name)?, losses))
}

struct Measure<'a> {
    target: &'a TargetModel,
    data: &'a Data,
    config: EvaluateConfig,
    plain: PlainSpeed,
    format: WeightFormat,
}

impl Measure<'_> {
    fn stage(
        &self,
        trainer: &Trainer,
        (training, losses): Trained,
    ) -> Result<StageResult, TrainError> {
        let checkpoint = trainer.checkpoint()?;
        let draft = DraftModel::from_checkpoint(&checkpoint, self.format, self.target)?;
        let mut progress = Progress::start(&format!("evaluate {}", training.stage));
        let tasks = evaluate(
            self.target,
            &draft,
            &self.data.evaluation,
            &self.plain,
            &self.config,
            &mut progress,
        )?;
        progress.finish("done");
        println!(
            "\nafter {}: {} tokens, loss {:.3} → {:.3}\n{}",
            training.stage,
            training.tokens,
            training.first_loss,
            training.last_loss,
            report::table(&tasks)
        );
        Ok(StageResult {
            training,
            tasks,
            losses,
        })
    }
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    if args.pretrained {
        return pretrained::show(args.gamma, args.seed);
    }
    let gamma = args.gamma;
    writable(&args.out)?;
    let device = open(&DeviceSpec::default())?;
    let target = target(&args.target, args.dtype)?;
    let seconds = args.budget.as_secs_f64();
    let share = |i: usize| Budget::Time(Duration::from_secs_f64(seconds * SHARES[i]));

    let mut progress = Progress::start("tokenize");
    let data = Data::load(
        &target,
        SEQUENCE,
        args.seed,
        (seconds / SECONDS_PER_PROMPT) as usize,
        &mut progress,
    )?;
    progress.finish(&format!(
        "{} text rows, {} code rows",
        data.text.rows(),
        data.code.rows()
    ));

    let size = target.config().vocabulary_size;
    let kept = DraftVocabulary::new(data.frequent(DRAFT_VOCABULARY, &target), size)?;
    let last = target.config().layers.saturating_sub(1);
    let mut blocks = vec![0, 1.min(last), last];
    blocks.dedup();
    let first = init::from_target(&target.checkpoint()?, &blocks, Some(kept))?;
    let mut trainer = Trainer::new(&first, &device, Freeze::EMBEDDING)?;

    let config = EvaluateConfig {
        gamma,
        length: DraftLength::Fixed,
        temperature: 0.6,
        max_new_tokens: 48,
        seed: args.seed,
        raw_tasks: vec!["code".into(), "stories".into()],
        raw: false,
    };
    let mut progress = Progress::start("plain decoding");
    let plain = plain_speed(&target, &data.evaluation, &config, &mut progress)?;
    progress.finish("done");
    let measure = Measure {
        target: &target,
        data: &data,
        config,
        plain,
        format: args.dtype.into(),
    };
    let stage = |name: &str, budget: Budget, peak: f64, order: u64| StageConfig {
        name: name.into(),
        budget,
        schedule: Schedule::cosine(peak),
        batch: BATCH,
        clip: 1.0,
        seed: args.seed.wrapping_add(order),
        ..StageConfig::default()
    };
    let mut stages = Vec::new();

    let mut progress = Progress::start("PT  text");
    let done = train(
        &mut trainer,
        &stage("PT", share(0), 1e-3, 1),
        &[(&data.text, 1)],
        &mut progress,
    )?;
    progress.finish(&format!("loss {:.3}", done.0.last_loss));
    stages.push(measure.stage(&trainer, done)?);

    let mut progress = Progress::start("CP  code + text");
    let mixture = [(&data.code, 2), (&data.text, 1)];
    let continued = stage("CP", share(1), 1e-3, 2);
    let done = train(&mut trainer, &continued, &mixture, &mut progress)?;
    progress.finish(&format!("loss {:.3}", done.0.last_loss));
    stages.push(measure.stage(&trainer, done)?);

    let mut progress = Progress::start("answers of the target");
    let answers = generate_answers(
        &target,
        &data.questions,
        &GenerateConfig {
            max_new_tokens: 96,
            batch: 32,
            limit: Some(Duration::from_secs_f64(seconds * SHARES[2])),
            seed: args.seed,
            // Cross-entropy needs the text alone.
            top_k: 0,
            place: Place::Cpu,
            precision: Precision::default(),
        },
        &mut progress,
    )?;
    let answer_tokens: usize = answers.iter().map(|a| a.answer.answer_ids.len()).sum();
    progress.finish(&format!(
        "{} answers, {answer_tokens} tokens",
        answers.len()
    ));

    let aligned = pack(&answers, SEQUENCE, data::end(&target))?;
    let mut progress = Progress::start("FT  answers");
    let align = stage("FT", share(3), 5e-4, 3);
    let done = train(
        &mut trainer,
        &align,
        &[(aligned.packed(), 1)],
        &mut progress,
    )?;
    progress.finish(&format!("loss {:.3}", done.0.last_loss));
    stages.push(measure.stage(&trainer, done)?);

    let checkpoint = trainer.checkpoint()?;
    let draft = args.out.join("draft");
    save_draft(&draft, &checkpoint, &target.tokenizer)?;
    let report = Report {
        target: args.target.clone(),
        draft: draft.clone(),
        gamma,
        temperature: measure.config.temperature,
        draft_parameters_per_pass: checkpoint.config.pass_parameters(),
        target_parameters_per_pass: target.config().pass_parameters(),
        answers: answers.len(),
        answer_tokens,
        tasks: stages.last().map(|s| s.tasks.clone()).unwrap_or_default(),
        stages,
    };
    report::write_json(&args.out.join("report.json"), &report)?;
    let page = args.out.join("report.html");
    report::write_html(&page, &report.page())?;
    println!("draft: {}\nreport: {}", draft.display(), page.display());
    println!(
        "try: cargo run --release --example generate -- --model {} --draft {} --prompt \"…\"",
        args.target,
        draft.display()
    );
    Ok(())
}

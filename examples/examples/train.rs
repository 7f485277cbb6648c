//! Runs a recipe: `train RECIPE.toml [--out DIR] [--resume] [--check] [--engine burn|torch]`.

use std::{
    fs::File,
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::{Parser, ValueEnum};
use fastdraft_data::{
    PackedTokens, Packer, frequency,
    source::{documents, read_prompts},
};
use fastdraft_examples::{Dtype, finish, target, writable};
use fastdraft_hw::{DeviceSpec, open};
use fastdraft_model::{Checkpoint, DecoderConfig, DraftVocabulary, draft::init};
use fastdraft_train::{
    DraftModel, TargetModel, TrainError,
    checkpoint::CheckpointFolder,
    evaluate::{EvaluateConfig, TaskReport, evaluate, plain_speed},
    generate::{GenerateConfig, Question, generate_answers},
    progress::Progress,
    recipe::{AnswersSource, EvaluationSpec, Recipe, SourceSpec, ValidRecipe},
    report::{self, HtmlReport},
    stage::{Engine, Source, StageConfig, StageState, Step, Trainer},
    target::save_draft,
    teacher::{SparseDistributions, TaughtRows},
    torch::{TorchConfig, TorchEngine},
};

/// Checkpoints of a stage that stay.
const KEEP: usize = 2;
/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Trains a draft as a recipe says.
#[derive(Parser)]
struct Args {
    /// A TOML file, such as those in recipes/.
    recipe: PathBuf,
    /// Where the draft, the metrics and the report go.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Where it is trained.
    #[arg(long, default_value = "cpu")]
    device: DeviceSpec,
    /// Weight format of the target and of drafts that are measured.
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    /// What runs the steps.
    #[arg(long, value_enum, default_value = "burn")]
    engine: EngineKind,
    /// Processes of the torch engine, one for each accelerator.
    #[arg(long, default_value_t = 1)]
    ranks: usize,
    /// Interpreter of the torch engine; else that of $FASTDRAFT_PYTHON, else python3.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Go on from the newest checkpoint in the output folder.
    #[arg(long)]
    resume: bool,
    /// Steps between checkpoints.
    #[arg(long, default_value_t = 100)]
    save_every: usize,
    /// Only say what the recipe would do.
    #[arg(long)]
    check: bool,
}

/// The engines by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum EngineKind {
    /// Burn, in this process.
    Burn,
    /// PyTorch, through torchrun.
    Torch,
}

/// Rows of one source.
enum Rows {
    Text(PackedTokens),
    Taught(TaughtRows),
}

impl Rows {
    fn source(&self, weight: u32) -> Source<'_> {
        match self {
            Self::Text(rows) => (rows, weight).into(),
            Self::Taught(rows) => (rows, weight).into(),
        }
    }

    fn packed(&self) -> &PackedTokens {
        match self {
            Self::Text(rows) => rows,
            Self::Taught(rows) => rows.packed(),
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => finish(Err(error)),
    }
}

fn run(args: &Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let recipe = Recipe::load(&args.recipe)?;
    let recipe = recipe.validate().map_err(TrainError::from)?;
    for config in recipe.stage_configs() {
        println!(
            "{:<6} {:?}, {} × {} tokens a step, {:?}, learning rate {}",
            config.name,
            config.budget,
            config.batch,
            recipe.sequence_length,
            config.loss,
            config.schedule.peak
        );
    }
    if args.check {
        return Ok(ExitCode::SUCCESS);
    }
    writable(&args.out)?;
    let folder = args.out.join("checkpoints");
    if !args.resume && folder.exists() {
        return Err(format!(
            "{} is from an earlier run; go on with --resume, or give another --out",
            folder.display()
        )
        .into());
    }
    let target = target(&recipe.target, args.dtype)?;
    let mut stages = Vec::new();
    for stage in &recipe.stages {
        let rows = |source| rows(source, &recipe, &target);
        stages.push((stage.sources.iter().map(rows)).collect::<Result<Vec<_>, _>>()?);
    }
    let saved = |stage: &StageConfig| {
        let folder = args.out.join("checkpoints").join(&stage.name);
        Ok::<_, TrainError>(CheckpointFolder::new(folder, recipe.to_toml()?, KEEP))
    };
    let mut resumed = None;
    if args.resume {
        for (i, config) in recipe.stage_configs().iter().enumerate() {
            if let Some(found) = saved(config)?.resume(config.optimizer)? {
                resumed = Some((i, found));
            }
        }
    }
    let (start, first, mut state) = match resumed {
        Some((i, found)) => {
            println!("resume: {} after step {}", found.stage, found.state.step);
            (i, found.draft, found.state)
        }
        None => (0, draft(&recipe, &stages, &target)?, StageState::default()),
    };
    let mut trainer = engine(args, &recipe, first, &target)?;
    let mut metrics = metrics(
        &args.out.join("metrics.jsonl"),
        &recipe.stage_configs()[..=start],
        state.step,
    )?;
    let stop = Arc::new(AtomicBool::new(false));
    let finishing = Arc::new(AtomicBool::new(false));
    let (seen, last) = (Arc::clone(&stop), Arc::clone(&finishing));
    ctrlc::set_handler(move || {
        if last.load(Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        seen.store(true, Ordering::Relaxed);
    })?;
    let configs = recipe.stage_configs();
    let parts = configs.iter().zip(&stages).zip(&recipe.stages);
    for ((config, rows), spec) in parts.skip(start) {
        let checkpoints = saved(config)?;
        let sources: Vec<Source<'_>> = (rows.iter().zip(&spec.sources))
            .map(|(rows, source)| rows.source(source.weight))
            .collect();
        let mut progress = Progress::start(&config.name);
        let mut observe = |step: &Step<'_>| {
            if let Some(loss) = step.loss {
                let rate = step.state.tokens as f64 / step.state.seconds.max(1e-9);
                progress.set(step.done, &format!("loss {loss:.3}  {rate:.0} tok/s"));
            }
            let line = step.metrics(&config.name).to_string();
            writeln!(metrics, "{line}").map_err(|source| TrainError::Io {
                path: args.out.join("metrics.jsonl"),
                source,
            })?;
            let stopped = stop.load(Ordering::Relaxed);
            if stopped || step.state.step.is_multiple_of(args.save_every.max(1)) {
                checkpoints.save(&config.name, step)?;
            }
            Ok(if stopped {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        };
        let from = std::mem::take(&mut state);
        let ended = trainer.run_stage(config, &sources, from, &mut observe)?;
        if stop.load(Ordering::Relaxed) {
            eprintln!("stopped after step {}; go on with --resume", ended.step);
            return Ok(ExitCode::from(INTERRUPTED));
        }
        let done = ended.report(&config.name)?;
        progress.finish(&format!(
            "loss {:.3} → {:.3}",
            done.first_loss, done.last_loss
        ));
        save_draft(
            &args.out.join(format!("draft-{}", config.name)),
            &trainer.checkpoint()?,
            &target.tokenizer,
        )?;
    }
    // What is left changes nothing on disk that a later run would need.
    finishing.store(true, Ordering::Relaxed);
    let trained = trainer.checkpoint()?;
    save_draft(&args.out.join("draft"), &trained, &target.tokenizer)?;
    let tasks = match &recipe.evaluation {
        Some(spec) => measure(args, &recipe, spec, &trained, &target)?,
        None => Vec::new(),
    };
    let page = page(args, &recipe, &trained, &target, tasks);
    let path = args.out.join("report.html");
    report::write_html(&path, &page)?;
    println!("draft: {}", args.out.join("draft").display());
    println!("report: {}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn engine(
    args: &Args,
    recipe: &ValidRecipe,
    draft: Checkpoint,
    target: &TargetModel,
) -> Result<Box<dyn Engine>, Box<dyn std::error::Error>> {
    let freeze = recipe.draft.freeze_embedding;
    Ok(match args.engine {
        EngineKind::Burn => Box::new(Trainer::new(&draft, &open(&args.device)?, freeze)?),
        EngineKind::Torch => {
            let named = std::env::var_os("FASTDRAFT_PYTHON").map(PathBuf::from);
            let python = args.python.clone().or(named);
            let config = TorchConfig {
                python: python.unwrap_or_else(|| "python3".into()),
                ranks: args.ranks,
                device: (&args.device).into(),
                folder: Some(args.out.join("torch")),
                fingerprint: target.tokenizer.fingerprint(),
                ..TorchConfig::default()
            };
            Box::new(TorchEngine::new(draft, freeze, config)?)
        }
    })
}

/// The log of steps, without lines of steps that come again: the run had gone on after its last
/// checkpoint. `stages` are those begun, the last one after `step` steps.
fn metrics(path: &Path, stages: &[StageConfig], step: usize) -> std::io::Result<File> {
    let mut kept = String::new();
    if step > 0 || stages.len() > 1 {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let stage = stages.iter().position(|s| value["stage"] == *s.name);
            let again = stage == Some(stages.len() - 1)
                && value["step"].as_u64().is_none_or(|done| done > step as u64);
            if stage.is_some() && !again {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    let mut file = File::create(path)?;
    file.write_all(kept.as_bytes())?;
    Ok(file)
}

fn measure(
    args: &Args,
    recipe: &ValidRecipe,
    spec: &EvaluationSpec,
    trained: &Checkpoint,
    target: &TargetModel,
) -> Result<Vec<TaskReport>, Box<dyn std::error::Error>> {
    let mut prompts = Vec::new();
    for path in &spec.prompts {
        let all = read_prompts(path)?;
        let limit = if spec.limit == 0 {
            all.len()
        } else {
            spec.limit
        };
        prompts.extend(all.into_iter().take(limit));
    }
    let config = EvaluateConfig {
        gamma: spec.gamma,
        temperature: spec.temperature,
        max_new_tokens: spec.max_new_tokens,
        seed: recipe.seed,
        raw_tasks: spec.raw_tasks.clone(),
        raw: false,
    };
    let draft = DraftModel::from_checkpoint(trained, args.dtype.into(), target)?;
    let mut progress = Progress::start("plain decoding");
    let plain = plain_speed(target, &prompts, &config, &mut progress)?;
    progress.finish("done");
    let mut progress = Progress::start("evaluate");
    let tasks = evaluate(target, &draft, &prompts, &plain, &config, &mut progress)?;
    progress.finish("done");
    print!("{}", report::table(&tasks));
    report::write_json(&args.out.join("report.json"), &tasks)?;
    Ok(tasks)
}

/// The log has the stages of earlier runs too, which this run has not seen.
fn page(
    args: &Args,
    recipe: &ValidRecipe,
    trained: &Checkpoint,
    target: &TargetModel,
    tasks: Vec<TaskReport>,
) -> HtmlReport {
    let log = std::fs::read_to_string(args.out.join("metrics.jsonl")).unwrap_or_default();
    let mut stages = report::stages_of_metrics(&log);
    if let Some(last) = stages.last_mut() {
        last.tasks = tasks;
    }
    let evaluation = recipe.evaluation.as_ref();
    HtmlReport {
        target: recipe.target.clone(),
        draft: args.out.join("draft").display().to_string(),
        target_parameters: Some(target.config().pass_parameters()),
        draft_parameters: Some(trained.config.pass_parameters()),
        gamma: evaluation.map(|spec| spec.gamma),
        temperature: evaluation.map(|spec| spec.temperature),
        stages,
        ..HtmlReport::default()
    }
}

fn draft(
    recipe: &ValidRecipe,
    stages: &[Vec<Rows>],
    target: &TargetModel,
) -> Result<Checkpoint, TrainError> {
    let (spec, size) = (&recipe.draft, target.config().vocabulary_size);
    let kept = if spec.vocabulary == 0 {
        None
    } else {
        let special: Vec<u32> = (0..size as u32)
            .filter(|id| target.tokenizer.is_special(*id))
            .collect();
        let rows = stages.iter().flatten();
        let ids = rows.flat_map(|rows| rows.packed().ids.iter().copied());
        let top = frequency::top_n(ids, spec.vocabulary, &special);
        Some(DraftVocabulary::new(top, size)?)
    };
    if !spec.blocks.is_empty() {
        return Ok(init::from_target(&target.checkpoint, &spec.blocks, kept)?);
    }
    let config = DecoderConfig {
        intermediate_size: spec.intermediate_size,
        heads: spec.heads,
        kv_heads: spec.heads,
        head_dim: spec.hidden_size / spec.heads.max(1),
        bos_id: target.config().bos_id,
        eos_ids: target.config().eos_ids.clone(),
        ..DecoderConfig::llama(size, spec.hidden_size, spec.layers)
    };
    Ok(init::random(config, kept, recipe.seed)?)
}

fn rows(
    source: &SourceSpec,
    recipe: &ValidRecipe,
    target: &TargetModel,
) -> Result<Rows, TrainError> {
    let end = target.config().eos_ids.first().copied().unwrap_or(0);
    let mut packer = Packer::new(recipe.sequence_length, end);
    if let Some(path) = &source.documents {
        for document in documents(path, &source.field)? {
            packer.push_document(&target.tokenizer.encode(&document?.text, false)?);
        }
    }
    match &source.answers {
        Some(spec) => answers(spec, recipe.seed, packer, target),
        None => Ok(Rows::Text(packer.finish()?)),
    }
}

fn answers(
    spec: &AnswersSource,
    seed: u64,
    mut packer: Packer,
    target: &TargetModel,
) -> Result<Rows, TrainError> {
    let mut questions = Vec::new();
    for prompt in read_prompts(&spec.prompts)? {
        questions.push(Question {
            ids: target.encode(&prompt.prompt, false)?,
            id: prompt.id,
            prompt: prompt.prompt,
        });
    }
    let config = GenerateConfig {
        temperatures: spec.temperatures.clone(),
        max_new_tokens: spec.max_new_tokens,
        batch: spec.batch,
        limit: None,
        seed,
        top_k: spec.top_k,
    };
    let mut progress = Progress::start("answers of the target");
    let all = generate_answers(target, &questions, &config, &mut progress)?;
    progress.finish(&format!("{} answers", all.len()));
    let mut teacher = SparseDistributions::new(spec.top_k);
    for answer in &all {
        packer.push_masked(&answer.answer.masked()?);
        teacher.append(&answer.teacher)?;
    }
    let packed = packer.finish()?;
    if spec.top_k == 0 {
        return Ok(Rows::Text(packed));
    }
    Ok(Rows::Taught(TaughtRows::new(packed, teacher)?))
}

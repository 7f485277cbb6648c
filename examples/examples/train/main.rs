//! Runs a recipe: `train RECIPE.toml [--out DIR] [--resume] [--check] [--engine burn|torch]`.

mod data;
mod log;
mod measure;

use std::{
    io::Write,
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;
use fastdraft_examples::{
    Dtype, INTERRUPTED, finish,
    place::{EngineKind, PlaceArgs},
    target, writable,
};
use fastdraft_hw::open;
use fastdraft_model::Checkpoint;
use fastdraft_train::{
    TargetModel, TrainError,
    checkpoint::CheckpointFolder,
    progress::Progress,
    recipe::{Recipe, ValidRecipe},
    report,
    stage::{Engine, Freeze, Source, StageConfig, StageState, Step, Trainer},
    target::save_draft,
    torch::{TorchConfig, TorchEngine},
};

use measure::Measure;

/// Checkpoints of a stage that stay.
const KEEP: usize = 2;

/// Trains a draft as a recipe says.
#[derive(Parser)]
struct Args {
    /// A TOML file, such as those in recipes/.
    recipe: PathBuf,
    /// Where the draft, the metrics and the report go.
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// Weight format of the target and of drafts that are measured.
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    #[command(flatten)]
    place: PlaceArgs,
    /// Go on from the newest checkpoint in the output folder.
    #[arg(long)]
    resume: bool,
    /// Leave a stage out; may be given several times.
    #[arg(long, value_name = "STAGE")]
    skip: Vec<String>,
    /// Steps between checkpoints.
    #[arg(long, default_value_t = 100)]
    save_every: usize,
    /// Only say what the recipe would do.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => finish(Err(error)),
    }
}

fn run(args: &Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let recipe = Recipe::load(&args.recipe)?.without(&args.skip)?;
    let recipe = recipe.validate().map_err(TrainError::from)?;
    for config in recipe.stage_configs() {
        println!(
            "{:<6} {:?}, {} × {} tokens a step, {:?}, learning rate {}",
            config.name,
            config.budget,
            config.rows(),
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
    let stop = Arc::new(AtomicBool::new(false));
    let finishing = Arc::new(AtomicBool::new(false));
    let (seen, last) = (Arc::clone(&stop), Arc::clone(&finishing));
    ctrlc::set_handler(move || {
        if last.load(Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        seen.store(true, Ordering::Relaxed);
    })?;
    let target = target(&recipe.target, args.dtype)?;
    let place = args.place.open(target.tokenizer.fingerprint())?;
    let Some(stages) = data::stages(&recipe, &target, &args.out, &place, &stop)? else {
        eprintln!("stopped while the target answered; the same command goes on");
        return Ok(ExitCode::from(INTERRUPTED));
    };
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
        None => (
            0,
            data::draft(&recipe, &stages, &target)?,
            StageState::default(),
        ),
    };
    let mut trainer = engine(args, &recipe, first, &target)?;
    let path = args.out.join("metrics.jsonl");
    let mut metrics = log::open(&path, &recipe.stage_configs()[..=start], state.step)?;
    let mut measure = Measure::new(&recipe, &target, args.dtype, &args.out)?;
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
                path: path.clone(),
                source,
            })?;
            let stopped = stop.load(Ordering::Relaxed);
            if stopped || step.state.step.is_multiple_of(args.save_every.max(1)) {
                checkpoints.save(&config.name, step)?;
            }
            if !stopped {
                measure.during(config, step)?;
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
        let trained = trainer.checkpoint()?;
        let folder = args.out.join(format!("draft-{}", config.name));
        save_draft(&folder, &trained, &target.tokenizer)?;
        measure.after(config, &trained)?;
    }
    // What is left changes nothing on disk that a later run would need.
    finishing.store(true, Ordering::Relaxed);
    let trained = trainer.checkpoint()?;
    save_draft(&args.out.join("draft"), &trained, &target.tokenizer)?;
    let path = args.out.join("report.html");
    report::write_html(&path, &measure.page(&trained)?)?;
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
    let freeze = Freeze {
        embedding: recipe.draft.freeze_embedding,
        head: recipe.draft.freeze_head,
    };
    Ok(match args.place.engine {
        EngineKind::Burn => Box::new(Trainer::new(&draft, &open(&args.place.device)?, freeze)?),
        EngineKind::Torch => {
            let config = TorchConfig {
                folder: Some(args.out.join("torch")),
                ..args.place.torch(target.tokenizer.fingerprint())
            };
            let mut engine = TorchEngine::new(draft, freeze, config)?;
            if recipe
                .stage_configs()
                .iter()
                .any(StageConfig::has_live_teacher)
            {
                engine = engine.with_teacher(target.checkpoint()?);
            }
            Box::new(engine)
        }
    })
}

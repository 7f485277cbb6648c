//! What the draft is worth: after every stage, and at points of it to keep the best.

use std::path::{Path, PathBuf};

use fastdraft_data::source::{Prompt, read_prompts};
use fastdraft_examples::Dtype;
use fastdraft_model::Checkpoint;
use fastdraft_train::{
    DraftModel, TargetModel, TrainError,
    evaluate::{DraftLength, EvaluateConfig, PlainSpeed, TaskReport, evaluate, plain_speed},
    progress::Progress,
    recipe::{EvaluationSpec, ValidRecipe},
    report::{self, HtmlReport, RunReport, ShapeRow},
    stage::{StageConfig, Step},
    target::save_draft,
};
use serde::{Deserialize, Serialize};

/// The best draft so far, by the mean acceptance rate of the tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Best {
    stage: String,
    step: usize,
    acceptance_rate: f64,
}

/// Measures drafts of a run; without an evaluation in the recipe it does nothing.
pub struct Measure<'a> {
    recipe: &'a ValidRecipe,
    target: &'a TargetModel,
    dtype: Dtype,
    out: &'a Path,
    prompts: Vec<Prompt>,
    plain: Option<PlainSpeed>,
    best: Option<Best>,
}

impl<'a> Measure<'a> {
    pub fn new(
        recipe: &'a ValidRecipe,
        target: &'a TargetModel,
        dtype: Dtype,
        out: &'a Path,
    ) -> Result<Self, TrainError> {
        let mut prompts = Vec::new();
        if let Some(spec) = &recipe.evaluation {
            for path in &spec.prompts {
                let all = read_prompts(path)?;
                let limit = match spec.limit {
                    0 => all.len(),
                    limit => limit,
                };
                prompts.extend(all.into_iter().take(limit));
            }
        }
        Ok(Self {
            recipe,
            target,
            dtype,
            out,
            prompts,
            plain: None,
            best: read(&out.join("best.json")),
        })
    }

    /// Keeps the draft of this step if it is the best one, where the recipe asks for a look.
    pub fn during(&mut self, config: &StageConfig, step: &Step<'_>) -> Result<(), TrainError> {
        let Some(spec) = &self.recipe.evaluation else {
            return Ok(());
        };
        let done = step.state.step;
        if spec.every == 0 || !done.is_multiple_of(spec.every) {
            return Ok(());
        }
        let trained = step.checkpoint()?;
        // Acceptance needs no plain decoding beside it.
        let tasks = self.tasks(spec, &trained, &PlainSpeed::default())?;
        self.keep_best(&config.name, done, &trained, &tasks)
    }

    /// Measures the draft that a stage ends with.
    pub fn after(&mut self, config: &StageConfig, trained: &Checkpoint) -> Result<(), TrainError> {
        let Some(spec) = &self.recipe.evaluation else {
            return Ok(());
        };
        if self.plain.is_none() {
            let mut progress = Progress::start("plain decoding");
            let settings = settings(self.recipe, spec);
            let plain = plain_speed(self.target, &self.prompts, &settings, &mut progress)?;
            progress.finish("done");
            self.plain = Some(plain);
        }
        let plain = self.plain.clone().unwrap_or_default();
        let tasks = self.tasks(spec, trained, &plain)?;
        println!("after {}", config.name);
        print!("{}", report::table(&tasks));
        report::write_json(&self.stage_file(&config.name), &tasks)?;
        let report = RunReport {
            shapes: self.shapes(),
            tasks,
        };
        report::write_json(&self.out.join("report.json"), &report)?;
        self.keep_best(&config.name, 0, trained, &report.tasks)
    }

    fn tasks(
        &self,
        spec: &EvaluationSpec,
        trained: &Checkpoint,
        plain: &PlainSpeed,
    ) -> Result<Vec<TaskReport>, TrainError> {
        let draft = DraftModel::from_checkpoint(trained, self.dtype.into(), self.target)?;
        let settings = settings(self.recipe, spec);
        let mut progress = Progress::start("evaluate");
        let tasks = evaluate(
            self.target,
            &draft,
            &self.prompts,
            plain,
            &settings,
            &mut progress,
        )?;
        progress.finish(&format!("mean acceptance rate {:.3}", mean(&tasks)));
        Ok(tasks)
    }

    fn keep_best(
        &mut self,
        stage: &str,
        step: usize,
        trained: &Checkpoint,
        tasks: &[TaskReport],
    ) -> Result<(), TrainError> {
        let found = Best {
            stage: stage.to_owned(),
            step,
            acceptance_rate: mean(tasks),
        };
        let better =
            (self.best.as_ref()).is_none_or(|best| found.acceptance_rate > best.acceptance_rate);
        if better {
            save_draft(&self.out.join("best"), trained, &self.target.tokenizer)?;
            report::write_json(&self.out.join("best.json"), &found)?;
            self.best = Some(found);
        }
        Ok(())
    }

    /// Measured shapes that `report.json` has.
    fn shapes(&self) -> Vec<ShapeRow> {
        let report: Option<RunReport> = read(&self.out.join("report.json"));
        report.unwrap_or_default().shapes
    }

    fn stage_file(&self, stage: &str) -> PathBuf {
        self.out.join(format!("report-{stage}.json"))
    }

    /// The report. Stages of earlier runs are read from what those left.
    pub fn page(&self, trained: &Checkpoint) -> Result<HtmlReport, TrainError> {
        let log = std::fs::read_to_string(self.out.join("metrics.jsonl")).unwrap_or_default();
        let mut stages = report::stages_of_metrics(&log);
        for stage in &mut stages {
            stage.tasks = read(&self.stage_file(&stage.training.stage)).unwrap_or_default();
        }
        let evaluation = self.recipe.evaluation.as_ref();
        let mut facts = Vec::new();
        if let Some(best) = &self.best {
            let when = match best.step {
                0 => format!("the end of {}", best.stage),
                step => format!("step {step} of {}", best.stage),
            };
            facts.push((
                "best".to_owned(),
                format!("{:.3} mean acceptance rate, {when}", best.acceptance_rate),
            ));
        }
        Ok(HtmlReport {
            target: self.recipe.target.clone(),
            draft: self.out.join("draft").display().to_string(),
            target_parameters: Some(self.target.config().pass_parameters()),
            draft_parameters: Some(trained.config.pass_parameters()),
            gamma: evaluation.map(|spec| spec.gamma),
            temperature: evaluation.map(|spec| spec.temperature),
            stages,
            facts,
            shapes: self.shapes(),
            ..HtmlReport::default()
        })
    }
}

fn settings(recipe: &ValidRecipe, spec: &EvaluationSpec) -> EvaluateConfig {
    EvaluateConfig {
        gamma: spec.gamma,
        length: DraftLength::Fixed,
        temperature: spec.temperature,
        max_new_tokens: spec.max_new_tokens,
        seed: recipe.seed,
        raw_tasks: spec.raw_tasks.clone(),
        raw: false,
    }
}

fn mean(tasks: &[TaskReport]) -> f64 {
    let sum: f64 = tasks.iter().map(|task| task.acceptance_rate).sum();
    sum / tasks.len().max(1) as f64
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

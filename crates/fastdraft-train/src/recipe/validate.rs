//! Every problem of a recipe at once.

use std::{collections::BTreeSet, fmt, ops::Deref, time::Duration};

use super::{AnswersSource, BudgetSpec, DraftSpec, EvaluationSpec, Recipe, SourceSpec, StageSpec};
use crate::{
    optim::schedule::Schedule,
    stage::{Budget, StageConfig, TeacherLogits},
};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `stage[1].sources[0].weight`.
    pub path: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// All that is wrong, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { path, reason }) in self.0.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{path}: {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A recipe without problems.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidRecipe(Recipe);

impl Deref for ValidRecipe {
    type Target = Recipe;

    fn deref(&self) -> &Recipe {
        &self.0
    }
}

impl ValidRecipe {
    /// Settings of each stage, in order.
    #[must_use]
    pub fn stage_configs(&self) -> Vec<StageConfig> {
        let config = |(order, stage): (u64, &StageSpec)| StageConfig {
            name: stage.name.clone(),
            budget: match stage.budget {
                BudgetSpec::Steps(steps) => Budget::Steps(steps),
                BudgetSpec::Tokens(tokens) => Budget::Tokens(tokens),
                BudgetSpec::Seconds(seconds) => Budget::Time(Duration::from_secs(seconds)),
            },
            schedule: Schedule {
                peak: stage.learning_rate,
                warmup: stage.warmup,
                floor: stage.floor,
            },
            batch: stage.batch,
            accumulation: stage.accumulation,
            gradient_checkpointing: stage.gradient_checkpointing,
            precision: stage.precision,
            clip: stage.clip,
            seed: self.seed.wrapping_add(order),
            loss: stage.loss,
            teacher_logits: stage.teacher_logits,
            optimizer: stage.optimizer,
        };
        (1..).zip(&self.stages).map(config).collect()
    }
}

impl Recipe {
    /// Checks everything that can be checked without reading other files.
    ///
    /// # Errors
    /// All problems, each with its path.
    pub fn validate(self) -> Result<ValidRecipe, Problems> {
        let mut check = Check(Vec::new());
        check.that(!self.target.trim().is_empty(), "target", "is empty");
        let long = self.sequence_length >= 2;
        check.that(long, "sequence_length", "must be at least 2");
        check.draft(&self.draft);
        check.that(
            !self.stages.is_empty(),
            "stage",
            "there must be at least one",
        );
        let mut names = BTreeSet::new();
        for (i, stage) in self.stages.iter().enumerate() {
            let at = format!("stage[{i}]");
            let new = names.insert(&stage.name);
            check.that(new, &format!("{at}.name"), "comes twice");
            check.stage(stage, &at);
        }
        if let Some(evaluation) = &self.evaluation {
            check.evaluation(evaluation);
        }
        if check.0.is_empty() {
            Ok(ValidRecipe(self))
        } else {
            Err(Problems(check.0))
        }
    }
}

struct Check(Vec<Problem>);

impl Check {
    fn that(&mut self, right: bool, path: &str, reason: &str) {
        if !right {
            self.0.push(Problem {
                path: path.to_owned(),
                reason: reason.to_owned(),
            });
        }
    }

    fn draft(&mut self, draft: &DraftSpec) {
        let sizes = [
            ("draft.layers", draft.layers),
            ("draft.hidden_size", draft.hidden_size),
            ("draft.intermediate_size", draft.intermediate_size),
            ("draft.heads", draft.heads),
        ];
        if draft.from.is_some() {
            let alone = draft.blocks.is_empty()
                && draft.width == 0
                && sizes.iter().all(|(_, size)| *size == 0);
            let reason = "has its own shape; leave blocks and sizes out";
            self.that(alone && draft.vocabulary == 0, "draft.from", reason);
        } else if draft.blocks.is_empty() {
            for (path, size) in sizes {
                self.that(size > 0, path, "must be above 0 when no blocks are named");
            }
            let divides = draft.hidden_size.checked_rem(draft.heads) == Some(0);
            let even = divides && (draft.hidden_size / draft.heads).is_multiple_of(2);
            self.that(even, "draft.heads", "must cut hidden_size into even parts");
            for (path, frozen) in [
                ("draft.freeze_embedding", draft.freeze_embedding),
                ("draft.freeze_head", draft.freeze_head),
            ] {
                self.that(!frozen, path, "is random here");
            }
            let reason = "is for drafts made of blocks; this one has hidden_size";
            self.that(draft.width == 0, "draft.width", reason);
        } else {
            for (path, size) in sizes {
                self.that(
                    size == 0,
                    path,
                    "comes from the target when blocks are named",
                );
            }
        }
    }

    fn stage(&mut self, stage: &StageSpec, at: &str) {
        let path = |field: &str| format!("{at}.{field}");
        self.that(!stage.name.is_empty(), &path("name"), "is empty");
        let spends = match stage.budget {
            BudgetSpec::Steps(steps) => steps > 0,
            BudgetSpec::Tokens(tokens) => tokens > 0,
            BudgetSpec::Seconds(seconds) => seconds > 0,
        };
        self.that(spends, &path("budget"), "must be above 0");
        self.that(stage.batch > 0, &path("batch"), "must be above 0");
        let some = stage.accumulation > 0;
        self.that(some, &path("accumulation"), "must be above 0");
        let counted = stage.batch.checked_mul(stage.accumulation).is_some();
        self.that(
            counted,
            &path("accumulation"),
            "times batch is too many rows",
        );
        let rate = stage.learning_rate > 0.0 && stage.learning_rate.is_finite();
        self.that(rate, &path("learning_rate"), "must be above 0");
        let share = |value: f64| (0.0..=1.0).contains(&value);
        self.that(share(stage.warmup), &path("warmup"), "must be in 0..=1");
        self.that(share(stage.floor), &path("floor"), "must be in 0..=1");
        self.that(stage.clip > 0.0, &path("clip"), "must be above 0");
        let decays = [stage.optimizer.beta_1, stage.optimizer.beta_2];
        let below = decays.iter().all(|beta| (0.0..1.0).contains(beta));
        self.that(
            below,
            &path("optimizer"),
            "beta_1 and beta_2 must be in 0..1",
        );
        let signs = stage.optimizer.epsilon > 0.0 && stage.optimizer.weight_decay >= 0.0;
        let reason = "epsilon must be above 0 and weight_decay not below";
        self.that(signs, &path("optimizer"), reason);
        let idle = stage.teacher_logits == TeacherLogits::Live && !stage.loss.needs_teacher();
        let reason = "is live, but this stage's loss asks no teacher";
        self.that(!idle, &path("teacher_logits"), reason);
        self.that(!stage.sources.is_empty(), &path("sources"), "is empty");
        for (i, source) in stage.sources.iter().enumerate() {
            self.source(source, stage, &path(&format!("sources[{i}]")));
        }
    }

    fn source(&mut self, source: &SourceSpec, stage: &StageSpec, at: &str) {
        self.that(
            source.weight > 0,
            &format!("{at}.weight"),
            "must be above 0",
        );
        let kinds = [
            source.documents.is_some(),
            source.answers.is_some(),
            source.answered.is_some(),
        ];
        let one = kinds.iter().filter(|given| **given).count() == 1;
        let reason = "must have one of documents, answers and answered";
        self.that(one, at, reason);
        if stage.loss.needs_teacher() && stage.teacher_logits == TeacherLogits::Recorded {
            let recorded = (source.answers.as_ref()).is_some_and(|answers| answers.top_k > 0);
            let reason =
                "this stage's loss needs answers with top_k above 0, or live teacher_logits";
            self.that(recorded || source.answered.is_some(), at, reason);
        }
        if let Some(answers) = &source.answers {
            self.answers(answers, &format!("{at}.answers"));
        }
    }

    fn answers(&mut self, answers: &AnswersSource, at: &str) {
        let heat = |t: &f64| t.is_finite() && *t >= 0.0;
        let warm = !answers.temperatures.is_empty() && answers.temperatures.iter().all(heat);
        let reason = "must be numbers from 0 on, at least one";
        self.that(warm, &format!("{at}.temperatures"), reason);
        let sizes = answers.max_new_tokens > 0 && answers.batch > 0;
        self.that(sizes, at, "max_new_tokens and batch must be above 0");
    }

    fn evaluation(&mut self, evaluation: &EvaluationSpec) {
        let gamma = evaluation.gamma > 0;
        self.that(gamma, "evaluation.gamma", "must be above 0");
        let warm = evaluation.temperature.is_finite() && evaluation.temperature >= 0.0;
        self.that(warm, "evaluation.temperature", "must be a number from 0 on");
        let long = evaluation.max_new_tokens > 0;
        self.that(long, "evaluation.max_new_tokens", "must be above 0");
        let some = !evaluation.prompts.is_empty();
        self.that(some, "evaluation.prompts", "is empty");
    }
}

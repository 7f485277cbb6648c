//! A loss and a draft of one's own, in one file.
//!
//! The loss is the acceptance rate itself: `-ln Σ min(p, q)` of the target's recorded
//! probabilities `p` and the draft's `q` (the sum is the chance that a token is accepted,
//! Leviathan et al., arXiv 2211.17192, equation 3 and corollary 3.6). The draft mixes the model
//! with what followed the same token earlier in the context, and stays lossless because it samples
//! from what it reports.
//!
//! `research --draft D --answers FOLDER --prompts P [--steps 100]`

use std::{ops::ControlFlow, path::PathBuf, process::ExitCode};

use burn::tensor::{Tensor, TensorData, activation::softmax};
use clap::Parser;
use fastdraft_data::source::{Prompt, read_prompts};
use fastdraft_examples::{Dtype, Outcome, finish, target};
use fastdraft_hw::{DeviceSpec, open};
use fastdraft_model::engine::cpu::CpuEngine;
use fastdraft_specdec::{
    Draft, Metrics, PromptLookup, Proposal, RecentContext, Sampler, SessionConfig, Stop, TokenId,
    Transform, generate,
};
use fastdraft_train::{
    DraftModel, TargetModel, TrainError,
    answers::{AnswerRows, AnswersFolder, pack},
    loss::{Batch, Loss, Objective},
    optim::schedule::Schedule,
    progress::Progress,
    stage::{Budget, Freeze, StageConfig, Trainer},
    target::load_draft,
};

/// Trains with the loss below and measures the draft below.
#[derive(Parser)]
struct Args {
    /// Path, or a known name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    target: String,
    /// The draft to begin with.
    #[arg(long)]
    draft: PathBuf,
    /// Answers with probabilities, from the `answers` example.
    #[arg(long)]
    answers: PathBuf,
    /// Prompts to measure on.
    #[arg(long)]
    prompts: PathBuf,
    /// Prompts of the file.
    #[arg(long, default_value_t = 8)]
    limit: usize,
    /// Steps of training.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Prompts go without the chat template.
    #[arg(long)]
    raw: bool,
}

/// `-ln Σ min(p, q)`, averaged over positions.
struct LogAcceptance;

impl Objective for LogAcceptance {
    fn loss(&self, logits: Tensor<2>, batch: &Batch) -> Tensor<1> {
        let [count, size] = logits.dims();
        let mut target = vec![0.0f32; count * size];
        for (row, tokens) in target.chunks_mut(size).zip(batch.taught()) {
            for (id, share) in tokens {
                row[*id as usize] = *share;
            }
        }
        let device = logits.device();
        let target = Tensor::from_data(TensorData::new(target, [count, size]), &device);
        let accepted = softmax(logits, 1).min_pair(target).sum_dim(1);
        accepted.add_scalar(1e-4).log().mean().neg()
    }
}

/// Proposes what followed the same n-gram before, and asks the model where nothing did.
struct LookupFirst {
    lookup: PromptLookup,
    model: RecentContext<CpuEngine>,
}

impl Draft for LookupFirst {
    type Error = fastdraft_model::ModelError;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), Self::Error> {
        let Ok(()) = self.lookup.propose(context, gamma, sampler, out);
        if out.is_empty() {
            self.model.propose(context, gamma, sampler, out)?;
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) -> Result<(), Self::Error> {
        let Ok(()) = self.lookup.truncate(len);
        Draft::truncate(&mut self.model, len)
    }
}

fn main() -> ExitCode {
    finish(run(&Args::parse()))
}

fn run(args: &Args) -> Outcome {
    let target = target(&args.target, Dtype::Int8)?;
    let mut prompts = read_prompts(&args.prompts)?;
    prompts.truncate(args.limit);
    let weights = load_draft(&args.draft, &target)?;
    let before = DraftModel::from_checkpoint(&weights, Dtype::Int8.into(), &target)?;
    report("before", &before, &target, &prompts, args.raw)?;

    let end = target.config().eos_ids.first().copied().unwrap_or(0);
    let answers = AnswersFolder::new(&args.answers).read()?;
    let AnswerRows::Taught(rows) = pack(&answers, 128, end)? else {
        return Err("the answers have no probabilities; generate them with --top-k 32".into());
    };
    let stage = StageConfig {
        name: "research".into(),
        budget: Budget::Steps(args.steps),
        schedule: Schedule::cosine(3e-4),
        batch: 2,
        // It decides what a batch carries; LogAcceptance is minimised.
        loss: Loss::TotalVariation,
        ..StageConfig::default()
    };
    let device = open(&DeviceSpec::default())?;
    let mut trainer =
        Trainer::new(&weights, &device, Freeze::VOCABULARY)?.with_objective(LogAcceptance);
    let mut progress = Progress::start("-ln acceptance");
    let done = trainer.run(&stage, &[(&rows, 1)], &mut progress)?;
    progress.finish(&format!("{:.3} → {:.3}", done.first_loss, done.last_loss));
    let after = DraftModel::from_checkpoint(&trainer.checkpoint()?, Dtype::Int8.into(), &target)?;
    report("after", &after, &target, &prompts, args.raw)?;
    Ok(())
}

fn report(
    when: &str,
    draft: &DraftModel,
    target: &TargetModel,
    prompts: &[Prompt],
    raw: bool,
) -> Result<(), TrainError> {
    let model = measure(target, prompts, raw, |capacity| draft.engine(capacity))?;
    let mixed = measure(target, prompts, raw, |capacity| LookupFirst {
        lookup: PromptLookup::default(),
        model: draft.engine(capacity),
    })?;
    for (name, metrics) in [("model", model), ("lookup first", mixed)] {
        println!(
            "{when:<7} {name:<13} acceptance rate {:.3}, {:.2} tokens a target pass",
            metrics.acceptance_rate().unwrap_or(0.0),
            metrics.block_efficiency().unwrap_or(0.0)
        );
    }
    Ok(())
}

fn measure<D: Draft>(
    target: &TargetModel,
    prompts: &[Prompt],
    raw: bool,
    draft: impl Fn(usize) -> D,
) -> Result<Metrics, TrainError>
where
    D::Error: std::fmt::Display,
{
    let mut metrics = Metrics::default();
    for prompt in prompts {
        let ids = target.encode(&prompt.prompt, raw)?;
        let capacity = ids.len() + 64 + 4;
        let session = SessionConfig {
            gamma: 3,
            max_new_tokens: 64,
            transform: Transform::temperature(0.6),
            stop: Stop {
                tokens: target.config().eos_ids.clone(),
                ..Stop::default()
            },
            seed: 1,
        };
        let (mut draft, mut engine) = (draft(capacity), target.engine(capacity));
        let next = |_: fastdraft_specdec::Emitted<'_>| ControlFlow::Continue(());
        let out = generate(&mut draft, &mut engine, &ids, &session, next).map_err(|error| {
            TrainError::Decode {
                reason: error.to_string(),
            }
        })?;
        metrics.merge(&out.metrics);
    }
    Ok(metrics)
}

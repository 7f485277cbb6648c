//! Drafts compared on the same text, whatever tokens they draw.

use std::{collections::BTreeMap, ops::ControlFlow};

use fastdraft_data::source::Prompt;
use fastdraft_model::engine::cpu::{CpuModel, Segment, Workspace};
use fastdraft_specdec::{
    Distribution, Draft, Proposal, Sampler, SeededUniform, SessionConfig, Transform, generate_plain,
};
use serde::{Deserialize, Serialize};

use super::{EvaluateConfig, decode, interval, not_empty};
use crate::{draft::DraftSource, error::TrainError, progress::Progress, target::TargetModel};

/// How likely the tokens of each of several drafts are accepted on one task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExpectedAcceptance {
    /// The task.
    pub task: String,
    /// Prompts continued.
    pub prompts: usize,
    /// Tokens of the continuations.
    pub positions: usize,
    /// In the order of the drafts.
    pub drafts: Vec<DraftAcceptance>,
}

/// One draft of a comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DraftAcceptance {
    /// Mean of `Σ min(p, q)` over the positions.
    pub mean: f64,
    /// Where it lies with 95 % confidence, by resampling prompts; absent with fewer than two.
    pub interval: Option<(f64, f64)>,
    /// The same of its difference from the first draft, which has none.
    pub difference: Option<(f64, f64)>,
}

/// Positions of a prompt, and for each draft the sum over them.
struct Prompted {
    positions: usize,
    sums: Vec<f64>,
}

/// Continues every prompt with the target alone, and works out for every token of the
/// continuations how likely each draft's token would have been accepted there: `Σ min(p, q)`
/// (Leviathan et al. 2023, Theorem 3.5), with `p` and `q` after the temperature of `config`.
///
/// All drafts meet the same text and what they draw does not count, so that a difference of a hundredth
/// shows on a few prompts where the acceptance rate of a run needs hundreds. Where a draft proposes
/// nothing, nothing is accepted. It is the acceptance of a first draft token: later ones follow
/// tokens that the draft itself chose, which is why the acceptance rate at γ above 1 is another
/// number. Of `config`, γ and what decides the draft length are not read.
///
/// # Errors
/// [`TrainError::Empty`] without prompts or drafts, [`TrainError::Decode`] when a model fails.
pub fn expected_acceptance<S: DraftSource>(
    target: &TargetModel,
    drafts: &[S],
    prompts: &[Prompt],
    config: &EvaluateConfig,
    progress: &mut Progress,
) -> Result<Vec<ExpectedAcceptance>, TrainError> {
    not_empty(prompts)?;
    if drafts.is_empty() {
        return Err(TrainError::Empty {
            what: "the list of drafts".into(),
        });
    }
    let mut tasks: BTreeMap<&str, Vec<Prompted>> = BTreeMap::new();
    for (index, prompt) in prompts.iter().enumerate() {
        let measured = one(target, drafts, prompt, index, config)?;
        tasks.entry(&prompt.task).or_default().push(measured);
        progress.set((index + 1) as f64 / prompts.len() as f64, &prompt.task);
    }
    Ok((tasks.into_iter())
        .map(|(task, prompts)| report(task, &prompts, drafts.len(), config.seed))
        .collect())
}

fn one<S: DraftSource>(
    target: &TargetModel,
    drafts: &[S],
    prompt: &Prompt,
    index: usize,
    config: &EvaluateConfig,
) -> Result<Prompted, TrainError> {
    let mut ids = target.encode(&prompt.prompt, config.is_raw(&prompt.task))?;
    let session = config.session(target, index);
    let mut engine = target.engine(ids.len() + config.max_new_tokens + 1);
    let text = generate_plain(&mut engine, &ids, &session, |_| ControlFlow::Continue(()))
        .map_err(decode)?
        .tokens;
    let first = ids.len();
    ids.extend(&text);
    let p = distributions(&target.model, &ids, first, &session.transform)?;
    let sums = (drafts.iter())
        .map(|draft| accepted(&mut draft.draft(ids.len()), &ids, &p, &session))
        .collect::<Result<_, _>>()?;
    let positions = text.len();
    Ok(Prompted { positions, sums })
}

/// `Σ min(p, q)` of the first token that `draft` proposes at every position that `p` is of, the last
/// ones of `ids`, added up.
fn accepted<D: Draft>(
    draft: &mut D,
    ids: &[u32],
    p: &[Distribution],
    session: &SessionConfig,
) -> Result<f64, TrainError> {
    let mut rng = SeededUniform::new(session.seed);
    let mut sampler = Sampler::new(&session.transform, &mut rng);
    let mut proposal = Proposal::new();
    let mut sum = 0.0;
    for (position, p) in (ids.len() - p.len()..).zip(p) {
        proposal.clear();
        (draft.propose(&ids[..position], 1, &mut sampler, &mut proposal)).map_err(decode)?;
        sum += proposal
            .distributions()
            .first()
            .map_or(0.0, |q| shared(p, q));
        draft.truncate(position).map_err(decode)?;
    }
    Ok(sum)
}

/// What the target says of every token of `ids` from `first` on.
fn distributions(
    model: &CpuModel,
    ids: &[u32],
    first: usize,
    transform: &Transform,
) -> Result<Vec<Distribution>, TrainError> {
    let Some((_, fed)) = ids.split_last().filter(|_| ids.len() > first) else {
        return Ok(Vec::new());
    };
    let mut logits = Vec::new();
    let segment = Segment {
        cache: &mut model.cache(fed.len()),
        tokens: fed,
        outputs: ids.len() - first,
    };
    model.forward(&mut [segment], &mut Workspace::new(), &mut logits)?;
    (logits.chunks_exact(model.config().head_size))
        .enumerate()
        .map(|(index, row)| {
            let mut out = Distribution::new();
            let history = &ids[..first + index];
            transform.apply(row, history, &mut out).map_err(decode)?;
            Ok(out)
        })
        .collect()
}

/// `Σ min(p, q)`.
fn shared(p: &Distribution, q: &Distribution) -> f64 {
    q.iter().map(|(token, q)| q.min(p.probability(token))).sum()
}

fn report(task: &str, prompts: &[Prompted], drafts: usize, seed: u64) -> ExpectedAcceptance {
    let positions = prompts.iter().map(|prompt| prompt.positions).sum();
    let over = |value: &dyn Fn(&Prompted) -> f64| -> (f64, Option<(f64, f64)>) {
        let counted: Vec<(f64, f64)> = (prompts.iter())
            .map(|prompt| (prompt.positions as f64, value(prompt)))
            .collect();
        let sum: f64 = counted.iter().map(|(_, value)| value).sum();
        (sum / positions as f64, interval::bootstrap(&counted, seed))
    };
    let drafts = (0..drafts)
        .map(|draft| {
            let (mean, interval) = over(&|prompt| prompt.sums[draft]);
            let (_, difference) = over(&|prompt| prompt.sums[draft] - prompt.sums[0]);
            DraftAcceptance {
                mean,
                interval,
                difference: difference.filter(|_| draft > 0),
            }
        })
        .collect();
    ExpectedAcceptance {
        task: task.to_owned(),
        prompts: prompts.len(),
        positions,
        drafts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_mass_is_what_both_give() {
        let p = Distribution::dense(vec![0.5, 0.3, 0.2, 0.0]).unwrap();
        let q = Distribution::from_parts(vec![1, 3], vec![0.6, 0.4]).unwrap();
        assert!((shared(&p, &q) - 0.3).abs() < 1e-12);
        assert!((shared(&q, &p) - 0.3).abs() < 1e-12);
        assert!((shared(&p, &p) - 1.0).abs() < 1e-12);
        assert_eq!(shared(&p, &Distribution::one_hot(3)), 0.0);
    }

    #[test]
    fn drafts_are_weighed_by_positions_and_paired_by_prompt() {
        let prompts =
            [(10, [5.0, 4.0]), (30, [3.0, 0.0]), (10, [9.0, 8.0])].map(|(positions, sums)| {
                Prompted {
                    positions,
                    sums: sums.to_vec(),
                }
            });
        let found = report("code", &prompts, 2, 1);
        assert_eq!((found.prompts, found.positions), (3, 50));
        assert!((found.drafts[0].mean - 17.0 / 50.0).abs() < 1e-12);
        assert!((found.drafts[1].mean - 12.0 / 50.0).abs() < 1e-12);
        assert!(found.drafts[0].difference.is_none());
        // Every prompt loses a tenth of its positions, so that there is no doubt about it, while
        // the means themselves are unsure.
        assert_eq!(found.drafts[1].difference, Some((-0.1, -0.1)));
        let (low, high) = found.drafts[0].interval.unwrap();
        assert!(low < 0.2 && high > 0.6, "{low} {high}");
    }
}

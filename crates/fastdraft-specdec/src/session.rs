//! The loop: propose, score, verify, commit.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::ops::ControlFlow;

use crate::gamma::step_gamma;
use crate::verify::rows::Scored;
use crate::verify::verify_rows;
use crate::{
    Distribution, Draft, GenerateError, LogitRows, Metrics, NoDraft, Proposal, Rule, Sampler,
    SeededUniform, Stop, Target, TokenId, Transform,
};

/// Settings of a generation.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct SessionConfig {
    /// Tokens to draft for each target pass; near the end no more than can still be used.
    pub gamma: usize,
    /// Most tokens to generate.
    pub max_new_tokens: usize,
    /// How logits become distributions; temperature 0 also selects [`Rule::Greedy`].
    pub transform: Transform,
    /// What ends the generation before that.
    pub stop: Stop,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            gamma: 3,
            max_new_tokens: 64,
            transform: Transform::default(),
            stop: Stop::default(),
            seed: 0,
        }
    }
}

/// Tokens committed by one target pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted<'a> {
    /// The tokens, at least one.
    pub tokens: &'a [TokenId],
    /// How many of the first of them came from the draft.
    pub accepted: usize,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum StopReason {
    /// A stop token or sequence.
    Stop,
    /// The most tokens wanted.
    MaxTokens,
    /// The callback asked for it.
    Cancelled,
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Generation {
    /// The generated tokens without the prompt; a stop token or sequence is included.
    pub tokens: Vec<TokenId>,
    /// What it cost.
    pub metrics: Metrics,
    /// Why it ended.
    pub stop_reason: StopReason,
}

/// Generates after `prompt` what the target alone would, with `draft` proposing tokens.
///
/// At temperature 0 the output equals [`generate_plain`]'s, otherwise it follows the same
/// distribution. Each step drafts min(γ, r − 1) tokens when r are still wanted, so the last step may
/// draft none. A stop inside an accepted block ends the output there: what comes behind it is
/// neither emitted nor counted. Both models are truncated to length 0 first, then after each step to
/// the tokens that both have seen and that were kept: the context less the target's last token.
///
/// `on_tokens` receives the tokens of each step; returning [`ControlFlow::Break`] ends the
/// generation after that step.
///
/// # Errors
/// When the prompt is empty or has a token outside the vocabulary, a setting is out of range, a
/// model fails or breaks its contract, or a target row is not usable. Tokens already passed to
/// `on_tokens` remain valid.
pub fn generate<D: Draft, T: Target>(
    draft: &mut D,
    target: &mut T,
    prompt: &[TokenId],
    config: &SessionConfig,
    mut on_tokens: impl FnMut(Emitted<'_>) -> ControlFlow<()>,
) -> Result<Generation, GenerateError<D::Error, T::Error>> {
    let vocabulary = target.vocabulary().size;
    check(prompt, config, vocabulary)?;
    draft.truncate(0).map_err(GenerateError::Draft)?;
    target.truncate(0).map_err(GenerateError::Target)?;

    let rule = if config.transform.is_greedy() {
        Rule::Greedy
    } else {
        Rule::Rejection
    };
    let mut rng = SeededUniform::new(config.seed);
    let mut context = prompt.to_vec();
    let mut buffers = Buffers::default();
    let mut metrics = Metrics::default();
    let mut stop_reason = StopReason::MaxTokens;

    loop {
        let start = context.len();
        let remaining = config.max_new_tokens.saturating_sub(start - prompt.len());
        if remaining == 0 {
            break;
        }
        let gamma = step_gamma(config.gamma, remaining);
        propose(
            draft,
            &context,
            gamma,
            config,
            &mut rng,
            &mut buffers.proposal,
        )?;
        check_proposal(&buffers.proposal, gamma, vocabulary)?;
        score(target, &context, vocabulary, &mut buffers)?;
        let Buffers {
            proposal,
            rows,
            distribution,
            work,
        } = &mut buffers;
        context.extend_from_slice(proposal.tokens());
        let mut scored = Scored {
            rows,
            transform: &config.transform,
            history: &context,
            context: start,
            out: distribution,
        };
        let verdict = verify_rows(rule, proposal, &mut scored, &mut rng, work);
        context.truncate(start);
        let verdict = verdict.map_err(GenerateError::from)?;

        let stopped = commit(
            &mut context,
            prompt.len(),
            config,
            &buffers.proposal,
            verdict,
        );
        let emitted = context.len() - start;
        let accepted = verdict.accepted.min(emitted);
        // Only a stop among the accepted tokens leaves the target's own token out.
        let cut = emitted <= verdict.accepted;
        let drafted = if cut { emitted } else { buffers.proposal.len() };
        let discarded = buffers.proposal.len() - drafted;
        metrics.record(drafted, accepted, emitted, discarded);
        draft
            .truncate(start + accepted)
            .map_err(GenerateError::Draft)?;
        target
            .truncate(start + accepted)
            .map_err(GenerateError::Target)?;

        let flow = on_tokens(Emitted {
            tokens: context.get(start..).unwrap_or_default(),
            accepted,
        });
        if stopped {
            stop_reason = StopReason::Stop;
            break;
        }
        if emitted < remaining && flow.is_break() {
            stop_reason = StopReason::Cancelled;
            break;
        }
    }
    Ok(Generation {
        tokens: context.split_off(prompt.len()),
        metrics,
        stop_reason,
    })
}

/// Generates after `prompt` one token per target pass, through the same loop without a draft.
///
/// # Errors
/// As [`generate`].
pub fn generate_plain<T: Target>(
    target: &mut T,
    prompt: &[TokenId],
    config: &SessionConfig,
    on_tokens: impl FnMut(Emitted<'_>) -> ControlFlow<()>,
) -> Result<Generation, GenerateError<Infallible, T::Error>> {
    generate(&mut NoDraft, target, prompt, config, on_tokens)
}

#[derive(Default)]
struct Buffers {
    proposal: Proposal,
    rows: LogitRows,
    distribution: Distribution,
    work: Vec<f64>,
}

fn check<D, T>(
    prompt: &[TokenId],
    config: &SessionConfig,
    vocabulary: usize,
) -> Result<(), GenerateError<D, T>> {
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    if let Some((position, token)) = outside(prompt, vocabulary) {
        return Err(GenerateError::PromptToken {
            position,
            token,
            vocabulary,
        });
    }
    if let Some(index) = config.stop.sequences.iter().position(Vec::is_empty) {
        return Err(GenerateError::EmptyStopSequence { index });
    }
    config.transform.validate()?;
    Ok(())
}

fn outside(tokens: &[TokenId], vocabulary: usize) -> Option<(usize, TokenId)> {
    tokens
        .iter()
        .copied()
        .enumerate()
        .find(|&(_, token)| token as usize >= vocabulary)
}

fn propose<D: Draft, E>(
    draft: &mut D,
    context: &[TokenId],
    gamma: usize,
    config: &SessionConfig,
    rng: &mut SeededUniform,
    proposal: &mut Proposal,
) -> Result<(), GenerateError<D::Error, E>> {
    proposal.clear();
    if gamma == 0 {
        return Ok(());
    }
    let mut sampler = Sampler::new(&config.transform, rng);
    draft
        .propose(context, gamma, &mut sampler, proposal)
        .map_err(GenerateError::Draft)
}

fn check_proposal<D, T>(
    proposal: &Proposal,
    gamma: usize,
    vocabulary: usize,
) -> Result<(), GenerateError<D, T>> {
    if proposal.len() > gamma {
        return Err(GenerateError::ProposalTooLong {
            asked: gamma,
            proposed: proposal.len(),
        });
    }
    // Cutting the proposal here instead would condition on the sampled token and bias the output.
    match outside(proposal.tokens(), vocabulary) {
        None => Ok(()),
        Some((position, token)) => Err(GenerateError::ProposedToken {
            position,
            token,
            vocabulary,
        }),
    }
}

/// Fills `buffers.rows` with the target's logits.
fn score<E, T: Target>(
    target: &mut T,
    context: &[TokenId],
    vocabulary: usize,
    buffers: &mut Buffers,
) -> Result<(), GenerateError<E, T::Error>> {
    let proposed = buffers.proposal.tokens();
    target
        .score(context, proposed, &mut buffers.rows)
        .map_err(GenerateError::Target)?;
    let expected = (proposed.len() + 1, vocabulary);
    let actual = (buffers.rows.rows(), buffers.rows.vocabulary());
    if actual != expected {
        return Err(GenerateError::RowShape { expected, actual });
    }
    Ok(())
}

/// Appends the verdict's tokens up to the first stop and tells whether there was one.
fn commit(
    context: &mut Vec<TokenId>,
    prompt: usize,
    config: &SessionConfig,
    proposal: &Proposal,
    verdict: crate::Verdict,
) -> bool {
    let accepted = proposal.tokens().iter().copied().take(verdict.accepted);
    for token in accepted.chain([verdict.next]) {
        context.push(token);
        if config.stop.ends(context.get(prompt..).unwrap_or_default()) {
            return true;
        }
    }
    false
}

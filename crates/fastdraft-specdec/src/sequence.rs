//! One sequence being generated: the state between two passes, without the models.

use alloc::vec::Vec;

use crate::verify::rows::Scored;
use crate::verify::verify_rows;
use crate::{
    Distribution, Draft, Emitted, GenerateError, Generation, LogitRows, Metrics, Proposal, Rule,
    Sampler, SeededUniform, SessionConfig, StopReason, TokenId,
};

/// Tokens that are reserved for at once; longer outputs grow the context as they come.
const RESERVE: usize = 4096;

#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    config: SessionConfig,
    vocabulary: usize,
    prompt: usize,
    context: Vec<TokenId>,
    rng: SeededUniform,
    proposal: Proposal,
    single: Proposal,
    distribution: Distribution,
    work: Vec<f64>,
    metrics: Metrics,
    stop_reason: Option<StopReason>,
    start: usize,
    accepted: usize,
}

impl Sequence {
    /// A sequence behind `prompt`, for a target of `vocabulary` tokens.
    pub(crate) fn new<D, T>(
        prompt: &[TokenId],
        config: &SessionConfig,
        vocabulary: usize,
    ) -> Result<Self, GenerateError<D, T>> {
        check(prompt, config, vocabulary)?;
        let room = prompt.len() + config.max_new_tokens.min(RESERVE);
        let mut context = Vec::with_capacity(room.saturating_add(config.gamma.min(RESERVE) + 1));
        context.extend_from_slice(prompt);
        Ok(Self {
            config: config.clone(),
            vocabulary,
            prompt: prompt.len(),
            start: context.len(),
            context,
            rng: SeededUniform::new(config.seed),
            proposal: Proposal::new(),
            single: Proposal::new(),
            distribution: Distribution::new(),
            work: Vec::new(),
            metrics: Metrics::default(),
            stop_reason: (config.max_new_tokens == 0).then_some(StopReason::MaxTokens),
            accepted: 0,
        })
    }

    pub(crate) fn remaining(&self) -> usize {
        let done = self.context.len() - self.prompt;
        self.config.max_new_tokens.saturating_sub(done)
    }

    pub(crate) fn context(&self) -> &[TokenId] {
        &self.context
    }

    pub(crate) fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        self.stop_reason
    }

    pub(crate) fn end(&mut self, reason: StopReason) {
        self.stop_reason.get_or_insert(reason);
    }

    pub(crate) fn generated(&self) -> &[TokenId] {
        self.context.get(self.prompt..).unwrap_or_default()
    }

    /// How many tokens both models have seen and that were kept.
    pub(crate) fn kept(&self) -> usize {
        self.start + self.accepted
    }

    /// Tokens of the last step.
    pub(crate) fn emitted(&self) -> Emitted<'_> {
        Emitted {
            tokens: self.context.get(self.start..).unwrap_or_default(),
            accepted: self.accepted,
        }
    }

    /// Asks `draft` for `gamma` tokens, one at a time when it is to stop below a probability.
    pub(crate) fn propose<D: Draft, T>(
        &mut self,
        draft: &mut D,
        gamma: usize,
        stop_below: Option<f64>,
    ) -> Result<(), GenerateError<D::Error, T>> {
        self.proposal.clear();
        if gamma == 0 {
            return Ok(());
        }
        let mut sampler = Sampler::new(&self.config.transform, &mut self.rng);
        let Some(threshold) = stop_below else {
            draft
                .propose(&self.context, gamma, &mut sampler, &mut self.proposal)
                .map_err(GenerateError::Draft)?;
            return check_proposal(&self.proposal, gamma, self.vocabulary);
        };
        let mut sampler = sampler.watched();
        let start = self.context.len();
        let mut result = Ok(());
        while self.proposal.len() < gamma && result.is_ok() {
            self.single.clear();
            result = draft
                .propose(&self.context, 1, &mut sampler, &mut self.single)
                .map_err(GenerateError::Draft)
                .and_then(|()| check_proposal(&self.single, 1, self.vocabulary));
            let Some((token, distribution)) = self.single.first() else {
                break;
            };
            let sure = sampler.confidence();
            let unsure = sure.unwrap_or_else(|| distribution.probability(token)) < threshold;
            self.proposal.push(token, distribution);
            self.context.push(token);
            if unsure {
                break;
            }
        }
        self.context.truncate(start);
        result
    }

    /// Verifies the proposal against the target's `rows` and commits what comes out.
    pub(crate) fn judge<D, T>(&mut self, rows: &LogitRows) -> Result<(), GenerateError<D, T>> {
        let expected = (self.proposal.len() + 1, self.vocabulary);
        let actual = (rows.rows(), rows.vocabulary());
        if actual != expected {
            return Err(GenerateError::RowShape { expected, actual });
        }
        let rule = Rule::for_transform(&self.config.transform);
        self.start = self.context.len();
        self.accepted = 0;
        self.context.extend_from_slice(self.proposal.tokens());
        let mut scored = Scored {
            rows,
            transform: &self.config.transform,
            history: &self.context,
            context: self.start,
            out: &mut self.distribution,
        };
        let verdict = verify_rows(
            rule,
            &self.proposal,
            &mut scored,
            &mut self.rng,
            &mut self.work,
        );
        self.context.truncate(self.start);
        let verdict = verdict?;
        let proposal = core::mem::take(&mut self.proposal);
        let accepted = proposal.tokens().iter().copied().take(verdict.accepted);
        self.accept(accepted, verdict.accepted, verdict.next, proposal.len());
        self.proposal = proposal;
        Ok(())
    }

    /// Commits `count` accepted tokens and `next` up to the first stop, of a block of `proposed`.
    pub(crate) fn accept(
        &mut self,
        accepted: impl Iterator<Item = TokenId>,
        count: usize,
        next: TokenId,
        proposed: usize,
    ) {
        let remaining = self.remaining();
        self.start = self.context.len();
        for token in accepted.chain([next]) {
            self.context.push(token);
            let generated = self.context.get(self.prompt..).unwrap_or_default();
            if self.config.stop.ends(generated) {
                self.stop_reason = Some(StopReason::Stop);
                break;
            }
        }
        let emitted = self.context.len() - self.start;
        self.accepted = count.min(emitted);
        // Only a stop among the accepted tokens leaves the target's own token out.
        let drafted = if emitted <= count { emitted } else { proposed };
        let discarded = proposed - drafted;
        self.metrics
            .record(drafted, self.accepted, emitted, discarded);
        if emitted >= remaining {
            self.end(StopReason::MaxTokens);
        }
    }

    /// The context, and a sampler through the sequence's transform and random numbers.
    pub(crate) fn sampler(&mut self) -> (&[TokenId], Sampler<'_>) {
        let sampler = Sampler::new(&self.config.transform, &mut self.rng);
        (&self.context, sampler)
    }

    pub(crate) fn rng(&mut self) -> &mut SeededUniform {
        &mut self.rng
    }

    pub(crate) fn finish(mut self) -> Generation {
        Generation {
            tokens: self.context.split_off(self.prompt),
            metrics: self.metrics,
            stop_reason: self.stop_reason.unwrap_or(StopReason::Cancelled),
        }
    }
}

pub(crate) fn check<D, T>(
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

pub(crate) fn outside(tokens: &[TokenId], vocabulary: usize) -> Option<(usize, TokenId)> {
    tokens
        .iter()
        .copied()
        .enumerate()
        .find(|&(_, token)| token as usize >= vocabulary)
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

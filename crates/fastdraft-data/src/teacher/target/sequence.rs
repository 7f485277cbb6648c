//! One answer under way: the state between two passes, without the models.

use fastdraft_specdec::{
    Distribution, Draft, LogitRows, Proposal, Rule, Sampler, SeededUniform, Transform, verify,
};

use super::ending::Ending;
use crate::teacher::{Request, StopReason};

#[derive(Debug)]
pub(super) struct Sequence {
    /// Number of its request.
    pub(super) index: usize,
    /// Where the models cache it.
    pub(super) slot: usize,
    /// Prompt and answer so far.
    pub(super) context: Vec<u32>,
    pub(super) proposal: Proposal,
    /// Why it ended.
    pub(super) stop: Option<StopReason>,
    prompt: usize,
    most: usize,
    transform: Transform,
    rng: SeededUniform,
    distributions: Vec<Distribution>,
    kept: usize,
    emitted: usize,
}

impl Sequence {
    pub(super) fn new(
        index: usize,
        slot: usize,
        request: &Request,
        seed: u64,
        vocabulary: usize,
    ) -> Result<Self, String> {
        if request.ids.is_empty() {
            return Err("the prompt is empty".into());
        }
        if let Some(id) = request.ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(format!(
                "id {id} of the prompt is outside the vocabulary of {vocabulary}"
            ));
        }
        let sampling = &request.sampling;
        // The shortest decimal of the number, so that 0.6 means 0.6 in double precision too.
        let double = |value: f32| {
            value
                .to_string()
                .parse()
                .unwrap_or_else(|_| f64::from(value))
        };
        let transform = Transform {
            top_p: sampling.top_p.map(double),
            ..Transform::temperature(double(sampling.temperature))
        };
        transform.validate().map_err(|error| error.to_string())?;
        Ok(Self {
            index,
            slot,
            context: request.ids.clone(),
            proposal: Proposal::new(),
            stop: (sampling.max_tokens == 0).then_some(StopReason::Length),
            prompt: request.ids.len(),
            most: sampling.max_tokens,
            transform,
            rng: SeededUniform::new(seed),
            distributions: Vec::new(),
            kept: 0,
            emitted: 0,
        })
    }

    pub(super) fn answer(&self) -> &[u32] {
        &self.context[self.prompt..]
    }

    /// How many tokens of the context the models have seen.
    pub(super) const fn kept(&self) -> usize {
        self.kept
    }

    /// The tokens of the last step; row `i` of its logits gave the `i`-th.
    pub(super) fn emitted(&self) -> &[u32] {
        &self.context[self.context.len() - self.emitted..]
    }

    /// Has the draft propose up to `gamma` tokens, fewer where fewer can still be used.
    pub(super) fn propose<D: Draft>(
        &mut self,
        draft: &mut D,
        gamma: usize,
        vocabulary: usize,
    ) -> Result<(), String> {
        self.proposal.clear();
        // The target adds a token of its own in every pass.
        let gamma = gamma.min((self.most - self.answer().len()).saturating_sub(1));
        if gamma == 0 {
            return Ok(());
        }
        let mut sampler = Sampler::new(&self.transform, &mut self.rng);
        draft
            .propose(&self.context, gamma, &mut sampler, &mut self.proposal)
            .map_err(|error| format!("draft: {error}"))?;
        let tokens = self.proposal.tokens();
        if tokens.len() > gamma || tokens.iter().any(|&token| token as usize >= vocabulary) {
            return Err(format!(
                "draft: {} tokens proposed where {gamma} of a vocabulary of {vocabulary} were wanted",
                tokens.len()
            ));
        }
        Ok(())
    }

    /// Verifies the proposal against the target's rows and takes what comes out.
    pub(super) fn judge(
        &mut self,
        rows: &LogitRows,
        vocabulary: usize,
        ending: &Ending<'_>,
        stop: &[String],
    ) -> Result<(), String> {
        let count = self.proposal.len() + 1;
        if (rows.rows(), rows.vocabulary()) != (count, vocabulary) {
            return Err(format!(
                "the target gave [{}, {}] logits, not [{count}, {vocabulary}]",
                rows.rows(),
                rows.vocabulary()
            ));
        }
        let start = self.context.len();
        self.distributions
            .resize_with(self.distributions.len().max(count), Distribution::new);
        self.context.extend_from_slice(self.proposal.tokens());
        for (row, distribution) in self.distributions[..count].iter_mut().enumerate() {
            let logits = rows.row(row).unwrap_or_default();
            self.transform
                .apply(logits, &self.context[..start + row], distribution)
                .map_err(|error| error.to_string())?;
        }
        let rule = if self.transform.is_greedy() {
            Rule::Greedy
        } else {
            Rule::Rejection
        };
        let distributions = &self.distributions[..count];
        let verdict = verify(rule, &self.proposal, distributions, &mut self.rng)
            .map_err(|error| error.to_string())?;
        self.context.truncate(start + verdict.accepted);
        self.context.push(verdict.next);
        let total = self.context.len();
        for end in start + 1..=total {
            if ending.ends(&self.context[self.prompt..end], stop)? {
                self.context.truncate(end);
                self.stop = Some(StopReason::Stop);
                break;
            }
        }
        self.emitted = self.context.len() - start;
        self.kept = start + self.emitted.min(verdict.accepted);
        if self.stop.is_none() && self.answer().len() >= self.most {
            self.stop = Some(StopReason::Length);
        }
        Ok(())
    }
}

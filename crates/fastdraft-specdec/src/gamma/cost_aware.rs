//! The γ that gives the most tokens per second, from measured times.

use alloc::vec::Vec;

use super::{GammaPolicy, StepReport, expected_tokens};

/// Least weight of a new measurement in a running mean.
const NEW: f64 = 0.2;
/// What remains of earlier acceptance counts after a step.
const MEMORY: f64 = 0.95;
/// Gain over plain decoding that is worth beginning to draft for.
const MARGIN: f64 = 1.02;
/// First steps that measure the target alone while drafting, and the steps between two later ones.
/// The second step is the first that can; one measurement that a busy machine disturbed would decide for too long.
const ALONE: ([usize; 4], usize) = ([1, 3, 9, 27], 64);
/// The step of every later answer that does: another context has other times, and shorter answers
/// need not pay for it.
const ALONE_AGAIN: usize = 4;
/// Steps of an answer before a probe, where the one before it ended without drafting.
const FIRST_PROBE: usize = 2;
/// Measurements of the target alone, and judged tokens, without which drafting does not end: a few
/// unlucky ones would end it for long.
const ENOUGH: (f64, f64) = (2.0, 10.0);
/// Fewest and most steps between two probes while not drafting.
const PROBE: (usize, usize) = (64, 8192);
/// Share of the time that probes may cost.
const PROBE_SHARE: f64 = 0.005;

/// Maximises (expected tokens) / (γ d + t(γ)), with d the seconds to draft a token, t(γ) those of a
/// target pass over γ drafted tokens, and the expected tokens of
/// [`expected_tokens`](super::expected_tokens) at the running acceptance.
///
/// Where that is not above 1 / t(0) it stops drafting until it is 2 % above, and probes with one token so rarely that
/// probes take at most half a percent of the time, besides one in every answer. Needs a session with a [`Clock`](crate::Clock); without one it
/// stays at `start`.
#[derive(Clone, Debug, PartialEq)]
pub struct CostAware {
    start: usize,
    max: usize,
    memory: f64,
    accepted: f64,
    judged: f64,
    draft_seconds: Mean,
    target_seconds: Vec<Mean>,
    steps: usize,
    /// Steps of this answer; those of the first do not count.
    of_answer: Option<usize>,
    /// The draft has not read this answer's prompt, which its next token then pays for.
    behind: bool,
    drafting: bool,
    probe_in: usize,
    patience: usize,
    asked: usize,
}

impl CostAware {
    /// Begins with `start` drafted tokens and never asks for more than `max`.
    #[must_use]
    pub fn new(start: usize, max: usize) -> Self {
        let max = max.max(1);
        Self {
            start: start.clamp(1, max),
            max,
            memory: MEMORY,
            // Worth two judged tokens, so that a few real ones outweigh it.
            accepted: 1.4,
            judged: 2.0,
            draft_seconds: Mean::default(),
            target_seconds: alloc::vec![Mean::default(); max + 1],
            steps: 0,
            of_answer: None,
            behind: false,
            drafting: true,
            probe_in: 0,
            patience: PROBE.0,
            asked: 0,
        }
    }

    /// What remains of earlier acceptance counts after a step, instead of 0.95.
    pub(super) fn with_memory(self, memory: f64) -> Self {
        Self { memory, ..self }
    }

    /// The running acceptance of a drafted token once those before it are accepted.
    #[must_use]
    pub fn acceptance(&self) -> f64 {
        self.accepted / self.judged
    }

    /// Whether it drafts at present.
    #[must_use]
    pub fn is_drafting(&self) -> bool {
        self.drafting
    }

    /// Seconds to draft a token, once measured.
    pub(super) fn draft_seconds(&self) -> Option<f64> {
        self.draft_seconds.get()
    }

    /// Seconds that each row between the second and that of `gamma` drafted tokens adds to a pass.
    pub(super) fn seconds_of_a_row(&self, gamma: usize) -> Option<f64> {
        let (few, many) = (self.target(1)?, self.target(gamma)?);
        let rows = gamma.saturating_sub(1).max(1) as f64;
        Some(((many - few) / rows).max(0.0))
    }

    /// Seconds of a target pass over `gamma` drafted tokens, between or beyond those measured.
    fn target(&self, gamma: usize) -> Option<f64> {
        let known = |g: usize| Some((g, self.target_seconds.get(g)?.get()?));
        let below = (0..=gamma).rev().find_map(known);
        let above = (gamma..=self.max).find_map(known);
        match (below, above) {
            (Some((a, x)), Some((b, y))) if b > a => {
                Some(x + (y - x) * (gamma - a) as f64 / (b - a) as f64)
            }
            (Some((a, x)), None) => {
                let slope = (0..a)
                    .rev()
                    .find_map(known)
                    .map_or(0.0, |(b, y)| (x - y) / (a - b) as f64);
                Some(x + slope.max(0.0) * (gamma - a) as f64)
            }
            (Some((_, x)), _) | (None, Some((_, x))) => Some(x),
            (None, None) => None,
        }
    }

    /// The best γ, 0 when none beats plain decoding; `None` before everything is measured.
    fn best(&self) -> Option<usize> {
        self.best_at(self.acceptance())
    }

    /// The same if each drafted token were accepted with `alpha`.
    pub(super) fn best_at(&self, alpha: f64) -> Option<usize> {
        let draft = self.draft_seconds.get()?;
        let alone = self.target(0).filter(|&t| t > 0.0)?;
        // What is drafting goes on while it does not lose, or chance would switch it off and on.
        let margin = if self.drafting { 1.0 } else { MARGIN };
        let mut best = (0, margin / alone);
        for gamma in 1..=self.max {
            // More rows never take less: where they seem to, the clock was disturbed.
            let seconds = gamma as f64 * draft + self.target(gamma)?.max(alone);
            let rate = expected_tokens(alpha, gamma) / seconds;
            if rate > best.1 {
                best = (gamma, rate);
            }
        }
        Some(best.0)
    }

    fn knows_enough(&self) -> bool {
        let alone = self.target_seconds.first().map_or(0.0, |mean| mean.count);
        alone >= ENOUGH.0 && self.judged >= ENOUGH.1
    }

    fn measure(&mut self, step: &StepReport, catching_up: bool) {
        if let Some(mean) = self.target_seconds.get_mut(step.drafted) {
            mean.add(step.target_seconds);
        }
        if step.drafted > 0 && !catching_up {
            self.draft_seconds
                .add(step.draft_seconds / step.drafted as f64);
        }
    }

    /// Keeps what was learned, but times count as one measurement: those of another context are other ones.
    fn begin_answer(&mut self, drafted: usize) {
        self.behind = drafted == 0;
        self.of_answer = (self.steps > 1).then_some(0);
        self.draft_seconds.soften();
        self.target_seconds.iter_mut().for_each(Mean::soften);
        if !self.drafting {
            self.probe_in = self.probe_in.min(FIRST_PROBE);
        }
    }

    /// Sets when to probe next, after a step that was one.
    fn schedule(&mut self, step: &StepReport) {
        let alone = self.target(0).unwrap_or(0.0);
        let extra = step.draft_seconds + (step.target_seconds - alone).max(0.0);
        let affordable = if alone > 0.0 {
            (extra / (PROBE_SHARE * alone)).min(PROBE.1 as f64) as usize
        } else {
            PROBE.1
        };
        self.patience = if step.accepted > 0 {
            PROBE.0
        } else {
            (self.patience * 2).min(PROBE.1)
        };
        self.probe_in = self.patience.max(affordable);
    }
}

/// The plain mean of the first measurements, then a running one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    value: f64,
    count: f64,
}

impl Mean {
    fn add(&mut self, new: f64) {
        self.count += 1.0;
        self.value += (new - self.value) * NEW.max(1.0 / self.count);
    }

    /// Has later measurements count as those after a first one.
    fn soften(&mut self) {
        self.count = self.count.min(1.0);
    }

    fn get(self) -> Option<f64> {
        (self.count > 0.0).then_some(self.value)
    }
}

fn measures_alone(step: usize) -> bool {
    ALONE.0.contains(&step) || (step > 0 && step.is_multiple_of(ALONE.1))
}

impl GammaPolicy for CostAware {
    fn gamma(&mut self) -> usize {
        self.asked = match self.steps {
            _ if !self.drafting => usize::from(self.probe_in == 0),
            _ if self.of_answer == Some(ALONE_AGAIN) => 0,
            step if measures_alone(step) => 0,
            // It drafts on without a gain only to learn.
            _ => self.best().map_or(self.start, |best| best.max(1)),
        };
        self.asked
    }

    fn observe(&mut self, step: &StepReport) {
        self.steps += 1;
        let rejected = usize::from(step.accepted < step.drafted);
        if step.drafted > 0 {
            self.accepted = self.accepted * self.memory + step.accepted as f64;
            self.judged = self.judged * self.memory + (step.accepted + rejected) as f64;
        }
        if step.prefill {
            self.begin_answer(step.drafted);
            return;
        }
        self.of_answer = self.of_answer.map(|steps| steps + 1);
        let probed = !self.drafting && self.asked > 0;
        self.measure(step, probed || self.behind);
        self.behind &= step.drafted == 0;
        if !self.drafting {
            if probed {
                self.schedule(step);
            } else {
                self.probe_in = self.probe_in.saturating_sub(1);
            }
        }
        // Without a new probe nothing is known but times, and those of the target alone vary.
        let known = !self.drafting || self.knows_enough();
        let wins = (self.drafting || probed) && (self.best() != Some(0) || !known);
        if self.drafting && !wins {
            self.probe_in = self.patience;
        }
        self.drafting = wins;
    }
}

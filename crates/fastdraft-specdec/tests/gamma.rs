//! Draft length policies: lossless, and worth their name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;

use fastdraft_specdec::gamma::{
    ConfidenceThreshold, CostAware, CostAwareThreshold, Fixed, GammaPolicy, Heuristic, StepReport,
};
use fastdraft_specdec::mock::{Call, MockDraft, MockTarget, Table};
use fastdraft_specdec::{
    Generation, SeededUniform, Session, SessionConfig, StopReason, Transform, Uniform, generate,
    generate_plain,
};

fn run(policy: impl GammaPolicy, seed: u64, config: &SessionConfig) -> Generation {
    let table = Table::new(12, 2, seed);
    let mut draft = MockDraft::new(table.clone().with_noise(7, 1.5));
    let mut target = MockTarget::new(table);
    let mut session = Session::new(&mut draft, &mut target, &[1], config)
        .unwrap()
        .with_policy(policy);
    let mut tokens = Vec::new();
    for step in session.by_ref() {
        tokens.extend(step.unwrap().tokens);
    }
    let got = session.finish();
    assert_eq!(got.tokens, tokens);
    got
}

#[test]
fn every_policy_gives_the_greedy_output() {
    let config = SessionConfig {
        transform: Transform::greedy(),
        max_new_tokens: if cfg!(miri) { 8 } else { 40 },
        ..SessionConfig::default()
    };
    for seed in 0..if cfg!(miri) { 1 } else { 40 } {
        let expected = generate_plain(
            &mut MockTarget::new(Table::new(12, 2, seed)),
            &[1],
            &config,
            |_| ControlFlow::Continue(()),
        )
        .unwrap()
        .tokens;
        let policies: [Box<dyn GammaPolicy>; 6] = [
            Box::new(Fixed(4)),
            Box::new(Heuristic::new(3, 9)),
            Box::new(CostAware::new(3, 9)),
            Box::new(CostAwareThreshold::new(3, 9)),
            Box::new(ConfidenceThreshold {
                max: 6,
                threshold: 0.5,
            }),
            Box::new(Fixed(0)),
        ];
        for policy in policies {
            assert_eq!(run(policy, seed, &config).tokens, expected);
        }
    }
}

#[test]
fn a_session_equals_generate() {
    let config = SessionConfig {
        seed: 5,
        max_new_tokens: if cfg!(miri) { 8 } else { 64 },
        ..SessionConfig::default()
    };
    let table = Table::new(12, 2, 3);
    let expected = generate(
        &mut MockDraft::new(table.clone().with_noise(7, 1.5)),
        &mut MockTarget::new(table),
        &[1],
        &config,
        |_| ControlFlow::Continue(()),
    )
    .unwrap();
    assert_eq!(run(Fixed(config.gamma), 3, &config), expected);
}

#[test]
fn an_unsure_token_is_the_last_one_drafted() {
    let table = Table::new(6, 1, 4);
    let mut draft = MockDraft::new(table.clone());
    let config = SessionConfig {
        max_new_tokens: if cfg!(miri) { 8 } else { 50 },
        seed: 2,
        ..SessionConfig::default()
    };
    let mut session = Session::new(&mut draft, MockTarget::new(table), &[1], &config)
        .unwrap()
        .with_policy(ConfidenceThreshold {
            max: 5,
            threshold: 1.1,
        });
    while session.advance().unwrap().is_some() {}
    let got = session.finish();
    // Every token is below the threshold, so each step drafts exactly one.
    assert_eq!(got.metrics.draft_position.len(), 1);
    let asked = |c: &Call| matches!(c, Call::Propose { gamma: 1, .. });
    let proposals = draft.calls().iter().filter(|c| asked(c)).count() as u64;
    assert_eq!(proposals, got.metrics.drafted);
}

/// A greedy draft is certain of every token, but its logits are not.
#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn an_unsure_token_is_told_at_temperature_0_too() {
    let config = SessionConfig {
        transform: Transform::greedy(),
        max_new_tokens: 200,
        ..SessionConfig::default()
    };
    let all = run(Fixed(6), 3, &config);
    let threshold = |threshold| run(ConfidenceThreshold { max: 6, threshold }, 3, &config);
    let (some, none) = (threshold(0.3), threshold(0.0));
    assert_eq!((&some.tokens, &none.tokens), (&all.tokens, &all.tokens));
    assert_eq!(none.metrics.drafted, all.metrics.drafted);
    assert!(
        some.metrics.drafted * 4 < all.metrics.drafted * 3,
        "{:?}",
        some.metrics
    );
    assert!(some.metrics.acceptance_rate() > all.metrics.acceptance_rate());
}

/// A draft whose tokens it gives one of `sure` to, each accepted with just that probability.
struct Mixed<'a> {
    sure: &'a [f64],
    draft: f64,
    per_token: f64,
}

fn mixed(sure: &[f64], draft: f64, per_token: f64) -> Mixed<'_> {
    Mixed {
        sure,
        draft,
        per_token,
    }
}

impl Mixed<'_> {
    /// Seconds per token under `policy`.
    fn cost(&self, policy: &mut impl GammaPolicy, steps: usize) -> f64 {
        let mut rng = SeededUniform::new(9);
        let (mut seconds, mut tokens) = (0.0, 0.0);
        for step in 0..steps {
            let gamma = policy.gamma();
            let stop_below = policy.stop_below().unwrap_or(0.0);
            let mut sure = Vec::new();
            while sure.len() < gamma && sure.last().is_none_or(|p| *p >= stop_below) {
                let index = (rng.uniform() * self.sure.len() as f64) as usize;
                sure.push(self.sure[index]);
            }
            let accepted = sure.iter().take_while(|p| rng.uniform() < **p).count();
            let report = StepReport {
                prefill: step == 0,
                drafted: sure.len(),
                accepted,
                draft_seconds: self.draft * sure.len() as f64,
                target_seconds: 1.0 + self.per_token * sure.len() as f64,
            };
            policy.observe(&report);
            seconds += report.draft_seconds + report.target_seconds;
            tokens += accepted as f64 + 1.0;
        }
        seconds / tokens
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn a_hopeless_draft_costs_one_percent() {
    for (alpha, draft, per_token) in [(0.1, 0.5, 0.1), (0.0, 0.05, 0.02), (0.5, 0.9, 0.3)] {
        let mut policy = CostAware::new(4, 8);
        // The first steps have to find out.
        mixed(&[alpha], draft, per_token).cost(&mut policy, 100);
        let cost = mixed(&[alpha], draft, per_token).cost(&mut policy, 20_000);
        assert!(!policy.is_drafting());
        assert!(cost < 1.01, "{alpha} {draft}: {cost}");
    }
}

/// Passes that now and then take much longer than others are no reason to draft again.
#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn disturbed_times_do_not_bring_a_hopeless_draft_back() {
    for seed in 0..20 {
        let mut rng = SeededUniform::new(seed);
        let mut policy = CostAware::new(4, 8);
        let mut drafted = 0;
        for step in 0..2_000 {
            let asked = policy.gamma();
            drafted += asked;
            let disturbed = 1.0 + 2.0 * f64::from(rng.uniform() < 0.05) + 0.3 * rng.uniform();
            policy.observe(&StepReport {
                prefill: step == 0,
                drafted: asked,
                accepted: 0,
                draft_seconds: 0.2 * asked as f64,
                target_seconds: disturbed,
            });
        }
        // 0.2 of a pass each: at most half a percent of 2,000 passes, the first steps included.
        assert!(drafted < 50, "seed {seed}: {drafted}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn a_good_draft_gets_near_the_best_fixed_length() {
    for (alpha, draft, per_token) in [(0.8, 0.05, 0.02), (0.6, 0.1, 0.05), (0.9, 0.02, 0.0)] {
        let best = (1..=12usize)
            .map(|g| {
                let tokens = fastdraft_specdec::gamma::expected_tokens(alpha, g);
                (1.0 + (per_token + draft) * g as f64) / tokens
            })
            .fold(f64::MAX, f64::min);
        let cost = mixed(&[alpha], draft, per_token).cost(&mut CostAware::new(3, 12), 20_000);
        assert!(cost < best * 1.05, "{alpha} {draft}: {cost}, best {best}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn the_threshold_gets_near_the_best_one() {
    const MAX: usize = 8;
    const STEPS: usize = 20_000;
    for (sure, draft, per_token) in [
        (&[0.95, 0.95, 0.3][..], 0.15, 0.02),
        (&[0.9, 0.2], 0.3, 0.05),
        (&[0.99, 0.9, 0.5, 0.1], 0.1, 0.0),
        (&[0.7], 0.1, 0.1),
    ] {
        let mixed = mixed(sure, draft, per_token);
        let fixed = |gamma| mixed.cost(&mut Fixed(gamma), STEPS);
        let fixed = (0..=MAX).map(fixed).fold(f64::MAX, f64::min);
        let threshold = |tenths| {
            let threshold = f64::from(tenths) / 10.0;
            mixed.cost(
                &mut ConfidenceThreshold {
                    max: MAX,
                    threshold,
                },
                STEPS,
            )
        };
        let best = (0..=10).map(threshold).fold(fixed, f64::min);
        let cost = mixed.cost(&mut CostAwareThreshold::new(3, MAX), STEPS);
        assert!(cost < best * 1.03, "{sure:?} {draft}: {cost}, best {best}");
        // Where tokens are not alike, no fixed length comes near.
        if sure.len() > 1 {
            assert!(
                cost < fixed * 0.99,
                "{sure:?} {draft}: {cost}, fixed {fixed}"
            );
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn a_threshold_costs_one_percent_where_no_draft_pays() {
    let mixed = mixed(&[0.1, 0.05], 0.3, 0.05);
    let mut policy = CostAwareThreshold::new(3, 8);
    mixed.cost(&mut policy, 100);
    let cost = mixed.cost(&mut policy, 20_000);
    assert!(!policy.is_drafting());
    assert!(cost < 1.01, "{cost}");
}

#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn drafting_comes_back_when_it_pays_again() {
    let mut policy = CostAware::new(4, 8);
    mixed(&[0.0], 0.1, 0.02).cost(&mut policy, 2_000);
    assert!(!policy.is_drafting());
    mixed(&[0.9], 0.1, 0.02).cost(&mut policy, 60_000);
    assert!(policy.is_drafting());
}

/// Answers to long and short prompts in turns: everything takes twice the time behind a long one.
#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn another_context_does_not_end_drafting_that_pays() {
    let mut policy = CostAware::new(3, 3);
    let mut rng = SeededUniform::new(4);
    let (mut seconds, mut plain) = (0.0, 0.0);
    for answer in 0..40 {
        let slow = if answer % 2 == 0 { 1.0 } else { 2.0 };
        for step in 0..40 {
            let gamma = policy.gamma();
            let accepted = (0..gamma).take_while(|_| rng.uniform() < 0.6).count();
            let report = StepReport {
                prefill: step == 0,
                drafted: gamma,
                accepted,
                draft_seconds: slow * 0.05 * gamma as f64,
                target_seconds: slow * (1.0 + 0.05 * gamma as f64),
            };
            policy.observe(&report);
            assert!(policy.is_drafting(), "answer {answer}, step {step}");
            plain += slow * (accepted as f64 + 1.0);
            seconds += report.draft_seconds + report.target_seconds;
        }
    }
    // Three tokens bring 2.18 in 1.3, and one step in forty is the target's alone.
    assert!(plain / seconds > 1.55, "{}", plain / seconds);
}

/// Where the target answers alone first, the draft reads the prompt when it is asked next: once, not for
/// every token.
#[test]
fn reading_a_prompt_late_is_no_cost_of_a_token() {
    let mut policy = CostAware::new(2, 3);
    let mut most = 0;
    for step in 0..300 {
        // Every answer has five steps, so that all kinds of steps come first in some.
        let prefill = step % 5 == 0;
        let gamma = policy.gamma();
        let read = if step % 5 == 1 { 50.0 } else { 0.0 };
        policy.observe(&StepReport {
            prefill,
            drafted: if prefill { 0 } else { gamma },
            accepted: if prefill { 0 } else { gamma },
            draft_seconds: if gamma > 0 { read } else { 0.0 } + 0.1 * gamma as f64,
            target_seconds: 1.0,
        });
        assert!(policy.is_drafting(), "step {step}");
        if step >= 250 {
            most = most.max(gamma);
        }
    }
    // All tokens are accepted, so that the longest proposals are the best.
    assert_eq!(most, 3);
}

/// Drafting ended in an answer whose tokens were unlucky; the next answers say otherwise.
#[test]
fn every_answer_gives_a_draft_another_chance() {
    let mut policy = CostAware::new(1, 3);
    let mut answer = |accepts: bool| {
        for step in 0..30 {
            let gamma = policy.gamma();
            policy.observe(&StepReport {
                prefill: step == 0,
                drafted: gamma,
                accepted: if accepts { gamma } else { 0 },
                draft_seconds: 0.1 * gamma as f64,
                target_seconds: 1.0,
            });
        }
        policy.is_drafting()
    };
    assert!(!answer(false));
    assert!(answer(true));
}

#[test]
#[cfg_attr(miri, ignore = "takes many minutes")]
fn clocks_reach_the_policy() {
    let time = Rc::new(Cell::new(0.0));
    let clock = {
        let time = time.clone();
        move || {
            time.set(time.get() + 1.0);
            time.get()
        }
    };
    let table = Table::new(12, 2, 3);
    let (draft, target) = (MockDraft::new(table.clone()), MockTarget::new(table));
    let config = SessionConfig {
        max_new_tokens: 60,
        ..SessionConfig::default()
    };
    let mut session = Session::new(draft, target, &[1], &config)
        .unwrap()
        .with_policy(CostAware::new(3, 6))
        .with_clock(clock);
    assert_eq!(session.stop_reason(), None);
    while session.advance().unwrap().is_some() {}
    assert!(session.policy().acceptance() > 0.9);
    assert_eq!(session.stop_reason(), Some(StopReason::MaxTokens));
    assert!(session.metrics().emitted == 60 && session.tokens().len() == 60);
}

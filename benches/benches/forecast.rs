//! Forecast against measured speed-up of speculative decoding, for four drafts made of blocks of
//! SmolLM2-135M and four γ. `cargo bench -p fastdraft-benches --bench forecast [-- TEMPERATURE]`
//!
//! The forecast knows the time of a draft token, the time of a target pass by its tokens, and the
//! acceptance rate of the run; the runs alone know the wall clock.

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use fastdraft_hw::predict::{Latency, MeasuredLatency, speedup};
use fastdraft_model::{
    Checkpoint, DraftVocabulary,
    draft::init,
    engine::cpu::{CpuEngine, CpuModel, WeightFormat},
    import,
    source::{SourceOptions, resolve},
};
use fastdraft_specdec::{
    Draft, LogitRows, Proposal, Sampler, SeededUniform, SessionConfig, Target, Transform, generate,
    generate_plain,
};

const GAMMAS: [usize; 4] = [1, 2, 4, 6];
const CONTEXT: usize = 96;
const NEW_TOKENS: usize = 96;
const RUNS: usize = 5;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() {
    if let Err(error) = run() {
        println!("skipped: {error}");
    }
}

fn run() -> Outcome<()> {
    let temperature = std::env::args()
        .find_map(|word| word.parse().ok())
        .unwrap_or(0.6);
    let transform = Transform::temperature(temperature);
    let path = resolve("smollm2-135m-instruct", &SourceOptions::default())?;
    let checkpoint = import::load(&path)?;
    let target = Arc::new(CpuModel::new(&checkpoint, WeightFormat::Bf16)?);
    let prompt: Vec<u32> = (0..32).map(|i| 1000 + i * 97).collect();

    let latency = target_latency(&target, &transform)?;
    let plain = plain_seconds(&target, &prompt, &transform)?;
    println!(
        "plain: {:.2} ms a token; a target pass over 1, 2, 3, 5, 7 tokens: {}",
        plain * 1e3,
        [1, 2, 3, 5, 7]
            .map(|tokens| format!("{:.2}", latency.seconds(tokens) * 1e3))
            .join(", ")
    );
    println!("draft                  γ     AR   forecast  measured  error");
    let mut errors = Vec::new();
    for (name, draft) in drafts(&checkpoint)? {
        let draft = Arc::new(CpuModel::new(&draft, WeightFormat::Bf16)?);
        let token = draft_seconds(&draft, &transform)?;
        for gamma in GAMMAS {
            let (rate, seconds) = speculative(&draft, &target, &prompt, gamma, &transform)?;
            let gamma = u32::try_from(gamma)?;
            let one = latency.seconds(1);
            let forecast = speedup(rate, gamma, token / one, latency.seconds(gamma + 1) / one)?;
            let measured = plain / seconds;
            let error = forecast / measured - 1.0;
            errors.push(error.abs());
            println!(
                "{name:<20} {gamma:>3} {rate:>6.3} {forecast:>9.3}× {measured:>8.3}× {:>5.1}%",
                error * 100.0
            );
        }
    }
    errors.sort_by(f64::total_cmp);
    if let (Some(median), Some(most)) = (errors.get(errors.len() / 2), errors.last()) {
        println!(
            "{} pairs: error {:.1}% in the median, {:.1}% at most",
            errors.len(),
            median * 100.0,
            most * 100.0
        );
    }
    Ok(())
}

/// Drafts that differ in size by a factor of eight; none is trained.
fn drafts(target: &Checkpoint) -> Outcome<Vec<(&'static str, Checkpoint)>> {
    let size = target.config.vocabulary_size;
    let mut list = Vec::new();
    for (name, blocks, head) in [
        ("1 block, head 8192", vec![0], 8192),
        ("3 blocks, head 8192", vec![0, 1, 29], 8192),
        ("6 blocks, head 16384", vec![0, 1, 2, 27, 28, 29], 16_384),
        (
            "12 blocks, head 49152",
            (0..6).chain(24..30).collect(),
            size,
        ),
    ] {
        let ids = (0..u32::try_from(head)?).collect();
        let kept = (head < size)
            .then(|| DraftVocabulary::new(ids, size))
            .transpose()?;
        list.push((name, init::from_target(target, &blocks, kept)?));
    }
    Ok(list)
}

fn engine(model: &Arc<CpuModel>) -> CpuEngine {
    CpuEngine::new(Arc::clone(model), CONTEXT + NEW_TOKENS + 16, 0)
}

/// A pass over 1 ..= 7 tokens at the middle of a generation, with the sampling of each of them.
fn target_latency(model: &Arc<CpuModel>, transform: &Transform) -> Outcome<MeasuredLatency> {
    let context: Vec<u32> = (0..u32::try_from(CONTEXT)?)
        .map(|i| 1000 + i * 97)
        .collect();
    let mut target = engine(model);
    let mut rows = LogitRows::default();
    let mut uniform = SeededUniform::new(1);
    let mut points = Vec::new();
    for tokens in 1..=7_usize {
        let proposal: Vec<u32> = (1..u32::try_from(tokens)?).collect();
        let mut pass = || -> Outcome<()> {
            target.score(&context, &proposal, &mut rows)?;
            let mut sampler = Sampler::new(transform, &mut uniform);
            let mut distribution = fastdraft_specdec::Distribution::new();
            for row in 0..tokens {
                let logits = rows.row(row).ok_or("a row is missing")?;
                sampler.sample(logits, &context, &mut distribution)?;
            }
            Ok(())
        };
        points.push((u32::try_from(tokens)?, median(40, &mut pass)?));
    }
    Ok(MeasuredLatency::new(points)?)
}

/// One draft token at the middle of a generation, its sampling included.
fn draft_seconds(model: &Arc<CpuModel>, transform: &Transform) -> Outcome<f64> {
    let context: Vec<u32> = (0..u32::try_from(CONTEXT)?)
        .map(|i| 1000 + i * 97)
        .collect();
    let mut draft = engine(model);
    let mut proposal = Proposal::new();
    let mut uniform = SeededUniform::new(1);
    median(100, &mut || {
        proposal.clear();
        let mut sampler = Sampler::new(transform, &mut uniform);
        Ok(draft.propose(&context, 1, &mut sampler, &mut proposal)?)
    })
}

/// Seconds a token without a draft, the prompt left out.
fn plain_seconds(model: &Arc<CpuModel>, prompt: &[u32], transform: &Transform) -> Outcome<f64> {
    let mut target = engine(model);
    mean(&mut |seed| {
        Target::truncate(&mut target, 0)?;
        let config = config(1, seed, transform);
        let mut clock = After::default();
        let run = generate_plain(&mut target, prompt, &config, |step| {
            clock.step(step.tokens.len())
        })?;
        Ok((
            run.metrics.acceptance_rate().unwrap_or(0.0),
            clock.seconds(),
        ))
    })
    .map(|(_, seconds)| seconds)
}

/// AR and seconds a token with a draft, the prompt left out.
fn speculative(
    draft: &Arc<CpuModel>,
    target: &Arc<CpuModel>,
    prompt: &[u32],
    gamma: usize,
    transform: &Transform,
) -> Outcome<(f64, f64)> {
    let (mut draft, mut target) = (engine(draft), engine(target));
    mean(&mut |seed| {
        Draft::truncate(&mut draft, 0)?;
        Target::truncate(&mut target, 0)?;
        let config = config(gamma, seed, transform);
        let mut clock = After::default();
        let run = generate(&mut draft, &mut target, prompt, &config, |step| {
            clock.step(step.tokens.len())
        })?;
        Ok((
            run.metrics.acceptance_rate().unwrap_or(0.0),
            clock.seconds(),
        ))
    })
}

fn config(gamma: usize, seed: u64, transform: &Transform) -> SessionConfig {
    SessionConfig {
        gamma,
        max_new_tokens: NEW_TOKENS,
        transform: transform.clone(),
        seed,
        ..SessionConfig::default()
    }
}

/// Time a token from the first step on.
#[derive(Default)]
struct After {
    begin: Option<Instant>,
    last: Option<Instant>,
    tokens: usize,
}

impl After {
    fn step(&mut self, tokens: usize) -> ControlFlow<()> {
        let now = Instant::now();
        if self.begin.is_some() {
            self.tokens += tokens;
        }
        self.begin.get_or_insert(now);
        self.last = Some(now);
        ControlFlow::Continue(())
    }

    fn seconds(&self) -> f64 {
        match (self.begin, self.last) {
            (Some(begin), Some(last)) => (last - begin).as_secs_f64() / self.tokens.max(1) as f64,
            _ => f64::NAN,
        }
    }
}

/// Mean AR and mean seconds over `RUNS` seeds.
fn mean(run: &mut dyn FnMut(u64) -> Outcome<(f64, f64)>) -> Outcome<(f64, f64)> {
    run(0)?;
    let (mut rates, mut seconds) = (0.0, 0.0);
    for seed in 1..=RUNS as u64 {
        let (rate, time) = run(seed)?;
        rates += rate;
        seconds += time;
    }
    Ok((rates / RUNS as f64, seconds / RUNS as f64))
}

fn median(runs: usize, run: &mut dyn FnMut() -> Outcome<()>) -> Outcome<f64> {
    run()?;
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[runs / 2])
}

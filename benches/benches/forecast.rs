//! Forecast against measured speed-up of speculative decoding, for four γ with each of four drafts made of
//! blocks of SmolLM2-135M and of the trained one that is shipped. `cargo bench --workspace --bench forecast [-- TEMPERATURE]`
//!
//! The forecast knows the time of a draft token, the time of a target pass by its tokens, and the
//! acceptance rate of the run; the runs alone know the wall clock.

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use fastdraft_hw::predict::speedup;
use fastdraft_model::{
    Checkpoint, DraftVocabulary,
    draft::{blocks, init},
    engine::cpu::{CpuEngine, CpuModel, WeightFormat},
    import,
    source::{SourceOptions, resolve},
};
use fastdraft_specdec::{
    Distribution, Draft, LogitRows, Proposal, Sampler, SeededUniform, SessionConfig, Target,
    Transform, generate, generate_plain,
};

const GAMMAS: [usize; 4] = [1, 2, 4, 6];
/// The head of a Python function with a doc string, in SmolLM2's tokens.
const PROMPT: [u32; 32] = [
    1604, 553, 79, 7633, 79, 22224, 24, 28707, 42, 1398, 75, 6205, 1750, 9601, 42, 6458, 25, 4722,
    10537, 42, 472, 1620, 16189, 827, 2966, 359, 5567, 670, 260, 9601, 7996, 198,
];
const TRAINED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../assets/smollm2-135m-draft/draft.safetensors"
);
const CONTEXT: usize = 64;
const NEW_TOKENS: usize = 48;
/// Each pair is measured this often, forecast and wall clock in turn: a slow minute of the machine
/// then slows both.
const ROUNDS: u64 = 5;

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

    println!("draft                  γ     AR   forecast  measured  error");
    let mut errors = Vec::new();
    for (name, draft) in drafts(&checkpoint)? {
        let draft = Arc::new(CpuModel::new(&draft, WeightFormat::Bf16)?);
        for gamma in GAMMAS {
            let mut rounds = Vec::new();
            for seed in 0..=ROUNDS {
                let one = target_seconds(&target, 1, &transform)?;
                let verify = target_seconds(&target, gamma + 1, &transform)?;
                let token = draft_seconds(&draft, &transform)?;
                let config = config(gamma, seed, &transform);
                let plain = plain_seconds(&target, &PROMPT, &config)?;
                let (rate, seconds) = speculative(&draft, &target, &PROMPT, &config)?;
                let gamma = u32::try_from(gamma)?;
                let forecast = speedup(rate, gamma, token / one, verify / one)?;
                rounds.push((rate, forecast, plain / seconds));
            }
            // The first round warms up.
            rounds.remove(0);
            let middle = |value: fn(&(f64, f64, f64)) -> f64| {
                let mut values: Vec<f64> = rounds.iter().map(value).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let error = middle(|(_, forecast, measured)| forecast / measured - 1.0);
            errors.push(error.abs());
            println!(
                "{name:<21} {gamma:>2} {:>6.3} {:>9.3}× {:>8.3}× {:>5.1}%",
                middle(|round| round.0),
                middle(|round| round.1),
                middle(|round| round.2),
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

/// Drafts that differ in size by a factor of eight, of which one is trained.
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
    list.push((
        "trained, 4 blocks",
        blocks::load(TRAINED.as_ref(), target)?.draft,
    ));
    Ok(list)
}

fn engine(model: &Arc<CpuModel>) -> CpuEngine {
    CpuEngine::new(Arc::clone(model), CONTEXT + NEW_TOKENS + 16, 0)
}

/// A pass over `tokens` tokens at the middle of a generation, with the sampling of each of them.
fn target_seconds(model: &Arc<CpuModel>, tokens: usize, transform: &Transform) -> Outcome<f64> {
    let context: Vec<u32> = (0..u32::try_from(CONTEXT)?)
        .map(|i| 1000 + i * 97)
        .collect();
    let mut target = engine(model);
    let mut rows = LogitRows::default();
    let mut uniform = SeededUniform::new(1);
    let proposal: Vec<u32> = (1..u32::try_from(tokens)?).collect();
    median(15, &mut || {
        target.score(&context, &proposal, &mut rows)?;
        let mut sampler = Sampler::new(transform, &mut uniform);
        let mut distribution = Distribution::new();
        for row in 0..tokens {
            let logits = rows.row(row).ok_or("a row is missing")?;
            sampler.sample(logits, &context, &mut distribution)?;
        }
        Ok(())
    })
}

/// One draft token at the middle of a generation, its sampling included.
fn draft_seconds(model: &Arc<CpuModel>, transform: &Transform) -> Outcome<f64> {
    let context: Vec<u32> = (0..u32::try_from(CONTEXT)?)
        .map(|i| 1000 + i * 97)
        .collect();
    let mut draft = engine(model);
    let mut proposal = Proposal::new();
    let mut uniform = SeededUniform::new(1);
    median(30, &mut || {
        proposal.clear();
        let mut sampler = Sampler::new(transform, &mut uniform);
        Ok(draft.propose(&context, 1, &mut sampler, &mut proposal)?)
    })
}

/// Seconds a token without a draft, the prompt left out.
fn plain_seconds(model: &Arc<CpuModel>, prompt: &[u32], config: &SessionConfig) -> Outcome<f64> {
    let mut clock = After::default();
    generate_plain(&mut engine(model), prompt, config, |step| {
        clock.step(step.tokens.len())
    })?;
    Ok(clock.seconds())
}

/// AR and seconds a token with a draft, the prompt left out.
fn speculative(
    draft: &Arc<CpuModel>,
    target: &Arc<CpuModel>,
    prompt: &[u32],
    config: &SessionConfig,
) -> Outcome<(f64, f64)> {
    let mut clock = After::default();
    let run = generate(
        &mut engine(draft),
        &mut engine(target),
        prompt,
        config,
        |step| clock.step(step.tokens.len()),
    )?;
    Ok((
        run.metrics.acceptance_rate().unwrap_or(0.0),
        clock.seconds(),
    ))
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

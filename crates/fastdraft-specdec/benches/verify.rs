//! One verification step at the vocabulary of Llama 3.1, against a full sort of every row.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fastdraft_specdec::{
    Distribution, LogitRows, Proposal, Sampler, SeededUniform, Transform, Uniform, Verifier,
};

const VOCABULARY: usize = 128_256;
const GAMMA: usize = 8;

/// Sharp and unsure heads over normal noise, as language models give.
fn model_like(index: usize, rng: &mut SeededUniform) -> Vec<f32> {
    let noise = |rng: &mut SeededUniform| (0..12).map(|_| rng.uniform()).sum::<f64>() - 6.0;
    let mut row: Vec<f32> = (0..VOCABULARY).map(|_| 2.5 * noise(rng) as f32).collect();
    let (top, slope) = [(18.0, 1.5), (14.0, 1.0)][index % 2];
    for rank in 0..200 {
        let token = (rng.uniform() * VOCABULARY as f64) as usize;
        row[token] = row[token].max(top - slope * (1.0 + rank as f32).ln());
    }
    row
}

/// A nucleus of about 6,400 tokens.
fn flat(_: usize, rng: &mut SeededUniform) -> Vec<f32> {
    let logit = |rng: &mut SeededUniform| (rng.uniform() * 12.0).powi(2) as f32 / 8.0;
    (0..VOCABULARY).map(|_| logit(rng)).collect()
}

/// Softmax, sort of the whole vocabulary, nucleus.
fn full_sort(logits: &[f32], temperature: f64, top_p: f64) -> Vec<(u32, f64)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits
        .iter()
        .map(|v| (f64::from(v - max) / temperature).exp());
    let mut all: Vec<(u32, f64)> = (0..).zip(weights).collect();
    let sum: f64 = all.iter().map(|(_, p)| p).sum();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut seen = 0.0;
    let reaches = |(_, p): &(u32, f64)| {
        seen += p / sum;
        seen >= top_p
    };
    let keep = all.iter().position(reaches).map_or(all.len(), |i| i + 1);
    all.truncate(keep);
    all
}

/// Tokens drafted from `rows` with `noise` added to each logit.
fn draft(rows: &[Vec<f32>], noise: f32, transform: &Transform) -> Proposal {
    let (mut rng, mut other) = (SeededUniform::new(5), SeededUniform::new(6));
    let mut sampler = Sampler::new(transform, &mut rng);
    let (mut q, mut proposal) = (Distribution::new(), Proposal::new());
    for row in &rows[..GAMMA] {
        let row: Vec<f32> = row
            .iter()
            .map(|v| v + noise * other.uniform() as f32)
            .collect();
        if let Ok(token) = sampler.sample(&row, &[], &mut q) {
            proposal.push(token, &q);
        }
    }
    proposal
}

/// Makes the row of an index.
type Rows = fn(usize, &mut SeededUniform) -> Vec<f32>;

fn step(c: &mut Criterion) {
    let transform = Transform {
        top_p: Some(0.95),
        ..Transform::temperature(0.6)
    };
    let kinds: [(&str, Rows); 2] = [("model-like rows", model_like), ("flat rows", flat)];
    for (kind, make) in kinds {
        let mut rng = SeededUniform::new(3);
        let rows: Vec<Vec<f32>> = (0..=GAMMA).map(|index| make(index, &mut rng)).collect();
        let mut logits = LogitRows::new();
        logits
            .reset(GAMMA + 1, VOCABULARY)
            .copy_from_slice(&rows.concat());
        let mut group = c.benchmark_group(format!(
            "verify, V = 128256, γ = 8, T = 0.6, top-p 0.95, {kind}"
        ));
        group.sample_size(20);
        for (name, noise) in [("all accepted", 0.0), ("noisy draft", 1.5)] {
            let proposal = draft(&rows, noise, &transform);
            let mut verifier = Verifier::new();
            let mut uniform = SeededUniform::new(1);
            let mut judge = || verifier.verify(&transform, &[1], &proposal, &logits, &mut uniform);
            let accepted: Vec<_> = (0..200)
                .map(|_| judge().map_or(0, |v| v.accepted))
                .collect();
            let mean = accepted.iter().sum::<usize>() as f64 / accepted.len() as f64;
            println!("{kind}, {name}: {mean:.2} of {GAMMA} accepted");
            group.bench_function(name, |b| b.iter(|| black_box(judge())));
        }
        group.sample_size(10);
        group.bench_function("full sort of every row", |b| {
            let sort = |row: &Vec<f32>| black_box(full_sort(row, 0.6, 0.95)).len();
            b.iter(|| rows.iter().map(sort).sum::<usize>());
        });
        group.finish();
    }
}

criterion_group!(benches, step);
criterion_main!(benches);

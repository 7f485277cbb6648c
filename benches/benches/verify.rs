//! One verification step at the vocabulary of Llama 3.1 against a full sort of every row.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fastdraft_specdec::{Distribution, Proposal, Rule, SeededUniform, Transform, Uniform, verify};

const VOCABULARY: usize = 128_256;
const GAMMA: usize = 8;

fn rows() -> Vec<Vec<f32>> {
    let mut rng = SeededUniform::new(3);
    (0..=GAMMA)
        .map(|_| {
            (0..VOCABULARY)
                .map(|_| (rng.uniform() * 12.0).powi(2) as f32 / 8.0)
                .collect()
        })
        .collect()
}

/// Softmax, sort of the whole vocabulary, nucleus.
fn full_sort(logits: &[f32], temperature: f64, top_p: f64) -> Vec<(u32, f64)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut all: Vec<(u32, f64)> = logits
        .iter()
        .enumerate()
        .map(|(i, v)| (i as u32, (f64::from(v - max) / temperature).exp()))
        .collect();
    let sum: f64 = all.iter().map(|(_, p)| p).sum();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut seen = 0.0;
    let keep = all
        .iter()
        .position(|(_, p)| {
            seen += p / sum;
            seen >= top_p
        })
        .map_or(all.len(), |i| i + 1);
    all.truncate(keep);
    all
}

fn step(c: &mut Criterion) {
    let rows = rows();
    let transform = Transform {
        top_p: Some(0.95),
        ..Transform::temperature(0.6)
    };
    let mut targets = vec![Distribution::default(); GAMMA + 1];
    let mut proposal = Proposal::new();
    for row in &rows[..GAMMA] {
        let mut q = Distribution::default();
        if transform.apply(row, &[], &mut q).is_ok()
            && let Some(token) = q.argmax()
        {
            proposal.push(token, &q);
        }
    }
    let mut group = c.benchmark_group("verify step, V = 128256, γ = 8, T = 0.6, top-p 0.95");
    group.sample_size(20);
    group.bench_function("fastdraft-specdec", |b| {
        let mut rng = SeededUniform::new(1);
        b.iter(|| {
            for (row, out) in rows.iter().zip(&mut targets) {
                let _ = black_box(transform.apply(row, &[], out));
            }
            black_box(verify(Rule::Rejection, &proposal, &targets, &mut rng))
        });
    });
    group.bench_function("full sort of every row", |b| {
        b.iter(|| {
            rows.iter()
                .map(|row| black_box(full_sort(row, 0.6, 0.95)).len())
                .sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);

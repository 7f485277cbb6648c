//! The checks.

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Device, FloatDType, Tensor};

use super::Outcome;
use super::decoder::{self, Cache, host, ids, load, matrix};
use super::oracle::{self, ADAMW, INPUTS, SHAPES, VOCABULARY};

/// A check: its name and its body.
type Check = (&'static str, fn(&Device) -> Outcome);

pub(super) const ALL: [Check; 9] = [
    ("operators", operators),
    ("integers", integers),
    ("forward", forward),
    ("backward", backward),
    ("optimizer step", optimizer_step),
    ("decode", decode),
    ("dtype f64", |device| dtype(device, FloatDType::F64, 1e-6)),
    ("dtype f16", |device| dtype(device, FloatDType::F16, 4e-3)),
    ("dtype bf16", |device| dtype(device, FloatDType::BF16, 3e-2)),
];

/// Whether every number is within `tolerance` of the expected one, relative above 1.
pub(super) fn compare(got: &[f64], expected: &[f64], tolerance: f64) -> Outcome {
    if got.len() != expected.len() {
        return Outcome::Failed(format!("{} numbers, not {}", got.len(), expected.len()));
    }
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / expected.abs().max(1.0);
        if error.is_nan() || error > tolerance {
            return Outcome::Failed(format!("number {at} is {got}, not {expected}"));
        }
    }
    Outcome::Passed
}

/// The first that did not pass.
fn all(outcomes: impl IntoIterator<Item = (&'static str, Outcome)>) -> Outcome {
    for (what, outcome) in outcomes {
        match outcome {
            Outcome::Passed => {}
            Outcome::Failed(reason) => return Outcome::Failed(format!("{what}: {reason}")),
            Outcome::Unsupported => return Outcome::Unsupported,
        }
    }
    Outcome::Passed
}

fn operators(device: &Device) -> Outcome {
    let p = oracle::parameters();
    let (a, b) = (&p[2], &p[7]);
    let x = || matrix(a, SHAPES[2], device);
    let y = || matrix(b, SHAPES[7], device);
    let [rows, columns] = SHAPES[2];
    let each = |f: fn(f64) -> f64| -> Vec<f64> { a.iter().copied().map(f).collect() };
    let softmaxed: Vec<f64> = a.chunks(columns).flat_map(oracle::softmax).collect();
    let transposed: Vec<f64> = (0..columns)
        .flat_map(|column| (0..rows).map(move |row| a[row * columns + column]))
        .collect();
    let means: Vec<f64> = a
        .chunks(columns)
        .map(|row| row.iter().sum::<f64>() / columns as f64)
        .collect();
    let close = |got: Tensor<2>, expected: &[f64]| compare(&host(got), expected, 1e-5);
    all([
        (
            "matmul",
            close(
                x().matmul(y()),
                &oracle::matmul(a, b, columns, SHAPES[7][1]),
            ),
        ),
        ("softmax", close(softmax(x(), 1), &softmaxed)),
        ("silu", close(silu(x()), &each(oracle::silu))),
        ("sin", close(x().sin(), &each(f64::sin))),
        ("cos", close(x().cos(), &each(f64::cos))),
        ("exp", close(x().exp(), &each(f64::exp))),
        (
            "sqrt and recip",
            close(
                x().abs().add_scalar(1.0).sqrt().recip(),
                &each(|v| 1.0 / (v.abs() + 1.0).sqrt()),
            ),
        ),
        ("transpose", close(x().transpose(), &transposed)),
        ("mean", close(x().mean_dim(1), &means)),
        (
            "slice",
            close(x().slice([1..3, 0..columns]), &a[columns..3 * columns]),
        ),
        (
            "cat",
            close(
                Tensor::cat(vec![x(), x()], 0),
                &[a.as_slice(), a.as_slice()].concat(),
            ),
        ),
    ])
}

fn integers(device: &Device) -> Outcome {
    let p = oracle::parameters();
    let [rows, columns] = SHAPES[0];
    let table = || matrix(&p[0], SHAPES[0], device);
    let picked: Vec<f64> = INPUTS
        .iter()
        .flat_map(|id| p[0][id * columns..(id + 1) * columns].to_vec())
        .collect();
    let best: Vec<f64> = p[0]
        .chunks(columns)
        .map(|row| {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter().position(|x| *x == largest).unwrap_or(0) as f64
        })
        .collect();
    let each: Vec<usize> = (0..rows).map(|row| row % columns).collect();
    let gathered: Vec<f64> = (0..rows)
        .map(|row| p[0][row * columns + row % columns])
        .collect();
    let lookup = table().select(0, ids(&INPUTS, device));
    let gather = table().gather(1, ids(&each, device).reshape([rows, 1]));
    all([
        ("select", compare(&host(lookup), &picked, 1e-6)),
        ("gather", compare(&host(gather), &gathered, 1e-6)),
        (
            "argmax",
            compare(&host(table().argmax(1).float()), &best, 0.0),
        ),
    ])
}

fn forward(device: &Device) -> Outcome {
    let p = oracle::parameters();
    let logits = decoder::logits(&load(&p, device), &INPUTS, &mut Cache::default());
    compare(&host(logits), &oracle::logits(&p, &INPUTS), 1e-4)
}

fn backward(device: &Device) -> Outcome {
    let p = oracle::parameters();
    let tracked = tracked(&load(&p, device), device);
    let logits = decoder::logits(&tracked, &INPUTS, &mut Cache::default());
    let gradients = decoder::loss(logits).backward();
    for (at, (tensor, expected)) in tracked.iter().zip(oracle::gradients(&p)).enumerate() {
        let Some(gradient) = tensor.grad(&gradients) else {
            return Outcome::Failed(format!("parameter {at} has no gradient"));
        };
        if let Outcome::Failed(reason) = compare(&host(gradient), &expected, 1e-4) {
            return Outcome::Failed(format!("parameter {at}: {reason}"));
        }
    }
    Outcome::Passed
}

fn tracked(p: &[Tensor<2>], device: &Device) -> Vec<Tensor<2>> {
    let device = device.clone().autodiff();
    p.iter()
        .zip(SHAPES)
        .map(|(tensor, shape)| matrix(&host(tensor.clone()), shape, &device).require_grad())
        .collect()
}

fn optimizer_step(device: &Device) -> Outcome {
    const STEPS: i32 = 2;
    let [rate, beta1, beta2, epsilon, decay] = ADAMW;
    let start = oracle::parameters();
    let mut p = load(&start, device);
    let zero: Vec<Tensor<2>> = SHAPES
        .iter()
        .map(|shape| Tensor::zeros(*shape, device))
        .collect();
    let (mut first, mut second) = (zero.clone(), zero);
    for step in 1..=STEPS {
        let tracked = tracked(&p, device);
        let logits = decoder::logits(&tracked, &INPUTS, &mut Cache::default());
        let gradients = decoder::loss(logits).backward();
        for (at, tensor) in tracked.iter().enumerate() {
            let Some(g) = tensor.grad(&gradients) else {
                return Outcome::Failed(format!("parameter {at} has no gradient"));
            };
            let m = first[at].clone() * beta1 + g.clone() * (1.0 - beta1);
            let v = second[at].clone() * beta2 + g.clone() * g * (1.0 - beta2);
            let mean = m.clone() / (1.0 - beta1.powi(step));
            let spread = (v.clone() / (1.0 - beta2.powi(step))).sqrt() + epsilon;
            let update = mean / spread + p[at].clone() * decay;
            p[at] = p[at].clone() - update * rate;
            (first[at], second[at]) = (m, v);
        }
    }
    let expected = oracle::adamw(start, STEPS);
    all(p
        .into_iter()
        .zip(&expected)
        .map(|(tensor, expected)| ("parameters", compare(&host(tensor), expected, 1e-4))))
}

/// One token at a time with cached keys and values gives the logits of one pass over all.
fn decode(device: &Device) -> Outcome {
    let p = load(&oracle::parameters(), device);
    let whole = host(decoder::logits(&p, &INPUTS, &mut Cache::default()));
    let mut cache = Cache::default();
    for (at, id) in INPUTS.iter().enumerate() {
        let row = host(decoder::logits(&p, &[*id], &mut cache));
        if decoder::cached(&cache)[0] != at + 1 {
            return Outcome::Failed(format!("{:?} keys cached", decoder::cached(&cache)));
        }
        let expected = &whole[at * VOCABULARY..(at + 1) * VOCABULARY];
        if let Outcome::Failed(reason) = compare(&row, expected, 1e-4) {
            return Outcome::Failed(format!("token {at}: {reason}"));
        }
    }
    Outcome::Passed
}

/// A product in another format, within what the format can hold.
fn dtype(device: &Device, dtype: FloatDType, tolerance: f64) -> Outcome {
    if !device.supports_dtype(dtype) {
        return Outcome::Unsupported;
    }
    let p = oracle::parameters();
    let (a, b) = (
        matrix(&p[2], SHAPES[2], device),
        matrix(&p[7], SHAPES[7], device),
    );
    let product = a.cast(dtype).matmul(b.cast(dtype)).cast(FloatDType::F32);
    let expected = oracle::matmul(&p[2], &p[7], SHAPES[2][1], SHAPES[7][1]);
    compare(&host(product), &expected, tolerance)
}

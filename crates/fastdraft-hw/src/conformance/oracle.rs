//! The small decoder in `f64` on the host, element by element.

pub(super) const VOCABULARY: usize = 11;
pub(super) const HIDDEN: usize = 8;
pub(super) const HEADS: usize = 2;
pub(super) const HEAD: usize = HIDDEN / HEADS;
pub(super) const MLP: usize = 12;
pub(super) const EPSILON: f64 = 1e-5;
/// Inputs, and the token that should follow each.
pub(super) const INPUTS: [usize; 5] = [3, 1, 4, 1, 5];
pub(super) const GOALS: [usize; 5] = [1, 4, 1, 5, 9];
/// Rate, β₁, β₂, ε and decay of the optimizer. A large ε keeps tiny gradients from deciding.
pub(super) const ADAMW: [f64; 5] = [1e-2, 0.9, 0.95, 1e-3, 0.1];

/// Shape of each parameter, in the order that every function here takes them: embedding, first
/// norm, q, k, v, output, second norm, gate, up, down, last norm, head.
pub(super) const SHAPES: [[usize; 2]; 12] = [
    [VOCABULARY, HIDDEN],
    [1, HIDDEN],
    [HIDDEN, HIDDEN],
    [HIDDEN, HIDDEN],
    [HIDDEN, HIDDEN],
    [HIDDEN, HIDDEN],
    [1, HIDDEN],
    [HIDDEN, MLP],
    [HIDDEN, MLP],
    [MLP, HIDDEN],
    [1, HIDDEN],
    [HIDDEN, VOCABULARY],
];

pub(super) type Parameters = Vec<Vec<f64>>;

/// Reproducible parameters, exact in `f32`.
pub(super) fn parameters() -> Parameters {
    let mut seed = 1_u32;
    SHAPES
        .iter()
        .map(|[rows, columns]| {
            (0..rows * columns)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    f64::from(seed >> 20) / 4096.0 - 0.5
                })
                .collect()
        })
        .collect()
}

pub(super) fn matmul(a: &[f64], b: &[f64], inner: usize, columns: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(a.len() / inner * columns);
    for row in a.chunks(inner) {
        for column in 0..columns {
            out.push((0..inner).map(|k| row[k] * b[k * columns + column]).sum());
        }
    }
    out
}

pub(super) fn softmax(row: &[f64]) -> Vec<f64> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = row.iter().map(|x| (x - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

pub(super) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    x.chunks(HIDDEN)
        .flat_map(|row| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / HIDDEN as f64;
            let scale = 1.0 / (mean + EPSILON).sqrt();
            row.iter().zip(weight).map(move |(x, w)| x * scale * w)
        })
        .collect()
}

/// Logits `[inputs, vocabulary]`.
pub(super) fn logits(p: &Parameters, inputs: &[usize]) -> Vec<f64> {
    let mut x: Vec<f64> = inputs
        .iter()
        .flat_map(|id| p[0][id * HIDDEN..(id + 1) * HIDDEN].to_vec())
        .collect();
    let h = norm(&x, &p[1]);
    let [q, k, v] = [2, 3, 4].map(|at| matmul(&h, &p[at], HIDDEN, HIDDEN));
    let mut mixed = vec![0.0; x.len()];
    for head in 0..HEADS {
        for row in 0..inputs.len() {
            let at = |matrix: &[f64], row: usize, i: usize| matrix[row * HIDDEN + head * HEAD + i];
            let scores: Vec<f64> = (0..=row)
                .map(|other| {
                    let dot: f64 = (0..HEAD).map(|i| at(&q, row, i) * at(&k, other, i)).sum();
                    dot / (HEAD as f64).sqrt()
                })
                .collect();
            for (other, weight) in softmax(&scores).iter().enumerate() {
                for i in 0..HEAD {
                    mixed[row * HIDDEN + head * HEAD + i] += weight * at(&v, other, i);
                }
            }
        }
    }
    let add = |x: &mut Vec<f64>, y: Vec<f64>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    add(&mut x, matmul(&mixed, &p[5], HIDDEN, HIDDEN));
    let h = norm(&x, &p[6]);
    let gate = matmul(&h, &p[7], HIDDEN, MLP);
    let up = matmul(&h, &p[8], HIDDEN, MLP);
    let inner: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| silu(*g) * u).collect();
    add(&mut x, matmul(&inner, &p[9], MLP, HIDDEN));
    matmul(&norm(&x, &p[10]), &p[11], HIDDEN, VOCABULARY)
}

/// Mean cross-entropy of the goals.
pub(super) fn loss(p: &Parameters) -> f64 {
    let logits = logits(p, &INPUTS);
    let rows = logits.chunks(VOCABULARY).zip(GOALS);
    rows.map(|(row, goal)| -softmax(row)[goal].ln())
        .sum::<f64>()
        / GOALS.len() as f64
}

/// Central differences of [`loss`].
pub(super) fn gradients(p: &Parameters) -> Parameters {
    const STEP: f64 = 1e-5;
    let mut moved = p.clone();
    let mut all = Vec::with_capacity(p.len());
    for which in 0..p.len() {
        let mut gradient = Vec::with_capacity(p[which].len());
        for at in 0..p[which].len() {
            let value = p[which][at];
            moved[which][at] = value + STEP;
            let above = loss(&moved);
            moved[which][at] = value - STEP;
            let below = loss(&moved);
            moved[which][at] = value;
            gradient.push((above - below) / (2.0 * STEP));
        }
        all.push(gradient);
    }
    all
}

/// Parameters after `steps` steps of AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2).
pub(super) fn adamw(mut p: Parameters, steps: i32) -> Parameters {
    let [rate, beta1, beta2, epsilon, decay] = ADAMW;
    let zero: Parameters = p.iter().map(|values| vec![0.0; values.len()]).collect();
    let (mut first, mut second) = (zero.clone(), zero);
    for step in 1..=steps {
        let gradients = gradients(&p);
        for (which, gradient) in gradients.iter().enumerate() {
            for (at, g) in gradient.iter().enumerate() {
                let (m, v) = (&mut first[which][at], &mut second[which][at]);
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                let m = *m / (1.0 - beta1.powi(step));
                let v = *v / (1.0 - beta2.powi(step));
                let value = &mut p[which][at];
                *value -= rate * (m / (v.sqrt() + epsilon) + decay * *value);
            }
        }
    }
    p
}

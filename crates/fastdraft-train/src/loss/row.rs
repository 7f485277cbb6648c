//! Loss and gradient of one position in closed form.

use super::batch::Goal;
use crate::host::vector::{LANES, exp_in_place, highest, vectorized};

/// Turns logits into their gradient, in place; returns the weighted loss.
///
/// With `q` the softmax: cross-entropy has the gradient `q − 1[y]`, KL `q − p̂`, and TVD
/// `q · (a − Σⱼ aⱼ qⱼ)` with `aᵢ = −1` where `qᵢ < p̂ᵢ` and 0 elsewhere.
///
/// # Shapes
/// - `logits`: `[head_size]`
pub(super) fn gradient_in_place(goal: &Goal, logits: &mut [f32]) -> f64 {
    let highest = peak(logits);
    let label = goal.label as usize;
    let label_logit = logits.get(label).copied().unwrap_or(0.0);
    let kl_logit: f64 = (goal.tokens.iter())
        .map(|(id, p)| f64::from(*p) * f64::from(logits[*id as usize] - highest))
        .sum();
    let lanes = exponentials(logits, highest);
    let sum: f64 = lanes.iter().map(|lane| f64::from(*lane)).sum();
    let log_sum = sum.ln();
    let mut loss = 0.0;
    if goal.label_weight > 0.0 {
        let nll = log_sum - f64::from(label_logit - highest);
        loss += f64::from(goal.label_weight) * nll;
    }
    let negative_entropy: f64 = (goal.tokens.iter())
        .map(|(_, p)| f64::from(*p) * f64::from(*p).ln())
        .sum();
    if goal.kl_weight > 0.0 {
        loss += f64::from(goal.kl_weight) * (negative_entropy - kl_logit + log_sum);
    }
    // Σⱼ aⱼ qⱼ and Σ min(p̂, q).
    let (mut below, mut overlap) = (0.0, 0.0);
    for (id, p) in &goal.tokens {
        let (p, q) = (f64::from(*p), f64::from(logits[*id as usize]) / sum);
        below -= if q < p { q } else { 0.0 };
        overlap += q.min(p);
    }
    loss += f64::from(goal.tvd_weight) * (1.0 - overlap);
    let dense = f64::from(goal.label_weight) + f64::from(goal.kl_weight)
        - f64::from(goal.tvd_weight) * below;
    let factor = (dense / sum) as f32;
    let sparse: Vec<(usize, f32)> = (goal.tokens.iter())
        .map(|(id, p)| {
            let q = (f64::from(logits[*id as usize]) / sum) as f32;
            let pushed = if q < *p { goal.tvd_weight * q } else { 0.0 };
            (*id as usize, goal.kl_weight * p + pushed)
        })
        .collect();
    scale(logits, factor);
    for (id, less) in sparse {
        logits[id] -= less;
    }
    if goal.label_weight > 0.0 {
        logits[label] -= goal.label_weight;
    }
    loss
}

vectorized! {
    fn peak(logits: &[f32]) -> f32 {
        highest(logits)
    }
}

vectorized! {
    fn exponentials(logits: &mut [f32], shift: f32) -> [f32; LANES] {
        exp_in_place(logits, shift)
    }
}

vectorized! {
    fn scale(logits: &mut [f32], factor: f32) {
        logits.iter_mut().for_each(|value| *value *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goals() -> Vec<Goal> {
        let tokens = vec![(0, 0.5), (3, 0.3), (4, 0.2)];
        let goal = |label_weight, kl_weight, tvd_weight| Goal {
            label: 3,
            label_weight,
            tokens: tokens.clone(),
            kl_weight,
            tvd_weight,
        };
        vec![
            goal(1.0, 0.0, 0.0),
            goal(0.0, 1.0, 0.0),
            goal(0.0, 0.0, 1.0),
            goal(0.3, 0.4, 0.6),
        ]
    }

    const LOGITS: [f32; 6] = [0.3, -0.7, 1.1, 0.2, -1.4, 0.9];

    fn loss(goal: &Goal, logits: &[f64]) -> f64 {
        let sum: f64 = logits.iter().map(|v| v.exp()).sum();
        let q: Vec<f64> = logits.iter().map(|v| v.exp() / sum).collect();
        let ce = -q[goal.label as usize].ln();
        let terms = goal
            .tokens
            .iter()
            .map(|(id, p)| (q[*id as usize], f64::from(*p)));
        let kl: f64 = terms.clone().map(|(q, p)| p * (p / q).ln()).sum();
        let elsewhere: f64 = 1.0 - terms.clone().map(|(q, _)| q).sum::<f64>();
        let tvd = 0.5 * (terms.map(|(q, p)| (p - q).abs()).sum::<f64>() + elsewhere);
        f64::from(goal.label_weight) * ce
            + f64::from(goal.kl_weight) * kl
            + f64::from(goal.tvd_weight) * tvd
    }

    #[test]
    fn losses_are_their_definitions_and_gradients_their_differences() {
        for goal in goals() {
            let exact: Vec<f64> = LOGITS.iter().map(|v| f64::from(*v)).collect();
            let mut gradient = LOGITS;
            let value = gradient_in_place(&goal, &mut gradient);
            assert!((value - loss(&goal, &exact)).abs() < 1e-6);
            for i in 0..exact.len() {
                let (mut up, mut down) = (exact.clone(), exact.clone());
                (up[i], down[i]) = (up[i] + 1e-5, down[i] - 1e-5);
                let slope = (loss(&goal, &up) - loss(&goal, &down)) / 2e-5;
                assert!(
                    (f64::from(gradient[i]) - slope).abs() < 1e-5,
                    "{goal:?} {i}"
                );
            }
        }
    }
}

//! Loss and gradient of one position in closed form.

use super::batch::Goal;

/// Turns logits into their gradient, in place; returns the weighted loss.
///
/// With `q` the softmax: cross-entropy has the gradient `q − 1[y]`, KL `q − p̂`, and TVD
/// `q · (a − Σⱼ aⱼ qⱼ)` with `aᵢ = −1` where `qᵢ < p̂ᵢ` and 0 elsewhere.
///
/// # Shapes
/// - `logits`: `[head_size]`
pub(super) fn gradient_in_place(goal: &Goal, logits: &mut [f32]) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let label = goal.label as usize;
    let label_logit = logits.get(label).copied().unwrap_or(0.0);
    let kl_logit: f64 = (goal.tokens.iter())
        .map(|(id, p)| f64::from(*p) * f64::from(logits[*id as usize] - highest))
        .sum();
    // Sums of 16 lanes: the compiler makes vectors of them, and they round less than one sum.
    let mut lanes = [0.0f32; 16];
    for chunk in logits.chunks_mut(16) {
        for (logit, lane) in chunk.iter_mut().zip(&mut lanes) {
            *logit = exp(*logit - highest);
            *lane += *logit;
        }
    }
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
    logits.iter_mut().for_each(|value| *value *= factor);
    for (id, less) in sparse {
        logits[id] -= less;
    }
    if goal.label_weight > 0.0 {
        logits[label] -= goal.label_weight;
    }
    loss
}

/// `eˣ` for `x ≤ 0`, within 2 units of the last place; 0 below −87.
///
/// Range reduction to `2ⁿ · eʳ` with `|r| ≤ ½ ln 2` and the polynomial of Cephes' `expf`. Free
/// of branches, so that loops over it become vector code.
#[inline]
fn exp(x: f32) -> f32 {
    let clamped = x.max(-87.0);
    let n = (clamped * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    // ln 2 in two parts, so that the product with n is exact.
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut poly = 1.987_569_1e-4;
    for c in [
        1.398_2e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        poly = poly * r + c;
    }
    let power = f32::from_bits(((n as i32 + 127) << 23) as u32);
    let value = (poly * r * r + r + 1.0) * power;
    if x < -87.0 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_matches_the_library() {
        for i in 0..8700 {
            let x = -(i as f32) / 100.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (ours - exact).abs() <= exact * 2.5e-7,
                "{x}: {ours} {exact}"
            );
        }
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
    }

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

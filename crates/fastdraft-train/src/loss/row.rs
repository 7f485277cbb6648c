//! Loss and gradient of one position in closed form.

use super::batch::Goal;

/// What there is of a position's whole vocabulary.
#[derive(Clone, Copy)]
pub(super) struct Softmax {
    /// No logit is far above it.
    pub(super) peak: f32,
    /// `Σⱼ e^(logitⱼ − peak)`
    pub(super) sum: f64,
}

/// The gradient of the logits: `factor · e^(logitᵢ − peak)`, less what some tokens have.
pub(super) struct Gradient {
    /// Weighted.
    pub(super) loss: f64,
    pub(super) factor: f32,
    pub(super) less: Vec<(u32, f32)>,
}

/// Loss and gradient of a position, from the logits of the few tokens that its goal names.
///
/// With `q` the softmax: cross-entropy has the gradient `q − 1[y]`, KL `q − p̂`, and TVD
/// `q · (a − Σⱼ aⱼ qⱼ)` with `aᵢ = −1` where `qᵢ < p̂ᵢ` and 0 elsewhere.
pub(super) fn gradient(goal: &Goal, all: Softmax, logit: impl Fn(u32) -> f32) -> Gradient {
    let log_sum = all.sum.ln();
    let log = |id: u32| f64::from(logit(id) - all.peak) - log_sum;
    let mut gradient = Gradient {
        loss: 0.0,
        factor: 0.0,
        less: Vec::with_capacity(goal.tokens.len() + 1),
    };
    if goal.label_weight > 0.0 {
        gradient.loss -= f64::from(goal.label_weight) * log(goal.label);
        gradient.less.push((goal.label, goal.label_weight));
    }
    // KL, Σⱼ aⱼ qⱼ and Σ min(p̂, q).
    let (mut divergence, mut below, mut overlap) = (0.0, 0.0, 0.0);
    for (id, share) in &goal.tokens {
        let (p, log) = (f64::from(*share), log(*id));
        let q = log.exp();
        divergence += p * (p.ln() - log);
        overlap += q.min(p);
        let mut less = goal.kl_weight * share;
        if q < p {
            below -= q;
            less += goal.tvd_weight * q as f32;
        }
        gradient.less.push((*id, less));
    }
    gradient.loss += f64::from(goal.kl_weight) * divergence;
    gradient.loss += f64::from(goal.tvd_weight) * (1.0 - overlap);
    let dense = f64::from(goal.label_weight) + f64::from(goal.kl_weight)
        - f64::from(goal.tvd_weight) * below;
    gradient.factor = (dense / all.sum) as f32;
    gradient
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
            let peak = LOGITS.into_iter().fold(f32::NEG_INFINITY, f32::max);
            let exponentials = exact.iter().map(|v| (v - f64::from(peak)).exp());
            let all = Softmax {
                peak,
                sum: exponentials.clone().sum(),
            };
            let found = gradient(&goal, all, |id| LOGITS[id as usize]);
            assert!((found.loss - loss(&goal, &exact)).abs() < 1e-6);
            for (i, exponential) in exponentials.enumerate() {
                let (mut up, mut down) = (exact.clone(), exact.clone());
                (up[i], down[i]) = (up[i] + 1e-5, down[i] - 1e-5);
                let slope = (loss(&goal, &up) - loss(&goal, &down)) / 2e-5;
                let less = found.less.iter().filter(|(id, _)| *id as usize == i);
                let less: f32 = less.map(|(_, less)| less).sum();
                let gradient = f64::from(found.factor) * exponential - f64::from(less);
                assert!((gradient - slope).abs() < 1e-5, "{goal:?} {i}");
            }
        }
    }
}

//! Losses of a run, as far as a plot can show them.

use serde::Deserialize;

use super::StageSection;
use crate::stage::StageReport;

/// The loss after some tokens of a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossPoint {
    /// Input tokens seen since the stage began.
    pub tokens: usize,
    /// Loss of the step.
    pub loss: f32,
}

#[derive(Deserialize)]
struct Line {
    stage: String,
    step: usize,
    tokens: usize,
    seconds: f64,
    loss: Option<f32>,
}

/// Stages from a log with one [`Step::metrics`](crate::stage::Step::metrics) object a line, in
/// their order there. Lines that are none, such as one cut short, are left out.
///
/// ```
/// use fastdraft_train::report::stages_of_metrics;
/// let log = r#"{"stage":"PT","step":1,"tokens":256,"seconds":0.3,"loss":9.9,"norm":1,"rate":0.1}"#;
/// let stages = stages_of_metrics(log);
/// assert_eq!(stages[0].training.tokens, 256);
/// assert_eq!(stages[0].losses.len(), 1);
/// ```
#[must_use]
pub fn stages_of_metrics(log: &str) -> Vec<StageSection> {
    let mut stages: Vec<StageSection> = Vec::new();
    for line in log.lines() {
        let Ok(line) = serde_json::from_str::<Line>(line) else {
            continue;
        };
        let known = stages.iter().position(|s| s.training.stage == line.stage);
        let index = known.unwrap_or_else(|| {
            stages.push(StageSection::new(StageReport {
                stage: line.stage,
                steps: 0,
                tokens: 0,
                seconds: 0.0,
                first_loss: f32::NAN,
                last_loss: f32::NAN,
            }));
            stages.len() - 1
        });
        let stage = &mut stages[index];
        stage.training.steps = line.step;
        stage.training.tokens = line.tokens;
        stage.training.seconds = line.seconds;
        if let Some(loss) = line.loss {
            stage.losses.push(LossPoint {
                tokens: line.tokens,
                loss,
            });
        }
    }
    for stage in &mut stages {
        let losses = &stage.losses;
        let tenth = (losses.len() / 10).max(1);
        let mean =
            |part: &[LossPoint]| part.iter().map(|p| p.loss).sum::<f32>() / part.len() as f32;
        if !losses.is_empty() {
            stage.training.first_loss = mean(&losses[..tenth]);
            stage.training.last_loss = mean(&losses[losses.len() - tenth..]);
        }
    }
    stages
}

/// The mean of each value and its neighbours. Near the beginning, where a loss falls fast, both
/// sides are cut alike; near the end only the side that is missing. Values that are not finite
/// stay as they are and count in no mean.
pub(super) fn smooth(values: &[f64], neighbours: usize) -> Vec<f64> {
    let (mut sums, mut counts) = (vec![0.0], vec![0usize]);
    for value in values {
        let finite = value.is_finite();
        sums.push(sums[sums.len() - 1] + if finite { *value } else { 0.0 });
        counts.push(counts[counts.len() - 1] + usize::from(finite));
    }
    (values.iter().enumerate())
        .map(|(i, value)| {
            if !value.is_finite() {
                return *value;
            }
            let reach = neighbours.min(i);
            let (from, to) = (i - reach, (i + reach + 1).min(values.len()));
            (sums[to] - sums[from]) / (counts[to] - counts[from]) as f64
        })
        .collect()
}

/// At most about `most` of the points: of each run of them the lowest and the highest, so that
/// no spike is lost.
pub(super) fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let run = (2 * points.len()).div_ceil(most.max(2));
    let mut out = Vec::new();
    for part in points.chunks(run) {
        let by_height = |a: &usize, b: &usize| part[*a].1.total_cmp(&part[*b].1);
        let indices = || 0..part.len();
        if let (Some(low), Some(high)) = (indices().min_by(by_height), indices().max_by(by_height))
        {
            out.push(part[low.min(high)]);
            if low != high {
                out.push(part[low.max(high)]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gives_its_stages_and_skips_what_is_no_line() {
        let mut log = String::new();
        for step in 1..=20 {
            log += &format!(
                "{{\"stage\":\"PT\",\"step\":{step},\"tokens\":{},\"seconds\":{step},\"loss\":{}}}\n",
                step * 256,
                30 - step
            );
        }
        log += "{\"stage\":\"FT\",\"step\":1,\"tokens\":8,\"seconds\":1,\"loss\":null}\n";
        log += "{\"stage\":\"FT\",\"step\":2,\"tok";
        let stages = stages_of_metrics(&log);
        assert_eq!(stages.len(), 2);
        let training = &stages[0].training;
        assert_eq!((training.steps, training.tokens), (20, 5120));
        assert_eq!((training.first_loss, training.last_loss), (28.5, 10.5));
        assert_eq!(
            stages[0].losses[1],
            LossPoint {
                tokens: 512,
                loss: 28.0
            }
        );
        assert!(stages[1].losses.is_empty() && stages[1].training.last_loss.is_nan());
    }

    #[test]
    fn smoothing_is_the_plain_mean_of_neighbours() {
        assert_eq!(
            smooth(&[3.0, 0.0, 6.0, 0.0, 9.0], 1),
            [3.0, 3.0, 2.0, 5.0, 4.5]
        );
        assert_eq!(smooth(&[], 4), [] as [f64; 0]);
        let gap = smooth(&[1.0, f64::NAN, 3.0], 1);
        assert!(gap[0] == 1.0 && gap[1].is_nan() && gap[2] == 3.0);
    }

    #[test]
    fn thinning_keeps_the_spike_and_the_order() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        points[4321].1 = 50.0;
        points[4322].1 = -50.0;
        let thin = thin(&points, 200);
        assert!(thin.len() <= 200, "{}", thin.len());
        assert!(thin.contains(&(4321.0, 50.0)) && thin.contains(&(4322.0, -50.0)));
        assert!(thin.is_sorted_by(|a, b| a.0 < b.0));
    }
}

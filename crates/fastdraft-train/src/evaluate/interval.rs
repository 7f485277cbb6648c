//! How sure an acceptance rate is.

use fastdraft_specdec::{SeededUniform, Uniform};

const RESAMPLES: usize = 1000;

/// The middle 95 % of the acceptance rates of resampled prompts, each given as drafted and
/// accepted tokens, or of other means as number and sum. `None` with fewer than two prompts, or when
/// nothing was drafted.
pub(super) fn bootstrap(prompts: &[(f64, f64)], seed: u64) -> Option<(f64, f64)> {
    if prompts.len() < 2 {
        return None;
    }
    let mut random = SeededUniform::new(seed);
    let mut rates: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let (mut drafted, mut accepted) = (0.0, 0.0);
            for _ in prompts {
                let at = (random.uniform() * prompts.len() as f64) as usize;
                let (d, a) = prompts[at.min(prompts.len() - 1)];
                drafted += d;
                accepted += a;
            }
            (drafted > 0.0).then(|| accepted / drafted)
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    let low = rates.get(rates.len() / 40)?;
    let high = rates.get(rates.len() - 1 - rates.len() / 40)?;
    Some((*low, *high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_prompts_leave_no_doubt_and_different_ones_do() {
        assert_eq!(bootstrap(&[(10.0, 4.0); 8], 1), Some((0.4, 0.4)));
        let (low, high) =
            bootstrap(&[(10.0, 0.0), (10.0, 10.0), (10.0, 0.0), (10.0, 10.0)], 1).unwrap();
        assert!(low < 0.2 && high > 0.8, "{low} {high}");
        assert_eq!(bootstrap(&[(10.0, 4.0)], 1), None);
        assert_eq!(bootstrap(&[(0.0, 0.0); 2], 1), None);
    }

    #[test]
    fn the_interval_covers_the_truth_as_often_as_it_says() {
        let mut random = SeededUniform::new(3);
        let mut covered = 0;
        for trial in 0..200 {
            // Ten tokens of each prompt, each accepted with probability 0.3.
            let prompts: Vec<(f64, f64)> = (0..40)
                .map(|_| {
                    (
                        10.0,
                        (0..10).filter(|_| random.uniform() < 0.3).count() as f64,
                    )
                })
                .collect();
            let (low, high) = bootstrap(&prompts, trial).unwrap();
            covered += u32::from((low..=high).contains(&0.3));
        }
        assert!((180..=199).contains(&covered), "{covered} of 200");
    }
}

//! Axes with round ticks.

use super::drawable;

/// Where an axis begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// At the outermost values.
    Tight,
    /// At the ticks around them.
    Round,
    /// At the ticks around them, which are whole numbers.
    Whole,
}

/// A linear axis.
///
/// ```
/// use fastdraft_train::report::plot::{Axis, Fit};
/// let axis = Axis::around([0.1, 0.93], 5, Fit::Round).unwrap();
/// assert_eq!(axis.labels()[0].1, "0.0");
/// assert_eq!(axis.share(0.5), 0.5);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    lo: f64,
    hi: f64,
    step: f64,
}

impl Axis {
    /// An axis for the finite ones of `values`, with about `count` ticks; `None` without any.
    #[must_use]
    pub fn around(values: impl IntoIterator<Item = f64>, count: usize, fit: Fit) -> Option<Self> {
        let (lo, hi) = (values.into_iter().filter(|v| drawable(*v)))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| {
                (lo.min(v), hi.max(v))
            });
        if lo > hi {
            return None;
        }
        // A range that a tick could not divide is widened around its values.
        let size = lo.abs().max(hi.abs());
        let least = if size > 0.0 { size * 1e-9 } else { 1.0 };
        let (lo, hi) = if hi - lo < least {
            let room = if size > 0.0 { size / 2.0 } else { 0.5 };
            (lo - room, hi + room)
        } else {
            (lo, hi)
        };
        let step = round_step((hi - lo) / count.max(1) as f64);
        let step = if fit == Fit::Whole {
            step.max(1.0)
        } else {
            step
        };
        Some(match fit {
            Fit::Tight => Self { lo, hi, step },
            Fit::Round | Fit::Whole => Self {
                lo: (lo / step + 1e-9).floor() * step,
                hi: (hi / step - 1e-9).ceil() * step,
                step,
            },
        })
    }

    /// Where a value lies: 0 at the beginning, 1 at the end.
    #[must_use]
    pub fn share(&self, value: f64) -> f64 {
        (value - self.lo) / (self.hi - self.lo)
    }

    /// First value of the axis.
    #[must_use]
    pub fn start(&self) -> f64 {
        self.lo
    }

    /// Ticks with their labels, ascending; thousands as `k`, `M` and `B`.
    #[must_use]
    pub fn labels(&self) -> Vec<(f64, String)> {
        let first = (self.lo / self.step - 1e-9).ceil() as i64;
        let last = (self.hi / self.step + 1e-9).floor() as i64;
        let size = self.lo.abs().max(self.hi.abs());
        let (unit, suffix) = match size {
            s if !(1e-4..1e13).contains(&s) => (0.0, ""),
            s if s >= 1e9 => (1e9, "B"),
            s if s >= 1e6 => (1e6, "M"),
            s if s >= 1e4 => (1e3, "k"),
            _ => (1.0, ""),
        };
        let decimals = (-(self.step / unit).log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
        let label = |value: f64| {
            if unit == 0.0 {
                format!("{value:.0e}")
            } else if value == 0.0 && !suffix.is_empty() {
                "0".to_owned()
            } else {
                format!("{:.decimals$}{suffix}", value / unit)
            }
        };
        (first..=last)
            .map(|i| {
                let value = i as f64 * self.step;
                (value, label(value))
            })
            .collect()
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powi(rough.log10().floor() as i32);
    let factor = match rough / power {
        f if f <= 1.0 + 1e-9 => 1.0,
        f if f <= 2.0 + 1e-9 => 2.0,
        f if f <= 5.0 + 1e-9 => 5.0,
        _ => 10.0,
    };
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], fit: Fit) -> Vec<String> {
        let axis = Axis::around(values.iter().copied(), 5, fit).unwrap();
        axis.labels().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        assert_eq!(
            labels(&[0.0, 0.183], Fit::Round),
            ["0.00", "0.05", "0.10", "0.15", "0.20"]
        );
        assert_eq!(
            labels(&[0.0, 1.26], Fit::Round),
            ["0.0", "0.5", "1.0", "1.5"]
        );
        assert_eq!(
            labels(&[0.0, 237_824.0], Fit::Tight),
            ["0", "50k", "100k", "150k", "200k"]
        );
        assert_eq!(labels(&[1.0, 5.0], Fit::Tight), ["1", "2", "3", "4", "5"]);
        assert_eq!(
            labels(&[-3.0, 4.0], Fit::Round),
            ["-4", "-2", "0", "2", "4"]
        );
        assert_eq!(labels(&[1.0, 3.0], Fit::Whole), ["1", "2", "3"]);
        assert_eq!(labels(&[0.0, 2.5e9], Fit::Tight)[1], "0.5B");
    }

    #[test]
    fn every_range_has_ticks_inside_it() {
        let edges = [0.0, -1.0, 1e-30, 3.7e-5, 0.1, 1.0, 1e5, 1e15, 1e99, -1e99];
        for a in edges {
            for b in edges {
                for fit in [Fit::Tight, Fit::Round] {
                    let axis = Axis::around([a, b], 5, fit).unwrap();
                    let ticks = axis.labels();
                    assert!((1..=12).contains(&ticks.len()), "{a} {b}: {ticks:?}");
                    for (value, _) in ticks {
                        let share = axis.share(value);
                        assert!((-1e-6..=1.0 + 1e-6).contains(&share), "{a} {b}: {share}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_value_has_room_around_it_and_none_has_no_axis() {
        let axis = Axis::around([4.0], 5, Fit::Round).unwrap();
        assert!((0.2..0.8).contains(&axis.share(4.0)), "{axis:?}");
        assert_eq!(Axis::around([], 5, Fit::Round), None);
        let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX];
        assert_eq!(Axis::around(bad, 5, Fit::Round), None);
    }
}

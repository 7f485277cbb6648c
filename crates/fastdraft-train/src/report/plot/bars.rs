//! Bars in groups.

use std::fmt::Write;

use super::{Axis, Fit, Reference, colour, drawable, figure, frame::Frame, legend};
use crate::report::escape::escape;

/// Widest bar, in user units.
const WIDEST: f64 = 34.0;
/// Longest group label.
const LONGEST: usize = 24;
/// Width of a letter where text is largest, on a phone.
const LETTER: f64 = 8.3;

/// One bar in every group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BarSeries {
    /// Said in the legend.
    pub name: String,
    /// A value for each group; one that is not finite has no bar.
    pub values: Vec<f64>,
    /// Which colour.
    pub colour: usize,
}

/// Bars from 0, in groups.
///
/// ```
/// use fastdraft_train::report::plot::{BarPlot, BarSeries};
/// let series = vec![BarSeries { values: vec![0.8, 1.2], ..BarSeries::default() }];
/// let plot = BarPlot { groups: vec!["code".into(), "chat".into()], series, ..BarPlot::default() };
/// assert_eq!(plot.figure().unwrap().matches("<rect").count(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BarPlot {
    /// Above the plot, and its name for a screen reader.
    pub title: String,
    /// What is counted upwards.
    pub y_label: String,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// The bars of a group, left to right.
    pub series: Vec<BarSeries>,
    /// A line to compare with.
    pub reference: Option<Reference>,
}

impl BarPlot {
    /// An HTML figure; `None` when no value is finite.
    #[must_use]
    pub fn figure(&self) -> Option<String> {
        let values = || {
            let all = self.series.iter();
            all.flat_map(|s| s.values.iter().take(self.groups.len()).copied())
                .filter(|v| drawable(*v))
        };
        values().next()?;
        let others = self.reference.iter().map(|r| r.value);
        let y = Axis::around(values().chain([0.0]).chain(others), 5, Fit::Round)?;
        let names: Vec<String> = self.groups.iter().map(|name| shorten(name)).collect();
        let letters = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
        let share = 1.0 / self.groups.len() as f64;
        let mut frame = Frame { y, deeper: 0.0 };
        let group = frame.width() * share;
        let tilted = letters as f64 * LETTER > group;
        if tilted {
            frame.deeper = letters as f64 * LETTER / 2.0;
        }
        let bar = (group * 0.76 / self.series.len() as f64).min(WIDEST);
        let mut inside = String::new();
        for (i, name) in names.iter().enumerate() {
            let middle = frame.x((i as f64 + 0.5) * share);
            let (x, y) = (middle, frame.base() + 8.0);
            let place = if tilted {
                format!("text-anchor=\"end\" transform=\"rotate(-30 {x:.1} {y:.1})\"")
            } else {
                "text-anchor=\"middle\"".to_owned()
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                inside,
                "<text class=\"group\" x=\"{x:.1}\" y=\"{y:.1}\" dy=\".8em\" {place}>{}</text>",
                escape(name)
            );
            let first = middle - bar * self.series.len() as f64 / 2.0;
            for (j, series) in self.series.iter().enumerate() {
                let Some(value) = series.values.get(i).copied().filter(|v| drawable(*v)) else {
                    continue;
                };
                let (from, to) = (frame.y(0.0), frame.y(value));
                let index = colour(series.colour);
                let _ = writeln!(
                    inside,
                    "<rect class=\"bar c{index}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                     height=\"{:.1}\"><title>{}, {}: {value:.3}</title></rect>",
                    first + bar * j as f64 + bar * 0.04,
                    from.min(to),
                    bar * 0.92,
                    (from - to).abs(),
                    escape(&self.groups[i]),
                    escape(&series.name),
                );
            }
        }
        let labels = ["", self.y_label.as_str()];
        let svg = frame.svg(&self.title, labels, self.reference.as_ref(), &inside);
        let keys = self.series.iter().map(|s| (s.name.as_str(), s.colour));
        Some(figure(
            &self.title,
            &legend(keys, self.reference.as_ref()),
            &svg,
        ))
    }
}

fn shorten(name: &str) -> String {
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    (name.chars().take(LONGEST - 1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(values: &[f64]) -> BarPlot {
        BarPlot {
            groups: values.iter().map(|v| format!("task <{v}>")).collect(),
            series: vec![BarSeries {
                name: "FT".into(),
                values: values.to_vec(),
                colour: 13,
            }],
            ..BarPlot::default()
        }
    }

    #[test]
    fn nothing_finite_is_no_figure() {
        assert_eq!(plot(&[]).figure(), None);
        assert_eq!(plot(&[f64::NAN, f64::NEG_INFINITY]).figure(), None);
    }

    #[test]
    fn bars_stand_on_zero_and_those_not_finite_are_left_out() {
        let figure = plot(&[0.5, f64::NAN, 1.0]).figure().unwrap();
        assert_eq!(figure.matches("<rect class=\"bar c1\"").count(), 2);
        assert!(
            figure.contains("y=\"136.0\" width=\"31.3\" height=\"100.0\""),
            "{figure}"
        );
        assert!(
            figure.contains("y=\"36.0\" width=\"31.3\" height=\"200.0\""),
            "{figure}"
        );
        assert!(!figure.contains("<1>"), "{figure}");
    }

    #[test]
    fn names_wider_than_their_group_are_tilted_and_shortened() {
        let mut plot = plot(&[0.0, 0.0, 0.0]);
        assert!(!plot.figure().unwrap().contains("rotate"));
        plot.groups[0] = "é".repeat(90);
        let figure = plot.figure().unwrap();
        assert_eq!(figure.matches("rotate(-30").count(), 3);
        let short = format!(">{}…</text>", "é".repeat(23));
        assert!(
            figure.contains(&short) && !figure.contains("NaN"),
            "{figure}"
        );
    }
}

//! Lines over a number.

use std::fmt::Write;

use super::{Axis, Fit, Reference, colour, drawable, figure, frame::Frame, legend};

/// One line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LineSeries {
    /// Said in the legend.
    pub name: String,
    /// Points in order; one that is not finite breaks the line.
    pub points: Vec<(f64, f64)>,
    /// Points of a thin line behind it, such as what `points` is the mean of.
    pub raw: Vec<(f64, f64)>,
    /// Which colour.
    pub colour: usize,
}

/// Lines over a common axis.
///
/// ```
/// use fastdraft_train::report::plot::{LinePlot, LineSeries};
/// let series = vec![LineSeries { points: vec![(1.0, 3.0), (2.0, 2.5)], ..Default::default() }];
/// let plot = LinePlot { title: "Loss".into(), series, ..LinePlot::default() };
/// assert!(plot.figure().unwrap().contains("<svg"));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinePlot {
    /// Above the plot, and its name for a screen reader.
    pub title: String,
    /// What is counted to the right.
    pub x_label: String,
    /// What is counted upwards.
    pub y_label: String,
    /// The lines.
    pub series: Vec<LineSeries>,
    /// The points lie at whole numbers: a dot at each, and no ticks between.
    pub whole: bool,
    /// A line to compare with.
    pub reference: Option<Reference>,
}

impl LinePlot {
    /// An HTML figure; `None` when no point is finite.
    #[must_use]
    pub fn figure(&self) -> Option<String> {
        let points = || {
            (self
                .series
                .iter()
                .flat_map(|s| s.points.iter().chain(&s.raw)))
            .filter(|(x, y)| drawable(*x) && drawable(*y))
        };
        let fit = if self.whole { Fit::Whole } else { Fit::Tight };
        let x = Axis::around(points().map(|p| p.0), 6, fit)?;
        let heights = points().map(|p| p.1);
        let y = Axis::around(
            heights.chain(self.reference.iter().map(|r| r.value)),
            5,
            Fit::Round,
        )?;
        let frame = Frame { y, deeper: 0.0 };
        let mut inside = String::new();
        for (value, label) in x.labels() {
            // Writing to a String cannot fail.
            let _ = writeln!(
                inside,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" dy=\".8em\" \
                 text-anchor=\"middle\">{label}</text>",
                frame.x(x.share(value)),
                frame.base() + 8.0
            );
        }
        let place = |&(a, b): &(f64, f64)| (frame.x(x.share(a)), frame.y(b));
        for series in &self.series {
            path(&mut inside, "raw", series.colour, &series.raw, &place);
        }
        for series in &self.series {
            path(&mut inside, "line", series.colour, &series.points, &place);
            // A single point would leave no trace as a line.
            if self.whole || series.points.len() == 1 {
                dots(&mut inside, series, &place);
            }
        }
        let labels = [self.x_label.as_str(), self.y_label.as_str()];
        let svg = frame.svg(&self.title, labels, self.reference.as_ref(), &inside);
        let keys = self.series.iter().map(|s| (s.name.as_str(), s.colour));
        Some(figure(
            &self.title,
            &legend(keys, self.reference.as_ref()),
            &svg,
        ))
    }
}

fn path(
    out: &mut String,
    class: &str,
    index: usize,
    points: &[(f64, f64)],
    place: &impl Fn(&(f64, f64)) -> (f64, f64),
) {
    let (mut d, mut command) = (String::new(), 'M');
    for point in points {
        if drawable(point.0) && drawable(point.1) {
            let (x, y) = place(point);
            let _ = write!(d, "{command}{x:.1} {y:.1}");
            command = 'L';
        } else {
            command = 'M';
        }
    }
    if !d.is_empty() {
        let index = colour(index);
        let _ = writeln!(out, "<path class=\"{class} c{index}\" d=\"{d}\"/>");
    }
}

fn dots(out: &mut String, series: &LineSeries, place: &impl Fn(&(f64, f64)) -> (f64, f64)) {
    let index = colour(series.colour);
    for point in &series.points {
        if drawable(point.0) && drawable(point.1) {
            let (x, y) = place(point);
            let _ = writeln!(
                out,
                "<circle class=\"dot c{index}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[(f64, f64)]) -> LinePlot {
        LinePlot {
            title: "<loss> & more".into(),
            series: vec![LineSeries {
                name: "PT".into(),
                points: points.to_vec(),
                ..LineSeries::default()
            }],
            ..LinePlot::default()
        }
    }

    #[test]
    fn nothing_finite_is_no_figure() {
        assert_eq!(LinePlot::default().figure(), None);
        assert_eq!(plot(&[]).figure(), None);
        assert_eq!(
            plot(&[(0.0, f64::NAN), (f64::INFINITY, 1.0)]).figure(),
            None
        );
    }

    #[test]
    fn one_point_is_a_dot() {
        let figure = plot(&[(5.0, 2.0)]).figure().unwrap();
        assert_eq!(figure.matches("<circle").count(), 1);
        assert!(
            !figure.contains("NaN") && !figure.contains("inf"),
            "{figure}"
        );
    }

    #[test]
    fn a_gap_breaks_the_line_and_a_higher_value_lies_higher() {
        let points = [
            (0.0, 1.0),
            (1.0, 2.0),
            (2.0, f64::NAN),
            (3.0, 1.0),
            (4.0, 2.0),
        ];
        let figure = plot(&points).figure().unwrap();
        assert!(
            figure.contains("d=\"M46.0 236.0L171.0 36.0M421.0 236.0L546.0 36.0\""),
            "{figure}"
        );
        assert!(figure.contains("<title>&lt;loss&gt; &amp; more</title>"));
    }
}

//! What lines and bars share: size, grid, tick labels, axis labels.

use std::fmt::Write;

use super::{Axis, Reference, drawable};
use crate::report::escape::escape;

/// Width in user units; the page scales it.
pub(super) const WIDTH: f64 = 560.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 36.0;
const INNER: f64 = 200.0;
/// Room for tick labels, and for the label of the axis below them.
const BOTTOM: f64 = 28.0;
const LABEL: f64 = 19.0;

/// The area between the axes.
pub(super) struct Frame {
    pub y: Axis,
    /// Room for labels below the usual.
    pub deeper: f64,
}

impl Frame {
    pub fn width(&self) -> f64 {
        WIDTH - LEFT - RIGHT
    }

    /// Horizontal place of a share of the width.
    pub fn x(&self, share: f64) -> f64 {
        LEFT + share * self.width()
    }

    /// Vertical place of a value.
    pub fn y(&self, value: f64) -> f64 {
        TOP + INNER * (1.0 - self.y.share(value))
    }

    pub fn base(&self) -> f64 {
        TOP + INNER
    }

    /// The picture: grid and vertical axis, `inside` above them, `reference` on top.
    pub fn svg(
        &self,
        title: &str,
        [x_label, y_label]: [&str; 2],
        reference: Option<&Reference>,
        inside: &str,
    ) -> String {
        let below = if x_label.is_empty() { 0.0 } else { LABEL };
        let height = self.base() + BOTTOM + below + self.deeper;
        let (left, right) = (self.x(0.0), self.x(1.0));
        // Writing to a String cannot fail.
        let mut out = format!(
            "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {height:.0}\">\n<title>{}</title>\n",
            escape(title)
        );
        for (value, label) in self.y.labels() {
            let y = self.y(value);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{y:.1}\" dy=\".35em\" \
                 text-anchor=\"end\">{label}</text>",
                left - 8.0
            );
        }
        let _ = writeln!(
            out,
            "<text class=\"axis\" x=\"2\" y=\"4\" dy=\".8em\">{}</text>",
            escape(y_label)
        );
        if !x_label.is_empty() {
            let _ = writeln!(
                out,
                "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                right,
                height - 5.0,
                escape(x_label)
            );
        }
        out.push_str(inside);
        if let Some(line) = reference.filter(|line| drawable(line.value)) {
            let y = self.y(line.value);
            let _ = writeln!(
                out,
                "<path class=\"reference\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>"
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

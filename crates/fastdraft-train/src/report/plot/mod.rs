//! Line plots and grouped bars as inline SVG, coloured by the page's style sheet.

mod bars;
mod frame;
mod line;
mod scale;

pub use bars::{BarPlot, BarSeries};
pub use line::{LinePlot, LineSeries};
pub use scale::{Axis, Fit};

use super::escape::escape;

/// Colours of the style sheet, `c0` to `c5`; more series start again.
const COLOURS: usize = 6;

/// A horizontal line that others are read against.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Where it lies.
    pub value: f64,
    /// Said in the legend.
    pub name: String,
}

/// Beyond this a difference of two values could overflow; such values are not drawn.
const LARGEST: f64 = 1e100;

fn drawable(value: f64) -> bool {
    value.abs() <= LARGEST
}

fn colour(index: usize) -> usize {
    index % COLOURS
}

fn figure(title: &str, legend: &str, svg: &str) -> String {
    format!(
        "<figure>\n<figcaption>{}</figcaption>\n{legend}{svg}</figure>\n",
        escape(title)
    )
}

/// Empty when there is only one series and no line to tell from it.
fn legend<'a>(
    series: impl Iterator<Item = (&'a str, usize)>,
    reference: Option<&Reference>,
) -> String {
    let mut keys: Vec<String> = series
        .map(|(name, index)| {
            let class = colour(index);
            format!("<li><i class=\"c{class}\"></i>{}</li>", escape(name))
        })
        .collect();
    if let Some(line) = reference {
        keys.push(format!(
            "<li><i class=\"dash\"></i>{}</li>",
            escape(&line.name)
        ));
    }
    if keys.len() < 2 {
        return String::new();
    }
    format!("<ul class=\"legend\">{}</ul>\n", keys.concat())
}

//! Latency over depth as a picture of its own.

use std::fmt::Write;

use super::Report;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 64.0;
/// Grid lines of the vertical axis.
const LINES: usize = 5;

/// Milliseconds a token over blocks, measured and bound.
pub fn draw(report: &Report) -> String {
    let mut shapes: Vec<_> = report.shapes.iter().collect();
    shapes.sort_by_key(|shape| shape.layers);
    let (first, last) = match (shapes.first(), shapes.last()) {
        (Some(first), Some(last)) => (first.layers as f64, last.layers as f64),
        _ => (0.0, 1.0),
    };
    let highest = (shapes.iter())
        .map(|shape| shape.ms_per_token.max(shape.bound_ms))
        .fold(f64::MIN_POSITIVE, f64::max)
        * 1.1;
    let x = |layers: usize| {
        let span = (last - first).max(1.0);
        LEFT + (WIDTH - LEFT - RIGHT) * (layers as f64 - first) / span
    };
    let y = |ms: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ms / highest;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <title>Milliseconds a token over blocks</title>\n\
         <style>svg{{--paper:#fff;--ink:#1f2328;--grid:#d9dee3;--line:#0b62c4;--dot:#b5430e}}\
         @media(prefers-color-scheme:dark){{svg{{--paper:#15181c;--ink:#e8ebee;--grid:#333a42;\
         --line:#6cb0ff;--dot:#ff9a62}}}}text{{fill:var(--ink)}}.grid{{stroke:var(--grid)}}\
         path{{fill:none;stroke:var(--line);stroke-width:2}}circle{{fill:var(--line)}}\
         .best{{fill:var(--dot)}}.bound{{stroke-dasharray:4 4}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"var(--paper)\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"15\" font-weight=\"600\">Milliseconds a token at {:.1}M \
         parameters a pass, {}</text>\n\
         <text x=\"{LEFT}\" y=\"42\">dashed: weights over the bandwidth of memory</text>\n",
        report.budget as f64 / 1e6,
        report.dtype
    );
    // Writing to a String cannot fail.
    for line in 0..=LINES {
        let value = highest * line as f64 / LINES as f64;
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(value) + 4.0,
            at = y(value),
        );
    }
    for shape in &shapes {
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\">{}</text>",
            HEIGHT - BOTTOM + 18.0,
            shape.layers,
            HEIGHT - BOTTOM + 32.0,
            shape.hidden_size,
            at = x(shape.layers),
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">blocks, and the width that spends the budget</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0
    );
    let line = |class: &str, value: &dyn Fn(&super::Shape) -> f64| {
        let points: Vec<String> = (shapes.iter())
            .map(|shape| format!("{:.1} {:.1}", x(shape.layers), y(value(shape))))
            .collect();
        format!("<path class=\"{class}\" d=\"M{}\"/>\n", points.join("L"))
    };
    out.push_str(&line("bound", &|shape| shape.bound_ms));
    out.push_str(&line("measured", &|shape| shape.ms_per_token));
    let best = report.shapes.first().map_or(0, |shape| shape.layers);
    for shape in &shapes {
        let class = if shape.layers == best {
            " class=\"best\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "<circle{class} cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>",
            x(shape.layers),
            y(shape.ms_per_token)
        );
    }
    out.push_str("</svg>\n");
    out
}

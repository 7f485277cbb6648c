//! The roofline of a measured machine as an SVG file.

use std::fmt::Write;

use super::{GemmSize, Measurement};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 60.0;

/// Rate over arithmetic intensity, both logarithmic (Williams, Waterman and Patterson, CACM 52(4),
/// 2009): the roof is bandwidth × intensity up to the best rate of matrix products; each dot is a
/// measured product, each bar below a token count the intensity of a pass over that many tokens.
///
/// The file stands alone, and follows the reader's light or dark theme.
#[must_use]
pub fn roofline_svg(measurement: &Measurement) -> String {
    let bandwidth = measurement.bandwidth.bytes_per_second;
    let peak = measurement.best_gemm_rate();
    let axes = Axes::around(measurement, peak);
    let mut svg = String::with_capacity(8 << 10);
    let title = format!(
        "{}: {:.1} GB/s, {:.0} GFLOP/s in f32",
        escaped(&measurement.device),
        bandwidth / 1e9,
        peak / 1e9
    );
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="12">
<title>Roofline of {title}</title>
<style>
svg {{ --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --grid: #d9dee3; --roof: #0b62c4; --dot: #b5430e; }}
@media (prefers-color-scheme: dark) {{ svg {{ --paper: #15181c; --ink: #e8ebee; --soft: #a4adb6; --grid: #333a42; --roof: #6cb2ff; --dot: #ff9d66; }} }}
.paper {{ fill: var(--paper); }} .ink {{ fill: var(--ink); }} .soft {{ fill: var(--soft); }}
.grid {{ stroke: var(--grid); }} .roof {{ stroke: var(--roof); stroke-width: 2.5; fill: none; }}
.mark {{ stroke: var(--soft); stroke-dasharray: 3 3; }} .dot {{ fill: var(--dot); }}
.name {{ paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }}
</style>
<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>
<text class="ink" x="{LEFT}" y="24" font-size="15" font-weight="600">{title}</text>
"#
    );
    axes.grid(&mut svg);
    tokens(&mut svg, &axes);
    let ridge = peak / bandwidth;
    let _ = writeln!(
        svg,
        r#"<path class="roof" d="M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}"/>"#,
        axes.x(axes.least.0),
        axes.y(bandwidth * axes.least.0),
        axes.x(ridge),
        axes.y(peak),
        axes.x(axes.most.0),
        axes.y(peak),
    );
    dots(&mut svg, measurement, &axes);
    svg.push_str("</svg>\n");
    svg
}

/// Intensity of `tokens` rows against one large weight in f32: 2·tokens operations on 4 bytes.
fn pass_intensity(tokens: f64) -> f64 {
    tokens / 2.0
}

fn tokens(svg: &mut String, axes: &Axes) {
    for tokens in [1.0, 4.0, 16.0, 64.0, 256.0] {
        let x = axes.x(pass_intensity(tokens));
        let _ = writeln!(
            svg,
            r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{:.1}"/><text class="soft" x="{x:.1}" y="{:.1}" text-anchor="middle">{tokens}</text>"#,
            HEIGHT - BOTTOM,
            TOP - 6.0,
        );
    }
    let _ = writeln!(
        svg,
        r#"<text class="soft" x="{LEFT}" y="42">tokens of a pass whose weights come from memory:</text>"#
    );
}

fn dots(svg: &mut String, measurement: &Measurement, axes: &Axes) {
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    for rate in &measurement.gemm {
        let (x, y) = (axes.x(intensity(rate.size)), axes.y(rate.flops));
        let GemmSize {
            rows,
            inner,
            columns,
        } = rate.size;
        let name = if rows == inner && inner == columns {
            format!("{rows}³")
        } else {
            format!("{rows}×{inner}×{columns}")
        };
        // Below the dot, or further down where another label is.
        let half = name.chars().count() as f64 * 3.2;
        let mut label = y + 17.0;
        while taken
            .iter()
            .any(|(a, b, other)| (a - x).abs() < half + other && (b - label).abs() < 13.0)
        {
            label += 13.0;
        }
        taken.push((x, label, half));
        let _ = writeln!(
            svg,
            r#"<circle class="dot" cx="{x:.1}" cy="{y:.1}" r="4.5"><title>{name}: {:.1} GFLOP/s</title></circle><text class="ink name" x="{x:.1}" y="{label:.1}" text-anchor="middle" font-size="11">{name}</text>"#,
            rate.flops / 1e9
        );
    }
}

fn intensity(size: GemmSize) -> f64 {
    size.flops() / size.bytes()
}

/// Two logarithmic axes.
struct Axes {
    least: (f64, f64),
    most: (f64, f64),
}

impl Axes {
    fn around(measurement: &Measurement, peak: f64) -> Self {
        let rates = || measurement.gemm.iter();
        let low = rates().map(|rate| rate.flops).fold(peak, f64::min);
        let far = rates()
            .map(|rate| intensity(rate.size))
            .fold(pass_intensity(256.0), f64::max);
        Self {
            least: (0.25, decade_below(low / 2.0)),
            most: (far * 2.0, decade_below(peak * 1.5) * 10.0),
        }
    }

    fn x(&self, intensity: f64) -> f64 {
        let share = (intensity / self.least.0).ln() / (self.most.0 / self.least.0).ln();
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, rate: f64) -> f64 {
        let share = (rate / self.least.1).ln() / (self.most.1 / self.least.1).ln();
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, svg: &mut String) {
        let floor = HEIGHT - BOTTOM;
        let mut rate = self.least.1;
        while rate <= self.most.1 * 1.01 {
            let y = self.y(rate);
            let _ = writeln!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="soft" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                rate / 1e9
            );
            rate *= 10.0;
        }
        let mut intensity = self.least.0;
        while intensity <= self.most.0 {
            let x = self.x(intensity);
            let _ = writeln!(
                svg,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{floor}" y2="{:.1}"/><text class="soft" x="{x:.1}" y="{:.1}" text-anchor="middle">{intensity}</text>"#,
                floor + 5.0,
                floor + 19.0,
            );
            intensity *= 4.0;
        }
        let _ = writeln!(
            svg,
            r#"<text class="ink" x="{:.1}" y="{:.1}" text-anchor="middle">operations per byte</text><text class="ink" transform="translate(18 {:.1}) rotate(-90)" text-anchor="middle">GFLOP/s</text>"#,
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 16.0,
            f64::midpoint(TOP, floor),
        );
    }
}

fn decade_below(value: f64) -> f64 {
    10_f64.powf(value.max(1.0).log10().floor())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::{Bandwidth, GemmRate, PassModel, PassPoint, PassShape};
    use super::*;

    fn measurement() -> Measurement {
        let rate = |side, flops| GemmRate {
            size: GemmSize::square(side),
            flops,
        };
        let point = |width, tokens, seconds| PassPoint {
            shape: PassShape { layers: 1, width },
            tokens,
            seconds,
        };
        let passes = vec![point(64, 1, 1e-5), point(64, 4, 2e-5), point(128, 1, 4e-5)];
        Measurement {
            fingerprint: "f".to_owned(),
            device: "A <& B".to_owned(),
            runtime: "gemm".to_owned(),
            bandwidth: serde_json::from_str::<Bandwidth>(
                r#"{"bytes_per_second":2e10,"buffer_bytes":1,"threads":1}"#,
            )
            .unwrap(),
            gemm: vec![rate(64, 2e10), rate(1024, 1e11)],
            launch_overhead: 1e-7,
            pass_model: PassModel::fit(&passes).unwrap(),
            passes,
        }
    }

    #[test]
    fn the_ridge_is_where_bandwidth_meets_the_best_rate() {
        let measurement = measurement();
        let axes = Axes::around(&measurement, 1e11);
        let svg = roofline_svg(&measurement);
        let ridge = format!("L{:.1} {:.1}L", axes.x(5.0), axes.y(1e11));
        assert!(svg.contains(&ridge), "{ridge}");
        assert_eq!(svg.matches("<circle").count(), 2);
    }

    #[test]
    fn the_file_stands_alone_and_escapes_names() {
        let svg = roofline_svg(&measurement());
        assert!(svg.contains("A &lt;&amp; B") && !svg.contains("A <&"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(svg.matches("http").count(), 1, "only the namespace");
        assert!(svg.contains("prefers-color-scheme: dark"));
        for tag in ["svg", "title", "text", "style", "circle"] {
            let open = svg.matches(&format!("<{tag}")).count();
            let close = svg.matches(&format!("</{tag}>")).count();
            assert_eq!(open, close, "{tag}");
        }
    }
}

//! The plots of the page.

use super::{
    HtmlReport, StageSection,
    losses::{smooth, thin},
    plot::{BarPlot, BarSeries, LinePlot, LineSeries, Reference},
};
use crate::evaluate::TaskReport;

/// Points of a line, at most; more than a screen has columns.
const POINTS: usize = 800;

/// Speed-up of every task after every measured stage.
pub(super) fn speedup(report: &HtmlReport) -> Option<String> {
    let mut plot = by_task("Speed-up by task", "speed-up", report, |t| t.speedup);
    plot.reference = Some(plain_speed());
    plot.figure()
}

/// Acceptance rate of every task after every measured stage.
pub(super) fn acceptance(report: &HtmlReport) -> Option<String> {
    by_task("Acceptance rate by task", "AR", report, |t| {
        t.acceptance_rate
    })
    .figure()
}

/// Losses of all stages, one after the other.
pub(super) fn loss(report: &HtmlReport) -> Option<String> {
    let mut before = 0.0;
    let mut series = Vec::new();
    for (colour, stage) in report.stages.iter().enumerate() {
        let xs = (stage.losses.iter()).map(|p| before + p.tokens as f64);
        let ys: Vec<f64> = stage.losses.iter().map(|p| f64::from(p.loss)).collect();
        let smoothed = smooth(&ys, ys.len() / 25);
        let raw: Vec<(f64, f64)> = xs.clone().zip(ys).collect();
        let points: Vec<(f64, f64)> = xs.zip(smoothed).collect();
        before += stage.training.tokens as f64;
        series.push(LineSeries {
            name: stage.training.stage.clone(),
            points: thin(&points, POINTS),
            raw: thin(&raw, POINTS),
            colour,
        });
    }
    series.retain(|s| !s.points.is_empty());
    LinePlot {
        title: "Loss over tokens".into(),
        x_label: "tokens".into(),
        y_label: "loss".into(),
        series,
        ..LinePlot::default()
    }
    .figure()
}

/// Acceptance rate of every task against the tokens trained on; `None` below two measurements.
pub(super) fn acceptance_over_tokens(report: &HtmlReport) -> Option<String> {
    let measured = report.stages.iter().filter(|s| !s.tasks.is_empty());
    if measured.count() < 2 {
        return None;
    }
    let mut series: Vec<LineSeries> = Vec::new();
    let mut tokens = 0.0;
    for stage in &report.stages {
        tokens += stage.training.tokens as f64;
        for task in &stage.tasks {
            let point = (tokens, task.acceptance_rate);
            match series.iter_mut().find(|s| s.name == task.task) {
                Some(known) => known.points.push(point),
                None => series.push(LineSeries {
                    name: task.task.clone(),
                    points: vec![point],
                    raw: Vec::new(),
                    colour: series.len(),
                }),
            }
        }
    }
    LinePlot {
        title: "Acceptance rate over tokens, after each stage".into(),
        x_label: "tokens".into(),
        y_label: "AR".into(),
        series,
        whole: true,
        reference: None,
    }
    .figure()
}

/// Share of draft tokens accepted at each position, over all tasks.
pub(super) fn positions(report: &HtmlReport) -> Option<String> {
    let stages = report.stages.iter().enumerate();
    let series: Vec<BarSeries> = stages
        .map(|(colour, stage)| BarSeries {
            name: stage.training.stage.clone(),
            values: accepted_by_position(stage),
            colour,
        })
        .filter(|series| !series.values.is_empty())
        .collect();
    let longest = series.iter().map(|s| s.values.len()).max().unwrap_or(0);
    BarPlot {
        title: "Acceptance by position".into(),
        y_label: "accepted / drafted".into(),
        groups: (1..=longest).map(|i| format!("token {i}")).collect(),
        series,
        ..BarPlot::default()
    }
    .figure()
}

/// Speed-up over γ.
pub(super) fn gamma(report: &HtmlReport) -> Option<String> {
    let curves = report.speedup_by_gamma.iter().enumerate();
    LinePlot {
        title: "Speed-up by γ".into(),
        x_label: "γ".into(),
        y_label: "speed-up".into(),
        series: curves
            .map(|(colour, curve)| LineSeries {
                name: curve.name.clone(),
                points: curve.points.iter().map(|(g, s)| (*g as f64, *s)).collect(),
                raw: Vec::new(),
                colour,
            })
            .collect(),
        whole: true,
        reference: Some(plain_speed()),
    }
    .figure()
}

/// Time of a pass over the depth of drafts of one budget.
pub(super) fn shape_latency(report: &HtmlReport) -> Option<String> {
    let times = report
        .shapes
        .iter()
        .map(|row| (row.layers, row.latency * 1e3));
    by_depth("Draft shapes: time of a pass by depth", "ms", times)
}

/// Acceptance rate over the depth of drafts of one budget.
pub(super) fn shape_acceptance(report: &HtmlReport) -> Option<String> {
    let rates = (report.shapes.iter()).filter_map(|row| Some((row.layers, row.acceptance_rate?)));
    by_depth("Draft shapes: acceptance rate by depth", "AR", rates)
}

fn by_depth(
    title: &str,
    y_label: &str,
    points: impl Iterator<Item = (usize, f64)>,
) -> Option<String> {
    let mut points: Vec<(f64, f64)> = points.map(|(depth, y)| (depth as f64, y)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    LinePlot {
        title: title.into(),
        x_label: "blocks".into(),
        y_label: y_label.into(),
        series: vec![LineSeries {
            points,
            ..LineSeries::default()
        }],
        whole: true,
        reference: None,
    }
    .figure()
}

fn plain_speed() -> Reference {
    Reference {
        value: 1.0,
        name: "plain decoding".into(),
    }
}

fn by_task(
    title: &str,
    y_label: &str,
    report: &HtmlReport,
    value: impl Fn(&TaskReport) -> f64,
) -> BarPlot {
    let mut groups: Vec<String> = Vec::new();
    for task in report.stages.iter().flat_map(|s| &s.tasks) {
        if !groups.contains(&task.task) {
            groups.push(task.task.clone());
        }
    }
    let of = |stage: &StageSection, name: &String| {
        let task = stage.tasks.iter().find(|t| t.task == *name);
        task.map_or(f64::NAN, &value)
    };
    let series = (report.stages.iter().enumerate())
        .filter(|(_, stage)| !stage.tasks.is_empty())
        .map(|(colour, stage)| BarSeries {
            name: stage.training.stage.clone(),
            values: groups.iter().map(|name| of(stage, name)).collect(),
            colour,
        })
        .collect();
    BarPlot {
        title: title.into(),
        y_label: y_label.into(),
        groups,
        series,
        reference: None,
    }
}

fn accepted_by_position(stage: &StageSection) -> Vec<f64> {
    let mut counts: Vec<(f64, f64)> = Vec::new();
    for task in &stage.tasks {
        let longest = counts.len().max(task.draft_position.len());
        counts.resize(longest, (0.0, 0.0));
        for (sum, (drafted, accepted)) in counts.iter_mut().zip(&task.draft_position) {
            sum.0 += *drafted as f64;
            sum.1 += *accepted as f64;
        }
    }
    let shares = counts.into_iter();
    shares
        .map(|(drafted, accepted)| accepted / drafted)
        .collect()
}

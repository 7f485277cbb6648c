//! The page itself: one file without scripts, fonts or images from elsewhere.

use std::fmt::Write;

use super::{
    HtmlReport, StageSection,
    escape::escape,
    figures,
    number::{NONE, count, fixed, seconds, size},
};
use crate::evaluate::TaskReport;

const STYLE: &str = include_str!("style.css");

const LOSS_NOTE: &str = "<p class=\"soft\">Thin: every step. Thick: mean of neighbouring steps. \
     Stages that minimise different losses cannot be compared.</p>\n";

/// On a phone each cell carries its column's name; the roles keep the table one for a screen
/// reader when the style lays it out as blocks.
const COLUMNS: [&str; 9] = [
    "task",
    "prompts",
    "AR",
    "τ",
    "MBSU",
    "plain tok/s",
    "speculative tok/s",
    "speed-up",
    "decode speed-up",
];

const TERMS: [(&str, &str); 7] = [
    (
        "AR",
        "Acceptance rate: the share of the draft’s tokens that the target accepted.",
    ),
    (
        "τ",
        "Block efficiency: tokens emitted for each pass over the target, its own included; \
         at most γ + 1.",
    ),
    (
        "MBSU",
        "Memory-bound speed-up, τ / (cγ + 1): the speed-up if a pass cost only the reading of \
         weights. c is the draft’s size over the target’s.",
    ),
    (
        "plain tok/s",
        "Tokens a second without a draft, the prompt’s processing included.",
    ),
    (
        "speculative tok/s",
        "Tokens a second with the draft, the prompt’s processing included.",
    ),
    (
        "speed-up",
        "Speculative over plain, wall clock on this machine. Below 1× the draft costs more time \
         than it saves.",
    ),
    (
        "decode speed-up",
        "The same behind the prompt, from the end of the first pass on.",
    ),
];

impl HtmlReport {
    /// The page: HTML with inline style and SVG plots.
    #[must_use]
    pub fn page(&self) -> String {
        // A path or a repository is in full below.
        let target = (self.target.rsplit(['/', '\\']))
            .find(|part| !part.is_empty())
            .unwrap_or("a target");
        let title = escape(&format!("A draft for {target}"));
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>{title}</h1>\n"
        );
        self.facts_list(&mut out);
        let measured = (self.stages.iter().rev()).find(|s| !s.tasks.is_empty());
        if let Some(text) = measured.and_then(lead) {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "<p class=\"lead\">{text}</p>");
        }
        out.push_str("</header>\n<main>\n");
        let results = [
            figures::speedup(self),
            figures::gamma(self),
            figures::acceptance(self),
            figures::positions(self),
            figures::shape_latency(self),
            figures::shape_acceptance(self),
        ];
        let results: String = results.into_iter().flatten().collect();
        if !results.is_empty() {
            let _ = write!(out, "<section>\n<h2>Measured</h2>\n{results}</section>\n");
        }
        let loss = figures::loss(self).map(|figure| figure + LOSS_NOTE);
        let training = [loss, figures::acceptance_over_tokens(self)];
        let training: String = training.into_iter().flatten().collect();
        if !training.is_empty() {
            let _ = write!(out, "<section>\n<h2>Training</h2>\n{training}</section>\n");
        }
        for stage in &self.stages {
            section(&mut out, stage);
        }
        if measured.is_some() {
            out.push_str("<section>\n<h2>What the columns mean</h2>\n<dl class=\"terms\">\n");
            for (term, meaning) in TERMS {
                let _ = writeln!(out, "<div><dt>{term}</dt><dd>{meaning}</dd></div>");
            }
            out.push_str("</dl>\n</section>\n");
        }
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }

    fn facts_list(&self, out: &mut String) {
        let mut facts: Vec<(&str, String)> = Vec::new();
        let models = [
            ("Target", &self.target, self.target_parameters),
            ("Draft", &self.draft, self.draft_parameters),
        ];
        for (name, model, parameters) in models {
            let small = parameters.map_or(String::new(), |count| {
                format!("<small>{} parameters a pass</small>", size(count))
            });
            facts.push((name, escape(model) + &small));
        }
        facts.push(("γ", self.gamma.map_or(String::new(), count)));
        let set = self.temperature.map_or(String::new(), temperature);
        facts.push(("Temperature", set));
        let more = self.facts.iter();
        facts.extend(more.map(|(name, value)| (name.as_str(), escape(value))));
        facts.retain(|(_, value)| !value.is_empty());
        if facts.is_empty() {
            return;
        }
        out.push_str("<dl class=\"facts\">\n");
        for (name, value) in facts {
            let name = escape(name);
            let _ = writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        out.push_str("</dl>\n");
    }
}

fn temperature(value: f64) -> String {
    if value == 0.0 {
        "0 (greedy)".into()
    } else if value.is_finite() {
        value.to_string()
    } else {
        NONE.into()
    }
}

/// The outcome in a sentence; `None` when no speed-up is a number.
fn lead(stage: &StageSection) -> Option<String> {
    let finite = || stage.tasks.iter().filter(|t| t.speedup.is_finite());
    let least = finite().min_by(|a, b| a.speedup.total_cmp(&b.speedup))?;
    let most = finite().max_by(|a, b| a.speedup.total_cmp(&b.speedup))?;
    let (all, faster) = (
        finite().count(),
        finite().filter(|t| t.speedup > 1.0).count(),
    );
    let of = |task: &TaskReport| format!("{}× on {}", fixed(task.speedup, 2), escape(&task.task));
    let name = escape(&stage.training.stage);
    if all == 1 {
        return Some(format!("Speed-up after {name}: {}.", of(most)));
    }
    let verdict = match faster {
        0 => "no task".to_owned(),
        n if n == all => format!("all {all} tasks"),
        n => format!("{n} of {all} tasks"),
    };
    Some(format!(
        "After {name}, speculative decoding is faster than plain decoding on {verdict}: \
         from {} to {}.",
        of(least),
        of(most)
    ))
}

fn section(out: &mut String, stage: &StageSection) {
    let t = &stage.training;
    let _ = write!(
        out,
        "<section>\n<h2>{}</h2>\n<p class=\"soft\">{} steps, {} tokens, {}. Mean loss of the \
         first tenth of the steps {}, of the last tenth {}.</p>\n",
        escape(&t.stage),
        count(t.steps),
        count(t.tokens),
        seconds(t.seconds),
        fixed(f64::from(t.first_loss), 3),
        fixed(f64::from(t.last_loss), 3),
    );
    if !stage.tasks.is_empty() {
        out.push_str("<div class=\"scroll\"><table role=\"table\">\n<thead><tr role=\"row\">");
        for name in COLUMNS {
            let _ = write!(out, "<th scope=\"col\" role=\"columnheader\">{name}</th>");
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for task in &stage.tasks {
            row(out, task);
        }
        out.push_str("</tbody>\n</table></div>\n");
    }
    out.push_str("</section>\n");
}

fn row(out: &mut String, t: &TaskReport) {
    let times = |value: f64| {
        if value.is_finite() {
            format!("{}×", fixed(value, 2))
        } else {
            NONE.to_owned()
        }
    };
    let cells = [
        escape(&t.task),
        count(t.prompts),
        fixed(t.acceptance_rate, 3),
        fixed(t.block_efficiency, 2),
        fixed(t.mbsu, 2),
        fixed(t.plain_tokens_per_s, 1),
        fixed(t.speculative_tokens_per_s, 1),
        times(t.speedup),
        times(t.decode.speedup),
    ];
    out.push_str("<tr role=\"row\">");
    for (name, cell) in COLUMNS.iter().zip(cells) {
        let _ = write!(out, "<td role=\"cell\" data-column=\"{name}\">{cell}</td>");
    }
    out.push_str("</tr>\n");
}

//! Tables for a terminal, a page for a browser and JSON for programs.

mod escape;
mod figures;
mod html;
mod losses;
mod number;
mod page;
pub mod plot;
mod shapes;

use std::{fmt::Write, io, path::Path};

use serde::Serialize;

pub use html::{GammaCurve, HtmlReport, StageSection};
pub use losses::{LossPoint, stages_of_metrics};
pub use shapes::{RunReport, ShapeRow};

use crate::{error::TrainError, evaluate::TaskReport};

/// A table of tasks, one a line.
///
/// ```
/// use fastdraft_train::report::table;
/// assert!(table(&[]).starts_with("task"));
/// ```
#[must_use]
pub fn table(tasks: &[TaskReport]) -> String {
    let mut out = format!(
        "{:<14} {:>7} {:>6} {:>15} {:>6} {:>6} {:>12} {:>12} {:>9} {:>8}\n",
        "task",
        "prompts",
        "AR",
        "95 % interval",
        "τ",
        "MBSU",
        "plain tok/s",
        "spec. tok/s",
        "speed-up",
        "decode"
    );
    for t in tasks {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:<14} {:>7} {:>6.3} {:>15} {:>6.2} {:>6.2} {:>12.1} {:>12.1} {:>8.2}× {:>7.2}×",
            t.task,
            t.prompts,
            t.acceptance_rate,
            interval(t),
            t.block_efficiency,
            t.mbsu,
            t.plain_tokens_per_s,
            t.speculative_tokens_per_s,
            t.speedup,
            t.decode.speedup
        );
    }
    out
}

fn interval(task: &TaskReport) -> String {
    match task.acceptance_interval {
        Some((low, high)) => format!("{low:.3} to {high:.3}"),
        None => "-".into(),
    }
}

/// The same table in Markdown.
///
/// ```
/// use fastdraft_train::report::markdown;
/// assert!(markdown(&[]).starts_with("| task |"));
/// ```
#[must_use]
pub fn markdown(tasks: &[TaskReport]) -> String {
    let mut out = String::from(
        "| task | prompts | AR | 95 % interval | τ | MBSU | plain tok/s | speculative tok/s | speed-up | decode speed-up |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for t in tasks {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {:.3} | {} | {:.2} | {:.2} | {:.1} | {:.1} | {:.2}× | {:.2}× |",
            t.task,
            t.prompts,
            t.acceptance_rate,
            interval(t),
            t.block_efficiency,
            t.mbsu,
            t.plain_tokens_per_s,
            t.speculative_tokens_per_s,
            t.speedup,
            t.decode.speedup
        );
    }
    out
}

/// Writes JSON in one rename, so that a reader never sees half a file.
///
/// # Errors
/// [`TrainError::Io`] naming `path`.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    write_whole(path, |file| {
        serde_json::to_writer_pretty(file, value).map_err(io::Error::from)
    })
}

/// Writes the page in one rename, so that a reader never sees half a file.
///
/// # Errors
/// [`TrainError::Io`] naming `path`.
pub fn write_html(path: &Path, report: &HtmlReport) -> Result<(), TrainError> {
    write_whole(path, |file| {
        io::Write::write_all(file, report.page().as_bytes())
    })
}

fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut tempfile::NamedTempFile) -> io::Result<()>,
) -> Result<(), TrainError> {
    let io = |source: io::Error| TrainError::Io {
        path: path.to_owned(),
        source,
    };
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // A temporary file is private unless told otherwise; the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(parent).map_err(io)?;
    write(&mut file).map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

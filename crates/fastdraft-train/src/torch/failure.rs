//! What a run that failed left on its error stream.

/// The last lines that say something, joined again.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The rank that `torchrun` names as the first to fail, and how it ended.
///
/// Its summary has a section `Root Cause` with lines such as `rank      : 1 (local_rank: 1)` and
/// `exitcode  : -9 (pid: 4021)`; a negative code is a signal.
pub(super) fn root_cause(text: &str) -> Option<(usize, i32)> {
    let section = text.split("Root Cause").nth(1)?;
    let field = |name: &str| {
        let line = (section.lines()).find(|line| line.trim_start().starts_with(name))?;
        line.split(':').nth(1)?.split_whitespace().next()
    };
    Some((
        field("rank")?.parse().ok()?,
        field("exitcode")?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rank_that_failed() {
        let text = "Root Cause (first observed failure):\n[0]:\n  time      : 2026-01-01_10:00:00\n  \
                    host      : a\n  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 77)\n";
        assert_eq!(root_cause(text), Some((1, -9)));
        assert_eq!(root_cause("Root Cause: none"), None);
        assert_eq!(root_cause("fine"), None);
    }

    #[test]
    fn empty_lines_are_left_out() {
        assert_eq!(last_lines("a\n\nb\n  \nc\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}

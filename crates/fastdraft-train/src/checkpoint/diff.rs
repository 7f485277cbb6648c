//! Which lines of a recipe changed.

/// Lines that only one text has: `-` for the old one's, `+` for the new one's.
pub(crate) fn lines(old: &str, new: &str) -> String {
    let only = |sign: char, from: &str, other: &str| -> Vec<String> {
        let other: Vec<&str> = other.lines().collect();
        (from.lines().filter(|line| !other.contains(line)))
            .map(|line| format!("{sign} {line}"))
            .collect()
    };
    let mut all = only('-', old, new);
    all.extend(only('+', new, old));
    if all.is_empty() {
        // The same lines in another order.
        return "the order of lines".into();
    }
    all.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_with_their_side() {
        assert_eq!(lines("a = 1\nb = 2", "a = 1\nb = 3"), "- b = 2\n+ b = 3");
        assert_eq!(lines("a\nb", "b\na"), "the order of lines");
    }
}

//! Numbers for a reader.

/// What stands for a number that there is not.
pub(super) const NONE: &str = "–";

/// A number with a fixed count of decimals.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    if value.abs() >= 1e9 {
        return format!("{value:.2e}");
    }
    format!("{value:.decimals$}")
}

/// A count with its thousands apart.
pub(super) fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in millions or billions.
pub(super) fn size(value: usize) -> String {
    match value as f64 {
        v if v >= 1e9 => format!("{:.2} B", v / 1e9),
        v if v >= 1e6 => format!("{:.1} M", v / 1e6),
        _ => count(value),
    }
}

/// A span of time.
pub(super) fn seconds(value: f64) -> String {
    if !(0.0..1e9).contains(&value) {
        return NONE.to_owned();
    }
    let whole = value.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{value:.1} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(fixed(0.12345, 3), "0.123");
        assert_eq!(fixed(f64::NAN, 3), NONE);
        assert_eq!(fixed(f64::MAX, 2), "1.80e308");
        assert_eq!(
            [count(0), count(999), count(1_234_567)],
            ["0", "999", "1,234,567"]
        );
        assert_eq!(
            [size(134_515_008), size(8_030_000_000)],
            ["134.5 M", "8.03 B"]
        );
        assert_eq!(seconds(108.15), "1 min 48 s");
        assert_eq!([seconds(0.31), seconds(7384.0)], ["0.3 s", "2 h 03 min"]);
        assert_eq!([seconds(-1.0), seconds(f64::INFINITY)], [NONE, NONE]);
    }
}

//! Durations as people write them.

use crate::error::HwError;

/// Hours in `24h`, `90m`, `3600s` or `2d`; a fraction is fine.
///
/// ```
/// assert_eq!(fastdraft_hw::report::hours("1.5d")?, 36.0);
/// # Ok::<(), fastdraft_hw::HwError>(())
/// ```
///
/// # Errors
///
/// [`HwError::InvalidPlan`] with the accepted forms.
pub fn hours(text: &str) -> Result<f64, HwError> {
    let wrong = || HwError::InvalidPlan {
        path: "budget".to_owned(),
        reason: format!("`{text}` is not a duration such as 24h, 90m, 3600s or 2d"),
    };
    let unit = match text.bytes().last() {
        Some(b's') => 1.0 / 3600.0,
        Some(b'm') => 1.0 / 60.0,
        Some(b'h') => 1.0,
        Some(b'd') => 24.0,
        _ => return Err(wrong()),
    };
    let number = &text[..text.len() - 1];
    // `f64::from_str` alone would take `inf`, `1e3` and `+1`.
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(wrong());
    }
    let hours = number.parse::<f64>().map_err(|_| wrong())? * unit;
    if hours.is_finite() && hours > 0.0 {
        Ok(hours)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_nonsense() {
        assert_eq!(hours("24h"), Ok(24.0));
        assert_eq!(hours("90m"), Ok(1.5));
        assert_eq!(hours("1800s"), Ok(0.5));
        assert_eq!(hours("2d"), Ok(48.0));
        for text in [
            "", "h", "24", "0h", "-1h", "infh", "1e9h", "1.2.3h", "24 h", "é",
        ] {
            assert!(hours(text).is_err(), "{text}");
        }
    }
}

//! How long to wait before asking again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::hash::mix;

/// Doubles with each attempt up to a limit; the upper half is left to chance, so that many
/// clients do not come back at once.
pub(super) fn delay(attempt: u32, first: Duration, limit: Duration, chance: u64) -> Duration {
    let doubled = first.saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX));
    let half = doubled.min(limit) / 2;
    half + half.mul_f64((mix(chance) >> 11) as f64 / (1u64 << 53) as f64)
}

/// The value of a `Retry-After` header: seconds, or a date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(http_date(value)?))?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(value: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let parts: Vec<&str> = value.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else {
        return None;
    };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let place = MONTHS.find(*month).filter(|place| place % 3 == 0)?;
    let month = place as u64 / 3 + 1;
    if !(1970..10_000).contains(&year) || !(1..32).contains(&day) {
        return None;
    }
    let clock: Vec<u64> = time
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [hour, minute, second] = clock.as_slice() else {
        return None;
    };
    // Years begin in March, so that the leap day is the last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    (*hour < 24 && *minute < 60 && *second < 61)
        .then(|| days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_vary() {
        let (first, limit) = (Duration::from_millis(100), Duration::from_secs(1));
        for attempt in 0..70 {
            let full = (100u64 << attempt.min(20)).min(1000);
            for chance in 0..20 {
                let wait = delay(attempt, first, limit, chance).as_millis() as u64;
                assert!((full / 2..=full).contains(&wait), "{attempt}: {wait}");
            }
        }
        assert_ne!(delay(3, first, limit, 1), delay(3, first, limit, 2));
    }

    #[test]
    fn seconds_and_dates() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        let after = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(after(" 7 "), Some(7));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(after("Sun, 06 Nov 1993 08:49:37 GMT"), Some(0));
        for bad in [
            "",
            "soon",
            "-1",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }
}

//! Times and sizes as people say them.

use super::paint::Paint;
use std::fmt::Write;

/// `1 hour, 2 minutes, 3 seconds`; parts that are zero are left out, nothing at all is `0 seconds`. A year has 365 days.
pub(crate) fn duration(seconds: u64, paint: Paint) -> String {
    const UNITS: [(u64, &str); 5] =
        [(365 * 86_400, "year"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = seconds;
    let mut text = String::new();
    for (length, unit) in UNITS {
        let count = rest / length;
        rest %= length;
        if count > 0 || (length == 1 && text.is_empty()) {
            let comma = if text.is_empty() { "" } else { ", " };
            let plural = if count == 1 { "" } else { "s" };
            let _ = write!(text, "{comma}{count} {}", paint.cyan(format_args!("{unit}{plural}")));
        }
    }
    text
}

/// `180 B`, `1.50 KiB`, and so on to TiB: powers of 1,024 with two digits, as `wg show` prints them.
pub(crate) fn bytes(count: u64, paint: Paint) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match UNITS.into_iter().find(|(shift, _)| count >> shift > 0) {
        // For showing only: 53 bits of a count are more than two digits after the point.
        Some((shift, unit)) => format!("{:.2} {}", count as f64 / (1_u64 << shift) as f64, paint.cyan(unit)),
        None => format!("{count} {}", paint.cyan("B")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (63, "1 minute, 3 seconds"),
            (3_600, "1 hour"),
            (86_400 + 59, "1 day, 59 seconds"),
            (31_536_000 * 2 + 86_400 * 364 + 86_399, "2 years, 364 days, 23 hours, 59 minutes, 59 seconds"),
        ] {
            assert_eq!(duration(seconds, Paint::PLAIN), text);
        }
        assert_eq!(duration(2, Paint::COLOURED), "2 \x1b[36mseconds\x1b[0m");
    }

    #[test]
    fn sizes() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.00 KiB"),
            (1_536, "1.50 KiB"),
            (1_048_575, "1024.00 KiB"),
            (5 << 20, "5.00 MiB"),
            (3 << 30, "3.00 GiB"),
            (1 << 40, "1.00 TiB"),
            (u64::MAX, "16777216.00 TiB"),
        ] {
            assert_eq!(bytes(count, Paint::PLAIN), text);
        }
    }
}

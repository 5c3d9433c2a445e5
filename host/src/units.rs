//! Sizes and durations as people write them: "64MiB", "500ms".
//!
//! A size without a unit is in bytes. A duration needs a unit, since nobody guesses which one was meant.

use std::time::Duration;

/// Units of size with their factors. Decimal and binary units are told apart, as IEC 80000-13 does.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// Units of time with their factors in nanoseconds.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses a size such as `64MiB`, `1.5GB` or `65536` into bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let unit = unit.to_ascii_lowercase();
    let factor = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor);
    factor
        .and_then(|factor| scale(number, factor))
        .ok_or_else(|| format!("\"{text}\" is not a size; write it as 64MiB, 64MB or in bytes"))
}

/// Parses a duration such as `500ms`, `1.5s` or `2m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor);
    factor
        .and_then(|factor| scale(number, factor))
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("\"{text}\" is not a duration; write it as 500ms, 10s or 2m"))
}

/// Splits "64 MiB" into "64" and "MiB".
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// The decimal number times the factor, in integer arithmetic, or nothing when it is no number or does not fit.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        None => (number, ""),
        Some((whole, fraction)) if !fraction.is_empty() && fraction.len() <= 9 => (whole, fraction),
        Some(_) => return None,
    };
    let whole_units = u128::from(whole.parse::<u64>().ok()?) * u128::from(factor);
    let mut units = whole_units;
    if !fraction.is_empty() {
        let digits = u128::from(fraction.parse::<u64>().ok()?);
        units += digits * u128::from(factor) / 10u128.pow(fraction.len() as u32);
    }
    u64::try_from(units).ok()
}

/// A size for people, exact when it is a multiple of a unit: `64 MiB`, `1.5 KiB`, `512 B`.
pub fn format_size(bytes: u64) -> String {
    let (name, factor) = match bytes {
        0..1024 => return format!("{bytes} B"),
        1024..0x10_0000 => ("KiB", 1u64 << 10),
        0x10_0000..0x4000_0000 => ("MiB", 1 << 20),
        _ => ("GiB", 1 << 30),
    };
    if bytes.is_multiple_of(factor) {
        format!("{} {name}", bytes / factor)
    } else {
        format!("{:.1} {name}", bytes as f64 / factor as f64)
    }
}

/// A duration for people, three digits at most: `3.2 us`, `14 ms`, `2 m 5 s`.
pub fn format_duration(duration: Duration) -> String {
    let ns = duration.as_nanos() as f64;
    let (value, unit) = match duration.as_nanos() {
        0..1_000 => (ns, "ns"),
        1_000..1_000_000 => (ns / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns / 1e6, "ms"),
        1_000_000_000..60_000_000_000 => (ns / 1e9, "s"),
        _ => {
            let seconds = duration.as_secs();
            return format!("{} m {} s", seconds / 60, seconds % 60);
        }
    };
    if value < 9.95 && value.fract() != 0.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("64MB", 64_000_000),
            ("1.5GiB", 3 << 29),
            ("1B", 1),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1e3",
            "64M",
            "64 MiB MiB",
            "1.",
            ".5MiB",
            "1.2.3",
            "18446744073709551616",
            "99999999999GiB",
            "٣",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, ns) in [
            ("500ms", 500_000_000),
            ("10s", 10_000_000_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("7us", 7_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "10 parsecs", "1d", "999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn formats() {
        assert_eq!(format_size(1023), "1023 B");
        assert_eq!(format_size(1536), "1.5 KiB");
        assert_eq!(format_size(64 << 20), "64 MiB");
        assert_eq!(format_size(5 << 30), "5 GiB");
        assert_eq!(format_duration(Duration::from_nanos(3200)), "3.2 us");
        assert_eq!(format_duration(Duration::from_millis(14)), "14 ms");
        assert_eq!(format_duration(Duration::from_secs(125)), "2 m 5 s");
    }
}

//! Values that many sections have, from their text.

use std::{net::SocketAddr, time::Duration};

use waypost_mail::{Address, Domain};

/// Longest duration: ten years. Points in time far beyond it could not be reckoned with.
const DURATION_SECONDS_MAX: u64 = 3_650 * 86_400;
/// Longest wait before an error or a greeting is told.
const ERROR_DELAY_MAX: Duration = Duration::from_secs(60);

pub(crate) fn domain(text: &str) -> Result<Domain, String> {
    Domain::new(text).map_err(|_| format!("{text:?} is not a domain"))
}

pub(crate) fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|problem| format!("{text:?} is not an address: {problem}"))
}

pub(crate) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address with a port, like 0.0.0.0:25 or [::]:25"))
}

/// A longer one would hold sessions, and with them connections, longer than an attacker's patience is worth.
pub(crate) fn short(text: &str) -> Result<Duration, String> {
    let delay = duration(text)?;
    if delay <= ERROR_DELAY_MAX { Ok(delay) } else { Err("it is at most 1 minute".to_owned()) }
}

/// Reads a duration: `90s`, `5m`, `4h`, `14d`, `2w`, or `0`. Errors: a sentence.
pub fn duration(text: &str) -> Result<Duration, String> {
    let problem = || {
        format!(
            "{text:?} is no duration: write a number and a unit, like \"90s\", \"5m\", \"4h\", \"14d\" or \"2w\""
        )
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(problem)?);
    let seconds: u64 = match unit.trim_start() {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(problem()),
    };
    let number: u64 = number.parse().map_err(|_| problem())?;
    let seconds = number.checked_mul(seconds).ok_or_else(problem)?;
    if seconds > DURATION_SECONDS_MAX {
        return Err(format!("{text:?} is longer than ten years (3650d)"));
    }
    Ok(Duration::from_secs(seconds))
}

/// Reads a size in bytes: `512 KiB`, `50 MiB`, `5 GiB`, `1 TiB`, also with powers of ten (`50 MB`) or plain.
pub fn size(text: &str) -> Result<u64, String> {
    let problem = || format!("{text:?} is no size: write a number and a unit, like \"50 MiB\" or \"5 GiB\"");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(problem()),
    };
    let number: u64 = number.parse().map_err(|_| problem())?;
    number.checked_mul(factor).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2w"), Ok(Duration::from_secs(14 * 86_400)));
        assert_eq!(size("50 MiB"), Ok(50 << 20));
        assert_eq!(size("50MB"), Ok(50_000_000));
        assert_eq!(size("7"), Ok(7));
        assert!(duration("3650d").is_ok() && duration("3651d").is_err());
        for text in ["", "m", "5", "5 years", "-5m", "99999999999999999999d", "18446744073709551615w"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "5 XiB", "-1", "99999999999 TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}

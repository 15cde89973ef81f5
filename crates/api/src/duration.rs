//! A span of time as Kubernetes users write it.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A non-negative span of whole seconds, written like Go's `time.Duration`, as everywhere in
/// Kubernetes: `90s`, `2m`, `1h30m`. A bare number is refused, because its unit would be a guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    seconds: u32,
}

/// A duration that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationError(String);

impl Duration {
    /// A span of this many seconds.
    pub const fn from_seconds(seconds: u32) -> Self {
        Self { seconds }
    }

    /// Its length in seconds.
    pub const fn seconds(self) -> u32 {
        self.seconds
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let error = || DurationError(text.to_owned());
        let mut total = 0_u32;
        let mut rest = text;
        while let Some(unit_at) = rest.find(|c: char| !c.is_ascii_digit()) {
            let count: u32 = rest[..unit_at].parse().map_err(|_| error())?;
            let unit = match rest.as_bytes()[unit_at] {
                b'h' => 3600,
                b'm' => 60,
                b's' => 1,
                _ => return Err(error()),
            };
            total = count.checked_mul(unit).and_then(|s| total.checked_add(s)).ok_or_else(error)?;
            rest = &rest[unit_at + 1..];
        }
        if text.is_empty() || !rest.is_empty() {
            return Err(error());
        }
        Ok(Self { seconds: total })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.seconds)
    }
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a duration in whole seconds such as 90s, 2m or 1h30m", self.0)
    }
}

impl std::error::Error for DurationError {}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+(h|m|s))+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_spelling() {
        for (text, seconds) in [("90s", 90), ("2m", 120), ("1h30m", 5400), ("0s", 0), ("1m1s", 61)]
        {
            assert_eq!(text.parse(), Ok(Duration::from_seconds(seconds)), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in ["", "90", "s", "-1s", "1.5s", "10ms", "1d", "99999999999s", "2000000h", "1s ü"]
        {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}

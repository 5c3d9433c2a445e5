//! The configuration of a function: its limits, its environment and how it is initialised.
//!
//! One table, [`FunctionConfig::set`], knows every setting, for the admin API's query and the command line alike.

use crate::units::{format_duration, format_size, parse_duration, parse_size};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a function may use and how it is set up. Part of a version: changing it makes another version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionConfig {
    /// The most linear memory, in bytes.
    pub memory_bytes: u64,
    /// The most elements of a table.
    pub table_elements: u64,
    /// The guest's call stack, in bytes.
    pub stack_bytes: usize,
    /// CPU time of one call.
    #[serde(rename = "cpu_us", with = "microseconds")]
    pub cpu: Duration,
    /// Wall-clock time of one call.
    #[serde(rename = "timeout_us", with = "microseconds")]
    pub timeout: Duration,
    /// Variables of the environment, beside those that describe the request.
    pub env: BTreeMap<String, String>,
    /// Whether initialisation may draw entropy and read clocks, which are then the same in every instance.
    pub init_entropy: bool,
    /// The most calls that wait for a turn; further ones are answered 503.
    pub queue_max: u32,
    /// The most calls in progress at a time.
    pub concurrency_max: u32,
}

/// The most linear memory a function can be given: all a 32-bit memory can have.
pub const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// The least and the most stack a function can be given.
pub const STACK_BYTES_MIN: usize = 64 << 10;
pub const STACK_BYTES_MAX: usize = 1 << 20;
/// The most elements a table can be given: [`dormouse::layout::STATE_BYTES_MAX`] holds no more.
pub const TABLE_ELEMENTS_MAX: u64 =
    dormouse::layout::STATE_BYTES_MAX / dormouse::layout::TABLE_ENTRY_BYTES;
/// The longest a call may be allowed to take.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(3600);
/// Bytes all variables of the environment may take together; they are copied into every instance that asks.
pub const ENV_BYTES_MAX: usize = 64 << 10;

impl Default for FunctionConfig {
    /// The defaults of production: room for an ordinary program, none for a runaway.
    fn default() -> FunctionConfig {
        FunctionConfig {
            memory_bytes: 128 << 20,
            table_elements: 100_000,
            stack_bytes: 512 << 10,
            cpu: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            env: BTreeMap::new(),
            init_entropy: false,
            queue_max: 1000,
            concurrency_max: 100,
        }
    }
}

/// The settings as people write them, with what each takes.
pub const SETTINGS: [(&str, &str); 9] = [
    ("memory", "most linear memory, as 64MiB"),
    ("table", "most elements of a table"),
    ("stack", "call stack, as 512KiB"),
    ("cpu", "CPU time of a call, as 500ms"),
    ("timeout", "wall-clock time of a call, as 10s"),
    ("env.NAME", "a variable of the environment"),
    ("init-entropy", "allow or deny (the default)"),
    ("queue", "most calls that wait"),
    ("concurrency", "most calls in progress"),
];

impl FunctionConfig {
    /// The defaults changed by settings in order. The error says what was wrong and what is known.
    pub fn from_settings<'a>(
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<FunctionConfig, String> {
        let mut config = FunctionConfig::default();
        let mut seen = std::collections::BTreeSet::new();
        for (key, value) in settings {
            if !seen.insert(key) {
                return Err(format!("{key} is given twice"));
            }
            config.set(key, value)?;
        }
        Ok(config)
    }

    /// Changes one setting.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let context = |error: String| format!("{key}: {error}");
        match key {
            "memory" => {
                let bytes = parse_size(value).map_err(context)?;
                self.memory_bytes = size_in(key, bytes, 1, MEMORY_BYTES_MAX)?;
            }
            "table" => {
                let elements = value
                    .parse()
                    .map_err(|_| format!("table: {value:?} is not a number"))?;
                self.table_elements = number_in(key, elements, 0, TABLE_ELEMENTS_MAX)?;
            }
            "stack" => {
                let bytes = parse_size(value).map_err(context)?;
                let bytes = size_in(key, bytes, STACK_BYTES_MIN as u64, STACK_BYTES_MAX as u64)?;
                self.stack_bytes = bytes as usize;
            }
            "cpu" => self.cpu = call_time(key, value)?,
            "timeout" => self.timeout = call_time(key, value)?,
            "init-entropy" => {
                self.init_entropy = match value {
                    "allow" => true,
                    "deny" => false,
                    _ => return Err(format!("init-entropy: {value:?} is neither allow nor deny")),
                }
            }
            "queue" => self.queue_max = count(key, value, 0)?,
            "concurrency" => self.concurrency_max = count(key, value, 1)?,
            _ => match key.strip_prefix("env.") {
                Some(name) => self.set_env(name, value)?,
                None => return Err(format!("unknown setting {key:?}; {}", known_settings())),
            },
        }
        Ok(())
    }

    fn set_env(&mut self, name: &str, value: &str) -> Result<(), String> {
        let mut bytes = name.bytes();
        let first_is_good = bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !first_is_good || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!(
                "env.{name}: a variable's name has letters, digits and '_' and begins with no digit"
            ));
        }
        if value.contains('\0') {
            return Err(format!(
                "env.{name}: a variable's value cannot hold a NUL byte"
            ));
        }
        self.env.insert(name.to_owned(), value.to_owned());
        let total: usize = self
            .env
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        if total > ENV_BYTES_MAX {
            return Err(format!(
                "env.{name}: the environment exceeds {}",
                format_size(ENV_BYTES_MAX as u64)
            ));
        }
        Ok(())
    }

    /// The settings that differ from the defaults, as [`set`](Self::set) takes them.
    pub fn settings(&self) -> Vec<(String, String)> {
        let default = FunctionConfig::default();
        let mut settings = Vec::new();
        let mut add = |differs: bool, key: &str, value: String| {
            if differs {
                settings.push((key.to_owned(), value));
            }
        };
        add(
            self.memory_bytes != default.memory_bytes,
            "memory",
            self.memory_bytes.to_string(),
        );
        add(
            self.table_elements != default.table_elements,
            "table",
            self.table_elements.to_string(),
        );
        add(
            self.stack_bytes != default.stack_bytes,
            "stack",
            self.stack_bytes.to_string(),
        );
        add(
            self.cpu != default.cpu,
            "cpu",
            format!("{}us", self.cpu.as_micros()),
        );
        add(
            self.timeout != default.timeout,
            "timeout",
            format!("{}us", self.timeout.as_micros()),
        );
        for (name, value) in &self.env {
            add(true, &format!("env.{name}"), value.clone());
        }
        add(self.init_entropy, "init-entropy", "allow".to_owned());
        add(
            self.queue_max != default.queue_max,
            "queue",
            self.queue_max.to_string(),
        );
        add(
            self.concurrency_max != default.concurrency_max,
            "concurrency",
            self.concurrency_max.to_string(),
        );
        settings
    }
}

/// "known are memory (...), ...".
fn known_settings() -> String {
    let list: Vec<_> = SETTINGS
        .iter()
        .map(|(key, what)| format!("{key} ({what})"))
        .collect();
    format!("known are {}", list.join(", "))
}

fn number_in(key: &str, value: u64, least: u64, most: u64) -> Result<u64, String> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{key}: {value} is not between {least} and {most}"))
    }
}

fn size_in(key: &str, bytes: u64, least: u64, most: u64) -> Result<u64, String> {
    if (least..=most).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!(
            "{key}: {} is not between {} and {}",
            format_size(bytes),
            format_size(least),
            format_size(most)
        ))
    }
}

fn call_time(key: &str, value: &str) -> Result<Duration, String> {
    let duration = parse_duration(value).map_err(|error| format!("{key}: {error}"))?;
    let duration = Duration::from_micros(duration.as_micros() as u64);
    if duration.is_zero() || duration > CALL_TIME_MAX {
        return Err(format!(
            "{key}: {value} is not between 1us and {}",
            format_duration(CALL_TIME_MAX)
        ));
    }
    Ok(duration)
}

fn count(key: &str, value: &str, least: u64) -> Result<u32, String> {
    let number = value
        .parse()
        .map_err(|_| format!("{key}: {value:?} is not a number"))?;
    number_in(key, number, least, 1_000_000).map(|number| number as u32)
}

/// Durations in JSON: a whole number of microseconds.
mod microseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_micros() as u64)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_round_trip() {
        let settings = [
            ("memory", "64MiB"),
            ("table", "7"),
            ("stack", "256KiB"),
            ("cpu", "1500us"),
            ("timeout", "2m"),
            ("env.GREETING", "hello = & ü"),
            ("init-entropy", "allow"),
            ("queue", "0"),
            ("concurrency", "3"),
        ];
        let config = FunctionConfig::from_settings(settings).unwrap();
        assert_eq!(config.memory_bytes, 64 << 20);
        assert_eq!(config.cpu, Duration::from_micros(1500));
        assert_eq!(config.env["GREETING"], "hello = & ü");
        let written = config.settings();
        let again =
            FunctionConfig::from_settings(written.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        assert_eq!(again.unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<FunctionConfig>(&json).unwrap(),
            config
        );
        assert!(FunctionConfig::default().settings().is_empty());
    }

    #[test]
    fn bad_settings_are_named() {
        for (key, value) in [
            ("memory", "0"),
            ("memory", "5GiB"),
            ("memory", "lots"),
            ("table", "-1"),
            ("stack", "1"),
            ("cpu", "0s"),
            ("cpu", "10"),
            ("timeout", "2h"),
            ("env.", "x"),
            ("env.A=B", "x"),
            ("env.1A", "x"),
            ("env.A", "a\0b"),
            ("init-entropy", "yes"),
            ("queue", "many"),
            ("concurrency", "0"),
        ] {
            let error = FunctionConfig::from_settings([(key, value)]).unwrap_err();
            assert!(
                error.starts_with(key.split('=').next().unwrap()),
                "{key}={value}: {error}"
            );
        }
        let error = FunctionConfig::from_settings([("memroy", "1")]).unwrap_err();
        assert!(
            error.contains("memroy") && error.contains("known are memory"),
            "{error}"
        );
        assert!(FunctionConfig::from_settings([("queue", "1"), ("queue", "2")]).is_err());
    }

    #[test]
    fn an_environment_cannot_grow_without_bound() {
        let mut config = FunctionConfig::default();
        let value = "x".repeat(ENV_BYTES_MAX / 2);
        config.set("env.A", &value).unwrap();
        assert!(config.set("env.B", &value).is_err());
    }
}

//! Arguments of a command as a table that one loop reads.
//!
//! What is derived for each argument takes two KiB of machine code, and there are dozens of them.

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// How often an argument may be given, and how many values it has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// It has no name of its own, and must be there.
    Position,
    /// The same, any number of times.
    Positions,
    Flag,
    One,
    Optional,
    /// Separated by commas or blanks, or given again.
    Many,
    /// Given again and again.
    Repeated,
}

/// Name, value, how many, default or nothing, help.
pub type Row = (
    &'static str,
    &'static str,
    Count,
    &'static str,
    &'static str,
);

/// The address of a server's admin API, for all who speak to one.
pub const ADMIN: Row = (
    "admin",
    "URL",
    Count::One,
    "http://127.0.0.1:8081",
    "The server's admin API",
);

fn augment(mut command: Command, table: &[Row]) -> Command {
    for &(name, value, count, default, help) in table {
        let mut argument = Arg::new(name).help(help).action(match count {
            Count::Flag => ArgAction::SetTrue,
            Count::One | Count::Position => ArgAction::Set,
            _ => ArgAction::Append,
        });
        argument = match count {
            Count::Position | Count::Positions => argument,
            _ => argument.long(name),
        };
        argument = match count {
            Count::Flag => argument,
            _ => argument
                .value_name(value)
                .value_parser(ValueParser::os_string()),
        };
        argument = match count {
            Count::Position => argument.required(true),
            Count::Positions => argument.num_args(0..),
            Count::Many => argument.num_args(1..).value_delimiter(','),
            Count::Optional => argument.num_args(0..=1).default_missing_value(""),
            Count::One | Count::Flag | Count::Repeated => argument,
        };
        if !default.is_empty() {
            argument = argument.default_value(default);
        }
        command = command.arg(argument);
    }
    command
}

/// What a table describes.
pub trait Table: Sized {
    const ROWS: &'static [Row];
    /// Takes the values out.
    fn read(given: &Given<'_>) -> Result<Self, Error>;
}

/// For clap.
pub struct Tabled<T>(pub T);

impl<T: Table> Args for Tabled<T> {
    fn augment_args(command: Command) -> Command {
        augment(command, T::ROWS)
    }

    fn augment_args_for_update(command: Command) -> Command {
        augment(command, T::ROWS)
    }
}

impl<T: Table> FromArgMatches for Tabled<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Tabled<T>, Error> {
        T::read(&Given(matches)).map(Tabled)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0 = T::read(&Given(matches))?;
        Ok(())
    }
}

/// The values that were given, or defaults.
pub struct Given<'a>(&'a ArgMatches);

impl<'a> Given<'a> {
    /// As they are: not everything that names a file is text.
    fn raw(&self, name: &str) -> impl Iterator<Item = &'a OsStr> {
        let values = self.0.get_many::<OsString>(name);
        values.into_iter().flatten().map(OsString::as_os_str)
    }

    pub fn paths(&self, name: &str) -> Vec<PathBuf> {
        self.raw(name).map(PathBuf::from).collect()
    }

    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).last().map(PathBuf::from)
    }

    /// Whether it stands on the command line.
    pub fn has(&self, name: &str) -> bool {
        self.0.value_source(name) == Some(ValueSource::CommandLine)
    }

    /// All values, as what they say.
    pub fn all<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Error> {
        let parsed = self.raw(name).map(|value| match value.to_str() {
            Some(text) => parse(text).map_err(|what| wrong(name, text, &what)),
            None => Err(wrong(name, &value.to_string_lossy(), "it is not text")),
        });
        parsed.collect()
    }

    /// The last value, as what it says.
    pub fn maybe<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        Ok(self.all(name, parse)?.pop())
    }

    /// The value of an argument that must be there or has a default, as what it says.
    pub fn one<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Error> {
        let value = self.maybe(name, parse)?;
        value.ok_or_else(|| wrong(name, "", "it is missing"))
    }

    pub fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        self.all(name, |text| Ok(text.to_owned()))
    }

    pub fn text(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.texts(name)?.pop())
    }
}

fn wrong(name: &str, value: &str, what: &str) -> Error {
    let message = format!("invalid value '{value}' for '--{name}': {what}");
    Error::raw(ErrorKind::ValueValidation, message)
}

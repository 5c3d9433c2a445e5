//! The arguments of `dormouse simulate`.
//!
//! They are many, and a table of them read by one loop is a tenth of the code that would be derived for each.

use crate::options::{LiveOptions, SimulateOptions};
use crate::units::{parse_duration, parse_size};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use std::path::PathBuf;

/// How often an argument may be given, and how many values it has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Flag,
    One,
    Optional,
    /// Separated by commas or blanks, or given again.
    Many,
}

/// Name, value, how many, help.
type Row = (&'static str, &'static str, Count, &'static str);

const TABLE: [Row; 15] = [
    (
        "trace",
        "FILE",
        Count::Many,
        "Files of a trace: Azure Functions 2021, or 2019 (counts, and run times and memory if there are such files)",
    ),
    (
        "generate",
        "SHAPE",
        Count::Optional,
        "Make a trace instead, as functions=1000,span=6h,rate=100,seed=1,skew=1.5,burst=5,timers=0.3,swing=0.5",
    ),
    (
        "from",
        "DURATION",
        Count::One,
        "Where in the trace to begin [default: 0s]",
    ),
    (
        "for",
        "DURATION",
        Count::One,
        "How much of the trace to replay [default: all]",
    ),
    (
        "speed",
        "FACTOR",
        Count::One,
        "How many times as fast as it was; run times shrink alike, the policies' times do not [default: 1]",
    ),
    (
        "policy",
        "POLICY",
        Count::Many,
        "predicted, fixed[:INSTANCES], keepalive[:DURATION], histogram or greedy-dual, or several [default: predicted]",
    ),
    (
        "budget",
        "SIZE",
        Count::Many,
        "Memory for warm instances, or several [default: 4GiB]",
    ),
    (
        "profile",
        "FILE",
        Count::Many,
        "What instances cost: files of `dormouse bench --record`, or dormouse, or container; functions take several in turn \
         [default: dormouse]",
    ),
    (
        "trace-memory",
        "",
        Count::Flag,
        "Take what an instance holds from the trace where it says, rather than from the profile",
    ),
    (
        "seed",
        "NUMBER",
        Count::One,
        "For what is drawn at random, such as the moment of a call within its minute [default: 1]",
    ),
    (
        "write",
        "FILE",
        Count::One,
        "Write the trace to a file, in the format of 2021, and replay nothing",
    ),
    (
        "json",
        "",
        Count::Flag,
        "JSON: durations in _us, sizes in _bytes",
    ),
    (
        "plot",
        "FILE.svg",
        Count::One,
        "Draw cold starts over budget and memory over time",
    ),
    (
        "live",
        "URL",
        Count::One,
        "Make the calls for real, against a server that answers here, and compare; policy and budget are the server's",
    ),
    (
        "admin",
        "URL",
        Count::One,
        "That server's admin API [default: http://127.0.0.1:8081]",
    ),
];

/// Arguments that do not go together.
const CONFLICTS: [(&str, &str); 7] = [
    ("generate", "trace"),
    ("generate", "from"),
    ("live", "write"),
    ("live", "plot"),
    ("live", "policy"),
    ("live", "budget"),
    ("live", "trace-memory"),
];

/// What the command line asks of the simulation.
pub struct Arguments(pub SimulateOptions);

impl Args for Arguments {
    fn augment_args(mut command: Command) -> Command {
        for (name, value, count, help) in TABLE {
            let mut argument = Arg::new(name).long(name).help(help);
            argument = match count {
                Count::Flag => argument.action(ArgAction::SetTrue),
                _ => argument.action(ArgAction::Append).value_name(value),
            };
            argument = match count {
                Count::Many => argument.num_args(1..).value_delimiter(','),
                Count::Optional => argument.num_args(0..=1).default_missing_value(""),
                Count::One | Count::Flag => argument,
            };
            command = command.arg(argument);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Arguments::augment_args(command)
    }
}

/// The values that were given.
struct Given<'a>(&'a ArgMatches);

impl<'a> Given<'a> {
    fn all(&self, name: &str) -> Vec<&'a str> {
        let values = self.0.get_many::<String>(name);
        values.into_iter().flatten().map(String::as_str).collect()
    }

    fn last(&self, name: &str) -> Option<&'a str> {
        self.all(name).pop()
    }

    fn has(&self, name: &str) -> bool {
        // Flags are always there, as true or false.
        matches!(
            self.0.value_source(name),
            Some(clap::parser::ValueSource::CommandLine)
        )
    }
}

fn wrong(name: &str, value: &str, what: &str) -> Error {
    let message = format!("invalid value '{value}' for '--{name}': {what}\n");
    Error::raw(ErrorKind::ValueValidation, message)
}

/// The last value of an argument, or the default, as what it says.
fn one<T>(
    given: &Given<'_>,
    name: &str,
    default: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Error> {
    let value = given.last(name).unwrap_or(default);
    parse(value).map_err(|what| wrong(name, value, &what))
}

/// All values of an argument, or the default.
fn all<T>(
    given: &Given<'_>,
    name: &str,
    default: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Error> {
    let mut values = given.all(name);
    if values.is_empty() {
        values.push(default);
    }
    let parsed = values
        .into_iter()
        .map(|value| parse(value).map_err(|what| wrong(name, value, &what)));
    parsed.collect()
}

impl FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Arguments, Error> {
        let given = Given(matches);
        if !given.has("trace") && !given.has("generate") {
            let message =
                "name the files of a trace with --trace, or have one made with --generate\n";
            return Err(Error::raw(ErrorKind::MissingRequiredArgument, message));
        }
        for (one, other) in CONFLICTS {
            if given.has(one) && given.has(other) {
                let message = format!("--{one} does not go with --{other}\n");
                return Err(Error::raw(ErrorKind::ArgumentConflict, message));
            }
        }
        let path = |name| given.last(name).map(PathBuf::from);
        let generate = given.last("generate").map(|shape| {
            let parsed = shape.parse();
            parsed.map_err(|what: String| wrong("generate", shape, &what))
        });
        let span = given.last("for").map(|span| {
            let parsed = parse_duration(span);
            parsed.map_err(|what| wrong("for", span, &what))
        });
        let admin = given.last("admin").unwrap_or("http://127.0.0.1:8081");
        Ok(Arguments(SimulateOptions {
            traces: given.all("trace").into_iter().map(PathBuf::from).collect(),
            generate: generate.transpose()?,
            begin: one(&given, "from", "0s", parse_duration)?,
            span: span.transpose()?,
            speed: one(&given, "speed", "1", factor)?,
            policies: all(&given, "policy", "predicted", str::parse)?,
            budgets: all(&given, "budget", "4GiB", parse_size)?,
            profiles: all(&given, "profile", "dormouse", |name| Ok(name.into()))?,
            trace_memory: matches.get_flag("trace-memory"),
            seed: one(&given, "seed", "1", |seed| {
                seed.parse().map_err(|_| "not a whole number".into())
            })?,
            write: path("write"),
            json: matches.get_flag("json"),
            plot: path("plot"),
            live: given.last("live").map(|url| LiveOptions {
                url: url.to_owned(),
                admin: admin.to_owned(),
            }),
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Arguments::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A speed.
fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 && f64::is_finite(factor) => Ok(factor),
        _ => Err("not a number above 0".into()),
    }
}

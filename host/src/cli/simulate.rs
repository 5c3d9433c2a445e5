//! The arguments of `dormouse simulate`.

use super::table::{ADMIN, Count, Given, Row, Table};
use crate::options::{LiveOptions, SimulateOptions};
use crate::units::{parse_duration, parse_size};
use clap::Error;
use clap::error::ErrorKind;

const TABLE: &[Row] = &[
    (
        "trace",
        "FILE",
        Count::Many,
        "",
        "Files of a trace: Azure Functions 2021, or 2019 (counts, and run times and memory if there are such files)",
    ),
    (
        "generate",
        "SHAPE",
        Count::Optional,
        "",
        "Make a trace instead, as functions=1000,span=6h,rate=100,seed=1,skew=1.5,burst=5,timers=0.3,swing=0.5",
    ),
    (
        "from",
        "DURATION",
        Count::One,
        "0s",
        "Where in the trace to begin",
    ),
    (
        "for",
        "DURATION",
        Count::One,
        "",
        "How much of the trace to replay [default: all]",
    ),
    (
        "speed",
        "FACTOR",
        Count::One,
        "1",
        "How many times as fast as it was; run times shrink alike, the policies' times do not",
    ),
    (
        "policy",
        "POLICY",
        Count::Many,
        "predicted",
        "predicted, fixed[:INSTANCES], keepalive[:DURATION], histogram or greedy-dual, or several",
    ),
    (
        "budget",
        "SIZE",
        Count::Many,
        "4GiB",
        "Memory for warm instances, or several",
    ),
    (
        "profile",
        "FILE",
        Count::Many,
        "dormouse",
        "What instances cost: files of `dormouse bench --record`, or dormouse, or container; functions take several in turn",
    ),
    (
        "trace-memory",
        "",
        Count::Flag,
        "",
        "Take what an instance holds from the trace where it says, rather than from the profile",
    ),
    (
        "seed",
        "NUMBER",
        Count::One,
        "1",
        "For what is drawn at random, such as the moment of a call within its minute",
    ),
    (
        "write",
        "FILE",
        Count::One,
        "",
        "Write the trace to a file, in the format of 2021, and replay nothing",
    ),
    (
        "json",
        "",
        Count::Flag,
        "",
        "JSON: durations in _us, sizes in _bytes",
    ),
    (
        "plot",
        "FILE.svg",
        Count::One,
        "",
        "Draw cold starts over budget and memory over time",
    ),
    (
        "live",
        "URL",
        Count::One,
        "",
        "Make the calls for real, against a server that answers here, and compare; policy and budget are the server's",
    ),
    ADMIN,
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

impl Table for SimulateOptions {
    const ROWS: &'static [Row] = TABLE;

    fn read(given: &Given<'_>) -> Result<SimulateOptions, Error> {
        if !given.has("trace") && !given.has("generate") {
            let message =
                "name the files of a trace with --trace, or have one made with --generate";
            return Err(Error::raw(ErrorKind::MissingRequiredArgument, message));
        }
        for (one, other) in CONFLICTS {
            if given.has(one) && given.has(other) {
                let message = format!("--{one} does not go with --{other}");
                return Err(Error::raw(ErrorKind::ArgumentConflict, message));
            }
        }
        Ok(SimulateOptions {
            traces: given.paths("trace"),
            generate: given.maybe("generate", str::parse)?,
            begin: given.one("from", parse_duration)?,
            span: given.maybe("for", parse_duration)?,
            speed: given.one("speed", factor)?,
            policies: given.all("policy", str::parse)?,
            budgets: given.all("budget", parse_size)?,
            profiles: given.paths("profile"),
            trace_memory: given.has("trace-memory"),
            seed: given.one("seed", |seed| {
                seed.parse().map_err(|_| "not a whole number".into())
            })?,
            write: given.path("write"),
            json: given.has("json"),
            plot: given.path("plot"),
            live: match given.text("live")? {
                Some(url) => Some(LiveOptions {
                    url,
                    admin: given.one("admin", |url| Ok(url.to_owned()))?,
                }),
                None => None,
            },
        })
    }
}

/// A speed.
fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 && f64::is_finite(factor) => Ok(factor),
        _ => Err("not a number above 0".into()),
    }
}

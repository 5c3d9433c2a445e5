//! The arguments of the commands that have many.

use super::table::{ADMIN, Count, Given, Row, Table};
use crate::options::LogFormat;
use crate::pool::PolicyOptions;
use crate::units::{parse_duration, parse_size};
use clap::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const NAME: Row = ("name", "NAME", Count::Position, "", "The function");
const FILE: Row = (
    "file",
    "FILE",
    Count::Position,
    "",
    "The module, binary or text",
);
const DATA: Row = (
    "data",
    "DATA",
    Count::One,
    "",
    "The request's body: text, @FILE, or - for standard input",
);

/// An option that takes a value and has no default.
const fn option(name: &'static str, value: &'static str, help: &'static str) -> Row {
    (name, value, Count::One, "", help)
}

pub struct ServeArguments {
    pub paths: Vec<PathBuf>,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub data: Option<PathBuf>,
    pub budget: Option<u64>,
    pub policy: PolicyOptions,
    pub log: LogFormat,
    pub drain: Duration,
}

impl Table for ServeArguments {
    const ROWS: &'static [Row] = &[
        (
            "paths",
            "FILES or DIRS",
            Count::Positions,
            "",
            "Modules (.wasm, .wat), or directories of them, each deployed under its file's stem unless it already is",
        ),
        (
            "listen",
            "ADDR",
            Count::One,
            "127.0.0.1:8080",
            "Where requests for functions arrive",
        ),
        (
            "admin",
            "ADDR",
            Count::One,
            "127.0.0.1:8081",
            "Where the admin API listens; it has no authentication, so never a public address",
        ),
        option(
            "data",
            "DIR",
            "Where functions are kept [default: $DORMOUSE_DATA, or dormouse in $XDG_DATA_HOME or ~/.local/share]",
        ),
        option(
            "budget",
            "SIZE",
            "Memory for warm instances, as 4GiB [default: a quarter of the machine's]",
        ),
        (
            "policy",
            "POLICY",
            Count::One,
            "predicted",
            "Which instances are kept warm: predicted, fixed[:INSTANCES], keepalive[:DURATION], histogram or greedy-dual",
        ),
        (
            "log",
            "FORMAT",
            Count::One,
            "text",
            "How log lines are written: text or json",
        ),
        (
            "drain",
            "DURATION",
            Count::One,
            "10s",
            "How long invocations may still run after SIGTERM or SIGINT",
        ),
    ];

    fn read(given: &Given<'_>) -> Result<ServeArguments, Error> {
        let address = |text: &str| {
            let parsed = text.parse::<SocketAddr>();
            parsed.map_err(|_| "write it as 127.0.0.1:8080".to_owned())
        };
        Ok(ServeArguments {
            paths: given.paths("paths"),
            listen: given.one("listen", address)?,
            admin: given.one("admin", address)?,
            data: given.path("data"),
            budget: given.maybe("budget", parse_size)?,
            policy: given.one("policy", str::parse)?,
            log: given.one("log", |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("there are text and json".to_owned()),
            })?,
            drain: given.one("drain", parse_duration)?,
        })
    }
}

pub struct AdminArguments {
    /// The server's admin API.
    pub url: String,
}

impl Table for AdminArguments {
    const ROWS: &'static [Row] = &[ADMIN];

    fn read(given: &Given<'_>) -> Result<AdminArguments, Error> {
        Ok(AdminArguments {
            url: given.one("admin", |url| Ok(url.to_owned()))?,
        })
    }
}

pub struct RmArguments {
    pub name: String,
    pub admin: AdminArguments,
}

impl Table for RmArguments {
    const ROWS: &'static [Row] = &[NAME, ADMIN];

    fn read(given: &Given<'_>) -> Result<RmArguments, Error> {
        Ok(RmArguments {
            name: given.one("name", |name| Ok(name.to_owned()))?,
            admin: AdminArguments::read(given)?,
        })
    }
}

pub struct DeployArguments {
    pub name: String,
    pub file: PathBuf,
    pub admin: AdminArguments,
    pub memory: Option<String>,
    pub timeout: Option<String>,
    pub cpu: Option<String>,
    pub stack: Option<String>,
    pub table: Option<String>,
    pub queue: Option<String>,
    pub concurrency: Option<String>,
    pub init_entropy: Option<String>,
    pub env: Vec<String>,
}

impl Table for DeployArguments {
    const ROWS: &'static [Row] = &[
        (
            "name",
            "NAME",
            Count::Position,
            "",
            "What the function is to be called",
        ),
        FILE,
        ADMIN,
        option("memory", "SIZE", "The most linear memory, as 64MiB"),
        option(
            "timeout",
            "DURATION",
            "The most time a call may take, as 10s",
        ),
        option(
            "cpu",
            "DURATION",
            "The most time on the processor a call may take, as 500ms",
        ),
        option("stack", "SIZE", "The most native stack, as 512KiB"),
        option("table", "COUNT", "The most elements a table may have"),
        option("queue", "COUNT", "The most calls that wait for their turn"),
        option("concurrency", "COUNT", "The most calls in progress"),
        option(
            "init-entropy",
            "allow|deny",
            "Whether initialisation may draw randomness and read clocks, which are then the same in every instance",
        ),
        (
            "env",
            "K=V",
            Count::Repeated,
            "",
            "A variable of the function's environment",
        ),
    ];

    fn read(given: &Given<'_>) -> Result<DeployArguments, Error> {
        Ok(DeployArguments {
            name: given.one("name", |name| Ok(name.to_owned()))?,
            file: given.path("file").unwrap_or_default(),
            admin: AdminArguments::read(given)?,
            memory: given.text("memory")?,
            timeout: given.text("timeout")?,
            cpu: given.text("cpu")?,
            stack: given.text("stack")?,
            table: given.text("table")?,
            queue: given.text("queue")?,
            concurrency: given.text("concurrency")?,
            init_entropy: given.text("init-entropy")?,
            env: given.texts("env")?,
        })
    }
}

pub struct InvokeArguments {
    pub name: String,
    pub data: Option<String>,
    pub method: Option<String>,
    pub path: String,
    pub header: Vec<String>,
    pub url: String,
}

impl Table for InvokeArguments {
    const ROWS: &'static [Row] = &[
        NAME,
        DATA,
        option(
            "method",
            "METHOD",
            "The request's method [default: POST with --data, else GET]",
        ),
        option(
            "path",
            "PATH",
            "Path and query after the function's name, as /orders?id=7",
        ),
        (
            "header",
            "NAME: VALUE",
            Count::Repeated,
            "",
            "A header of the request",
        ),
        (
            "url",
            "URL",
            Count::One,
            "http://127.0.0.1:8080",
            "Where the server answers requests for functions",
        ),
    ];

    fn read(given: &Given<'_>) -> Result<InvokeArguments, Error> {
        Ok(InvokeArguments {
            name: given.one("name", |name| Ok(name.to_owned()))?,
            data: given.text("data")?,
            method: given.text("method")?,
            path: given.text("path")?.unwrap_or_default(),
            header: given.texts("header")?,
            url: given.one("url", |url| Ok(url.to_owned()))?,
        })
    }
}

pub struct BenchArguments {
    pub file: PathBuf,
    pub data: Option<String>,
    pub calls: u32,
    pub record: Option<PathBuf>,
    pub json: bool,
}

impl Table for BenchArguments {
    const ROWS: &'static [Row] = &[
        FILE,
        DATA,
        (
            "calls",
            "COUNT",
            Count::One,
            "1000",
            "Calls measured for each figure",
        ),
        option(
            "record",
            "FILE",
            "Add what `dormouse simulate --profile` needs to this file",
        ),
        (
            "json",
            "",
            Count::Flag,
            "",
            "JSON: durations in _us, sizes in _bytes",
        ),
    ];

    fn read(given: &Given<'_>) -> Result<BenchArguments, Error> {
        Ok(BenchArguments {
            file: given.path("file").unwrap_or_default(),
            data: given.text("data")?,
            calls: given.one("calls", |text| match text.parse() {
                Ok(calls) if calls > 0 => Ok(calls),
                _ => Err("not a number above 0".to_owned()),
            })?,
            record: given.path("record"),
            json: given.has("json"),
        })
    }
}

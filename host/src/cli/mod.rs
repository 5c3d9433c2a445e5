//! The command line: parses, and hands plain options to whoever does the work.
//!
//! Exit codes: 0 success; 1 what was asked for failed, told in one line on standard error that names the file or function, the
//! cause and the way out; 2 the command line was wrong (clap's). `run` ends with the guest's own code, 134 after a trap.

mod compile;
mod remote;
mod serve;
mod simulate;

use crate::deploy::worker;
use crate::options::{BenchOptions, LogFormat, Preopen, RunOptions};
use crate::pool::PolicyOptions;
use crate::units::{parse_duration, parse_size};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A serverless runtime for bare Linux servers: WebAssembly functions, each request in a fresh instance.
#[derive(Parser)]
#[command(name = "dormouse", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve deployed functions, and deploy these files first
    Serve(ServeArguments),
    /// Deploy a module to a running server
    Deploy(DeployArguments),
    /// List the functions of a running server
    Ls(AdminArguments),
    /// Remove a function from a running server
    Rm {
        /// The function
        name: String,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Call a function of a running server and print its answer
    Invoke(InvokeArguments),
    /// Run a WASI command, or one export of a module
    Run(RunArguments),
    /// Compile a module ahead of time, for `dormouse run`
    Compile {
        /// The module, binary or text
        file: PathBuf,
        /// Where to write the artifact
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
    },
    /// Measure a function: compilation, initialisation, restore, reset, memory
    Bench(BenchArguments),
    /// Replay a trace of calls through the pool: cold starts, latency and memory under policies and budgets
    Simulate(simulate::Arguments),
    /// One deployment, for the server that started it
    #[command(name = worker::SUBCOMMAND, hide = true)]
    CompileWorker { directory: PathBuf },
}

#[derive(Args)]
struct ServeArguments {
    /// Modules (.wasm, .wat), or directories of them, each deployed under its file's stem unless it already is
    #[arg(value_name = "FILES or DIRS")]
    paths: Vec<PathBuf>,
    /// Where requests for functions arrive
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the admin API listens; it has no authentication, so never a public address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    admin: SocketAddr,
    /// Where functions are kept [default: $DORMOUSE_DATA, or dormouse in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Memory for warm instances, as 4GiB [default: a quarter of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    budget: Option<u64>,
    /// Which instances are kept warm: predicted, fixed[:INSTANCES], keepalive[:DURATION], histogram or greedy-dual
    #[arg(long, value_name = "POLICY", default_value = "predicted")]
    policy: PolicyOptions,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = Log::Text)]
    log: Log,
    /// How long invocations may still run after SIGTERM or SIGINT
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    drain: Duration,
}

#[derive(Clone, Copy, ValueEnum)]
enum Log {
    Text,
    Json,
}

impl From<Log> for LogFormat {
    fn from(log: Log) -> LogFormat {
        match log {
            Log::Text => LogFormat::Text,
            Log::Json => LogFormat::Json,
        }
    }
}

#[derive(Args)]
struct AdminArguments {
    /// The server's admin API
    #[arg(
        long = "admin",
        value_name = "URL",
        default_value = "http://127.0.0.1:8081"
    )]
    url: String,
}

#[derive(Args)]
struct DeployArguments {
    /// What the function is to be called
    name: String,
    /// The module, binary or text
    file: PathBuf,
    #[command(flatten)]
    admin: AdminArguments,
    /// The most linear memory, as 64MiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// The most time a call may take, as 10s
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// The most time on the processor a call may take, as 500ms
    #[arg(long, value_name = "DURATION")]
    cpu: Option<String>,
    /// The most native stack, as 512KiB
    #[arg(long, value_name = "SIZE")]
    stack: Option<String>,
    /// The most elements a table may have
    #[arg(long, value_name = "COUNT")]
    table: Option<String>,
    /// The most calls that wait for their turn
    #[arg(long, value_name = "COUNT")]
    queue: Option<String>,
    /// The most calls in progress
    #[arg(long, value_name = "COUNT")]
    concurrency: Option<String>,
    /// Whether initialisation may draw randomness and read clocks, which are then the same in every instance
    #[arg(long, value_name = "allow|deny")]
    init_entropy: Option<String>,
    /// A variable of the function's environment
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
}

#[derive(Args)]
struct InvokeArguments {
    /// The function
    name: String,
    /// The request's body: text, @FILE, or - for standard input
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// The request's method [default: POST with --data, else GET]
    #[arg(long)]
    method: Option<String>,
    /// Path and query after the function's name, as /orders?id=7
    #[arg(long, default_value = "")]
    path: String,
    /// A header of the request
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Where the server answers requests for functions
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
}

#[derive(Args)]
struct RunArguments {
    /// The module, binary or text, or what `dormouse compile` made of it; whatever follows is for the command or the export
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_names = ["FILE", "ARGUMENT"])]
    program: Vec<OsString>,
    /// Call this export instead of running a command, and print what it returns
    #[arg(long, value_name = "EXPORT")]
    invoke: Option<String>,
    /// A variable of the command's environment
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
    /// A directory the command may use, and its name there
    #[arg(long, value_name = "HOST::GUEST")]
    dir: Vec<String>,
    /// The most linear memory
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = parse_size)]
    memory: u64,
}

#[derive(Args)]
struct BenchArguments {
    /// The module, binary or text
    file: PathBuf,
    /// The body of the request that each call gets: text, @FILE, or - for standard input
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Calls measured for each figure
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    /// Add what `dormouse simulate --profile` needs to this file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// JSON: durations in _us, sizes in _bytes
    #[arg(long)]
    json: bool,
}

/// What went wrong, as the user is told.
struct Failure(String);

impl Failure {
    fn new(message: impl std::fmt::Display) -> Failure {
        Failure(message.to_string())
    }
}

/// Runs the command line that this process was started with.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::CompileWorker { directory } => return worker::main(&directory),
        Command::Run(arguments) => match run_options(arguments) {
            Ok(options) => return crate::run::run(&options),
            Err(failure) => Err(failure),
        },
        Command::Bench(arguments) => match bench_options(arguments) {
            Ok(options) => return crate::bench::bench(&options),
            Err(failure) => Err(failure),
        },
        Command::Simulate(arguments) => {
            return crate::simulate::simulate(&arguments.0);
        }
        Command::Serve(arguments) => serve::serve(arguments),
        Command::Compile { file, output } => compile::compile(&file, &output),
        Command::Deploy(arguments) => remote::deploy(&arguments),
        Command::Ls(admin) => remote::list(&admin),
        Command::Rm { name, admin } => remote::remove(&name, &admin),
        Command::Invoke(arguments) => remote::invoke(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            eprintln!("dormouse: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Splits `K=V`.
fn variable(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure(format!("--env {text}: write it as NAME=VALUE"))),
    }
}

fn run_options(arguments: RunArguments) -> Result<RunOptions, Failure> {
    let preopens = arguments.dir.iter().map(|text| {
        let (host, guest) = text.split_once("::").unwrap_or((text, text));
        if host.is_empty() || guest.is_empty() {
            return Err(Failure(format!("--dir {text}: write it as HOST::GUEST")));
        }
        Ok(Preopen {
            host: host.into(),
            guest: guest.to_owned(),
        })
    });
    let mut program = arguments.program.into_iter();
    let file = program.next().unwrap_or_default();
    Ok(RunOptions {
        preopens: preopens.collect::<Result<_, _>>()?,
        environment: arguments
            .env
            .iter()
            .map(|text| variable(text))
            .collect::<Result<_, _>>()?,
        file: file.into(),
        invoke: arguments.invoke,
        arguments: program.collect(),
        memory_bytes: arguments.memory,
    })
}

fn bench_options(arguments: BenchArguments) -> Result<BenchOptions, Failure> {
    Ok(BenchOptions {
        data: data(arguments.data.as_deref())?.unwrap_or_default(),
        file: arguments.file,
        calls: arguments.calls,
        record: arguments.record,
        json: arguments.json,
    })
}

/// The bytes that a `--data` names: text as it is, `@FILE`, or `-` for standard input.
fn data(argument: Option<&str>) -> Result<Option<Vec<u8>>, Failure> {
    let bytes = match argument {
        None => return Ok(None),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
                .map_err(|error| Failure(format!("standard input cannot be read: {error}")))?;
            bytes
        }
        Some(text) => match text.strip_prefix('@') {
            Some(file) => std::fs::read(file)
                .map_err(|error| Failure(format!("{file}: cannot be read: {error}")))?,
            None => text.as_bytes().to_vec(),
        },
    };
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_after_the_file_are_the_guests() {
        let cli =
            Cli::try_parse_from(["dormouse", "run", "--dir", "a::/b", "x.wasm", "--dir", "c"]);
        let Ok(Cli {
            command: Command::Run(arguments),
        }) = cli
        else {
            panic!("it is a run")
        };
        let options = run_options(arguments).unwrap_or_else(|Failure(text)| panic!("{text}"));
        assert_eq!(options.arguments, ["--dir", "c"]);
        assert_eq!(options.preopens[0].guest, "/b");
    }

    #[test]
    fn malformed_pairs_are_refused_by_name() {
        for text in ["=v", "novalue"] {
            let Err(Failure(message)) = variable(text) else {
                panic!("{text} was taken")
            };
            assert!(message.contains(text));
        }
    }
}

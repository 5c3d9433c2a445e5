//! The command line: parses, and hands plain options to whoever does the work.
//!
//! Exit codes: 0 success; 1 what was asked for failed, told in one line on standard error that names the file or function, the
//! cause and the way out; 2 the command line was wrong (clap's). `run` ends with the guest's own code, 134 after a trap.

mod arguments;
mod compile;
mod remote;
mod serve;
mod simulate;
mod table;

use crate::deploy::worker;
use crate::options::{BenchOptions, Preopen, RunOptions, SimulateOptions};
use crate::units::parse_size;
use arguments::{
    AdminArguments, BenchArguments, DeployArguments, InvokeArguments, RmArguments, ServeArguments,
};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use table::Tabled;

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
    Serve(Tabled<ServeArguments>),
    /// Deploy a module to a running server
    Deploy(Tabled<DeployArguments>),
    /// List the functions of a running server
    Ls(Tabled<AdminArguments>),
    /// Remove a function from a running server
    Rm(Tabled<RmArguments>),
    /// Call a function of a running server and print its answer
    Invoke(Tabled<InvokeArguments>),
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
    Bench(Tabled<BenchArguments>),
    /// Replay a trace of calls through the pool: cold starts, latency and memory under policies and budgets
    Simulate(Tabled<SimulateOptions>),
    /// One deployment, for the server that started it
    #[command(name = worker::SUBCOMMAND, hide = true)]
    CompileWorker { directory: PathBuf },
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
        Command::Bench(Tabled(arguments)) => match bench_options(arguments) {
            Ok(options) => return crate::bench::bench(&options),
            Err(failure) => Err(failure),
        },
        Command::Simulate(Tabled(options)) => return crate::simulate::simulate(&options),
        Command::Serve(Tabled(arguments)) => serve::serve(arguments),
        Command::Compile { file, output } => compile::compile(&file, &output),
        Command::Deploy(Tabled(arguments)) => remote::deploy(&arguments),
        Command::Ls(Tabled(admin)) => remote::list(&admin),
        Command::Rm(Tabled(arguments)) => remote::remove(&arguments.name, &arguments.admin),
        Command::Invoke(Tabled(arguments)) => remote::invoke(&arguments),
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

//! `dormouse run`: one program, with this process's standard streams, to its end.
//!
//! The program's exit code becomes this process's. A trap becomes 134, which is what a shell shows of a process
//! that aborted; a program that could not be run at all, 1. Nothing is set up that a single program does not need: one slot, no
//! timer, no threads beyond those that compile.

mod error;
mod program;
mod progress;
mod values;

pub use error::RunError;
pub use program::{Program, load};
pub use progress::with_progress;

use crate::interface::{Context, Stdio, drive, imports};
use crate::options::RunOptions;
use dormouse::{Callable, Engine, EngineOptions, Instance, Limits, Linked, Module, Reason, Trap};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// The exit code after a trap.
pub const TRAPPED: u8 = 134;

/// The native stack of a program, as `ulimit -s` is by default.
const STACK_BYTES: usize = 8 << 20;

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It returned, with the values of an invoked function as text.
    Returned(Vec<String>),
    /// `refused` is the limit it had run into before, if any.
    Stopped { trap: Trap, refused: Option<String> },
}

/// Runs a program and gives the exit code for this process; what goes wrong is told on standard error.
pub fn run(options: &RunOptions) -> ExitCode {
    let file = options.file.display();
    match execute(options) {
        Ok(End::Returned(values)) => {
            let mut stdout = std::io::stdout().lock();
            // Whoever reads the values may have gone; there is nobody to tell then.
            let _ = values
                .iter()
                .try_for_each(|value| writeln!(stdout, "{value}"));
            ExitCode::SUCCESS
        }
        Ok(End::Stopped { trap, refused }) => {
            let code = match trap.reason {
                // The lower eight bits, as exit(3) does.
                Reason::Exit(code) => code as u8,
                _ => {
                    eprintln!("dormouse: {file}: {trap}");
                    TRAPPED
                }
            };
            match refused {
                Some(_) if matches!(trap.reason, Reason::Limit(_)) => {
                    eprintln!("dormouse: {file}: --memory raises the limit");
                }
                // A program that fails for want of memory says so in its own way, or not at all.
                Some(refused) if code != 0 => {
                    eprintln!(
                        "dormouse: {file}: before that, {refused}; --memory raises the limit"
                    );
                }
                _ => {}
            }
            ExitCode::from(code)
        }
        Err(error) => {
            eprintln!("dormouse: {file}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(options: &RunOptions) -> Result<End, RunError> {
    let engine = Engine::new(&EngineOptions {
        slots_max: 1,
        stack_bytes: STACK_BYTES,
        keep_resident_pages: 0,
        // There is nobody whose turn it could be.
        tick: Duration::ZERO,
    })
    .map_err(RunError::Engine)?;
    let module = load(&engine, &options.file)?.module;
    let linked = module.link(&imports()).map_err(RunError::Link)?;
    let (callable, arguments) = entry(&module, options)?;
    let mut instance = instantiate(&linked, options)?;
    for callable in initialisers(&module, options) {
        if let Err(end) = call(&mut instance, callable, &[])? {
            return Ok(end);
        }
    }
    let end = call(&mut instance, callable, &arguments)?;
    Ok(end.map_or_else(
        |stopped| stopped,
        |words| {
            End::Returned(values::print(
                &module.function_type(callable).results,
                &words,
            ))
        },
    ))
}

/// What runs before the function that is asked for.
fn initialisers(module: &Module, options: &RunOptions) -> Vec<Callable> {
    let mut initialisers = Vec::from_iter(module.start_function());
    // A reactor expects this before anything else is called.
    if options
        .invoke
        .as_deref()
        .is_some_and(|name| name != "_initialize")
    {
        initialisers.extend(module.function("_initialize").filter(|&function| {
            let ty = module.function_type(function);
            ty.parameters.is_empty() && ty.results.is_empty()
        }));
    }
    initialisers
}

/// Calls a function: its results, or the end of the program.
fn call(
    instance: &mut Instance,
    callable: Callable,
    arguments: &[u64],
) -> Result<Result<Vec<u64>, End>, RunError> {
    let result = drive(instance, callable, arguments).map_err(RunError::Stack)?;
    Ok(result.map_err(|trap| End::Stopped {
        trap,
        refused: instance.refused_limit().map(ToString::to_string),
    }))
}

/// The function to call, and its parameters.
fn entry(module: &Module, options: &RunOptions) -> Result<(Callable, Vec<u64>), RunError> {
    let Some((name, arguments)) = invoked(module, options) else {
        let start = module.function("_start").ok_or_else(|| RunError::NoStart {
            exports: exported_functions(module),
        })?;
        let ty = module.function_type(start);
        if !ty.parameters.is_empty() || !ty.results.is_empty() {
            return Err(RunError::StartType(ty.clone()));
        }
        return Ok((start, Vec::new()));
    };
    let callable = module.function(name).ok_or_else(|| RunError::NoExport {
        name: name.into(),
        exports: exported_functions(module),
    })?;
    let ty = module.function_type(callable);
    let arguments =
        values::parse(&ty.parameters, arguments).map_err(|problem| RunError::Arguments {
            name: name.into(),
            ty: ty.clone(),
            problem,
        })?;
    Ok((callable, arguments))
}

/// The name of the export to invoke, and the arguments for it.
///
/// What follows the file is the program's own, as a rule. But a module that is no command has nothing that could take
/// arguments, so that an `--invoke` there can only be meant for us.
fn invoked<'a>(module: &Module, options: &'a RunOptions) -> Option<(&'a str, &'a [OsString])> {
    match (&options.invoke, &*options.arguments) {
        (Some(name), arguments) => Some((name, arguments)),
        (None, [option, name, arguments @ ..])
            if option == "--invoke" && module.function("_start").is_none() =>
        {
            Some((name.to_str()?, arguments))
        }
        (None, _) => None,
    }
}

fn exported_functions(module: &Module) -> Vec<String> {
    let exports = module.info().exports.iter();
    exports
        .filter(|export| module.function(&export.name).is_some())
        .map(|export| export.name.clone())
        .collect()
}

fn instantiate(linked: &Linked, options: &RunOptions) -> Result<Instance, RunError> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut arguments = vec![options.file.as_os_str().as_bytes().to_vec()];
    if options.invoke.is_none() {
        arguments.extend(
            options
                .arguments
                .iter()
                .map(|argument| argument.clone().into_vec()),
        );
    }
    let mut context = Context::command(arguments, options.environment.clone(), Stdio::Process);
    for preopen in &options.preopens {
        context
            .preopen(&preopen.host, &preopen.guest)
            .map_err(RunError::Preopen)?;
    }
    let limits = Limits {
        memory_bytes: options.memory_bytes,
        stack_bytes: STACK_BYTES,
        ..Limits::default()
    };
    Instance::new(linked, limits, Box::new(context)).map_err(RunError::Instantiate)
}

//! Why a program cannot be run.

use crate::interface::PreopenError;
use dormouse::compile::CompileError;
use dormouse::compile::info::FunctionType;
use dormouse::{EngineError, InstantiateError, LinkError, LoadError};
use std::fmt;
use std::io;

/// Why a program cannot be run. The file's name is for the caller to put in front.
#[derive(Debug)]
pub enum RunError {
    Read(io::Error),
    /// Neither a binary module nor an artifact, and as text it has this error.
    Text(String),
    Compile(CompileError),
    Load(LoadError),
    Link(LinkError),
    Engine(EngineError),
    Instantiate(InstantiateError),
    Preopen(PreopenError),
    Stack(io::Error),
    NoStart {
        exports: Vec<String>,
    },
    StartType(FunctionType),
    NoExport {
        name: String,
        exports: Vec<String>,
    },
    Arguments {
        name: String,
        ty: FunctionType,
        problem: String,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Read(error) => write!(f, "cannot be read: {error}"),
            RunError::Text(error) => {
                write!(
                    f,
                    "not a WebAssembly module, an artifact or a module as text: {error}"
                )
            }
            RunError::Compile(error) => error.fmt(f),
            RunError::Load(error) => error.fmt(f),
            RunError::Link(error) => error.fmt(f),
            RunError::Engine(error) => error.fmt(f),
            RunError::Instantiate(error) => error.fmt(f),
            RunError::Preopen(error) => error.fmt(f),
            RunError::Stack(error) => write!(f, "there is no memory for its stack: {error}"),
            RunError::NoStart { exports } => write!(
                f,
                "not a command: it does not export _start; call one of its functions with --invoke ({})",
                listed(exports)
            ),
            RunError::StartType(ty) => {
                write!(
                    f,
                    "its export _start has type {ty}; it must take and return nothing"
                )
            }
            RunError::NoExport { name, exports } => {
                write!(
                    f,
                    "it exports no function {name:?}; it exports {}",
                    listed(exports)
                )
            }
            RunError::Arguments { name, ty, problem } => {
                write!(f, "{name} has type {ty}: {problem}")
            }
        }
    }
}

impl std::error::Error for RunError {}

/// More names are of no help.
const LISTED_MAX: usize = 20;

fn listed(exports: &[String]) -> String {
    match exports.len() {
        0 => "no functions".into(),
        count if count > LISTED_MAX => {
            format!(
                "{} and {} more",
                exports[..LISTED_MAX].join(", "),
                count - LISTED_MAX
            )
        }
        _ => exports.join(", "),
    }
}

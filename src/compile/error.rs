//! What can be wrong with a module, in the words of the person who deploys it.

use crate::layout::{LayoutError, MEMORY_RESERVED_BYTES, STATE_BYTES_MAX};
use std::fmt;

/// Why a module was not compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// The bytes are not a valid WebAssembly module.
    Invalid { message: String, offset: usize },
    /// The module is valid, but needs a proposal that is not supported.
    Unsupported {
        feature: String,
        message: String,
        offset: usize,
    },
    /// The module imports something other than a function, and is not compiled to be linked.
    UnsupportedImport {
        module: String,
        name: String,
        kind: &'static str,
        offset: usize,
    },
    /// A table starts larger than the limit on table elements.
    TableTooLarge {
        table: u32,
        minimum: u64,
        limit: u32,
    },
    /// The memories together start larger than the address space of an instance.
    MemoriesTooLarge { bytes: u64, limit: u64 },
    /// Globals, tables and segment flags need more room than an instance has for them.
    StateTooLarge { bytes: u64, limit: u64 },
    /// The module itself, or its machine code, is too large.
    TooLarge {
        what: &'static str,
        bytes: u64,
        limit: u64,
    },
    /// The machine the compiler runs on lacks what compiled code needs.
    UnsupportedCpu { message: String },
    /// The code generator refused a function.
    Codegen { function: u32, message: String },
}

impl std::error::Error for CompileError {}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::Invalid { message, offset } => {
                write!(
                    f,
                    "not a valid WebAssembly module: {message} (offset {offset:#x})"
                )
            }
            CompileError::Unsupported {
                feature,
                message,
                offset,
            } => write!(
                f,
                "uses {feature} (offset {offset:#x}: {message}), which is not supported; \
                 build the module without it"
            ),
            CompileError::UnsupportedImport {
                module,
                name,
                kind,
                offset,
            } => write!(
                f,
                "imports the {kind} \"{module}\" \"{name}\" (offset {offset:#x}); only functions can be imported, \
                 except by instances that are linked with others (linkable mode): \
                 define the {kind} in the module and export it"
            ),
            CompileError::TableTooLarge {
                table,
                minimum,
                limit,
            } => write!(
                f,
                "table {table} starts with {minimum} elements, the limit is {limit} (table_elements_max)"
            ),
            CompileError::MemoriesTooLarge { bytes, limit } => write!(
                f,
                "memory starts with {bytes} bytes (all memories together), the limit is {limit}; lower the minimum"
            ),
            CompileError::StateTooLarge { bytes, limit } => write!(
                f,
                "globals, tables and segments need {bytes} bytes of an instance, the limit is {limit}; \
                 lower the maximum of the tables"
            ),
            CompileError::TooLarge { what, bytes, limit } => {
                write!(f, "{what} takes {bytes} bytes, the limit is {limit}")
            }
            CompileError::UnsupportedCpu { message } => {
                write!(f, "this machine cannot run compiled code: {message}")
            }
            CompileError::Codegen { function, message } => {
                write!(f, "function {function} could not be compiled: {message}")
            }
        }
    }
}

impl From<LayoutError> for CompileError {
    fn from(error: LayoutError) -> Self {
        match error {
            LayoutError::StateTooLarge { bytes } => CompileError::StateTooLarge {
                bytes,
                limit: STATE_BYTES_MAX,
            },
            LayoutError::MemoriesTooLarge { bytes } => CompileError::MemoriesTooLarge {
                bytes,
                limit: MEMORY_RESERVED_BYTES,
            },
        }
    }
}

//! Why a guest stopped before its function returned, and where it was.

use std::fmt;
use std::time::Duration;

pub use crate::compile::TrapKind;
use crate::compile::info::ValueType;

/// A limit of an instance, with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Linear memory, in bytes: the most it may have, and what it asked for.
    Memory { limit_bytes: u64, wanted_bytes: u64 },
    /// Elements of one table: the most it may have, and what it asked for.
    Table {
        limit_elements: u64,
        wanted_elements: u64,
    },
    /// Time on the processor.
    CpuTime(Duration),
    /// Time since the call began.
    WallClock(Duration),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Memory {
                limit_bytes,
                wanted_bytes,
            } => write!(
                f,
                "memory limit exceeded: the function may have {limit_bytes} bytes of memory and asked for {wanted_bytes}"
            ),
            Limit::Table {
                limit_elements,
                wanted_elements,
            } => write!(
                f,
                "table limit exceeded: a table may have {limit_elements} elements and the function asked for {wanted_elements}"
            ),
            Limit::CpuTime(limit) => {
                write!(
                    f,
                    "CPU time limit exceeded: the function may run for {limit:?}"
                )
            }
            Limit::WallClock(limit) => {
                write!(f, "wall-clock limit exceeded: a call may take {limit:?}")
            }
        }
    }
}

/// An exception that no function of the guest caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Index of its tag in the module; in a store, what that calls the tag ([`Store::tag`](super::Store::tag)).
    pub tag: u32,
    /// The tag's name, from the name section or an export.
    pub name: Option<String>,
    /// The types of its values.
    pub types: Vec<ValueType>,
    /// Its values: a word each, two for a v128.
    pub words: Vec<u64>,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "uncaught exception: {name} (tag {})", self.tag)?,
            None => write!(f, "uncaught exception: tag {}", self.tag)?,
        }
        let mut words = self.words.iter().copied();
        let mut next = || words.next().unwrap_or(0);
        for (index, ty) in self.types.iter().enumerate() {
            f.write_str(if index == 0 { " with " } else { ", " })?;
            match ty {
                ValueType::I32 => write!(f, "{ty} {}", next() as i32)?,
                ValueType::I64 => write!(f, "{ty} {}", next() as i64)?,
                ValueType::F32 => write!(f, "{ty} {}", f32::from_bits(next() as u32))?,
                ValueType::F64 => write!(f, "{ty} {}", f64::from_bits(next()))?,
                ValueType::V128 => {
                    let (low, high) = (next(), next());
                    write!(f, "{ty} 0x{high:016x}{low:016x}")?;
                }
                reference => {
                    next();
                    write!(f, "{reference}")?;
                }
            }
        }
        Ok(())
    }
}

/// Why a guest was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A trap of the WebAssembly specification.
    Trap(TrapKind),
    /// It threw an exception and did not catch it.
    UncaughtException(Exception),
    /// The guest ended itself through the host (`proc_exit`), with this code.
    Exit(i32),
    /// A host function refused to go on; the text is for the function's author.
    Host(String),
    /// A limit was exceeded.
    Limit(Limit),
    /// A host function panicked: a defect of the host, contained.
    HostPanic(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Trap(kind) => write!(f, "{kind}"),
            Reason::UncaughtException(exception) => write!(f, "{exception}"),
            Reason::Exit(code) => write!(f, "exit with code {code}"),
            Reason::Host(message) => f.write_str(message),
            Reason::Limit(limit) => write!(f, "{limit}"),
            Reason::HostPanic(message) => write!(f, "defect in a host function: {message}"),
        }
    }
}

/// A wasm function that was active when the guest stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Index in the module's function index space.
    pub function: u32,
    /// Its name, from the name section or an export.
    pub name: Option<String>,
    /// Byte offset of the instruction in the wasm binary, where known.
    pub offset: Option<u32>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (function {})", self.function)?,
            None => write!(f, "function {}", self.function)?,
        }
        match self.offset {
            Some(offset) => write!(f, " at {offset:#x}"),
            None => Ok(()),
        }
    }
}

/// A guest's end before its function returned.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use dormouse::compile::{CompileOptions, compile};
/// # use dormouse::{Engine, EngineOptions, Imports, Instance, Limits, Module, Reason, TrapKind};
/// let engine = Engine::new(&EngineOptions::default())?;
/// let wasm = wat::parse_str(
///     r#"(module (func $broken unreachable) (func $main (export "main") (call $broken)))"#,
/// )?;
/// let module = Module::from_artifact(&engine, &compile(&wasm, &CompileOptions::default())?)?;
/// let mut instance = Instance::new(&module.link(&Imports::new())?, Limits::default(), Box::new(()))?;
/// let trap = module.typed::<(), ()>("main")?.call(&mut instance, ()).unwrap_err();
/// assert_eq!(trap.reason, Reason::Trap(TrapKind::Unreachable));
/// let functions: Vec<_> = trap.backtrace.iter().map(|frame| frame.name.as_deref()).collect();
/// assert_eq!(functions, [Some("broken"), Some("main")]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    pub reason: Reason,
    /// Innermost first; at most [`Trap::FRAMES_MAX`].
    pub backtrace: Vec<Frame>,
}

impl Trap {
    /// The most frames of a backtrace that are kept.
    pub const FRAMES_MAX: usize = 64;

    pub(crate) fn without_backtrace(reason: Reason) -> Trap {
        Trap {
            reason,
            backtrace: Vec::new(),
        }
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        for frame in &self.backtrace {
            write!(f, "\n  in {frame}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Trap {}

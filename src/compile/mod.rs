//! From WebAssembly bytes to an artifact: parse and validate, translate, native code, file.
//!
//! ```text
//!   wasm --parse--> ModuleInfo + bodies --translate--> CLIF --native--> machine code --link--> text --artifact--> file
//! ```
//!
//! Everything here is a pure function of the module, the options and the CPU: the same input gives the same bytes,
//! however many threads compile.
#![forbid(unsafe_code)]

pub mod artifact;
mod check;
mod error;
mod features;
pub mod info;
mod native;
mod parse;
mod refine;
mod sites;
mod text;
mod translate;
pub mod trap;
mod type_section;
pub mod types;

pub use error::CompileError;
pub use native::CompiledFunction;
pub use parse::WASM_BYTES_MAX;
pub use trap::TrapKind;

use std::num::NonZeroUsize;

/// How a module is compiled.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Threads that compile functions.
    pub threads: NonZeroUsize,
    /// The most elements a table may have: a larger minimum is refused, a larger maximum is lowered.
    pub table_elements_max: u32,
    /// Whether instances are to be linked with others in a [`Store`](crate::Store), and may import memories, tables, globals, tags and
    /// functions of theirs. What is shared is reached by pointers then, and a table that is exported may grow.
    pub linkable: bool,
}

/// The default of [`CompileOptions::table_elements_max`]: the entries of a growing table without a maximum take one MiB
/// of address space in every slot.
pub const TABLE_ELEMENTS_MAX: u32 = 1 << 17;

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions {
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            table_elements_max: TABLE_ELEMENTS_MAX,
            linkable: false,
        }
    }
}

/// Compiles a module to the bytes of an artifact for the CPU this runs on.
pub fn compile(wasm: &[u8], options: &CompileOptions) -> Result<Vec<u8>, CompileError> {
    let isa = native::host_isa()?;
    let mut module = parse::parse(wasm, options)?;
    let text = native::compile_module(wasm, &mut module, &*isa, options)?;
    artifact::write(&module, &text, &native::cpu_features(&*isa))
}

/// Compiles a module only as far as to look at what becomes of each of its functions, on an x86-64-v2 CPU, whatever this
/// runs on. For the compiler's tests, and for people who want to see machine code; nothing is linked.
pub fn inspect(
    wasm: &[u8],
    options: &CompileOptions,
) -> Result<Vec<CompiledFunction>, CompileError> {
    let isa = native::reference_isa()?;
    let mut module = parse::parse(wasm, options)?;
    native::inspect_module(wasm, &mut module, &*isa)
}

/// The instruction set extensions of this CPU that compiled code may use, sorted by name.
fn host_cpu_features() -> Result<Vec<String>, CompileError> {
    Ok(native::cpu_features(&*native::host_isa()?))
}

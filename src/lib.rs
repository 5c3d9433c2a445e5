//! The engine of Dormouse: WebAssembly bytes in, isolated instances out.
//!
//! It knows no sockets, no HTTP and no disk layout; the host hands it functions to import.
//!
//! ```text
//!   wasm --compile--> artifact --Module::load--> Module --link--> Linked --Instance::new--> Instance
//!                                                                   |                         | Image::capture
//!                                                                   +------Image::open------ file
//!                                                                            |
//!                                          Instance::reset  <--- call --- Image::restore
//! ```
//!
//! A module is [compiled](compile::compile) once, to an artifact: a file that is mapped. An instance is initialised once and
//! frozen into an [`Image`]; every request is answered by an instance restored from there, in microseconds, and put
//! back to it afterwards.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use dormouse::compile::{CompileOptions, compile};
//! use dormouse::{Caller, Engine, EngineOptions, Image, Imports, Instance, Limits, Module};
//!
//! // A function that counts how often it was called, from what its initialisation left.
//! let wasm = wat::parse_str(
//!     r#"(module
//!         (import "host" "print" (func $print (param i32 i32)))
//!         (memory (export "memory") 1)
//!         (data (i32.const 8) "hello")
//!         (global $calls (mut i32) (i32.const 0))
//!         (func (export "init") (global.set $calls (i32.const 100)))
//!         (func (export "handle") (result i32)
//!             (call $print (i32.const 8) (i32.const 5))
//!             (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
//!             (global.get $calls)))"#,
//! )?;
//! let engine = Engine::new(&EngineOptions::default())?;
//! let artifact = compile(&wasm, &CompileOptions::default())?;
//! let module = Module::from_artifact(&engine, &artifact)?;
//!
//! // What guests may call. A range that a guest names is checked against its memory.
//! let mut imports = Imports::new();
//! imports.define("host", "print", |caller: &mut Caller<'_>, address: u32, bytes: u32| {
//!     let text = caller.slice(address, bytes)?.to_vec();
//!     caller.data::<Vec<u8>>().extend(text);
//!     Ok(())
//! });
//! let linked = module.link(&imports)?;
//!
//! // Initialised once, and frozen.
//! let mut instance = Instance::new(&linked, Limits::default(), Box::new(Vec::<u8>::new()))?;
//! module.typed::<(), ()>("init")?.call(&mut instance, ())?;
//! let file = tempfile::tempfile()?;
//! Image::capture(&mut instance, &file)?;
//! let image = Image::open(&linked, &file)?;
//!
//! // Every call sees what was frozen, and nothing of the call before.
//! let handle = module.typed::<(), i32>("handle")?;
//! let mut instance = image.restore(Limits::default(), Box::new(Vec::<u8>::new()))?;
//! for _ in 0..3 {
//!     assert_eq!(handle.call(&mut instance, ())?, 101);
//!     assert_eq!(instance.data_mut::<Vec<u8>>(), b"hello");
//!     instance.reset(Box::new(Vec::<u8>::new()))?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `cargo run --example embed` is a longer one, with time slices and limits. An engine and all that it makes belong to one
//! thread; a process can have one on each.

pub mod compile;
pub mod layout;
mod sandbox;
mod snapshot;

pub use sandbox::{
    AtomicWait, Callable, Caller, CheckedArtifact, Engine, EngineError, EngineOptions, Exception,
    Export, Frame, HostFunction, HostResult, HostValue, Imports, Instance, InstanceId,
    InstantiateError, IntoHostFunction, Limit, Limits, LinkError, Linked, LoadError, Module,
    Parameters, Progress, Reason, Results, Stop, Store, StoreError, StoreImports, Trap, TrapKind,
    TypedError, TypedFunction, Unresolved,
};
pub use snapshot::{
    CheckedImage, Gathering, Image, ImageError, ImageReport, Prefetch, ResetError, ResetReport,
    RestoreError,
};

//! The engine of Dormouse: WebAssembly bytes in, isolated instances out.
//!
//! It knows no sockets, no HTTP and no disk layout; the host hands it functions to import.

pub mod compile;
pub mod layout;
mod sandbox;
mod snapshot;

pub use sandbox::{
    AtomicWait, Callable, Caller, CheckedArtifact, Engine, EngineError, EngineOptions, Exception,
    Frame, HostFunction, HostResult, HostValue, Imports, Instance, InstantiateError,
    IntoHostFunction, Limit, Limits, LinkError, Linked, LoadError, Module, Progress, Reason, Stop,
    Trap, TrapKind, Unresolved,
};
pub use snapshot::{
    CheckedImage, Image, ImageError, ImageReport, Prefetch, ResetError, ResetReport, RestoreError,
};

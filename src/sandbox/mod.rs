//! The sandbox: slots of address space, instances in them, fibers, traps, preemption and limits.
//!
//! Unsafe code lives here, at the thinnest possible edge of `snapshot`, and nowhere else.

mod array;
mod atomic;
mod builtins;
mod call;
mod code;
mod collector;
mod contents;
mod engine;
mod exact_faults;
mod exception;
pub(crate) mod extents;
mod fiber;
mod heap;
mod host_function;
mod instance;
mod instantiate;
mod links;
mod module;
mod origin;
pub(crate) mod os;
mod signals;
mod slots;
mod stack;
mod store;
mod store_heap;
mod store_types;
mod trap;
mod typed;

pub use atomic::AtomicWait;
pub use call::Progress;
pub(crate) use contents::Contents;
pub(crate) use engine::IMAGE_MAPPINGS;
pub use engine::{Engine, EngineError, EngineOptions};
pub(crate) use exact_faults::ExactFaults;
pub use host_function::{
    Caller, HostFunction, HostResult, HostValue, Imports, IntoHostFunction, Stop,
};
pub(crate) use instance::Inner;
pub use instance::{Instance, Limits};
pub use instantiate::InstantiateError;
pub(crate) use instantiate::accessible_parts;
pub use module::{Callable, CheckedArtifact, LinkError, Linked, LoadError, Module, Unresolved};
pub(crate) use origin::{Origin, Part, Settled};
pub(crate) use slots::{OriginId, SlotError};
pub use store::{Export, InstanceId, Store, StoreError, StoreImports};
pub use trap::{Exception, Frame, Limit, Reason, Trap, TrapKind};
pub use typed::{Parameters, Results, TypedError, TypedFunction};

//! Functions of the host that guests import, and what such a function may do.
//!
//! A host function sees guest memory only as a slice of the memory's current length, so that no guest pointer is
//! ever followed unchecked. It runs on the guest's own stack (see `fiber.rs`): while it waits in
//! [`Caller::suspend`] the thread does other work, and a guest that is stopped meanwhile never returns from there.
//! So nothing that needs dropping may be held across a suspension.

use super::instance::Inner;
use super::trap::{Limit, Reason};
use crate::compile::info::{FunctionType, ValueType};
use std::any::Any;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::rc::Rc;

/// Why a host function ends the guest instead of returning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The guest asked to end, with this exit code.
    Exit(i32),
    /// The call cannot be answered; the text tells the function's author what was wrong.
    Error(String),
    /// The call would exceed a limit.
    Limit(Limit),
}

impl Stop {
    pub fn error(message: impl Into<String>) -> Stop {
        Stop::Error(message.into())
    }

    pub(crate) fn into_reason(self) -> Reason {
        match self {
            Stop::Exit(code) => Reason::Exit(code),
            Stop::Error(message) => Reason::Host(message),
            Stop::Limit(limit) => Reason::Limit(limit),
        }
    }
}

/// The guest that called a host function.
pub struct Caller<'a> {
    pub(crate) inner: NonNull<Inner>,
    pub(crate) borrow: std::marker::PhantomData<&'a mut Inner>,
}

/// A host function in its untyped form: parameters in, results out, one 64-bit word each.
pub type HostFunction = Rc<dyn Fn(&mut Caller<'_>, &mut [u64]) -> Result<(), Stop>>;

/// Host functions by the module and name under which guests import them.
#[derive(Clone, Default)]
pub struct Imports {
    functions: HashMap<(String, String), (FunctionType, HostFunction)>,
}

impl Imports {
    pub fn new() -> Imports {
        Imports::default()
    }

    /// Defines a function whose type follows from its Rust parameters (`i32`, `u32`, `i64`, `u64`, `f32`, `f64`) and its result (one
    /// of those or `()`). A definition of the same module and name is replaced.
    pub fn define<P, R>(
        &mut self,
        module: &str,
        name: &str,
        function: impl IntoHostFunction<P, R>,
    ) -> &mut Imports {
        let (ty, function) = function.into_host_function();
        self.define_untyped(module, name, ty, function)
    }

    /// Defines a function of any type; see [`HostFunction`] for how it takes values.
    pub fn define_untyped(
        &mut self,
        module: &str,
        name: &str,
        ty: FunctionType,
        function: HostFunction,
    ) -> &mut Imports {
        self.functions
            .insert((module.to_owned(), name.to_owned()), (ty, function));
        self
    }

    pub(crate) fn get(&self, module: &str, name: &str) -> Option<&(FunctionType, HostFunction)> {
        self.functions.get(&(module.to_owned(), name.to_owned()))
    }
}

/// A number that crosses between guest and host.
pub trait HostValue: Sized + 'static {
    const TYPE: ValueType;
    fn from_word(word: u64) -> Self;
    fn into_word(self) -> u64;
}

macro_rules! host_value {
    ($($rust:ty, $wasm:ident, $from:expr, $into:expr;)*) => {$(
        impl HostValue for $rust {
            const TYPE: ValueType = ValueType::$wasm;
            fn from_word(word: u64) -> Self { $from(word) }
            fn into_word(self) -> u64 { $into(self) }
        }
    )*};
}

host_value! {
    i32, I32, |w| w as u32 as i32, |v: i32| v as u32 as u64;
    u32, I32, |w| w as u32, u64::from;
    i64, I64, |w| w as i64, |v: i64| v as u64;
    u64, I64, |w| w, |v| v;
    f32, F32, |w| f32::from_bits(w as u32), |v: f32| u64::from(v.to_bits());
    f64, F64, f64::from_bits, f64::to_bits;
}

/// The result of a host function: nothing or one number.
pub trait HostResult {
    fn types() -> Vec<ValueType>;
    fn store(self, values: &mut [u64]);
}

impl HostResult for () {
    fn types() -> Vec<ValueType> {
        Vec::new()
    }
    fn store(self, _: &mut [u64]) {}
}

impl<T: HostValue> HostResult for T {
    fn types() -> Vec<ValueType> {
        vec![T::TYPE]
    }
    fn store(self, values: &mut [u64]) {
        values[0] = self.into_word();
    }
}

/// A Rust closure usable as a host function: `Fn(&mut Caller, P0, P1, ...) -> Result<R, Stop>`.
pub trait IntoHostFunction<P, R> {
    fn into_host_function(self) -> (FunctionType, HostFunction);
}

macro_rules! into_host_function {
    ($($parameter:ident $index:tt),*) => {
        impl<F, R, $($parameter),*> IntoHostFunction<($($parameter,)*), R> for F
        where
            F: Fn(&mut Caller<'_>, $($parameter),*) -> Result<R, Stop> + 'static,
            R: HostResult,
            $($parameter: HostValue,)*
        {
            fn into_host_function(self) -> (FunctionType, HostFunction) {
                let ty = FunctionType {
                    parameters: vec![$($parameter::TYPE),*],
                    results: R::types(),
                };
                let function = move |caller: &mut Caller<'_>, values: &mut [u64]| {
                    let result = self(caller, $($parameter::from_word(values[$index])),*)?;
                    result.store(values);
                    Ok(())
                };
                (ty, Rc::new(function))
            }
        }
    };
}

into_host_function!();
into_host_function!(P0 0);
into_host_function!(P0 0, P1 1);
into_host_function!(P0 0, P1 1, P2 2);
into_host_function!(P0 0, P1 1, P2 2, P3 3);
into_host_function!(P0 0, P1 1, P2 2, P3 3, P4 4);
into_host_function!(P0 0, P1 1, P2 2, P3 3, P4 4, P5 5);
into_host_function!(P0 0, P1 1, P2 2, P3 3, P4 4, P5 5, P6 6);
into_host_function!(P0 0, P1 1, P2 2, P3 3, P4 4, P5 5, P6 6, P7 7);
into_host_function!(P0 0, P1 1, P2 2, P3 3, P4 4, P5 5, P6 6, P7 7, P8 8);

/// A guest named a range that does not lie in its memory.
fn out_of_bounds(address: u32, bytes: u32, memory_bytes: usize) -> Stop {
    Stop::Error(format!(
        "the guest passed {bytes} bytes at {address:#x} to a host function, beyond its memory of {memory_bytes} bytes"
    ))
}

impl Caller<'_> {
    /// The guest's linear memory exported as `memory`, otherwise memory 0, as long as it is now; empty for a module
    /// without one.
    pub fn memory(&mut self) -> &mut [u8] {
        self.data_and_memory_of().1
    }

    /// The range of guest memory, or an error that says the guest passed a bad one.
    pub fn slice(&mut self, address: u32, bytes: u32) -> Result<&mut [u8], Stop> {
        let memory = self.memory();
        let memory_bytes = memory.len();
        let start = address as usize;
        memory
            .get_mut(start..start.saturating_add(bytes as usize))
            .ok_or_else(|| out_of_bounds(address, bytes, memory_bytes))
    }

    /// What the embedder keeps for this instance.
    ///
    /// # Panics
    /// When the instance was given data of another type.
    pub fn data<T: 'static>(&mut self) -> &mut T {
        self.data_and_memory::<T>().0
    }

    /// Both at once, for copying between them.
    ///
    /// # Panics
    /// When the instance was given data of another type.
    pub fn data_and_memory<T: 'static>(&mut self) -> (&mut T, &mut [u8]) {
        let (data, memory) = self.data_and_memory_of();
        let data = data
            .downcast_mut()
            .expect("host functions and instance data belong together");
        (data, memory)
    }

    fn data_and_memory_of(&mut self) -> (&mut (dyn Any + 'static), &mut [u8]) {
        // SAFETY: `inner` is the instance that is executing this very host call, alive until the call returns (`fiber.rs`
        // keeps it). The borrow of `self` is exclusive, and neither the guest nor the thread's loop touches
        // the data or the memory while the host function runs. The memory slice is the accessible part only.
        unsafe {
            let inner = self.inner.as_ptr();
            ((*inner).data_mut(), (*inner).host_memory_mut())
        }
    }

    /// Time on the processor of the call in progress, up to now.
    pub fn cpu_time(&self) -> std::time::Duration {
        // SAFETY: a host function runs on the fiber of a call, whose instance is alive; the fields read are plain numbers.
        unsafe { (*super::signals::running_instance()).cpu_time_in_call() }
    }

    /// Gives the thread back until the embedder resumes the instance.
    ///
    /// [`Instance::resume`](super::Instance::resume) returns [`Progress::Blocked`](super::Progress::Blocked). What the guest waits for is for the
    /// host function to note in the instance's data and to look at again when this returns: a guest may be
    /// resumed for no reason. If the guest is stopped instead, this does not return and nothing is dropped.
    pub fn suspend(&mut self) {
        super::fiber::suspend_blocked(self.inner);
    }
}

//! Fibers: how a guest's call is begun, suspended and resumed on one thread.
//!
//! ```text
//!   resume() --------> switch to the fiber's stack --> trampoline --> guest <--> host functions
//!      ^                                                                |            |
//!      |   Preempted: the timer's signal handler suspends ------------- +            |
//!      |   Blocked:   a host function waits ----------------------------|----------- +
//!      +-- Stopped:   a trap, an exit, a refusal; never resumed --------+------------+
//! ```
//!
//! A fiber that will not be resumed is abandoned: its frames are forgotten, nothing on them is dropped. Compiled code
//! has nothing to drop, and the entry points below hold nothing across a switch.

use super::host_function::{Caller, Stop};
use super::instance::{Inner, Place};
use super::signals;
use super::stack::FiberStack;
use super::trap::Reason;
use crate::layout::header;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::any::Any;
use std::arch::asm;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

/// Why a fiber gave the thread back without having finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    Preempted,
    Blocked,
    /// Never to be resumed; `Inner::stop` says why.
    Stopped,
}

/// What a fiber's frames need to suspend it.
pub type FiberYielder = Yielder<(), Suspension>;

/// A call in progress.
pub struct Fiber {
    coroutine: Coroutine<(), Suspension, (), FiberStack>,
}

/// `extern "C" fn(vmctx, code, values)`: an entry trampoline of compiled code.
pub type Trampoline = unsafe extern "C" fn(*mut u8, *const u8, *mut u64);

/// How a function is entered.
#[derive(Clone, Copy)]
pub struct Entry {
    pub trampoline: Trampoline,
    pub code: *const u8,
    pub vmctx: *mut u8,
}

impl Fiber {
    /// Prepares a call of the function at `code` through `trampoline`; nothing runs yet.
    ///
    /// # Safety
    /// `inner`, and the instance that the entry's vmctx is of, outlive the fiber; the entry and `Inner::values` belong to one
    /// function; while the fiber runs, the stack limit in the headers of all instances it can reach lies in `stack` with the
    /// host's reserve below.
    pub unsafe fn new(stack: FiberStack, inner: NonNull<Inner>, entry: Entry) -> Fiber {
        let coroutine = Coroutine::with_stack(stack, move |yielder: &FiberYielder, ()| {
            // SAFETY: `inner` outlives the fiber (the caller's promise); no reference into it is live while
            // the guest runs, only the raw pointer. The trampoline is called as it was compiled.
            unsafe {
                (*inner.as_ptr()).yielder = yielder;
                let values = (*inner.as_ptr()).values.as_mut_ptr();
                (entry.trampoline)(entry.vmctx, entry.code, values);
            }
        });
        Fiber { coroutine }
    }

    /// Runs until the call returns (`None`) or is suspended.
    pub fn resume(&mut self) -> Option<Suspension> {
        match self.coroutine.resume(()) {
            CoroutineResult::Yield(suspension) => Some(suspension),
            CoroutineResult::Return(()) => None,
        }
    }

    /// Gives the stack back, forgetting the frames of a call that did not finish.
    pub fn into_stack(mut self) -> FiberStack {
        if !self.coroutine.done() {
            // SAFETY: the frames on the stack, if it was started at all, are those of compiled code and of the entry points of this module and
            // `signals.rs`, whose locals need no dropping when a suspension does not return. Host functions are told so.
            unsafe { self.coroutine.force_reset() };
        }
        self.coroutine.into_stack()
    }
}

/// Suspends the fiber of a call that was begun in `inner`. Returns when it is resumed.
///
/// Meanwhile another call may collect objects, and looks for references from the registers that are saved here on. So this has a frame of
/// its own: whatever its caller holds, in registers or on the stack, is there or further out.
///
/// # Safety
/// Called on the fiber of `inner`, the instance that the call was begun in, with no reference into `inner` live.
#[inline(never)]
pub unsafe fn suspend(inner: *mut Inner, suspension: Suspension) {
    let mut saved = [0u64; 6];
    // SAFETY: stores the registers that callees preserve; the yielder was noted by this fiber's first frame, which is still below us on
    // this stack.
    unsafe {
        asm!(
            "mov [{saved}], rbx",
            "mov [{saved} + 8], rbp",
            "mov [{saved} + 16], r12",
            "mov [{saved} + 24], r13",
            "mov [{saved} + 32], r14",
            "mov [{saved} + 40], r15",
            saved = in(reg) saved.as_mut_ptr(),
            options(nostack, preserves_flags),
        );
        (*inner).suspended_at = saved.as_ptr() as usize;
        (*(*inner).yielder).suspend(suspension);
        (*inner).suspended_at = 0;
    }
    std::hint::black_box(&saved);
}

/// Notes that the call in progress is in the host, called by code of `inner`; answers the instance that the call was begun in.
///
/// # Safety
/// On the fiber of a call that has come to `inner`, which is not necessarily where it was begun.
unsafe fn in_host(inner: *mut Inner) -> *mut Inner {
    let call = signals::running_instance();
    debug_assert!(!call.is_null());
    // SAFETY: both instances are alive: this is the fiber of one, and code of the other called the host.
    unsafe {
        let frame = (*inner).read_header(header::EXIT_FRAME) as usize;
        (*call).place = Place::HostCall { frame };
    }
    call
}

/// Ends the guest from one of its host calls.
///
/// # Safety
/// On the fiber of a call that has come to `inner`, with no reference into that or into the instance of the call live; and nothing
/// on the stack needs dropping.
pub unsafe fn stop(inner: *mut Inner, reason: Reason) -> ! {
    // SAFETY: we are on the fiber, so the instance's owner waits in `resume` and does not look at it.
    unsafe {
        let call = in_host(inner);
        (*call).stop = Some(reason);
        suspend(call, Suspension::Stopped);
    }
    unreachable!("a stopped fiber is never resumed")
}

/// Suspends a guest in the host, called by code of `inner`.
///
/// # Safety
/// As for [`stop`], but that what is on the stack may be dropped when the guest goes on.
unsafe fn suspend_in_host(inner: *mut Inner, suspension: Suspension) {
    // SAFETY: the caller's promise. Another call of the same store may come through the same instance meanwhile, and leave its frame.
    unsafe {
        let frame = (*inner).read_header(header::EXIT_FRAME);
        suspend(in_host(inner), suspension);
        (*inner).write_header(header::EXIT_FRAME, frame);
    }
}

/// See [`Caller::suspend`].
pub fn suspend_blocked(inner: NonNull<Inner>) {
    // SAFETY: `inner` comes from a `Caller`, which exists only while its instance executes a host call on its fiber; the
    // caller's exclusive borrow shows that no reference into the instance is live.
    unsafe {
        suspend_in_host(inner.as_ptr(), Suspension::Blocked);
    }
}

/// Suspends a guest whose time slice ended while it was in the host, on its way back or between two parts of long work.
///
/// # Safety
/// As for [`stop`].
pub unsafe fn yield_if_preempted(inner: *mut Inner) {
    let call = signals::running_instance();
    // SAFETY: the flag is atomic and shared only with the signal handler of this thread; the running instance is alive.
    unsafe {
        if (*call).preempt_pending.swap(false, Ordering::Relaxed) {
            suspend_in_host(inner, Suspension::Preempted);
        }
    }
}

/// The instance a vmctx belongs to.
///
/// # Safety
/// `vmctx` is that of a live instance.
pub unsafe fn inner_of(vmctx: *mut u8) -> *mut Inner {
    // SAFETY: the header word is written when the instance is made and guests cannot reach it.
    unsafe {
        vmctx
            .offset(header::INSTANCE as isize)
            .cast::<*mut Inner>()
            .read()
    }
}

/// Compiled code's entry for calls of imports; see [`header::HOST_CALL`].
///
/// # Safety
/// Called by an import stub of compiled code only.
pub unsafe extern "C" fn host_call(vmctx: *mut u8, import: u32, values: *mut u64) {
    // SAFETY: the stub passes its own vmctx, so the instance is live and this is its fiber; `import` is a constant of the
    // module the imports were resolved for; `values` has room for the larger of parameters and results. The
    // linked imports are shared, never written.
    unsafe {
        let inner = inner_of(vmctx);
        let outcome = {
            let import = (*inner).linked.import(import);
            let values = std::slice::from_raw_parts_mut(values, import.words);
            let mut caller = Caller {
                inner: NonNull::new_unchecked(inner),
                borrow: PhantomData,
            };
            catch_unwind(AssertUnwindSafe(|| {
                (import.function)(&mut caller, values)?;
                if let Some(results) = &import.results {
                    assert!(
                        (*inner).are_references(results, values),
                        "a host function returned a reference that is none of the module's"
                    );
                }
                Ok::<(), Stop>(())
            }))
        };
        match outcome {
            Ok(Ok(())) => yield_if_preempted(inner),
            Ok(Err(refusal)) => {
                let reason = refusal.into_reason();
                stop(inner, reason)
            }
            Err(panic) => {
                let reason = Reason::HostPanic(panic_message(panic));
                stop(inner, reason)
            }
        }
    }
}

/// Runs the body of a built-in: a panic in it, a defect of ours, ends the guest and not the process.
///
/// # Safety
/// As for [`stop`].
pub unsafe fn contain(inner: *mut Inner, body: impl FnOnce() -> Result<u64, Reason>) -> u64 {
    let outcome = catch_unwind(AssertUnwindSafe(body));
    // SAFETY: forwarded; what the body owned is dropped by now.
    unsafe {
        match outcome {
            Ok(Ok(value)) => {
                yield_if_preempted(inner);
                value
            }
            Ok(Err(reason)) => stop(inner, reason),
            Err(panic) => {
                let reason = Reason::HostPanic(panic_message(panic));
                stop(inner, reason)
            }
        }
    }
}

fn panic_message(panic: Box<dyn Any + Send>) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Where a guest that faulted goes on, by the trap handler's doing: it leaves its stack for good.
///
/// # Safety
/// Entered by `signals.rs` only, on the fiber of `inner`.
pub unsafe extern "C" fn land_after_fault(inner: *mut Inner) -> ! {
    // SAFETY: the handler took `inner` from the thread's running instance.
    unsafe { suspend(inner, Suspension::Stopped) };
    unreachable!("a stopped fiber is never resumed")
}

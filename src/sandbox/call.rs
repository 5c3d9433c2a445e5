//! Calls: beginning one in an instance, running it by turns, and how it ends.
//!
//! A call has a fiber from [`Instance::begin`] until it returned, was stopped, or its instance is dropped. What can be said of a guest
//! that stopped (the trap, the functions it was in) is gathered before its stack is given to somebody else.

use super::fiber::{Fiber, Suspension};
use super::instance::{Instance, Place};
use super::module::Callable;
use super::os;
use super::signals;
use super::trap::{Frame, Limit, Reason, Trap};
use crate::layout::{PAGE_BYTES, header};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How far a call got.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The function returned; the words of its results (two for a v128).
    Returned(Vec<u64>),
    /// The guest ended early and will not go on.
    Stopped(Trap),
    /// Its time slice ended; it goes on when resumed.
    Preempted,
    /// A host function waits; the instance's data says for what.
    Blocked,
}

impl Instance {
    /// Begins a call; [`Instance::resume`] runs it.
    ///
    /// # Errors
    /// When there is no memory for a stack, or the instance was trimmed and its image cannot be read any more.
    ///
    /// # Panics
    /// When a call is in progress, the function is not one the host can call (exported, or the start function), the
    /// number of words is not that of its parameters, or the word for a reference is none of its type: for a function, one that
    /// this module gave out.
    pub fn begin(&mut self, callable: Callable, arguments: &[u64]) -> std::io::Result<()> {
        assert!(
            self.fiber.is_none(),
            "an instance executes one call at a time"
        );
        self.wake()?;
        let pointer = self.inner;
        let inner = self.inner_mut();
        let entry = inner
            .entry(callable)
            .expect("only exported functions and the start function are called");
        let ty = inner.linked.module().function_type(callable);
        let parameter_words: usize = ty.parameters.iter().map(|ty| ty.words()).sum();
        let result_words: usize = ty.results.iter().map(|ty| ty.words()).sum();
        assert_eq!(arguments.len(), parameter_words, "one word a parameter");
        assert!(
            inner.are_references(&ty.parameters, arguments),
            "a word for a reference is null, if its type allows, or one that the module gave out"
        );
        let stacks = inner.engine().shared.stacks.clone();
        let mut stack = stacks.take()?;
        if inner.linked.module().info().has_heap() {
            stack.clear();
        }
        let guest_bytes = inner.limits.stack_bytes.min(stacks.guest_bytes());
        let stack_base = corosensei::stack::Stack::base(&stack).get();
        inner.stack_limit = stack_base - guest_bytes;
        inner.values.clear();
        inner.values.extend_from_slice(arguments);
        inner.values.resize(parameter_words.max(result_words), 0);
        inner.cpu_ns = 0;
        inner.make_room_for_exception();
        inner.forget_refusals();
        inner.stop = None;
        inner.fault = None;
        // A backtrace of a call that was stopped before it ran is empty, not that of the call before.
        inner.place = Place::HostCall { frame: 0 };
        inner.write_header(header::EXIT_FRAME, 0);
        inner.write_header(header::STACK_LIMIT, inner.stack_limit as u64);
        inner.preempt_pending.store(false, Ordering::Relaxed);
        // SAFETY: `inner` is freed in `drop`, after the fiber, and what it is linked with when the store is; the entry is that of one
        // function and `values` was just sized for it; the limit, which `resume` writes to the headers, is at least the host's
        // reserve above the stack's end.
        self.fiber = Some(unsafe { Fiber::new(stack, pointer, entry) });
        self.result_words = result_words;
        Ok(())
    }

    /// Runs the call that was begun until it returns, is stopped, has had its time slice, or waits.
    ///
    /// # Panics
    /// When no call was begun, or from within a host function.
    pub fn resume(&mut self) -> Progress {
        assert!(
            !signals::running(),
            "a host function cannot run another guest on its own fiber"
        );
        let fiber = self.fiber.as_mut().expect("a call was begun");
        let inner = self.inner.as_ptr();
        // SAFETY: the instance is borrowed exclusively; no reference into `inner` is live while the fiber runs.
        let suspension = unsafe {
            if (*inner).is_linked() {
                // Another call may have run in the meantime in what this one comes to.
                (*inner).take_turn();
            }
            (*inner).resumed_at_ns = os::monotonic_ns();
            signals::enter(inner);
            let suspension = fiber.resume();
            signals::leave();
            (*inner).cpu_ns += os::monotonic_ns() - (*inner).resumed_at_ns;
            suspension
        };
        match suspension {
            None => {
                self.end_call();
                let words = self.result_words;
                Progress::Returned(self.inner().values[..words].to_vec())
            }
            Some(Suspension::Stopped) => {
                let reason = self.take_reason();
                Progress::Stopped(self.stop(reason))
            }
            Some(suspension) => {
                let inner = self.inner();
                match inner.limits.cpu_time {
                    Some(limit) if Duration::from_nanos(inner.cpu_ns) >= limit => {
                        Progress::Stopped(self.stop(Reason::Limit(Limit::CpuTime(limit))))
                    }
                    _ if suspension == Suspension::Blocked => Progress::Blocked,
                    _ => Progress::Preempted,
                }
            }
        }
    }

    /// Ends a call that was begun and is suspended.
    ///
    /// # Panics
    /// When no call was begun.
    pub fn stop(&mut self, reason: Reason) -> Trap {
        let backtrace = self.backtrace();
        self.end_call();
        Trap { reason, backtrace }
    }

    /// Begins a call and runs it to its end; a guest that waits is resumed at once.
    ///
    /// # Panics
    /// As [`Instance::begin`] and [`Instance::resume`].
    pub fn call(&mut self, callable: Callable, arguments: &[u64]) -> Result<Vec<u64>, Trap> {
        self.begin(callable, arguments).map_err(|error| {
            Trap::without_backtrace(Reason::Host(format!(
                "there is no memory for a stack: {error}"
            )))
        })?;
        loop {
            match self.resume() {
                Progress::Returned(results) => return Ok(results),
                Progress::Stopped(trap) => return Err(trap),
                Progress::Preempted => {}
                Progress::Blocked => {
                    if let Some(wait) = self.atomic_wait()
                        && let Err(message) = wait.sleep()
                    {
                        return Err(self.stop(Reason::Host(message.to_owned())));
                    }
                }
            }
        }
    }

    /// Gives the fiber's stack back.
    pub(super) fn end_call(&mut self) {
        self.inner_mut().end_wait();
        self.inner_mut().suspended_at = 0;
        let fiber = self.fiber.take().expect("a call was begun");
        self.inner()
            .engine()
            .shared
            .stacks
            .give_back(fiber.into_stack());
    }

    /// Why the guest stopped, from what the host call or the fault left.
    fn take_reason(&mut self) -> Reason {
        let inner = self.inner_mut();
        if let Some(reason) = inner.stop.take() {
            return reason;
        }
        let fault = inner
            .fault
            .take()
            .expect("a stopped guest left a reason or a fault");
        if fault.signal == libc::SIGBUS && inner.reaches(fault.address) {
            inner.image_lost = true;
            return Reason::Host(
                "a page of the instance could not be read from its image file".to_owned(),
            );
        }
        let kind = inner.module_at(fault.pc).trap_at(fault.pc);
        let faulted_on_memory = fault.signal == libc::SIGSEGV || fault.signal == libc::SIGBUS;
        match kind {
            // A memory access traps only in the slot of the instance or of one it is linked with, or at the null page, where checked accesses are sent
            // so that not even speculation goes elsewhere: anywhere else the sandbox would be broken.
            Some(kind)
                if !faulted_on_memory
                    || inner.reaches(fault.address)
                    || fault.address < PAGE_BYTES =>
            {
                match inner.refusal() {
                    Some(limit) => Reason::Limit(limit.clone()),
                    None => Reason::Trap(kind),
                }
            }
            _ => {
                // To go on would be to serve from a process whose isolation is in doubt.
                eprintln!(
                    "dormouse: a guest broke out of its sandbox: {fault:x?}; this is a defect, aborting"
                );
                std::process::abort();
            }
        }
    }

    /// The wasm functions active in a suspended call, innermost first.
    fn backtrace(&self) -> Vec<Frame> {
        let inner = self.inner();
        let mut frames = Vec::new();
        let stack = inner.frames_range();
        let mut frame = match inner.place {
            Place::Code { pc, frame } => {
                frames.extend(inner.module_at(pc).frame_at(pc));
                frame
            }
            Place::HostCall { frame } => frame,
        };
        while frames.len() < Trap::FRAMES_MAX && stack.contains(&frame) && frame % 8 == 0 {
            // SAFETY: the two words at `frame` lie on the call's stack, which is mapped.
            let (caller, return_address) = unsafe {
                (
                    (frame as *const usize).read(),
                    (frame as *const usize).add(1).read(),
                )
            };
            let module = inner.module_at(return_address);
            match module.frame_of_call(return_address) {
                Some(found) => frames.push(found),
                None => break,
            }
            if caller <= frame {
                break;
            }
            frame = caller;
        }
        frames
    }
}

//! memory.atomic.wait and memory.atomic.notify.
//!
//! Whoever waits is in a queue of the engine's by the address of the word, which no two memories share. Its fiber is
//! suspended until it was notified or its time is over; until then the embedder has the thread. All guests of an engine are
//! on one thread, so between the comparison and the entry in the queue nothing else happens.

use super::fiber::{contain, inner_of, suspend_blocked};
use super::instance::{Inner, Instance};
use super::trap::{Reason, TrapKind};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What `memory.atomic.wait` returns.
const NOTIFIED: u64 = 0;
const NOT_EQUAL: u64 = 1;
const TIMED_OUT: u64 = 2;

/// Who waits, in the order they came. Each is in it until it is notified, its time is over, or its call ends.
#[derive(Debug, Default)]
pub(crate) struct Waiters(RefCell<VecDeque<(usize, *mut Inner)>>);

impl Waiters {
    fn forget(&self, inner: *mut Inner) {
        self.0.borrow_mut().retain(|(_, other)| *other != inner);
    }
}

/// A guest's wait in `memory.atomic.wait32` or `wait64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtomicWait {
    /// When it ends by itself; never, without one.
    pub deadline: Option<Instant>,
    /// Another guest has ended it: the instance is to be resumed.
    pub notified: bool,
}

impl AtomicWait {
    /// Sleeps as long as the wait lasts, on a thread on which nothing else runs that could end it.
    ///
    /// # Errors
    /// When it would never end.
    pub fn sleep(self) -> Result<(), &'static str> {
        match self.deadline {
            _ if self.notified => Ok(()),
            Some(deadline) => {
                std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
                Ok(())
            }
            None => Err(
                "the guest waits for ever: it called memory.atomic.wait without a timeout, and nobody else runs who could notify it",
            ),
        }
    }
}

impl Instance {
    /// What the suspended guest waits for in `memory.atomic.wait`, if it does.
    ///
    /// After [`Progress::Blocked`](super::Progress::Blocked), the instance is to be resumed when the deadline is over or the guest was
    /// notified. It may be resumed at any time; if neither is so, it blocks again.
    pub fn atomic_wait(&self) -> Option<AtomicWait> {
        self.inner().atomic_wait
    }
}

impl Inner {
    /// A call that waits has ended another way.
    pub(super) fn end_wait(&mut self) {
        if self.atomic_wait.take().is_some() {
            let pointer: *mut Inner = self;
            self.engine().shared.waiters.forget(pointer);
        }
    }
}

/// The address of an aligned word of `bytes` bytes in a memory.
///
/// # Safety
/// `inner` is live, and nothing refers to it exclusively.
unsafe fn word(
    inner: *mut Inner,
    memory: u64,
    index: u64,
    offset: u64,
    bytes: u64,
) -> Result<*mut u8, Reason> {
    // SAFETY: forwarded; the memory's number is one of the module's, by translation.
    let (length, base) = unsafe {
        let memory = memory as usize;
        ((*inner).memory_length(memory), (*inner).memory_base(memory))
    };
    if !index.wrapping_add(offset).is_multiple_of(bytes) {
        return Err(Reason::Trap(TrapKind::UnalignedAtomic));
    }
    let end = index
        .checked_add(offset)
        .and_then(|start| start.checked_add(bytes));
    match end {
        Some(end) if end <= length => Ok(base.wrapping_add((end - bytes) as usize)),
        _ => Err(Reason::Trap(TrapKind::MemoryOutOfBounds)),
    }
}

pub(super) unsafe extern "C" fn wait32(
    vmctx: *mut u8,
    memory: u64,
    index: u64,
    offset: u64,
    expected: u64,
    timeout: u64,
) -> u64 {
    // SAFETY: called by a stub of compiled code with its vmctx, so the instance is live, this is its fiber, and its owner waits in
    // `resume`; the word is aligned and lies in the memory.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let word = word(inner, memory, index, offset, 4)?;
            let found = AtomicU32::from_ptr(word.cast()).load(Ordering::SeqCst);
            wait(inner, memory, word, u64::from(found) == expected, timeout)
        })
    }
}

pub(super) unsafe extern "C" fn wait64(
    vmctx: *mut u8,
    memory: u64,
    index: u64,
    offset: u64,
    expected: u64,
    timeout: u64,
) -> u64 {
    // SAFETY: as in `wait32`.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let word = word(inner, memory, index, offset, 8)?;
            let found = AtomicU64::from_ptr(word.cast()).load(Ordering::SeqCst);
            wait(inner, memory, word, found == expected, timeout)
        })
    }
}

/// Waits at a word, if it has the value that was expected.
///
/// # Safety
/// On the fiber of `inner`, with no reference into it live.
unsafe fn wait(
    inner: *mut Inner,
    memory: u64,
    word: *mut u8,
    equal: bool,
    timeout: u64,
) -> Result<u64, Reason> {
    // SAFETY: forwarded; references into `inner` end before it is suspended, and the queue is not borrowed then. `end_wait` takes
    // the entry out of the queue before `inner` is freed, for a call ends before that.
    unsafe {
        if !(*inner).linked.module().info().memories[memory as usize].shared {
            return Err(Reason::Trap(TrapKind::ExpectedSharedMemory));
        }
        if !equal {
            return Ok(NOT_EQUAL);
        }
        // Negative: for ever. So is a deadline beyond what the clock can say.
        let timeout = u64::try_from(timeout as i64).ok().map(Duration::from_nanos);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let waiters = &raw const (*inner).engine().shared.waiters;
        (*waiters).0.borrow_mut().push_back((word as usize, inner));
        (*inner).atomic_wait = Some(AtomicWait {
            deadline,
            notified: false,
        });
        loop {
            let notified = (*inner).atomic_wait.is_none_or(|wait| wait.notified);
            let timed_out = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if notified || timed_out {
                (*inner).end_wait();
                return Ok(if notified { NOTIFIED } else { TIMED_OUT });
            }
            suspend_blocked(NonNull::new_unchecked(inner));
        }
    }
}

pub(super) unsafe extern "C" fn notify(
    vmctx: *mut u8,
    memory: u64,
    index: u64,
    offset: u64,
    count: u64,
) -> u64 {
    // SAFETY: as in `wait32`. Those in the queue are live (see `wait`), and suspended, so nothing refers to them.
    unsafe {
        let inner = inner_of(vmctx);
        contain(inner, || {
            let word = word(inner, memory, index, offset, 4)? as usize;
            let waiters = &raw const (*inner).engine().shared.waiters;
            let mut notified = 0;
            (*waiters).0.borrow_mut().retain(|(address, waiter)| {
                if *address != word || notified == count {
                    return true;
                }
                notified += 1;
                if let Some(wait) = &mut (**waiter).atomic_wait {
                    wait.notified = true;
                }
                false
            });
            Ok(notified)
        })
    }
}

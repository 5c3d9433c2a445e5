//! Signal handlers: faults of guests become traps, timer ticks suspend guests where they are.
//!
//! Both look first at which instance this thread is running (`RUNNING`). A fault outside guest code, or with no guest running,
//! is passed on to whoever handled the signal before: it is a defect of the host and must look like one.
//! Handlers touch the running instance's plain fields, thread-local cells and atomics, and nothing else.

use super::code;
use super::fiber::{self, Suspension};
use super::instance::{Inner, Place};
use super::os;
use crate::layout::header;
use std::cell::{Cell, RefCell};
use std::io;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, compiler_fence};

/// Signals by which the processor reports a fault.
const FAULT_SIGNALS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The signal of the time slice. Its default action is to be ignored, so a late one does no harm.
pub const PREEMPT_SIGNAL: libc::c_int = libc::SIGURG;

/// Ticks without a running guest after which the timer is stopped.
const IDLE_TICKS_MAX: u32 = 8;

/// The direction flag in the flags register.
const DIRECTION_FLAG: i64 = 1 << 10;

/// A fault in guest code, as the handler saw it.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub signal: libc::c_int,
    pub pc: usize,
    /// The address that could not be accessed, for SIGSEGV and SIGBUS.
    pub address: usize,
}

thread_local! {
    /// The instance whose fiber this thread is on, or null.
    static RUNNING: Cell<*mut Inner> = const { Cell::new(null_mut()) };
    /// The timer of this thread, its interval (0 when it is not ticking) and how often it ticked for nothing.
    static TIMER: Cell<libc::timer_t> = const { Cell::new(null_mut()) };
    static INTERVAL_NS: Cell<u64> = const { Cell::new(0) };
    static TICKING: Cell<bool> = const { Cell::new(false) };
    static IDLE_TICKS: Cell<u32> = const { Cell::new(0) };
    /// Whether ticks are held back.
    static HELD: Cell<bool> = const { Cell::new(false) };
    /// Every timer this thread was given and still has, with its interval: the last is the one in use. Not for the handler.
    static TIMERS: RefCell<Vec<(libc::timer_t, u64)>> = const { RefCell::new(Vec::new()) };
}

/// What handled the fault signals before us.
static PREVIOUS: OnceLock<[libc::sigaction; 4]> = OnceLock::new();

/// Installs the handlers, once a process.
pub fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), libc::c_int>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| try_install().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL)))
        .map_err(io::Error::from_raw_os_error)
}

fn try_install() -> io::Result<()> {
    let mut previous = Vec::with_capacity(4);
    for signal in FAULT_SIGNALS {
        // On the alternate stack that Rust's runtime gives its threads: an overflow of a host function's stack has none left.
        // SAFETY: `on_fault` keeps to what a handler may do; see there.
        previous.push(unsafe {
            os::set_handler(signal, on_fault, libc::SA_ONSTACK, &[PREEMPT_SIGNAL])?
        });
    }
    let previous: [libc::sigaction; 4] = previous
        .try_into()
        .unwrap_or_else(|_| unreachable!("one action a signal"));
    let _ = PREVIOUS.set(previous);
    // On the fiber's own stack, which it suspends. Masked meanwhile, so that ticks in quick succession do not pile up on that
    // stack; a handler that suspends, and may not return for long, unmasks it first.
    // SAFETY: `on_tick` keeps to what a handler may do; see there.
    unsafe { os::set_handler(PREEMPT_SIGNAL, on_tick, libc::SA_RESTART, &[])? };
    Ok(())
}

/// Lets the signals handled here through to this thread, which may have inherited a mask that holds them back: guests
/// would then not be preempted, and the first trap would end the process.
pub fn unblock() -> io::Result<()> {
    let [segv, bus, ill, fpe] = FAULT_SIGNALS;
    os::unblock_signals(&[segv, bus, ill, fpe, PREEMPT_SIGNAL])
}

/// While it lives, this thread's ticks are held back.
///
/// The kernel sets a timer anew when its signal is delivered, so that a thread that waits for long is spared all but the first.
pub struct TicksHeld(());

impl TicksHeld {
    pub fn new() -> TicksHeld {
        assert!(
            !running(),
            "a guest that waits in a host function has its ticks"
        );
        // Cannot fail for a signal that exists.
        let _ = os::block_signals(&[PREEMPT_SIGNAL]);
        HELD.set(true);
        TicksHeld(())
    }
}

impl Drop for TicksHeld {
    fn drop(&mut self) {
        HELD.set(false);
        let _ = os::unblock_signals(&[PREEMPT_SIGNAL]);
    }
}

/// Makes `inner` this thread's running instance and sees to it that the timer ticks.
pub fn enter(inner: *mut Inner) {
    assert!(!HELD.get(), "no guest runs while ticks are held back");
    RUNNING.set(inner);
    // After `RUNNING` is set the handler does not stop the timer any more. It may have done so the moment before: whether the
    // timer ticks is to be looked at afterwards, also in the order that the compiler chooses.
    compiler_fence(Ordering::SeqCst);
    if !TICKING.get() && INTERVAL_NS.get() != 0 {
        start_timer();
    }
}

/// No instance runs on this thread.
pub fn leave() {
    RUNNING.set(null_mut());
    // What follows may free the instance.
    compiler_fence(Ordering::SeqCst);
}

/// Whether this thread is on a guest's fiber.
pub fn running() -> bool {
    !RUNNING.get().is_null()
}

/// The instance whose call this thread is on the fiber of, or null.
pub fn running_instance() -> *mut Inner {
    RUNNING.get()
}

fn start_timer() {
    TICKING.set(true);
    os::set_timer(TIMER.get(), INTERVAL_NS.get());
}

/// Gives this thread a timer, which takes the place of one given before.
pub fn add_thread_timer(timer: libc::timer_t, interval_ns: u64) {
    TIMERS.with_borrow_mut(|timers| timers.push((timer, interval_ns)));
    use_timer(timer, interval_ns);
}

/// Takes a timer away; if it was in use, the one given last of those that are left takes its place.
pub fn remove_thread_timer(timer: libc::timer_t) {
    // A thread that is ending may have lost its list; it runs no guests any more.
    let (left, interval_ns) = TIMERS
        .try_with(|timers| {
            let mut timers = timers.borrow_mut();
            timers.retain(|(other, _)| *other != timer);
            timers.last().copied()
        })
        .ok()
        .flatten()
        .unwrap_or((null_mut(), 0));
    if TIMER.get() == timer {
        use_timer(left, interval_ns);
    }
}

fn use_timer(timer: libc::timer_t, interval_ns: u64) {
    if TICKING.replace(false) {
        // Nothing else would ever stop the timer that is replaced.
        os::set_timer(TIMER.get(), 0);
    }
    TIMER.set(timer);
    INTERVAL_NS.set(interval_ns);
    compiler_fence(Ordering::SeqCst);
    if running() && interval_ns != 0 {
        start_timer();
    }
}

/// The timer ticked: the guest, if one runs, has had its slice.
extern "C" fn on_tick(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let inner = RUNNING.get();
    if inner.is_null() {
        let idle = IDLE_TICKS.get().saturating_add(1);
        if idle >= IDLE_TICKS_MAX && TICKING.get() {
            TICKING.set(false);
            os::set_timer(TIMER.get(), 0);
            IDLE_TICKS.set(0);
        } else {
            IDLE_TICKS.set(idle);
        }
        return;
    }
    IDLE_TICKS.set(0);
    // SAFETY: the running instance is alive, its owner waits in `resume` and touches nothing of it; the context
    // is the kernel's. With the program counter in compiled code nothing of the host is in the middle of anything, so the fiber may be
    // suspended here and resumed later: the kernel's frame on its stack restores every register. The stack limit of compiled
    // code left room for that frame. errno is the thread's and is put back.
    unsafe {
        // A guest that came onto the processor a moment ago keeps it for another tick.
        if os::monotonic_ns().wrapping_sub((*inner).resumed_at_ns) < INTERVAL_NS.get() / 2 {
            return;
        }
        let registers = &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let pc = registers[libc::REG_RIP as usize] as usize;
        if code::contains(pc) {
            let frame = registers[libc::REG_RBP as usize] as usize;
            (*inner).place = Place::Code { pc, frame };
            let errno = *libc::__errno_location();
            // Cannot fail for a signal that exists.
            let _ = os::unblock_signals(&[PREEMPT_SIGNAL]);
            fiber::suspend(inner, Suspension::Preempted);
            *libc::__errno_location() = errno;
        } else {
            (*inner).preempt_pending.store(true, Ordering::Relaxed);
        }
    }
}

/// The processor reported a fault.
extern "C" fn on_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let inner = RUNNING.get();
    // SAFETY: information and context are the kernel's, for a handler installed with SA_SIGINFO. The running instance is alive and
    // its owner waits in `resume`. The fiber's stack has room below its pointer (see `stack.rs`), and what the handler makes it
    // go on with never returns to the interrupted code.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let pc = registers[libc::REG_RIP as usize] as usize;
        let in_code = code::contains(pc);
        let with_address = signal == libc::SIGSEGV || signal == libc::SIGBUS;
        let address = if with_address {
            (*info).si_addr() as usize
        } else {
            0
        };
        // Host functions touch guest memory too, within its bounds; what can still fail there is the file behind it.
        let guest_memory_lost =
            !inner.is_null() && signal == libc::SIGBUS && (*inner).reaches(address);
        if !inner.is_null() && (in_code || guest_memory_lost) {
            (*inner).fault = Some(Fault {
                signal,
                pc,
                address,
            });
            (*inner).place = if in_code {
                let frame = registers[libc::REG_RBP as usize] as usize;
                Place::Code { pc, frame }
            } else {
                let frame = (*inner).read_header(header::EXIT_FRAME) as usize;
                Place::HostCall { frame }
            };
            // A copy in the host may have run backwards; functions begin with the direction flag clear.
            registers[libc::REG_EFL as usize] &= !DIRECTION_FLAG;
            let stack = registers[libc::REG_RSP as usize] as usize;
            // Below the red zone; aligned as at the entry of a function.
            registers[libc::REG_RSP as usize] = (((stack - 256) & !15) - 8) as i64;
            registers[libc::REG_RDI as usize] = inner as i64;
            registers[libc::REG_RIP as usize] = fiber::land_after_fault as *const () as i64;
            return;
        }
        pass_on(signal, info, context);
    }
}

/// Lets whoever handled the signal before us handle it.
///
/// # Safety
/// Called from a handler with what the kernel gave it.
unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let index = FAULT_SIGNALS.iter().position(|other| *other == signal);
    let previous = index.and_then(|index| PREVIOUS.get().map(|previous| &previous[index]));
    // SAFETY: the previous action was installed by its owner for this signal; calling it with what we were given is what the
    // kernel would have done. Restoring the default makes the fault, which happens again on return, end the process.
    unsafe {
        match previous {
            Some(action)
                if action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN =>
            {
                if action.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: os::Handler = std::mem::transmute(action.sa_sigaction);
                    handler(signal, info, context);
                } else {
                    let handler: extern "C" fn(libc::c_int) =
                        std::mem::transmute(action.sa_sigaction);
                    handler(signal);
                }
            }
            _ => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

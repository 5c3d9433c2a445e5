//! The engine: what all instances of a thread share.

use super::atomic::Waiters;
use super::os::{self, PageMap, ThreadTimer};
use super::signals::{self, TicksHeld};
use super::slots::{SLOT_MAPPINGS, Slots};
use super::stack::StackPool;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The most instances at a time. A slot of 4 GiB of address space each (two for one with objects): a process has room for
    /// 31,000. Of these only so many are used as the kernel's limit of mappings allows (16,000 with `vm.max_map_count` at its default of
    /// 65,530): at that limit the process's own allocations fail.
    pub slots_max: usize,
    /// Native stack of a call: the most that [`Limits::stack_bytes`](super::Limits::stack_bytes) can give.
    pub stack_bytes: usize,
    /// The most written pages an instance keeps resident over a reset; what is beyond is dropped.
    pub keep_resident_pages: usize,
    /// The time slice, after which a running guest is suspended, at least 50 us. Zero: guests are not preempted.
    pub tick: Duration,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            slots_max: 30_000,
            stack_bytes: 1 << 20,
            keep_resident_pages: 256,
            tick: Duration::from_millis(1),
        }
    }
}

/// The shortest time slice: with less, a guest on a busy machine would do nothing but take signals.
const TICK_NS_MIN: u64 = 50_000;

/// The least mappings left for everything but instances: two for the stack of every call in progress, open images, the
/// process's own memory.
const OTHER_MAPPINGS_MIN: usize = 16 << 10;

/// The mappings of an open image without base and its module: code, the rest of the artifact, and the image that resets copy from.
pub(crate) const IMAGE_MAPPINGS: usize = 3;

/// What is left for everything but instances, given how many mappings a process may have.
fn other_mappings(mappings: usize) -> usize {
    (mappings / 4).max(OTHER_MAPPINGS_MIN).min(mappings / 4 * 3)
}

/// The most slots that the address space of a process has room for besides everything else.
const PLACES_MAX: usize = 31_000;

/// The most slots that are used, given how many mappings a process may have. An instance with objects makes more mappings
/// than others, and takes the place of two.
fn places_within(mappings: usize) -> usize {
    ((mappings - other_mappings(mappings)) / SLOT_MAPPINGS).min(PLACES_MAX)
}

/// How many mappings open images may take, given how many a process may have: half of what instances leave.
fn image_mappings_within(mappings: usize) -> usize {
    other_mappings(mappings) / 2
}

/// What an engine needs from the system and did not get.
#[derive(Debug)]
pub struct EngineError {
    pub what: &'static str,
    pub cause: io::Error,
}

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the engine cannot {}: {}", self.what, self.cause)
    }
}

impl std::error::Error for EngineError {}

/// Runs guests on the thread that made it. Clones share everything.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use dormouse::compile::{CompileOptions, compile};
/// # use dormouse::{Engine, EngineOptions, Image, Imports, Instance, Limits, Module};
/// # use std::time::Duration;
/// let engine = Engine::new(&EngineOptions {
///     tick: Duration::from_micros(500),
///     ..EngineOptions::default()
/// })?;
/// assert_eq!(engine.instances(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) shared: Rc<EngineState>,
}

#[derive(Debug)]
pub(crate) struct EngineState {
    pub slots: Rc<Slots>,
    pub stacks: Rc<StackPool>,
    /// Absent on kernels without PAGEMAP_SCAN, where a reset drops all written pages.
    pub page_map: Option<PageMap>,
    pub keep_resident_pages: usize,
    pub waiters: Waiters,
    /// Present when guests are preempted.
    timer: Option<ThreadTimer>,
}

impl Drop for EngineState {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            signals::remove_thread_timer(timer.handle());
        }
    }
}

impl Engine {
    /// Prepares this thread for running guests: signal handlers (for the process), the time slice's timer (for the
    /// thread), and no transparent huge pages (for the process).
    ///
    /// A thread has one time slice: of several engines on one thread the one made last gives it, while it exists.
    ///
    /// An engine does not survive fork(2): in the child there is no timer, and instances are reset the slow way. Make the engine
    /// after forking.
    pub fn new(options: &EngineOptions) -> Result<Engine, EngineError> {
        let failed = |what| move |cause| EngineError { what, cause };
        signals::install().map_err(failed("install its signal handlers"))?;
        signals::unblock().map_err(failed("unblock its signals"))?;
        os::disable_huge_pages().map_err(failed("turn off huge pages"))?;
        let tick_ns = u64::try_from(options.tick.as_nanos()).unwrap_or(u64::MAX);
        let timer = if tick_ns > 0 {
            let tick_ns = tick_ns.max(TICK_NS_MIN);
            let timer = ThreadTimer::new(signals::PREEMPT_SIGNAL)
                .map_err(failed("make a timer for its time slices"))?;
            signals::add_thread_timer(timer.handle(), tick_ns);
            Some(timer)
        } else {
            None
        };
        Ok(Engine {
            shared: Rc::new(EngineState {
                slots: Rc::new(Slots::new(
                    options.slots_max,
                    places_within(os::mappings_max()),
                )),
                stacks: StackPool::new(options.stack_bytes),
                page_map: PageMap::open(),
                keep_resident_pages: options.keep_resident_pages,
                waiters: Waiters::default(),
                timer,
            }),
        })
    }

    /// How many mappings open images may take together ([`Image::mappings`](crate::Image::mappings)) so that the process stays within the kernel's
    /// limit: those of 2,700 images without base, each of a module of its own, with `vm.max_map_count` at its default of 65,530.
    pub fn image_mappings_max(&self) -> usize {
        image_mappings_within(os::mappings_max())
    }

    /// Waits for something that is not a guest, without the ticks of the time slices: they would wake the thread for nothing, and end what it waits
    /// for with `EINTR`. One that comes meanwhile comes afterwards.
    ///
    /// # Panics
    /// When a guest runs meanwhile, or this is called from a host function.
    pub fn without_ticks<T>(&self, wait: impl FnOnce() -> T) -> T {
        let _held = TicksHeld::new();
        wait()
    }

    /// Instances that hold a slot.
    pub fn instances(&self) -> usize {
        self.shared.slots.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_and_images_leave_mappings_to_the_process() {
        for mappings in [0, 1000, 65_530, 262_144, 16 << 20] {
            let taken = places_within(mappings) * SLOT_MAPPINGS + image_mappings_within(mappings);
            assert!(taken <= mappings / 10 * 9 + 10, "{taken} of {mappings}");
        }
        assert_eq!(
            (
                places_within(65_530),
                image_mappings_within(65_530) / IMAGE_MAPPINGS
            ),
            (16_382, 2_730)
        );
    }
}

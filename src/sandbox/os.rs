//! The one place that talks to the operating system: memory mappings, their inspection, timers and signals.
//!
//! Everything here is Linux on x86-64. Wrappers are thin; what makes a call sound is for the caller to prove, and
//! which memory it owns is decided in `slots.rs`, `code.rs` and `stack.rs`.

use crate::layout::PAGE_BYTES;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// What may be done with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    None,
    Read,
    ReadWrite,
    ReadExecute,
}

impl Access {
    fn protection(self) -> libc::c_int {
        match self {
            Access::None => libc::PROT_NONE,
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
            Access::ReadExecute => libc::PROT_READ | libc::PROT_EXEC,
        }
    }
}

/// Turns the usual -1 into the error that errno holds.
fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Address space of our own, unmapped on drop.
#[derive(Debug)]
pub struct Reservation {
    base: NonNull<u8>,
    bytes: usize,
}

impl Reservation {
    /// Reserves address space without memory behind it, aligned to `align` (a power of two).
    pub fn new(bytes: usize, align: usize) -> io::Result<Reservation> {
        debug_assert!(align.is_power_of_two() && bytes.is_multiple_of(PAGE_BYTES));
        let padded = bytes + align;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            libc::mmap(
                null_mut(),
                padded,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = base as usize;
        let aligned = start.next_multiple_of(align);
        // SAFETY: both ranges lie in the mapping made above and outside the part that is kept.
        unsafe {
            if aligned > start {
                libc::munmap(base, aligned - start);
            }
            let end = start + padded;
            if end > aligned + bytes {
                libc::munmap((aligned + bytes) as *mut _, end - aligned - bytes);
            }
        }
        let base = NonNull::new(aligned as *mut u8).expect("a mapping is never at address 0");
        Ok(Reservation { base, bytes })
    }

    /// Maps so many bytes of a file, from its start, for reading.
    pub fn of_file(file: &File, bytes: usize) -> io::Result<Reservation> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            libc::mmap(
                null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("a mapping is never at address 0");
        Ok(Reservation { base, bytes })
    }

    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all of a range, in bytes from the start and page aligned there, of a mapped file is in the page cache.
    pub fn is_in_core(&self, range: std::ops::Range<usize>) -> bool {
        assert!(range.start.is_multiple_of(PAGE_BYTES) && range.end <= self.bytes);
        let mut pages = vec![0u8; range.len().div_ceil(PAGE_BYTES)];
        // SAFETY: the range lies in the mapping, and the vector has a byte for each of its pages.
        let found = unsafe {
            let at = self.base().add(range.start);
            libc::mincore(at.cast(), range.len(), pages.as_mut_ptr())
        };
        found == 0 && pages.iter().all(|page| page & 1 != 0)
    }
}

/// Has the kernel begin to read a part of a file.
pub fn will_need(file: &File, range: &std::ops::Range<u64>) {
    let (start, bytes) = (
        range.start as libc::off_t,
        (range.end - range.start) as libc::off_t,
    );
    // SAFETY: advice on an open file; it changes nothing but what is in the page cache.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), start, bytes, libc::POSIX_FADV_WILLNEED) };
}

/// Gives a file a place on the disk for so many bytes, in as few pieces as the file system finds.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    // SAFETY: changes an open file and no memory.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes as libc::off_t) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The next part of a file, from an offset on, that is no hole, as far as the file system knows; `None` when only a hole is left.
pub fn next_data(file: &File, from: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    let seek = |from: u64, to: libc::c_int| {
        // SAFETY: looks at an open file, and moves its offset, which nobody here reads by.
        match unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, to) } {
            -1 => Err(io::Error::last_os_error()),
            found => Ok(found as u64),
        }
    };
    match seek(from, libc::SEEK_DATA) {
        Ok(start) => Ok(Some(start..seek(start, libc::SEEK_HOLE)?)),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` or `of_file` and belongs to this value; whoever lends out parts keeps
        // the value alive for as long.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// Maps a file privately over a range of a reservation.
///
/// # Safety
/// The range lies in a reservation whose owner gives this part up to the new mapping.
pub unsafe fn map_file(
    address: *mut u8,
    bytes: usize,
    file: &File,
    offset: u64,
    access: Access,
) -> io::Result<()> {
    // SAFETY: forwarded.
    let result = unsafe {
        libc::mmap(
            address.cast(),
            bytes,
            access.protection(),
            libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
            file.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    if result == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Replaces whatever is mapped in a range by fresh anonymous memory, or by nothing (`Access::None`).
///
/// # Safety
/// The range lies in a reservation whose owner gives its contents up.
pub unsafe fn map_anonymous(address: *mut u8, bytes: usize, access: Access) -> io::Result<()> {
    // SAFETY: forwarded.
    let result = unsafe {
        libc::mmap(
            address.cast(),
            bytes,
            access.protection(),
            libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if result == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Changes what may be done with a range.
///
/// # Safety
/// The range lies in a reservation of the caller's, and no reference of Rust's relies on more access than is left.
pub unsafe fn protect(address: *mut u8, bytes: usize, access: Access) -> io::Result<()> {
    // SAFETY: forwarded.
    check(unsafe { libc::mprotect(address.cast(), bytes, access.protection()) })
}

/// `madvise(2)` on a range.
///
/// # Safety
/// The range lies in a reservation of the caller's; with advice that drops contents, the caller gives those up.
pub unsafe fn advise(address: *mut u8, bytes: usize, advice: libc::c_int) -> io::Result<()> {
    // SAFETY: forwarded.
    check(unsafe { libc::madvise(address.cast(), bytes, advice) })
}

/// Makes a page of a private mapping of a file private, or says that the file cannot be read.
pub fn make_private(page: *mut u8) -> io::Result<()> {
    // SAFETY: populating changes the contents of no page; a range that is not mapped is refused.
    let made = unsafe { libc::madvise(page.cast(), PAGE_BYTES, libc::MADV_POPULATE_WRITE) };
    match io::Error::last_os_error() {
        error if made != 0 && error.raw_os_error() == Some(libc::EFAULT) => {
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
        // Without populating (Linux before 5.14) it is made private when it is written.
        error if made != 0 && error.raw_os_error() != Some(libc::EINVAL) => Err(error),
        _ => Ok(()),
    }
}

/// Makes runs of pages, given as page numbers from `base`, private ahead of being written, in as few calls as can be.
///
/// It is for speed only: where the kernel (before 6.13) cannot, nothing happens.
pub fn populate_writable(base: *mut u8, runs: &[(u32, u32)]) {
    const RUNS_PER_CALL: usize = 256;
    thread_local! {
        static THIS_PROCESS: libc::c_int = {
            // SAFETY: opens a descriptor of this process, kept open as long as the thread lives; or fails.
            unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) as libc::c_int }
        };
    }
    if let [(first, end)] = runs {
        if end - first == 1 {
            // It costs no more when it is written.
            return;
        }
        // SAFETY: populating changes the contents of no page; a range that is not mapped is refused.
        unsafe {
            libc::madvise(
                base.wrapping_add(*first as usize * PAGE_BYTES).cast(),
                (end - first) as usize * PAGE_BYTES,
                libc::MADV_POPULATE_WRITE,
            )
        };
        return;
    }
    let this_process = THIS_PROCESS.with(|descriptor| *descriptor);
    if this_process < 0 {
        return;
    }
    let mut vector = [libc::iovec {
        iov_base: null_mut(),
        iov_len: 0,
    }; RUNS_PER_CALL];
    for runs in runs.chunks(RUNS_PER_CALL) {
        for (entry, (first, end)) in vector.iter_mut().zip(runs) {
            entry.iov_base = base.wrapping_add(*first as usize * PAGE_BYTES).cast();
            entry.iov_len = (end - first) as usize * PAGE_BYTES;
        }
        // SAFETY: populating changes the contents of no page; a range that is not mapped is refused.
        unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                this_process,
                vector.as_ptr(),
                runs.len(),
                libc::MADV_POPULATE_WRITE,
                0,
            );
        }
    }
}

/// A run of pages, as addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRun {
    pub start: u64,
    pub end: u64,
    categories: u64,
}

impl PageRun {
    /// Whether the pages are a mapped file's own, and not private.
    pub fn is_of_file(&self) -> bool {
        self.categories & PAGE_IS_FILE != 0
    }
}

/// Which pages a scan finds, of those that are present in memory *or swapped out*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Those written to since they were mapped.
    Private,
    /// The same, and those of a file that were read.
    Touched,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;

/// Times this process was forked from another since a page map was first opened.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn note_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// This process's page map, for finding the pages that a guest wrote.
///
/// The open file belongs to the address space of the process that opened it and tells a forked child of its parent's
/// pages, which would pass for clean: a child is refused.
#[derive(Debug)]
pub struct PageMap {
    file: File,
    /// [`FORKS`] when the file was opened.
    forks: u32,
}

impl PageMap {
    /// Opens `/proc/self/pagemap` and tries the scan; `None` where the kernel (before 6.7) does not have it.
    pub fn open() -> Option<PageMap> {
        static NOTED: OnceLock<bool> = OnceLock::new();
        // SAFETY: the function that the child runs changes an atomic and nothing else.
        let noted =
            NOTED.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(note_fork)) == 0 });
        if !noted {
            return None;
        }
        let forks = FORKS.load(Ordering::Relaxed);
        let file = File::open("/proc/self/pagemap").ok()?;
        let map = PageMap { file, forks };
        let mut runs = [PageRun::default(); 1];
        map.scan(Pages::Private, 0, PAGE_BYTES as u64, &mut runs)
            .ok()?;
        Some(map)
    }

    /// Whether this process opened it; see above.
    pub fn is_of_this_process(&self) -> bool {
        FORKS.load(Ordering::Relaxed) == self.forks
    }

    /// Finds pages in `start..end`.
    ///
    /// Returns how many entries of `runs` were filled and the address where the scan stopped: when that is below `end`,
    /// `runs` was full and the scan is to be continued from there.
    pub fn scan(
        &self,
        pages: Pages,
        start: u64,
        end: u64,
        runs: &mut [PageRun],
    ) -> io::Result<(usize, u64)> {
        if !self.is_of_this_process() {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        // Not of a file (so: anonymous, which a private page of a file mapping becomes when written), if so asked, and not the
        // shared zero page (mapped where anonymous memory was only read).
        let excluded = match pages {
            Pages::Private => PAGE_IS_FILE | PAGE_IS_PFNZERO,
            Pages::Touched => PAGE_IS_PFNZERO,
        };
        let mut arguments = ScanArguments {
            size: size_of::<ScanArguments>() as u64,
            flags: 0,
            start,
            end,
            walk_end: 0,
            vec: runs.as_mut_ptr() as u64,
            vec_len: runs.len() as u64,
            max_pages: 0,
            category_inverted: excluded,
            category_mask: excluded,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_FILE,
        };
        loop {
            // SAFETY: the argument block and the vector it names live across the call, and the vector's length is given.
            let found =
                unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
            if found >= 0 {
                return Ok((found as usize, arguments.walk_end));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// Page faults this thread has taken, in its own code and in system calls.
pub fn thread_faults() -> u64 {
    // SAFETY: a zeroed rusage is valid, and the kernel fills it; the call cannot fail with these arguments.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    usage.ru_minflt as u64 + usage.ru_majflt as u64
}

/// How many mappings the kernel lets a process have.
pub fn mappings_max() -> usize {
    const DEFAULT: usize = 65_530;
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(DEFAULT)
}

/// Turns transparent huge pages off for this process: a guest's first write to a page must not cost 2 MiB.
///
/// Advice on the reservations instead would set their free parts apart from each other and multiply the mappings.
pub fn disable_huge_pages() -> io::Result<()> {
    // SAFETY: changes how the kernel backs memory later, not what any memory holds.
    check(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) })
}

/// An anonymous file in memory, for artifacts and images that have no file of their own.
pub fn memory_file(name: &std::ffi::CStr) -> io::Result<File> {
    // SAFETY: the name is a C string; the descriptor that comes back is ours alone.
    unsafe {
        let descriptor = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        check(descriptor)?;
        Ok(File::from_raw_fd(descriptor))
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`. Safe in a signal handler.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the argument is a timespec of ours; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A timer that sends a signal to the thread that made it.
#[derive(Debug)]
pub struct ThreadTimer {
    timer: libc::timer_t,
}

impl ThreadTimer {
    pub fn new(signal: libc::c_int) -> io::Result<ThreadTimer> {
        let mut timer: libc::timer_t = null_mut();
        // SAFETY: a zeroed sigevent is valid; its fields are set below before use. The timer is ours until dropped.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = libc::gettid();
            check(libc::timer_create(
                libc::CLOCK_MONOTONIC,
                &raw mut event,
                &raw mut timer,
            ))?;
        }
        Ok(ThreadTimer { timer })
    }

    /// The kernel's handle, for [`set_timer`] in a signal handler while this value lives.
    pub fn handle(&self) -> libc::timer_t {
        self.timer
    }
}

/// Makes a timer tick at this interval; 0 stops it. Safe in a signal handler.
pub fn set_timer(timer: libc::timer_t, interval_ns: u64) {
    let time = libc::timespec {
        tv_sec: (interval_ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (interval_ns % 1_000_000_000) as libc::c_long,
    };
    let setting = libc::itimerspec {
        it_interval: time,
        it_value: time,
    };
    // SAFETY: the kernel checks the handle; the setting is ours. timer_settime is async-signal-safe.
    unsafe { libc::timer_settime(timer, 0, &raw const setting, null_mut()) };
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        // SAFETY: made in `new`, deleted once.
        unsafe { libc::timer_delete(self.timer) };
    }
}

/// Takes signals out of this thread's mask. Safe in a signal handler.
pub fn unblock_signals(signals: &[libc::c_int]) -> io::Result<()> {
    mask_signals(libc::SIG_UNBLOCK, signals)
}

/// Puts signals into this thread's mask: one that comes is delivered when it is unblocked.
pub fn block_signals(signals: &[libc::c_int]) -> io::Result<()> {
    mask_signals(libc::SIG_BLOCK, signals)
}

fn mask_signals(how: libc::c_int, signals: &[libc::c_int]) -> io::Result<()> {
    // SAFETY: a zeroed set is filled in before use; only the mask of the thread that asks changes.
    let error = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(how, &raw const set, null_mut())
    };
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// A signal handler with full information.
pub type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Installs a handler and returns what was installed before.
///
/// # Safety
/// The handler does nothing that is not safe in a signal handler.
pub unsafe fn set_handler(
    signal: libc::c_int,
    handler: Handler,
    flags: libc::c_int,
    masked: &[libc::c_int],
) -> io::Result<libc::sigaction> {
    // SAFETY: zeroed sigactions are valid and filled in before use; the handler is the caller's promise.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut previous: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags | libc::SA_SIGINFO;
        libc::sigemptyset(&raw mut action.sa_mask);
        for other in masked {
            libc::sigaddset(&raw mut action.sa_mask, *other);
        }
        check(libc::sigaction(
            signal,
            &raw const action,
            &raw mut previous,
        ))?;
        Ok(previous)
    }
}

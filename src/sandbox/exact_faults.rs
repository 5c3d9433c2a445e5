//! Faults of single pages, for finding out which pages a call touches.
//!
//! The kernel maps much of a file around a page that is read, so that what is mapped afterwards says little of what was
//! read. It does not for a range that is registered with userfaultfd(2) for write protection. Nothing is ever protected
//! here: with `UFFD_FEATURE_WP_ASYNC` (Linux 6.7) there are no messages and nobody has to answer any, only that effect.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};

/// `struct uffdio_api` and `struct uffdio_register` of linux/userfaultfd.h.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    bytes: u64,
    mode: u64,
    ioctls: u64,
}

const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const UFFD_API: u64 = 0xaa;
const UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
/// `_IOWR(0xaa, 0x3f, struct uffdio_api)` and `_IOWR(0xaa, 0x00, struct uffdio_register)`.
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;

/// Ranges of address space in which a fault maps one page. Ends on drop.
#[derive(Debug)]
pub struct ExactFaults {
    _registration: File,
}

impl ExactFaults {
    /// For ranges of whole pages, by their addresses. Fails where the kernel cannot, or may not by its settings.
    pub fn new(ranges: impl Iterator<Item = Range<usize>>) -> io::Result<ExactFaults> {
        // SAFETY: makes a descriptor, of which nothing else knows.
        let registration = unsafe {
            let flags = libc::O_CLOEXEC | UFFD_USER_MODE_ONLY;
            let descriptor = libc::syscall(libc::SYS_userfaultfd, flags) as libc::c_int;
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            File::from_raw_fd(descriptor)
        };
        let request = |request, argument: *mut libc::c_void| {
            // SAFETY: both structures live across the call and are those that the request takes; registering changes the
            // contents of no page, and asynchronous write protection stops no thread.
            match unsafe { libc::ioctl(registration.as_raw_fd(), request, argument) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        let mut api = Api {
            api: UFFD_API,
            features: UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
            ioctls: 0,
        };
        request(UFFDIO_API, (&raw mut api).cast())?;
        for range in ranges {
            let mut register = Register {
                start: range.start as u64,
                bytes: range.len() as u64,
                mode: UFFDIO_REGISTER_MODE_WP,
                ioctls: 0,
            };
            request(UFFDIO_REGISTER, (&raw mut register).cast())?;
        }
        Ok(ExactFaults {
            _registration: registration,
        })
    }
}

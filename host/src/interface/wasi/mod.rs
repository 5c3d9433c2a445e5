//! WASI preview 1 (`wasi_snapshot_preview1`), all 46 functions of it, by family.
//!
//! Each function is a step (`suspension.rs`) over the [`Context`] and the guest's memory that answers, waits or stops the guest.
//! This file only connects them to the names and types under which guests import them.

mod clocks;
mod descriptors;
mod errno;
mod fd;
mod io;
mod memory;
mod path;
#[cfg(test)]
mod path_tests;
mod poll;
mod process;
mod random;
mod strings;
mod types;

pub use errno::Errno;

use super::suspension::{Halt, complete};
use super::{Context, Wait};
use descriptors::Descriptors;
use dormouse::{Caller, Imports, Stop};
use fd::Times;
use memory::{Buffer, Buffers, Memory};
use path::Open;
use poll::Began;
use std::fmt;
use std::path::PathBuf;
use strings::Strings;

const MODULE: &str = "wasi_snapshot_preview1";

/// What a step gives.
type Answer = Result<(), Halt<Errno>>;

/// What WASI keeps of a guest.
#[derive(Debug, Default)]
pub struct State {
    descriptors: Descriptors,
    /// From `environ_sizes_get` to `environ_get`.
    environment: Option<Box<Strings>>,
}

/// A directory that cannot be given to a guest.
#[derive(Debug)]
pub struct PreopenError {
    host: PathBuf,
    cause: rustix::io::Errno,
}

impl fmt::Display for PreopenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: cannot be given to the program as a directory: {}",
            self.host.display(),
            self.cause
        )?;
        if self.cause == rustix::io::Errno::NOSYS {
            f.write_str(" (confining paths takes openat2(2), which Linux has since 5.6)")?;
        }
        Ok(())
    }
}

impl std::error::Error for PreopenError {}

/// Repeats a step until it answers, and gives the guest its error number.
fn answer(
    caller: &mut Caller<'_>,
    mut step: impl FnMut(&mut Context, &mut Memory<'_>) -> Answer,
) -> Result<u32, Stop> {
    let answer = complete(caller, |context, memory| {
        step(context, &mut Memory::new(memory))
    })?;
    Ok(answer.map_or_else(|error| error as u32, |()| 0))
}

/// Defines functions that keep nothing from one step to the next.
macro_rules! define {
    ($imports:ident, |$context:ident, $memory:ident|:
     $($name:ident($($parameter:ident: $type:ty),*) = $step:expr;)*) => {$(
        $imports.define(MODULE, stringify!($name), |caller: &mut Caller<'_>, $($parameter: $type),*| {
            answer(caller, |$context, $memory| {
                // Not every function looks at both.
                let _ = (&$context, &$memory);
                $step
            })
        });
    )*};
}

fn buffer(address: u32, bytes: u32) -> Buffer {
    Buffer { address, bytes }
}

/// Defines the module's functions.
pub fn define(imports: &mut Imports) {
    define_strings_and_clocks(imports);
    define_descriptors(imports);
    define_reading_and_writing(imports);
    define_paths(imports);
    define_waiting(imports);
    define_process(imports);
}

fn define_strings_and_clocks(imports: &mut Imports) {
    define! { imports, |context, memory|:
        args_get(pointers: u32, buffer: u32) = strings::args_get(context, memory, pointers, buffer);
        args_sizes_get(count: u32, bytes: u32) = strings::args_sizes_get(context, memory, count, bytes);
        environ_get(pointers: u32, buffer: u32) = strings::environ_get(context, memory, pointers, buffer);
        environ_sizes_get(count: u32, bytes: u32) =
            strings::environ_sizes_get(context, memory, count, bytes);
        clock_res_get(clock: u32, result: u32) = clocks::clock_res_get(context, memory, clock, result);
    }
    // The precision a guest asks for is a wish; the clock has the one it has.
    imports.define(
        MODULE,
        "clock_time_get",
        |caller: &mut Caller<'_>, clock: u32, _precision: u64, result: u32| {
            let cpu_time = caller.cpu_time();
            answer(caller, |context, memory| {
                clocks::clock_time_get(context, memory, clock, result, cpu_time)
            })
        },
    );
}

fn define_descriptors(imports: &mut Imports) {
    define! { imports, |context, memory|:
        fd_advise(fd: u32, offset: u64, bytes: u64, advice: u32) =
            fd::fd_advise(context, fd, offset, bytes, advice);
        fd_allocate(fd: u32, offset: u64, bytes: u64) =
            fd::fd_allocate(context, fd, offset, bytes);
        fd_close(fd: u32) =
            fd::fd_close(context, fd);
        fd_datasync(fd: u32) =
            fd::fd_sync(context, fd, true);
        fd_fdstat_get(fd: u32, result: u32) = fd::fd_fdstat_get(context, memory, fd, result);
        fd_fdstat_set_flags(fd: u32, flags: u32) =
            fd::fd_fdstat_set_flags(context, fd, flags);
        fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64) =
            fd::fd_fdstat_set_rights(context, fd, base, inheriting);
        fd_filestat_get(fd: u32, result: u32) = fd::fd_filestat_get(context, memory, fd, result);
        fd_filestat_set_size(fd: u32, bytes: u64) =
            fd::fd_filestat_set_size(context, fd, bytes);
        fd_filestat_set_times(fd: u32, accessed_ns: u64, modified_ns: u64, flags: u32) =
            fd::fd_filestat_set_times(context, fd, Times { accessed_ns, modified_ns, flags });
        fd_prestat_get(fd: u32, result: u32) = fd::fd_prestat_get(context, memory, fd, result);
        fd_prestat_dir_name(fd: u32, name: u32, bytes: u32) =
            fd::fd_prestat_dir_name(context, memory, fd, buffer(name, bytes));
        fd_readdir(fd: u32, entries: u32, bytes: u32, cookie: u64, result: u32) =
            fd::fd_readdir(context, memory, fd, buffer(entries, bytes), cookie, result);
        fd_renumber(from: u32, to: u32) =
            fd::fd_renumber(context, from, to);
        fd_seek(fd: u32, offset: i64, whence: u32, result: u32) =
            fd::fd_seek(context, memory, fd, offset, whence, result);
        fd_sync(fd: u32) =
            fd::fd_sync(context, fd, false);
        fd_tell(fd: u32, result: u32) = fd::fd_tell(context, memory, fd, result);
    }
}

fn define_reading_and_writing(imports: &mut Imports) {
    define! { imports, |context, memory|:
        fd_pread(fd: u32, buffers: u32, count: u32, offset: u64, result: u32) =
            io::fd_pread(context, memory, fd, Buffers::new(buffers, count)?, offset, result);
        fd_pwrite(fd: u32, buffers: u32, count: u32, offset: u64, result: u32) =
            io::fd_pwrite(context, memory, fd, Buffers::new(buffers, count)?, offset, result);
        fd_read(fd: u32, buffers: u32, count: u32, result: u32) =
            io::fd_read(context, memory, fd, Buffers::new(buffers, count)?, result);
    }
    imports.define(
        MODULE,
        "fd_write",
        |caller: &mut Caller<'_>, fd: u32, buffers: u32, count: u32, result: u32| {
            let mut written = 0;
            answer(caller, |context, memory| {
                let buffers = Buffers::new(buffers, count)?;
                io::fd_write(context, memory, fd, buffers, result, &mut written)
            })
        },
    );
}

fn define_paths(imports: &mut Imports) {
    define! { imports, |context, memory|:
        path_create_directory(fd: u32, path: u32, bytes: u32) =
            path::path_create_directory(context, memory, fd, buffer(path, bytes));
        path_filestat_get(fd: u32, flags: u32, path: u32, bytes: u32, result: u32) =
            path::path_filestat_get(context, memory, fd, flags, buffer(path, bytes), result);
        path_filestat_set_times(
            fd: u32, flags: u32, path: u32, bytes: u32, accessed_ns: u64, modified_ns: u64, times: u32
        ) = {
            let times = Times { accessed_ns, modified_ns, flags: times };
            path::path_filestat_set_times(context, memory, fd, flags, buffer(path, bytes), times)
        };
        path_link(
            old_fd: u32, old_flags: u32, old_path: u32, old_bytes: u32, new_fd: u32, new_path: u32, new_bytes: u32
        ) = {
            let (old, new) = (buffer(old_path, old_bytes), buffer(new_path, new_bytes));
            path::path_link(context, memory, old_fd, old_flags, old, new_fd, new)
        };
        path_open(
            fd: u32, lookup_flags: u32, path: u32, bytes: u32, oflags: u32,
            rights_base: u64, rights_inheriting: u64, fdflags: u32, result: u32
        ) = {
            let open = Open { lookup_flags, oflags, rights_base, rights_inheriting, fdflags };
            path::path_open(context, memory, fd, buffer(path, bytes), open, result)
        };
        path_readlink(fd: u32, path: u32, path_bytes: u32, into: u32, bytes: u32, result: u32) = {
            let (path, into) = (buffer(path, path_bytes), buffer(into, bytes));
            path::path_readlink(context, memory, fd, path, into, result)
        };
        path_remove_directory(fd: u32, path: u32, bytes: u32) =
            path::path_remove_directory(context, memory, fd, buffer(path, bytes));
        path_rename(fd: u32, old: u32, old_bytes: u32, new_fd: u32, new: u32, new_bytes: u32) = {
            let (old, new) = (buffer(old, old_bytes), buffer(new, new_bytes));
            path::path_rename(context, memory, fd, old, new_fd, new)
        };
        path_symlink(target: u32, target_bytes: u32, fd: u32, path: u32, bytes: u32) = {
            let (target, path) = (buffer(target, target_bytes), buffer(path, bytes));
            path::path_symlink(context, memory, target, fd, path)
        };
        path_unlink_file(fd: u32, path: u32, bytes: u32) =
            path::path_unlink_file(context, memory, fd, buffer(path, bytes));
    }
}

fn define_waiting(imports: &mut Imports) {
    imports.define(
        MODULE,
        "poll_oneoff",
        |caller: &mut Caller<'_>, subscriptions: u32, events: u32, count: u32, result: u32| {
            let began = Began::now();
            answer(caller, |context, memory| {
                poll::poll_oneoff(
                    context,
                    memory,
                    [subscriptions, events],
                    count,
                    result,
                    began,
                )
            })
        },
    );
    imports.define(MODULE, "sched_yield", |caller: &mut Caller<'_>| {
        let mut yielded = false;
        answer(caller, |_, _| match std::mem::replace(&mut yielded, true) {
            false => Err(Halt::Wait(Wait::Yield)),
            true => Ok(()),
        })
    });
    imports.define(
        MODULE,
        "random_get",
        |caller: &mut Caller<'_>, buffer: u32, bytes: u32| {
            let mut done = 0;
            answer(caller, |context, memory| {
                random::random_get(context, memory, buffer, bytes, &mut done)
            })
        },
    );
}

fn define_process(imports: &mut Imports) {
    imports.define(
        MODULE,
        "proc_exit",
        |_: &mut Caller<'_>, code: u32| -> Result<(), Stop> { Err(Stop::Exit(code as i32)) },
    );
    define! { imports, |context, memory|:
        proc_raise(signal: u32) = process::proc_raise(signal);
        sock_accept(fd: u32, _flags: u32, _result: u32) =
            process::socket(context, fd);
        sock_recv(fd: u32, _buffers: u32, _count: u32, _flags: u32, _bytes: u32, _result_flags: u32) =
            process::socket(context, fd);
        sock_send(fd: u32, _buffers: u32, _count: u32, _flags: u32, _bytes: u32) =
            process::socket(context, fd);
        sock_shutdown(fd: u32, _how: u32) =
            process::socket(context, fd);
    }
}

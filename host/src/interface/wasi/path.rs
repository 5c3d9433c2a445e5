//! Paths beneath the directories a guest was given: `path_*`.
//!
//! A path leads nowhere but beneath its directory, whatever it says and whatever others do to the tree meanwhile. The
//! kernel sees to that: every walk of more than one component is an openat2(2) with RESOLVE_BENEATH, under which `..`,
//! absolute links and links that lead out fail. An operation that changes a name opens the directory the name is in that
//! way and then uses the last component alone, a plain name, with calls that do not follow it.

use super::descriptors::Descriptor;
use super::errno::Errno;
use super::fd::Times;
use super::memory::{Buffer, Memory};
use super::types::{FileStat, FileType, SYMLINK_FOLLOW, fdflags, oflags, rights};
use super::{Answer, PreopenError};
use crate::interface::Context;
use crate::interface::stdio::retried;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags};

/// As Linux's PATH_MAX.
const PATH_BYTES_MAX: u32 = 4096;

/// Attempts at a walk during which directories are moved, which openat2(2) gives up with EAGAIN.
const WALKS_MAX: usize = 64;

/// A path as the guest gave it: neither empty nor absolute, without NUL.
fn guest_path<'m>(memory: &'m Memory<'_>, path: Buffer) -> Result<&'m [u8], Errno> {
    let bytes = memory.slice(path.address, path.bytes)?;
    if path.bytes > PATH_BYTES_MAX {
        return Err(Errno::NameTooLong);
    }
    match bytes {
        [] => Err(Errno::NoEntry),
        [b'/', ..] => Err(Errno::NotPermitted),
        _ if bytes.contains(&0) => Err(Errno::Invalid),
        _ => Ok(bytes),
    }
}

/// Opens what lies beneath a directory.
fn open_beneath(
    directory: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    let mut walks = 0;
    loop {
        walks += 1;
        match retried(|| rustix::fs::openat2(directory, path, flags, mode, resolve)) {
            Err(Errno::Again) if walks < WALKS_MAX => {}
            result => return result,
        }
    }
}

/// Opens what a path names, as a place only, for calls that look at it or change its attributes.
fn locate(directory: BorrowedFd<'_>, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
    let nofollow = if follow {
        OFlags::empty()
    } else {
        OFlags::NOFOLLOW
    };
    open_beneath(directory, path, OFlags::PATH | nofollow, Mode::empty())
}

/// A directory and a name in it.
struct Entry<'p> {
    parent: OwnedFd,
    /// One component, neither `.` nor `..`.
    name: &'p [u8],
    /// The path ended with `/`, so that only a directory can be meant.
    as_directory: bool,
}

impl<'p> Entry<'p> {
    /// Finds the directory a path's last component is in. `special` is the error for a path that ends with `.` or `..`.
    fn find(directory: BorrowedFd<'_>, path: &'p [u8], special: Errno) -> Result<Entry<'p>, Errno> {
        let end = path
            .iter()
            .rposition(|&byte| byte != b'/')
            .map_or(0, |last| last + 1);
        let trimmed = &path[..end];
        let (parent, name) = match trimmed.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&trimmed[..=slash], &trimmed[slash + 1..]),
            None => (&b"."[..], trimmed),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let parent = open_beneath(directory, parent, flags, Mode::empty())?;
        match name {
            b"" | b"." | b".." => Err(special),
            _ => Ok(Entry {
                parent,
                name,
                as_directory: end < path.len(),
            }),
        }
    }

    /// Holds a path that ended with `/` to it.
    fn check_directory(&self) -> Result<(), Errno> {
        if self.as_directory {
            let stat = rustix::fs::statat(&self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileStat::from(stat).file_type != FileType::Directory {
                return Err(Errno::NotDirectory);
            }
        }
        Ok(())
    }
}

fn directory(context: &Context, descriptor: u32, right: u64) -> Result<BorrowedFd<'_>, Errno> {
    let entry = context.wasi.descriptors.get(descriptor)?;
    let directory = entry.as_directory()?;
    entry.require(right)?;
    Ok(directory)
}

fn follows(lookup_flags: u32) -> Result<bool, Errno> {
    match lookup_flags {
        0 => Ok(false),
        SYMLINK_FOLLOW => Ok(true),
        _ => Err(Errno::Invalid),
    }
}

/// The operands of `path_open` besides the path.
#[derive(Clone, Copy)]
pub struct Open {
    pub lookup_flags: u32,
    pub oflags: u32,
    pub rights_base: u64,
    pub rights_inheriting: u64,
    pub fdflags: u32,
}

pub fn path_open(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    path: Buffer,
    open: Open,
    result: u32,
) -> Answer {
    memory.slice(result, 4)?;
    let parent = context.wasi.descriptors.get(descriptor)?;
    let opened = open_descriptor(parent, guest_path(memory, path)?, open)?;
    let number = context.wasi.descriptors.insert(opened)?;
    Ok(memory.store_u32(result, number)?)
}

fn open_descriptor(parent: &Descriptor, path: &[u8], open: Open) -> Result<Descriptor, Errno> {
    let directory = parent.as_directory()?;
    parent.require(rights::PATH_OPEN)?;
    let flags = u16::try_from(open.fdflags).map_err(|_| Errno::Invalid)?;
    let has = |flag: u32| open.oflags & flag != 0;
    if open.oflags & !oflags::ALL != 0
        || flags & !fdflags::ALL != 0
        || has(oflags::CREAT) && has(oflags::DIRECTORY)
    {
        return Err(Errno::Invalid);
    }
    // Programs ask for rights that do not exist or make no sense for a file; those are not given. What the directory
    // has lost must not come back.
    let (wanted, wanted_inheriting) = (
        open.rights_base & rights::INHERITING,
        open.rights_inheriting & rights::INHERITING,
    );
    if (wanted | wanted_inheriting) & !parent.rights_inheriting != 0 {
        return Err(Errno::NotCapable);
    }
    let mut required = 0;
    if has(oflags::CREAT) {
        required |= rights::PATH_CREATE_FILE;
    }
    if has(oflags::TRUNC) {
        required |= rights::PATH_FILESTAT_SET_SIZE;
    }
    parent.require(required)?;

    let write = wanted & rights::FD_WRITE != 0 || has(oflags::TRUNC);
    let read = wanted & (rights::FD_READ | rights::FD_READDIR) != 0 || !write;
    let mut host = match (read, write) {
        // A directory cannot be opened for writing; its entries can be changed all the same.
        _ if has(oflags::DIRECTORY) => OFlags::RDONLY | OFlags::DIRECTORY,
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    host |= OFlags::NOCTTY;
    host.set(OFlags::CREATE, has(oflags::CREAT));
    host.set(OFlags::EXCL, has(oflags::EXCL));
    host.set(OFlags::TRUNC, has(oflags::TRUNC));
    host.set(OFlags::NOFOLLOW, !follows(open.lookup_flags)?);
    host.set(OFlags::APPEND, flags & fdflags::APPEND != 0);
    host.set(OFlags::NONBLOCK, flags & fdflags::NONBLOCK != 0);
    host.set(OFlags::DSYNC, flags & fdflags::DSYNC != 0);
    if flags & (fdflags::SYNC | fdflags::RSYNC) != 0 {
        host |= OFlags::SYNC;
    }
    // openat2(2) refuses a mode where nothing is created; the umask takes away from this one.
    let mode = if has(oflags::CREAT) {
        Mode::from_raw_mode(0o666)
    } else {
        Mode::empty()
    };
    let opened = open_beneath(directory, path, host, mode)?;
    let file_type = FileStat::from(rustix::fs::fstat(&opened)?).file_type;
    Ok(match file_type {
        FileType::Directory => {
            Descriptor::directory(opened, None, wanted & rights::DIRECTORY, wanted_inheriting)
        }
        file_type => {
            let mut base = wanted & rights::FILE;
            if !write {
                base &= !(rights::FILE_WRITING & !rights::FD_DATASYNC);
            }
            Descriptor::file(opened, file_type, flags, base)
        }
    })
}

pub fn path_filestat_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    lookup_flags: u32,
    path: Buffer,
    result: u32,
) -> Answer {
    let directory = directory(context, descriptor, rights::PATH_FILESTAT_GET)?;
    let place = locate(directory, guest_path(memory, path)?, follows(lookup_flags)?)?;
    let stat = rustix::fs::fstat(&place).map_err(Errno::from)?;
    Ok(memory.store(result, &FileStat::from(stat).to_bytes())?)
}

pub fn path_filestat_set_times(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    lookup_flags: u32,
    path: Buffer,
    times: Times,
) -> Answer {
    let directory = directory(context, descriptor, rights::PATH_FILESTAT_SET_TIMES)?;
    let times = times.timestamps()?;
    let place = locate(directory, guest_path(memory, path)?, follows(lookup_flags)?)?;
    Ok(retried(|| {
        rustix::fs::utimensat(&place, "", &times, AtFlags::EMPTY_PATH)
    })?)
}

pub fn path_create_directory(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    path: Buffer,
) -> Answer {
    let directory = directory(context, descriptor, rights::PATH_CREATE_DIRECTORY)?;
    let entry = Entry::find(directory, guest_path(memory, path)?, Errno::Exists)?;
    Ok(retried(|| {
        rustix::fs::mkdirat(&entry.parent, entry.name, Mode::from_raw_mode(0o777))
    })?)
}

pub fn path_remove_directory(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    path: Buffer,
) -> Answer {
    let directory = directory(context, descriptor, rights::PATH_REMOVE_DIRECTORY)?;
    let entry = Entry::find(directory, guest_path(memory, path)?, Errno::Invalid)?;
    Ok(retried(|| {
        rustix::fs::unlinkat(&entry.parent, entry.name, AtFlags::REMOVEDIR)
    })?)
}

pub fn path_unlink_file(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    path: Buffer,
) -> Answer {
    let directory = directory(context, descriptor, rights::PATH_UNLINK_FILE)?;
    let entry = Entry::find(directory, guest_path(memory, path)?, Errno::IsDirectory)?;
    entry.check_directory()?;
    Ok(retried(|| {
        rustix::fs::unlinkat(&entry.parent, entry.name, AtFlags::empty())
    })?)
}

pub fn path_link(
    context: &mut Context,
    memory: &mut Memory<'_>,
    old_descriptor: u32,
    old_flags: u32,
    old_path: Buffer,
    new_descriptor: u32,
    new_path: Buffer,
) -> Answer {
    let old_directory = directory(context, old_descriptor, rights::PATH_LINK_SOURCE)?;
    let new_directory = directory(context, new_descriptor, rights::PATH_LINK_TARGET)?;
    if follows(old_flags)? {
        // Linux follows links only by path, which could lead out.
        return Err(Errno::Invalid.into());
    }
    let old = Entry::find(
        old_directory,
        guest_path(memory, old_path)?,
        Errno::NotPermitted,
    )?;
    let new = Entry::find(new_directory, guest_path(memory, new_path)?, Errno::Exists)?;
    old.check_directory()?;
    if new.as_directory {
        return Err(Errno::NoEntry.into());
    }
    rustix::fs::linkat(
        &old.parent,
        old.name,
        &new.parent,
        new.name,
        AtFlags::empty(),
    )
    .map_err(between_file_systems)?;
    Ok(())
}

pub fn path_rename(
    context: &mut Context,
    memory: &mut Memory<'_>,
    old_descriptor: u32,
    old_path: Buffer,
    new_descriptor: u32,
    new_path: Buffer,
) -> Answer {
    let old_directory = directory(context, old_descriptor, rights::PATH_RENAME_SOURCE)?;
    let new_directory = directory(context, new_descriptor, rights::PATH_RENAME_TARGET)?;
    let old = Entry::find(old_directory, guest_path(memory, old_path)?, Errno::Busy)?;
    let new = Entry::find(new_directory, guest_path(memory, new_path)?, Errno::Busy)?;
    if new.as_directory {
        Entry {
            as_directory: true,
            parent: old.parent.try_clone().map_err(|_| Errno::TooManyFiles)?,
            name: old.name,
        }
        .check_directory()?;
    }
    old.check_directory()?;
    rustix::fs::renameat_with(
        &old.parent,
        old.name,
        &new.parent,
        new.name,
        RenameFlags::empty(),
    )
    .map_err(between_file_systems)?;
    Ok(())
}

fn between_file_systems(errno: rustix::io::Errno) -> Errno {
    match errno {
        rustix::io::Errno::XDEV => Errno::CrossDevice,
        errno => errno.into(),
    }
}

/// The target is the guest's to choose as long as it is relative: it is never followed out. An absolute one could only
/// be meant for other programs that come by.
pub fn path_symlink(
    context: &mut Context,
    memory: &mut Memory<'_>,
    target: Buffer,
    descriptor: u32,
    path: Buffer,
) -> Answer {
    let directory = directory(context, descriptor, rights::PATH_SYMLINK)?;
    let target = guest_path(memory, target)?;
    let entry = Entry::find(directory, guest_path(memory, path)?, Errno::Exists)?;
    if entry.as_directory {
        return Err(Errno::NoEntry.into());
    }
    Ok(retried(|| {
        rustix::fs::symlinkat(target, &entry.parent, entry.name)
    })?)
}

/// Stores as much of the link's target as fits, without a NUL.
pub fn path_readlink(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    path: Buffer,
    into: Buffer,
    result: u32,
) -> Answer {
    let directory = directory(context, descriptor, rights::PATH_READLINK)?;
    let entry = Entry::find(directory, guest_path(memory, path)?, Errno::Invalid)?;
    entry.check_directory()?;
    memory.slice(result, 4)?;
    let target =
        rustix::fs::readlinkat(&entry.parent, entry.name, Vec::new()).map_err(Errno::from)?;
    let buffer = memory.slice_mut(into.address, into.bytes)?;
    let bytes = target.as_bytes().len().min(buffer.len());
    buffer[..bytes].copy_from_slice(&target.as_bytes()[..bytes]);
    Ok(memory.store_u32(result, bytes as u32)?)
}

impl Context {
    /// Gives the guest a directory of this machine, under a name of its own.
    pub fn preopen(&mut self, host: &std::path::Path, guest: &str) -> Result<(), PreopenError> {
        let error = |cause: rustix::io::Errno| PreopenError {
            host: host.to_owned(),
            cause,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(host, flags, Mode::empty()).map_err(error)?;
        // A kernel without openat2 (before 5.6), or a container that forbids it, cannot confine paths.
        rustix::fs::openat2(
            opened.as_fd(),
            ".",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH,
        )
        .map_err(error)?;
        let name = guest.as_bytes().into();
        let descriptor =
            Descriptor::directory(opened, Some(name), rights::DIRECTORY, rights::INHERITING);
        self.wasi
            .descriptors
            .insert(descriptor)
            .map_err(|_| error(rustix::io::Errno::MFILE))?;
        Ok(())
    }
}

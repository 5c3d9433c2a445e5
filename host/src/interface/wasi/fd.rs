//! Descriptors other than their reading and writing: `fd_*`.

use super::Answer;
use super::descriptors::Object;
use super::errno::Errno;
use super::memory::{Buffer, Memory};
use super::types::{
    DIRENT_BYTES, FdStat, FileStat, FileType, PREOPENTYPE_DIR, fdflags, fstflags, rights, whence,
};
use crate::interface::Context;
use crate::interface::stdio::{Stdio, Stream, retried};
use rustix::fd::AsFd;
use rustix::fs::{Advice, FallocateFlags, OFlags, RawDir, SeekFrom, Timespec, Timestamps};
use std::num::NonZeroU64;

pub fn fd_close(context: &mut Context, descriptor: u32) -> Answer {
    context.wasi.descriptors.remove(descriptor)?;
    Ok(())
}

pub fn fd_renumber(context: &mut Context, from: u32, to: u32) -> Answer {
    Ok(context.wasi.descriptors.renumber(from, to)?)
}

pub fn fd_fdstat_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    result: u32,
) -> Answer {
    let entry = context.wasi.descriptors.get(descriptor)?;
    let file_type = match &entry.object {
        Object::Stream(stream) => stream_type(*stream, context.stdio),
        Object::File { file_type, .. } => *file_type,
        Object::Directory { .. } => FileType::Directory,
    };
    let stat = FdStat {
        file_type,
        flags: entry.flags,
        rights_base: entry.rights_base,
        rights_inheriting: entry.rights_inheriting,
    };
    Ok(memory.store(result, &stat.to_bytes())?)
}

/// A terminal of this process is one for the guest; a request's streams are of no type a guest knows.
fn stream_type(stream: Stream, stdio: Stdio) -> FileType {
    match stdio {
        Stdio::Buffered => FileType::Unknown,
        Stdio::Process => rustix::fs::fstat(stream.of_process())
            .map_or(FileType::Unknown, |stat| FileStat::from(stat).file_type),
    }
}

pub fn fd_fdstat_set_flags(context: &mut Context, descriptor: u32, flags: u32) -> Answer {
    let flags = u16::try_from(flags).map_err(|_| Errno::Invalid)?;
    let entry = context.wasi.descriptors.get_mut(descriptor)?;
    let changed = flags ^ entry.flags;
    if flags & !fdflags::ALL != 0 {
        return Err(Errno::Invalid.into());
    }
    if changed & !(fdflags::APPEND | fdflags::NONBLOCK) != 0 {
        // Linux ignores changes of how writes are synchronised; a guest is told instead.
        return Err(Errno::NotSupported.into());
    }
    // Flags of a stream concern the guest alone: this process shares its streams with others.
    if let Object::File { file, .. } = &entry.object {
        let mut host = OFlags::empty();
        host.set(OFlags::APPEND, flags & fdflags::APPEND != 0);
        host.set(OFlags::NONBLOCK, flags & fdflags::NONBLOCK != 0);
        retried(|| rustix::fs::fcntl_setfl(file, host))?;
    }
    entry.flags = flags;
    Ok(())
}

/// Rights can only be given up.
pub fn fd_fdstat_set_rights(
    context: &mut Context,
    descriptor: u32,
    base: u64,
    inheriting: u64,
) -> Answer {
    let entry = context.wasi.descriptors.get(descriptor)?;
    if base & !entry.rights_base != 0 || inheriting & !entry.rights_inheriting != 0 {
        return Err(Errno::NotCapable.into());
    }
    let entry = context.wasi.descriptors.get_mut(descriptor)?;
    entry.rights_base = base;
    entry.rights_inheriting = inheriting;
    Ok(())
}

pub fn fd_filestat_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    result: u32,
) -> Answer {
    let entry = context.wasi.descriptors.get(descriptor)?;
    let stat = match &entry.object {
        Object::File { file, .. } => rustix::fs::fstat(file),
        Object::Directory { directory, .. } => rustix::fs::fstat(directory),
        Object::Stream(stream) => match context.stdio {
            Stdio::Process => rustix::fs::fstat(stream.of_process()),
            Stdio::Buffered => return Ok(memory.store(result, &[0; 64])?),
        },
    };
    Ok(memory.store(
        result,
        &FileStat::from(stat.map_err(Errno::from)?).to_bytes(),
    )?)
}

pub fn fd_filestat_set_size(context: &mut Context, descriptor: u32, bytes: u64) -> Answer {
    let entry = context.wasi.descriptors.get(descriptor)?;
    let file = entry.as_file().map_err(|error| match error {
        Errno::NotSeekable => Errno::Invalid,
        error => error,
    })?;
    Ok(retried(|| rustix::fs::ftruncate(file, bytes))?)
}

/// Times to set, as a guest gives them.
#[derive(Clone, Copy)]
pub struct Times {
    pub accessed_ns: u64,
    pub modified_ns: u64,
    pub flags: u32,
}

impl Times {
    pub fn timestamps(self) -> Result<Timestamps, Errno> {
        let Times {
            accessed_ns,
            modified_ns,
            flags,
        } = self;
        if flags & !fstflags::ALL != 0 {
            return Err(Errno::Invalid);
        }
        let time = |nanoseconds: u64, given: u32, now: u32| {
            let nanoseconds_special = match (flags & given != 0, flags & now != 0) {
                (true, true) => return Err(Errno::Invalid),
                (true, false) => {
                    return Ok(Timespec {
                        tv_sec: (nanoseconds / 1_000_000_000) as i64,
                        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
                    });
                }
                (false, true) => rustix::fs::UTIME_NOW,
                (false, false) => rustix::fs::UTIME_OMIT,
            };
            Ok(Timespec {
                tv_sec: 0,
                tv_nsec: nanoseconds_special,
            })
        };
        Ok(Timestamps {
            last_access: time(accessed_ns, fstflags::ATIM, fstflags::ATIM_NOW)?,
            last_modification: time(modified_ns, fstflags::MTIM, fstflags::MTIM_NOW)?,
        })
    }
}

pub fn fd_filestat_set_times(context: &mut Context, descriptor: u32, times: Times) -> Answer {
    let entry = context.wasi.descriptors.get(descriptor)?;
    let times = times.timestamps()?;
    let host = match &entry.object {
        Object::File { file, .. } => file,
        Object::Directory { directory, .. } => directory,
        Object::Stream(_) => return Err(Errno::NotSupported.into()),
    };
    entry.require(rights::FD_FILESTAT_SET_TIMES)?;
    Ok(retried(|| rustix::fs::futimens(host, &times))?)
}

pub fn fd_seek(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    offset: i64,
    from: u32,
    result: u32,
) -> Answer {
    let file = context.wasi.descriptors.get(descriptor)?.as_file()?;
    let position = match from {
        whence::SET => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::Invalid)?),
        whence::CUR => SeekFrom::Current(offset),
        whence::END => SeekFrom::End(offset),
        _ => return Err(Errno::Invalid.into()),
    };
    memory.slice(result, 8)?;
    let position = rustix::fs::seek(file, position).map_err(Errno::from)?;
    Ok(memory.store_u64(result, position)?)
}

pub fn fd_tell(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    result: u32,
) -> Answer {
    let file = context.wasi.descriptors.get(descriptor)?.as_file()?;
    let position = rustix::fs::tell(file).map_err(Errno::from)?;
    Ok(memory.store_u64(result, position)?)
}

pub fn fd_advise(
    context: &mut Context,
    descriptor: u32,
    offset: u64,
    bytes: u64,
    advice: u32,
) -> Answer {
    let file = context.wasi.descriptors.get(descriptor)?.as_file()?;
    let advice = match advice {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::Invalid.into()),
    };
    if i64::try_from(offset).is_err() || i64::try_from(bytes).is_err() {
        return Err(Errno::Invalid.into());
    }
    Ok(retried(|| {
        rustix::fs::fadvise(file, offset, NonZeroU64::new(bytes), advice)
    })?)
}

pub fn fd_allocate(context: &mut Context, descriptor: u32, offset: u64, bytes: u64) -> Answer {
    let file = context.wasi.descriptors.get(descriptor)?.as_file()?;
    if bytes == 0 {
        return Err(Errno::Invalid.into());
    }
    if offset
        .checked_add(bytes)
        .is_none_or(|end| i64::try_from(end).is_err())
    {
        return Err(Errno::FileTooBig.into());
    }
    Ok(retried(|| {
        rustix::fs::fallocate(file, FallocateFlags::empty(), offset, bytes)
    })?)
}

/// `fd_sync` and, with `data_only`, `fd_datasync`.
pub fn fd_sync(context: &mut Context, descriptor: u32, data_only: bool) -> Answer {
    let host = match &context.wasi.descriptors.get(descriptor)?.object {
        Object::File { file, .. } => file,
        Object::Directory { directory, .. } => directory,
        Object::Stream(_) => return Err(Errno::Invalid.into()),
    };
    retried(|| match data_only {
        true => rustix::fs::fdatasync(host),
        false => rustix::fs::fsync(host),
    })?;
    Ok(())
}

pub fn fd_prestat_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    result: u32,
) -> Answer {
    let name = preopen_name(context, descriptor)?;
    let mut bytes = [0; 8];
    bytes[0] = PREOPENTYPE_DIR;
    bytes[4..].copy_from_slice(&(name.len() as u32).to_le_bytes());
    Ok(memory.store(result, &bytes)?)
}

pub fn fd_prestat_dir_name(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    into: Buffer,
) -> Answer {
    let name = preopen_name(context, descriptor)?;
    if name.len() > into.bytes as usize {
        return Err(Errno::NameTooLong.into());
    }
    Ok(memory.store(into.address, name)?)
}

/// Guests ask from descriptor 3 on until one is no preopened directory, which `EBADF` tells.
fn preopen_name(context: &Context, descriptor: u32) -> Result<&[u8], Errno> {
    match &context.wasi.descriptors.get(descriptor)?.object {
        Object::Directory {
            preopen: Some(name),
            ..
        } => Ok(name),
        _ => Err(Errno::BadDescriptor),
    }
}

/// Bytes of directory entries asked of the kernel at once.
const ENTRIES_BYTES: usize = 8 << 10;

/// Stores entries from `cookie` on, the last one cut off where the buffer ends.
///
/// A cookie is the kernel's own position in the directory (`d_off` of getdents64(2)), so that nothing has to be kept
/// between calls and entries that appear or vanish meanwhile shift no other.
pub fn fd_readdir(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    into: Buffer,
    cookie: u64,
    result: u32,
) -> Answer {
    let entry = context.wasi.descriptors.get(descriptor)?;
    entry.require(rights::FD_READDIR)?;
    let directory = entry.as_directory()?;
    memory.slice(result, 4)?;
    let buffer = memory.slice_mut(into.address, into.bytes)?;
    let position = i64::try_from(cookie).map_err(|_| Errno::Invalid)?;
    rustix::fs::seek(directory, SeekFrom::Start(position as u64)).map_err(Errno::from)?;
    let mut entries_buffer = Vec::with_capacity(ENTRIES_BYTES);
    let mut entries = RawDir::new(directory.as_fd(), entries_buffer.spare_capacity_mut());
    let mut used = 0;
    while used < buffer.len() {
        let Some(entry) = entries.next() else { break };
        let entry = entry.map_err(Errno::from)?;
        let name = entry.file_name().to_bytes();
        let mut head = [0; DIRENT_BYTES];
        head[0..8].copy_from_slice(&entry.next_entry_cookie().to_le_bytes());
        head[8..16].copy_from_slice(&entry.ino().to_le_bytes());
        head[16..20].copy_from_slice(&(name.len() as u32).to_le_bytes());
        head[20] = FileType::from(entry.file_type()) as u8;
        for part in [&head[..], name] {
            let bytes = part.len().min(buffer.len() - used);
            buffer[used..used + bytes].copy_from_slice(&part[..bytes]);
            used += bytes;
        }
    }
    Ok(memory.store_u32(result, used as u32)?)
}

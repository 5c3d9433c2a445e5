//! Where the bytes of a file lie on the disk, and how they come to lie elsewhere while the file is in use.
//!
//! `FS_IOC_FIEMAP` tells (filesystems/fiemap of the kernel's documentation). `EXT4_IOC_MOVE_EXT`, which e4defrag(8) is made of, has ext4 copy
//! blocks of a file to those that a *donor* has, and gives the donor the old ones: at no time has the file other bytes, and who reads
//! it or has it mapped does not notice.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// Bytes of a file that lie in one piece on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub bytes: Range<u64>,
    /// Where the first of them lies.
    pub on_disk: u64,
}

/// `struct fiemap_extent` and `struct fiemap` of linux/fiemap.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct MapExtent {
    logical: u64,
    physical: u64,
    bytes: u64,
    reserved: [u64; 2],
    flags: u32,
    reserved_too: [u32; 3],
}

const EXTENTS_PER_CALL: usize = 256;

#[repr(C)]
struct Map {
    start: u64,
    bytes: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extents: [MapExtent; EXTENTS_PER_CALL],
}

/// `struct move_extent` of fs/ext4/ext4.h, in blocks.
#[repr(C)]
struct MoveExtent {
    reserved: u32,
    donor: u32,
    start: u64,
    donor_start: u64,
    blocks: u64,
    moved: u64,
}

/// `_IOWR('f', 11, struct fiemap)`, whose size does not count the extents.
const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
/// `_IOWR('f', 15, struct move_extent)`.
const EXT4_IOC_MOVE_EXT: libc::c_ulong = 0xc028_660f;

/// What was written and has no place yet gets one first.
const FIEMAP_FLAG_SYNC: u32 = 1;
const FIEMAP_EXTENT_LAST: u32 = 1;
/// `FIEMAP_EXTENT_UNKNOWN`, `_DELALLOC`, `_ENCODED`, `_NOT_ALIGNED`: it has no place of its own, or not yet.
const FIEMAP_EXTENT_PLACELESS: u32 = 0x2 | 0x4 | 0x8 | 0x100;

const _: () = assert!(size_of::<MapExtent>() == 56);
const _: () = assert!(size_of::<Map>() == 32 + EXTENTS_PER_CALL * 56);
const _: () = assert!(size_of::<MoveExtent>() == 40);

/// What file systems answer that do not know a request, or not between two of them.
const UNSUPPORTED: [i32; 5] = [
    libc::ENOTTY,
    libc::EOPNOTSUPP,
    libc::ENOSYS,
    libc::EINVAL,
    libc::EXDEV,
];

/// How often a move is tried again that met blocks still being written.
const BUSY_MAX: u32 = 8;

/// Where a file lies, ascending. Fails where the file system cannot tell.
pub fn extents(file: &File) -> io::Result<Vec<Extent>> {
    let mut found = Vec::new();
    let mut map = Box::new(Map {
        start: 0,
        bytes: 0,
        flags: FIEMAP_FLAG_SYNC,
        mapped: 0,
        room: EXTENTS_PER_CALL as u32,
        reserved: 0,
        extents: [MapExtent::default(); EXTENTS_PER_CALL],
    });
    loop {
        map.bytes = u64::MAX - map.start;
        // SAFETY: the kernel writes no more than `room` extents after the head, which the structure has.
        if unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut *map) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let extents = &map.extents[..(map.mapped as usize).min(EXTENTS_PER_CALL)];
        let placed = extents
            .iter()
            .filter(|extent| extent.flags & FIEMAP_EXTENT_PLACELESS == 0);
        found.extend(placed.map(|extent| Extent {
            bytes: extent.logical..extent.logical.saturating_add(extent.bytes),
            on_disk: extent.physical,
        }));
        match extents.last() {
            Some(last) if last.flags & FIEMAP_EXTENT_LAST == 0 && last.bytes > 0 => {
                map.start = last.logical.saturating_add(last.bytes);
            }
            _ => return Ok(found),
        }
    }
}

/// Gives so many bytes of a donor's places on the disk, from an offset on. Both files must be open for writing.
///
/// Both offsets must be page aligned. Holes stay holes. Fails where the file system cannot; what was done until then stays.
pub fn exchange(file: &File, bytes: Range<u64>, donor: &File, donor_offset: u64) -> io::Result<()> {
    let block = file.metadata()?.blksize();
    let mut request = MoveExtent {
        reserved: 0,
        donor: donor.as_raw_fd() as u32,
        start: bytes.start / block,
        donor_start: donor_offset / block,
        blocks: (bytes.end - bytes.start) / block,
        moved: 0,
    };
    let mut busy = 0;
    while request.blocks > 0 {
        // SAFETY: the structure lives across the call and is what the request takes. No byte of either file changes for who reads it
        // but the donor's, which is the caller's.
        let failed =
            unsafe { libc::ioctl(file.as_raw_fd(), EXT4_IOC_MOVE_EXT, &raw mut request) } != 0;
        let error = io::Error::last_os_error();
        let moved = request.moved.min(request.blocks);
        request.start += moved;
        request.donor_start += moved;
        request.blocks -= moved;
        request.moved = 0;
        if !failed && moved == 0 {
            return Ok(());
        }
        if failed {
            if error.raw_os_error() != Some(libc::EBUSY) || busy == BUSY_MAX {
                return Err(error);
            }
            // Blocks of the last move are still being written.
            busy += 1;
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Whether a failure says that the file system cannot do it at all.
pub fn is_unsupported(error: &io::Error) -> bool {
    let error = error.raw_os_error();
    error.is_some_and(|error| UNSUPPORTED.contains(&error))
}

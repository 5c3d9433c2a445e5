//! Constants and structures of `wasi_snapshot_preview1.witx`, as bytes in guest memory (little-endian).

/// `filetype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileType {
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketStream = 6,
    SymbolicLink = 7,
}

impl From<rustix::fs::FileType> for FileType {
    fn from(file_type: rustix::fs::FileType) -> FileType {
        use rustix::fs::FileType as Host;
        match file_type {
            Host::RegularFile => FileType::RegularFile,
            Host::Directory => FileType::Directory,
            Host::Symlink => FileType::SymbolicLink,
            Host::CharacterDevice => FileType::CharacterDevice,
            Host::BlockDevice => FileType::BlockDevice,
            Host::Socket => FileType::SocketStream,
            _ => FileType::Unknown,
        }
    }
}

/// `rights`: what may be done with a descriptor.
pub mod rights {
    pub const FD_DATASYNC: u64 = 1 << 0;
    pub const FD_READ: u64 = 1 << 1;
    pub const FD_SEEK: u64 = 1 << 2;
    pub const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
    pub const FD_SYNC: u64 = 1 << 4;
    pub const FD_TELL: u64 = 1 << 5;
    pub const FD_WRITE: u64 = 1 << 6;
    pub const FD_ADVISE: u64 = 1 << 7;
    pub const FD_ALLOCATE: u64 = 1 << 8;
    pub const PATH_CREATE_DIRECTORY: u64 = 1 << 9;
    pub const PATH_CREATE_FILE: u64 = 1 << 10;
    pub const PATH_LINK_SOURCE: u64 = 1 << 11;
    pub const PATH_LINK_TARGET: u64 = 1 << 12;
    pub const PATH_OPEN: u64 = 1 << 13;
    pub const FD_READDIR: u64 = 1 << 14;
    pub const PATH_READLINK: u64 = 1 << 15;
    pub const PATH_RENAME_SOURCE: u64 = 1 << 16;
    pub const PATH_RENAME_TARGET: u64 = 1 << 17;
    pub const PATH_FILESTAT_GET: u64 = 1 << 18;
    pub const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
    pub const PATH_FILESTAT_SET_TIMES: u64 = 1 << 20;
    pub const FD_FILESTAT_GET: u64 = 1 << 21;
    pub const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    pub const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
    pub const PATH_SYMLINK: u64 = 1 << 24;
    pub const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
    pub const PATH_UNLINK_FILE: u64 = 1 << 26;
    pub const POLL_FD_READWRITE: u64 = 1 << 27;
    const SOCK_SHUTDOWN: u64 = 1 << 28;
    const SOCK_ACCEPT: u64 = 1 << 29;

    /// Every right there is.
    pub const ALL: u64 = (1 << 30) - 1;
    /// Those that make sense for a file.
    pub const FILE: u64 = FD_DATASYNC
        | FD_READ
        | FD_SEEK
        | FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_TELL
        | FD_WRITE
        | FD_ADVISE
        | FD_ALLOCATE
        | FD_FILESTAT_GET
        | FD_FILESTAT_SET_SIZE
        | FD_FILESTAT_SET_TIMES
        | POLL_FD_READWRITE;
    /// Those of a file that change it.
    pub const FILE_WRITING: u64 = FD_DATASYNC | FD_WRITE | FD_ALLOCATE | FD_FILESTAT_SET_SIZE;
    /// Those that make sense for a directory: everything but reading, writing and seeking it as a file.
    pub const DIRECTORY: u64 = ALL
        & !(FD_READ
            | FD_SEEK
            | FD_TELL
            | FD_WRITE
            | FD_ADVISE
            | FD_ALLOCATE
            | FD_FILESTAT_SET_SIZE
            | POLL_FD_READWRITE
            | SOCK_SHUTDOWN
            | SOCK_ACCEPT);
    /// What is opened beneath a directory may have at most these.
    pub const INHERITING: u64 = DIRECTORY | FILE;
    /// Those of standard input, output and error: no seek and no tell, which is how wasi-libc's `isatty` knows a terminal.
    pub const STREAM: u64 = FD_FDSTAT_SET_FLAGS | FD_FILESTAT_GET | POLL_FD_READWRITE;
}

/// `fdflags`.
pub mod fdflags {
    pub const APPEND: u16 = 1;
    pub const DSYNC: u16 = 2;
    pub const NONBLOCK: u16 = 4;
    pub const RSYNC: u16 = 8;
    pub const SYNC: u16 = 16;
    pub const ALL: u16 = 31;
}

/// `oflags`.
pub mod oflags {
    pub const CREAT: u32 = 1;
    pub const DIRECTORY: u32 = 2;
    pub const EXCL: u32 = 4;
    pub const TRUNC: u32 = 8;
    pub const ALL: u32 = 15;
}

/// `lookupflags`: follow a symbolic link in the last component.
pub const SYMLINK_FOLLOW: u32 = 1;

/// `fstflags`.
pub mod fstflags {
    pub const ATIM: u32 = 1;
    pub const ATIM_NOW: u32 = 2;
    pub const MTIM: u32 = 4;
    pub const MTIM_NOW: u32 = 8;
    pub const ALL: u32 = 15;
}

/// `whence`.
pub mod whence {
    pub const SET: u32 = 0;
    pub const CUR: u32 = 1;
    pub const END: u32 = 2;
}

/// `clockid`.
pub mod clockid {
    pub const REALTIME: u32 = 0;
    pub const MONOTONIC: u32 = 1;
    pub const PROCESS_CPUTIME: u32 = 2;
    pub const THREAD_CPUTIME: u32 = 3;
}

/// `eventtype`, which is also the tag of a subscription.
pub mod eventtype {
    pub const CLOCK: u8 = 0;
    pub const FD_READ: u8 = 1;
    pub const FD_WRITE: u8 = 2;
}

/// `subclockflags`: the timeout is a point in time, not a duration.
pub const SUBSCRIPTION_CLOCK_ABSTIME: u16 = 1;

/// The tag of a `prestat` that is a directory.
pub const PREOPENTYPE_DIR: u8 = 0;

pub const IOVEC_BYTES: u32 = 8;
pub const SUBSCRIPTION_BYTES: u32 = 48;
pub const EVENT_BYTES: u32 = 32;
pub const DIRENT_BYTES: usize = 24;

/// `fdstat`.
pub struct FdStat {
    pub file_type: FileType,
    pub flags: u16,
    pub rights_base: u64,
    pub rights_inheriting: u64,
}

impl FdStat {
    pub fn to_bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[0] = self.file_type as u8;
        bytes[2..4].copy_from_slice(&self.flags.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.rights_base.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.rights_inheriting.to_le_bytes());
        bytes
    }
}

/// `filestat`; times in nanoseconds since the epoch.
pub struct FileStat {
    pub device: u64,
    pub inode: u64,
    pub file_type: FileType,
    pub links: u64,
    pub bytes: u64,
    pub accessed_ns: u64,
    pub modified_ns: u64,
    pub changed_ns: u64,
}

impl FileStat {
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[0..8].copy_from_slice(&self.device.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.inode.to_le_bytes());
        bytes[16] = self.file_type as u8;
        bytes[24..32].copy_from_slice(&self.links.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.accessed_ns.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.modified_ns.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.changed_ns.to_le_bytes());
        bytes
    }
}

impl From<rustix::fs::Stat> for FileStat {
    #[allow(
        clippy::useless_conversion,
        reason = "the number of links has 32 bits on aarch64"
    )]
    fn from(stat: rustix::fs::Stat) -> FileStat {
        // Times before the epoch have no representation in WASI and become 0.
        let nanoseconds = |seconds: i64, nanoseconds: i64| {
            u64::try_from(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
                .unwrap_or(0)
        };
        FileStat {
            device: stat.st_dev,
            inode: stat.st_ino,
            file_type: rustix::fs::FileType::from_raw_mode(stat.st_mode).into(),
            links: u64::from(stat.st_nlink),
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            accessed_ns: nanoseconds(stat.st_atime, stat.st_atime_nsec as i64),
            modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }
}

/// `event`.
pub struct Event {
    pub userdata: u64,
    pub error: Option<super::errno::Errno>,
    pub event_type: u8,
    /// For descriptors: bytes that can be read or written now.
    pub bytes: u64,
}

impl Event {
    pub fn to_bytes(&self) -> [u8; EVENT_BYTES as usize] {
        let mut bytes = [0; EVENT_BYTES as usize];
        bytes[0..8].copy_from_slice(&self.userdata.to_le_bytes());
        let error = self.error.map_or(0, |error| error as u16);
        bytes[8..10].copy_from_slice(&error.to_le_bytes());
        bytes[10] = self.event_type;
        bytes[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        bytes
    }
}

//! A file without a name for the image: gone with the process, however that ends.

use rustix::fs::{Advice, CWD, Mode, OFlags, fadvise, fstatfs, openat};
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// The type of a file system in memory (`TMPFS_MAGIC` of statfs(2)), from whose cache nothing can be dropped.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// An image file, and whether it can be made disk-cold.
pub struct Scratch {
    pub file: File,
    pub on_disk: bool,
}

impl Scratch {
    /// Makes the file where temporary files that may be large belong, on a disk if there is one.
    pub fn new() -> io::Result<Scratch> {
        let mut in_memory = None;
        let mut refused = None;
        for directory in [PathBuf::from("/var/tmp"), std::env::temp_dir()] {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match openat(CWD, &directory, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    let kind = fstatfs(&file)?.f_type as i64;
                    let file = File::from(file);
                    if kind != TMPFS_MAGIC {
                        return Ok(Scratch {
                            file,
                            on_disk: true,
                        });
                    }
                    in_memory.get_or_insert(file);
                }
                Err(error) => refused = Some(error),
            }
        }
        match (in_memory, refused) {
            (Some(file), _) => Ok(Scratch {
                file,
                on_disk: false,
            }),
            (None, error) => Err(error.map_or(io::ErrorKind::NotFound.into(), Into::into)),
        }
    }

    /// Drops the file from the page cache. Nothing may have it mapped.
    pub fn make_cold(&self) -> io::Result<()> {
        self.file.sync_all()?;
        Ok(fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

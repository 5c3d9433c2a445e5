//! The file operations by which the store changes its directory.
//!
//! They pass through one trait so that tests can make the n-th of them fail, or stop the world there, and look at
//! what a later process finds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Operations on the disk. None of them survives a power failure until the file or directory it changed is synced.
pub trait Disk {
    /// mkdir(2); a directory that exists is no error.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates the file, or empties it, and writes all the bytes.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// fsync(2) of a file's contents.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// fsync(2) of a directory's entries.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// rename(2).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// unlink(2).
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and what is in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's file operations.
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        File::create(path)?.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

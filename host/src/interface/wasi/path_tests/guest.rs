//! A guest's memory and descriptors over a real directory tree, with its calls as methods.

use super::super::Answer;
use super::super::errno::Errno;
use super::super::fd::{self, Times};
use super::super::io;
use super::super::memory::{Buffer, Buffers, Memory};
use super::super::path::{self, Open};
use super::super::types::{DIRENT_BYTES, oflags, rights};
use crate::interface::suspension::Halt;
use crate::interface::{Context, Stdio};
use std::fs;

pub const DIRECTORY: u32 = 3;
pub const RESULT: u32 = 60_000;
pub const DATA: u32 = 20_000;

/// A guest with one directory, `tree/inside`; beside it lies `tree/secret`.
pub struct Guest {
    pub tree: tempfile::TempDir,
    pub context: Context,
    pub memory: Vec<u8>,
}

impl Guest {
    pub fn new() -> Guest {
        let tree = tempfile::tempdir().unwrap();
        let inside = tree.path().join("inside");
        fs::create_dir(&inside).unwrap();
        fs::write(tree.path().join("secret"), "secret").unwrap();
        fs::create_dir(tree.path().join("outside")).unwrap();
        let mut context = Context::command(vec![b"test".to_vec()], Vec::new(), Stdio::Buffered);
        context.preopen(&inside, "/data").unwrap();
        Guest {
            tree,
            context,
            memory: vec![0; 65536],
        }
    }

    pub fn inside(&self, path: &str) -> std::path::PathBuf {
        self.tree.path().join("inside").join(path)
    }

    /// Puts a string into guest memory, each at a place of its own.
    pub fn string(&mut self, index: u32, string: &str) -> Buffer {
        let address = index * 5000;
        self.memory[address as usize..][..string.len()].copy_from_slice(string.as_bytes());
        Buffer {
            address,
            bytes: string.len() as u32,
        }
    }

    pub fn result(&self) -> u32 {
        Memory::new(&mut self.memory.clone())
            .load_u32(RESULT)
            .unwrap()
    }

    pub fn open(&mut self, path: &str, oflags: u32, rights_base: u64) -> Result<u32, Errno> {
        self.open_with(
            DIRECTORY,
            path,
            Open {
                lookup_flags: 1,
                oflags,
                rights_base,
                rights_inheriting: 0,
                fdflags: 0,
            },
        )
    }

    pub fn open_with(&mut self, descriptor: u32, path: &str, open: Open) -> Result<u32, Errno> {
        let path = self.string(0, path);
        let Guest {
            context, memory, ..
        } = self;
        let mut memory = Memory::new(memory);
        error_of(path::path_open(
            context,
            &mut memory,
            descriptor,
            path,
            open,
            RESULT,
        ))?;
        Ok(self.result())
    }

    pub fn write(&mut self, descriptor: u32, bytes: &str) -> Result<u32, Errno> {
        let data = self.string(1, bytes);
        let Guest {
            context, memory, ..
        } = self;
        let mut memory = Memory::new(memory);
        memory.store_u32(DATA, data.address).unwrap();
        memory.store_u32(DATA + 4, data.bytes).unwrap();
        let buffers = Buffers::new(DATA, 1).unwrap();
        error_of(io::fd_write(
            context,
            &mut memory,
            descriptor,
            buffers,
            RESULT,
            &mut 0,
        ))?;
        Ok(self.result())
    }

    /// Reads up to 2000 bytes into two buffers, the second of which lies before the first if `descending`.
    pub fn read(&mut self, descriptor: u32, descending: bool) -> Result<String, Errno> {
        let Guest {
            context, memory, ..
        } = self;
        let mut memory = Memory::new(memory);
        let order = if descending {
            [DATA + 2000, DATA + 1000]
        } else {
            [DATA + 1000, DATA + 2000]
        };
        for (index, address) in (0..).zip(order) {
            memory.store_u32(DATA + index * 8, address).unwrap();
            memory
                .store_u32(DATA + index * 8 + 4, if index == 0 { 3 } else { 1000 })
                .unwrap();
        }
        let buffers = Buffers::new(DATA, 2).unwrap();
        error_of(io::fd_read(
            context,
            &mut memory,
            descriptor,
            buffers,
            RESULT,
        ))?;
        let mut rest = memory.load_u32(RESULT).unwrap();
        let mut text = String::new();
        for (address, room) in order.into_iter().zip([3, 1000]) {
            let bytes = memory.slice(address, rest.min(room)).unwrap();
            text.push_str(std::str::from_utf8(bytes).unwrap());
            rest -= rest.min(room);
        }
        Ok(text)
    }

    /// All entries, read with a buffer of this size, without `.` and `..`.
    pub fn entries(&mut self, descriptor: u32, bytes: u32) -> Result<Vec<(String, u8)>, Errno> {
        let (mut entries, mut cookie) = (Vec::new(), 0);
        loop {
            let into = Buffer {
                address: DATA,
                bytes,
            };
            let Guest {
                context, memory, ..
            } = self;
            let mut memory = Memory::new(memory);
            error_of(fd::fd_readdir(
                context,
                &mut memory,
                descriptor,
                into,
                cookie,
                RESULT,
            ))?;
            let used = memory.load_u32(RESULT).unwrap();
            let mut at = 0;
            while at + DIRENT_BYTES as u32 <= used {
                let next = memory.load_u64(DATA + at).unwrap();
                let name_bytes = memory.load_u32(DATA + at + 16).unwrap();
                let file_type = memory.load_u8(DATA + at + 20).unwrap();
                if at + DIRENT_BYTES as u32 + name_bytes > used {
                    break;
                }
                let name = memory
                    .slice(DATA + at + DIRENT_BYTES as u32, name_bytes)
                    .unwrap();
                entries.push((String::from_utf8(name.to_vec()).unwrap(), file_type));
                cookie = next;
                at += DIRENT_BYTES as u32 + name_bytes;
            }
            assert!(at > 0 || used < bytes, "an entry must fit the buffer");
            if used < bytes {
                entries.retain(|(name, _)| name != "." && name != "..");
                entries.sort();
                return Ok(entries);
            }
        }
    }

    /// Every operation that takes a path, with what it gave.
    pub fn every_operation(&mut self, path: &str) -> Vec<(&'static str, Result<(), Errno>)> {
        let times = Times {
            accessed_ns: 0,
            modified_ns: 0,
            flags: 0b1010,
        };
        let read = self.open(path, 0, rights::FD_READ).map(|_| ());
        let write = self.open(path, 0, rights::FD_WRITE).map(|_| ());
        let truncate = self.open(path, oflags::TRUNC, rights::FD_WRITE).map(|_| ());
        let list = self
            .open(path, oflags::DIRECTORY, rights::FD_READDIR)
            .map(|_| ());
        let path = self.string(0, path);
        let fresh = self.string(1, "fresh");
        let into = Buffer {
            address: DATA,
            bytes: 100,
        };
        let Guest {
            context, memory, ..
        } = self;
        let (context, memory) = (context, &mut Memory::new(memory));
        let d = DIRECTORY;
        vec![
            ("open for reading", read),
            ("open for writing", write),
            ("truncate", truncate),
            ("open as a directory", list),
            (
                "stat",
                error_of(path::path_filestat_get(context, memory, d, 1, path, DATA)),
            ),
            (
                "set times",
                error_of(path::path_filestat_set_times(
                    context, memory, d, 1, path, times,
                )),
            ),
            (
                "read link",
                error_of(path::path_readlink(context, memory, d, path, into, RESULT)),
            ),
            (
                "link from",
                error_of(path::path_link(context, memory, d, 0, path, d, fresh)),
            ),
            (
                "rename from",
                error_of(path::path_rename(context, memory, d, path, d, fresh)),
            ),
            (
                "link to",
                error_of(path::path_symlink(context, memory, fresh, d, path)),
            ),
            (
                "unlink",
                error_of(path::path_unlink_file(context, memory, d, path)),
            ),
            (
                "create",
                error_of(path::path_create_directory(context, memory, d, path)),
            ),
            (
                "remove",
                error_of(path::path_remove_directory(context, memory, d, path)),
            ),
        ]
    }

    pub fn assert_nothing_outside_changed(&self) {
        assert_eq!(
            fs::read_to_string(self.tree.path().join("secret")).unwrap(),
            "secret"
        );
        assert_eq!(
            fs::read_dir(self.tree.path().join("outside"))
                .unwrap()
                .count(),
            0
        );
        let names: Vec<_> = fs::read_dir(self.tree.path()).unwrap().collect();
        assert_eq!(names.len(), 3);
    }
}

pub fn error_of(answer: Answer) -> Result<(), Errno> {
    match answer {
        Ok(()) => Ok(()),
        Err(Halt::Error(error)) => Err(error),
        Err(halt) => panic!("a file neither stops nor suspends: {halt:?}"),
    }
}

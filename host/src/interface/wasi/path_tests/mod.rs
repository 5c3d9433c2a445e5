//! A guest's paths against a real directory tree: what works, and that nothing leads out of it.

mod guest;

use super::errno::Errno;
use super::fd::{self, Times};
use super::memory::{Buffer, Memory};
use super::path::{self, Open};
use super::types::{FileType, fdflags, oflags, rights};
use guest::{DATA, DIRECTORY, Guest, RESULT, error_of};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

const READ_WRITE: u64 = rights::FD_READ | rights::FD_WRITE;

#[test]
fn files_are_written_and_read() {
    let mut guest = Guest::new();
    let file = guest.open("a", oflags::CREAT, READ_WRITE).unwrap();
    assert_eq!(file, 4);
    assert_eq!(guest.write(file, "hello world"), Ok(11));
    let mut bytes = [0; 8];
    let memory = &mut Memory::new(&mut bytes);
    error_of(fd::fd_seek(&mut guest.context, memory, file, -5, 2, 0)).unwrap();
    assert_eq!(memory.load_u64(0), Ok(6));
    assert_eq!(guest.read(file, false).unwrap(), "world");
    error_of(fd::fd_seek(&mut guest.context, memory, file, 0, 0, 0)).unwrap();
    assert_eq!(
        guest.read(file, true).unwrap(),
        "hel",
        "a short read is allowed"
    );
    error_of(fd::fd_filestat_set_size(&mut guest.context, file, 4)).unwrap();
    error_of(fd::fd_tell(&mut guest.context, memory, file, 0)).unwrap();
    assert_eq!(memory.load_u64(0), Ok(3));
    assert_eq!(fs::read_to_string(guest.inside("a")).unwrap(), "hell");
    error_of(fd::fd_close(&mut guest.context, file)).unwrap();
    assert_eq!(guest.write(file, "x"), Err(Errno::BadDescriptor));
    assert_eq!(
        guest.open("a", oflags::CREAT | oflags::EXCL, READ_WRITE),
        Err(Errno::Exists)
    );
}

#[test]
fn reading_and_writing_take_the_right_to() {
    let mut guest = Guest::new();
    fs::write(guest.inside("a"), "text").unwrap();
    let file = guest.open("a", 0, rights::FD_READ).unwrap();
    assert_eq!(guest.write(file, "x"), Err(Errno::BadDescriptor));
    let file = guest.open("a", 0, rights::FD_WRITE).unwrap();
    assert_eq!(guest.read(file, false), Err(Errno::BadDescriptor));
    // What a directory has lost does not come back beneath it.
    let context = &mut guest.context;
    let inheriting = rights::INHERITING & !rights::FD_WRITE;
    error_of(fd::fd_fdstat_set_rights(
        context,
        DIRECTORY,
        rights::DIRECTORY,
        inheriting,
    ))
    .unwrap();
    let again = fd::fd_fdstat_set_rights(context, DIRECTORY, rights::DIRECTORY, rights::INHERITING);
    assert_eq!(error_of(again), Err(Errno::NotCapable));
    assert_eq!(guest.open("a", 0, READ_WRITE), Err(Errno::NotCapable));
    assert!(guest.open("a", 0, rights::FD_READ).is_ok());
}

#[test]
fn appending_is_kept_to() {
    let mut guest = Guest::new();
    fs::write(guest.inside("log"), "one ").unwrap();
    let open = Open {
        lookup_flags: 0,
        oflags: 0,
        rights_base: READ_WRITE,
        rights_inheriting: 0,
        fdflags: fdflags::APPEND.into(),
    };
    let file = guest.open_with(DIRECTORY, "log", open).unwrap();
    guest.write(file, "two").unwrap();
    error_of(fd::fd_fdstat_set_flags(&mut guest.context, file, 0)).unwrap();
    let memory = &mut Memory::new(&mut guest.memory);
    error_of(fd::fd_seek(&mut guest.context, memory, file, 0, 0, RESULT)).unwrap();
    guest.write(file, "ONE").unwrap();
    assert_eq!(fs::read_to_string(guest.inside("log")).unwrap(), "ONE two");
    let sync = fd::fd_fdstat_set_flags(&mut guest.context, file, fdflags::SYNC.into());
    assert_eq!(error_of(sync), Err(Errno::NotSupported));
}

#[test]
fn directories_are_listed_whatever_the_buffer() {
    let mut guest = Guest::new();
    let mut expected = Vec::new();
    for index in 0..300 {
        let name = format!("file-{index:03}");
        fs::write(guest.inside(&name), "").unwrap();
        expected.push((name, FileType::RegularFile as u8));
    }
    fs::create_dir(guest.inside("folder")).unwrap();
    expected.push(("folder".into(), FileType::Directory as u8));
    for bytes in [40, 64, 1000, 30_000] {
        assert_eq!(
            guest.entries(DIRECTORY, bytes).unwrap(),
            expected,
            "{bytes}"
        );
    }
    let folder = guest
        .open("folder", oflags::DIRECTORY, rights::FD_READDIR)
        .unwrap();
    assert_eq!(guest.entries(folder, 100).unwrap(), []);
    let file = guest
        .open("file-000", 0, rights::FD_READ | rights::FD_READDIR)
        .unwrap();
    assert!(guest.entries(file, 100).is_err());
    for cookie in [u64::MAX, i64::MAX as u64, 12345] {
        let into = Buffer {
            address: 0,
            bytes: 100,
        };
        let memory = &mut Memory::new(&mut guest.memory);
        // Any answer will do for a cookie that was made up, as long as there is one.
        let _ = fd::fd_readdir(&mut guest.context, memory, DIRECTORY, into, cookie, RESULT);
    }
}

#[test]
fn names_are_made_changed_and_removed() {
    let mut guest = Guest::new();
    let d = DIRECTORY;
    let (dir, link, file, hard) = {
        let dir = guest.string(0, "dir/");
        let link = guest.string(1, "dir/link");
        (
            dir,
            link,
            guest.string(2, "../file"),
            guest.string(3, "dir/hard"),
        )
    };
    fs::write(guest.inside("file"), "x").unwrap();
    let Guest {
        context, memory, ..
    } = &mut guest;
    let memory = &mut Memory::new(memory);
    error_of(path::path_create_directory(context, memory, d, dir)).unwrap();
    assert_eq!(
        error_of(path::path_create_directory(context, memory, d, dir)),
        Err(Errno::Exists)
    );
    error_of(path::path_symlink(context, memory, file, d, link)).unwrap();
    let into = Buffer {
        address: DATA,
        bytes: 4,
    };
    error_of(path::path_readlink(context, memory, d, link, into, RESULT)).unwrap();
    assert_eq!(memory.load_u32(RESULT), Ok(4));
    assert_eq!(memory.slice(DATA, 4), Ok(&b"../f"[..]));
    // The link leads up, but not out.
    error_of(path::path_filestat_get(context, memory, d, 1, link, DATA)).unwrap();
    assert_eq!(memory.load_u8(DATA + 16), Ok(FileType::RegularFile as u8));
    error_of(path::path_filestat_get(context, memory, d, 0, link, DATA)).unwrap();
    assert_eq!(memory.load_u8(DATA + 16), Ok(FileType::SymbolicLink as u8));
    let source = Buffer {
        address: file.address + 3,
        bytes: 4,
    };
    error_of(path::path_link(context, memory, d, 0, source, d, hard)).unwrap();
    assert_eq!(
        error_of(path::path_remove_directory(context, memory, d, dir)),
        Err(Errno::NotEmpty)
    );
    let with_slash = Buffer {
        bytes: link.bytes + 1,
        ..link
    };
    memory.store(link.address, b"dir/link/").unwrap();
    assert_eq!(
        error_of(path::path_unlink_file(context, memory, d, with_slash)),
        Err(Errno::NotDirectory)
    );
    error_of(path::path_rename(context, memory, d, link, d, hard)).unwrap();
    error_of(path::path_unlink_file(context, memory, d, hard)).unwrap();
    assert_eq!(
        error_of(path::path_unlink_file(context, memory, d, dir)),
        Err(Errno::IsDirectory)
    );
    error_of(path::path_remove_directory(context, memory, d, dir)).unwrap();
    let times = Times {
        accessed_ns: 1_500_000_000,
        modified_ns: 2_000_000_000,
        flags: 5,
    };
    error_of(path::path_filestat_set_times(
        context, memory, d, 0, source, times,
    ))
    .unwrap();
    let metadata = fs::metadata(guest.inside("file")).unwrap();
    assert_eq!((metadata.atime_nsec(), metadata.mtime()), (500_000_000, 2));
}

#[test]
fn no_path_leads_out_of_its_directory() {
    let mut guest = Guest::new();
    let tree = guest.tree.path().to_owned();
    fs::create_dir(guest.inside("dir")).unwrap();
    symlink("../../secret", guest.inside("dir/up")).unwrap();
    symlink(tree.join("secret"), guest.inside("absolute")).unwrap();
    symlink("dir/up", guest.inside("chain")).unwrap();
    symlink("../outside", guest.inside("out")).unwrap();
    symlink("/proc/self/root", guest.inside("magic")).unwrap();
    let absolute = tree.join("secret").to_str().unwrap().to_owned();
    // Ways to the file beside the directory, none of which may be found by any operation.
    for path in [
        "../secret",
        "dir/../../secret",
        "./../inside/../secret",
        "out/../secret",
        "magic/etc/passwd",
        "..",
        "../",
        "dir/../..",
        "dir/../../",
        "out/.",
        "out/../",
        &absolute,
        "/",
        "//",
    ] {
        for (operation, result) in guest.every_operation(path) {
            assert!(result.is_err(), "{operation} {path}");
        }
    }
    guest.assert_nothing_outside_changed();
    // A link that leads out may itself be looked at, moved and removed, and others made in its place; it is never
    // followed.
    for path in ["absolute", "chain", "dir/up", "out/"] {
        for (operation, result) in guest.every_operation(path) {
            let about_the_link = [
                "read link",
                "link from",
                "rename from",
                "unlink",
                "create",
                "link to",
                "remove",
            ];
            assert!(
                result.is_err() || about_the_link.contains(&operation),
                "{operation} {path}"
            );
        }
        let _ = fs::remove_file(guest.inside("fresh"));
    }
    guest.assert_nothing_outside_changed();
}

/// What the test above counts on: each operation succeeds on something inside.
#[test]
fn every_operation_works_on_some_path_inside() {
    let mut guest = Guest::new();
    let mut succeeded = std::collections::BTreeSet::new();
    let mut operations = 0;
    for path in ["file", "./dir", "link", "absent", "dir/../absent"] {
        fs::write(guest.inside("file"), "x").unwrap();
        let _ = fs::create_dir(guest.inside("dir"));
        let _ = symlink("file", guest.inside("link"));
        let results = guest.every_operation(path);
        operations = results.len();
        succeeded.extend(
            results
                .into_iter()
                .filter(|(_, result)| result.is_ok())
                .map(|(name, _)| name),
        );
        let _ = fs::remove_file(guest.inside("fresh"));
        let _ = fs::remove_dir(guest.inside("fresh"));
    }
    // What one operation makes is taken away by the next.
    for path in ["made", "made/"] {
        let results = guest.every_operation(path);
        succeeded.extend(
            results
                .into_iter()
                .filter(|(_, result)| result.is_ok())
                .map(|(name, _)| name),
        );
    }
    assert_eq!(succeeded.len(), operations, "{succeeded:?}");
}

#[test]
fn a_link_swapped_in_during_use_leads_nowhere() {
    let mut guest = Guest::new();
    fs::create_dir(guest.inside("real")).unwrap();
    fs::write(guest.inside("real/file"), "inside").unwrap();
    fs::write(guest.tree.path().join("outside/file"), "OUTSIDE").unwrap();
    symlink("../outside", guest.inside("bad")).unwrap();
    let (real, bad, at) = (
        guest.inside("real"),
        guest.inside("bad"),
        guest.inside("at"),
    );
    fs::rename(&real, &at).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(&at, &real).unwrap();
                fs::rename(&bad, &at).unwrap();
                fs::rename(&at, &bad).unwrap();
                fs::rename(&real, &at).unwrap();
            }
        });
        let mut inside = 0;
        for _ in 0..3000 {
            if let Ok(file) = guest.open("at/file", 0, rights::FD_READ) {
                assert_eq!(guest.read(file, false).unwrap(), "inside");
                error_of(fd::fd_close(&mut guest.context, file)).unwrap();
                inside += 1;
            }
            let path = guest.string(0, "at/made");
            let memory = &mut Memory::new(&mut guest.memory);
            let _ = path::path_create_directory(&mut guest.context, memory, DIRECTORY, path);
            let _ = path::path_remove_directory(&mut guest.context, memory, DIRECTORY, path);
            assert!(!guest.tree.path().join("outside/made").exists());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(inside > 0, "the test must see the directory at times");
    });
}

#[test]
fn hostile_paths_are_errors() {
    let mut guest = Guest::new();
    for (path, error) in [
        ("", Errno::NoEntry),
        ("a\0b", Errno::Invalid),
        ("/etc/passwd", Errno::NotPermitted),
        (&"a/".repeat(2049), Errno::NameTooLong),
        (&"a".repeat(300), Errno::NameTooLong),
        ("none/none", Errno::NoEntry),
    ] {
        assert_eq!(guest.open(path, 0, rights::FD_READ), Err(error), "{path}");
    }
    let beyond = Buffer {
        address: 65_530,
        bytes: 7,
    };
    let Guest {
        context, memory, ..
    } = &mut guest;
    let memory = &mut Memory::new(memory);
    let create = path::path_create_directory(context, memory, DIRECTORY, beyond);
    assert_eq!(error_of(create), Err(Errno::Fault));
    for descriptor in [0, 1, 2, 4, u32::MAX] {
        let path = Buffer {
            address: 0,
            bytes: 1,
        };
        assert!(path::path_create_directory(context, memory, descriptor, path).is_err());
    }
    for open in [
        Open {
            lookup_flags: 2,
            oflags: 0,
            rights_base: 0,
            rights_inheriting: 0,
            fdflags: 0,
        },
        Open {
            lookup_flags: 0,
            oflags: 16,
            rights_base: 0,
            rights_inheriting: 0,
            fdflags: 0,
        },
        Open {
            lookup_flags: 0,
            oflags: 3,
            rights_base: 0,
            rights_inheriting: 0,
            fdflags: 0,
        },
        Open {
            lookup_flags: 0,
            oflags: 0,
            rights_base: 0,
            rights_inheriting: 0,
            fdflags: 32,
        },
        Open {
            lookup_flags: 0,
            oflags: 0,
            rights_base: 0,
            rights_inheriting: 0,
            fdflags: 1 << 16,
        },
    ] {
        assert_eq!(guest.open_with(DIRECTORY, "a", open), Err(Errno::Invalid));
    }
    // Rights without a meaning are asked for by some programs, and not given.
    assert!(guest.open("a", oflags::CREAT, u64::MAX).is_ok());
    guest.assert_nothing_outside_changed();
}

#[test]
fn a_preopen_is_named_to_the_guest() {
    let mut guest = Guest::new();
    let Guest {
        context, memory, ..
    } = &mut guest;
    let memory = &mut Memory::new(memory);
    error_of(fd::fd_prestat_get(context, memory, 3, 0)).unwrap();
    assert_eq!(memory.load_u64(0), Ok(5 << 32));
    let name = Buffer {
        address: 8,
        bytes: 5,
    };
    error_of(fd::fd_prestat_dir_name(context, memory, 3, name)).unwrap();
    assert_eq!(memory.slice(8, 5), Ok(&b"/data"[..]));
    let short = Buffer { bytes: 4, ..name };
    assert_eq!(
        error_of(fd::fd_prestat_dir_name(context, memory, 3, short)),
        Err(Errno::NameTooLong)
    );
    assert_eq!(
        error_of(fd::fd_prestat_get(context, memory, 2, 0)),
        Err(Errno::BadDescriptor)
    );
    assert_eq!(
        error_of(fd::fd_prestat_get(context, memory, 4, 0)),
        Err(Errno::BadDescriptor)
    );
}

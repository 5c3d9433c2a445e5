//! Working sets: what is recorded of a call, and what a later server does with it when the image is no longer in memory.

use dormouse::compile::{CompileOptions, compile};
use dormouse::{
    CheckedImage, Engine, EngineOptions, Image, ImageError, Imports, Instance, Limits, Linked,
    Module,
};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

const PAGE: u64 = 4096;

/// 16 MiB of which no byte is zero. `touch(reads, writes)` reads so many pages, each 64 KiB after the last, from 1 MiB on,
/// and writes so many from 8 MiB on; it answers with the sum of the words it found.
const SOURCE: &str = r#"(module
    (memory 256)
    (func (export "fill") (local $at i32)
        (loop $l
            (i64.store (local.get $at) (i64.const 0x0101010101010101))
            (br_if $l (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const 0x1000000)))))
    (func (export "touch") (param $reads i32) (param $writes i32) (result i64) (local $at i32) (local $sum i64)
        (local.set $at (i32.const 0x100000))
        (loop $l (if (local.get $reads) (then
            (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 0x10000)))
            (local.set $reads (i32.sub (local.get $reads) (i32.const 1)))
            (br $l))))
        (local.set $at (i32.const 0x800000))
        (loop $l (if (local.get $writes) (then
            (local.set $sum (i64.add (local.get $sum) (i64.load (local.get $at))))
            (i64.store (local.get $at) (i64.const 7))
            (local.set $at (i32.add (local.get $at) (i32.const 0x10000)))
            (local.set $writes (i32.sub (local.get $writes) (i32.const 1)))
            (br $l))))
        (local.get $sum)))"#;

const WORD: u64 = 0x0101_0101_0101_0101;

struct Fixture {
    linked: Linked,
    file: tempfile::NamedTempFile,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::of(SOURCE)
    }

    /// Of another module, which `fill` is called in as well.
    fn of(source: &str) -> Fixture {
        let engine = Engine::new(&EngineOptions::default()).unwrap();
        let wasm = wat::parse_str(source).unwrap();
        let artifact = compile(&wasm, &CompileOptions::default()).unwrap();
        let module = Module::from_artifact(&engine, &artifact).unwrap();
        let linked = module.link(&Imports::new()).unwrap();
        let mut instance = Instance::new(&linked, Limits::default(), Box::new(())).unwrap();
        let fill = module.function("fill").unwrap();
        instance.call(fill, &[]).unwrap();
        // On a disk, where the page cache can let go of it: a directory for temporary files may be in memory.
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Image::capture(&mut instance, file.as_file()).unwrap();
        file.as_file().sync_all().unwrap();
        Fixture { linked, file }
    }

    fn open(&self) -> Image {
        Image::open(&self.linked, self.file.as_file()).unwrap()
    }

    fn reopen(&self) -> File {
        self.file.reopen().unwrap()
    }

    fn open_noted(&self, note: &[u8]) -> Image {
        let (checked, _) = CheckedImage::check_noted(self.reopen(), None, note).unwrap();
        Image::open_checked(&self.linked, checked).unwrap()
    }

    fn overwrite(&self, at: u64, byte: u8) {
        self.file.as_file().write_all_at(&[byte], at).unwrap();
    }

    /// Takes the image out of the page cache.
    fn evict(&self) {
        let descriptor = self.file.as_file().as_raw_fd();
        // SAFETY: advice on an open file.
        let failed = unsafe { libc::posix_fadvise(descriptor, 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert_eq!(failed, 0);
        assert_eq!(self.pages_cached(), 0, "the page cache keeps the file");
    }

    fn pages_cached(&self) -> usize {
        let bytes = self.file.as_file().metadata().unwrap().len() as usize;
        let mut pages = vec![0u8; bytes / PAGE as usize];
        // SAFETY: a new mapping, which is asked about and unmapped; the vector has a byte for each page.
        unsafe {
            let descriptor = self.file.as_file().as_raw_fd();
            let at = libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_SHARED,
                descriptor,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            assert_eq!(libc::mincore(at, bytes, pages.as_mut_ptr()), 0);
            libc::munmap(at, bytes);
        }
        pages.iter().filter(|page| **page & 1 != 0).count()
    }

    fn touch(&self, instance: &mut Instance, reads: u64, writes: u64) {
        let touch = self.linked.module().function("touch").unwrap();
        let sum = instance.call(touch, &[reads, writes]).unwrap();
        assert_eq!(sum, [WORD.wrapping_mul(reads + writes)]);
    }

    /// An instance whose call was recorded.
    fn recorded(&self, image: &Image, reads: u64, writes: u64) -> Instance {
        let mut instance = image
            .restore_recorded(Limits::default(), Box::new(()))
            .unwrap();
        self.touch(&mut instance, reads, writes);
        assert!(image.record(&mut instance));
        instance
    }

    /// Records a call, and leaves nothing of the image in memory.
    fn record(&self, reads: u64, writes: u64) -> Vec<u8> {
        let image = self.open();
        let mut instance = self.recorded(&image, reads, writes);
        // What was recorded is reset as any other.
        instance.reset(Box::new(())).unwrap();
        self.touch(&mut instance, reads, writes);
        let note = image.working_set_note().unwrap();
        drop((instance, image));
        self.evict();
        note
    }
}

const EXT4_MAGIC: i64 = 0xef53;

/// The magic number of the file system that a file is in, of statfs(2).
fn file_system(file: &File) -> i64 {
    // SAFETY: all zero is a value of the structure, and the call fills it.
    unsafe {
        let mut status: libc::statfs = std::mem::zeroed();
        assert_eq!(libc::fstatfs(file.as_raw_fd(), &mut status), 0);
        status.f_type
    }
}

/// Page faults of this thread that had to wait for the disk, and others.
fn faults() -> (i64, i64) {
    // SAFETY: a zeroed rusage is valid, and the kernel fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    (usage.ru_majflt, usage.ru_minflt)
}

#[test]
fn a_recorded_call_finds_its_pages_in_memory() {
    let fixture = Fixture::new();
    let note = fixture.record(40, 30);
    let (checked, noted) = CheckedImage::check_noted(fixture.reopen(), None, &note).unwrap();
    assert!(noted);
    let read = fixture.pages_cached();
    assert!((71..400).contains(&read), "{read} pages were read");
    let image = Image::open_checked(&fixture.linked, checked).unwrap();
    assert!(image.prefetch().unwrap().is_none());
    let mut instance = image.restore(Limits::default(), Box::new(())).unwrap();
    let (major, minor) = faults();
    fixture.touch(&mut instance, 40, 30);
    let (major, minor) = (faults().0 - major, faults().1 - minor);
    assert_eq!(major, 0, "faults that waited for the disk");
    // The written pages were made private before; those that are read take one fault each at the most.
    assert!(minor <= 45, "{minor} faults");
}

#[test]
fn what_left_memory_is_read_again_before_a_call() {
    let fixture = Fixture::new();
    let note = fixture.record(10, 10);
    let image = fixture.open_noted(&note);
    // No instance maps it any more, and under pressure the kernel lets go of it.
    fixture.evict();
    let prefetch = image.prefetch().unwrap().expect("it is not in memory");
    let bytes = std::thread::spawn(move || prefetch.run().unwrap())
        .join()
        .unwrap();
    assert!((21 * PAGE..200 * PAGE).contains(&bytes), "{bytes} bytes");
    assert!(image.prefetch().unwrap().is_none());
    let mut instance = image.restore(Limits::default(), Box::new(())).unwrap();
    let before = faults().0;
    fixture.touch(&mut instance, 10, 10);
    assert_eq!(faults().0 - before, 0);
}

#[test]
fn a_scattered_set_takes_one_descriptor() {
    let fixture = Fixture::new();
    let note = fixture.record(100, 100);
    let image = fixture.open_noted(&note);
    fixture.evict();
    let descriptors = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let files = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        files.filter(|file| file == fixture.file.path()).count()
    };
    let before = descriptors();
    let prefetch = image.prefetch().unwrap().expect("it is not in memory");
    assert_eq!(descriptors() - before, 1, "for some 200 ranges");
    prefetch.run().unwrap();
    assert!(image.prefetch().unwrap().is_none(), "all of them were read");
}

#[test]
fn a_scattered_set_is_laid_in_one_piece_under_those_who_use_it() {
    let fixture = Fixture::new();
    let image = fixture.open();
    let mut instance = fixture.recorded(&image, 100, 50);
    let note = image.working_set_note().unwrap();
    let spare = || tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR"));
    let set = image.gathering();
    let gather = || set.run(fixture.file.as_file(), None, spare);
    // Of the file systems, ext4 can.
    let is_ext4 = file_system(fixture.file.as_file()) == EXT4_MAGIC;
    assert_eq!(gather().unwrap(), is_ext4);
    assert!(!gather().unwrap(), "it was in one piece already");

    // Who had the image mapped, with pages of its own and without, finds what was there.
    let touch = fixture.linked.module().function("touch").unwrap();
    let sum = instance.call(touch, &[100, 50]).unwrap();
    assert_eq!(sum, [100 * WORD + 50 * 7]);
    instance.reset(Box::new(())).unwrap();
    fixture.touch(&mut instance, 100, 50);
    drop((instance, image));

    // So does who reads it from the disk, all of it, and the note holds.
    fixture.file.as_file().sync_all().unwrap();
    fixture.evict();
    let (_, noted) = CheckedImage::check_noted(fixture.reopen(), None, &note).unwrap();
    assert!(noted);
    fixture.evict();
    CheckedImage::check(fixture.reopen(), None).unwrap();
}

#[test]
fn a_set_that_cannot_be_gathered_stays_as_it_is() {
    let fixture = Fixture::new();
    let image = fixture.open();
    let instance = fixture.recorded(&image, 100, 50);
    let set = image.gathering();
    let file = fixture.file.as_file();
    let full = || Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
    if file_system(fixture.file.as_file()) == EXT4_MAGIC {
        let error = set.run(file, None, full).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
    // Of another file system than the image.
    let elsewhere = || tempfile::tempfile_in("/dev/shm");
    assert!(!set.run(file, None, elsewhere).unwrap_or(false));
    drop((instance, image));
    fixture.evict();
    CheckedImage::check(fixture.reopen(), None).unwrap();
}

#[test]
fn the_set_follows_what_calls_do() {
    let fixture = Fixture::new();
    let image = fixture.open();
    assert_eq!(image.calls_recorded(), 0);
    let held = |image: &Image| {
        let instance = image.restore(Limits::default(), Box::new(())).unwrap();
        instance.held_bytes() / PAGE
    };
    for (writes, ahead) in [(20, 20), (5, 5), (20, 5), (20, 5), (20, 5), (20, 20)] {
        let mut instance = image
            .restore_recorded(Limits::default(), Box::new(()))
            .unwrap();
        fixture.touch(&mut instance, 3, writes);
        assert!(image.record(&mut instance));
        assert!(!image.record(&mut instance), "a record is taken once");
        // Pages written by all of the last calls are private at once, with the header's and the page tables.
        let pages = held(&image);
        assert!(
            (ahead + 3..ahead + 6).contains(&pages),
            "{pages} pages after a call that wrote {writes}"
        );
    }
    assert_eq!(image.calls_recorded(), 4);
}

#[test]
fn what_is_zero_of_an_image_is_not_brought_into_memory() {
    // A megabyte of memory with one page here and there, the last one just before its end.
    let fixture = Fixture::of(
        r#"(module
            (memory 16)
            (func (export "fill")
                (i32.store (i32.const 0x40000) (i32.const 1))
                (i32.store (i32.const 0xff000) (i32.const 1))))"#,
    );
    fixture.evict();
    CheckedImage::check(fixture.reopen(), None).unwrap();
    let cached = fixture.pages_cached();
    assert!((3..50).contains(&cached), "{cached} pages");
    // Bytes where the file had a hole are seen.
    fixture.overwrite(0x80000, 1);
    let result = CheckedImage::check(fixture.reopen(), None);
    assert!(matches!(result, Err(ImageError::Damaged)), "{result:?}");
}

#[test]
fn a_note_that_does_not_fit_costs_a_whole_read_and_nothing_else() {
    let fixture = Fixture::new();
    let note = fixture.record(4, 4);
    for note in [&note[..note.len() - 1], b"", &[0; 100]] {
        let (_, noted) = CheckedImage::check_noted(fixture.reopen(), None, note).unwrap();
        assert!(!noted);
        assert!(fixture.pages_cached() > 4000);
    }
    // A file that was changed is verified whole, whatever the note says.
    fixture.overwrite(9 << 20, 9);
    let result = CheckedImage::check_noted(fixture.reopen(), None, &note);
    assert!(matches!(result, Err(ImageError::Damaged)), "{result:?}");
}

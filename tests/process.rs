//! Hazards that concern the whole process: no mappings left, fork, pages swapped out, signals held back. Each test runs in a
//! process of its own, which is this test program started once more.

mod support;

use dormouse::{Engine, EngineOptions, Image, Imports, Instance, Progress, Reason, RestoreError};
use std::io::{Read, Seek, SeekFrom};
use std::process::Command;
use support::{call, engine, freeze, fresh, instance, linked, restore};

const PAGE_BYTES: usize = 4096;

const MEMORY: &str = r#"(module (memory 32 1000)
    (data (i32.const 4096) "frozen")
    (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "spray") (param i32 i32)
        ;; Writes one byte every `1` bytes, `0` times.
        (local $at i32)
        (loop $l
            (i32.store8 (local.get $at) (i32.const 0xee))
            (local.set $at (i32.add (local.get $at) (local.get 1)))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "sum") (result i64) (local $n i32) (local $s i64)
        (loop $l
            (local.set $s (i64.add (i64.rotl (local.get $s) (i64.const 1)) (i64.load (local.get $n))))
            (local.set $n (i32.add (local.get $n) (i32.const 8)))
            (br_if $l (i32.lt_u (local.get $n) (i32.shl (memory.size) (i32.const 16)))))
        (local.get $s))
    (func (export "spin") (loop $l (br $l))))"#;

/// Runs `body` in a process of its own, given the name of the test that calls this.
fn in_own_process(test: &str, body: impl FnOnce()) {
    const CHILD: &str = "DORMOUSE_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--include-ignored", "--nocapture"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

/// A number in KiB of /proc/self/status.
fn status_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Mappings that take all but some of those that the process may have.
struct Filler {
    pages: Vec<usize>,
}

impl Filler {
    fn fill() -> Filler {
        let mut pages = Vec::with_capacity(1 << 20);
        loop {
            // Neighbours of different protection are not merged.
            let protection = [libc::PROT_NONE, libc::PROT_READ][pages.len() % 2];
            // SAFETY: new mappings at addresses of the kernel's choice.
            let page = unsafe {
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                libc::mmap(std::ptr::null_mut(), PAGE_BYTES, protection, flags, -1, 0)
            };
            if page == libc::MAP_FAILED {
                return Filler { pages };
            }
            assert!(pages.len() < pages.capacity(), "there is no limit");
            pages.push(page as usize);
        }
    }

    fn give_back(&mut self, mappings: usize) {
        for _ in 0..mappings {
            let page = self.pages.pop().unwrap();
            // SAFETY: mapped by `fill` and referred to by nobody.
            assert_eq!(unsafe { libc::munmap(page as *mut _, PAGE_BYTES) }, 0);
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.give_back(self.pages.len());
    }
}

#[test]
fn no_mappings_left_at_any_point() {
    in_own_process("no_mappings_left_at_any_point", || {
        let options = EngineOptions {
            keep_resident_pages: 4,
            ..EngineOptions::default()
        };
        let engine = Engine::new(&options).unwrap();
        let image = freeze(&mut instance(&engine, MEMORY));
        assert!(image.bytes() < 1 << 20, "memory has a part beyond the file");
        let frozen = call(&mut restore(&image), "sum", &[]).unwrap();
        let mut neighbour = restore(&image);
        let (mut failed, mut succeeded) = ([0; 5], [0; 5]);
        let mut count = |step: usize, ok: bool| {
            *if ok { &mut succeeded } else { &mut failed }
                .get_mut(step)
                .unwrap() += 1;
            ok
        };
        for left in 0..12 {
            let mut before = restore(&image);
            call(&mut before, "grow", &[3]).unwrap();
            call(&mut before, "spray", &[400, 4096]).unwrap();
            let in_call = {
                let mut instance = restore(&image);
                let spin = image.linked().module().function("spin").unwrap();
                instance.begin(spin, &[]).unwrap();
                assert_eq!(instance.resume(), Progress::Preempted);
                instance
            };
            let mut filler = Filler::fill();
            filler.give_back(left);
            if count(0, before.reset(Box::new(())).is_ok()) {
                let sum = call(&mut before, "sum", &[]);
                assert!(sum.is_err() || sum.unwrap() == frozen);
            }
            drop((in_call, before));
            for _ in 0..20 {
                let restored = image.restore(Default::default(), Box::new(()));
                if let Ok(mut instance) = restored {
                    count(1, true);
                    let grown = match call(&mut instance, "grow", &[2]) {
                        Ok(pages) => pages[0] as u32,
                        // No mappings for a stack.
                        Err(trap) => {
                            assert!(matches!(trap.reason, Reason::Host(_)), "{trap}");
                            continue;
                        }
                    };
                    assert!(grown == u32::MAX || grown == 32);
                    let beyond = call(&mut instance, "peek", &[33 << 16]);
                    assert_eq!(beyond.is_ok(), count(2, grown == 32), "{beyond:?}");
                    call(&mut instance, "spray", &[400, 4096]).unwrap();
                    if count(3, instance.reset(Box::new(())).is_ok()) {
                        assert_eq!(call(&mut instance, "sum", &[]).unwrap(), frozen);
                    }
                } else {
                    count(1, false);
                }
                let made = Instance::new(image.linked(), Default::default(), Box::new(()));
                count(4, made.is_ok());
            }
            call(&mut neighbour, "sum", &[]).ok();
            drop(filler);
            // With mappings to be had again, everything is as it was.
            let mut instances: Vec<Instance> = (0..60).map(|_| restore(&image)).collect();
            for instance in &mut instances {
                assert_eq!(call(instance, "sum", &[]).unwrap(), frozen);
                assert!(call(instance, "peek", &[32 << 16]).is_err());
                assert_eq!(call(instance, "grow", &[1]).unwrap(), [32]);
                assert_eq!(call(instance, "peek", &[32 << 16]).unwrap(), [0]);
            }
            assert_eq!(engine.instances(), 61);
        }
        assert!(
            failed[1] > 0 && succeeded[1] > 0,
            "{failed:?} {succeeded:?}"
        );

        // Slots that cannot be cleaned do not use up the address space.
        let reserved_kib = status_kib("VmSize:");
        for left in 0..6 {
            let mut filler = Filler::fill();
            filler.give_back(left);
            for _ in 0..1000 {
                let _ = image.restore(Default::default(), Box::new(()));
            }
        }
        assert!(status_kib("VmSize:") < reserved_kib + (1 << 30));
        assert_eq!(call(&mut restore(&image), "sum", &[]).unwrap(), frozen);
    });
}

#[test]
fn as_many_instances_as_there_can_be() {
    in_own_process("as_many_instances_as_there_can_be", || {
        let engine = engine();
        let image = freeze(&mut instance(&engine, MEMORY));
        let mut instances = Vec::with_capacity(1 << 16);
        let error = loop {
            match image.restore(Default::default(), Box::new(())) {
                Ok(instance) => instances.push(instance),
                Err(error) => break error,
            }
        };
        // Not the kernel said no, but the engine, and in good time: without mappings the process's own allocations fail.
        assert!(matches!(error, RestoreError::NoSlot), "{error}");
        assert!(instances.len() > 10_000, "{}", instances.len());
        for instance in instances.iter_mut().step_by(100) {
            assert_eq!(call(instance, "grow", &[1]).unwrap(), [32]);
        }
        assert!(Filler::fill().pages.len() > 10_000);
    });
}

#[test]
fn reset_in_a_forked_child() {
    in_own_process("reset_in_a_forked_child", || {
        let engine = engine();
        let image = freeze(&mut instance(&engine, MEMORY));
        let mut instance = restore(&image);
        let frozen = call(&mut instance, "sum", &[]).unwrap();
        instance.reset(Box::new(())).unwrap();
        // SAFETY: the child runs the code below and ends; other threads of the test runner wait and hold no lock it needs.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // In the parent no page is dirty.
            let clean = call(&mut instance, "spray", &[10, 4096]).is_ok()
                && instance.reset(Box::new(())).is_ok()
                && call(&mut instance, "sum", &[]).is_ok_and(|sum| sum == frozen);
            // SAFETY: ends the child without running what the parent will.
            unsafe { libc::_exit(i32::from(!clean)) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "{status:#x}"
        );
    });
}

#[test]
fn signals_held_back_by_an_inherited_mask() {
    in_own_process("signals_held_back_by_an_inherited_mask", || {
        // SAFETY: changes this thread's signal mask only.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            assert_eq!(
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()),
                0
            );
        }
        let engine = engine();
        let mut instance = fresh(&linked(&engine, MEMORY, &Imports::new()));
        call(&mut instance, "peek", &[1 << 31]).unwrap_err();
        let spin = instance.linked().module().function("spin").unwrap();
        instance.begin(spin, &[]).unwrap();
        assert_eq!(instance.resume(), Progress::Preempted);
    });
}

#[test]
fn ticks_at_every_moment() {
    in_own_process("ticks_at_every_moment", || {
        let options = EngineOptions {
            tick: std::time::Duration::from_micros(50),
            ..EngineOptions::default()
        };
        let engine = Engine::new(&options).unwrap();
        let mut imports = Imports::new();
        imports.define(
            "host",
            "double",
            |caller: &mut dormouse::Caller<'_>, at: u32| {
                let bytes = caller.slice(at, 4)?;
                bytes[0] = bytes[0].wrapping_mul(2);
                Ok(())
            },
        );
        let wat = r#"(module (import "host" "double" (func $double (param i32)))
            (memory 4 20) (data (i32.const 100) "\01")
            (func (export "f") (result i32)
                (drop (memory.grow (i32.const 1)))
                (i32.store8 (i32.const 262144) (i32.const 1))
                (memory.copy (i32.const 60000) (i32.const 0) (i32.const 70000))
                (call $double (i32.const 100)) (call $double (i32.const 100))
                (i32.add (i32.load8_u (i32.const 100)) (memory.size)))
            (func (export "trap") (drop (call 1)) (drop (i32.load (i32.const -1)))))"#;
        let image = freeze(&mut fresh(&linked(&engine, wat, &imports)));
        // SAFETY: asks who this thread is.
        let thread = unsafe { libc::pthread_self() };
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Far more often than the timer would, at any place in the engine.
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    // SAFETY: the thread waits for this one in the scope, so it exists.
                    unsafe { libc::pthread_kill(thread, libc::SIGURG) };
                    std::hint::spin_loop();
                }
            });
            for _ in 0..300 {
                let mut instance = restore(&image);
                for _ in 0..10 {
                    assert_eq!(call(&mut instance, "f", &[]).unwrap(), [9]);
                    instance.reset(Box::new(())).unwrap();
                    call(&mut instance, "trap", &[]).unwrap_err();
                    instance.reset(Box::new(())).unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    });
}

/// How many pages of a range are swapped out.
fn swapped_pages(start: usize, bytes: usize) -> usize {
    let mut map = std::fs::File::open("/proc/self/pagemap").unwrap();
    map.seek(SeekFrom::Start((start / PAGE_BYTES * 8) as u64))
        .unwrap();
    let mut entries = vec![0; bytes / PAGE_BYTES * 8];
    map.read_exact(&mut entries).unwrap();
    let (entries, _) = entries.as_chunks::<8>();
    let swapped = |entry: &&[u8; 8]| u64::from_ne_bytes(**entry) >> 62 & 1 == 1;
    entries.iter().filter(swapped).count()
}

#[test]
#[ignore = "needs a swap area (swapon): without one, no page can be swapped out"]
fn written_pages_swapped_out() {
    in_own_process("written_pages_swapped_out", || {
        for keep_resident_pages in [1000, 0] {
            let options = EngineOptions {
                keep_resident_pages,
                ..EngineOptions::default()
            };
            let engine = Engine::new(&options).unwrap();
            let image: Image = freeze(&mut instance(&engine, MEMORY));
            let mut instance = restore(&image);
            let frozen = call(&mut instance, "sum", &[]).unwrap();
            for _ in 0..5 {
                instance.reset(Box::new(())).unwrap();
                // In the file's part of memory and beyond it, in more runs than one answer of the scan holds.
                call(&mut instance, "spray", &[200, 8192]).unwrap();
                let memory = instance.memory();
                let (start, bytes) = (memory.as_mut_ptr(), memory.len());
                // SAFETY: the instance's memory, whose contents paging out does not change.
                let advised = unsafe { libc::madvise(start.cast(), bytes, libc::MADV_PAGEOUT) };
                assert_eq!(advised, 0);
                let swapped = swapped_pages(start as usize, bytes);
                assert!(swapped >= 100, "{swapped} pages were swapped out");
                instance.reset(Box::new(())).unwrap();
                assert_eq!(call(&mut instance, "sum", &[]).unwrap(), frozen);
            }
        }
    });
}

//! Hazards of the sandbox and of resetting: what a guest, or an embedder in a hurry, does at the worst moment, and that
//! nothing of it reaches another call, another instance or the process.

mod support;

use dormouse::compile::{CompileOptions, compile};
use dormouse::{
    Engine, EngineOptions, Image, Imports, Instance, Limits, Module, Progress, Reason, Stop,
    TrapKind,
};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use support::{call, engine, freeze, fresh, image_file, instance, linked, restore};

/// A module that writes and reads anywhere in its memory and grows it.
const MEMORY: &str = r#"(module (memory 2 100)
    (global $g (mut i32) (i32.const 7))
    (data (i32.const 70000) "frozen")
    (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "poke") (param i32 i32)
        (global.set $g (local.get 1))
        (i32.store8 (local.get 0) (local.get 1)))
    (func (export "global") (result i32) (global.get $g))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "spray") (param i32 i32 i32)
        ;; Writes at `2` one byte every `1` bytes, `0` times.
        (loop $l
            (i32.store8 (local.get 2) (i32.const 0xee))
            (local.set 2 (i32.add (local.get 2) (local.get 1)))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "sum") (result i64) (local $n i32) (local $s i64)
        (loop $l
            (local.set $s (i64.add (i64.rotl (local.get $s) (i64.const 1)) (i64.load (local.get $n))))
            (local.set $n (i32.add (local.get $n) (i32.const 8)))
            (br_if $l (i32.lt_u (local.get $n) (i32.shl (memory.size) (i32.const 16)))))
        (local.get $s))
    (func (export "trap") unreachable)
    (func (export "spin") (loop $l (br $l))))"#;

const PAGE: u64 = 65536;

fn begin(instance: &mut Instance, name: &str) {
    let function = instance.linked().module().function(name).unwrap();
    instance.begin(function, &[]).unwrap();
}

fn trap_of(result: Result<Vec<u64>, dormouse::Trap>) -> Reason {
    result.unwrap_err().reason
}

const OUT_OF_BOUNDS: Reason = Reason::Trap(TrapKind::MemoryOutOfBounds);

/// Spins until the tick takes the thread away, which hangs if it never does.
fn is_preempted(instance: &mut Instance) {
    begin(instance, "spin");
    assert_eq!(instance.resume(), Progress::Preempted);
    instance.stop(Reason::Exit(0));
}

#[test]
fn indexes_that_would_be_negative_reach_nothing_below_memory() {
    let engine = engine();
    // Beside indexes that the guest computes, such as compilers know.
    let constants: String = [1, 8, 16, 72, 80, 4096]
        .map(|below| {
            format!(
                r#"(func (export "known {below}") (i64.store (i32.const -{below}) (i64.const -1)))
                (func (export "offset {below}") (param i32)
                    (i64.store offset=8 (i32.sub (local.get 0) (i32.const {below})) (i64.const -1)))"#
            )
        })
        .concat();
    let text = MEMORY.strip_suffix(')').unwrap();
    let linked = linked(&engine, &format!("{text}{constants})"), &Imports::new());
    let mut instance = fresh(&linked);
    for below in [1i32, 8, 16, 72, 80, 4096] {
        let index = u64::from(below.wrapping_neg() as u32);
        let known = call(&mut instance, &format!("known {below}"), &[]);
        assert_eq!(trap_of(known), OUT_OF_BOUNDS);
        let offset = call(&mut instance, &format!("offset {below}"), &[0]);
        assert_eq!(trap_of(offset), OUT_OF_BOUNDS);
        let poked = call(&mut instance, "poke", &[index, 0]);
        assert_eq!(trap_of(poked), OUT_OF_BOUNDS);
        let peeked = call(&mut instance, "peek", &[index]);
        assert_eq!(trap_of(peeked), OUT_OF_BOUNDS);
    }
    assert_eq!(call(&mut instance, "global", &[]).unwrap(), [0]);
    assert_eq!(call(&mut instance, "size", &[]).unwrap(), [2]);
    is_preempted(&mut instance);
}

/// Pairs of index and static offset whose sum in 32 bits would lie in memory again, and the furthest accesses that need no check, in
/// an instance between two others, each with as much state as there may be.
#[test]
fn indexes_and_offsets_that_would_wrap_reach_no_neighbour() {
    let furthest = 32u32 << 20;
    let offsets = [
        0,
        1,
        8,
        63,
        64,
        72,
        127,
        128,
        4096,
        furthest - 8,
        furthest - 7,
        0x7fff_fff8,
        0xffff_fff0,
    ];
    let mut functions = String::new();
    let mut names = Vec::new();
    for below in [1u32, 8, 16, 72, 80, 128, 4096, 0x7fff_ffff, 0x8000_0000] {
        for offset in offsets {
            let index = below.wrapping_neg() as i32;
            functions += &format!(
                r#"(func (export "known {below} {offset}") (param i32)
                    (i64.store offset={offset} (i32.const {index}) (i64.const -1)))
                (func (export "made {below} {offset}") (param i32)
                    (i64.store offset={offset} (i32.add (local.get 0) (i32.const {index})) (i64.const -1)))
                (func (export "loop {below} {offset}") (param i32)
                    (loop $l
                        (i64.store offset={offset} (i32.add (local.get 0) (i32.const {index})) (i64.const -1))
                        (br_if $l (i32.ne (local.tee 0 (i32.add (local.get 0) (i32.const 8))) (i32.const 800)))))"#
            );
            names.extend(["known", "made", "loop"].map(|kind| format!("{kind} {below} {offset}")));
        }
    }
    // The header, the global, the table's length and flags take the rest of 16 MiB.
    let entries = ((16 << 20) - 72 - 8 - 8) / 8;
    let text = format!(
        r#"(module (memory (export "memory") 1) (table {entries} funcref) (global $g (mut i64) (i64.const 5))
            (func (export "global") (result i64) (global.get $g))
            (func (export "ends") (result i32)
                (i32.and (ref.is_null (table.get (i32.const 0))) (ref.is_null (table.get (i32.const {})))))
            {functions})"#,
        entries - 1
    );
    let engine = engine();
    let options = CompileOptions {
        table_elements_max: u32::MAX,
        ..CompileOptions::default()
    };
    let artifact = compile(&wat::parse_str(text).unwrap(), &options).unwrap();
    let module = Module::from_artifact(&engine, &artifact).unwrap();
    assert_eq!(module.info().layout.state_bytes, 16 << 20);
    let linked = module.link(&Imports::new()).unwrap();
    let limits = Limits {
        table_elements: entries,
        ..Limits::default()
    };
    let mut instances: Vec<Instance> = (0..3)
        .map(|_| Instance::new(&linked, limits, Box::new(())).unwrap())
        .collect();
    for name in &names {
        let trap = call(&mut instances[1], name, &[0]);
        assert_eq!(trap_of(trap), OUT_OF_BOUNDS, "{name}");
    }
    for instance in &mut instances {
        assert_eq!(call(instance, "global", &[]).unwrap(), [5]);
        assert_eq!(call(instance, "ends", &[]).unwrap(), [1]);
        assert!(instance.memory().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn trimmed_without_a_reset_after_growing() {
    let engine = engine();
    let mut instance = restore(&freeze(&mut instance(&engine, MEMORY)));
    for _ in 0..2 {
        call(&mut instance, "grow", &[5]).unwrap();
        call(&mut instance, "poke", &[6 * PAGE, 0x55]).unwrap();
        instance.trim().unwrap();
        // What was grown is beyond the end again: neither readable nor a place to hide something for the next call.
        assert_eq!(call(&mut instance, "size", &[]).unwrap(), [2]);
        assert_eq!(
            trap_of(call(&mut instance, "peek", &[6 * PAGE])),
            OUT_OF_BOUNDS
        );
        assert_eq!(
            trap_of(call(&mut instance, "poke", &[6 * PAGE + 1, 1])),
            OUT_OF_BOUNDS
        );
        instance.reset(Box::new(())).unwrap();
        call(&mut instance, "grow", &[5]).unwrap();
        assert_eq!(call(&mut instance, "peek", &[6 * PAGE]).unwrap(), [0]);
        instance.reset(Box::new(())).unwrap();
    }
}

#[test]
fn a_slot_that_is_left_trimmed_shows_the_image_to_the_next() {
    let engine = engine();
    let other = MEMORY.replace("frozen", "frosty");
    let images = [MEMORY, &other].map(|wat| freeze(&mut instance(&engine, wat)));
    let sums = [&images[0], &images[1]].map(|image| call(&mut restore(image), "sum", &[]).unwrap());
    assert_ne!(sums[0], sums[1]);
    // What happens to an instance that was trimmed, before it is dropped.
    let hazards: [fn(&mut Instance); 7] = [
        |_| (),
        |instance| instance.memory()[5] = 0xaa,
        |instance| drop(call(instance, "poke", &[70_001, 0xbb]).unwrap()),
        |instance| {
            call(instance, "grow", &[5]).unwrap();
            call(instance, "poke", &[6 * PAGE, 0xcc]).unwrap();
        },
        |instance| {
            call(instance, "poke", &[9, 9]).unwrap();
            instance.reset(Box::new(())).unwrap();
            call(instance, "poke", &[9, 9]).unwrap();
        },
        |instance| {
            begin(instance, "spin");
            assert_eq!(instance.resume(), Progress::Preempted);
        },
        |instance| {
            call(instance, "spray", &[30, 4096, 1]).unwrap();
            instance.trim().unwrap();
        },
    ];
    for (which, hazard) in hazards.iter().enumerate() {
        for next in [0, 1, 0] {
            let mut instance = restore(&images[0]);
            call(&mut instance, "spray", &[20, 4096, 0]).unwrap();
            call(&mut instance, "grow", &[3]).unwrap();
            instance.trim().unwrap();
            hazard(&mut instance);
            drop(instance);
            let mut instance = restore(&images[next]);
            let observed = ["sum", "global", "size"].map(|name| call(&mut instance, name, &[]));
            let [sum, global, size] = observed.map(Result::unwrap);
            assert_eq!(sum, sums[next], "{which}");
            assert_eq!((global[0], size[0]), (7, 2), "{which}");
            let beyond = call(&mut instance, "peek", &[2 * PAGE]);
            assert_eq!(trap_of(beyond), OUT_OF_BOUNDS, "{which}");
            call(&mut instance, "grow", &[8]).unwrap();
            assert_eq!(call(&mut instance, "peek", &[6 * PAGE]).unwrap(), [0]);
        }
    }
}

#[test]
fn written_pages_in_more_runs_than_a_scan_answers() {
    // Runs in the image file, across its end and in the memory beyond it; around the number of one answer and of several.
    let wat = MEMORY.replace("(memory 2 100)", "(memory 100 200)");
    for keep_resident_pages in [usize::MAX, 70, 0] {
        let options = EngineOptions {
            keep_resident_pages,
            ..EngineOptions::default()
        };
        let engine = Engine::new(&options).unwrap();
        let image = freeze(&mut instance(&engine, &wat));
        let mut instance = restore(&image);
        let frozen = call(&mut instance, "sum", &[]).unwrap();
        for runs in [1, 63, 64, 65, 127, 128, 129, 500] {
            for start in [0, 4096] {
                call(&mut instance, "spray", &[runs, 8192, start]).unwrap();
                let report = instance.reset(Box::new(())).unwrap();
                let pages = (report.pages_kept + report.pages_dropped) as u64;
                assert!(pages >= runs, "{runs}: {report:?}");
                assert!(report.pages_kept <= keep_resident_pages);
                assert_eq!(call(&mut instance, "sum", &[]).unwrap(), frozen, "{runs}");
                instance.reset(Box::new(())).unwrap();
            }
        }
    }
}

#[test]
fn ticks_held_back_end_no_wait_and_come_afterwards() {
    let engine = engine();
    let mut instance = instance(&engine, MEMORY);
    is_preempted(&mut instance);
    // The timer ticks now. A sleep that a signal ends says how much of it was left.
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 20_000_000,
    };
    // SAFETY: sleeps.
    let slept = engine.without_ticks(|| unsafe { libc::nanosleep(&time, std::ptr::null_mut()) });
    assert_eq!(slept, 0);
    is_preempted(&mut instance);
    // No guest runs without its ticks, and after a panic they are there again.
    let call = || engine.without_ticks(|| call(&mut instance, "size", &[]));
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    is_preempted(&mut fresh(&linked(&engine, MEMORY, &Imports::new())));
}

#[test]
fn stopped_before_it_ran() {
    let engine = engine();
    let mut instance = instance(&engine, MEMORY);
    for first in ["trap", "spin"] {
        begin(&mut instance, first);
        let _ = instance.resume();
        if instance.in_call() {
            assert!(!instance.stop(Reason::Exit(0)).backtrace.is_empty());
        }
        begin(&mut instance, "spin");
        let trap = instance.stop(Reason::Exit(3));
        assert_eq!(trap.reason, Reason::Exit(3));
        // Nothing of the call before.
        assert_eq!(trap.backtrace, []);
    }
}

#[test]
fn dropped_in_the_middle_of_a_call() {
    let options = EngineOptions {
        slots_max: 1,
        ..EngineOptions::default()
    };
    let engine = Engine::new(&options).unwrap();
    let mut imports = Imports::new();
    imports.define("host", "wait", |caller: &mut dormouse::Caller<'_>| {
        caller.suspend();
        Ok(())
    });
    let wat = r#"(module (import "host" "wait" (func $wait)) (memory 1)
        (func (export "wait") (call $wait) (call $wait))
        (func (export "spin") (loop $l (br $l))))"#;
    let linked = linked(&engine, wat, &imports);
    for round in 0..100 {
        let mut instance = fresh(&linked);
        match round % 3 {
            0 => begin(&mut instance, "wait"),
            1 => {
                begin(&mut instance, "wait");
                assert_eq!(instance.resume(), Progress::Blocked);
            }
            _ => {
                begin(&mut instance, "spin");
                assert_eq!(instance.resume(), Progress::Preempted);
            }
        }
        drop(instance);
        assert_eq!(engine.instances(), 0);
    }
}

#[test]
fn stack_of_no_bytes_and_of_all() {
    let wat = r#"(module
        (func (export "f") (result i32) (i32.const 1))
        (func $deep (export "deep") (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))
                (else (i32.const 0))))
        (func $forever (export "forever") (call $forever)))"#;
    let overflow = Reason::Trap(TrapKind::StackOverflow);
    for engine_bytes in [0, 1, 8192, usize::MAX] {
        let options = EngineOptions {
            stack_bytes: engine_bytes,
            ..EngineOptions::default()
        };
        let engine = Engine::new(&options).unwrap();
        let linked = linked(&engine, wat, &Imports::new());
        for stack_bytes in [0, 1, 100, 4095, 1 << 20, usize::MAX] {
            let limits = Limits {
                stack_bytes,
                ..Limits::default()
            };
            let mut instance = Instance::new(&linked, limits, Box::new(())).unwrap();
            let given = engine_bytes.min(stack_bytes);
            match call(&mut instance, "f", &[]) {
                Ok(results) => assert_eq!(results, [1]),
                Err(trap) => {
                    assert!(given < 4096, "{trap}");
                    assert_eq!(trap.reason, overflow);
                }
            }
            if given < 1 << 29 {
                assert_eq!(trap_of(call(&mut instance, "forever", &[])), overflow);
                assert_eq!(trap_of(call(&mut instance, "deep", &[1 << 30])), overflow);
            }
            // The stack that overflowed is as good as new.
            if given >= 4096 {
                assert_eq!(call(&mut instance, "deep", &[10]).unwrap(), [10]);
            }
        }
    }
}

#[test]
fn frames_larger_than_the_guard_page() {
    // Locals that are all alive at once: a frame of some 64 KiB, entered near the limit.
    let count = 8000;
    let gets: String = (0..count)
        .map(|n| format!("(local.set {n} (call $id (i64.const {n})))"))
        .collect();
    let sum: String = (0..count)
        .map(|n| format!("(local.set 0 (i64.add (local.get 0) (local.get {n})))"))
        .collect();
    let wat = format!(
        r#"(module
        (func $id (param i64) (result i64) (local.get 0))
        (func $big (result i64) (local {}) {gets} {sum} (local.get 0))
        (func $down (export "down") (param i32 i32) (result i64)
            (if (result i64) (local.get 0)
                (then (i64.add (i64.const 0) (call $down (i32.sub (local.get 0) (i32.const 1)) (local.get 1))))
                (else (if (result i64) (local.get 1) (then (call $big)) (else (i64.const 0)))))))"#,
        "i64 ".repeat(count)
    );
    let engine = engine();
    let limits = Limits {
        stack_bytes: 200 << 10,
        ..Limits::default()
    };
    let linked = linked(&engine, &wat, &Imports::new());
    let mut instance = Instance::new(&linked, limits, Box::new(())).unwrap();
    let expected = (0..count as u64).sum::<u64>();
    let (mut returned, mut overflowed, mut for_its_size) = (0, 0, 0);
    for depth in (0..15_000).step_by(50) {
        match call(&mut instance, "down", &[depth, 1]) {
            Ok(results) => {
                assert_eq!(results, [expected]);
                returned += 1;
            }
            Err(trap) => {
                assert_eq!(trap.reason, Reason::Trap(TrapKind::StackOverflow));
                overflowed += 1;
                for_its_size += u32::from(call(&mut instance, "down", &[depth, 0]).is_ok());
            }
        }
    }
    assert!(returned > 0 && overflowed > 0 && for_its_size > 10);
}

#[test]
fn one_of_two_engines_of_a_thread_ends() {
    let wat = MEMORY;
    let (first, second, third) = (engine(), engine(), engine());
    let mut spinners: Vec<Instance> = [&first, &second, &third].map(|e| instance(e, wat)).into();
    spinners.iter_mut().for_each(is_preempted);
    // An engine lives as long as an instance of it: both ends, then the middle.
    drop(first);
    drop(spinners.remove(0));
    spinners.iter_mut().for_each(is_preempted);
    drop(third);
    drop(spinners.remove(1));
    spinners.iter_mut().for_each(is_preempted);
    let unpreempted = Engine::new(&EngineOptions {
        tick: Duration::ZERO,
        ..EngineOptions::default()
    })
    .unwrap();
    is_preempted(&mut spinners[0]);
    drop(unpreempted);
    is_preempted(&mut spinners[0]);
    drop(second);
    is_preempted(&mut spinners[0]);
}

#[test]
fn an_engine_made_and_dropped_within_a_host_call() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define("host", "engine", |_: &mut dormouse::Caller<'_>| {
        drop(support::engine());
        Ok(())
    });
    let wat = r#"(module (import "host" "engine" (func $engine))
        (func (export "spin") (call $engine) (loop $l (br $l))))"#;
    let mut instance = fresh(&linked(&engine, wat, &imports));
    begin(&mut instance, "spin");
    for _ in 0..3 {
        assert_eq!(instance.resume(), Progress::Preempted);
    }
}

#[test]
fn engines_on_two_threads() {
    let threads: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(|| {
                let engine = engine();
                let image = freeze(&mut instance(&engine, MEMORY));
                let frozen = call(&mut restore(&image), "sum", &[]).unwrap();
                let mut instance = restore(&image);
                for round in 0..50 {
                    call(&mut instance, "spray", &[30, 4096, 0]).unwrap();
                    assert_eq!(
                        trap_of(call(&mut instance, "peek", &[2 * PAGE + round])),
                        OUT_OF_BOUNDS
                    );
                    is_preempted(&mut instance);
                    instance.reset(Box::new(())).unwrap();
                    assert_eq!(call(&mut instance, "sum", &[]).unwrap(), frozen);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn preempted_at_every_kind_of_place() {
    // Calls, indirect calls, host calls, growing, and copies that take longer than a slice.
    let engine = Engine::new(&EngineOptions {
        tick: Duration::from_nanos(1),
        ..EngineOptions::default()
    })
    .unwrap();
    let mut imports = Imports::new();
    imports.define(
        "host",
        "add",
        |_: &mut dormouse::Caller<'_>, a: i64, b: i64| Ok(a.wrapping_add(b)),
    );
    let wat = r#"(module (import "host" "add" (func $add (param i64 i64) (result i64)))
        (memory 64 200) (table 2 2 funcref) (elem (i32.const 0) $mix $add)
        (type $t (func (param i64 i64) (result i64)))
        (func $mix (param i64 i64) (result i64)
            (i64.add (i64.mul (local.get 0) (i64.const 31)) (local.get 1)))
        (func (export "work") (param $n i32) (result i64) (local $s i64)
            (loop $l
                (local.set $s (call_indirect (type $t) (local.get $s) (i64.extend_i32_u (local.get $n))
                    (i32.and (local.get $n) (i32.const 1))))
                (local.set $s (call $add (local.get $s) (call $mix (local.get $s) (i64.const 3))))
                (if (i32.eqz (i32.and (local.get $n) (i32.const 1023))) (then
                    (drop (memory.grow (i32.const 1)))
                    (i64.store (i32.const 5) (local.get $s))
                    (memory.copy (i32.const 8) (i32.const 0) (i32.const 4000000))
                    (memory.copy (i32.const 0) (i32.const 16) (i32.const 4000000))
                    (local.set $s (i64.add (local.get $s) (i64.load (i32.const 3999990))))))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $s)))"#;
    let linked = linked(&engine, wat, &imports);
    let work = linked.module().function("work").unwrap();
    let calm = Engine::new(&EngineOptions {
        tick: Duration::from_secs(3600),
        ..EngineOptions::default()
    })
    .unwrap();
    let expected = fresh(&linked).call(work, &[20_000]).unwrap();
    drop(calm);
    let mut instances: Vec<Instance> = (0..3).map(|_| fresh(&linked)).collect();
    for instance in &mut instances {
        instance.begin(work, &[20_000]).unwrap();
    }
    let mut preemptions = 0;
    while !instances.is_empty() {
        // In turns, so that every fiber is left and come back to among others.
        instances.retain_mut(|instance| match instance.resume() {
            Progress::Preempted => {
                preemptions += 1;
                true
            }
            Progress::Returned(results) => {
                assert_eq!(results, expected);
                false
            }
            other => panic!("{other:?}"),
        });
    }
    assert!(preemptions > 100, "{preemptions}");
}

#[test]
fn stopped_by_every_reason_then_reset() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define(
        "host",
        "end",
        |_: &mut dormouse::Caller<'_>, how: u32| match how {
            0 => Err(Stop::Exit(9)),
            1 => Err(Stop::error("refused")),
            2 => panic!("a defect"),
            _ => Ok(()),
        },
    );
    let wat = r#"(module (import "host" "end" (func $end (param i32))) (memory 1 10)
        (global $g (mut i64) (i64.const 0))
        (func (export "run") (param i32) (result i64)
            (global.set $g (i64.add (global.get $g) (i64.const 1)))
            (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (global.get $g)))
            (drop (memory.grow (i32.const 100)))
            (call $end (local.get 0))
            (if (i32.eq (local.get 0) (i32.const 3)) (then unreachable))
            (if (i32.eq (local.get 0) (i32.const 4)) (then (drop (i32.load (i32.const -1)))))
            (if (i32.eq (local.get 0) (i32.const 5)) (then (drop (call 1 (i32.const 5)))))
            (i64.load (i32.const 0))))"#;
    let limits = Limits {
        memory_bytes: 2 * PAGE,
        ..Limits::default()
    };
    let image = freeze(&mut fresh(&linked(&engine, wat, &imports)));
    let mut instance = image.restore(limits, Box::new(())).unwrap();
    let run = image.linked().module().function("run").unwrap();
    for round in 0..20 {
        for how in 0..=5 {
            instance.call(run, &[how]).unwrap_err();
            // Without growing, nothing was refused that could explain what comes next.
            instance.reset(Box::new(())).unwrap();
            assert_eq!(instance.refused_limit(), None);
            assert_eq!(instance.cpu_time(), Duration::ZERO);
            assert_eq!(instance.peak_memory_bytes(), PAGE);
            assert_eq!(instance.call(run, &[6]).unwrap(), [1], "{round} {how}");
            instance.reset(Box::new(())).unwrap();
        }
    }
}

#[test]
fn image_file_cut_short_under_a_running_instance() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define(
        "host",
        "read",
        |caller: &mut dormouse::Caller<'_>, at: u32| Ok(u32::from(caller.slice(at, 1)?[0])),
    );
    let wat = r#"(module (import "host" "read" (func $read (param i32) (result i32)))
        (memory 40) (data (i32.const 2600000) "end")
        (func (export "guest") (param i32) (result i32) (i32.load8_u (local.get 0)))
        (func (export "host") (param i32) (result i32) (call $read (local.get 0)))
        (func (export "copy") (param i32) (memory.copy (i32.const 0) (local.get 0) (i32.const 10))))"#;
    let mut original = fresh(&linked(&engine, wat, &imports));
    let file = image_file();
    Image::capture(&mut original, &file).unwrap();
    let image = Image::open(&original.linked().clone(), &file).unwrap();
    let mut instance = restore(&image);
    let bystander = restore(&image);
    file.set_len(64 << 10).unwrap();
    for name in ["guest", "host", "copy"] {
        let reason = trap_of(call(&mut instance, name, &[2_000_000]));
        let Reason::Host(message) = reason else {
            panic!("{name}: {reason:?}")
        };
        assert!(message.contains("image file"), "{message}");
        // Nothing is copied from a file that could not be read.
        assert!(instance.reset(Box::new(())).is_err());
        assert!(instance.trim().is_err());
    }
    drop(bystander);
}

#[test]
fn image_file_overwritten_and_cut_to_nothing_under_an_instance_that_is_kept() {
    let engine = engine();
    let linked = linked(&engine, MEMORY, &Imports::new());
    let file = image_file();
    Image::capture(&mut fresh(&linked), &file).unwrap();
    let image = Image::open(&linked, &file).unwrap();
    let mut instance = restore(&image);
    call(&mut instance, "global", &[]).unwrap();
    instance.reset(Box::new(())).unwrap();
    // To be as it was, what wrote nothing needs nothing of the file, which may not be readable by now.
    file.write_all_at(&[0x55; 8192], 4096).unwrap();
    for _ in 0..3 {
        assert_eq!(call(&mut instance, "global", &[]).unwrap(), [7]);
        instance.reset(Box::new(())).unwrap();
    }
    instance.trim().unwrap();
    file.set_len(4096).unwrap();
    // Nothing of a trimmed one is there: what would need it says so, and the process goes on.
    let global = instance.linked().module().function("global").unwrap();
    assert!(instance.begin(global, &[]).is_err());
    assert!(instance.reset(Box::new(())).is_err() && instance.trim().is_err());
    drop(instance);
    let Err(error) = image.restore(Limits::default(), Box::new(())) else {
        panic!("restored from nothing")
    };
    assert!(error.to_string().contains("mapped"), "{error}");
    assert!(image.prefetch().unwrap().is_some());
}

#[test]
fn function_references_that_are_none() {
    let engine = engine();
    let mut imports = Imports::new();
    let funcref = dormouse::compile::info::FunctionType {
        parameters: vec![dormouse::compile::info::ValueType::I64],
        results: vec![dormouse::compile::info::ValueType::FUNCREF],
    };
    // Gives back as a reference whatever number it is given.
    imports.define_untyped("host", "forge", funcref, std::rc::Rc::new(|_, _| Ok(())));
    let wat = r#"(module (import "host" "forge" (func $forge (param i64) (result funcref)))
        (table $t 1 funcref) (type $f (func (result i32)))
        (func $one (export "one") (result i32) (i32.const 1))
        (elem declare func $one)
        (func (export "get") (result funcref) (ref.func $one))
        (func (export "run") (param funcref) (result i32)
            (table.set $t (i32.const 0) (local.get 0))
            (call_indirect $t (type $f) (i32.const 0)))
        (func (export "forge") (param i64) (result i32)
            (table.set $t (i32.const 0) (call $forge (local.get 0)))
            (call_indirect $t (type $f) (i32.const 0))))"#;
    let mut instance = fresh(&linked(&engine, wat, &imports));
    let one = call(&mut instance, "get", &[]).unwrap()[0];
    assert_eq!(call(&mut instance, "run", &[one]).unwrap(), [1]);
    assert_eq!(call(&mut instance, "forge", &[one]).unwrap(), [1]);
    let null = Reason::Trap(TrapKind::IndirectCallToNull);
    assert_eq!(trap_of(call(&mut instance, "run", &[0])), null);
    for forged in [one + 1, one ^ 16, one | 0xffff_f000, u64::MAX] {
        let refused = catch_unwind(AssertUnwindSafe(|| call(&mut instance, "run", &[forged])));
        assert!(refused.is_err(), "{forged:#x}");
        let reason = trap_of(call(&mut instance, "forge", &[forged]));
        assert!(matches!(reason, Reason::HostPanic(_)), "{reason:?}");
    }
    assert_eq!(call(&mut instance, "run", &[one]).unwrap(), [1]);
}

#[test]
fn function_references_of_another_type_or_null_where_none_may_be() {
    use dormouse::compile::info::{FunctionType, HeapType, ReferenceType, ValueType};
    let engine = engine();
    let mut imports = Imports::new();
    let give = FunctionType {
        parameters: vec![ValueType::I64],
        results: vec![ValueType::Reference(ReferenceType {
            nullable: false,
            heap: HeapType::Concrete(0),
        })],
    };
    imports.define_untyped("host", "give", give, std::rc::Rc::new(|_, _| Ok(())));
    let wat = r#"(module
        (type $one (func (result i32))) (type $two (func (param i64) (result i32)))
        (type $again (func (result i32)))
        (import "host" "give" (func $give (param i64) (result (ref $again))))
        (func $one (export "one") (type $one) (i32.const 1))
        (func $two (export "two") (type $two) (i32.wrap_i64 (local.get 0)))
        (elem declare func $one $two)
        (func (export "get one") (result (ref $one)) (ref.func $one))
        (func (export "get two") (result funcref) (ref.func $two))
        (func (export "run") (param (ref $one)) (result i32) (call_ref $one (local.get 0)))
        (func (export "run null") (param (ref null $one)) (result i32) (call_ref $one (local.get 0)))
        (func (export "give") (param i64) (result i32) (call_ref $again (call $give (local.get 0)))))"#;
    let mut instance = fresh(&linked(&engine, wat, &imports));
    let one = call(&mut instance, "get one", &[]).unwrap()[0];
    let two = call(&mut instance, "get two", &[]).unwrap()[0];
    for name in ["run", "run null", "give"] {
        assert_eq!(call(&mut instance, name, &[one]).unwrap(), [1], "{name}");
    }
    let null = Reason::Trap(TrapKind::NullFunctionReference);
    assert_eq!(trap_of(call(&mut instance, "run null", &[0])), null);
    // The right code with the wrong type, the right type with the wrong code, and null where the code does not ask.
    let mixed = two & 0xffff_ffff | one >> 32 << 32;
    for (name, word) in [
        ("run", 0),
        ("run", two),
        ("run", mixed),
        ("run null", two),
        ("run null", mixed),
    ] {
        let refused = catch_unwind(AssertUnwindSafe(|| call(&mut instance, name, &[word])));
        assert!(refused.is_err(), "{name} {word:#x}");
    }
    for word in [0, two, mixed] {
        let reason = trap_of(call(&mut instance, "give", &[word]));
        assert!(matches!(reason, Reason::HostPanic(_)), "{reason:?}");
    }
}

#[test]
fn operand_loaded_from_the_last_bytes_of_memory() {
    // A load that the code generator makes part of an instruction must not become wider than it was: these are the last bytes
    // that can be read.
    let integer_binary =
        "add sub mul and or xor shl shr_s shr_u rotl rotr div_u rem_u eq ne lt_s lt_u ge_s";
    let float_binary = "add sub mul div min max copysign eq lt ge";
    let float_unary = "abs neg ceil floor trunc nearest sqrt";
    let lanes = "add sub min_s min_u max_s avgr_u add_sat_s eq lt_s mul shl shr_u dot_i16x8_s narrow_i32x4_s \
        extmul_low_i8x16_s q15mulr_sat_s swizzle min max pmin div ge";
    let mut functions = Vec::new();
    let mut function = |result: &str, body: String| {
        let name = functions.len();
        functions.push(format!(
            "(func (export \"f{name}\") (param i32) (result {result}) {body})"
        ));
    };
    for (ty, bytes, unary, binary) in [
        ("i32", 4, "clz ctz popcnt", integer_binary),
        ("i64", 8, "clz ctz popcnt", integer_binary),
        ("f32", 4, float_unary, float_binary),
        ("f64", 8, float_unary, float_binary),
    ] {
        let load = format!("({ty}.load (i32.sub (local.get 0) (i32.const {bytes})))");
        for op in unary.split_whitespace() {
            function(ty, format!("({ty}.{op} {load})"));
        }
        for op in binary.split_whitespace() {
            let compares = ["eq", "ne", "lt", "lt_s", "lt_u", "ge", "ge_s"].contains(&op);
            let result = if compares { "i32" } else { ty };
            function(result, format!("({ty}.{op} {load} ({ty}.const 3))"));
            if !op.starts_with("div") && !op.starts_with("rem") {
                function(result, format!("({ty}.{op} ({ty}.const 3) {load})"));
            }
        }
    }
    for (conversion, from, bytes) in [
        ("f64.promote_f32", "f32", 4),
        ("f32.demote_f64", "f64", 8),
        ("f64.convert_i32_s", "i32", 4),
        ("f64.convert_i64_s", "i64", 8),
        ("f32.convert_i32_u", "i32", 4),
        ("i32.trunc_sat_f32_s", "f32", 4),
        ("i64.trunc_sat_f64_u", "f64", 8),
        ("f32x4.splat", "f32", 4),
        ("f64x2.splat", "f64", 8),
        ("i32x4.splat", "i32", 4),
    ] {
        let result = conversion.split('.').next().unwrap();
        let result = if result.contains('x') { "v128" } else { result };
        function(
            result,
            format!("({conversion} ({from}.load (i32.sub (local.get 0) (i32.const {bytes}))))"),
        );
    }
    let vector = "(v128.const i64x2 3 5)";
    for (load, bytes) in [
        ("load8_splat", 1),
        ("load16_splat", 2),
        ("load32_splat", 4),
        ("load64_splat", 8),
        ("load32_zero", 4),
        ("load64_zero", 8),
        ("load8x8_s", 8),
        ("load16x4_u", 8),
        ("load32x2_s", 8),
        ("load", 16),
    ] {
        let load = format!("(v128.{load} (i32.sub (local.get 0) (i32.const {bytes})))");
        for shape in ["i8x16", "i16x8", "i32x4", "i64x2", "f32x4", "f64x2"] {
            for op in lanes.split_whitespace() {
                let shifts = op.starts_with("sh");
                let other = if shifts { "(i32.const 3)" } else { vector };
                function("v128", format!("({shape}.{op} {load} {other})"));
                if !shifts {
                    function("v128", format!("({shape}.{op} {vector} {load})"));
                }
            }
        }
    }
    for (lane, bytes) in [("8", 1), ("16", 2), ("32", 4), ("64", 8)] {
        let at = format!("(i32.sub (local.get 0) (i32.const {bytes}))");
        function("v128", format!("(v128.load{lane}_lane 1 {at} {vector})"));
        function(
            "i32",
            format!("(v128.store{lane}_lane 1 {at} {vector}) (i32.const 0)"),
        );
    }
    let engine = engine();
    // Not every shape has every operation: those that are not instructions are left out, many must remain.
    let functions: Vec<String> = functions
        .into_iter()
        .filter(|function| wat::parse_str(format!("(module (memory 1) {function})")).is_ok())
        .collect();
    assert!(functions.len() > 700, "{}", functions.len());
    let mut instance = instance(
        &engine,
        &format!("(module (memory 1) {})", functions.concat()),
    );
    let exports = instance.linked().module().info().exports.clone();
    for (export, function) in exports.iter().zip(&functions) {
        if let Err(trap) = call(&mut instance, &export.name, &[PAGE]) {
            panic!("{function}: {trap}");
        }
        let beyond = trap_of(call(&mut instance, &export.name, &[PAGE + 1]));
        assert_eq!(beyond, OUT_OF_BOUNDS, "{function}");
    }
}

#[test]
fn host_function_panics_at_the_stack_limit() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define(
        "host",
        "panic",
        |_: &mut dormouse::Caller<'_>| -> Result<(), Stop> {
            panic!(
                "a defect, {:?}",
                std::backtrace::Backtrace::force_capture().status()
            )
        },
    );
    let wat = r#"(module (import "host" "panic" (func $panic))
        (func $down (export "down") (param i32)
            (if (local.get 0) (then (call $down (i32.sub (local.get 0) (i32.const 1))))
                (else (call $panic)))))"#;
    let limits = Limits {
        stack_bytes: 16 << 10,
        ..Limits::default()
    };
    let linked = linked(&engine, wat, &imports);
    let mut instance = Instance::new(&linked, limits, Box::new(())).unwrap();
    let (mut panicked, mut overflowed) = (0, 0);
    // The deepest that fits, found from below, is what has the least room for the panic.
    for depth in (0..2000).step_by(25) {
        match trap_of(call(&mut instance, "down", &[depth])) {
            Reason::HostPanic(message) if message.starts_with("a defect") => panicked += 1,
            Reason::Trap(TrapKind::StackOverflow) => overflowed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(panicked > 0 && overflowed > 0);
}

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn any_sequence_of_calls_ends_in_the_image() {
    // Few slots for two modules, so that slots change hands; small parts kept, so that both ways of putting back are taken.
    let options = EngineOptions {
        slots_max: 6,
        keep_resident_pages: 20,
        tick: Duration::from_micros(50),
        ..EngineOptions::default()
    };
    let engine = Engine::new(&options).unwrap();
    let other = MEMORY
        .replace("(memory 2 100)", "(memory 40 60)")
        .replace("frozen", "frosty");
    let images = [MEMORY, &other].map(|wat| freeze(&mut instance(&engine, wat)));
    let observe = |instance: &mut Instance| {
        let observed = ["sum", "global", "size"].map(|name| call(instance, name, &[]).unwrap()[0]);
        let beyond = observed[2] * PAGE;
        assert_eq!(trap_of(call(instance, "peek", &[beyond])), OUT_OF_BOUNDS);
        observed
    };
    let frozen = [&images[0], &images[1]].map(|image| observe(&mut restore(image)));
    let mut random = Random(1);
    let mut instances: Vec<(usize, Instance)> = Vec::new();
    let mut checked = 0;
    for _ in 0..3000 {
        if instances.is_empty() || (instances.len() < 6 && random.below(8) == 0) {
            let which = random.below(2) as usize;
            instances.push((which, restore(&images[which])));
            let (_, instance) = instances.last_mut().unwrap();
            if random.below(2) == 0 {
                assert_eq!(observe(instance), frozen[which]);
                checked += 1;
            }
        }
        let at = random.below(instances.len() as u64) as usize;
        let (which, instance) = &mut instances[at];
        if instance.in_call() {
            match random.below(4) {
                0 => assert_eq!(instance.resume(), Progress::Preempted),
                1 => assert!(instance.reset(Box::new(())).is_err() && instance.trim().is_err()),
                2 => drop(instance.stop(Reason::Exit(1))),
                _ => drop(instances.remove(at)),
            }
            continue;
        }
        let bytes = instance.memory().len() as u64;
        match random.below(12) {
            0 => drop(call(instance, "grow", &[random.below(30)])),
            1..=3 => drop(call(
                instance,
                "poke",
                &[random.below(bytes), 1 + random.below(255)],
            )),
            4 => {
                let step = 1 + random.below(20_000);
                let count = 1 + random.below(bytes / step);
                call(instance, "spray", &[count, step, 0]).unwrap();
            }
            5 => assert!(call(instance, "trap", &[]).is_err()),
            6 => begin(instance, "spin"),
            7 => instance.memory()[random.below(bytes) as usize] = 0xaa,
            8 => instance.trim().unwrap(),
            9 => {
                let (_, mut instance) = instances.remove(at);
                if random.below(2) == 0 {
                    instance.trim().unwrap();
                }
            }
            _ => {
                instance.reset(Box::new(())).unwrap();
                if random.below(4) == 0 {
                    instance.trim().unwrap();
                }
                if random.below(2) == 0 {
                    assert_eq!(observe(instance), frozen[*which]);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn engine_dropped_while_instances_live() {
    let image = {
        let engine = engine();
        freeze(&mut instance(&engine, MEMORY))
    };
    let mut instance = restore(&image);
    drop(image);
    call(&mut instance, "poke", &[5, 5]).unwrap();
    instance.reset(Box::new(())).unwrap();
    assert_eq!(call(&mut instance, "peek", &[5]).unwrap(), [0]);
    is_preempted(&mut instance);
}

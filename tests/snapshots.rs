//! Freezing, restoring and resetting: nothing of one call is visible to the next, and no damaged file is used.

mod support;

use dormouse::{Engine, EngineOptions, Image, ImageError, Imports};
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use support::{call, engine, freeze, image_file, instance, linked, restore};

/// A module whose every kind of state a call can change and another can look at.
const STATE: &str = r#"(module
    (memory (export "memory") 20 100)
    (global $g (mut i64) (i64.const 1))
    (global $v (mut v128) (v128.const i64x2 5 6))
    (table $t 4 10 funcref)
    (elem $e func $one $two)
    (elem (table $t) (i32.const 0) func $one)
    (data $d "passive")
    (data (i32.const 100) "active")
    (func $one (result i32) (i32.const 1))
    (func $two (result i32) (i32.const 2))
    (func (export "init") (i64.store (i32.const 4096) (i64.const 77)) (global.set $g (i64.const 2)))
    (func (export "observe") (result i64 i64 i32 i32 i32 i64)
        global.get $g
        (i64x2.extract_lane 1 (global.get $v))
        memory.size
        (table.size $t)
        (call_indirect $t (result i32) (i32.const 0))
        (i64.add (i64.load (i32.const 4096)) (i64.load (i32.const 1300000))))
    (func (export "ruin")
        (global.set $g (i64.const 99))
        (global.set $v (v128.const i64x2 9 9))
        (drop (memory.grow (i32.const 5)))
        (i64.store (i32.const 1600000) (i64.const 1))
        (drop (table.grow $t (ref.func $two) (i32.const 3)))
        (table.init $t $e (i32.const 0) (i32.const 1) (i32.const 1))
        (i64.store (i32.const 4096) (i64.const 1))
        (i64.store (i32.const 1300000) (i64.const 1))
        (elem.drop $e)
        (data.drop $d))
    (func (export "drops") (memory.init $d (i32.const 0) (i32.const 0) (i32.const 7))
        (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 2)))
    (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "write") (param i32 i32) (local $n i32)
        ;; Writes so many pages, each `step` apart.
        (loop $l
            (i64.store (local.get $n) (i64.const -1))
            (local.set $n (i32.add (local.get $n) (local.get 1)))
            (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "sum") (result i64) (local $n i32) (local $s i64)
        (loop $l
            (local.set $s (i64.add (local.get $s) (i64.load (local.get $n))))
            (local.set $n (i32.add (local.get $n) (i32.const 8)))
            (br_if $l (i32.lt_u (local.get $n) (i32.shl (memory.size) (i32.const 16)))))
        (local.get $s)))"#;

fn frozen(engine: &Engine) -> Image {
    let mut instance = instance(engine, STATE);
    call(&mut instance, "init", &[]).unwrap();
    freeze(&mut instance)
}

const FROZEN: [u64; 6] = [2, 6, 20, 4, 1, 77];

#[test]
fn a_restored_instance_is_what_was_frozen() {
    let engine = engine();
    let image = frozen(&engine);
    let mut instance = restore(&image);
    assert_eq!(call(&mut instance, "observe", &[]).unwrap(), FROZEN);
    call(&mut instance, "drops", &[]).unwrap();
    call(&mut instance, "ruin", &[]).unwrap();
    assert_ne!(call(&mut instance, "observe", &[]).unwrap(), FROZEN);
    call(&mut instance, "drops", &[]).unwrap_err();
    // Another instance of the same image never saw any of it.
    assert_eq!(call(&mut restore(&image), "observe", &[]).unwrap(), FROZEN);
}

#[test]
fn an_image_holds_nothing_of_the_process_that_made_it() {
    let engine = engine();
    let linked = linked(&engine, STATE, &Imports::new());
    // Side by side, so that they have different places, and so have their embedder's structures.
    let mut instances = [support::fresh(&linked), support::fresh(&linked)];
    let files = instances.each_mut().map(|instance| {
        call(instance, "init", &[]).unwrap();
        // A stack limit and a frame were noted.
        call(instance, "write", &[0, 1]).unwrap_err();
        let mut file = image_file();
        Image::capture(instance, &file).unwrap();
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    });
    assert!(files[0] == files[1]);
    // What precedes memory, up to the first global, is zero.
    let info = linked.module().info();
    let memory = 4096 + info.layout.state_bytes as usize;
    let header = memory - (info.layout.globals[0].unsigned_abs() as usize - 8)..memory;
    assert!(header.len() >= 64);
    assert!(files[0][header].iter().all(|byte| *byte == 0));
}

#[test]
fn reset_puts_every_kind_of_state_back() {
    // With room for all written pages, for few, and for none.
    for keep_resident_pages in [1000, 2, 0] {
        let options = EngineOptions {
            keep_resident_pages,
            ..EngineOptions::default()
        };
        let engine = Engine::new(&options).unwrap();
        let image = frozen(&engine);
        let sum = call(&mut restore(&image), "sum", &[]).unwrap();
        let mut instance = restore(&image);
        for _ in 0..3 {
            call(&mut instance, "ruin", &[]).unwrap();
            let report = instance.reset(Box::new(())).unwrap();
            assert!(report.pages_kept <= keep_resident_pages);
            // Besides that of the globals, which is the header's.
            assert!(report.pages_kept + report.pages_dropped >= 2, "{report:?}");
            assert_eq!(call(&mut instance, "observe", &[]).unwrap(), FROZEN);
            call(&mut instance, "peek", &[20 << 16]).unwrap_err();
            call(&mut instance, "drops", &[]).unwrap();
            instance.reset(Box::new(())).unwrap();
            // More runs of pages than one answer of the scan holds.
            call(&mut instance, "write", &[150, 8192]).unwrap();
            instance.reset(Box::new(())).unwrap();
            assert_eq!(call(&mut instance, "sum", &[]).unwrap(), sum);
            instance.reset(Box::new(())).unwrap();
            instance.trim().unwrap();
            assert_eq!(call(&mut instance, "observe", &[]).unwrap(), FROZEN);
            instance.trim().unwrap();
            instance.reset(Box::new(())).unwrap();
        }
    }
}

#[test]
fn reset_after_a_trap_and_after_a_stop() {
    let engine = engine();
    let wat = r#"(module (memory 1)
        (global $g (mut i32) (i32.const 0))
        (func (export "f") (result i32)
            (global.set $g (i32.add (global.get $g) (i32.const 1)))
            (i32.store (i32.const 0) (i32.const 5)) (global.get $g))
        (func (export "trap") (drop (call 0)) unreachable)
        (func (export "spin") (drop (call 0)) (loop $l (br $l))))"#;
    let mut original = instance(&engine, wat);
    let image = freeze(&mut original);
    let mut instance = restore(&image);
    call(&mut instance, "trap", &[]).unwrap_err();
    instance.reset(Box::new(())).unwrap();
    assert_eq!(call(&mut instance, "f", &[]).unwrap(), [1]);
    instance.reset(Box::new(())).unwrap();
    let spin = image.linked().module().function("spin").unwrap();
    instance.begin(spin, &[]).unwrap();
    assert_eq!(instance.resume(), dormouse::Progress::Preempted);
    assert!(instance.reset(Box::new(())).is_err());
    instance.stop(dormouse::Reason::Exit(1));
    instance.reset(Box::new(())).unwrap();
    assert_eq!(call(&mut instance, "f", &[]).unwrap(), [1]);
}

#[test]
fn a_reused_slot_shows_nothing_of_its_last_instance() {
    let options = EngineOptions {
        slots_max: 1,
        ..EngineOptions::default()
    };
    let engine = Engine::new(&options).unwrap();
    let image = frozen(&engine);
    let small = {
        let mut small = instance(
            &engine,
            r#"(module (memory 1 2000) (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
                (func (export "grow") (result i32) (memory.grow (i32.const 1000)))
                (func (export "sum") (result i64) (local $n i32) (local $s i64)
                    (loop $l
                        (local.set $s (i64.add (local.get $s) (i64.load (local.get $n))))
                        (local.set $n (i32.add (local.get $n) (i32.const 8)))
                        (br_if $l (i32.lt_u (local.get $n) (i32.shl (memory.size) (i32.const 16)))))
                    (local.get $s)))"#,
        );
        freeze(&mut small)
    };
    for _ in 0..3 {
        let mut instance = restore(&image);
        assert!(image.restore(Default::default(), Box::new(())).is_err());
        call(&mut instance, "ruin", &[]).unwrap();
        call(&mut instance, "write", &[300, 4096]).unwrap();
        drop(instance);
        let mut instance = restore(&small);
        call(&mut instance, "peek", &[65536]).unwrap_err();
        call(&mut instance, "grow", &[]).unwrap();
        assert_eq!(call(&mut instance, "sum", &[]).unwrap(), [0]);
    }
    assert_eq!(engine.instances(), 0);
}

#[test]
fn memory_beyond_the_image_file_is_zero_again() {
    let engine = engine();
    // 64 MiB of memory of which the file covers the first page.
    let wat = r#"(module (memory 1024) (data (i32.const 0) "x")
        (func (export "f") (result i64) (local i64)
            (local.set 0 (i64.load (i32.const 60000000)))
            (i64.store (i32.const 60000000) (i64.const 3)) (local.get 0)))"#;
    let mut original = instance(&engine, wat);
    let image = freeze(&mut original);
    assert!(image.bytes() < 64 << 10, "{}", image.bytes());
    // One of memory, and one of state: the flag that says the segment was applied.
    assert_eq!(image.pages(), 2);
    let mut instance = restore(&image);
    for _ in 0..3 {
        assert_eq!(call(&mut instance, "f", &[]).unwrap(), [0]);
        instance.reset(Box::new(())).unwrap();
    }
}

#[test]
fn damaged_truncated_and_foreign_images_are_refused() {
    let engine = engine();
    let mut original = instance(&engine, STATE);
    let linked_state = original.linked().clone();
    let file = image_file();
    Image::capture(&mut original, &file).unwrap();
    let length = file.metadata().unwrap().len();
    for at in [
        0,
        17,
        30,
        60,
        70,
        90,
        120,
        4095,
        4096,
        8192 + 100,
        length - 1,
    ] {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        assert!(Image::open(&linked_state, &file).is_err(), "byte {at}");
        file.write_all_at(&byte, at).unwrap();
    }
    assert!(Image::open(&linked_state, &file).is_ok());
    for shorter in [0, 1, 4095, 4096, length - 4096] {
        let copy = image_file();
        let mut bytes = vec![0; shorter as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        copy.write_all_at(&bytes, 0).unwrap();
        assert!(
            Image::open(&linked_state, &copy).is_err(),
            "{shorter} bytes"
        );
    }
    let other = linked(&engine, "(module (memory 20))", &Imports::new());
    assert!(matches!(
        Image::open(&other, &file),
        Err(ImageError::OtherArtifact)
    ));
}

/// A page that a call wrote for the first time, after calls that wrote others or none, is found although the calls before taught
/// the instance what they write.
#[test]
fn a_page_first_written_after_many_quiet_calls_is_put_back() {
    let engine = engine();
    let image = frozen(&engine);
    let mut instance = restore(&image);
    let sum = call(&mut instance, "sum", &[]).unwrap();
    instance.reset(Box::new(())).unwrap();
    let writes = |instance: &mut dormouse::Instance, pages: u64, step: u64| {
        for _ in 0..5 {
            call(instance, "write", &[pages, step]).unwrap();
            instance.reset(Box::new(())).unwrap();
        }
    };
    for round in 1..20 {
        writes(&mut instance, 3, 8192);
        // More pages, each time some that no call wrote before, through guest code and through the host's hands.
        writes(&mut instance, round * 4, 16384);
        instance.memory()[(round * 50_000) as usize] = 1;
        instance.reset(Box::new(())).unwrap();
        assert_eq!(
            call(&mut instance, "sum", &[]).unwrap(),
            sum,
            "round {round}"
        );
        if round % 5 == 0 {
            instance.trim().unwrap();
        }
    }
    // Two instances on one thread, in turns: each other's faults do not count for less.
    let mut other = restore(&image);
    for round in 0..40 {
        call(&mut other, "write", &[1 + round, 4096]).unwrap();
        call(&mut instance, "write", &[1 + round, 12288]).unwrap();
        instance.reset(Box::new(())).unwrap();
        other.reset(Box::new(())).unwrap();
        assert_eq!(call(&mut instance, "sum", &[]).unwrap(), sum);
        assert_eq!(call(&mut other, "sum", &[]).unwrap(), sum);
    }
}

#[test]
fn what_one_unusual_call_wrote_is_not_put_back_for_ever() {
    let engine = engine();
    let image = frozen(&engine);
    let mut instance = restore(&image);
    call(&mut instance, "write", &[200, 4096]).unwrap();
    instance.reset(Box::new(())).unwrap();
    call(&mut instance, "observe", &[]).unwrap();
    let unusual = instance.reset(Box::new(())).unwrap();
    assert!(unusual.pages_kept >= 200, "{unusual:?}");
    let mut kept = Vec::new();
    for _ in 0..300 {
        call(&mut instance, "write", &[2, 4096]).unwrap();
        kept.push(instance.reset(Box::new(())).unwrap().pages_kept);
        assert_eq!(call(&mut instance, "observe", &[]).unwrap(), FROZEN);
        instance.reset(Box::new(())).unwrap();
    }
    assert!(kept.last().is_some_and(|pages| *pages < 20), "{kept:?}");
}

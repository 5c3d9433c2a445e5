//! Instances of a store: what they share is shared, and what bounds one instance holds across them.

#[path = "support/linker.rs"]
mod linker;
mod support;

use dormouse::compile::{CompileError, CompileOptions, compile};
use dormouse::{
    Caller, InstanceId, Limits, Progress, Reason, RestoreError, Store, StoreError, StoreImports,
    Trap, TrapKind,
};
use linker::{Linker, freeze, linkable, restore};
use support::engine;

const OUT_OF_BOUNDS: Reason = Reason::Trap(TrapKind::MemoryOutOfBounds);

const READER: &str = r#"(module
    (import "owner" "memory" (memory 1))
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "load_far") (param i32) (result i32) (i32.load offset=0xfffffffc (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "size") (result i32) (memory.size))
    (func (export "fill") (param i32 i32) (memory.fill (local.get 0) (i32.const 7) (local.get 1))))"#;

const OWNER: &str = r#"(module
    (memory (export "memory") 1 4)
    (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;

#[test]
fn imported_memory_is_bounded_by_its_current_length() {
    let mut linker = Linker::new();
    let owner = linker.add("owner", OWNER);
    let reader = linker.add("reader", READER);
    for (grower, pages) in [(owner, 1u64), (reader, 2), (owner, 3)] {
        let end = pages << 16;
        assert_eq!(linker.one(reader, "size", &[]), pages);
        linker.call(reader, "store", &[end - 1, 0xab]).unwrap();
        assert_eq!(linker.one(owner, "load", &[end - 4]), 0xab00_0000);
        assert_eq!(linker.one(reader, "load", &[end - 4]), 0xab00_0000);
        for at in [end - 3, end, u32::MAX.into(), (u32::MAX - 3).into()] {
            assert_eq!(linker.trap(reader, "load", &[at]), OUT_OF_BOUNDS, "{at:#x}");
            assert_eq!(linker.trap(reader, "load_far", &[at]), OUT_OF_BOUNDS);
            assert_eq!(linker.trap(owner, "load", &[at]), OUT_OF_BOUNDS);
        }
        assert_eq!(linker.trap(reader, "fill", &[0, end + 1]), OUT_OF_BOUNDS);
        assert_eq!(linker.one(grower, "grow", &[1]), pages);
    }
    // The owner's maximum holds for everybody.
    assert_eq!(linker.one(reader, "grow", &[1]) as u32, u32::MAX);
    assert_eq!(linker.store.grow_memory(owner, "memory", 0), Some(4));
}

#[test]
fn one_memory_or_global_imported_twice_is_one() {
    let mut linker = Linker::new();
    linker.add(
        "owner",
        r#"(module (memory (export "memory") 1) (global (export "g") (mut i32) (i32.const 1)))"#,
    );
    let twice = linker.add(
        "twice",
        r#"(module
            (import "owner" "memory" (memory $a 1)) (import "owner" "memory" (memory $b 1))
            (import "owner" "g" (global $x (mut i32))) (import "owner" "g" (global $y (mut i32)))
            (data (memory $a) (i32.const 0) "abcdef")
            (func (export "globals") (result i32)
                (drop (global.get $y)) (global.set $x (i32.const 42)) (global.get $y))
            (func (export "overlap") (result i64)
                (memory.copy $b $a (i32.const 2) (i32.const 0) (i32.const 6))
                (i64.load $a (i32.const 0))))"#,
    );
    assert_eq!(linker.one(twice, "globals", &[]), 42);
    let bytes = linker.one(twice, "overlap", &[]).to_le_bytes();
    assert_eq!(&bytes, b"ababcdef");
}

const TABLE_OWNER: &str = r#"(module
    (table (export "table") 2 8 funcref)
    (type $i (func (result i32)))
    (global $state (mut i32) (i32.const 5))
    (func $mine (result i32) (global.set $state (i32.add (global.get $state) (i32.const 1))) (global.get $state))
    (func (export "grow") (param i32) (result i32) (table.grow (ref.null func) (local.get 0)))
    (func (export "call") (param i32) (result i32) (call_indirect (type $i) (local.get 0)))
    (elem (i32.const 0) $mine))"#;

const TABLE_USER: &str = r#"(module
    (import "owner" "table" (table 2 funcref))
    (type $i (func (result i32)))
    (func $ten (export "ten") (result i32) (i32.const 10))
    (elem declare func $ten)
    (func (export "set") (param i32) (table.set (local.get 0) (ref.func $ten)))
    (func (export "get_null") (param i32) (result i32) (ref.is_null (table.get (local.get 0))))
    (func (export "grow") (param i32) (result i32) (table.grow (ref.null func) (local.get 0)))
    (func (export "call") (param i32) (result i32) (call_indirect (type $i) (local.get 0)))
    (func (export "call_wrong") (param i32) (result i64) (call_indirect (result i64) (local.get 0))))"#;

#[test]
fn table_of_another_instance_is_bounded_and_its_functions_keep_their_types() {
    let mut linker = Linker::new();
    let owner = linker.add("owner", TABLE_OWNER);
    let user = linker.add("user", TABLE_USER);
    // The function runs in the instance that it is of.
    assert_eq!(linker.one(user, "call", &[0]), 6);
    assert_eq!(linker.one(owner, "call", &[0]), 7);
    linker.call(user, "set", &[1]).unwrap();
    assert_eq!(linker.one(owner, "call", &[1]), 10);
    for index in [0, 1] {
        assert_eq!(
            linker.trap(user, "call_wrong", &[index]),
            Reason::Trap(TrapKind::BadSignature)
        );
    }
    for (grower, length) in [(owner, 2u64), (user, 3)] {
        for index in [length, u32::MAX.into()] {
            let out = Reason::Trap(TrapKind::TableOutOfBounds);
            assert_eq!(linker.trap(user, "get_null", &[index]), out);
            assert_eq!(linker.trap(user, "set", &[index]), out);
            let undefined = Reason::Trap(TrapKind::UndefinedElement);
            assert_eq!(linker.trap(user, "call", &[index]), undefined);
            assert_eq!(linker.trap(owner, "call", &[index]), undefined);
        }
        assert_eq!(linker.one(grower, "grow", &[1]), length);
        assert_eq!(linker.one(user, "get_null", &[length]), 1);
        let null = Reason::Trap(TrapKind::IndirectCallToNull);
        assert_eq!(linker.trap(owner, "call", &[length]), null);
    }
}

const REFERENCES: &str = r#"(module
    (type $i (func (result i32)))
    (global (export "g") (mut (ref null $i)) (ref.null $i))
    (func (export "take") (param (ref null $i)) (result i32) (call_ref $i (local.get 0)))
    (func $wrong (export "wrong") (result i64) (i64.const 1))
    (func $one (export "one") (result i32) (i32.const 1))
    (elem declare func $one $wrong)
    (func (export "ref_one") (result funcref) (ref.func $one))
    (func (export "ref_wrong") (result funcref) (ref.func $wrong)))"#;

#[test]
fn references_the_store_gave_out_are_taken_and_forged_ones_are_not() {
    let mut linker = Linker::new();
    let first = linker.add("first", REFERENCES);
    let second = linker.add("second", REFERENCES);
    let one = linker.one(first, "ref_one", &[]);
    let wrong = linker.one(first, "ref_wrong", &[]);
    assert_eq!(linker.one(second, "take", &[one]), 1);
    assert!(linker.store.set_global(second, "g", &[one]));
    let forged = [wrong, one + 1000, one ^ 1 << 32, one | 1 << 63, 1, u64::MAX];
    for word in forged {
        let call = std::panic::AssertUnwindSafe(|| linker.call(second, "take", &[word]));
        assert!(std::panic::catch_unwind(call).is_err(), "{word:#x}");
        let set = std::panic::AssertUnwindSafe(|| linker.store.set_global(second, "g", &[word]));
        assert!(std::panic::catch_unwind(set).is_err(), "{word:#x}");
    }
    assert_eq!(linker.store.global(second, "g"), Some(vec![one]));
}

#[test]
fn recursion_across_instances_overflows_the_stack_once() {
    let mut linker = Linker::new();
    let first = linker.add(
        "first",
        r#"(module (table (export "t") 1 funcref)
            (func (export "down") (param i32) (result i32)
                (i32.add (i32.const 1) (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))))
            (func (export "fine") (result i32) (i32.const 3)))"#,
    );
    let second = linker.add(
        "second",
        r#"(module (import "first" "t" (table 1 funcref))
            (import "first" "down" (func $down (param i32) (result i32)))
            (func $back (param i32) (result i32) (i32.add (i32.const 1) (call $down (local.get 0))))
            (elem (i32.const 0) $back)
            (export "back" (func $back)))"#,
    );
    for (id, name) in [(first, "down"), (second, "back"), (first, "down")] {
        let trap = linker.call(id, name, &[1]).unwrap_err();
        assert_eq!(trap.reason, Reason::Trap(TrapKind::StackOverflow));
        assert_eq!(trap.backtrace.len(), Trap::FRAMES_MAX);
        let names: Vec<_> = trap.backtrace[10..12]
            .iter()
            .map(|frame| frame.name.clone().unwrap())
            .collect();
        assert!(names.contains(&"back".to_owned()) && names.contains(&"down".to_owned()));
        assert_eq!(linker.one(first, "fine", &[]), 3);
    }
}

const SPINNER: &str = r#"(module
    (import "host" "wait" (func $wait))
    (func (export "spin") (loop $again (br $again)))
    (func (export "count") (param i32) (result i32) (local i32)
        (loop $again
            (local.set 1 (i32.add (local.get 1) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get 1) (local.get 0))))
        (local.get 1))
    (func (export "wait") (param i32) (result i32) (call $wait) (local.get 0)))"#;

const SPINNER_USER: &str = r#"(module
    (import "spinner" "spin" (func $spin))
    (import "spinner" "count" (func $count (param i32) (result i32)))
    (import "spinner" "wait" (func $wait (param i32) (result i32)))
    (func (export "run") (call $spin))
    (func (export "count") (param i32) (result i32) (call $count (local.get 0)))
    (func (export "wait") (param i32) (result i32)
        (i32.add (call $wait (local.get 0)) (call $count (i32.const 100)))))"#;

/// A linker with a spinner, and two users of it.
fn spinners() -> (Linker, InstanceId, InstanceId) {
    let mut linker = Linker::new();
    linker
        .imports
        .host
        .define("host", "wait", |caller: &mut Caller<'_>| {
            caller.suspend();
            Ok(())
        });
    linker.add("spinner", SPINNER);
    let first = linker.try_add(SPINNER_USER).unwrap();
    let second = linker.try_add(SPINNER_USER).unwrap();
    (linker, first, second)
}

#[test]
fn preempted_while_in_the_callee() {
    let (mut linker, user, _) = spinners();
    let run = linker.store.function(user, "run").unwrap();
    linker.store.begin(user, run, &[]).unwrap();
    for _ in 0..3 {
        assert_eq!(linker.store.resume(user), Progress::Preempted);
    }
    let trap = linker.store.stop(user, Reason::Exit(1));
    let names: Vec<_> = trap
        .backtrace
        .iter()
        .map(|frame| frame.name.as_deref())
        .collect();
    assert_eq!(names, [Some("spin"), Some("run")]);
    assert_eq!(linker.one(user, "count", &[50_000_000]), 50_000_000);
}

#[test]
fn calls_suspended_in_one_callee_go_on_each_for_itself() {
    let (mut linker, first, second) = spinners();
    let wait = linker.store.function(first, "wait").unwrap();
    linker.store.begin(first, wait, &[1]).unwrap();
    linker.store.begin(second, wait, &[2]).unwrap();
    assert_eq!(linker.store.resume(first), Progress::Blocked);
    assert_eq!(linker.store.resume(second), Progress::Blocked);
    let trap = linker.store.stop(second, Reason::Exit(0));
    let names: Vec<_> = trap
        .backtrace
        .iter()
        .map(|frame| frame.name.as_deref())
        .collect();
    assert_eq!(names[names.len() - 2..], [Some("wait"), Some("wait")]);
    assert_eq!(linker.store.resume(first), Progress::Returned(vec![101]));
    // With one of them suspended, another call comes to the same callee, and the stack's limit is that of each.
    linker.store.begin(first, wait, &[3]).unwrap();
    assert_eq!(linker.store.resume(first), Progress::Blocked);
    assert_eq!(linker.one(second, "count", &[1000]), 1000);
    assert_eq!(linker.store.resume(first), Progress::Returned(vec![103]));
}

#[test]
fn store_dropped_with_suspended_calls() {
    let (mut linker, first, second) = spinners();
    let wait = linker.store.function(first, "wait").unwrap();
    let run = linker.store.function(first, "run").unwrap();
    linker.store.begin(first, wait, &[1]).unwrap();
    linker.store.begin(second, run, &[]).unwrap();
    assert_eq!(linker.store.resume(first), Progress::Blocked);
    assert_eq!(linker.store.resume(second), Progress::Preempted);
    let engine = linker.engine.clone();
    drop(linker);
    assert_eq!(engine.instances(), 0);
}

#[test]
fn host_function_called_by_the_callee_sees_the_callees_memory() {
    let mut linker = Linker::new();
    linker
        .imports
        .host
        .define("host", "first", |caller: &mut Caller<'_>| {
            Ok(i32::from(caller.memory()[0]))
        });
    let text = |byte: &str, more: &str| {
        format!(
            r#"(module (import "host" "first" (func $first (result i32))) {more}
                (memory 1) (data (i32.const 0) "{byte}")
                (func (export "first") (result i32) (call $first)))"#
        )
    };
    linker.add("callee", &text("c", ""));
    let import = r#"(import "callee" "first" (func $callee (result i32)))
        (func (export "both") (result i32 i32) (call $callee) (call $first))"#;
    let caller = linker.add("caller", &text("a", import));
    let both = linker.call(caller, "both", &[]).unwrap();
    assert_eq!(both, [u64::from(b'c'), u64::from(b'a')]);
}

#[test]
fn failed_instantiation_leaves_what_it_wrote_and_its_functions_callable() {
    let mut linker = Linker::new();
    let owner = linker.add("owner", TABLE_OWNER);
    let refused = linker.try_add(
        r#"(module (import "owner" "table" (table 2 funcref))
            (memory 1) (data (i32.const 3) "x")
            (func $loaded (result i32) (i32.load8_u (i32.const 3)))
            (func $grown (result i32) (memory.grow (i32.const 1)))
            (elem (i32.const 0) $loaded)
            (elem (i32.const 1) $grown)
            (data (i32.const 65536) "beyond"))"#,
    );
    assert!(matches!(refused, Err(StoreError::Instantiate(_))));
    assert_eq!(linker.one(owner, "call", &[0]), u64::from(b'x'));
    assert_eq!(linker.one(owner, "call", &[1]), 1);
    assert_eq!(linker.one(owner, "call", &[1]), 2);
}

#[test]
fn equal_types_of_different_modules_are_one_and_others_are_not() {
    let mut linker = Linker::new();
    let owner = linker.add("owner", TABLE_OWNER);
    linker.add(
        "other",
        r#"(module (import "owner" "table" (table 2 funcref))
            (type (func)) (type (func (param f32))) (type $i (func (result i32)))
            (func $f (type $i) (i32.const 77))
            (func $g (type 1))
            (elem (i32.const 0) $f $g))"#,
    );
    assert_eq!(linker.one(owner, "call", &[0]), 77);
    let wrong = Reason::Trap(TrapKind::BadSignature);
    assert_eq!(linker.trap(owner, "call", &[1]), wrong);
}

#[test]
fn modes_do_not_mix() {
    let engine = engine();
    let wasm = wat::parse_str(READER).unwrap();
    let error = compile(&wasm, &CompileOptions::default()).unwrap_err();
    assert!(matches!(error, CompileError::UnsupportedImport { .. }));
    assert!(error.to_string().contains("linkable mode"), "{error}");
    let module = linkable(&engine, "(module)");
    let error = module.link(&dormouse::Imports::new()).err().unwrap();
    assert!(error.to_string().contains("in a store"), "{error}");
    let mut store = Store::new(&engine).unwrap();
    let own = support::module(&engine, "(module)");
    let refused = store.instantiate(&own, &StoreImports::new(), Limits::default(), Box::new(()));
    assert!(refused.err().unwrap().to_string().contains("linkable mode"));
}

#[test]
fn imports_that_do_not_match_are_refused_in_the_words_of_the_specification() {
    let mut linker = Linker::new();
    linker.add("owner", OWNER);
    for (import, problem) in [
        (r#""owner" "none" (memory 1)"#, "unknown import"),
        (r#""owner" "memory" (memory 2)"#, "incompatible import type"),
        (
            r#""owner" "memory" (memory 1 3)"#,
            "incompatible import type",
        ),
        (
            r#""owner" "memory" (memory i64 1)"#,
            "incompatible import type",
        ),
        (
            r#""owner" "grow" (func (param i32))"#,
            "incompatible import type",
        ),
        (r#""owner" "grow" (global i32)"#, "incompatible import type"),
    ] {
        let refused = linker.try_add(&format!("(module (import {import}))"));
        let error = refused.err().unwrap().to_string();
        assert!(error.contains(problem), "{import}: {error}");
    }
}

#[test]
fn image_is_restored_against_memory_as_long_as_it_was_and_no_shorter() {
    let mut linker = Linker::new();
    let owner = linker.add("owner", OWNER);
    let reader = linker.add("reader", READER);
    linker.one(owner, "grow", &[1]);
    let image = freeze(&mut linker, reader);
    let again = restore(&mut linker, &image).unwrap();
    linker.call(again, "store", &[0x1_ffff, 9]).unwrap();
    assert_eq!(linker.one(owner, "load", &[0x1_fffc]), 0x0900_0000);
    assert_eq!(linker.trap(again, "load", &[0x1_fffd]), OUT_OF_BOUNDS);

    linker.add("owner", OWNER);
    let refused = restore(&mut linker, &image);
    assert!(matches!(refused, Err(RestoreError::Mismatch(_))));
    linker.add("owner", r#"(module (memory (export "memory") 0))"#);
    let refused = restore(&mut linker, &image);
    assert!(matches!(refused, Err(RestoreError::Link(_))));
}

#[test]
fn restored_references_are_to_the_restored_instance_and_foreign_ones_stay_in_their_store() {
    const KEEPER: &str = r#"(module
        (type $i (func (result i32)))
        (table (export "table") 2 funcref)
        (global $state (mut i32) (i32.const 5))
        (global $kept (mut funcref) (ref.func $next))
        (func $next (result i32)
            (global.set $state (i32.add (global.get $state) (i32.const 1))) (global.get $state))
        (func (export "call") (param i32) (result i32) (call_indirect (type $i) (local.get 0)))
        (func (export "put_kept") (table.set (i32.const 1) (global.get $kept)))
        (elem (i32.const 0) $next))"#;
    let mut linker = Linker::new();
    let keeper = linker.add("owner", KEEPER);
    assert_eq!(linker.one(keeper, "call", &[0]), 6);
    let image = freeze(&mut linker, keeper);
    let restored = restore(&mut linker, &image).unwrap();
    assert_eq!(linker.one(restored, "call", &[0]), 7);
    linker.call(restored, "put_kept", &[]).unwrap();
    assert_eq!(linker.one(restored, "call", &[1]), 8);
    assert_eq!(linker.one(keeper, "call", &[0]), 7);
    // In another store too.
    let mut other = Linker::on(linker.engine.clone());
    let moved = restore(&mut other, &image).unwrap();
    assert_eq!(other.one(moved, "call", &[0]), 7);

    let user = linker.add("user", TABLE_USER);
    linker.call(user, "set", &[1]).unwrap();
    let image = freeze(&mut linker, keeper);
    let restored = restore(&mut linker, &image).unwrap();
    assert_eq!(linker.one(restored, "call", &[1]), 10);
    let refused = restore(&mut other, &image);
    assert!(matches!(refused, Err(RestoreError::Mismatch(_))));
}

#[test]
fn import_given_again_is_none_of_a_narrower_type() {
    const TYPES: &str = r#"(type $number (func (result i32)))
        (type $wide (sub (func (result funcref))))
        (type $narrow (sub $wide (func (result (ref null $number)))))"#;
    let mut linker = Linker::new();
    let library = format!(
        r#"(module {TYPES} (func $one (type $number) (i32.const 1)) (elem declare func $one)
            (func (export "f") (type $narrow) (ref.func $one)))"#
    );
    linker.add("library", &library);
    let keeper = linker.add(
        "keeper",
        &format!(
            r#"(module {TYPES} (import "library" "f" (func $f (type $wide))) (elem declare func $f)
                (global $kept (mut (ref null $narrow)) (ref.null $narrow))
                (func (export "keep") (global.set $kept (ref.cast (ref $narrow) (ref.func $f))))
                (func (export "use") (result i32) (call_ref $number (call_ref $narrow (global.get $kept)))))"#
        ),
    );
    linker.call(keeper, "keep", &[]).unwrap();
    assert_eq!(linker.one(keeper, "use", &[]), 1);
    let image = freeze(&mut linker, keeper);
    // One that answers functions of any type is what is imported, and not what was kept.
    let library = format!(
        r#"(module {TYPES} (func $other (param i64) (result f64) (f64.const 2)) (elem declare func $other)
            (func (export "f") (type $wide) (ref.func $other)))"#
    );
    linker.add("library", &library);
    let restored = restore(&mut linker, &image).unwrap();
    assert_eq!(linker.one(restored, "use", &[]), 1);
}

#[test]
fn limit_that_the_owner_of_a_memory_refuses_is_noted_for_the_caller() {
    let mut linker = Linker::new();
    let module = linkable(&linker.engine, r#"(module (memory (export "memory") 1))"#);
    let limits = Limits {
        memory_bytes: 2 << 16,
        ..Limits::default()
    };
    let owner = linker
        .store
        .instantiate(&module, &linker.imports, limits, Box::new(()))
        .unwrap();
    linker
        .imports
        .define_instance("owner", &linker.store, owner);
    let reader = linker.add("reader", READER);
    assert_eq!(linker.one(reader, "grow", &[1]), 1);
    assert_eq!(linker.one(reader, "grow", &[1]) as u32, u32::MAX);
    assert_eq!(linker.one(reader, "size", &[]), 2);
}

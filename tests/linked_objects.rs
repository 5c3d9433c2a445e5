//! Objects of a store: one heap for all its instances, whatever each is in the middle of.

#[path = "support/linker.rs"]
mod linker;
mod support;

use dormouse::{
    Caller, Engine, EngineOptions, Image, ImageError, InstanceId, Limit, Limits, Progress, Reason,
};
use linker::{Linker, freeze, restore};
use std::time::Duration;
use support::image_file;

/// Lists, which others import, and garbage of the same size, whose values are not theirs.
const LISTS: &str = r#"(module
    (type $node (struct (field (mut i64)) (field (mut (ref null $node)))))
    (global (export "kept") (mut (ref null $node)) (ref.null $node))
    (table (export "table") 4 (ref null $node))
    (func (export "build") (param $n i64) (result (ref null $node)) (local $list (ref null $node))
        (block $done
            (loop $again
                (br_if $done (i64.eqz (local.get $n)))
                (local.set $list (struct.new $node (local.get $n) (local.get $list)))
                (local.set $n (i64.sub (local.get $n) (i64.const 1)))
                (br $again)))
        (local.get $list))
    (func (export "sum") (param $list (ref null $node)) (result i64) (local $sum i64)
        (block $done
            (loop $again
                (br_if $done (ref.is_null (local.get $list)))
                (local.set $sum (i64.add (local.get $sum) (struct.get $node 0 (local.get $list))))
                (local.set $list (struct.get $node 1 (local.get $list)))
                (br $again)))
        (local.get $sum))
    (func (export "storm") (param $n i32)
        (loop $again
            (drop (struct.new $node (i64.const -1000) (ref.null $node)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;

const USER: &str = r#"(module
    (type $node (struct (field (mut i64)) (field (mut (ref null $node)))))
    (type $array (array (mut (ref null $node))))
    (import "host" "wait" (func $wait))
    (import "lists" "build" (func $build (param i64) (result (ref null $node))))
    (import "lists" "sum" (func $sum (param (ref null $node)) (result i64)))
    (import "lists" "storm" (func $storm (param i32)))
    (import "lists" "kept" (global $kept (mut (ref null $node))))
    (import "lists" "table" (table $table 4 (ref null $node)))
    (tag $t (param (ref null $node)))
    (global $own (mut (ref null $array)) (ref.null $array))
    (global $thrown (mut exnref) (ref.null exn))
    (func (export "hold") (param $n i64) (result i64) (local $list (ref null $node))
        (local.set $list (call $build (local.get $n)))
        (call $wait)
        (call $sum (local.get $list)))
    (func (export "storm") (param i32) (call $storm (local.get 0)))
    (func (export "local") (param $n i64) (param $storm i32) (result i64) (local $list (ref null $node))
        (local.set $list (call $build (local.get $n)))
        (call $storm (local.get $storm))
        (call $sum (local.get $list)))
    (func (export "keep") (param $n i64)
        (global.set $kept (call $build (local.get $n)))
        (table.set $table (i32.const 3) (call $build (local.get $n)))
        (global.set $own (array.new_fixed $array 2 (ref.null $node) (call $build (local.get $n))))
        (global.set $thrown
            (block $h (result exnref)
                (try_table (catch_all_ref $h) (throw $t (call $build (local.get $n))))
                (unreachable))))
    (func (export "kept") (result i64 i64 i64 i64)
        (call $sum (global.get $kept))
        (call $sum (table.get $table (i32.const 3)))
        (call $sum (array.get $array (global.get $own) (i32.const 1)))
        (call $sum
            (block $h (result (ref null $node))
                (try_table (catch $t $h) (throw_ref (global.get $thrown)))
                (unreachable))))
    (func (export "forget")
        (global.set $own (ref.null $array)) (global.set $thrown (ref.null exn))))"#;

fn lists(engine: Engine) -> (Linker, InstanceId) {
    let mut linker = Linker::on(engine);
    linker
        .imports
        .host
        .define("host", "wait", |caller: &mut Caller<'_>| {
            caller.suspend();
            Ok(())
        });
    let lists = linker.add("lists", LISTS);
    (linker, lists)
}

fn triangle(count: u64) -> u64 {
    count * (count + 1) / 2
}

fn ticking(micros: u64) -> Engine {
    Engine::new(&EngineOptions {
        tick: Duration::from_micros(micros),
        ..EngineOptions::default()
    })
    .unwrap()
}

#[test]
fn what_any_instance_refers_to_is_kept_whichever_collects() {
    let (mut linker, _) = lists(support::engine());
    let users: Vec<InstanceId> = (0..2).map(|_| linker.try_add(USER).unwrap()).collect();
    linker.call(users[0], "keep", &[1000]).unwrap();
    for collector in [users[1], users[0]] {
        linker.call(collector, "storm", &[400_000]).unwrap();
        let kept = linker.call(users[0], "kept", &[]).unwrap();
        assert_eq!(kept, [triangle(1000); 4]);
        // In frames of one instance, while another's code collects.
        let local = linker.one(collector, "local", &[500, 400_000]);
        assert_eq!(local, triangle(500));
    }
}

#[test]
fn what_suspended_calls_refer_to_is_kept_when_another_collects() {
    let (mut linker, _) = lists(support::engine());
    let users: Vec<InstanceId> = (0..3).map(|_| linker.try_add(USER).unwrap()).collect();
    let hold = linker.store.function(users[0], "hold").unwrap();
    for (id, count) in [(users[0], 700), (users[1], 900)] {
        linker.store.begin(id, hold, &[count]).unwrap();
        assert_eq!(linker.go_on(id), Progress::Blocked);
    }
    for _ in 0..3 {
        linker.call(users[2], "storm", &[400_000]).unwrap();
    }
    for (id, count) in [(users[1], 900), (users[0], 700)] {
        let returned = Progress::Returned(vec![triangle(count)]);
        assert_eq!(linker.go_on(id), returned);
    }
}

#[test]
fn calls_that_take_turns_make_objects_and_collect_under_each_other() {
    let (mut linker, _) = lists(ticking(50));
    let users: Vec<InstanceId> = (0..3).map(|_| linker.try_add(USER).unwrap()).collect();
    linker.call(users[0], "keep", &[20_000]).unwrap();
    let local = linker.store.function(users[0], "local").unwrap();
    let mut preempted = 0;
    for round in 0..6 {
        for (index, id) in (0..).zip(&users) {
            let arguments = [3000 + index, 100_000 + 7 * index];
            linker.store.begin(*id, local, &arguments).unwrap();
        }
        let mut waiting: Vec<(u64, InstanceId)> = (0..).zip(users.clone()).collect();
        let mut turns = 0;
        while !waiting.is_empty() {
            turns += 1;
            if turns == 40 + round {
                // One is stopped wherever it is, also within a collection.
                let (_, stopped) = waiting.remove(round % waiting.len());
                linker.store.stop(stopped, Reason::Exit(1));
            }
            waiting.retain(|(index, id)| match linker.store.resume(*id) {
                Progress::Returned(words) => {
                    assert_eq!(words, [triangle(3000 + index)]);
                    false
                }
                Progress::Preempted => {
                    preempted += 1;
                    true
                }
                other => panic!("{other:?}"),
            });
        }
        let kept = linker.call(users[0], "kept", &[]).unwrap();
        assert_eq!(kept, [triangle(20_000); 4]);
    }
    assert!(preempted > 100, "preempted {preempted} times only");
}

/// Arrays that are long enough for the thread to be given up while one is made.
#[test]
fn long_arrays_are_made_under_each_other() {
    let mut linker = Linker::on(ticking(50));
    let text = r#"(module
        (type $bytes (array (mut i8)))
        (func (export "run") (param $length i32) (param $times i32) (result i32)
            (local $kept (ref null $bytes)) (local $fresh (ref null $bytes)) (local $at i32)
            (local.set $kept (array.new $bytes (i32.const 77) (i32.const 10000)))
            (loop $again
                (local.set $fresh (array.new_default $bytes (local.get $length)))
                (local.set $at (i32.const 0))
                (loop $look
                    (if (array.get_u $bytes (local.get $fresh) (local.get $at)) (then (unreachable)))
                    (local.set $at (i32.add (local.get $at) (i32.const 4093)))
                    (br_if $look (i32.lt_u (local.get $at) (local.get $length))))
                (array.fill $bytes (local.get $fresh) (i32.const 0) (i32.const 255) (local.get $length))
                (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
            (array.get_u $bytes (local.get $kept) (i32.const 9999))))"#;
    let users: Vec<InstanceId> = (0..3).map(|_| linker.try_add(text).unwrap()).collect();
    let run = linker.store.function(users[0], "run").unwrap();
    for (length, id) in [5u64 << 20, 3 << 20, 7 << 20].into_iter().zip(&users) {
        linker.store.begin(*id, run, &[length, 12]).unwrap();
    }
    let (mut waiting, mut preempted) = (users, 0);
    while !waiting.is_empty() {
        waiting.retain(|id| match linker.store.resume(*id) {
            Progress::Returned(words) => {
                assert_eq!(words, [77]);
                false
            }
            Progress::Preempted => {
                preempted += 1;
                true
            }
            other => panic!("{other:?}"),
        });
    }
    assert!(preempted > 20, "preempted {preempted} times only");
}

#[test]
fn types_of_other_modules_are_told_apart_by_casts() {
    let mut linker = Linker::new();
    linker.add(
        "maker",
        r#"(module
            (rec (type $a (sub (struct (field i32)))) (type $b (sub $a (struct (field i32) (field i64)))))
            (type $other (sub (struct (field i32))))
            (type $array (array (mut i16)))
            (type $f (func (result anyref)))
            (func (export "a") (type $f) (struct.new $a (i32.const 1)))
            (func (export "b") (type $f) (struct.new $b (i32.const 2) (i64.const 3)))
            (func (export "other") (type $f) (struct.new $other (i32.const 4)))
            (func (export "array") (type $f) (array.new_fixed $array 2 (i32.const 5) (i32.const 6)))
            (func (export "i31") (type $f) (ref.i31 (i32.const 7)))
            (func (export "null") (type $f) (ref.null any)))"#,
    );
    // The types come in another order here, so that their indexes differ.
    let user = linker.add(
        "user",
        r#"(module
            (type $array (array (mut i16)))
            (type $lone (sub (struct (field i32))))
            (rec (type $a (sub (struct (field i32)))) (type $b (sub $a (struct (field i32) (field i64)))))
            (type $f (func (result anyref)))
            (import "maker" "a" (func $a (type $f))) (import "maker" "b" (func $b (type $f)))
            (import "maker" "other" (func $other (type $f)))
            (import "maker" "array" (func $array (type $f)))
            (import "maker" "i31" (func $i31 (type $f))) (import "maker" "null" (func $null (type $f)))
            (table funcref (elem $a $b $other $array $i31 $null))
            (func (export "tests") (param i32) (result i32) (local $o anyref)
                (local.set $o (call_indirect (type $f) (local.get 0)))
                (i32.or (ref.test (ref $a) (local.get $o))
                (i32.or (i32.shl (ref.test (ref $b) (local.get $o)) (i32.const 1))
                (i32.or (i32.shl (ref.test (ref $lone) (local.get $o)) (i32.const 2))
                (i32.or (i32.shl (ref.test (ref $array) (local.get $o)) (i32.const 3))
                (i32.or (i32.shl (ref.test (ref struct) (local.get $o)) (i32.const 4))
                (i32.or (i32.shl (ref.test (ref array) (local.get $o)) (i32.const 5))
                (i32.or (i32.shl (ref.test (ref i31) (local.get $o)) (i32.const 6))
                        (i32.shl (ref.test (ref eq) (local.get $o)) (i32.const 7))))))))))
            (func (export "read") (result i64)
                (i64.add (i64.extend_i32_u (struct.get $a 0 (ref.cast (ref $a) (call $b))))
                (i64.add (struct.get $b 1 (ref.cast (ref $b) (call $b)))
                    (i64.extend_i32_u (array.get_u $array (ref.cast (ref $array) (call $array)) (i32.const 1))))))
            (func (export "wrong") (result i64) (struct.get $b 1 (ref.cast (ref $b) (call $other)))))"#,
    );
    let expected = [
        0b1001_0001,
        0b1001_0011,
        0b1001_0100,
        0b1010_1000,
        0b1100_0000,
        0,
    ];
    for (index, expected) in (0..).zip(expected) {
        assert_eq!(linker.one(user, "tests", &[index]), expected, "{index}");
    }
    assert_eq!(linker.one(user, "read", &[]), 2 + 3 + 6);
    let reason = linker.trap(user, "wrong", &[]);
    assert_eq!(reason.to_string(), "cast failure");
}

#[test]
fn a_subtype_that_only_its_maker_knows_is_one() {
    let mut linker = Linker::new();
    let user = linker.add(
        "user",
        r#"(module (type $a (sub (struct (field i32))))
            (table (export "table") 3 anyref)
            (func (export "is") (param i32) (result i32)
                (ref.test (ref $a) (table.get (local.get 0)))))"#,
    );
    let maker = linker.add(
        "maker",
        r#"(module (type $a (sub (struct (field i32)))) (type $b (sub $a (struct (field i32) (field v128))))
            (type $no (struct (field i32) (field v128)))
            (import "user" "table" (table 3 anyref))
            (func (export "put")
                (table.set (i32.const 0) (struct.new_default $a))
                (table.set (i32.const 1) (struct.new_default $b))
                (table.set (i32.const 2) (struct.new_default $no))))"#,
    );
    linker.call(maker, "put", &[]).unwrap();
    let is: Vec<u64> = (0..3).map(|at| linker.one(user, "is", &[at])).collect();
    assert_eq!(is, [1, 1, 0]);
}

#[test]
fn who_lengthens_the_heap_is_charged_for_it() {
    let (mut linker, _) = lists(support::engine());
    let limits = |memory_bytes| Limits {
        memory_bytes,
        ..Limits::default()
    };
    let text = r#"(module
        (type $node (struct (field i64) (field (ref null $node))))
        (import "lists" "lists" (memory 0)))"#;
    assert!(linker.try_add(text).is_err());
    // The code that makes the objects is that of the instance that exports it.
    let maker = linker.try_add_limited(LISTS, limits(4 << 20)).unwrap();
    linker
        .imports
        .define_instance("lists", &linker.store, maker);
    let user = linker.try_add(USER).unwrap();
    linker.call(user, "local", &[10_000, 1_000_000]).unwrap();
    let reason = linker.trap(user, "local", &[1_000_000, 1]);
    let Reason::Limit(Limit::Memory { limit_bytes, .. }) = reason else {
        panic!("{reason:?}");
    };
    assert_eq!(limit_bytes, 4 << 20);
    // What is free by now is there for it, and for others. A word on the stack may look like a reference to the long list and keep it for a
    // call, but not for one after the other.
    let mut tries = (0..5).map(|_| linker.call(user, "local", &[10_000, 1_000_000]));
    assert!(tries.any(|tried| tried.is_ok()));
    assert!(linker.store.instance(maker).peak_memory_bytes() <= 4 << 20);
    let little = linker.try_add_limited(LISTS, limits(0)).unwrap();
    linker
        .imports
        .define_instance("lists", &linker.store, little);
    let user = linker.try_add(USER).unwrap();
    linker.call(user, "local", &[10_000, 100_000]).unwrap();
}

#[test]
fn references_to_objects_that_the_host_makes_up_are_refused() {
    let mut linker = Linker::new();
    let id = linker.add(
        "taker",
        r#"(module (type $s (struct (field i64)))
            (global (export "any") (mut anyref) (ref.null any))
            (func (export "make") (result (ref $s)) (struct.new $s (i64.const 5)))
            (func (export "take") (param (ref null $s)) (result i64) (struct.get $s 0 (local.get 0)))
            (func (export "take_any") (param anyref)) (func (export "take_exn") (param exnref))
            (func (export "take_extern") (param externref)))"#,
    );
    let made = linker.one(id, "make", &[]);
    for (name, word) in [
        ("take", made),
        ("take_any", made),
        ("take_any", 8),
        ("take_exn", 8),
        ("take_extern", 1 << 63 | made),
        ("take_extern", 1 << 62),
    ] {
        let call = std::panic::AssertUnwindSafe(|| linker.call(id, name, &[word]));
        assert!(std::panic::catch_unwind(call).is_err(), "{name} {word:#x}");
    }
    let set = std::panic::AssertUnwindSafe(|| linker.store.set_global(id, "any", &[made]));
    assert!(std::panic::catch_unwind(set).is_err());
    linker.call(id, "take_extern", &[8]).unwrap();
}

#[test]
fn an_instance_that_refers_to_objects_is_not_frozen_and_one_that_does_not_is() {
    let (mut linker, lists) = lists(support::engine());
    let user = linker.add("user", USER);
    linker.call(user, "keep", &[10]).unwrap();
    for id in [lists, user] {
        let refused = Image::capture_linked(&mut linker.store, id, &image_file());
        assert!(matches!(refused, Err(ImageError::HasObjects)));
    }
    linker.call(user, "forget", &[]).unwrap();
    let image = freeze(&mut linker, user);
    let restored = restore(&mut linker, &image).unwrap();
    // It works on the same heap.
    assert_eq!(
        linker.one(restored, "local", &[100, 100_000]),
        triangle(100)
    );
    linker.call(restored, "keep", &[20]).unwrap();
    let kept = linker.call(restored, "kept", &[]).unwrap();
    assert_eq!(kept, [triangle(20); 4]);

    // Numbers and what is the host's are no objects.
    let words = linker.add(
        "words",
        r#"(module (global $any (mut anyref) (ref.i31 (i32.const 3)))
            (global $extern (mut externref) (ref.null extern)) (table 2 externref)
            (func (export "set") (param externref)
                (global.set $extern (local.get 0)) (table.set (i32.const 1) (local.get 0))
                (global.set $any (any.convert_extern (local.get 0))))
            (func (export "get") (result externref externref externref)
                (global.get $extern) (table.get (i32.const 1)) (extern.convert_any (global.get $any))))"#,
    );
    linker.call(words, "set", &[64]).unwrap();
    let image = freeze(&mut linker, words);
    let restored = restore(&mut linker, &image).unwrap();
    assert_eq!(linker.call(restored, "get", &[]).unwrap(), [64; 3]);
}

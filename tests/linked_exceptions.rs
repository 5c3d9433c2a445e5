//! Tags and exceptions between instances of a store.

#[path = "support/linker.rs"]
mod linker;
mod support;

use dormouse::{
    Caller, Engine, EngineOptions, Exception, InstanceId, Progress, Reason, RestoreError,
};
use linker::{Linker, freeze, restore};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const THROWER: &str = r#"(module
    (tag $t (export "t") (param i64))
    (tag $other (export "other") (param i64))
    (func (export "throw") (param i64) (throw $t (local.get 0)))
    (func (export "throw_other") (param i64) (throw $other (local.get 0))))"#;

/// Imports a tag and two functions; answers a number for where a throw of each ended.
const CATCHER: &str = r#"(module
    (import "a" "t" (tag $t (param i64)))
    (import "a" "throw" (func $throw (param i64)))
    (import "b" "throw" (func $throw_b (param i64)))
    (tag $own (param i64))
    (func (export "a") (param i64) (result i64)
        (block $caught (result i64)
            (block $wrong (result i64)
                (try_table (catch $own $wrong) (catch $t $caught) (call $throw (local.get 0)))
                (unreachable))
            (drop) (i64.const -1)))
    (func (export "b") (param i64) (result i64)
        (block $caught (result i64)
            (try_table (catch $own $caught) (catch $t $caught) (call $throw_b (local.get 0)))
            (unreachable))))"#;

fn uncaught(linker: &mut Linker, id: InstanceId, name: &str, arguments: &[u64]) -> Exception {
    match linker.trap(id, name, arguments) {
        Reason::UncaughtException(exception) => exception,
        reason => panic!("{reason:?}"),
    }
}

#[test]
fn an_imported_tag_is_the_exporters_and_that_of_another_instance_is_not() {
    let mut linker = Linker::new();
    let a = linker.add("a", THROWER);
    let b = linker.add("b", THROWER);
    let catcher = linker.add("catcher", CATCHER);
    assert_eq!(linker.one(catcher, "a", &[7]), 7);
    let exception = uncaught(&mut linker, catcher, "b", &[8]);
    assert_eq!(exception.words, [8]);
    assert_eq!(exception.name.as_deref(), Some("t"));
    assert_eq!(Some(exception.tag), linker.store.tag(b, "t"));
    let tags = [(a, "t"), (b, "t"), (a, "other"), (b, "other")];
    let tags: Vec<u32> = tags
        .map(|(id, name)| linker.store.tag(id, name).unwrap())
        .into();
    assert!((0..4).all(|at| !tags[at + 1..].contains(&tags[at])));
    assert_eq!(linker.store.tag(a, "throw"), None);
    // Passed on by another instance, and defined by name, it is the same.
    let passing = r#"(module (import "a" "t" (tag $t (param i64))) (export "again" (tag $t)))"#;
    let passing = linker.add("passing", passing);
    assert_eq!(linker.store.tag(passing, "again"), Some(tags[0]));
    let export = linker.store.export(passing, "again").unwrap();
    linker.imports.define("a", "t", export);
    let again = linker.add("catcher", CATCHER);
    assert_eq!(linker.one(again, "a", &[9]), 9);
}

#[test]
fn tags_of_other_types_are_refused() {
    let mut linker = Linker::new();
    linker.add("a", THROWER);
    for (import, problem) in [
        (r#""a" "t" (tag (param i32))"#, "incompatible import type"),
        (r#""a" "t" (tag)"#, "incompatible import type"),
        (
            r#""a" "throw" (tag (param i64))"#,
            "incompatible import type",
        ),
        (r#""a" "t" (func (param i64))"#, "incompatible import type"),
        (r#""a" "none" (tag (param i64))"#, "unknown import"),
    ] {
        let refused = linker.try_add(&format!("(module (import {import}))"));
        let error = refused.err().unwrap().to_string();
        assert!(error.contains(problem), "{import}: {error}");
    }
}

#[test]
fn values_of_every_kind_cross_as_numbers_and_references() {
    let mut linker = Linker::new();
    linker.add(
        "thrower",
        r#"(module
            (type $pair (struct (field i32) (field (mut i64))))
            (type $f (func (result i32)))
            (tag $t (export "t")
                (param i32 i64 f32 f64 v128 (ref $f) (ref $pair) externref i31ref exnref))
            (tag $inner (export "inner") (param i32))
            (global $state (mut i32) (i32.const 40))
            (func $next (type $f)
                (global.set $state (i32.add (global.get $state) (i32.const 1))) (global.get $state))
            (elem declare func $next)
            (func (export "throw") (param externref)
                (throw $t (i32.const -1) (i64.const -2) (f32.const 1.5) (f64.const -2.5)
                    (v128.const i64x2 3 4) (ref.func $next) (struct.new $pair (i32.const 5) (i64.const 6))
                    (local.get 0) (ref.i31 (i32.const 7)) (call $exception)))
            (func $exception (result exnref)
                (block $h (result exnref)
                    (try_table (catch_all_ref $h) (throw $inner (i32.const 99)))
                    (unreachable))))"#,
    );
    let catcher = linker.add(
        "catcher",
        r#"(module
            (type $pair (struct (field i32) (field (mut i64))))
            (type $f (func (result i32)))
            (import "thrower" "t" (tag $t
                (param i32 i64 f32 f64 v128 (ref $f) (ref $pair) externref i31ref exnref)))
            (import "thrower" "inner" (tag $inner (param i32)))
            (import "thrower" "throw" (func $throw (param externref)))
            (func (export "run") (param externref)
                (result i32 i64 f32 f64 v128 i32 i64 externref i32 i32)
                (local $e exnref) (local $i i31ref) (local $x externref) (local $p (ref null $pair))
                (local $f (ref null $f))
                (block $h (result i32 i64 f32 f64 v128 (ref $f) (ref $pair) externref i31ref exnref)
                    (try_table (catch $t $h) (call $throw (local.get 0)))
                    (unreachable))
                (local.set $e) (local.set $i) (local.set $x) (local.set $p) (local.set $f)
                (call_ref $f (local.get $f))
                (struct.get $pair 1 (local.get $p))
                (local.get $x)
                (i31.get_u (local.get $i))
                (block $inner_caught (result i32)
                    (try_table (catch $inner $inner_caught) (throw_ref (local.get $e)))
                    (unreachable))))"#,
    );
    let expected = |state: u64| {
        vec![
            u32::MAX.into(),
            -2i64 as u64,
            1.5f32.to_bits().into(),
            (-2.5f64).to_bits(),
            3,
            4,
            state,
            6,
            1234,
            7,
            99,
        ]
    };
    assert_eq!(linker.call(catcher, "run", &[1234]).unwrap(), expected(41));
    assert_eq!(linker.call(catcher, "run", &[1234]).unwrap(), expected(42));
}

/// Each instance calls the next, so many times to and fro; in the innermost call the first throws.
const LINK: &str = r#"(module
    (import "first" "t" (tag $t (param i64 i64)))
    (import "first" "enter" (func $enter (param i32 i64) (result i64)))
    (func $between (param i32 i64) (result i64)
        (i64.add (i64.const 1) (call $enter (local.get 0) (local.get 1))))
    (func (export "plain") (param i32 i64) (result i64) (call $between (local.get 0) (local.get 1)))
    (func (export "tail") (param i32 i64) (result i64) (return_call $enter (local.get 0) (local.get 1)))
    (func (export "rethrow") (param i32 i64) (result i64)
        (block $h (result exnref)
            (try_table (catch_all_ref $h)
                (return (call $between (local.get 0) (local.get 1))))
            (unreachable))
        (throw_ref))
    (func (export "change") (param i32 i64) (result i64)
        (block $h (result i64 i64)
            (try_table (catch $t $h)
                (return (call $between (local.get 0) (local.get 1))))
            (unreachable))
        (throw $t (i64.add (i64.const 1)))))"#;

const FIRST: &str = r#"(module
    (type $link (func (param i32 i64) (result i64)))
    (tag $t (export "t") (param i64 i64))
    (table (export "links") 4 funcref)
    (func $enter (export "enter") (type $link)
        (if (i32.eqz (local.get 0)) (then (throw $t (local.get 1) (i64.const 100))))
        (call_indirect (type $link)
            (i32.sub (local.get 0) (i32.const 1)) (local.get 1)
            (i32.and (local.get 0) (i32.const 3))))
    (func (export "run") (param i32 i64) (result i64 i64)
        (block $h (result i64 i64)
            (try_table (catch $t $h) (drop (call $enter (local.get 0) (local.get 1))))
            (unreachable))))"#;

#[test]
fn exceptions_are_caught_kept_and_thrown_again_at_any_depth_of_calls_between_instances() {
    let mut linker = Linker::new();
    let first = linker.add("first", FIRST);
    linker.add("second", LINK);
    linker.add("third", LINK);
    linker.add(
        "filler",
        r#"(module (import "first" "links" (table 4 funcref))
            (type $link (func (param i32 i64) (result i64)))
            (import "second" "plain" (func $0 (type $link)))
            (import "third" "tail" (func $1 (type $link)))
            (import "second" "rethrow" (func $2 (type $link)))
            (import "third" "change" (func $3 (type $link)))
            (elem (i32.const 0) $0 $1 $2 $3))"#,
    );
    for depth in [0u64, 1, 2, 3, 4, 5, 8, 100, 1000] {
        let changed = (1..=depth).filter(|at| at & 3 == 3).count() as u64;
        let caught = linker.call(first, "run", &[depth, 55]).unwrap();
        assert_eq!(caught, [55, 100 + changed], "{depth} calls deep");
    }
}

#[test]
fn uncaught_in_every_instance_it_ends_the_call_with_its_tag_and_the_functions_it_left() {
    let mut linker = Linker::new();
    let a = linker.add("a", THROWER);
    let caller = linker.add(
        "caller",
        r#"(module (import "a" "throw_other" (func $throw (param i64)))
            (func $outer (export "run") (param i64) (call $throw (local.get 0))))"#,
    );
    let function = linker.store.function(caller, "run").unwrap();
    let trap = linker.store.call(caller, function, &[3]).unwrap_err();
    let names: Vec<_> = trap
        .backtrace
        .iter()
        .filter_map(|at| at.name.clone())
        .collect();
    assert_eq!(names, ["throw_other", "outer"], "{trap}");
    let Reason::UncaughtException(exception) = trap.reason else {
        panic!("{trap}");
    };
    assert_eq!(Some(exception.tag), linker.store.tag(a, "other"));
    assert_eq!(
        (exception.name.as_deref(), &exception.words[..]),
        (Some("other"), &[3][..])
    );
}

/// A host function runs on its guest's stack and can run no other guest there; so no exception comes to one.
#[test]
fn no_exception_passes_a_host_function() {
    let inner = Rc::new(RefCell::new(Linker::new()));
    let a = inner.borrow_mut().add("a", THROWER);
    let mut linker = Linker::new();
    let of_host = inner.clone();
    linker
        .imports
        .host
        .define("host", "call", move |_: &mut Caller<'_>| {
            of_host.borrow_mut().call(a, "throw", &[1]).unwrap();
            Ok(())
        });
    let outer = linker.add(
        "outer",
        r#"(module (import "host" "call" (func $call))
            (func (export "run") (result i32)
                (block $h (try_table (catch_all $h) (call $call)) (return (i32.const 0)))
                (i32.const 1)))"#,
    );
    let reason = linker.trap(outer, "run", &[]);
    assert!(
        matches!(&reason, Reason::HostPanic(message) if message.contains("another guest")),
        "{reason:?}"
    );
    inner.borrow_mut().store.stop(a, Reason::Exit(0));
    let exception = uncaught(&mut inner.borrow_mut(), a, "throw", &[5]);
    assert_eq!(exception.words, [5]);
}

/// Throws one tag or the other, again and again, with values that belong together.
const SHARED: &str = r#"(module
    (tag $long (export "long") (param i64 i64 i64 i64))
    (tag $short (export "short") (param i64))
    (func (export "throw") (param $which i32) (param $value i64)
        (if (local.get $which)
            (then (throw $long (local.get $value) (local.get $value) (local.get $value) (local.get $value))))
        (throw $short (local.get $value))))"#;

const SHARING: &str = r#"(module
    (import "shared" "long" (tag $long (param i64 i64 i64 i64)))
    (import "shared" "short" (tag $short (param i64)))
    (import "shared" "throw" (func $throw (param i32 i64)))
    (func (export "run") (param $which i32) (param $times i64) (result i64)
        (local $sum i64) (local $a i64) (local $b i64) (local $c i64)
        (loop $again
            (block $done (result i64)
                (block $many (result i64 i64 i64 i64)
                    (block $one (result i64)
                        (try_table (catch $long $many) (catch $short $one)
                            (call $throw (local.get $which) (local.get $times)))
                        (unreachable))
                    (if (local.get $which) (then (unreachable)))
                    (br $done))
                (local.set $a) (local.set $b) (local.set $c)
                (if (i64.ne (local.get $a) (local.get $b)) (then (unreachable)))
                (if (i64.ne (local.get $a) (local.get $c)) (then (unreachable)))
                (if (i32.eqz (local.get $which)) (then (unreachable))))
            (local.set $sum (i64.add (local.get $sum)))
            (br_if $again
                (i32.wrap_i64 (local.tee $times (i64.sub (local.get $times) (i64.const 1))))))
        (local.get $sum)))"#;

#[test]
fn calls_that_throw_in_one_instance_keep_their_exceptions_apart() {
    let engine = Engine::new(&EngineOptions {
        tick: Duration::from_micros(50),
        ..EngineOptions::default()
    })
    .unwrap();
    let mut linker = Linker::on(engine);
    linker.add("shared", SHARED);
    let calls: Vec<InstanceId> = (0..4).map(|_| linker.try_add(SHARING).unwrap()).collect();
    let run = linker.store.function(calls[0], "run").unwrap();
    let mut preempted = 0;
    for round in 1..2000u64 {
        let times = 20_000 + round % 7;
        for (which, id) in (0..).zip(&calls) {
            linker.store.begin(*id, run, &[which & 1, times]).unwrap();
        }
        let mut waiting = calls.clone();
        while !waiting.is_empty() {
            waiting.retain(|id| match linker.store.resume(*id) {
                Progress::Returned(words) => {
                    assert_eq!(words, [times * (times + 1) / 2]);
                    false
                }
                Progress::Preempted => {
                    preempted += 1;
                    true
                }
                other => panic!("{other:?}"),
            });
        }
        if preempted > 500 {
            return;
        }
    }
    panic!("preempted {preempted} times only");
}

#[test]
fn an_instance_with_more_values_to_throw_comes_while_a_call_is_suspended() {
    let mut linker = Linker::new();
    linker
        .imports
        .host
        .define("host", "wait", |caller: &mut Caller<'_>| {
            caller.suspend();
            Ok(())
        });
    let waiting = linker.add(
        "waiting",
        r#"(module (import "host" "wait" (func $wait)) (table (export "table") 1 funcref)
            (func (export "run") (result i32)
                (call $wait)
                (block $h (try_table (catch_all $h) (call_indirect (i32.const 0))) (return (i32.const 0)))
                (i32.const 1)))"#,
    );
    let run = linker.store.function(waiting, "run").unwrap();
    linker.store.begin(waiting, run, &[]).unwrap();
    assert_eq!(linker.go_on(waiting), Progress::Blocked);
    let (types, values) = (
        "v128 ".repeat(1000),
        "(v128.const i64x2 -1 -1) ".repeat(1000),
    );
    linker.add(
        "late",
        &format!(
            r#"(module (import "waiting" "table" (table 1 funcref)) (tag $t (param {types}))
                (func $throw {values} (throw $t)) (elem (i32.const 0) $throw))"#
        ),
    );
    assert_eq!(linker.go_on(waiting), Progress::Returned(vec![1]));
}

#[test]
fn a_restored_instance_has_tags_of_its_own_and_imports_those_it_is_given() {
    let mut linker = Linker::new();
    let a = linker.add("a", THROWER);
    linker.add("b", THROWER);
    let catcher = linker.add("catcher", CATCHER);
    let image = freeze(&mut linker, a);
    let restored = restore(&mut linker, &image).unwrap();
    assert_ne!(linker.store.tag(a, "t"), linker.store.tag(restored, "t"));
    let image = freeze(&mut linker, catcher);
    linker.imports.define_instance("a", &linker.store, restored);
    let again = restore(&mut linker, &image).unwrap();
    assert_eq!(linker.one(again, "a", &[4]), 4);
    assert_eq!(linker.one(catcher, "a", &[5]), 5);
    // The function of one instance with the tag of another: not caught.
    let export = linker.store.export(a, "t").unwrap();
    linker.imports.define("a", "t", export);
    let mixed = restore(&mut linker, &image).unwrap();
    let exception = uncaught(&mut linker, mixed, "a", &[6]);
    assert_eq!(Some(exception.tag), linker.store.tag(restored, "t"));
    // In another store there is no such tag.
    let mut other = Linker::on(linker.engine.clone());
    assert!(matches!(
        restore(&mut other, &image),
        Err(RestoreError::Link(_))
    ));
}

//! Tail calls: the frame of the caller is gone, whatever the callee takes, and nothing else is.

mod support;

use dormouse::{Engine, EngineOptions, Imports, Progress, Reason, Stop, TrapKind};
use std::time::Duration;
use support::{call, engine, freeze, fresh, instance, linked, restore};

/// Functions that call each other in tail position with arguments in registers only, some on the stack, and many on the stack; their
/// results are more than registers hold.
fn chain() -> String {
    let results = "i64 ".repeat(20);
    let few = "(param i64 i64)";
    let many = format!("(param i64 i64 {})", "i64 f64 i32 ".repeat(12));
    let more_arguments: String = (0..12)
        .map(|index| format!("(i64.const {index}) (f64.const {index}) (i32.const {index}) "))
        .collect();
    let give: String = (0..19)
        .map(|index| format!("(i64.add (local.get 1) (i64.const {index})) "))
        .collect();
    // What arrived in the last parameters is part of the sum, so that an argument in a wrong place is seen.
    format!(
        r#"(module
            (type $few (func {few} (result {results})))
            (type $many (func {many} (result {results})))
            (table funcref (elem $few $many))
            (func $few (export "direct") (type $few)
                (if (i64.eqz (local.get 0)) (then (return {give} (i64.const -1))))
                (return_call $many
                    (i64.sub (local.get 0) (i64.const 1)) (i64.add (local.get 1) (i64.const 1))
                    {more_arguments}))
            (func $many (type $many)
                (return_call_indirect (type $few)
                    (local.get 0)
                    (i64.add (local.get 1) (i64.extend_i32_s (i32.add (local.get 37) (local.get 4))))
                    (i32.const 0)))
            (func $start (export "indirect") (type $few)
                (return_call_indirect (type $many) (local.get 0) (local.get 1) {more_arguments} (i32.const 1)))
            (func (export "called") (result i64) (local i64)
                ;; The caller of a chain of tail calls finds its own frame as it was.
                (local.set 0 (i64.const 1234))
                (call $few (i64.const 1000) (i64.const 0)) {drops}
                (local.get 0)))"#,
        drops = "drop ".repeat(20)
    )
}

fn results(sum: u64) -> Vec<u64> {
    (0..19).map(|index| sum + index).chain([u64::MAX]).collect()
}

#[test]
fn a_million_tail_calls_take_no_stack() {
    let engine = engine();
    let mut original = instance(&engine, &chain());
    let image = freeze(&mut original);
    for mut instance in [original, restore(&image)] {
        // Each turn adds one, and the 11 and the 0 that `$many` was given.
        assert_eq!(
            call(&mut instance, "direct", &[1_000_000, 5]).unwrap(),
            results(12_000_005)
        );
        assert_eq!(
            call(&mut instance, "indirect", &[1000, 5]).unwrap(),
            results(12_000 + 11 + 5)
        );
        assert_eq!(call(&mut instance, "called", &[]).unwrap(), [1234]);
    }
}

#[test]
fn preempted_in_tail_calls() {
    let options = EngineOptions {
        tick: Duration::from_micros(100),
        ..EngineOptions::default()
    };
    let engine = Engine::new(&options).unwrap();
    let linked = linked(&engine, &chain(), &Imports::new());
    let direct = linked.module().function("direct").unwrap();
    let mut instances = [fresh(&linked), fresh(&linked)];
    for instance in &mut instances {
        instance.begin(direct, &[2_000_000, 0]).unwrap();
    }
    let mut running = [true; 2];
    let mut preemptions = 0;
    while running != [false; 2] {
        for (instance, running) in instances.iter_mut().zip(&mut running) {
            if !*running {
                continue;
            }
            match instance.resume() {
                Progress::Preempted => preemptions += 1,
                Progress::Returned(words) => {
                    assert_eq!(words, results(24_000_000));
                    *running = false;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(preemptions > 10, "{preemptions} preemptions");
}

#[test]
fn stack_limit_counts_the_arguments_of_tail_calls() {
    let engine = engine();
    let parameters = "i64 ".repeat(500);
    let arguments = "(i64.const 7) ".repeat(500);
    let mut instance = instance(
        &engine,
        &format!(
            r#"(module
                (func $wide (param {parameters}) (result i64) (i64.add (call $deep (i64.const 1)) (local.get 499)))
                (func $deep (export "deep") (param i64) (result i64) (return_call $wide {arguments})))"#
        ),
    );
    for _ in 0..3 {
        let trap = call(&mut instance, "deep", &[0]).unwrap_err();
        assert_eq!(trap.reason, Reason::Trap(TrapKind::StackOverflow));
    }
}

#[test]
fn backtraces_name_who_is_still_there() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define("host", "refuse", |_: &mut dormouse::Caller, _: i32| {
        Err::<i32, _>(Stop::error("no"))
    });
    let linked = linked(
        &engine,
        r#"(module
            (import "host" "refuse" (func $refuse (param i32) (result i32)))
            (table funcref (elem $refuse))
            (func $trap (result i32) unreachable)
            (func $gone (result i32) (return_call $trap))
            (func $leave (result i32) (return_call $refuse (i32.const 1)))
            (func $leave_by_table (result i32)
                (return_call_indirect (param i32) (result i32) (i32.const 1) (i32.const 0)))
            (func (export "trap") (result i32) (i32.add (call $gone) (i32.const 1)))
            (func (export "host") (result i32) (i32.add (call $leave) (i32.const 1)))
            (func (export "host_by_table") (result i32) (i32.add (call $leave_by_table) (i32.const 1)))
            (func (export "null") (result i32)
                (return_call_indirect (result i32) (i32.const 1)))
            (func (export "other_type") (result i32)
                (return_call_indirect (result i32) (i32.const 0))))"#,
        &imports,
    );
    let mut instance = fresh(&linked);
    let mut end = |name: &str| {
        let trap = call(&mut instance, name, &[]).unwrap_err();
        let names: Vec<String> = trap
            .backtrace
            .into_iter()
            .map(|frame| frame.name.unwrap())
            .collect();
        (trap.reason, names)
    };
    let unreachable = Reason::Trap(TrapKind::Unreachable);
    assert_eq!(
        end("trap"),
        (unreachable, vec!["trap".into(), "trap".into()])
    );
    for name in ["host", "host_by_table"] {
        let (reason, names) = end(name);
        assert_eq!(reason, Reason::Host("no".to_owned()));
        assert_eq!(names.last().unwrap(), name);
        assert!(
            !names.iter().any(|name| name.starts_with("leave")),
            "{names:?}"
        );
    }
    assert_eq!(end("null").0, Reason::Trap(TrapKind::UndefinedElement));
    assert_eq!(end("other_type").0, Reason::Trap(TrapKind::BadSignature));
}

//! Exceptions: that the right handler gets the right values, with everything it uses as it was, and that nothing else is
//! caught, leaked or disturbed.

mod support;

use dormouse::compile::{CompileError, CompileOptions, compile};
use dormouse::{
    Caller, Engine, EngineOptions, Imports, Instance, Limit, Limits, Linked, Progress, Reason,
    Stop, TrapKind,
};
use std::time::Duration;
use support::{call, engine, freeze, fresh, instance, linked, module, restore};

fn limited(linked: &Linked, memory_bytes: u64) -> Instance {
    let limits = Limits {
        memory_bytes,
        ..Limits::default()
    };
    Instance::new(linked, limits, Box::new(())).unwrap()
}

#[test]
fn every_clause_catches_what_it_says_and_the_first_that_does_wins() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
          (tag $a) (tag $b (param i32 i64)) (tag $c (param f32 f64 v128)) (tag $d)
          (func $throw (param i32)
            (if (i32.eq (local.get 0) (i32.const 0)) (then (throw $a)))
            (if (i32.eq (local.get 0) (i32.const 1))
              (then (throw $b (i32.const 7) (i64.const -8))))
            (if (i32.eq (local.get 0) (i32.const 2))
              (then (throw $c (f32.const 1.5) (f64.const 2.5) (v128.const i64x2 3 4))))
            (if (i32.eq (local.get 0) (i32.const 3)) (then (throw $d))))
          (func (export "catch") (param i32) (result i64)
            (local $i i64) (local $f f32) (local $d f64) (local $v v128)
            (block $all
              (block $c (result f32 f64 v128 exnref)
                (block $b (result i32 i64)
                  (block $a
                    (try_table (catch $a $a) (catch_ref $c $c) (catch $b $b) (catch_all $all)
                        (catch $a $all)
                      (call $throw (local.get 0)))
                    (return (i64.const -1)))
                  (return (i64.const 100)))
                (local.set $i)
                (i64.extend_i32_s)
                (return (i64.add (local.get $i))))
              (drop) (local.set $v) (local.set $d) (local.set $f)
              (return (i64.add
                (i64.add (i64.trunc_f32_s (f32.mul (local.get $f) (f32.const 2)))
                  (i64.trunc_f64_s (f64.mul (local.get $d) (f64.const 2))))
                (i64x2.extract_lane 1 (local.get $v)))))
            (i64.const 200)))"#,
    );
    for (argument, expected) in [(0, 100), (1, -1), (2, 3 + 5 + 4), (3, 200), (4, -1)] {
        let words = call(&mut instance, "catch", &[argument]).unwrap();
        assert_eq!(words[0] as i64, expected, "{argument}");
    }
}

#[test]
fn exceptions_that_no_clause_names_go_to_the_next_handler_outwards() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
          (tag $a (param i32)) (tag $b (param i32))
          (func $throw (param i32 i32)
            (if (local.get 0) (then (throw $a (local.get 1)))) (throw $b (local.get 1)))
          (func $inner (param i32 i32) (result i32)
            (block $h (result i32)
              (try_table (result i32) (catch $b $h)
                (call $throw (local.get 0) (local.get 1)) (unreachable))
              (return))
            (i32.add (i32.const 1000)))
          (func (export "outer") (param i32 i32) (result i32)
            (block $h (result i32)
              (try_table (result i32) (catch $a $h)
                (try_table (result i32) (catch $b $h)
                  (try_table (result i32)
                    (call $inner (local.get 0) (local.get 1)))))
              (return))
            (i32.add (i32.const 2000)))
          (func (export "same function") (param i32) (result i32)
            (block $outer (result i32)
              (try_table (result i32) (catch $a $outer)
                (block $b (result i32)
                  (try_table (result i32) (catch $b $b)
                    (if (local.get 0) (then (throw $a (i32.const 1))))
                    (throw $b (i32.const 2))))
                (i32.add (i32.const 10)))
              (return))
            (i32.add (i32.const 20))))"#,
    );
    assert_eq!(call(&mut instance, "outer", &[0, 5]).unwrap(), [1005]);
    assert_eq!(call(&mut instance, "outer", &[1, 5]).unwrap(), [2005]);
    assert_eq!(call(&mut instance, "same function", &[0]).unwrap(), [12]);
    assert_eq!(call(&mut instance, "same function", &[1]).unwrap(), [21]);
}

/// Everything a handler uses must be where it looks for it: more than the registers hold, of every kind, changed
/// between one call and the next.
#[test]
fn locals_and_operands_of_every_kind_survive_a_throw() {
    let kinds = [
        ("i32", "i32.add", "i32.const"),
        ("i64", "i64.add", "i64.const"),
        ("f32", "f32.add", "f32.const"),
        ("f64", "f64.add", "f64.const"),
        ("v128", "i32x4.add", "v128.const i32x4 0 0 0"),
    ];
    let count = 12;
    let (mut locals, mut first, mut second) = (String::new(), String::new(), String::new());
    for (ty, add, constant) in kinds {
        for number in 0..count {
            let name = format!("${ty}_{number}");
            locals += &format!("(local {name} {ty})");
            first +=
                &format!("(local.set {name} ({add} (local.get ${ty}) ({constant} {number})))\n");
            second += &format!("(local.set {name} ({add} (local.get {name}) ({constant} 100)))\n");
        }
        locals += &format!("(local ${ty} {ty})");
    }
    let mut sum = String::from("(local.set $sum (f64.const 0))");
    for (ty, _, _) in kinds {
        for number in 0..count {
            let value = format!("(local.get ${ty}_{number})");
            let value = match ty {
                "i32" => format!("(f64.convert_i32_s {value})"),
                "i64" => format!("(f64.convert_i64_s {value})"),
                "f32" => format!("(f64.promote_f32 {value})"),
                "f64" => value,
                _ => format!("(f64.convert_i32_s (i32x4.extract_lane 3 {value}))"),
            };
            sum += &format!("(local.set $sum (f64.add (local.get $sum) {value}))\n");
        }
    }
    let engine = engine();
    let mut instance = instance(
        &engine,
        &format!(
            r#"(module
              (tag $t (param i32))
              (func $maybe (param i32 i32)
                (if (i32.eq (local.get 0) (local.get 1)) (then (throw $t (i32.const 1)))))
              (func (export "run") (param $when i32) (result f64)
                {locals} (local $sum f64)
                (local.set $i32 (i32.load8_u (i32.const 0)))
                {first}
                (f64.const 0.25)
                (block $h (result i32)
                  (try_table (catch $t $h)
                    (call $maybe (local.get $when) (i32.const 0))
                    {second}
                    (call $maybe (local.get $when) (i32.const 1))
                    {second}
                    (call $maybe (local.get $when) (i32.const 2)))
                  (i32.const 0))
                {sum}
                (f64.convert_i32_s)
                (f64.add (local.get $sum))
                (f64.add))
              (memory 1))"#
        ),
    );
    let each = f64::from((0..count).sum::<i32>()) * 5.0;
    let hundreds = 100.0 * f64::from(count) * 5.0;
    for (when, passes, caught) in [(0, 0.0, 1.0), (1, 1.0, 1.0), (2, 2.0, 1.0), (3, 2.0, 0.0)] {
        let words = call(&mut instance, "run", &[when]).unwrap();
        let expected = each + passes * hundreds + caught + 0.25;
        assert_eq!(f64::from_bits(words[0]), expected, "{when}");
    }
}

/// The callee gives arguments on the stack back; a callee it calls in its place may have more of them.
#[test]
fn arguments_and_results_on_the_stack_leave_it_as_it_was() {
    let types = "i32 i64 f32 f64 v128 ".repeat(10);
    let all: String = (0..50)
        .map(|index| format!("(local.get {index})"))
        .collect();
    let constants: String = (0..10)
        .map(|n| {
            format!(
                "(i32.const {n}) (i64.const {n}) (f32.const {n}) (f64.const {n}) (v128.const i64x2 {n} {n})"
            )
        })
        .collect();
    let drops = "(drop) ".repeat(49);
    let engine = engine();
    let mut instance = instance(
        &engine,
        &format!(
            r#"(module
              (type $many (func (param {types}) (result {types})))
              (tag $t (param {types}))
              (table funcref (elem $return $throw $tail $deep $shrink))
              (func $return (type $many) {all})
              (func $throw (type $many) (throw $t {all}))
              (func $tail (type $many) (return_call $more (i32.const 1) (i64.const 2) {all}))
              (func $deep (type $many) (call $tail {all}))
              (func $shrink (type $many) (return_call $fewer (local.get 0) (local.get 1)))
              (func $fewer (param i32 i64) (result {types})
                (call $throw {constants}))
              (func $more (param i32 i64 {types}) (result {types})
                (throw $t {shifted}))
              (func $try (param $which i32) (result i32) (local $guard i64)
                (local.set $guard (i64.const 0x1122334455667788))
                (block $h (result {types})
                  (try_table (result {types}) (catch $t $h)
                    (call_indirect (type $many) {constants} (local.get $which)))
                  {drops} (drop)
                  (return (select (i32.const 1) (i32.const -1)
                    (i64.eq (local.get $guard) (i64.const 0x1122334455667788)))))
                {drops}
                (if (i32.ne (i32.const 0)) (then (return (i32.const -2))))
                (select (i32.const 2) (i32.const -1)
                  (i64.eq (local.get $guard) (i64.const 0x1122334455667788))))
              (func (export "run") (param $which i32) (param $times i32) (result i32) (local $sum i32)
                (loop $again
                  (local.set $sum (i32.add (local.get $sum) (call $try (local.get $which))))
                  (br_if $again
                    (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
                (local.get $sum)))"#,
            shifted = (2..52)
                .map(|index| format!("(local.get {index})"))
                .collect::<String>(),
        ),
    );
    // So often that a few bytes of drift would reach the end of the stack.
    for (which, expected) in [(0, 1), (1, 2), (2, 2), (3, 2), (4, 2)] {
        let words = call(&mut instance, "run", &[which, 20_000]).unwrap();
        assert_eq!(words, [expected * 20_000], "{which}");
    }
}

#[test]
fn an_exception_crosses_deep_recursion() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
          (tag $t (param i32)) (tag $other)
          (func $down (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 42))))
            (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
          (func $guarded (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 43))))
            (block $h
              (try_table (catch $other $h)
                (return (i32.add (i32.const 1) (call $guarded (i32.sub (local.get 0) (i32.const 1)))))))
            (unreachable))
          (func $cleaning (param i32) (result i32) (local exnref)
            (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 44))))
            (block $h (result exnref)
              (try_table (catch_all_ref $h)
                (return (i32.add (i32.const 1) (call $cleaning (i32.sub (local.get 0) (i32.const 1))))))
              (unreachable))
            (global.set $cleaned (i32.add (global.get $cleaned) (i32.const 1)))
            (throw_ref))
          (global $cleaned (export "cleaned") (mut i32) (i32.const 0))
          (table funcref (elem $down $guarded $cleaning))
          (type $f (func (param i32) (result i32)))
          (func (export "run") (param $which i32) (param $depth i32) (result i32)
            (block $h (result i32)
              (try_table (result i32) (catch $t $h)
                (call_indirect (type $f) (local.get $depth) (local.get $which))))))"#,
    );
    for (which, value) in [(0, 42), (1, 43), (2, 44)] {
        for depth in [0, 1, 5000] {
            assert_eq!(
                call(&mut instance, "run", &[which, depth]).unwrap(),
                [value]
            );
        }
    }
    assert_eq!(instance.global("cleaned").unwrap(), [5001]);
    // What all of them rethrew was one object.
    assert!(instance.peak_memory_bytes() <= 64 << 10);
    // Deeper than the stack: the overflow is a trap, which nobody catches.
    let trap = call(&mut instance, "run", &[0, 10_000_000]).unwrap_err();
    assert_eq!(trap.reason, Reason::Trap(TrapKind::StackOverflow));
    assert_eq!(call(&mut instance, "run", &[1, 10]).unwrap(), [43]);
}

#[test]
fn millions_of_exceptions_take_no_memory() {
    let engine = engine();
    let linked = linked(
        &engine,
        r#"(module
          (tag $t (param i32 v128))
          (func $throw (param i32) (throw $t (local.get 0) (v128.const i64x2 1 1)))
          (func (export "run") (param $times i32) (result i32) (local $sum i32)
            (loop $again
              (block $h (result i32 v128)
                (try_table (catch $t $h) (call $throw (local.get $times)))
                (unreachable))
              (drop)
              (local.set $sum (i32.xor (local.get $sum)))
              (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
            (local.get $sum))
          ;; A reference somewhere, so that there is an object heap.
          (func (export "referred") (result exnref)
            (block $h (result exnref)
              (try_table (catch_all_ref $h) (call $throw (i32.const 1))) (unreachable))))"#,
        &Imports::new(),
    );
    let mut instance = limited(&linked, 64 << 10);
    let times = 10_000_000u32;
    let expected = (1..=times).fold(0, |sum, number| sum ^ number);
    assert_eq!(
        call(&mut instance, "run", &[times.into()]).unwrap(),
        [u64::from(expected)]
    );
    assert_eq!(instance.peak_memory_bytes(), 0);
}

#[test]
fn an_uncaught_exception_ends_the_call_and_says_what_it_was() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
          (tag $refused (param i32 f64)) (tag (export "by export")) (tag)
          (func $inner (param i32)
            (if (i32.eqz (local.get 0)) (then (throw $refused (i32.const -3) (f64.const 0.5))))
            (if (i32.eq (local.get 0) (i32.const 1)) (then (throw 1)))
            (throw 2))
          (func (export "throw") (param i32)
            (try_table (call $inner (local.get 0)))))"#,
    );
    for (which, message) in [
        (
            0,
            "uncaught exception: refused (tag 0) with i32 -3, f64 0.5",
        ),
        (1, "uncaught exception: by export (tag 1)"),
        (2, "uncaught exception: tag 2"),
    ] {
        let trap = call(&mut instance, "throw", &[which]).unwrap_err();
        assert_eq!(trap.reason.to_string(), message);
        let Reason::UncaughtException(exception) = &trap.reason else {
            panic!("{trap}");
        };
        assert_eq!(u64::from(exception.tag), which);
        let names: Vec<_> = trap.backtrace.iter().map(|frame| &frame.name).collect();
        assert_eq!(names, [&Some("inner".into()), &Some("throw".into())]);
    }
}

#[test]
fn traps_and_stops_are_not_caught() {
    let mut imports = Imports::new();
    imports
        .define("env", "exit", |_: &mut Caller<'_>| {
            Err::<(), _>(Stop::Exit(3))
        })
        .define("env", "panic", |_: &mut Caller<'_>| -> Result<(), Stop> {
            panic!("a defect")
        });
    let engine = engine();
    let linked = linked(
        &engine,
        r#"(module
          (import "env" "exit" (func $exit)) (import "env" "panic" (func $panic))
          (memory 1) (tag $t) (table 2 funcref)
          (func $unreachable (unreachable))
          (func $divide (drop (i32.div_u (i32.const 1) (i32.const 0))))
          (func $load (drop (i32.load (i32.const 65536))))
          (func $overflow (call $overflow) (call $overflow))
          (func $null (throw_ref (ref.null exn)))
          (func $undefined (call_indirect (i32.const 0)))
          (table $all funcref (elem $unreachable $divide $load $overflow $null $undefined $exit $panic))
          (func (export "run") (param i32)
            (block $h
              (try_table (catch $t $h) (catch_all $h)
                (try_table (catch_all $h) (call_indirect $all (local.get 0)))))))"#,
        &imports,
    );
    let mut instance = fresh(&linked);
    let expected = [
        Reason::Trap(TrapKind::Unreachable),
        Reason::Trap(TrapKind::IntegerDivisionByZero),
        Reason::Trap(TrapKind::MemoryOutOfBounds),
        Reason::Trap(TrapKind::StackOverflow),
        Reason::Trap(TrapKind::NullExceptionReference),
        Reason::Trap(TrapKind::IndirectCallToNull),
        Reason::Exit(3),
        Reason::HostPanic("a defect".into()),
    ];
    for (which, reason) in expected.into_iter().enumerate() {
        let trap = call(&mut instance, "run", &[which as u64]).unwrap_err();
        assert_eq!(trap.reason, reason);
    }
}

#[test]
fn a_tail_call_leaves_the_handlers_of_its_function() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
          (tag $t) (type $f (func (result i32)))
          (table funcref (elem $throw))
          (func $throw (result i32) (throw $t))
          (func $direct (result i32)
            (block $h (try_table (catch $t $h) (return_call $throw))) (i32.const 1))
          (func $indirect (result i32)
            (block $h (try_table (catch $t $h) (return_call_indirect (type $f) (i32.const 0)))) (i32.const 1))
          (func (export "direct") (result i32)
            (block $h (try_table (catch_all $h) (return (call $direct)))) (i32.const 2))
          (func (export "indirect") (result i32)
            (block $h (try_table (catch_all $h) (return (call $indirect)))) (i32.const 2)))"#,
    );
    assert_eq!(call(&mut instance, "direct", &[]).unwrap(), [2]);
    assert_eq!(call(&mut instance, "indirect", &[]).unwrap(), [2]);
}

#[test]
fn a_clause_may_branch_to_a_loop_or_out_of_the_function() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
          (tag $t (param i32))
          (func $throw (param i32) (throw $t (local.get 0)))
          (func (export "loop") (param i32) (result i32)
            (local.get 0)
            (loop $again (param i32) (result i32)
              (local.set 0)
              (if (i32.gt_u (local.get 0) (i32.const 1000)) (then (return (local.get 0))))
              (try_table (catch $t $again)
                (call $throw (i32.mul (local.get 0) (i32.const 3))))
              (unreachable)))
          (func (export "function") (param i32) (result i32)
            (try_table (result i32) (catch $t 0)
              (call $throw (i32.add (local.get 0) (i32.const 1))) (unreachable))))"#,
    );
    assert_eq!(call(&mut instance, "loop", &[2]).unwrap(), [1458]);
    assert_eq!(call(&mut instance, "function", &[2]).unwrap(), [3]);
}

#[test]
fn unreachable_code_around_and_in_a_try_table_compiles() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
          (tag $t (param i32)) (func $f)
          (func (export "run") (result i32)
            (block $h (result i32)
              (try_table (result i32) (catch $t $h)
                (br $h (i32.const 5))
                (try_table (catch $t $h) (call $f))
                (throw $t))
              (return)
              (try_table (catch $t $h) (call $f) (throw $t (i32.const 1)))
              (throw_ref))))"#,
    );
    assert_eq!(call(&mut instance, "run", &[]).unwrap(), [5]);
}

/// A module that keeps an exception in a global and in a table, and throws it later.
const KEEPER: &str = r#"(module
  (tag $t (param i64 v128))
  (global $kept (mut exnref) (ref.null exn))
  (table $kept 4 exnref)
  (memory 1)
  (func $throw (param i64) (throw $t (local.get 0) (v128.const i64x2 5 6)))
  (func $catch (param i64) (result exnref)
    (block $h (result exnref)
      (try_table (catch_all_ref $h) (call $throw (local.get 0)))
      (unreachable)))
  (func (export "keep") (param i64)
    (global.set $kept (call $catch (local.get 0)))
    (table.set $kept (i32.const 2) (call $catch (i64.add (local.get 0) (i64.const 1)))))
  (func (export "kept") (result i64 i64)
    (block $h (result i64 v128)
      (try_table (catch $t $h) (throw_ref (global.get $kept))) (unreachable))
    (i64x2.extract_lane 1) (i64.add)
    (block $h (result i64 v128 exnref)
      (try_table (catch_ref $t $h) (throw_ref (table.get $kept (i32.const 2)))) (unreachable))
    (drop) (i64x2.extract_lane 0) (i64.add))
  (func (export "many") (param i32)
    (loop $again
      (drop (call $catch (i64.const 1)))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
  (table $all 40000 exnref)
  (func (export "keep many") (param i32)
    (loop $again
      (table.set $all (local.get 0) (call $catch (i64.const 1)))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "take") (param exnref) (throw_ref (local.get 0))))"#;

#[test]
fn kept_exceptions_are_frozen_restored_and_forgotten_by_a_reset() {
    let engine = engine();
    let linked = linked(&engine, KEEPER, &Imports::new());
    let mut instance = fresh(&linked);
    let null = Reason::Trap(TrapKind::NullExceptionReference);
    assert_eq!(call(&mut instance, "kept", &[]).unwrap_err().reason, null);
    let empty = freeze(&mut instance);
    call(&mut instance, "keep", &[100]).unwrap();
    assert_eq!(call(&mut instance, "kept", &[]).unwrap(), [106, 106]);
    let image = freeze(&mut instance);
    drop(instance);

    let mut other = restore(&empty);
    let mut instance = restore(&image);
    for round in 0..5 {
        assert_eq!(call(&mut instance, "kept", &[]).unwrap(), [106, 106]);
        // A heap that grew, and objects where others were.
        call(&mut instance, "many", &[10_000]).unwrap();
        call(&mut instance, "keep", &[200 + round]).unwrap();
        let expected = [206 + round, 206 + round];
        assert_eq!(call(&mut instance, "kept", &[]).unwrap(), expected);
        assert!(instance.peak_memory_bytes() > (64 << 10) + 320_000);
        instance.reset(Box::new(())).unwrap();
        assert_eq!(instance.peak_memory_bytes(), image.memory_bytes());

        assert_eq!(call(&mut other, "kept", &[]).unwrap_err().reason, null);
        call(&mut other, "keep", &[7]).unwrap();
        assert_eq!(call(&mut other, "kept", &[]).unwrap(), [13, 13]);
        match round % 2 {
            0 => drop(other.reset(Box::new(())).unwrap()),
            _ => other = restore(&empty),
        }
    }
    instance.trim().unwrap();
    assert_eq!(call(&mut instance, "kept", &[]).unwrap(), [106, 106]);
}

/// What is left in the part that is given back would be found by whoever grows the heap next.
#[test]
fn nothing_is_left_in_a_heap_that_grew_before_a_reset() {
    let engine = engine();
    let linked = linked(&engine, KEEPER, &Imports::new());
    let mut instance = fresh(&linked);
    call(&mut instance, "keep", &[1]).unwrap();
    let image = freeze(&mut instance);
    let pages_after_growing = |instance: &mut Instance| {
        call(instance, "many", &[3_000]).unwrap();
        freeze(instance).pages()
    };
    let expected = pages_after_growing(&mut restore(&image));
    let mut instance = restore(&image);
    for _ in 0..3 {
        call(&mut instance, "many", &[50_000]).unwrap();
        instance.reset(Box::new(())).unwrap();
        assert_eq!(freeze(&mut instance).pages(), image.pages());
        assert_eq!(pages_after_growing(&mut instance), expected);
        instance.reset(Box::new(())).unwrap();
    }
}

#[test]
fn the_object_heap_counts_as_memory() {
    let engine = engine();
    let linked = linked(&engine, KEEPER, &Imports::new());
    let mut instance = limited(&linked, 1 << 20);
    let trap = call(&mut instance, "keep many", &[39_999]).unwrap_err();
    let Reason::Limit(Limit::Memory {
        limit_bytes,
        wanted_bytes,
    }) = trap.reason
    else {
        panic!("{trap}");
    };
    assert!(limit_bytes == 1 << 20 && wanted_bytes > 1 << 20);
    // All of it is used before. What nobody refers to does not count.
    call(&mut fresh(&linked), "many", &[100_000]).unwrap();
    assert_eq!(instance.peak_memory_bytes(), 1 << 20);
    let image = freeze(&mut instance);
    let limits = |memory_bytes| Limits {
        memory_bytes,
        ..Limits::default()
    };
    assert!(image.restore(limits((1 << 20) - 1), Box::new(())).is_err());
    let mut restored = image.restore(limits(1 << 20), Box::new(())).unwrap();
    assert!(call(&mut restored, "keep many", &[39_999]).is_err());
    assert!(call(&mut restored, "keep many", &[39_999]).is_err());
}

#[test]
#[should_panic(expected = "a word for a reference is null")]
fn an_exception_reference_cannot_be_forged_by_the_host() {
    let engine = engine();
    let mut instance = instance(&engine, KEEPER);
    call(&mut instance, "keep", &[1]).unwrap();
    let _ = call(&mut instance, "take", &[8]);
}

#[test]
fn a_host_function_that_returns_a_forged_exception_reference_is_a_defect() {
    let engine = engine();
    let module = module(
        &engine,
        r#"(module
          (import "env" "forge" (func $forge (result exnref)))
          (tag $t) (func $throw (throw $t))
          (func (export "run") (local exnref)
            (block $h (result exnref)
              (try_table (catch_all_ref $h) (call $throw)) (unreachable))
            (drop) (throw_ref (call $forge))))"#,
    );
    let ty = module.info().signature(0).clone();
    let mut imports = Imports::new();
    imports.define_untyped(
        "env",
        "forge",
        ty,
        std::rc::Rc::new(|_, values| {
            values[0] = 8;
            Ok(())
        }),
    );
    let mut instance = fresh(&module.link(&imports).unwrap());
    let trap = call(&mut instance, "run", &[]).unwrap_err();
    assert!(matches!(trap.reason, Reason::HostPanic(_)), "{trap}");
}

/// The object heap lies behind the guard of linear memory.
#[test]
fn linear_memory_does_not_reach_the_object_heap() {
    let engine = engine();
    let loads: String = [0u64, 0xffff, 0x0100_0000, 0x01ff_fff8, 0x0400_0000, 0xf000_0000, 0xffff_ffff]
        .iter()
        .enumerate()
        .map(|(number, offset)| {
            format!(
                r#"(func (export "load {number}") (param i32) (result i64) (i64.load offset={offset} (local.get 0)))
                   (func (export "store {number}") (param i32) (i64.store offset={offset} (local.get 0) (i64.const -1)))"#
            )
        })
        .collect();
    let keeper = KEEPER.strip_suffix(')').unwrap();
    let mut instance = instance(&engine, &format!("{keeper} {loads})"));
    call(&mut instance, "keep", &[1]).unwrap();
    let out_of_bounds = Reason::Trap(TrapKind::MemoryOutOfBounds);
    for number in 0..7 {
        for index in [
            0xffff_ffffu64,
            0xffff_fff8,
            0xfff0_0000,
            0xff00_0000,
            0xfc00_0000,
        ] {
            for name in ["load", "store"] {
                let trap = call(&mut instance, &format!("{name} {number}"), &[index]).unwrap_err();
                assert_eq!(trap.reason, out_of_bounds);
            }
        }
    }
    assert_eq!(call(&mut instance, "kept", &[]).unwrap(), [7, 7]);
}

#[test]
fn modules_with_no_or_several_memories_keep_exceptions_too() {
    let engine = engine();
    for memories in ["", "(memory 1) (memory $m 2) (memory 0)"] {
        let text = KEEPER.replace("(memory 1)", memories);
        let linked = linked(&engine, &text, &Imports::new());
        let mut instance = fresh(&linked);
        let empty = freeze(&mut instance);
        call(&mut instance, "keep", &[10]).unwrap();
        let image = freeze(&mut instance);
        for image in [empty, image] {
            let mut instance = restore(&image);
            for _ in 0..3 {
                call(&mut instance, "keep", &[20]).unwrap();
                call(&mut instance, "many", &[5000]).unwrap();
                assert_eq!(call(&mut instance, "kept", &[]).unwrap(), [26, 26]);
                instance.reset(Box::new(())).unwrap();
                assert_eq!(instance.peak_memory_bytes(), image.memory_bytes());
            }
        }
    }
}

#[test]
fn wide_slots_and_others_come_and_go_within_one_limit() {
    let engine = Engine::new(&EngineOptions {
        slots_max: 4,
        ..EngineOptions::default()
    })
    .unwrap();
    let wide = linked(&engine, KEEPER, &Imports::new());
    let narrow = linked(
        &engine,
        r#"(module (memory 1) (func (export "run") (result i64)
             (i64.store (i32.const 8) (i64.add (i64.load (i32.const 8)) (i64.const 1)))
             (i64.load (i32.const 8))))"#,
        &Imports::new(),
    );
    for _ in 0..20 {
        let mut wides: Vec<Instance> = (0..2).map(|_| fresh(&wide)).collect();
        let mut narrows: Vec<Instance> = (0..2).map(|_| fresh(&narrow)).collect();
        assert_eq!(engine.instances(), 4);
        assert!(Instance::new(&narrow, Limits::default(), Box::new(())).is_err());
        for (number, instance) in wides.iter_mut().enumerate() {
            call(instance, "keep", &[number as u64]).unwrap();
        }
        for instance in &mut narrows {
            assert_eq!(call(instance, "run", &[]).unwrap(), [1]);
        }
        for (number, instance) in wides.iter_mut().enumerate() {
            let expected = number as u64 + 6;
            assert_eq!(call(instance, "kept", &[]).unwrap(), [expected, expected]);
        }
        assert!(Instance::new(&wide, Limits::default(), Box::new(())).is_err());
        drop((narrows.pop(), wides.pop()));
        assert_eq!(engine.instances(), 2);
    }
    assert_eq!(engine.instances(), 0);
}

#[test]
fn preemption_while_throwing_changes_nothing() {
    let engine = Engine::new(&EngineOptions {
        tick: Duration::from_micros(50),
        ..EngineOptions::default()
    })
    .unwrap();
    let text = r#"(module
      (tag $t (param i32 i64))
      (func $throw (param i32 i32)
        (if (local.get 0)
          (then (call $throw (i32.sub (local.get 0) (i32.const 1)) (local.get 1)) (return)))
        (throw $t (local.get 1) (i64.extend_i32_u (local.get 1))))
      (func (export "run") (param $times i32) (result i64) (local $sum i64)
        (loop $again
          (block $h (result i32 i64 exnref)
            (try_table (catch_ref $t $h)
              (call $throw (i32.and (local.get $times) (i32.const 63)) (local.get $times)))
            (unreachable))
          (drop) (local.set $sum (i64.add (local.get $sum)))
          (if (i32.ne (local.get $times)) (then (unreachable)))
          (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
        (local.get $sum)))"#;
    let linked = linked(&engine, text, &Imports::new());
    let mut instances: Vec<Instance> = (0..3).map(|_| fresh(&linked)).collect();
    let run = linked.module().function("run").unwrap();
    let mut preempted = 0;
    // Each run goes through some of its throws between those of the others.
    for round in 1..1000u64 {
        let times = 2000 + round % 7;
        for instance in &mut instances {
            instance.begin(run, &[times]).unwrap();
        }
        let mut left = instances.len();
        let mut done = vec![false; left];
        while left > 0 {
            for (instance, done) in instances.iter_mut().zip(&mut done) {
                if *done {
                    continue;
                }
                match instance.resume() {
                    Progress::Returned(words) => {
                        assert_eq!(words, [times * (times + 1) / 2]);
                        *done = true;
                        left -= 1;
                    }
                    Progress::Preempted => preempted += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        if preempted > 100 && round > 10 {
            return;
        }
    }
    panic!("preempted {preempted} times only");
}

#[test]
fn legacy_exceptions_are_refused_by_name() {
    // `try end` in the only function.
    let wasm =
        b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x07\x01\x05\0\x06\x40\x0b\x0b";
    let error = compile(wasm, &CompileOptions::default()).unwrap_err();
    let CompileError::Unsupported { feature, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(feature, "the legacy exception handling proposal");
}

#[test]
fn imported_tags_are_refused() {
    let wasm = wat::parse_str(r#"(module (import "a" "b" (tag (param i32))))"#).unwrap();
    let error = compile(&wasm, &CompileOptions::default()).unwrap_err();
    assert!(error.to_string().contains("imports the tag"), "{error}");
}

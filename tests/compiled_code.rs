//! What compiled code does at the edges the translator has to get right, executed.

mod support;

use dormouse::{Engine, EngineOptions, Imports, Reason, TrapKind};
use support::{call, engine, fresh, instance, linked};

/// `count` parameters or results of a type, as text.
fn types(count: usize, ty: &str) -> String {
    vec![ty; count].join(" ")
}

/// Functions whose frames are far larger than the room below the stack limit have to stop at their prologue, at every
/// depth: the check has to count the frame.
#[test]
fn large_frames_stop_at_the_stack_limit() {
    let engine = engine();
    for parameters in [1, 10, 100, 1000] {
        let get: String = (0..parameters)
            .map(|index| format!("(local.get {index})"))
            .collect();
        // Every parameter is used after the call, so that it has to be kept in the frame.
        let sum: String = (0..parameters)
            .map(|index| format!("(i64.add (local.get {index}))"))
            .collect();
        let mut instance = instance(
            &engine,
            &format!(
                r#"(module
                    (func $deep (export "deep") (param {}) (result i64)
                        (call $deep {get}) {sum}))"#,
                types(parameters, "i64")
            ),
        );
        for _ in 0..3 {
            let trap = call(&mut instance, "deep", &vec![7; parameters]).unwrap_err();
            assert_eq!(
                trap.reason,
                Reason::Trap(TrapKind::StackOverflow),
                "{parameters}"
            );
        }
    }
}

/// The host's own frames have room beyond the guest's limit, whatever the depth a host function is called at.
#[test]
fn host_call_at_stack_limit() {
    let engine = Engine::new(&EngineOptions::default()).unwrap();
    let mut imports = Imports::new();
    imports.define("host", "work", |_: &mut dormouse::Caller, value: i32| {
        Ok(format!("{value:>100}").trim().parse::<i32>().unwrap())
    });
    let linked = linked(
        &engine,
        r#"(module
            (import "host" "work" (func $work (param i32) (result i32)))
            (memory 1)
            (func $deep (export "deep") (param i32) (result i32)
                (drop (memory.grow (i32.const 0)))
                (memory.fill (i32.const 0) (i32.const 1) (i32.const 10000))
                (drop (call $work (local.get 0)))
                (call $deep (i32.add (local.get 0) (i32.const 1)))))"#,
        &imports,
    );
    let mut instance = fresh(&linked);
    let trap = call(&mut instance, "deep", &[0]).unwrap_err();
    assert_eq!(trap.reason, Reason::Trap(TrapKind::StackOverflow));
}

#[test]
fn many_parameters_and_results_arrive_in_order() {
    let engine = engine();
    let kinds = types(60, "i32 i64 f32 f64");
    let get: String = (0..240)
        .map(|index| format!("(local.get {index})"))
        .collect();
    let mut instance = instance(
        &engine,
        &format!(
            r#"(module
                (type $many (func (param {kinds}) (result {kinds})))
                (table funcref (elem $pass))
                (func $pass (type $many) {get})
                (func (export "direct") (type $many) {get} (call $pass))
                (func (export "indirect") (type $many) {get} (call_indirect (type $many) (i32.const 0))))"#
        ),
    );
    let values: Vec<u64> = (0..240u64)
        .map(|index| match index % 4 {
            0 => u64::from(index as u32 ^ 0x8000_0000),
            1 => index << 40 | 5,
            2 => u64::from((index as f32).to_bits()),
            _ => (index as f64).to_bits(),
        })
        .collect();
    assert_eq!(call(&mut instance, "direct", &values).unwrap(), values);
    assert_eq!(call(&mut instance, "indirect", &values).unwrap(), values);
}

#[test]
fn imports_are_called_through_tables_like_any_function() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define(
        "host",
        "mix",
        |_: &mut dormouse::Caller, a: i32, b: f32, c: i64| {
            Ok(f64::from(a) + f64::from(b) + c as f64)
        },
    );
    let linked = linked(
        &engine,
        r#"(module
            (type $mix (func (param i32 f32 i64) (result f64)))
            (import "host" "mix" (func $mix (type $mix)))
            (table funcref (elem $mix))
            (func (export "indirect") (result f64)
                (call_indirect (type $mix)
                    (i32.const -1) (f32.const 0.5) (i64.const -4) (i32.const 0))))"#,
        &imports,
    );
    let mut instance = fresh(&linked);
    assert_eq!(
        call(&mut instance, "indirect", &[]).unwrap(),
        [(-4.5f64).to_bits()]
    );
}

/// Indices are unsigned: a constant from 2^31 on is far up, not below the memory.
#[test]
fn constant_indices_are_unsigned() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module (memory 1)
            (data (i32.const 0) "\01\02\03\04")
            (func (export "high") (result i32) (i32.load (i32.const 0x80000000)))
            (func (export "last") (result i32) (i32.load8_u (i32.const -1)))
            (func (export "wrap") (result i32) (i32.load offset=4 (i32.const -4)))
            (func (export "low") (param i32) (result i32)
                (i32.load (i32.add (local.get 0) (i32.const -8))))
            (func (export "store") (i32.store (i32.const -4096) (i32.const 1))))"#,
    );
    for name in ["high", "last", "wrap", "store"] {
        let trap = call(&mut instance, name, &[]).unwrap_err();
        assert_eq!(
            trap.reason,
            Reason::Trap(TrapKind::MemoryOutOfBounds),
            "{name}"
        );
    }
    assert_eq!(call(&mut instance, "low", &[8]).unwrap(), [0x0403_0201]);
}

/// An access across the end of memory at a static offset on either side of the guard's size.
#[test]
fn large_static_offsets_are_checked() {
    let engine = engine();
    for offset in [
        0u64,
        0x1ff_fff8,
        0x1ff_fff9,
        0x200_0000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
    ] {
        let mut instance = instance(
            &engine,
            &format!(
                r#"(module (memory (export "memory") 1)
                    (func (export "load") (param i32) (result i64) (i64.load offset={offset} (local.get 0)))
                    (func (export "store") (param i32) (i64.store offset={offset} (local.get 0) (i64.const -1))))"#
            ),
        );
        for index in [
            0u64,
            1,
            65528,
            65529,
            65535,
            65536,
            0x7fff_ffff,
            0xffff_fff8,
            0xffff_ffff,
        ] {
            let within = index + offset + 8 <= 65536;
            let loaded = call(&mut instance, "load", &[index]);
            let stored = call(&mut instance, "store", &[index]);
            assert_eq!(loaded.is_ok(), within, "load at {index} + {offset}");
            assert_eq!(stored.is_ok(), within, "store at {index} + {offset}");
            if !within {
                let reason = Reason::Trap(TrapKind::MemoryOutOfBounds);
                assert_eq!(stored.unwrap_err().reason, reason);
            }
        }
    }
}

#[test]
fn tables_grow_and_keep_their_bounds() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
            (type $answer (func (result i32)))
            (table $t 1 5 funcref)
            (elem declare func $f)
            (func $f (result i32) (i32.const 42))
            (func (export "grow") (param i32) (result i32)
                (table.grow $t (ref.func $f) (local.get 0)))
            (func (export "null") (param i32) (result i32) (ref.is_null (table.get $t (local.get 0))))
            (func (export "call") (param i32) (result i32)
                (call_indirect $t (type $answer) (local.get 0))))"#,
    );
    let reason = |result: Result<Vec<u64>, dormouse::Trap>| result.unwrap_err().reason;
    assert_eq!(call(&mut instance, "null", &[0]).unwrap(), [1]);
    assert_eq!(
        reason(call(&mut instance, "null", &[1])),
        Reason::Trap(TrapKind::TableOutOfBounds)
    );
    assert_eq!(call(&mut instance, "grow", &[3]).unwrap(), [1]);
    assert_eq!(call(&mut instance, "call", &[3]).unwrap(), [42]);
    assert_eq!(
        reason(call(&mut instance, "call", &[0])),
        Reason::Trap(TrapKind::IndirectCallToNull)
    );
    for index in [4, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        assert_eq!(
            reason(call(&mut instance, "call", &[index])),
            Reason::Trap(TrapKind::UndefinedElement)
        );
    }
    assert_eq!(
        call(&mut instance, "grow", &[2]).unwrap()[0] as u32,
        u32::MAX
    );
    assert_eq!(call(&mut instance, "grow", &[1]).unwrap(), [4]);
}

#[test]
fn vectors_pass_through_blocks_locals_globals_and_calls() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define("host", "nothing", |_: &mut dormouse::Caller| Ok(()));
    let linked = linked(
        &engine,
        r#"(module
            (import "host" "nothing" (func $nothing))
            (global $g (mut v128) (v128.const i64x2 0 0))
            (func $pass (param v128 i32) (result v128 i32) (local.get 0) (local.get 1))
            (func (export "round") (param v128 i32) (result v128 i32) (local $l v128)
                (local.set $l (i32x4.add (local.get 0) (v128.const i32x4 1 1 1 1)))
                (global.set $g (i64x2.add (local.get $l) (v128.const i64x2 0 0)))
                (call $nothing)
                (block (result v128)
                    (br_if 0 (f32x4.abs (global.get $g)) (local.get 1))
                    (drop)
                    (select (i16x8.neg (local.get $l)) (local.get $l) (i32.const 0)))
                (call $pass (local.get 1))))"#,
        &imports,
    );
    let mut instance = fresh(&linked);
    for taken in [0, 1] {
        let result = call(
            &mut instance,
            "round",
            &[0x0000_0002_0000_0001, 0x4_0000_0003, taken],
        );
        assert_eq!(
            result.unwrap(),
            [0x0000_0003_0000_0002, 0x5_0000_0004, taken]
        );
    }
}

/// Several entries of one table go to the same block, which has to see the locals as they were at the branch.
#[test]
fn tables_of_branches_carry_locals_and_values() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
            (func (export "walk") (param $steps i32) (result i32 i32) (local $odd i32) (local $even i32)
                (loop $next
                    (block $done
                        (block $two
                            (block $one
                                (br_table $two $one $two $one $two $one $done (local.get $steps)))
                            (local.set $odd (i32.add (local.get $odd) (local.get $steps)))
                            (local.set $steps (i32.sub (local.get $steps) (i32.const 1)))
                            (br $next))
                        (local.set $even (i32.add (local.get $even) (local.get $steps)))
                        (local.set $steps (i32.sub (local.get $steps) (i32.const 1)))
                        (br $next)))
                (local.get $odd) (local.get $even))
            (func (export "merge") (param i32) (result i32) (local $l i32) (local $m i32) (local $n i32)
                (block $end
                    (block $t
                        (local.set $l (i32.const 10))
                        (br_if $t (i32.eqz (local.get 0)))
                        (local.set $l (i32.const 20))
                        (local.set $m (i32.const 300))
                        (local.set $n (i32.const 4000))
                        (br_table $t $t $end $t $end (local.get 0)))
                    (local.set $l (i32.add (local.get $l) (i32.const 1))))
                (i32.add (local.get $l) (i32.add (local.get $m) (local.get $n))))
            (func (export "pick") (param i32) (result i32) (local $l i32)
                (local.set $l (i32.const 100))
                (block $a (result i32)
                    (block $b (result i32)
                        (br_table $b $a $b $a $a (i32.const 7) (local.get 0)))
                    (local.set $l (i32.const 200))
                    (i32.const 1) (i32.add))
                (i32.add (local.get $l))))"#,
    );
    assert_eq!(call(&mut instance, "walk", &[5]).unwrap(), [9, 6]);
    assert_eq!(call(&mut instance, "walk", &[9]).unwrap(), [0, 0]);
    for (index, result) in [
        (0, 11),
        (1, 4321),
        (2, 4320),
        (3, 4321),
        (4, 4320),
        (9, 4320),
    ] {
        assert_eq!(
            call(&mut instance, "merge", &[index]).unwrap(),
            [result],
            "{index}"
        );
    }
    for (index, result) in [(0, 208), (1, 107), (2, 208), (3, 107), (4, 107), (99, 107)] {
        assert_eq!(
            call(&mut instance, "pick", &[index]).unwrap(),
            [result],
            "{index}"
        );
    }
}

/// Of these the specification fixes the results for numbers in range; the CPU's conversions must be the right ones.
#[test]
fn relaxed_truncations_of_numbers_in_range() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
            (func (export "f32_s") (result v128)
                (i32x4.relaxed_trunc_f32x4_s (v128.const f32x4 -1.9 2147483520 0.9 -2147483648)))
            (func (export "f32_u") (result v128)
                (i32x4.relaxed_trunc_f32x4_u (v128.const f32x4 1.9 4294967040 -0.9 2147483648)))
            (func (export "f64_s") (result v128)
                (i32x4.relaxed_trunc_f64x2_s_zero (v128.const f64x2 -1.9 2147483647.9)))
            (func (export "f64_u") (result v128)
                (i32x4.relaxed_trunc_f64x2_u_zero (v128.const f64x2 -0.9 4294967295.9))))"#,
    );
    let mut lanes = |name: &str| {
        let words = call(&mut instance, name, &[]).unwrap();
        [
            words[0] as i32,
            (words[0] >> 32) as i32,
            words[1] as i32,
            (words[1] >> 32) as i32,
        ]
    };
    assert_eq!(lanes("f32_s"), [-1, 2147483520, 0, i32::MIN]);
    assert_eq!(lanes("f32_u"), [1, 4294967040u32 as i32, 0, i32::MIN]);
    assert_eq!(lanes("f64_s"), [-1, i32::MAX, 0, 0]);
    assert_eq!(lanes("f64_u"), [0, u32::MAX as i32, 0, 0]);
}

/// A loop carries a vector round and takes it apart, and reaches memory by its lanes: of more than one vector, and as more than one type.
#[test]
fn lanes_that_a_loop_carries_are_indexes() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module (memory 1) (data (i32.const 0) "\01\00\00\00\0a\00\00\00\64\00\00\00\e8\03\00\00\10\27\00\00")
            (func (export "sum") (param $n i32) (result i32) (local $v v128) (local $w v128) (local $sum i32)
                (loop $next
                    (local.set $sum (i32.add (local.get $sum) (i32.load (i32x4.extract_lane 1 (local.get $v)))))
                    (local.set $sum (i32.add (local.get $sum)
                        (i32.load (i32.reinterpret_f32 (f32x4.extract_lane 2 (local.get $w))))))
                    (local.set $v (i8x16.shuffle 0 1 2 3 16 17 18 19 20 21 22 23 24 25 26 27
                        (i32x4.splat (i32.shl (local.get $n) (i32.const 2))) (local.get $v)))
                    (local.set $w (i8x16.shuffle 0 1 2 3 16 17 18 19 20 21 22 23 24 25 26 27
                        (i32x4.splat (i32.shl (local.get $n) (i32.const 2))) (local.get $w)))
                    (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (local.get $sum)))"#,
    );
    let numbers = [1, 10, 100, 1000, 10000];
    for n in 1..=4 {
        let (mut v, mut w, mut sum) = ([0; 4], [0; 4], 0);
        for n in (1..=n).rev() {
            sum += numbers[v[1]] + numbers[w[2]];
            v = [n, v[0], v[1], v[2]];
            w = [n, w[0], w[1], w[2]];
        }
        let words = call(&mut instance, "sum", &[n as u64]).unwrap();
        assert_eq!(words, [sum], "{n} times");
    }
}

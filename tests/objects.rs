//! Objects and their collector: that what is referred to stays as it is, that the rest goes, and that no word from outside
//! is taken for an object.

mod support;

use dormouse::compile::info::{FunctionType, HeapType, ReferenceType, ValueType};
use dormouse::layout::internalize;
use dormouse::{
    Engine, EngineOptions, Imports, Instance, Limit, Limits, Linked, Progress, Reason, TrapKind,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use support::{call, engine, freeze, fresh, linked, restore};

/// An instance that may have so many bytes of memory and objects.
fn limited(linked: &Linked, memory_bytes: u64) -> Instance {
    let limits = Limits {
        memory_bytes,
        ..Limits::default()
    };
    Instance::new(linked, limits, Box::new(())).unwrap()
}

fn limited_text(engine: &Engine, text: &str, memory_bytes: u64) -> Instance {
    limited(&linked(engine, text, &Imports::new()), memory_bytes)
}

fn is_memory_limit(reason: &Reason) -> bool {
    matches!(reason, Reason::Limit(Limit::Memory { .. }))
}

/// Lists of numbers, and garbage of several sizes.
const LISTS: &str = r#"(module
    (type $node (struct (field $value i64) (field $next (mut (ref null $node)))))
    (type $longs (array (mut i64)))
    (type $nodes (array (mut (ref null $node))))
    (global $list (export "list is null") (mut (ref null $node)) (ref.null $node))
    (func $make (param $count i64) (result (ref null $node)) (local $list (ref null $node))
        (block $done
            (loop $again
                (br_if $done (i64.eqz (local.get $count)))
                (local.set $list (struct.new $node (local.get $count) (local.get $list)))
                (local.set $count (i64.sub (local.get $count) (i64.const 1)))
                (br $again)))
        (local.get $list))
    (func $sum (param $list (ref null $node)) (result i64) (local $sum i64)
        (block $done
            (loop $again
                (br_if $done (ref.is_null (local.get $list)))
                (local.set $sum (i64.add (local.get $sum) (struct.get $node $value (local.get $list))))
                (local.set $list (struct.get $node $next (local.get $list)))
                (br $again)))
        (local.get $sum))
    (func $churn (export "churn") (param $times i32)
        (loop $again
            (drop (struct.new $node (i64.const -1) (ref.null $node)))
            (drop (array.new $longs (i64.const -1) (i32.and (local.get $times) (i32.const 255))))
            (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
    (func (export "keep") (param i64) (global.set $list (call $make (local.get 0))))
    (func (export "forget") (global.set $list (ref.null $node)))
    (func (export "sum") (result i64) (call $sum (global.get $list)))
    (func (export "local") (param $count i64) (param $times i32) (result i64) (local $list (ref null $node))
        (local.set $list (call $make (local.get $count)))
        (call $churn (local.get $times))
        (call $sum (local.get $list)))
    (func (export "cycles") (param $times i32) (local $a (ref null $node)) (local $b (ref null $node))
        (loop $again
            (local.set $a (struct.new $node (i64.const 1) (ref.null $node)))
            (local.set $b (struct.new $node (i64.const 2) (local.get $a)))
            (struct.set $node $next (local.get $a) (local.get $b))
            (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
    (func (export "wide") (param $count i32) (param $times i32) (result i64)
        (local $all (ref $nodes)) (local $i i32) (local $sum i64)
        (local.set $all (array.new_default $nodes (local.get $count)))
        (loop $fill
            (array.set $nodes (local.get $all) (local.get $i)
                (struct.new $node (i64.const 1) (struct.new $node (i64.const 2) (ref.null $node))))
            (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count))))
        (call $churn (local.get $times))
        (loop $add
            (local.set $i (i32.sub (local.get $i) (i32.const 1)))
            (local.set $sum (i64.add (local.get $sum)
                (call $sum (array.get $nodes (local.get $all) (local.get $i)))))
            (br_if $add (local.get $i)))
        (local.get $sum))
    (func (export "array") (param $count i32) (result i64) (local $sum i64) (local $all (ref $longs))
        (local.set $all (array.new $longs (i64.const -1) (local.get $count)))
        (local.set $all (array.new_default $longs (local.get $count)))
        (loop $add
            (local.set $count (i32.sub (local.get $count) (i32.const 1)))
            (local.set $sum (i64.or (local.get $sum) (array.get $longs (local.get $all) (local.get $count))))
            (br_if $add (local.get $count)))
        (local.get $sum))
    (func (export "large") (param i32) (drop (array.new_default $longs (local.get 0)))))"#;

fn triangle(count: u64) -> u64 {
    count * (count + 1) / 2
}

#[test]
fn garbage_is_collected_under_pressure() {
    let mut instance = limited_text(&engine(), LISTS, 4 << 20);
    // Some 400 MB, and cycles, which no count of references would free.
    call(&mut instance, "churn", &[400_000]).unwrap();
    call(&mut instance, "cycles", &[400_000]).unwrap();
    assert!(instance.peak_memory_bytes() <= 4 << 20);
}

#[test]
fn what_is_referred_to_is_the_limit() {
    let mut instance = limited_text(&engine(), LISTS, 4 << 20);
    // A node takes 24 bytes.
    call(&mut instance, "keep", &[150_000]).unwrap();
    let trap = call(&mut instance, "local", &[150_000, 1]).unwrap_err();
    assert!(is_memory_limit(&trap.reason), "{trap}");
    // What the call had is garbage now, what was kept is not.
    assert_eq!(
        call(&mut instance, "sum", &[]).unwrap(),
        [triangle(150_000)]
    );
    call(&mut instance, "forget", &[]).unwrap();
    // A word on the stack may look like a reference to the long list and keep it for a call, but not for one after the other.
    let mut tries = (0..5).map(|_| call(&mut instance, "local", &[150_000, 1000]));
    assert_eq!(tries.find_map(Result::ok), Some(vec![triangle(150_000)]));
}

#[test]
fn deep_lists_are_kept() {
    let mut instance = limited_text(&engine(), LISTS, 64 << 20);
    call(&mut instance, "keep", &[400_000]).unwrap();
    for _ in 0..3 {
        let sum = call(&mut instance, "local", &[100_000, 40_000]).unwrap();
        assert_eq!(sum, [triangle(100_000)]);
        assert_eq!(
            call(&mut instance, "sum", &[]).unwrap(),
            [triangle(400_000)]
        );
    }
}

#[test]
fn more_objects_wait_to_be_looked_through_than_there_is_room_for() {
    let mut instance = limited_text(&engine(), LISTS, 96 << 20);
    let sum = call(&mut instance, "wide", &[300_000, 100_000]).unwrap();
    assert_eq!(sum, [300_000 * 3]);
}

#[test]
fn freed_bytes_are_zero_in_the_next_object() {
    let mut instance = limited_text(&engine(), LISTS, 64 << 20);
    for count in [1, 100, 20_000, 400_000, 100_000, 7] {
        for _ in 0..4 {
            let sum = call(&mut instance, "array", &[count]).unwrap();
            assert_eq!(sum, [0], "{count} elements");
            call(&mut instance, "churn", &[2000]).unwrap();
        }
    }
}

#[test]
fn the_one_free_run_that_is_long_enough_is_the_last_of_many() {
    // So many pairs of which the second dies, and after them all a large object that dies too.
    const TEXT: &str = r#"(module
        (type $live (struct)) (type $dead (struct (field i64 i64 i64))) (type $bytes (array (mut i8)))
        (type $lives (array (mut (ref null $live)))) (type $deads (array (mut (ref null $dead))))
        (global $lives (mut (ref null $lives)) (ref.null $lives))
        (func (export "f") (param $count i32) (param $bytes i32) (result i32)
            (local $index i32) (local $deads (ref $deads)) (local $large (ref null $bytes))
            (global.set $lives (array.new_default $lives (local.get $count)))
            (local.set $deads (array.new_default $deads (local.get $count)))
            (loop $more
                (array.set $lives (global.get $lives) (local.get $index) (struct.new $live))
                (array.set $deads (local.get $deads) (local.get $index) (struct.new_default $dead))
                (local.set $index (i32.add (local.get $index) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $index) (local.get $count))))
            (local.set $large (array.new $bytes (i32.const 7) (local.get $bytes)))
            (array.fill $deads (local.get $deads) (i32.const 0) (ref.null $dead) (local.get $count))
            (local.set $large (ref.null $bytes))
            (local.set $large (array.new_default $bytes (local.get $bytes)))
            (i32.add (array.get_u $bytes (local.get $large) (i32.const 0))
                (i32.add (array.len (local.get $large)) (array.len (global.get $lives))))))"#;
    const COUNT: u64 = 50_000;
    const LARGE: u64 = 1 << 20;
    // Each pair takes 40 bytes, and 16 in the arrays: there is room for one large object and not for two.
    let limit = COUNT * 56 + LARGE + LARGE / 2;
    let mut instance = limited_text(&engine(), TEXT, limit);
    let result = call(&mut instance, "f", &[COUNT, LARGE]);
    assert_eq!(result.unwrap(), [LARGE + COUNT]);
}

#[test]
fn objects_larger_than_any_heap() {
    let mut instance = limited_text(&engine(), LISTS, 1 << 20);
    let large = Reason::Trap(TrapKind::AllocationTooLarge);
    for count in [u64::from(u32::MAX), 1 << 29, (1 << 29) - 2] {
        let trap = call(&mut instance, "large", &[count]).unwrap_err();
        assert_eq!(trap.reason, large, "{count}");
    }
    for count in [(1 << 29) - 3, 1 << 17] {
        let trap = call(&mut instance, "large", &[count]).unwrap_err();
        assert!(is_memory_limit(&trap.reason), "{count}: {trap}");
    }
    call(&mut instance, "large", &[(1 << 17) - 1000]).unwrap();
}

/// Every way to hold a reference while others are made: as operands, as arguments, in frames, as the address of an element.
#[test]
fn references_only_in_registers_across_a_collection() {
    let text = r#"(module
        (type $box (struct (field i32)))
        (type $pair2 (struct (field (ref $box)) (field (ref $box))))
        (type $pair (struct (field (ref $box)) (field (ref $pair2)) (field (ref $box))))
        (type $boxes (array (mut (ref null $box))))
        (type $bytes (array (mut i8)))
        (func $churn (param $times i32)
            (loop $again
                (drop (array.new_default $bytes (i32.const 600)))
                (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
        (func $box (param i32) (result (ref $box))
            (struct.new $box (local.get 0)) (call $churn (i32.const 300)))
        (func $value (param (ref $box)) (result i32) (struct.get $box 0 (local.get 0)))
        ;; Operands below a call, and fields of an object that is not made yet.
        (func (export "operands") (param $i i32) (result i32) (local $pair (ref $pair))
            (local.set $pair (struct.new $pair
                (call $box (local.get $i))
                (struct.new $pair2
                    (call $box (i32.add (local.get $i) (i32.const 1)))
                    (call $box (i32.add (local.get $i) (i32.const 2))))
                (call $box (i32.add (local.get $i) (i32.const 3)))))
            (call $churn (i32.const 3000))
            (i32.add
                (i32.add (call $value (struct.get $pair 0 (local.get $pair)))
                    (call $value (struct.get $pair 2 (local.get $pair))))
                (i32.add (call $value (struct.get $pair2 0 (struct.get $pair 1 (local.get $pair))))
                    (call $value (struct.get $pair2 1 (struct.get $pair 1 (local.get $pair)))))))
        ;; In the frames of a recursion.
        (func $deep (export "deep") (param $depth i32) (result i32) (local $box (ref $box))
            (if (result i32) (i32.eqz (local.get $depth))
                (then (call $churn (i32.const 4000)) (i32.const 0))
                (else
                    (local.set $box (struct.new $box (local.get $depth)))
                    (call $deep (i32.sub (local.get $depth) (i32.const 1)))
                    (i32.add (call $value (local.get $box))))))
        ;; The array is used after the last mention of it, by the address of an element.
        (func (export "element") (param $i i32) (result i32) (local $all (ref null $boxes)) (local $bytes (ref null $bytes))
            (local.set $bytes (array.new $bytes (i32.const 7) (i32.const 100000)))
            (local.set $all (array.new $boxes (call $box (i32.const 5)) (i32.const 1000)))
            (array.set $boxes (local.get $all) (local.get $i)
                (block (result (ref $box)) (call $churn (i32.const 3000)) (call $box (i32.const 9))))
            (array.fill $bytes (local.get $bytes) (local.get $i)
                (block (result i32) (call $churn (i32.const 3000)) (i32.const 1)) (i32.const 3))
            (i32.add
                (i32.mul (i32.const 100) (array.get_u $bytes (local.get $bytes) (i32.add (local.get $i) (i32.const 2))))
                (i32.add
                    (call $value (ref.as_non_null (array.get $boxes (local.get $all) (local.get $i))))
                    (call $value (ref.as_non_null (array.get $boxes (local.get $all) (i32.const 999)))))))
        ;; As an external reference, which looks like another word.
        (func (export "external") (param $i i32) (result i32) (local $out externref)
            (local.set $out (extern.convert_any (call $box (local.get $i))))
            (call $churn (i32.const 5000))
            (call $value (ref.cast (ref $box) (any.convert_extern (local.get $out))))))"#;
    let mut instance = limited_text(&engine(), text, 3 << 20);
    for i in 0..10 {
        let got = call(&mut instance, "operands", &[i]).unwrap();
        assert_eq!(got, [4 * i + 6]);
        assert_eq!(call(&mut instance, "element", &[i]).unwrap(), [114]);
        assert_eq!(call(&mut instance, "external", &[i]).unwrap(), [i]);
    }
    assert_eq!(
        call(&mut instance, "deep", &[5000]).unwrap(),
        [triangle(5000)]
    );
}

/// Whatever an instance holds references in.
const ROOTS: &str = r#"(module
    (type $box (struct (field i32)))
    (type $boxes (array (mut (ref null $box))))
    (type $bytes (array i8))
    (global $constant (ref $box) (struct.new $box (i32.const 1)))
    (global $global (mut anyref) (ref.null any))
    (global $external (mut externref) (ref.null extern))
    (global $exception (mut exnref) (ref.null exn))
    (table $table 3 20 (ref null $box))
    (table $filled 4 (ref $box) (struct.new $box (i32.const 2)))
    (elem $segment (ref $box) (struct.new $box (i32.const 3)) (struct.new $box (i32.const 4)))
    (tag $tag (param (ref $box)))
    (func $throw (param i32) (throw $tag (struct.new $box (local.get 0))))
    (func (export "churn") (param $times i32)
        (loop $again
            (drop (array.new_default $bytes (i32.const 500)))
            (br_if $again (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))
    (func (export "set") (param $i i32)
        (global.set $global (struct.new $box (i32.add (local.get $i) (i32.const 10))))
        (global.set $external (extern.convert_any (struct.new $box (i32.add (local.get $i) (i32.const 20)))))
        (table.set $table (i32.const 2) (struct.new $box (i32.add (local.get $i) (i32.const 30))))
        (block $caught (result (ref $box) exnref)
            (try_table (catch_ref $tag $caught)
                (call $throw (i32.add (local.get $i) (i32.const 40))))
            (unreachable))
        (global.set $exception) (drop))
    (func $value (param anyref) (result i32) (struct.get $box 0 (ref.cast (ref $box) (local.get 0))))
    (func (export "get") (result i32 i32 i32 i32 i32 i32 i32 i32)
        (local $boxes (ref $boxes))
        (local.set $boxes (array.new_elem $boxes $segment (i32.const 0) (i32.const 2)))
        (call $value (global.get $constant))
        (call $value (table.get $filled (i32.const 3)))
        (call $value (array.get $boxes (local.get $boxes) (i32.const 0)))
        (call $value (array.get $boxes (local.get $boxes) (i32.const 1)))
        (call $value (global.get $global))
        (call $value (any.convert_extern (global.get $external)))
        (call $value (table.get $table (i32.const 2)))
        (block $caught (result (ref $box))
            (try_table (catch $tag $caught) (throw_ref (global.get $exception)))
            (unreachable))
        (call $value))
    ;; The values of a segment are made once.
    (func (export "same") (result i32)
        (ref.eq
            (array.get $boxes (array.new_elem $boxes $segment (i32.const 0) (i32.const 2)) (i32.const 1))
            (array.get $boxes (array.new_elem $boxes $segment (i32.const 1) (i32.const 1)) (i32.const 0)))))"#;

#[test]
fn whatever_the_instance_holds_references_in_is_kept() {
    let mut instance = limited_text(&engine(), ROOTS, 2 << 20);
    for i in 0..5 {
        call(&mut instance, "set", &[i]).unwrap();
        call(&mut instance, "churn", &[20_000]).unwrap();
        let got = call(&mut instance, "get", &[]).unwrap();
        assert_eq!(got, [1, 2, 3, 4, 10 + i, 20 + i, 30 + i, 40 + i]);
        assert_eq!(call(&mut instance, "same", &[]).unwrap(), [1]);
    }
}

#[test]
fn objects_are_frozen_restored_and_gone_after_a_reset() {
    let mut instance = limited_text(&engine(), ROOTS, 4 << 20);
    call(&mut instance, "set", &[0]).unwrap();
    call(&mut instance, "churn", &[5000]).unwrap();
    let image = freeze(&mut instance);
    drop(instance);
    let mut instance = restore(&image);
    let expected = [1, 2, 3, 4, 10, 20, 30, 40];
    for round in 1..6 {
        assert_eq!(call(&mut instance, "get", &[]).unwrap(), expected);
        call(&mut instance, "set", &[round]).unwrap();
        call(&mut instance, "churn", &[20_000]).unwrap();
        let got = call(&mut instance, "get", &[]).unwrap();
        assert_eq!(got[4..], [10 + round, 20 + round, 30 + round, 40 + round]);
        instance.reset(Box::new(())).unwrap();
        assert_eq!(instance.peak_memory_bytes(), image.memory_bytes());
        if round == 3 {
            instance.trim().unwrap();
        }
    }
    assert_eq!(call(&mut instance, "get", &[]).unwrap(), expected);
}

#[test]
fn a_reset_instance_has_all_of_its_limit_again() {
    let engine = engine();
    let linked = linked(&engine, LISTS, &Imports::new());
    let image = freeze(&mut fresh(&linked));
    let limits = Limits {
        memory_bytes: 2 << 20,
        ..Limits::default()
    };
    let mut instance = image.restore(limits, Box::new(())).unwrap();
    for _ in 0..5 {
        call(&mut instance, "keep", &[80_000]).unwrap();
        let trap = call(&mut instance, "local", &[80_000, 1]).unwrap_err();
        assert!(is_memory_limit(&trap.reason), "{trap}");
        instance.reset(Box::new(())).unwrap();
        assert_eq!(instance.peak_memory_bytes(), 0);
        assert_eq!(call(&mut instance, "sum", &[]).unwrap(), [0]);
    }
}

#[test]
fn references_to_objects_that_the_host_makes_up() {
    let engine = engine();
    let text = r#"(module
        (type $box (struct (field i64) (field funcref)))
        (type $call (func))
        (import "host" "forge" (func $forge (param i64) (result anyref)))
        (global $box (ref $box) (struct.new $box (i64.const 77) (ref.null func)))
        (func (export "box") (result (ref $box)) (global.get $box))
        (func (export "external") (result externref) (extern.convert_any (global.get $box)))
        (func (export "take box") (param (ref null $box)) (result i32) (ref.is_null (local.get 0)))
        (func (export "take struct") (param structref) (result i32) (ref.is_null (local.get 0)))
        (func (export "take eq") (param eqref) (result i32) (ref.is_null (local.get 0)))
        (func (export "take any") (param anyref) (result i32)
            (ref.test (ref $box) (local.get 0)))
        (func (export "take external") (param externref) (result i32)
            (ref.test (ref $box) (any.convert_extern (local.get 0))))
        (func (export "round trip") (param externref) (result externref)
            (extern.convert_any (any.convert_extern (local.get 0))))
        (func (export "number") (param (ref null i31)) (result i32) (i31.get_s (local.get 0)))
        (func (export "forge") (param i64) (result i32)
            (ref.test (ref $box) (call $forge (local.get 0)))))"#;
    let mut imports = Imports::new();
    let forge = FunctionType {
        parameters: vec![ValueType::I64],
        results: vec![ValueType::Reference(ReferenceType {
            nullable: true,
            heap: HeapType::Any,
        })],
    };
    imports.define_untyped("host", "forge", forge, std::rc::Rc::new(|_, _| Ok(())));
    let mut instance = fresh(&linked(&engine, text, &imports));
    let real = call(&mut instance, "box", &[]).unwrap()[0];
    let external = call(&mut instance, "external", &[]).unwrap()[0];
    // What guests made is theirs; the host cannot give it back, nor anything like it.
    for word in [
        real,
        real + 8,
        8,
        16,
        1 << 20,
        u64::from(u32::MAX) - 7,
        1 << 63,
        1 << 32,
    ] {
        for name in ["take box", "take struct", "take eq", "take any"] {
            let refused = catch_unwind(AssertUnwindSafe(|| call(&mut instance, name, &[word])));
            assert!(refused.is_err(), "{name} {word:#x}");
        }
        let reason = call(&mut instance, "forge", &[word]).unwrap_err().reason;
        assert!(matches!(reason, Reason::HostPanic(_)), "{reason:?}");
    }
    for word in [external, 1 << 63, 1 << 63 | 8, u64::MAX, 1 << 62, 3 << 62] {
        for name in ["take external", "round trip"] {
            let refused = catch_unwind(AssertUnwindSafe(|| call(&mut instance, name, &[word])));
            assert!(refused.is_err(), "{name} {word:#x}");
        }
    }
    // Null, numbers, and references of the host's own are no objects.
    for name in ["take box", "take struct", "take eq"] {
        assert_eq!(call(&mut instance, name, &[0]).unwrap(), [1], "{name}");
    }
    for word in [
        0,
        1,
        5,
        u64::from(u32::MAX),
        internalize(1),
        internalize((1 << 62) - 1),
    ] {
        assert_eq!(
            call(&mut instance, "take any", &[word]).unwrap(),
            [0],
            "{word:#x}"
        );
        assert_eq!(
            call(&mut instance, "forge", &[word]).unwrap(),
            [0],
            "{word:#x}"
        );
    }
    for word in [0, 1, 2, 3, 8, real, 1 << 40, (1 << 62) - 1, 1 << 63 | 9] {
        assert_eq!(call(&mut instance, "take external", &[word]).unwrap(), [0]);
        assert_eq!(call(&mut instance, "round trip", &[word]).unwrap(), [word]);
    }
    assert_eq!(call(&mut instance, "number", &[9]).unwrap(), [4]);
    let null = Reason::Trap(TrapKind::NullI31Reference);
    assert_eq!(
        call(&mut instance, "number", &[0]).unwrap_err().reason,
        null
    );
}

#[test]
fn numbers_and_external_references_need_no_heap() {
    let text = r#"(module
        (func (export "test") (param anyref) (result i32)
            (i32.or (ref.test structref (local.get 0)) (ref.test arrayref (local.get 0))))
        (func (export "convert") (param externref) (result i32)
            (ref.test (ref struct) (any.convert_extern (local.get 0)))))"#;
    let engine = engine();
    let mut instance = fresh(&linked(&engine, text, &Imports::new()));
    assert_eq!(call(&mut instance, "test", &[5]).unwrap(), [0]);
    assert_eq!(call(&mut instance, "test", &[0]).unwrap(), [1]);
    for word in [1, 8, 1 << 63 | 8, u64::MAX] {
        assert_eq!(call(&mut instance, "convert", &[word]).unwrap(), [0]);
    }
}

#[test]
fn preempted_in_a_collection() {
    let engine = Engine::new(&EngineOptions {
        tick: Duration::from_micros(50),
        ..EngineOptions::default()
    })
    .unwrap();
    let linked = linked(&engine, LISTS, &Imports::new());
    let mut instances: Vec<Instance> = (0..3).map(|_| limited(&linked, 32 << 20)).collect();
    let run = linked.module().function("local").unwrap();
    for instance in &mut instances {
        call(instance, "keep", &[100_000]).unwrap();
    }
    let mut preempted = 0;
    for round in 0..4 {
        for instance in &mut instances {
            instance.begin(run, &[20_000, 40_000]).unwrap();
        }
        let mut waiting: Vec<&mut Instance> = instances.iter_mut().collect();
        while !waiting.is_empty() {
            waiting.retain_mut(|instance| match instance.resume() {
                Progress::Returned(words) => {
                    assert_eq!(words, [triangle(20_000)]);
                    false
                }
                Progress::Preempted => {
                    preempted += 1;
                    true
                }
                other => panic!("{other:?}"),
            });
        }
        // One is stopped wherever it is, also within a collection, and goes on with what it has.
        let stopped = &mut instances[round % 3];
        stopped.begin(run, &[20_000, 40_000]).unwrap();
        for _ in 0..20 + round {
            if !matches!(stopped.resume(), Progress::Preempted) {
                panic!("it is not done so soon");
            }
        }
        stopped.stop(Reason::Exit(1));
        for instance in &mut instances {
            assert_eq!(call(instance, "sum", &[]).unwrap(), [triangle(100_000)]);
        }
    }
    assert!(preempted > 100, "preempted {preempted} times only");
}

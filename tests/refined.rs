//! Loops whose addresses, counters and loads the compiler brings into other forms: what they compute, and where they trap.
//!
//! Each is a hazard of `src/compile/refine`: a sum that is taken for one that does not wrap, and does, is an access beyond the
//! memory. So nearly all of these reach their memory's last bytes, or wrap on their way to it.
//!
//! Tests of these fail when a sum of bounds, or a bound and a constant, are taken not to wrap; when a bound need not be met exactly, or may lie behind
//! the counter's start; when an index is extended with its sign; when a part that changes is taken for one that stays; when a
//! comparison is not moved along with its counter; when a load is moved across a store.

mod support;

use dormouse::{Instance, Reason, TrapKind};
use support::{call, engine, instance};

/// A module of one page whose byte at `n` is `n % 251`, and a function made of this body, of two parameters and four locals.
fn function(body: &str) -> Instance {
    let engine = engine();
    let wat = format!(
        r#"(module (memory (export "memory") 1 1)
            (global $rounds (export "rounds") (mut i32) (i32.const 0))
            (func (export "rounds_of") (result i32) (global.get $rounds))
            (func $round (global.set $rounds (i32.add (global.get $rounds) (i32.const 1))))
            (func (export "run") (param $x i32) (param $y i32) (result i32)
                (local $i i32) (local $j i32) (local $sum i32) (local $t i32)
                {body}
                (local.get $sum)))"#
    );
    let mut instance = instance(&engine, &wat);
    for (at, byte) in instance.memory().iter_mut().enumerate() {
        *byte = (at % 251) as u8;
    }
    instance
}

/// Puts words into memory.
fn put(instance: &mut Instance, words: &[(usize, u32)]) {
    for (at, word) in words {
        instance.memory()[*at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
}

/// The sum of the bytes at these places.
fn bytes(places: impl IntoIterator<Item = u32>) -> u32 {
    places.into_iter().map(|place| place % 251).sum()
}

fn returns(instance: &mut Instance, arguments: [u32; 2], expected: u32) {
    let arguments = arguments.map(u64::from);
    assert_eq!(
        call(instance, "run", &arguments).unwrap(),
        [expected.into()]
    );
}

fn traps(instance: &mut Instance, arguments: [u32; 2], kind: TrapKind) {
    let arguments = arguments.map(u64::from);
    let trap = call(instance, "run", &arguments).unwrap_err();
    assert_eq!(trap.reason, Reason::Trap(kind));
}

/// That a function goes out of bounds after so many rounds, no sooner and no later.
fn leaves_memory_after(instance: &mut Instance, rounds: u32) {
    let before = call(instance, "rounds_of", &[]).unwrap()[0];
    traps(instance, [0, 0], TrapKind::MemoryOutOfBounds);
    let after = call(instance, "rounds_of", &[]).unwrap()[0];
    assert_eq!(after - before, rounds.into());
}

/// A loop that counts from one number by another until it meets a third, its test last, which adds up the bytes at `index`.
fn counting(from: i32, by: i32, until: i32, index: &str, offset: u32) -> Instance {
    function(&format!(
        "(local.set $i (i32.const {from}))
        (loop $top
            (local.set $sum (i32.add (local.get $sum) (i32.load8_u offset={offset} {index})))
            (global.set $rounds (i32.add (global.get $rounds) (i32.const 1)))
            (br_if $top (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const {by}))) (i32.const {until}))))"
    ))
}

const COUNTER: &str = "(local.get $i)";

#[test]
fn a_counter_wraps_and_comes_back() {
    let index = "(i32.add (local.get $i) (i32.const 16))";
    let mut loops = counting(-16, 4, 16, index, 0);
    returns(&mut loops, [0, 0], bytes((0..32).step_by(4)));
    // From just below the greatest number, by one.
    let index = "(i32.add (local.get $i) (i32.const 1))";
    returns(&mut counting(-1, 1, 7, index, 0), [0, 0], bytes(0..8));
    // Without the sum it is out of bounds at once.
    leaves_memory_after(&mut counting(-1, 1, 7, COUNTER, 0), 0);
}

#[test]
fn a_bound_is_never_met() {
    // 3, 6, 9, and on to the end of the memory.
    leaves_memory_after(&mut counting(0, 3, 10, COUNTER, 0), 65536u32.div_ceil(3));
    let index = "(i32.add (local.get $i) (i32.const 65000))";
    leaves_memory_after(&mut counting(0, 3, 10, index, 0), 536u32.div_ceil(3));
    leaves_memory_after(&mut counting(0, 3, 10, COUNTER, 65000), 536u32.div_ceil(3));
}

#[test]
fn a_counter_begins_beyond_its_bound() {
    let index = "(i32.add (local.get $i) (i32.const 65500))";
    leaves_memory_after(&mut counting(20, 1, 10, index, 0), 16);
    // Downwards below its bound: through 0 to the greatest numbers.
    leaves_memory_after(&mut counting(5, -1, 10, COUNTER, 0), 6);
}

/// A loop whose only access is made in the round where its counter is `when`, at the counter and a constant.
fn once(counts: [i32; 3], when: i32, constant: i32) -> Instance {
    let [from, by, until] = counts;
    function(&format!(
        "(local.set $i (i32.const {from}))
        (loop $top
            (if (i32.eq (local.get $i) (i32.const {when}))
                (then (local.set $sum (i32.add (i32.const 1000)
                    (i32.load8_u (i32.add (local.get $i) (i32.const {constant})))))))
            (br_if $top (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const {by}))) (i32.const {until}))))"
    ))
}

#[test]
fn a_bound_is_met_only_after_the_counter_wrapped() {
    // 0, 3, 6, 9, 12, 15, 2 and on: 4 is met in the end, but not between 3 and 6.
    let sixteenth = 1 << 28;
    let mut loops = once([0, 3 * sixteenth, 4 * sixteenth], -sixteenth, sixteenth + 7);
    returns(&mut loops, [0, 0], 1007);
    // By one, from beyond the bound: where it is -1 it is not between the two.
    returns(&mut once([-2, 1, 5], -1, 8), [0, 0], 1007);
    returns(&mut once([-2, 1, 5], -1, 1), [0, 0], 1000);
    returns(&mut once([2, -1, -5], -1, 1), [0, 0], 1000);
    returns(&mut once([2, -1, -5], -3, 3), [0, 0], 1000);
}

#[test]
fn a_counter_goes_down() {
    returns(
        &mut counting(100, -4, 0, COUNTER, 0),
        [0, 0],
        bytes((4..=100).step_by(4)),
    );
    // Past 0 without meeting it.
    leaves_memory_after(&mut counting(98, -4, 0, COUNTER, 0), 25);
    let index = "(i32.add (local.get $i) (i32.const -4))";
    returns(
        &mut counting(100, -4, 0, index, 0),
        [0, 0],
        bytes((0..=96).step_by(4)),
    );
    let index = "(i32.add (local.get $i) (i32.const -5))";
    leaves_memory_after(&mut counting(100, -4, 0, index, 0), 24);
}

#[test]
fn the_last_round_reaches_the_last_byte() {
    let index = "(i32.add (local.get $i) (i32.const 65530))";
    returns(
        &mut counting(0, 1, 6, index, 0),
        [0, 0],
        bytes(65530..65536),
    );
    leaves_memory_after(&mut counting(0, 1, 7, index, 0), 6);
    returns(
        &mut counting(0, 1, 6, COUNTER, 65530),
        [0, 0],
        bytes(65530..65536),
    );
    leaves_memory_after(&mut counting(0, 1, 7, COUNTER, 65530), 6);
    leaves_memory_after(&mut counting(0, 1, 6, index, 6), 0);
}

#[test]
fn offsets_reach_beyond_the_guard() {
    for offset in [32 << 20, (32 << 20) - 1, i32::MAX as u32, u32::MAX] {
        leaves_memory_after(&mut counting(0, 1, 6, COUNTER, offset), 0);
        let index = "(i32.add (local.get $i) (i32.const 65535))";
        leaves_memory_after(&mut counting(0, 1, 6, index, offset), 0);
    }
    // The sum of index and offset does not wrap, unlike that of the index itself.
    let index = "(i32.add (local.get $i) (i32.const -8))";
    leaves_memory_after(&mut counting(8, 1, 16, index, 65534), 2);
    leaves_memory_after(&mut counting(0, 1, 16, index, 16), 0);
}

/// Two loops, one in the other, which add up the bytes at the sum of their counters and a constant.
fn nested(outer: [i32; 2], inner: [i32; 2], constant: i32) -> Instance {
    let ([a, b], [c, d]) = (outer, inner);
    function(&format!(
        "(local.set $i (i32.const {a}))
        (loop $rows
            (local.set $j (i32.const {c}))
            (loop $columns
                (local.set $sum (i32.add (local.get $sum)
                    (i32.load8_u (i32.add (i32.add (local.get $i) (local.get $j)) (i32.const {constant})))))
                (global.set $rounds (i32.add (global.get $rounds) (i32.const 1)))
                (br_if $columns (i32.ne (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const {d}))))
            (br_if $rows (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {b}))))"
    ))
}

#[test]
fn a_sum_of_counters_wraps_by_one() {
    let all =
        |first: u32| bytes((0..8).flat_map(|row| (0..8).map(move |column| first + row + column)));
    // Half of the numbers each: the least sum is 2^32, which is 0.
    let half = i32::MIN;
    returns(
        &mut nested([half, half + 8], [half, half + 8], 0),
        [0, 0],
        all(0),
    );
    // The least sum is 2^32 - 1, all others wrap.
    let mut sums = nested([half, half + 8], [i32::MAX, half + 7], 1);
    returns(&mut sums, [0, 0], all(0));
    leaves_memory_after(&mut nested([half, half + 8], [i32::MAX, half + 7], 0), 0);
    // The greatest does not, and is brought back by the constant.
    returns(
        &mut nested([half, half + 8], [i32::MAX - 14, i32::MAX - 6], 15),
        [0, 0],
        all(0),
    );
    // In bounds of 32 bits, and out of those of the memory.
    leaves_memory_after(&mut nested([65529, 65537], [0, 8], 0), 7);
}

#[test]
fn scaled_counters_wrap() {
    // 2^30 * 4 is 0; the product of both is what it is modulo 2^32.
    let quarter = 1 << 30;
    let index = "(i32.shl (local.get $i) (i32.const 2))";
    let mut loops = counting(quarter, 1, quarter + 8, index, 0);
    returns(&mut loops, [0, 0], bytes((0..32).step_by(4)));
    let index = "(i32.mul (local.get $i) (i32.const 65536))";
    leaves_memory_after(&mut counting(65535, 1, 65540, index, 0), 0);
    returns(&mut counting(65536, 65536, 65536 * 3, index, 0), [0, 0], 0);
}

#[test]
fn a_loop_is_left_by_another_way() {
    let mut loops = function(
        "(block $out (loop $top
            (local.set $t (i32.load8_u (i32.add (local.get $i) (i32.const 65436))))
            (local.set $sum (i32.add (local.get $sum) (local.get $t)))
            (br_if $out (i32.eq (local.get $t) (local.get $x)))
            (global.set $rounds (i32.add (global.get $rounds) (i32.const 1)))
            (br_if $top (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000)))))",
    );
    returns(&mut loops, [65500 % 251, 0], bytes(65436..=65500));
    traps(&mut loops, [251, 0], TrapKind::MemoryOutOfBounds);
}

#[test]
fn an_inner_loop_changes_the_counter_of_the_outer() {
    let body = |until: u32| {
        format!(
            "(local.set $i (i32.const 0))
            (loop $outer
                (local.set $j (i32.const 0))
                (loop $inner
                    (local.set $sum (i32.add (local.get $sum) (i32.load8_u (i32.add (local.get $i) (i32.const 65500)))))
                    (global.set $rounds (i32.add (global.get $rounds) (i32.const 1)))
                    (local.set $i (i32.add (local.get $i) (i32.const 3)))
                    (br_if $inner (i32.ne (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 2))))
                (br_if $outer (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {until}))))"
        )
    };
    returns(
        &mut function(&body(14)),
        [0, 0],
        bytes([0, 3, 7, 10].map(|place| place + 65500)),
    );
    // 7, 14, 21: it is not met at 10, and what was 36 bytes long ends in the eleventh round.
    leaves_memory_after(&mut function(&body(10)), 11);
}

#[test]
fn what_is_loaded_is_an_index_without_a_sign() {
    // Each word leads to the next.
    let mut loops = function(
        "(local.set $i (local.get $x))
        (loop $top
            (local.set $i (i32.load (local.get $i)))
            (global.set $rounds (i32.add (global.get $rounds) (i32.const 1)))
            (local.set $sum (i32.add (local.get $sum) (i32.load8_u (i32.add (local.get $i) (local.get $y)))))
            (br_if $top (i32.ne (local.get $i) (i32.const 128))))",
    );
    let links = [(64, 0xffff_fff0), (100, 128), (256, 100), (512, 1 << 31)];
    put(&mut loops, &links);
    let places = [100u32, 128].map(|place| u32::from(loops.memory()[place as usize]));
    returns(&mut loops, [256, 0], places.iter().sum());
    traps(&mut loops, [64, 0], TrapKind::MemoryOutOfBounds);
    traps(&mut loops, [512, 0], TrapKind::MemoryOutOfBounds);
    // 2^32 - 16 and 32 are 16, and what is loaded there is within the memory for one round.
    traps(&mut loops, [64, 32], TrapKind::MemoryOutOfBounds);
    let mut chase = function(
        "(local.set $i (local.get $x))
        (loop $top
            (local.set $i (i32.load (local.get $i)))
            (br_if $top (i32.ne (local.get $i) (i32.const 128))))
        (local.set $sum (i32.load8_u (local.get $i)))",
    );
    put(&mut chase, &links);
    returns(&mut chase, [100, 0], 128);
    traps(&mut chase, [64, 0], TrapKind::MemoryOutOfBounds);
    traps(&mut chase, [512, 0], TrapKind::MemoryOutOfBounds);
    let mut once = function(
        "(local.set $sum (i32.load8_u (i32.add (i32.load (local.get $x)) (local.get $y))))",
    );
    put(&mut once, &links);
    returns(&mut once, [64, 32], 16);
    traps(&mut once, [64, 15], TrapKind::MemoryOutOfBounds);
}

#[test]
fn an_index_comes_by_a_table() {
    let mut loops = function(
        "(loop $top
            (local.set $t
                (block $a (result i32)
                    (i32.add (i32.const 1)
                        (block $b (result i32)
                            (i32.add (i32.const -1)
                                (block $c (result i32)
                                    (br_table $a $b $c $b $a (i32.load (local.get $x)) (local.get $i))))))))
            (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $t))))
            (br_if $top (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))",
    );
    put(
        &mut loops,
        &[(1000, 65534), (2000, 65535), (3000, u32::MAX)],
    );
    returns(
        &mut loops,
        [1000, 0],
        bytes([65534, 65535, 65534, 65535, 65534]),
    );
    traps(&mut loops, [2000, 0], TrapKind::MemoryOutOfBounds);
    traps(&mut loops, [3000, 0], TrapKind::MemoryOutOfBounds);
}

#[test]
fn of_a_load_and_a_division_the_first_traps() {
    let both = |first: &str, second: &str| {
        function(&format!(
            "(loop $top
                (local.set $sum (i32.add (local.get $sum) (i32.add {first} {second})))
                (br_if $top (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))"
        ))
    };
    let load = "(i32.load (local.get $x))";
    let division = "(i32.div_u (i32.const 8) (local.get $y))";
    let mut loaded_first = both(load, division);
    traps(&mut loaded_first, [65533, 0], TrapKind::MemoryOutOfBounds);
    traps(
        &mut loaded_first,
        [65532, 0],
        TrapKind::IntegerDivisionByZero,
    );
    let mut divided_first = both(division, load);
    traps(
        &mut divided_first,
        [65533, 0],
        TrapKind::IntegerDivisionByZero,
    );
    traps(&mut divided_first, [65533, 1], TrapKind::MemoryOutOfBounds);
}

#[test]
fn what_was_loaded_stays_when_it_is_overwritten() {
    for between in [
        "(i32.store (local.get $x) (i32.const 9))",
        "(call $round) (memory.fill (local.get $x) (i32.const 1) (i32.const 4))",
        "(drop (i32.atomic.rmw.add (local.get $x) (i32.const 5)))",
        "(i64.store8 offset=1 (local.get $x) (i64.const 77))",
    ] {
        let mut loops = function(&format!(
            "(local.set $t (i32.load (local.get $x)))
            {between}
            (local.set $sum (i32.sub (local.get $y) (local.get $t)))"
        ));
        put(&mut loops, &[(64, 1000)]);
        returns(&mut loops, [64, 5000], 4000);
    }
}

#[test]
fn a_comparison_is_used_before_the_counter_advances() {
    let mut loops = function(
        "(loop $top
            (local.set $t (i32.ne (local.get $i) (i32.const 9)))
            (i32.store8 (local.get $i) (local.get $t))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (local.set $sum (i32.add (local.get $sum) (local.get $t)))
            (br_if $top (local.get $t)))
        (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 100)) (local.get $i)))",
    );
    returns(&mut loops, [0, 0], 910);
    assert_eq!(loops.memory()[..11], [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 10]);
}

/// A vector that is shifted along by a lane each time round, and what the loop's last round left in it.
#[test]
fn vectors_are_carried_round_loops() {
    let engine = engine();
    for (shape, ty, bytes) in [
        ("i32x4", "i32", 4usize),
        ("f32x4", "f32", 4),
        ("i64x2", "i64", 8),
        ("f64x2", "f64", 8),
        ("i16x8", "i32", 2),
        ("i8x16", "i32", 1),
    ] {
        let lanes = 16 / bytes;
        let mask: Vec<String> = (bytes..16 + bytes).map(|byte| byte.to_string()).collect();
        let sign = if bytes < 4 { "_u" } else { "" };
        let part = match bytes {
            1 => "8",
            2 => "16",
            _ => "",
        };
        let (load, store) = (
            format!("{ty}.load{part}{sign}"),
            format!("{ty}.store{part}"),
        );
        let mut instance = instance(
            &engine,
            &format!(
                r#"(module (memory (export "memory") 1 1)
                (func (export "run") (param $x i32) (param $y i32) (result i32) (local $v v128) (local $i i32)
                    (local.set $v (v128.load offset=1024 (local.get $y)))
                    (loop $top
                        ({store} offset=4096 (local.get $i) ({shape}.extract_lane{sign} 0 (local.get $v)))
                        (local.set $v (i8x16.shuffle {} (local.get $v) ({shape}.splat ({load} (local.get $i)))))
                        (br_if $top (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const {bytes}))) (i32.const {}))))
                    (v128.store offset=8192 (local.get $y) (local.get $v))
                    (i32.const 1)))"#,
                mask.join(" "),
                bytes * 10
            ),
        );
        for (at, byte) in instance.memory().iter_mut().take(2048).enumerate() {
            *byte = (at % 113) as u8;
        }
        returns(&mut instance, [0, 0], 1);
        let memory = instance.memory();
        let all = [&memory[1024..1040], &memory[..bytes * 10]].concat();
        assert_eq!(
            memory[4096..4096 + bytes * 10],
            all[..bytes * 10],
            "{shape}"
        );
        let left = &all[bytes * 10..bytes * 10 + 16];
        assert_eq!(memory[8192..8208], *left, "{shape} of {lanes} lanes");
    }
}

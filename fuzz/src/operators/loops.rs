//! Loops, with addresses that are sums of their counters and of what stays the same: what a compiler that knows how far a counter goes
//! may take apart, and must not where the sum wraps, the counter jumps, or the loop ends some other way.
//!
//! A loop whose counter meets its end after so many steps ends by that, also when the counter wraps on the way. Any other has so many
//! rounds and no more.

use super::tables::OPERATORS;
use super::{Place, constant, index_type, local, operation};
use crate::random::Random;

/// Loops in each other.
const DEPTH_MAX: usize = 3;

/// For each depth a counter, one that counts down, the rounds that are left, and a condition; and vectors that are only taken apart.
pub const LOCALS: &str = " (local $c0 i32) (local $c1 i32) (local $c2 i32) (local $e0 i32) (local $e1 i32) (local $e2 i32)
    (local $n0 i32) (local $n1 i32) (local $n2 i32) (local $k0 i32) (local $k1 i32) (local $k2 i32)
    (local $w0 v128) (local $w1 v128) (local $w2 v128)\n";

/// Something to load.
pub fn data(wide: bool, random: &mut Random) -> String {
    let ty = index_type(wide);
    let start = 0x400 * random.below(16);
    let bytes: String = random
        .bytes(3000)
        .iter()
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    format!("(data ({ty}.const {start}) \"{bytes}\")\n")
}

/// A loop.
pub fn append(text: &mut String, wide: bool, random: &mut Random) {
    let mut counters = Vec::new();
    a_loop(text, wide, &mut counters, random);
    for depth in 0..DEPTH_MAX {
        *text += &format!("(local.set $v0 (v128.xor (local.get $v0) (local.get $w{depth})))\n");
    }
}

/// An address from a few parts, most of the time one that is in the memory.
pub fn address(place: Place<'_>, random: &mut Random) -> String {
    let wild = random.chance(60);
    let masked = |mask: u32, random: &mut Random| match wild {
        true => format!("(local.get {})", local('i', random)),
        false => format!(
            "(i32.and (local.get {}) (i32.const {mask}))",
            local('i', random)
        ),
    };
    let counter = |random: &mut Random| {
        let counter = random.pick(place.counters);
        match random.below(4) {
            0 => format!(
                "(i32.shl (local.get {counter}) (i32.const {}))",
                random.below(4)
            ),
            1 => format!(
                "(i32.mul (local.get {counter}) (i32.const {}))",
                random.below(20)
            ),
            _ => format!("(local.get {counter})"),
        }
    };
    let mut sum = counter(random);
    // A part far up, and one that comes back down: together they wrap.
    let far = match random.below(3) {
        0 => Some(*random.pick(&[
            0x8000_0000u32,
            0xffff_f000,
            0xffff_ff80,
            0x4000_0000,
            0x10_0000,
        ])),
        _ => None,
    };
    let mut parts: Vec<String> = far
        .map(|far| {
            let near = (random.below(0x1000) as u32).wrapping_sub(far);
            vec![
                format!("(i32.const {})", far as i32),
                format!("(i32.const {})", near as i32),
            ]
        })
        .unwrap_or_default();
    for _ in 0..random.below(3) {
        let part = match random.below(5) {
            0 => counter(random),
            1 => format!("(i32.const {})", random.below(0x3000)),
            2 => format!("(i32.load8_u {})", extended(place, &masked(0xfff, random))),
            3 => masked(0xff, random),
            _ => masked(0x1fff, random),
        };
        let at = random.below(parts.len() as u64 + 1) as usize;
        parts.insert(at, part);
    }
    for part in parts {
        sum = match random.below(3) {
            0 => format!("(i32.add {part} {sum})"),
            1 if random.chance(6) => format!("(i32.sub {sum} {part})"),
            _ => format!("(i32.add {sum} {part})"),
        };
    }
    // Counters may be anywhere, and mostly what they are added up to is to be in the memory.
    if random.chance(6) {
        sum = format!("(i32.and {sum} (i32.const 0x1fff8))");
    }
    extended(place, &sum) + " "
}

fn extended(place: Place<'_>, index: &str) -> String {
    match place.wide {
        true => format!("(i64.extend_i32_u {index})"),
        false => index.to_owned(),
    }
}

fn a_loop(text: &mut String, wide: bool, counters: &mut Vec<String>, random: &mut Random) {
    // Each has two.
    let depth = counters.len() / 2;
    let (c, e, n, k) = (
        format!("$c{depth}"),
        format!("$e{depth}"),
        format!("$n{depth}"),
        format!("$k{depth}"),
    );
    let rounds = 1 + random.below(if depth == 0 { 40 } else { 9 }) as u32;
    let step = *random.pick(&[
        1,
        1,
        4,
        8,
        8,
        16,
        -1,
        -4,
        -8,
        3,
        0x100,
        0x1000,
        0x4000_0000,
        -0x8000_0000,
    ]);
    let start = match random.below(8) {
        0 => (step as u32).wrapping_mul(rounds / 2).wrapping_neg(),
        1 => random.interesting() as u32,
        2 => 0x1_0000,
        3 => random.below(64) as u32,
        _ => 0,
    };
    let end = start.wrapping_add((step as u32).wrapping_mul(rounds));
    // A start that is not known, or an end that may not be met.
    let other_start = match random.below(6) {
        0 => Some(format!(
            "(i32.and (local.get {}) (i32.const 31))",
            local('i', random)
        )),
        1 if depth > 0 => Some(format!("(local.get {})", random.pick(counters))),
        _ => None,
    };
    let (end, is_met) = match random.chance(8) {
        true => (random.interesting() as u32, false),
        false => (end, other_start.is_none()),
    };
    let start = other_start.unwrap_or(format!("(i32.const {})", start as i32));
    let (step, end) = (
        format!("(i32.const {step})"),
        format!("(i32.const {})", end as i32),
    );
    *text += &format!(
        "(local.set {c} {start}) (local.set {e} (i32.const {rounds})) (local.set {n} (i32.const {}))\n",
        rounds + 3
    );
    *text += &format!("(block $done{depth} (loop $next{depth}\n");
    counters.push(c.clone());
    counters.push(e.clone());
    let kind = random.below(7);
    // What counts down ends by that.
    let limited = kind != 5 && !(is_met && kind != 4 && random.chance(2));
    let limit = format!(
        "(br_if $done{depth} (i32.eqz (local.tee {n} (i32.sub (local.get {n}) (i32.const 1)))))\n"
    );
    let limit_first = random.chance(2);
    if limited && limit_first {
        *text += &limit;
    }
    let advance = format!("(local.set {c} (i32.add (local.get {c}) {step}))\n");
    let tee = format!("(local.tee {c} (i32.add (local.get {c}) {step}))");
    if kind == 1 {
        *text += &format!("(br_if $done{depth} (i32.eq (local.get {c}) {end}))\n");
    }
    if kind == 3 {
        // Compares before it counts, and uses the condition for something else too.
        *text += &format!("(local.set {k} (i32.ne (local.get {c}) (i32.sub {end} {step})))\n");
        let (to, a, b) = (local('i', random), local('i', random), local('i', random));
        *text +=
            &format!("(local.set {to} (select (local.get {a}) (local.get {b}) (local.get {k})))\n");
    }
    statements(text, wide, counters, limited, random);
    if limited && !limit_first {
        *text += &limit;
    }
    *text += &match kind {
        0 | 6 => format!("(br_if $next{depth} (i32.ne {tee} {end}))\n"),
        1 => format!("{advance} (br $next{depth})\n"),
        2 => format!(
            "{advance} (br_if $done{depth} (i32.eq (local.get {c}) {end})) (br $next{depth})\n"
        ),
        3 => {
            let (to, a, b) = (local('l', random), local('l', random), local('l', random));
            let select = format!(
                "(local.set {to} (select (local.get {a}) (local.get {b}) (i32.ne (local.get {c}) (i32.sub {end} {step}))))"
            );
            match random.chance(2) {
                true => format!("{select} {advance} (br_if $next{depth} (local.get {k}))\n"),
                false => format!("{advance} {select} (br_if $next{depth} (local.get {k}))\n"),
            }
        }
        4 => format!("(br_if $next{depth} (i32.lt_u {tee} {end}))\n"),
        _ => format!(
            "{advance} (br_if $next{depth} (local.tee {e} (i32.sub (local.get {e}) (i32.const 1))))\n"
        ),
    };
    *text += "))\n";
    counters.pop();
    counters.pop();
}

fn statements(
    text: &mut String,
    wide: bool,
    counters: &mut Vec<String>,
    limited: bool,
    random: &mut Random,
) {
    let depth = counters.len() / 2 - 1;
    for _ in 0..1 + random.below(7) {
        let place = Place { wide, counters };
        match random.below(16) {
            0 if depth + 1 < DEPTH_MAX => a_loop(text, wide, counters, random),
            1 | 2 => carried(text, depth, random),
            3 => {
                // Where the next one lies is loaded.
                let from = local('i', random);
                let index = extended(
                    place,
                    &format!("(i32.and (local.get {from}) (i32.const 0x3ff8))"),
                );
                *text += &format!("(local.set {from} (i32.load {index}))\n");
            }
            4 => {
                let (condition, to) = (local('i', random), local('i', random));
                *text += &format!(
                    "(if (local.get {condition}) (then (local.set {to} (i32.add (local.get {to}) (i32.const 1)))\n"
                );
                operation(text, &OPERATORS, place, random);
                *text += "))\n";
            }
            5 if limited && random.chance(3) => {
                // A counter that jumps.
                let (condition, counter) = (local('i', random), format!("$c{depth}"));
                *text += &format!(
                    "(if (i32.eq (local.get {condition}) (i32.const {})) (then (local.set {counter} (i32.add (local.get {counter}) (i32.const {})))))\n",
                    random.below(3),
                    random.interesting() as i32
                );
            }
            5 => {
                let to = local('i', random);
                let (counter, number) = (random.pick(counters), constant('i', random));
                *text += &format!(
                    "(local.set {to} (i32.add (local.get {to}) (i32.eq (local.get {counter}) ({number}))))\n"
                );
            }
            6 => {
                // An early end, or a step that is left out.
                let condition = comparison(place, random);
                let to = local('i', random);
                *text += &match random.chance(2) {
                    true => format!("(br_if $done{depth} {condition})\n"),
                    false => format!(
                        "(if {condition} (then (local.set {to} (i32.add (local.get {to}) (i32.const 3)))))\n"
                    ),
                };
            }
            7 | 8 => {
                // Loads as operands.
                let (ty, letter, op, lanes) = *random.pick(&[
                    ("f64", 'd', "f64.add", "f64"),
                    ("f32", 'f', "f32.mul", "f32"),
                    ("i64", 'l', "i64.add", "i64"),
                    ("i32", 'i', "i32.xor", "i32"),
                    ("v128", 'v', "f32x4.mul", "f32x4"),
                    ("v128", 'v', "i32x4.add", ""),
                    ("v128", 'v', "f64x2.sub", "f64x2"),
                ]);
                let (to, one, two) = (
                    local(letter, random),
                    address(place, random),
                    address(place, random),
                );
                let other = match random.chance(2) {
                    true => format!("({ty}.load {two})"),
                    false => format!("(local.get {})", local(letter, random)),
                };
                *text += &format!("(local.set {to} ({op} ({ty}.load {one}) {other}))");
                *text += &super::canonical(letter, &format!("{lanes}."), &to);
                text.push('\n');
            }
            _ => operation(text, &OPERATORS, place, random),
        }
    }
}

/// Something with a constant, or two bytes, that are loaded or what is left of a number.
fn comparison(place: Place<'_>, random: &mut Random) -> String {
    let operator = *random.pick(&["eq", "ne", "eq", "ne", "lt_u", "gt_s"]);
    let byte = |random: &mut Random| {
        let from = local('i', random);
        match random.below(4) {
            0 => format!("(i32.load8_u {})", address(place, random)),
            1 => format!("(i32.const {})", random.below(256)),
            _ => format!("(i32.and (local.get {from}) (i32.const 255))"),
        }
    };
    let (one, two) = match random.chance(2) {
        true => (byte(random), byte(random)),
        false => (
            format!("(local.get {})", local('i', random)),
            format!("({})", constant('i', random)),
        ),
    };
    format!("(i32.{operator} {one} {two})")
}

/// A vector that a loop carries round, shifts along and takes apart, as numbers of one type or another.
fn carried(text: &mut String, depth: usize, random: &mut Random) {
    let shapes = [
        ("i32x4", 'i', 4),
        ("f32x4", 'f', 4),
        ("i64x2", 'l', 2),
        ("f64x2", 'd', 2),
    ];
    let w = format!("$w{depth}");
    for _ in 0..1 + random.below(3) {
        let (shape, letter, lanes) = *random.pick(&shapes);
        let (to, from) = (local(letter, random), local(letter, random));
        let lane = random.below(lanes);
        *text += &match random.below(5) {
            0 => format!(
                "(local.set {w} ({shape}.replace_lane {lane} (local.get {w}) (local.get {from})))\n"
            ),
            1 => {
                // As whole lanes of 32 bits.
                let bytes: String = (0..4)
                    .map(|_| 4 * random.below(8))
                    .flat_map(|first| (first..first + 4).map(|byte| format!(" {byte}")))
                    .collect();
                let other = format!("({shape}.splat (local.get {from}))");
                match random.chance(2) {
                    true => {
                        format!("(local.set {w} (i8x16.shuffle{bytes} (local.get {w}) {other}))\n")
                    }
                    false => {
                        format!("(local.set {w} (i8x16.shuffle{bytes} {other} (local.get {w})))\n")
                    }
                }
            }
            _ => format!("(local.set {to} ({shape}.extract_lane {lane} (local.get {w})))\n"),
        };
    }
}

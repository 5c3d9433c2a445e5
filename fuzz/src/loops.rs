//! Loops that walk over memory: what they do on Dormouse is what they do on Wasmtime and on Wasmi.
//!
//! The compiler brings addresses, counters and loads of loops into other forms where bounds show that nothing changes by it
//! (`src/compile/refine`), and an error there reaches beyond the memory. Random instructions make few loops whose bounds are known, and few accesses in
//! them; here all is made of those: counters that meet their bound exactly, miss it or wrap, and sums of them as indexes.

mod values;

use crate::modules::step;
use crate::random::Random;
use crate::{Canary, Outcome, differential};
use arbitrary::Unstructured;
use std::fmt::Write;

/// Rounds of all loops of a call, but for those whose number of rounds is known and small.
const FUEL: u32 = 3000;

/// How deep loops are nested, and how many rounds those that spend no fuel go together.
const DEPTH_MAX: usize = 4;
const FREE_ROUNDS_MAX: u64 = 4000;

const COUNTERS: u64 = 6;
const OTHERS: u64 = 3;

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    step(u, random);
    let wasm = generate(random);
    differential::compare(&wasm, u, random, canary)
}

/// A module with two such functions.
pub fn generate(random: &mut Random) -> Vec<u8> {
    let mut text = String::from("(module\n");
    let pages = 1 + random.below(3);
    // Memories whose accesses are checked have other addresses.
    let word = random.chance(16);
    let second = random.chance(10);
    let index = if word { "i64" } else { "i32" };
    text += &format!("(memory (export \"memory\") {index} {pages} 3)\n");
    if second {
        text += "(memory (export \"second\") 1 2)\n";
    }
    let exceptions = random.chance(10);
    text += "(global $fuel (mut i32) (i32.const 0))\n";
    text += "(global $seen (export \"seen\") (mut i64) (i64.const 0))\n";
    text += "(global $g (export \"g\") (mut i32) (i32.const 5))\n";
    if exceptions {
        text += "(tag $t (param i32))\n";
        text += "(func $throw (param i32) (result i32) (if (i32.and (local.get 0) (i32.const 3)) (then (throw $t (local.get 0)))) (i32.const 7))\n";
    }
    text += "(func $h (param i32) (result i32) (global.set $g (i32.add (global.get $g) (local.get 0))) (i32.and (global.get $g) (i32.const 255)))\n";
    for start in [0, 4096 * random.below(15), pages * 65536 - 512] {
        write!(text, "(data ({index}.const {start}) \"").expect("a string");
        for _ in 0..512 {
            // Small numbers among them: they are indexes too.
            let byte = match random.below(3) {
                0 => random.below(4),
                _ => random.below(256),
            };
            write!(text, "\\{byte:02x}").expect("a string");
        }
        text += "\")\n";
    }
    for name in &["one", "two"][random.below(2) as usize..] {
        let size = 8 + random.below(30) as u32;
        let wild_one_in = *random.pick(&[3, 20, 60, 1000, 1000]);
        let function = Maker {
            random,
            text: String::new(),
            word,
            second,
            exceptions,
            bytes: pages * 65536,
            wild_one_in,
            held: Vec::new(),
            labels: 0,
            free_rounds: 1,
            size,
        };
        text += &function.function(name);
    }
    text += ")\n";
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A loop that is being made.
struct Held {
    counter: u64,
    /// Whether nothing else may change the counter.
    is_fixed: bool,
    /// Between which bounds the counter is, if that is known; exact numbers, which do not wrap.
    range: Option<(i64, i64)>,
}

struct Maker<'a> {
    random: &'a mut Random,
    text: String,
    /// Whether indexes of the first memory are of 64 bits.
    word: bool,
    second: bool,
    exceptions: bool,
    bytes: u64,
    /// How seldom an access is anywhere.
    wild_one_in: u64,
    /// The loops around, outermost first.
    held: Vec<Held>,
    labels: usize,
    free_rounds: u64,
    /// What is left of the size of the function.
    size: u32,
}

impl Maker<'_> {
    fn function(mut self, name: &str) -> String {
        let mut locals = String::new();
        for index in 0..COUNTERS {
            locals += &format!(" (local $c{index} i32)");
        }
        for index in 0..OTHERS {
            locals += &format!(
                " (local $l{index} i64) (local $d{index} f64) (local $f{index} f32) (local $v{index} v128)"
            );
        }
        self.put("(global.set $fuel (i32.const ");
        self.put(&format!("{FUEL}))\n"));
        for index in 0..COUNTERS {
            let value = match self.random.below(4) {
                0 => "(local.get $x)".to_owned(),
                1 => "(i32.and (local.get $y) (i32.const 1023))".to_owned(),
                _ => self.number(),
            };
            self.put(&format!("(local.set $c{index} {value})\n"));
        }
        for _ in 0..1 + self.random.below(3) {
            self.looped();
            self.statements(2);
        }
        let result = (0..COUNTERS).fold("(local.get $l0)".to_owned(), |sum, index| {
            format!(
                "(i64.add (i64.rotl {sum} (i64.const 7)) (i64.extend_i32_u (local.get $c{index})))"
            )
        });
        for index in 0..OTHERS {
            let values = [
                format!("(i64.reinterpret_f64 (local.get $d{index}))"),
                format!("(i64.extend_i32_s (i32.reinterpret_f32 (local.get $f{index})))"),
                format!("(i64x2.extract_lane 0 (local.get $v{index}))"),
                format!("(i64x2.extract_lane 1 (local.get $v{index}))"),
                format!("(local.get $l{index})"),
            ];
            for value in values {
                self.put(&format!(
                    "(global.set $seen (i64.xor (i64.rotl (global.get $seen) (i64.const 5)) {value}))\n"
                ));
            }
        }
        format!(
            "(func (export \"{name}\") (param $x i32) (param $y i32) (result i64) (local $t i32) (local $td f64) (local $tf f32) (local $tv v128){locals}\n{}{result})\n",
            self.text
        )
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels
    }

    fn statements(&mut self, most: u64) {
        for _ in 0..1 + self.below(most) {
            if self.size == 0 {
                return;
            }
            self.size -= 1;
            let text = self.statement();
            self.put(&text);
            self.put("\n");
        }
    }

    fn statement(&mut self) -> String {
        match self.below(22) {
            0..=3 => {
                let (store, value) = match self.below(8) {
                    0 => ("i32.store8", self.word32(2)),
                    1 => ("i32.store16", self.word32(2)),
                    2 => ("i64.store", format!("(local.get $l{})", self.below(OTHERS))),
                    3 => ("f64.store", format!("(local.get $d{})", self.below(OTHERS))),
                    4 => (
                        "v128.store",
                        format!("(local.get $v{})", self.below(OTHERS)),
                    ),
                    5 => ("f32.store", format!("(local.get $f{})", self.below(OTHERS))),
                    _ => ("i32.store", self.word32(2)),
                };
                self.access(store, &value)
            }
            4..=6 => {
                let load = *self.random.pick(&[
                    "i64.load",
                    "i64.load8_u",
                    "i64.load16_s",
                    "i64.load32_u",
                    "i64.load32_s",
                ]);
                let operator = *self.random.pick(&["add", "xor", "mul", "sub", "and"]);
                let local = self.below(OTHERS);
                let (a, b) = (self.load(load), self.load("i64.load"));
                match self.below(3) {
                    0 => format!("(local.set $l{local} (i64.{operator} {a} {b}))"),
                    _ => format!(
                        "(local.set $l{local} (i64.{operator} (i64.rotl (local.get $l{local}) (i64.const 3)) {a}))"
                    ),
                }
            }
            7 | 8 => self.float(),
            9..=12 => self.vector(),
            13 | 14 => match self.free_counter() {
                Some(counter) => format!("(local.set $c{counter} {})", self.word32(3)),
                None => String::new(),
            },
            // Something that advances along with a counter.
            15 => match self.free_counter() {
                Some(counter) => format!(
                    "(local.set $c{counter} (i32.add (local.get $c{counter}) (i32.const {})))",
                    self.step()
                ),
                None => String::new(),
            },
            16 => {
                let (test, then) = (self.test(), self.statement_within());
                let other = self.statement_within();
                format!("(if {test} (then {then}) (else {other}))")
            }
            17 => match self.free_counter() {
                Some(counter) => format!("(local.set $c{counter} (call $h {}))", self.word32(1)),
                None => String::new(),
            },
            18 => match self.random.chance(8) {
                true if self.word => "(drop (memory.grow (i64.const 1)))".to_owned(),
                true => "(drop (memory.grow (i32.const 1)))".to_owned(),
                false => String::new(),
            },
            19 if self.exceptions => {
                let label = self.label();
                let value = self.word32(1);
                match self.free_counter() {
                    Some(counter) => format!(
                        "(local.set $c{counter} (block $e{label} (result i32) (try_table (result i32) (catch $t $e{label}) (call $throw {value}))))"
                    ),
                    None => String::new(),
                }
            }
            // Which not every engine has.
            20 if self.exceptions => {
                let index = format!("(i32.and {} (i32.const -8))", self.index(1));
                let index = match self.word {
                    true => format!("(i64.extend_i32_u {index})"),
                    false => index,
                };
                match self.below(3) {
                    0 => "(atomic.fence)".to_owned(),
                    1 => format!(
                        "(local.set $l0 (i64.add (local.get $l0) (i64.atomic.rmw32.add_u {index} (local.get $l1))))"
                    ),
                    _ => format!("(i32.atomic.store {index} {})", self.word32(1)),
                }
            }
            _ => match self.free_counter() {
                Some(counter) => format!("(local.set $c{counter} {})", self.index(3)),
                None => String::new(),
            },
        }
    }

    /// A statement that has no statement in it.
    fn statement_within(&mut self) -> String {
        match self.free_counter() {
            Some(counter) if self.random.chance(2) => {
                format!("(local.set $c{counter} {})", self.word32(2))
            }
            _ => {
                let value = self.word32(1);
                self.access("i32.store", &value)
            }
        }
    }

    fn step(&mut self) -> i32 {
        *self.random.pick(&[
            1,
            1,
            1,
            1,
            2,
            4,
            4,
            8,
            16,
            -1,
            -1,
            -4,
            -8,
            3,
            7,
            -3,
            256,
            4096,
            65536,
            -65536,
            1 << 30,
            i32::MIN,
            i32::MAX,
        ])
    }

    fn test(&mut self) -> String {
        let comparison = *self
            .random
            .pick(&["eq", "ne", "lt_u", "lt_s", "ge_u", "gt_s"]);
        format!("(i32.{comparison} {} {})", self.counter(), self.number())
    }

    /// A loop, with what is before it and in it.
    fn looped(&mut self) {
        let Some(counter) = self.free_counter() else {
            return;
        };
        let label = self.label();
        let step = self.step();
        // Where it begins is known, and by how much it advances: then also where it is after some rounds.
        let start = match self.below(6) {
            0 | 1 => (1u32 << 31)
                .wrapping_add(self.below(600) as u32)
                .wrapping_sub(300),
            2 => (self.below(600) as u32).wrapping_neg(),
            _ => self.constant(),
        };
        let rounds = match self.below(6) {
            0 => self.below(3),
            1 => self.below(700),
            2 => self.below(20000),
            _ => self.below(40),
        };
        let known = !self.random.chance(6);
        let meets = !self.random.chance(5);
        let tampered = self.random.chance(5);
        let is_free =
            known && meets && !tampered && self.free_rounds * (rounds + 1) <= FREE_ROUNDS_MAX;
        let initial = match known {
            true => format!("(i32.const {})", start as i32),
            false => self.index(2),
        };
        let mut bound = start.wrapping_add((rounds as u32).wrapping_mul(step as u32));
        if !meets {
            bound = match self.below(3) {
                0 => self.constant(),
                _ => bound.wrapping_add(self.below(5) as u32).wrapping_sub(2),
            };
        }
        if !self.random.chance(30) {
            self.put(&format!("(local.set $c{counter} {initial})\n"));
        } else if is_free {
            return;
        }
        let outer_rounds = self.free_rounds;
        if is_free {
            self.free_rounds *= rounds + 1;
        }
        let way = rounds.cast_signed() * i64::from(step);
        let (low, high) = match step < 0 {
            true => (way + i64::from(step), 0),
            false => (0, way + i64::from(step)),
        };
        let start = i64::from(start);
        self.held.push(Held {
            counter,
            is_fixed: !tampered,
            range: (known && meets && !tampered).then_some((start + low, start + high)),
        });
        self.put(&format!("(block $exit{label} (loop $top{label}\n"));
        if !is_free {
            self.spend(label);
        }
        self.round(label, counter, step, bound, is_free);
        self.put("))\n");
        self.held.pop();
        self.free_rounds = outer_rounds;
    }

    /// Spends fuel, and leaves when there is none.
    fn spend(&mut self, label: usize) {
        self.put("(global.set $fuel (i32.sub (global.get $fuel) (i32.const 1)))\n");
        let end = match self.below(2) {
            0 => format!("(br_if $exit{label} (i32.le_s (global.get $fuel) (i32.const 0)))\n"),
            _ => {
                "(if (i32.le_s (global.get $fuel) (i32.const 0)) (then (unreachable)))\n".to_owned()
            }
        };
        self.put(&end);
    }

    /// What a loop does each time round: its test is of the counter's present or its next value, somewhere.
    fn round(&mut self, label: usize, counter: u64, step: i32, bound: u32, is_free: bool) {
        let present = format!("(local.get $c{counter})");
        let advance = format!("(local.set $c{counter} (i32.add {present} (i32.const {step})))\n");
        let next = format!("(i32.add {present} (i32.const {step}))");
        let end = format!("(i32.const {})", bound as i32);
        // In every form, the bound is what the counter is after the last round; that it is there in the first one too
        // is what happens if there is none.
        let differs = match self.below(4) {
            _ if is_free && bound == 0 && self.random.chance(2) => present.clone(),
            0 if is_free => format!("(i32.eqz (i32.eq {present} {end}))"),
            0 => format!("(i32.lt_u {present} {end})"),
            _ => format!("(i32.ne {present} {end})"),
        };
        let meets = format!("(i32.eq {present} {end})");
        match self.below(7) {
            // The test comes first.
            0 => {
                self.put(&format!("(br_if $exit{label} {meets})\n"));
                self.body(label, is_free);
                self.put(&advance);
                self.put(&format!("(br $top{label})\n"));
            }
            // In the middle.
            1 => {
                self.body(label, is_free);
                self.put(&format!("(br_if $exit{label} {meets})\n"));
                self.body(label, is_free);
                self.put(&advance);
                self.body(label, true);
                self.put(&format!("(br $top{label})\n"));
            }
            // The comparison is of what it was, and used otherwise as well.
            2 => {
                let last = bound.wrapping_sub(step as u32) as i32;
                self.body(label, is_free);
                self.put(&format!("(br_if $exit{label} {meets})\n"));
                self.put(&format!(
                    "(local.set $t (i32.ne {present} (i32.const {last})))\n"
                ));
                if self.random.chance(2) {
                    let store = self.access("i32.store8", "(local.get $t)");
                    self.put(&format!("{store}\n"));
                }
                self.put(&advance);
                self.put(&format!("(br_if $top{label} (local.get $t))\n"));
            }
            // The next value is compared, before the counter has it.
            3 => {
                self.put(&format!("(br_if $exit{label} {meets})\n"));
                self.body(label, is_free);
                self.put(&format!("(local.set $t {next})\n"));
                self.put(&format!(
                    "(if (i32.eq (local.get $t) {end}) (then (br $exit{label})))\n"
                ));
                self.body(label, is_free);
                self.put(&advance);
                self.put(&format!("(br $top{label})\n"));
            }
            // Two ways back.
            4 if !is_free => {
                self.body(label, is_free);
                self.put(&advance);
                let test = self.test();
                self.put(&format!("(br_if $top{label} {test})\n"));
                self.body(label, is_free);
                self.put(&format!("(br_if $top{label} {differs})\n"));
            }
            // At least once round; a loop that spends nothing has to have a round for that.
            _ => {
                self.put(&format!("(br_if $exit{label} {meets})\n").repeat(usize::from(is_free)));
                self.body(label, is_free);
                self.put(&advance);
                self.put(&format!("(br_if $top{label} {differs})\n"));
            }
        }
    }

    fn body(&mut self, label: usize, is_plain: bool) {
        self.statements(4);
        if self.held.len() < DEPTH_MAX && self.size > 2 && self.random.chance(2) {
            self.looped();
            self.statements(2);
        }
        if !is_plain || self.random.chance(8) {
            match self.below(8) {
                0 => {
                    let test = self.test();
                    self.put(&format!("(br_if $exit{label} {test})\n"));
                }
                1 if self.held.last().is_some_and(|held| !held.is_fixed) => {
                    let counter = self.held[self.held.len() - 1].counter;
                    let step = self.step();
                    self.put(&format!(
                        "(local.set $c{counter} (i32.add (local.get $c{counter}) (i32.const {step})))\n"
                    ));
                }
                _ => {}
            }
        }
    }
}

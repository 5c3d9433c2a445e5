//! Numbers, vectors, and where accesses are.
//!
//! An access that traps hides all that would come after it. So most are made of what is known to be within bounds, in forms in which the
//! compiler may or may not know it: sums that wrap on the way and come back, numbers with bits masked off, numbers just loaded.

use super::{COUNTERS, Maker, OTHERS};

impl Maker<'_> {
    pub(super) fn constant(&mut self) -> u32 {
        let near = self.below(9) as u32;
        match self.below(16) {
            0 => near.wrapping_sub(4),
            1 => (1u32 << 31).wrapping_add(near).wrapping_sub(4),
            2 => 65536 - 4 * near,
            3 => 65536 * (1 + near % 3) + near,
            4 => self.random.interesting() as u32,
            5 => (self.below(4096) as u32).wrapping_neg(),
            6 | 7 => self.below(70000) as u32,
            8 | 9 => 16 * near,
            _ => self.below(600) as u32,
        }
    }

    pub(super) fn number(&mut self) -> String {
        let constant = self.constant();
        self.number_of(constant)
    }

    fn number_of(&self, constant: u32) -> String {
        format!("(i32.const {})", constant as i32)
    }

    /// A counter that may be written here.
    pub(super) fn free_counter(&mut self) -> Option<u64> {
        let index = self.below(COUNTERS);
        let fixed = self
            .held
            .iter()
            .any(|held| held.counter == index && held.is_fixed);
        (!fixed).then_some(index)
    }

    pub(super) fn counter(&mut self) -> String {
        let held = self.held.len() as u64;
        let index = match held > 0 && !self.random.chance(3) {
            // Mostly of the loops around.
            true => {
                let at = self.below(held) as usize;
                self.held[at].counter
            }
            false => self.below(COUNTERS),
        };
        format!("(local.get $c{index})")
    }

    /// A number to be an index; most of them are within the memory, as long as counters are.
    pub(super) fn index(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.below(8) {
                0 => self.number(),
                1 => "(i32.and (local.get $x) (i32.const 4095))".to_owned(),
                2 => "(local.get $y)".to_owned(),
                _ => self.counter(),
            };
        }
        let a = self.index(depth - 1);
        match self.below(18) {
            0..=3 => format!("(i32.add {a} {})", self.number()),
            4 | 5 => format!("(i32.add {a} {})", self.index(depth - 1)),
            6 => format!("(i32.shl {a} (i32.const {}))", self.below(5)),
            7 => format!("(i32.shl {a} (i32.const {}))", self.below(34)),
            8 => format!("(i32.mul {a} (i32.const {}))", 1 + self.below(40)),
            9 => format!("(i32.mul {a} {})", self.index(depth - 1)),
            10 | 11 => {
                let mask =
                    *self
                        .random
                        .pick(&[0xff, 0xfff, 0xfff8, 0x7ffc, 0xffff, 0x7fff_ffff, -16]);
                format!("(i32.and {a} (i32.const {mask}))")
            }
            12 => format!("(i32.shr_u {a} (i32.const {}))", self.below(33)),
            13 => format!("(i32.sub {a} {})", self.number()),
            14 => {
                let load = *self.random.pick(&[
                    "i32.load8_u",
                    "i32.load16_u",
                    "i32.load",
                    "i32.load8_s",
                    "i32.load16_s",
                ]);
                let (memory, index) = self.placed(format!("(i32.and {a} (i32.const 32767))"));
                format!("({load} {memory} offset={} {index})", self.below(99))
            }
            15 => format!("(i32.sub {a} {})", self.index(depth - 1)),
            _ => a,
        }
    }

    /// An access; what is stored comes after the index. Most are within the memory, whatever the counters do: only so does
    /// what comes after them happen.
    pub(super) fn access(&mut self, instruction: &str, value: &str) -> String {
        let (index, offset) = match self.random.chance(self.wild_one_in) {
            true => self.wild_address(),
            false => self.tame_address(),
        };
        let (memory, index) = self.placed(index);
        format!("({instruction} {memory} offset={offset} {index} {value})")
    }

    /// The number of a memory, and an index as its type.
    fn placed(&mut self, index: String) -> (&'static str, String) {
        match self.second && self.random.chance(3) {
            true => ("1", index),
            false if self.word => ("", format!("(i64.extend_i32_u {index})")),
            false => ("", index),
        }
    }

    fn wild_address(&mut self) -> (String, u64) {
        let offset = match self.below(24) {
            0 => self.below(70000),
            1 => 65536 - self.below(20),
            2 if self.random.chance(4) => u64::from(u32::MAX) - self.below(65540),
            2 if self.random.chance(2) => (32 << 20) - self.below(20),
            2 => (1 << 31) - self.below(70000),
            3..=9 => 0,
            _ => self.below(64),
        };
        let depth = 1 + self.below(3) as u32;
        (self.index(depth), offset)
    }

    /// A sum of counters and constants, which may wrap, but comes to a place within the memory whenever the counters are where
    /// they are meant to be; now and then to its very end, or just beyond it.
    fn tame_address(&mut self) -> (String, u64) {
        let room = if self.second { 65536 } else { self.bytes } as i64;
        let (mut sum, mut low, mut high) = (self.number_of(0), 0i64, 0i64);
        let mut constants = 0u32;
        for _ in 0..1 + self.below(3) {
            let (term, least, most) = self.term();
            if high - low + (most - least) > room - 64 {
                continue;
            }
            (low, high) = (low + least, high + most);
            sum = match self.random.chance(2) {
                _ if sum == "(i32.const 0)" => term,
                true => format!("(i32.add {sum} {term})"),
                false => format!("(i32.add {term} {sum})"),
            };
            if self.random.chance(3) {
                let constant = self.constant();
                constants = constants.wrapping_add(constant);
                sum = format!("(i32.add {sum} {})", self.number_of(constant));
            }
        }
        // Where the least of it is to be.
        let last = room - 16 - (high - low);
        let place = match self.below(10) {
            0 => last + 16 - self.below(16) as i64,
            1 => last - self.below(10) as i64,
            2 => self.below(10) as i64,
            _ => self.random.below(last as u64 + 1) as i64,
        }
        .max(0) as u64;
        let offset = match self.below(4) {
            0 => self.below(place + 1),
            1 => self.below(place.min(64) + 1),
            _ => 0,
        };
        let constant = ((place - offset) as u32)
            .wrapping_sub(low as u32)
            .wrapping_sub(constants);
        match constant {
            0 => (sum, offset),
            constant => (
                format!("(i32.add {sum} {})", self.number_of(constant)),
                offset,
            ),
        }
    }

    /// A number between bounds, which are exact: it is the number modulo 2^32.
    fn term(&mut self) -> (String, i64, i64) {
        let known: Vec<(u64, (i64, i64))> = self
            .held
            .iter()
            .filter_map(|held| Some((held.counter, held.range?)))
            .collect();
        if !known.is_empty() && !self.random.chance(4) {
            let (counter, (low, high)) = *self.random.pick(&known);
            let bits = match self.below(4) {
                0 => self.below(5),
                _ => 0,
            };
            let counter = format!("(local.get $c{counter})");
            return match bits {
                0 => (counter, low, high),
                bits if self.random.chance(2) => (
                    format!("(i32.mul {counter} (i32.const {}))", 1 << bits),
                    low << bits,
                    high << bits,
                ),
                bits => (
                    format!("(i32.shl {counter} (i32.const {bits}))"),
                    low << bits,
                    high << bits,
                ),
            };
        }
        let mask = *self.random.pick(&[0xffi64, 0xfff, 0xff8, 0x7ffc, 0x3fff]);
        let number = match self.below(3) {
            0 => "(local.get $x)".to_owned(),
            1 => self.index(1),
            _ => self.counter(),
        };
        let masked = format!("(i32.and {number} (i32.const {mask}))");
        let load = *self.random.pick(&["i32.load8_u", "i32.load16_u"]);
        let bits = if load == "i32.load8_u" { 8 } else { 16 };
        match self.below(3) {
            0 => {
                let (memory, index) = self.placed(masked);
                let load = format!("({load} {memory} {index})");
                (load, 0, (1 << bits) - 1)
            }
            1 => (format!("(i32.shr_u {number} (i32.const 20))"), 0, 4095),
            _ => (masked, 0, mask),
        }
    }

    pub(super) fn load(&mut self, instruction: &str) -> String {
        self.access(instruction, "")
    }

    pub(super) fn word32(&mut self, depth: u32) -> String {
        if depth == 0 || self.random.chance(4) {
            return match self.below(3) {
                0 => self.number(),
                _ => self.counter(),
            };
        }
        match self.below(12) {
            0..=3 => {
                let load = *self.random.pick(&[
                    "i32.load",
                    "i32.load",
                    "i32.load8_u",
                    "i32.load8_s",
                    "i32.load16_u",
                    "i32.load16_s",
                ]);
                self.load(load)
            }
            4..=7 => {
                let operator = *self
                    .random
                    .pick(&["add", "sub", "and", "or", "xor", "mul", "div_u", "rem_s"]);
                let operator = match operator {
                    "div_u" | "rem_s" if !self.random.chance(9) => "shr_s",
                    other => other,
                };
                format!(
                    "(i32.{operator} {} {})",
                    self.word32(depth - 1),
                    self.word32(depth - 1)
                )
            }
            8 => {
                let (lanes, count) = *self.random.pick(&[
                    ("i32x4.extract_lane", 4),
                    ("i16x8.extract_lane_u", 8),
                    ("i8x16.extract_lane_s", 16),
                ]);
                let lane = self.below(count);
                format!("({lanes} {lane} (local.get $v{}))", self.below(OTHERS))
            }
            9 => format!(
                "(i32.wrap_i64 (i64.add (local.get $l{}) {}))",
                self.below(OTHERS),
                self.load("i64.load")
            ),
            10 => format!("(i32.eq {} {})", self.counter(), self.number()),
            _ => {
                // What flows into one block by a table, and by its end.
                let (a, b, c) = (
                    self.word32(depth - 1),
                    self.word32(depth - 1),
                    self.word32(0),
                );
                let label = self.label();
                let table = match self.below(2) {
                    0 => format!("$o{label} $i{label} $o{label}"),
                    _ => format!("$i{label} $o{label} $i{label}"),
                };
                format!(
                    "(block $o{label} (result i32) (i32.add (block $i{label} (result i32) (br_table {table} {a} (i32.and {c} (i32.const 3)))) {b}))"
                )
            }
        }
    }

    /// Arithmetic on what is loaded; what is not a number becomes 0, since engines differ in its bits.
    pub(super) fn float(&mut self) -> String {
        let operator = *self.random.pick(&["add", "sub", "mul", "div"]);
        let (letter, ty) = *self.random.pick(&[("d", "f64"), ("f", "f32")]);
        let local = self.below(OTHERS);
        let load = self.load(&format!("{ty}.load"));
        let other = match self.random.chance(2) {
            true => format!("(local.get ${letter}{})", self.below(OTHERS)),
            false => self.load(&format!("{ty}.load")),
        };
        let (a, b) = match self.random.chance(2) {
            true => (load, other),
            false => (other, load),
        };
        let t = format!("$t{letter}");
        format!(
            "(local.set ${letter}{local} (select (local.tee {t} ({ty}.{operator} {a} {b})) ({ty}.const 0) ({ty}.eq (local.get {t}) (local.get {t}))))"
        )
    }

    /// What is done with vectors: taken apart, shifted along, put together, computed with.
    pub(super) fn vector(&mut self) -> String {
        let local = self.below(OTHERS);
        let other = self.below(OTHERS);
        let (shape, width, scalar) = *self.random.pick(&[
            ("i32x4", 4u64, "i32"),
            ("i32x4", 4, "i32"),
            ("i64x2", 8, "i64"),
            ("f32x4", 4, "f32"),
            ("f64x2", 8, "f64"),
            ("i16x8", 2, "i32"),
            ("i8x16", 1, "i32"),
        ]);
        let lanes = 16 / width;
        let value = match scalar {
            "i32" => self.word32(2),
            "i64" => format!("(local.get $l{})", self.below(OTHERS)),
            "f32" => format!("(local.get $f{})", self.below(OTHERS)),
            _ => format!("(local.get $d{})", self.below(OTHERS)),
        };
        let vector = match self.below(9) {
            0 => self.load("v128.load"),
            1 => {
                let lane = self.below(lanes);
                format!("({shape}.replace_lane {lane} (local.get $v{other}) {value})")
            }
            2 | 3 => {
                // Whole lanes, most of the time.
                let from = if self.random.chance(6) { 1 } else { width };
                let mask: Vec<String> = (0..16 / from)
                    .flat_map(|_| {
                        let lane = self.random.below(32 / from);
                        (0..from).map(move |byte| (lane * from + byte).to_string())
                    })
                    .collect();
                format!(
                    "(i8x16.shuffle {} (local.get $v{local}) ({shape}.splat {value}))",
                    mask.join(" ")
                )
            }
            4 => format!("({shape}.splat {value})"),
            5 => {
                let operator = *self.random.pick(&[
                    "i32x4.add",
                    "i32x4.mul",
                    "i64x2.sub",
                    "i16x8.add",
                    "i8x16.sub",
                    "v128.xor",
                    "v128.and",
                    "i8x16.max_u",
                    "i32x4.min_s",
                ]);
                let load = self.load("v128.load");
                format!("({operator} (local.get $v{local}) {load})")
            }
            6 => {
                let shape = *self.random.pick(&["f32x4", "f64x2"]);
                let operator = *self.random.pick(&["add", "mul", "sub"]);
                let (a, b) = (self.load("v128.load"), format!("(local.get $v{other})"));
                let (a, b) = if self.random.chance(2) {
                    (a, b)
                } else {
                    (b, a)
                };
                format!(
                    "(v128.and (local.tee $tv ({shape}.{operator} {a} {b})) ({shape}.eq (local.get $tv) (local.get $tv)))"
                )
            }
            7 => {
                let load = *self.random.pick(&[
                    "v128.load8_splat",
                    "v128.load32_splat",
                    "v128.load64_zero",
                    "v128.load8x8_u",
                    "v128.load16x4_s",
                ]);
                self.load(load)
            }
            _ => {
                // A lane of the one into the other.
                let (to, from) = (self.below(4), self.below(4));
                let load = self.load("f32.load");
                match self.below(3) {
                    0 => format!("(f32x4.replace_lane {to} (local.get $v{local}) {load})"),
                    1 => format!(
                        "(i32x4.replace_lane {to} (local.get $v{local}) (i32x4.extract_lane {from} (local.get $v{other})))"
                    ),
                    _ => {
                        return format!(
                            "(local.set $l{local} (i64.add (local.get $l{local}) (i64.extend_i32_u (i32.xor (i32x4.extract_lane {from} (local.get $v{local})) (i32.reinterpret_f32 (f32x4.extract_lane {to} (local.get $v{local})))))))"
                        );
                    }
                }
            }
        };
        format!("(local.set $v{local} {vector})")
    }
}

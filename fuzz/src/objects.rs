//! Operations on objects and exceptions, for the functions of `operators.rs`: what is in the fields, the elements and the
//! values of exceptions comes from locals that the function returns, and goes back to them.
//!
//! References are kept in three locals of the type `eqref`. Most operations ask first what is there; a few do not, and trap.

use crate::random::Random;

/// Locals for references.
pub const REFERENCES: u64 = 3;

/// Types.
const TYPES: &str = r#"
(type $small (sub (struct (field (mut i8)) (field (mut i16)) (field (mut i32)) (field (mut i64)) (field (mut eqref)))))
(type $large (sub $small (struct (field (mut i8)) (field (mut i16)) (field (mut i32)) (field (mut i64)) (field (mut eqref))
    (field (mut f32)) (field (mut f64)) (field (mut v128)) (field (mut i8)))))
(type $thrower (func (param i32 i64 f64 v128) (result i32)))
(type $i8s (array (mut i8))) (type $i16s (array (mut i16))) (type $i32s (array (mut i32))) (type $i64s (array (mut i64)))
(type $f32s (array (mut f32))) (type $f64s (array (mut f64))) (type $v128s (array (mut v128))) (type $eqs (array (mut eqref)))
"#;

/// Tags, and the functions that throw.
const THROWS: &str = r#"
(tag $numbers (param i32 i64)) (tag $vector (param v128 f64)) (tag $object (param eqref)) (tag $nothing)
(func $throws (param $i i32) (param $l i64) (param $d f64) (param $v v128) (result i32)
    (block $other (block $nothing (block $object (block $vector (block $numbers
        (br_table $numbers $vector $object $nothing $other (i32.and (local.get $i) (i32.const 7))))
      (throw $numbers (local.get $i) (local.get $l)))
      (throw $vector (local.get $v) (local.get $d)))
      (throw $object (ref.i31 (local.get $i))))
      (throw $nothing))
    (i32.add (local.get $i) (i32.wrap_i64 (local.get $l))))
;; Lets some of them through, catches others, and throws one again, with much to keep meanwhile.
(func $between (param $i i32) (param $l i64) (param $d f64) (param $v v128) (result i32) (local $kept i32) (local $sum f64)
    (local.set $kept (i32.mul (local.get $i) (i32.const 31)))
    (local.set $sum (f64.add (local.get $d) (f64.const 1)))
    (block $again (result exnref)
      (block $caught (result v128 f64)
        (try_table (result i32) (catch $vector $caught) (catch_ref $nothing $again)
          (call $throws (i32.shr_u (local.get $i) (i32.const 1)) (local.get $l) (local.get $d) (local.get $v)))
        (return (i32.add (local.get $kept))))
      (local.set $sum (f64.add (local.get $sum)))
      drop
      (return (i32.add (local.get $kept) (i32.trunc_sat_f64_s (local.get $sum)))))
    throw_ref)
"#;

/// Segments.
const SEGMENTS: &str = r#"
(data $bytes "thirty-two bytes and then some more of them, so that sixteen times eight are there, whatever is asked for: and more, and more, and more")
(elem $refs eqref (ref.i31 (i32.const 1)) (ref.null eq) (ref.i31 (i32.const -1)) (ref.i31 (i32.const 7)) (ref.null eq) (ref.null eq)
    (ref.i31 (i32.const 0x3fffffff)) (ref.i31 (i32.const 0x40000000)))
"#;

/// What the module that exports has for the one that imports: also references to objects, exceptions and functions, in tables and
/// globals.
const EXPORTS: &str = r#"
(export "numbers" (tag $numbers)) (export "vector" (tag $vector)) (export "object" (tag $object)) (export "nothing" (tag $nothing))
(export "throws" (func $throws)) (export "between" (func $between))
(table $things (export "things") 16 30 eqref)
(global $shared (export "shared") (mut eqref) (ref.null eq))
(global $number (export "number") (mut i64) (i64.const 11))
(global $thrown (export "thrown") (mut exnref) (ref.null exn))
(table $functions (export "functions") 4 8 funcref)
(elem (table $functions) (i32.const 0) func $throws $between $between $throws)
"#;

const IMPORTS: &str = r#"
(import "a" "numbers" (tag $numbers (param i32 i64))) (import "a" "vector" (tag $vector (param v128 f64)))
(import "a" "object" (tag $object (param eqref))) (import "a" "nothing" (tag $nothing))
(import "a" "throws" (func $throws (param i32 i64 f64 v128) (result i32)))
(import "a" "between" (func $between (param i32 i64 f64 v128) (result i32)))
(import "a" "things" (table $things 16 30 eqref))
(import "a" "shared" (global $shared (mut eqref)))
(import "a" "number" (global $number (mut i64)))
(import "a" "thrown" (global $thrown (mut exnref)))
(import "a" "functions" (table $functions 4 8 funcref))
"#;

/// What the importer has of its own: a tag that each of its instances has another of, and a function that it puts into the exporter's
/// table, which throws and lets through.
const IMPORTER: &str = r#"
(tag $own (param i32))
(func $mine (type $thrower)
    (block $own (result i32)
      (try_table (result i32) (catch $own $own)
        (if (result i32) (i32.and (local.get 0) (i32.const 8))
          (then (throw $own (local.get 0)))
          (else (call $between (local.get 0) (local.get 1) (local.get 2) (local.get 3)))))
      (return))
    (if (i32.and (i32.const 16) (local.get 0)) (then (throw $own (local.get 0))))
    (i32.add (i32.const 5)))
(elem (table $functions) (i32.const 2) func $mine $mine)
"#;

/// Whose definitions are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Alone,
    Exporter,
    Importer,
}

/// Types, tags, segments and the functions that throw, before anything else that the module defines.
pub fn definitions(part: Part) -> String {
    match part {
        Part::Alone => [TYPES, THROWS, SEGMENTS].concat(),
        Part::Exporter => [TYPES, THROWS, EXPORTS, SEGMENTS].concat(),
        Part::Importer => [TYPES, IMPORTS, IMPORTER, SEGMENTS].concat(),
    }
}

/// Arrays: their names, the letter of their elements, and whether these are packed.
const ARRAYS: [(&str, char, bool); 8] = [
    ("i8s", 'i', true),
    ("i16s", 'i', true),
    ("i32s", 'i', false),
    ("i64s", 'l', false),
    ("f32s", 'f', false),
    ("f64s", 'd', false),
    ("v128s", 'v', false),
    ("eqs", 'r', false),
];

/// Fields of structs: letter and whether packed. The first five are both structs'.
const FIELDS: [(char, bool); 9] = [
    ('i', true),
    ('i', true),
    ('i', false),
    ('l', false),
    ('r', false),
    ('f', false),
    ('d', false),
    ('v', false),
    ('i', true),
];

/// The fewest elements of an array: accesses that are meant to be in bounds stay below.
const ELEMENTS: u64 = 16;

fn get(letter: char, random: &mut Random) -> String {
    format!("(local.get ${letter}{})", random.below(REFERENCES))
}

fn set(letter: char, value: &str, random: &mut Random) -> String {
    format!("(local.set ${letter}{} {value})", random.below(REFERENCES))
}

/// What is done with a reference if it is of a type, or, seldom, whether it is or not.
fn with(
    ty: &str,
    random: &mut Random,
    operation: impl FnOnce(&str, &mut Random) -> String,
) -> String {
    let reference = get('r', random);
    let cast = format!("(ref.cast (ref {ty}) {reference})");
    let operation = operation(&cast, random);
    match random.chance(200) {
        true => operation,
        false => format!("(if (ref.test (ref {ty}) {reference}) (then {operation}))"),
    }
}

fn signed(packed: bool, random: &mut Random) -> &'static str {
    match (packed, random.chance(2)) {
        (false, _) => "",
        (true, true) => "_s",
        (true, false) => "_u",
    }
}

/// An index or a count, below the fewest elements unless it is to be anything.
fn index(bound: u64, random: &mut Random) -> String {
    let local = get('i', random);
    match random.chance(150) {
        true => local,
        false => format!("(i32.and {local} (i32.const {}))", bound - 1),
    }
}

/// One operation, in text; with calls of functions that a pair of modules shares, or without.
pub fn operation(sharing: bool, random: &mut Random) -> String {
    let (name, letter, packed) = *random.pick(&ARRAYS);
    let (structure, fields) = *random.pick(&[("$small", 5), ("$large", 9)]);
    let half = ELEMENTS / 2;
    match random.below(22) {
        0 | 1 => {
            let values: String = FIELDS[..fields]
                .iter()
                .map(|(letter, _)| get(*letter, random))
                .collect();
            set('r', &format!("(struct.new {structure} {values})"), random)
        }
        2 => set('r', &format!("(struct.new_default {structure})"), random),
        3 | 4 => with(structure, random, |reference, random| {
            let field = random.below(fields as u64) as usize;
            let (letter, packed) = FIELDS[field];
            let value = format!(
                "(struct.get{} {structure} {field} {reference})",
                signed(packed, random)
            );
            set(letter, &value, random)
        }),
        5 | 6 => with(structure, random, |reference, random| {
            let field = random.below(fields as u64) as usize;
            format!(
                "(struct.set {structure} {field} {reference} {})",
                get(FIELDS[field].0, random)
            )
        }),
        7 => {
            let value = get(letter, random);
            let count = format!("(i32.add (i32.const {ELEMENTS}) {})", index(64, random));
            set('r', &format!("(array.new ${name} {value} {count})"), random)
        }
        8 => {
            let values: String = (0..ELEMENTS).map(|_| get(letter, random)).collect();
            set(
                'r',
                &format!("(array.new_fixed ${name} {ELEMENTS} {values})"),
                random,
            )
        }
        9 => {
            let count = format!("(i32.add (i32.const {ELEMENTS}) {})", index(64, random));
            set('r', &format!("(array.new_default ${name} {count})"), random)
        }
        10 | 11 => with(&format!("${name}"), random, |reference, random| {
            let at = index(ELEMENTS, random);
            let value = format!(
                "(array.get{} ${name} {reference} {at})",
                signed(packed, random)
            );
            set(letter, &value, random)
        }),
        12 => with(&format!("${name}"), random, |reference, random| {
            format!(
                "(array.set ${name} {reference} {} {})",
                index(ELEMENTS, random),
                get(letter, random)
            )
        }),
        13 => with(&format!("${name}"), random, |reference, random| {
            let (at, count) = (index(half, random), index(half, random));
            format!(
                "(array.fill ${name} {reference} {at} {} {count})",
                get(letter, random)
            )
        }),
        14 => with(&format!("${name}"), random, |reference, random| {
            let (to, from, count) = (
                index(half, random),
                index(half, random),
                index(half, random),
            );
            let other = get('r', random);
            let copy = format!(
                "(array.copy ${name} ${name} {reference} {to} (ref.cast (ref ${name}) {other}) {from} {count})"
            );
            format!("(if (ref.test (ref ${name}) {other}) (then {copy}))")
        }),
        15 if letter != 'r' => {
            let from = index(half, random);
            let made = format!(
                "(array.new_data ${name} $bytes {from} {})",
                index(half, random)
            );
            // Its length is anything up to that: it is only for looking at whole.
            format!(
                "(if (i32.eqz (array.len {made})) (then {}))",
                set('i', "(i32.const 5)", random)
            )
        }
        15 => {
            set(
                'r',
                "(array.new_elem $eqs $refs (i32.const 0) (i32.const 8))",
                random,
            ) + &set('r', "(array.new_default $eqs (i32.const 16))", random)
        }
        16 => with(&format!("${name}"), random, |reference, random| {
            let (at, from) = (index(half, random), index(half, random));
            match letter {
                'r' => format!(
                    "(array.init_elem $eqs $refs {reference} {at} (i32.const 1) {})",
                    index(4, random)
                ),
                _ => format!(
                    "(array.init_data ${name} $bytes {reference} {at} {from} {})",
                    index(half, random)
                ),
            }
        }),
        17..20 => match random.below(4) {
            0 => set('r', &format!("(ref.i31 {})", get('i', random)), random),
            1 => with("i31", random, |reference, random| {
                let value = format!("(i31.get{} {reference})", signed(true, random));
                set('i', &value, random)
            }),
            2 => {
                let equal = format!("(ref.eq {} {})", get('r', random), get('r', random));
                set('i', &equal, random)
            }
            _ => with("array", random, |reference, random| {
                set('i', &format!("(array.len {reference})"), random)
            }),
        },
        20 => {
            let ty = *random.pick(&[
                "$small", "$large", "$i8s", "$eqs", "i31", "struct", "array", "eq", "none",
            ]);
            let null = *random.pick(&["", "null"]);
            set(
                'i',
                &format!("(ref.test (ref {null} {ty}) {})", get('r', random)),
                random,
            )
        }
        _ => exception(sharing, random),
    }
}

/// One operation on what a pair of modules shares.
pub fn shared(random: &mut Random) -> String {
    let at = format!("(i32.and {} (i32.const 15))", get('i', random));
    match random.below(10) {
        6 | 7 => exception(true, random),
        8 => {
            // An exception is kept,
            let call = exception(true, random).replace("(catch_all $done)", "");
            format!(
                "(block $kept (result exnref) (try_table (catch_all_ref $kept) {call}) (ref.null exn)) (global.set $thrown)"
            )
        }
        // and thrown again.
        9 => format!(
            "(block $over (block $values (result i32 i64)
                (try_table (catch $numbers $values) (catch_all $over)
                    (if (i32.eqz (ref.is_null (global.get $thrown))) (then (throw_ref (global.get $thrown)))))
                (br $over))
              (local.set $l{}) (local.set $i{}))",
            random.below(REFERENCES),
            random.below(REFERENCES)
        ),
        0 => format!("(table.set $things {at} {})", get('r', random)),
        1 => set('r', &format!("(table.get $things {at})"), random),
        2 => format!("(global.set $shared {})", get('r', random)),
        3 => set('r', "(global.get $shared)", random),
        4 => format!("(global.set $number {})", get('l', random)),
        _ => set('l', "(global.get $number)", random),
    }
}

/// A call that may throw, and what becomes of the exceptions.
fn exception(sharing: bool, random: &mut Random) -> String {
    let callee = *random.pick(&["$throws", "$between"]);
    let arguments: String = ['i', 'l', 'd', 'v']
        .iter()
        .map(|letter| get(*letter, random))
        .collect();
    let call = match sharing && random.chance(2) {
        true => format!(
            "(call_indirect $functions (type $thrower) {arguments} (i32.and {} (i32.const 3)))",
            get('i', random)
        ),
        false => format!("(call {callee} {arguments})"),
    };
    let call = set('i', &call, random);
    let inner = match random.chance(3) {
        true => operation(sharing, random),
        false => String::new(),
    };
    // What no clause names leaves the function.
    let rest = match random.chance(25) {
        true => "",
        false => "(catch_all $done)",
    };
    let (i, l) = (random.below(REFERENCES), random.below(REFERENCES));
    let (d, v) = (random.below(REFERENCES), random.below(REFERENCES));
    let r = random.below(REFERENCES);
    format!(
        "(block $done (block $object (result eqref) (block $vector (result v128 f64) (block $numbers (result i32 i64)
            (try_table (catch $numbers $numbers) (catch $vector $vector) (catch $object $object) {rest} {inner} {call})
            (br $done))
          (local.set $l{l}) (local.set $i{i}) (br $done))
        (local.set $d{d}) (local.set $v{v}) (br $done))
      (local.set $r{r}))"
    )
}

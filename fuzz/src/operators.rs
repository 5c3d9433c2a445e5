//! Modules in which every instruction counts: straight-line functions over a few locals of each type, all of which they
//! return. What wasm-smith's random instructions compute is mostly dropped or ends in a trap; here a wrong bit anywhere is a wrong
//! bit of the result.
//!
//! Every NaN that arithmetic gives is made the canonical one at once, for its bits are not specified.

mod loops;
mod tables;

use crate::objects::{self, Part};
use crate::random::Random;
use std::fmt::Write;
use tables::{ATOMIC, Family, OPERATORS, RELAXED, WAITING};

/// Types by a letter each: i32, i64, f32, f64, v128.
const TYPES: [(char, &str); 5] = [
    ('i', "i32"),
    ('l', "i64"),
    ('f', "f32"),
    ('d', "f64"),
    ('v', "v128"),
];
const LOCALS_PER_TYPE: u64 = objects::REFERENCES;
const MEMORY_PAGES: u64 = 2;

/// What a module's functions do besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    None,
    Atomic,
    /// Those, and waits, on a shared memory.
    Waiting,
    Relaxed,
    /// In loops, with addresses made of their counters.
    Loops,
    Objects,
    /// And little else: nothing in memory.
    ObjectsAlone,
    /// Objects, and what a pair of modules shares.
    Shared,
    /// That, and calls of the function that is imported.
    Calling,
}

impl Others {
    fn statements_max(self) -> u64 {
        match self {
            Others::Loops => 12,
            _ => 90,
        }
    }

    fn is_of_pair(self) -> bool {
        matches!(self, Others::Shared | Others::Calling)
    }

    fn has_objects(self) -> bool {
        matches!(
            self,
            Others::Objects | Others::ObjectsAlone | Others::Shared | Others::Calling
        )
    }
}

/// A module with two such functions.
pub fn generate(random: &mut Random) -> Vec<u8> {
    let wide = random.chance(4);
    let index = index_type(wide);
    let others = *random.pick(&[
        Others::Loops,
        Others::Loops,
        Others::Loops,
        Others::Loops,
        Others::None,
        Others::Atomic,
        Others::Waiting,
        Others::Relaxed,
        Others::Objects,
        Others::Objects,
    ]);
    let shared = match others {
        Others::Waiting => "shared",
        _ => "",
    };
    let mut text =
        format!("(module (memory (export \"memory\") {index} {MEMORY_PAGES} 5 {shared})\n");
    if others == Others::Waiting {
        text += &sum(index);
    }
    if others == Others::Objects {
        text += &objects::definitions(Part::Alone);
    }
    if others == Others::Loops {
        text += &loops::data(wide, random);
    }
    for name in ["one", "two"] {
        function(&mut text, name, wide, others, random);
    }
    finished(text)
}

/// Two modules with one such function each, of which the second imports the memory of the first, its function, what its functions throw,
/// and a table and globals with references to objects, from a module called `a`.
pub fn generate_pair(random: &mut Random) -> (Vec<u8>, Vec<u8>) {
    let wide = random.chance(4);
    let limits = format!("{} {MEMORY_PAGES} 5", index_type(wide));
    let mut exporter = format!("(module (memory (export \"memory\") {limits})\n");
    exporter += &objects::definitions(Part::Exporter);
    function(&mut exporter, "one", wide, Others::Shared, random);
    let mut importer = String::from("(module\n");
    let ty = function_type(Others::Shared);
    importer += &format!("(import \"a\" \"memory\" (memory {limits}))\n");
    importer += &format!("(import \"a\" \"one\" (func $one {ty}))\n");
    // Types come first, and are no matter of order between imports.
    importer += &objects::definitions(Part::Importer);
    importer += "(export \"memory\" (memory 0))\n";
    function(&mut importer, "two", wide, Others::Calling, random);
    (finished(exporter), finished(importer))
}

/// A module that works on objects and exceptions alone, and imports what such functions throw from a module called `a`: its function
/// `many` calls the other so many times, each time with results of the time before.
pub fn generate_repeating(random: &mut Random) -> Vec<u8> {
    let mut text = String::from("(module\n");
    text += &objects::definitions(Part::Importer);
    function(&mut text, "two", false, Others::ObjectsAlone, random);
    let (mut locals, mut gets, mut results) = (String::new(), String::new(), Vec::new());
    for (letter, ty) in TYPES {
        gets += &format!(" (local.get ${letter}0)");
        for index in 0..LOCALS_PER_TYPE {
            // The first of each type are parameters.
            if index > 0 {
                locals += &format!(" (local ${letter}{index} {ty})");
            }
            results.push(format!("${letter}{index}"));
        }
    }
    for index in 0..LOCALS_PER_TYPE {
        locals += &format!(" (local $r{index} eqref)");
        results.push(format!("$r{index}"));
    }
    let parameters: String = TYPES
        .iter()
        .map(|(letter, ty)| format!(" (param ${letter}0 {ty})"))
        .collect();
    let ty = function_type(Others::ObjectsAlone);
    let result = ty.split_once(") ").expect("parameters").1;
    let sets: String = (results
        .iter()
        .rev()
        .map(|local| format!(" local.set {local}")))
    .collect();
    let values: String = results
        .iter()
        .map(|local| format!(" local.get {local}"))
        .collect();
    text += &format!(
        "(func (export \"many\"){parameters} (param $times i32) {result}{locals}
            (loop $next
                {gets} call $two {sets}
                (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))
            {values})\n"
    );
    finished(text)
}

/// A module that has what those import, and a function `churn` that makes garbage.
pub fn throwing() -> Vec<u8> {
    let mut text = String::from("(module\n");
    text += &objects::definitions(Part::Exporter);
    text += "(func (export \"churn\") (param $times i32)
        (loop $next
            (table.set $things (i32.and (local.get $times) (i32.const 15))
                (array.new_default $eqs (i32.and (local.get $times) (i32.const 1023))))
            (br_if $next (local.tee $times (i32.sub (local.get $times) (i32.const 1))))))";
    finished(text)
}

/// A function that gives a sum over all of memory, where that is not to be seen from outside.
fn sum(index: &str) -> String {
    format!(
        "(func (export \"sum\") (result i64) (local $at {index}) (local $sum i64)
            (local.set $at ({index}.mul (memory.size) ({index}.const 65536)))
            (loop $next
                (local.set $at ({index}.sub (local.get $at) ({index}.const 8)))
                (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.load (local.get $at))))
                (br_if $next ({index}.ne (local.get $at) ({index}.const 0))))
            (local.get $sum))\n"
    )
}

fn finished(mut text: String) -> Vec<u8> {
    text.push(')');
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The parameters and results of the functions.
fn function_type(others: Others) -> String {
    let parameters: String = TYPES.iter().map(|(_, ty)| format!(" {ty}")).collect();
    let of_type = |ty: &str| format!(" {ty}").repeat(LOCALS_PER_TYPE as usize);
    let results: String = TYPES.iter().map(|(_, ty)| of_type(ty)).collect();
    let references = match others.has_objects() {
        true => of_type("eqref"),
        false => String::new(),
    };
    format!("(param{parameters}) (result{results}{references})")
}

/// A call of the exporter's function, whose results go into all locals.
fn call_of_one(random: &mut Random) -> String {
    let mut text: String = TYPES
        .iter()
        .map(|(letter, _)| format!("(local.get {}) ", local(*letter, random)))
        .collect();
    text += "call $one";
    let letters = TYPES.iter().map(|(letter, _)| *letter).chain(['r']);
    let locals: Vec<String> = letters
        .flat_map(|letter| (0..LOCALS_PER_TYPE).map(move |index| format!("${letter}{index}")))
        .collect();
    for local in locals.iter().rev() {
        text += &format!(" local.set {local}");
    }
    text + "\n"
}

fn function(text: &mut String, name: &str, wide: bool, others: Others, random: &mut Random) {
    // Half of the locals begin with constants, which the compiler folds.
    let ty = function_type(others);
    writeln!(text, "(func ${name} (export \"{name}\") {ty}").expect("a string");
    let references = match others.has_objects() {
        true => LOCALS_PER_TYPE,
        false => 0,
    };
    (0..references).for_each(|index| *text += &format!(" (local $r{index} eqref)"));
    if others == Others::Loops {
        *text += loops::LOCALS;
    }
    for (letter, ty) in TYPES {
        for index in 0..LOCALS_PER_TYPE {
            *text += &format!(" (local ${letter}{index} {ty})");
        }
    }
    text.push('\n');
    for (index, (letter, _)) in TYPES.iter().enumerate() {
        *text += &format!("(local.set ${letter}0 (local.get {index}))\n");
        if random.chance(2) {
            *text += &format!("(local.set ${letter}1 ({}))\n", constant(*letter, random));
        }
    }
    let place = Place {
        wide,
        counters: &[],
    };
    for _ in 0..1 + random.below(others.statements_max()) {
        match others {
            Others::Loops if random.chance(3) => loops::append(text, wide, random),
            Others::Calling if random.chance(12) => *text += &call_of_one(random),
            Others::Shared | Others::Calling if random.chance(5) => {
                *text += &(objects::shared(random) + "\n");
            }
            Others::ObjectsAlone => *text += &(objects::operation(false, random) + "\n"),
            _ if others.has_objects() && !random.chance(3) => {
                *text += &(objects::operation(others.is_of_pair(), random) + "\n")
            }
            Others::Atomic if random.chance(2) => operation(text, &ATOMIC, place, random),
            Others::Waiting if random.chance(8) => operation(text, &WAITING, place, random),
            Others::Waiting if random.chance(2) => operation(text, &ATOMIC, place, random),
            Others::Relaxed if random.chance(2) => operation(text, &RELAXED, place, random),
            _ => operation(text, &OPERATORS, place, random),
        }
    }
    for (letter, _) in TYPES {
        for index in 0..LOCALS_PER_TYPE {
            *text += &format!("local.get ${letter}{index} ");
        }
    }
    (0..references).for_each(|index| *text += &format!("local.get $r{index} "));
    *text += ")\n";
}

fn constant(letter: char, random: &mut Random) -> String {
    let number = random.interesting();
    match letter {
        'i' => format!("i32.const {}", number as i32),
        'l' => format!("i64.const {}", number as i64),
        'f' => format!("f32.reinterpret_i32 (i32.const {})", number as i32),
        'd' => format!("f64.reinterpret_i64 (i64.const {})", number as i64),
        _ => format!(
            "v128.const i64x2 {} {}",
            number as i64,
            random.interesting() as i64
        ),
    }
}

/// The type of addresses.
fn index_type(wide: bool) -> &'static str {
    if wide { "i64" } else { "i32" }
}

fn local(letter: char, random: &mut Random) -> String {
    format!("${letter}{}", random.below(LOCALS_PER_TYPE))
}

/// Where an operation is: what addresses are made of.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Whether they are of 64 bits.
    wide: bool,
    /// Counters of the loops around it.
    counters: &'a [String],
}

/// One operator on locals, or on constants, its results put into locals.
fn operation(text: &mut String, families: &[Family], place: Place<'_>, random: &mut Random) {
    let family = loop {
        let family = random.pick(families);
        // What may trap would end nearly every loop.
        if place.counters.is_empty() || !family.may_trap() || random.chance(50) {
            break family;
        }
    };
    let (name, lanes) = *random.pick(&family.names);
    let prefix = family.prefix;
    for operand in family.operands.chars() {
        match operand {
            'a' if !place.counters.is_empty() => *text += &loops::address(place, random),
            'a' => address(text, prefix.contains("atomic"), place.wide, random),
            't' => *text += &format!("(i64.const {}) ", random.pick(&[0, 0, 1, 5000])),
            letter if random.chance(8) => *text += &format!("({}) ", constant(letter, random)),
            letter => *text += &format!("(local.get {}) ", local(letter, random)),
        }
    }
    *text += prefix;
    *text += name;
    if family.operands.starts_with('a') {
        let offset = match random.below(80) {
            0 => random.below(1 << 32),
            1 => random.below(1 << 18),
            _ if prefix.contains("atomic") => 8 * random.below(5),
            _ => random.below(40),
        };
        *text += &format!(" offset={offset}");
    }
    if lanes > 0 {
        *text += &format!(" {}", random.below(lanes));
    }
    if name == "shuffle" {
        (0..16).for_each(|_| *text += &format!(" {}", random.below(32)));
    }
    text.push('\n');
    // The last result is on top of the stack.
    for letter in family.results.chars().rev() {
        let into = local(letter, random);
        *text += &format!("(local.set {into})");
        *text += &canonical(letter, prefix, &into);
        text.push('\n');
    }
}

/// An address, mostly of the memory's first page, and mostly aligned where it has to be.
fn address(text: &mut String, aligned: bool, wide: bool, random: &mut Random) {
    let from = local(if wide { 'l' } else { 'i' }, random);
    let ty = index_type(wide);
    let mask = match random.below(150) {
        0 => -1,
        1 => 0x3ffff,
        _ if aligned => 0xff8,
        _ => 0xfff,
    };
    *text += &format!("({ty}.and (local.get {from}) ({ty}.const {mask})) ");
}

/// Instructions that make a NaN in a local the canonical one.
fn canonical(letter: char, prefix: &str, local: &str) -> String {
    let get = format!("(local.get {local})");
    match (letter, prefix) {
        ('f', _) => {
            format!("(local.set {local} (select (f32.const nan) {get} (f32.ne {get} {get})))")
        }
        ('d', _) => {
            format!("(local.set {local} (select (f64.const nan) {get} (f64.ne {get} {get})))")
        }
        ('v', "f32x4.") => format!(
            "(local.set {local} (v128.bitselect (v128.const f32x4 nan nan nan nan) {get} (f32x4.ne {get} {get})))"
        ),
        ('v', "f64x2.") => format!(
            "(local.set {local} (v128.bitselect (v128.const f64x2 nan nan) {get} (f64x2.ne {get} {get})))"
        ),
        _ => String::new(),
    }
}

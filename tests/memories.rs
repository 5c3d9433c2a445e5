//! Modules whose memory does not rely on guard pages: several memories, 64-bit indexes, other
//! page sizes. Each ends where it ends, nothing of one is seen
//! in another, and every one of them is frozen, restored and reset.

mod support;

use dormouse::compile::{CompileError, CompileOptions, compile};
use dormouse::{
    Engine, EngineOptions, Image, Imports, Instance, Limit, Limits, Reason, RestoreError, TrapKind,
};
use std::fs;
use support::{call, engine, freeze, fresh, instance, linked, module, restore};

const OUT_OF_BOUNDS: Reason = Reason::Trap(TrapKind::MemoryOutOfBounds);

/// A memory of a test's module: the type of its indexes, its limits, the size of its pages.
#[derive(Clone, Copy)]
struct Memory {
    index: &'static str,
    minimum: u64,
    maximum: u64,
    page: u64,
}

const fn memory(index: &'static str, minimum: u64, maximum: u64) -> Memory {
    Memory {
        index,
        minimum,
        maximum,
        page: 65536,
    }
}

/// Memories that share a slot, in several ways.
const MIXES: [&[Memory]; 7] = [
    &[
        memory("i32", 1, 10),
        memory("i32", 2, 5),
        memory("i32", 0, 3),
    ],
    // So that there is no room for all maxima, and an image file with a tail that is not in the file.
    &[memory("i32", 40, 65536), memory("i32", 40, 65536)],
    &[memory("i64", 2, 10)],
    &[memory("i64", 1, 1 << 40), memory("i32", 1, 20)],
    &[
        memory("i32", 3, 9),
        memory("i64", 0, 1 << 48),
        memory("i64", 1, 6),
    ],
    // Memories that end within a page of the hardware, and at its end.
    &[bytes("i32", 4095, 1 << 20)],
    &[
        bytes("i32", 0, u32::MAX as u64),
        bytes("i64", 70_000, 1 << 50),
        memory("i32", 1, 9),
        bytes("i32", 4093, 200_000),
    ],
];

/// A memory with pages of one byte.
const fn bytes(index: &'static str, minimum: u64, maximum: u64) -> Memory {
    Memory {
        page: 1,
        ..memory(index, minimum, maximum)
    }
}

/// A module that reads, writes, grows, copies and fills each of its memories, of which each has a string in it.
fn wat(memories: &[Memory]) -> String {
    let mut text = String::from("(module ");
    for (n, memory) in memories.iter().enumerate() {
        let Memory {
            index,
            minimum,
            maximum,
            page,
        } = *memory;
        let page = match page {
            65536 => String::new(),
            page => format!("(pagesize {page})"),
        };
        let declared = match index {
            "i32" => "",
            other => other,
        };
        text += &format!("(memory $m{n} {declared} {minimum} {maximum} {page})\n");
        text += &format!("(data $d{n} \"passive-{n}\")\n");
        if minimum > 0 {
            text += &format!("(data (memory $m{n}) ({index}.const 10) \"active-{n}\")\n");
        }
        text += &format!(
            r#"(func (export "peek{n}") (param {index}) (result i32) (i32.load8_u $m{n} (local.get 0)))
            (func (export "peek8_{n}") (param {index}) (result i64) (i64.load $m{n} (local.get 0)))
            (func (export "peek16_{n}") (param {index}) (result i64)
                (i64x2.extract_lane 1 (v128.load $m{n} (local.get 0))))
            (func (export "far{n}") (param {index}) (result i32)
                (i32.load8_u $m{n} offset=65535 (local.get 0)))
            (func (export "farther{n}") (param {index}) (result i32)
                (i32.load $m{n} offset=0xffffffff (local.get 0)))
            (func (export "poke{n}") (param {index} i32) (i32.store8 $m{n} (local.get 0) (local.get 1)))
            (func (export "poke8_{n}") (param {index} i64) (i64.store $m{n} (local.get 0) (local.get 1)))
            (func (export "grow{n}") (param {index}) (result {index}) (memory.grow $m{n} (local.get 0)))
            (func (export "size{n}") (result {index}) (memory.size $m{n}))
            (func (export "fill{n}") (param {index} i32 {index})
                (memory.fill $m{n} (local.get 0) (local.get 1) (local.get 2)))
            (func (export "init{n}") (param {index} i32 i32)
                (memory.init $m{n} $d{n} (local.get 0) (local.get 1) (local.get 2)))
            "#
        );
        for (m, other) in memories.iter().enumerate() {
            let count = match (index, other.index) {
                ("i64", "i64") => "i64",
                _ => "i32",
            };
            text += &format!(
                r#"(func (export "copy{n}from{m}") (param {index} {} {count})
                    (memory.copy $m{n} $m{m} (local.get 0) (local.get 1) (local.get 2)))
                "#,
                other.index
            );
        }
    }
    text + ")"
}

fn is_out_of_bounds(instance: &mut Instance, name: &str, arguments: &[u64]) {
    let result = call(instance, name, arguments);
    let reason = result.expect_err(&format!("{name} {arguments:x?}")).reason;
    assert_eq!(reason, OUT_OF_BOUNDS, "{name} {arguments:x?}");
}

fn number(instance: &mut Instance, name: &str, arguments: &[u64]) -> u64 {
    call(instance, name, arguments).unwrap()[0]
}

fn minus_one(memory: &Memory) -> u64 {
    match memory.index {
        "i32" => u32::MAX.into(),
        _ => u64::MAX,
    }
}

/// Every access that ends at the end of memory `n` succeeds, and every one that ends beyond it traps.
fn ends_at(instance: &mut Instance, memories: &[Memory], n: usize, bytes: u64) {
    let index_max = minus_one(&memories[n]);
    let name = |what: &str| format!("{what}{n}");
    for (what, size) in [("peek", 1), ("peek8_", 8), ("peek16_", 16)] {
        if bytes >= size {
            call(instance, &name(what), &[bytes - size]).unwrap();
        }
        for index in bytes.saturating_sub(size) + 1..=bytes + size {
            if index + size > bytes {
                is_out_of_bounds(instance, &name(what), &[index]);
            }
        }
        for index in [
            index_max,
            index_max - size,
            index_max / 2,
            index_max / 2 + 1,
        ] {
            is_out_of_bounds(instance, &name(what), &[index]);
        }
    }
    if bytes > 0 {
        call(instance, &name("poke"), &[bytes - 1, 7]).unwrap();
        call(instance, &name("poke"), &[bytes - 1, 0]).unwrap();
    }
    is_out_of_bounds(instance, &name("poke"), &[bytes, 1]);
    is_out_of_bounds(instance, &name("poke8_"), &[bytes.saturating_sub(7), 1]);
    if bytes >= 65536 {
        call(instance, &name("far"), &[bytes - 65536]).unwrap();
        is_out_of_bounds(instance, &name("far"), &[bytes - 65535]);
    }
    for index in [0, 1, bytes, index_max, index_max - 65534, index_max - 65535] {
        is_out_of_bounds(instance, &name("farther"), &[index]);
        if index > bytes {
            is_out_of_bounds(instance, &name("far"), &[index]);
        }
    }
    call(instance, &name("fill"), &[bytes, 0, 0]).unwrap();
    is_out_of_bounds(instance, &name("fill"), &[bytes, 1, 1]);
    is_out_of_bounds(instance, &name("fill"), &[0, 1, bytes + 1]);
    is_out_of_bounds(instance, &name("fill"), &[index_max, 1, index_max]);
    is_out_of_bounds(instance, &name("init"), &[bytes.saturating_sub(8), 0, 9]);
    for (m, other) in memories.iter().enumerate() {
        let name = format!("copy{n}from{m}");
        let length = number(instance, &format!("size{m}"), &[]) * other.page;
        is_out_of_bounds(instance, &name, &[bytes, 0, 1]);
        is_out_of_bounds(instance, &name, &[0, length, 1]);
        is_out_of_bounds(instance, &name, &[index_max, minus_one(other), 2]);
        call(instance, &name, &[bytes, length, 0]).unwrap();
    }
}

fn strings_are_in_place(instance: &mut Instance, memories: &[Memory]) {
    for (n, memory) in memories.iter().enumerate() {
        if memory.minimum > 0 {
            let expected = u64::from_le_bytes(format!("active-{n}").as_bytes().try_into().unwrap());
            assert_eq!(number(instance, &format!("peek8_{n}"), &[10]), expected);
        }
    }
}

#[test]
fn each_memory_ends_where_it_ends() {
    let engine = engine();
    for memories in MIXES {
        let mut instance = instance(&engine, &wat(memories));
        for (n, memory) in memories.iter().enumerate() {
            ends_at(&mut instance, memories, n, memory.minimum * memory.page);
        }
        strings_are_in_place(&mut instance, memories);
        for (n, memory) in memories.iter().enumerate() {
            let grown = memory.minimum + 2;
            assert_eq!(
                number(&mut instance, &format!("grow{n}"), &[2]),
                memory.minimum
            );
            ends_at(&mut instance, memories, n, grown * memory.page);
            let failed = number(&mut instance, &format!("grow{n}"), &[memory.maximum]);
            assert_eq!(failed, minus_one(memory));
            let failed = number(&mut instance, &format!("grow{n}"), &[minus_one(memory)]);
            assert_eq!(failed, minus_one(memory));
            ends_at(&mut instance, memories, n, grown * memory.page);
        }
        strings_are_in_place(&mut instance, memories);
    }
}

#[test]
fn what_is_written_to_one_memory_is_in_no_other() {
    let engine = engine();
    // Room for what is copied.
    let more = |memory: &Memory| 40u64.div_ceil(memory.page);
    for memories in MIXES {
        let mut instance = instance(&engine, &wat(memories));
        for (n, memory) in memories.iter().enumerate() {
            call(&mut instance, &format!("grow{n}"), &[more(memory)]).unwrap();
            let bytes = (memory.minimum + more(memory)) * memory.page;
            call(
                &mut instance,
                &format!("fill{n}"),
                &[0, n as u64 + 1, bytes],
            )
            .unwrap();
        }
        for (n, memory) in memories.iter().enumerate() {
            let bytes = (memory.minimum + more(memory)) * memory.page;
            for index in [0, bytes / 2, bytes - 1] {
                assert_eq!(
                    number(&mut instance, &format!("peek{n}"), &[index]),
                    n as u64 + 1
                );
            }
        }
        // From each to each, and back over itself in both directions.
        for n in 0..memories.len() {
            call(&mut instance, &format!("init{n}"), &[0, 0, 9]).unwrap();
            for m in 0..memories.len() {
                call(&mut instance, &format!("copy{m}from{n}"), &[20, 0, 9]).unwrap();
                assert_eq!(
                    number(&mut instance, &format!("peek{m}"), &[28]),
                    u64::from(b'0') + n as u64
                );
            }
        }
    }
}

/// What `/proc/self/maps` says of the page at an address.
fn access_at(address: usize) -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (start, end) = words.next().unwrap().split_once('-').unwrap();
        let bound = |text| usize::from_str_radix(text, 16).unwrap();
        if (bound(start)..bound(end)).contains(&address) {
            return words.next().unwrap().to_owned();
        }
    }
    String::from("unmapped")
}

/// Every memory is accessible to its end, and not beyond.
fn gaps_are_inaccessible(instance: &mut Instance, memories: &[Memory]) {
    let first = instance.memory().as_ptr() as usize;
    let layout = instance.linked().module().info().layout.clone();
    for (n, memory) in memories.iter().enumerate() {
        let length = number(instance, &format!("size{n}"), &[]) * memory.page;
        let place = layout.memories[n];
        let start = first + (place.start - layout.memories[0].start) as usize;
        let end = start + (length as usize).next_multiple_of(4096);
        if length > 0 {
            assert_eq!(access_at(end - 1), "rw-p", "memory {n}");
        }
        if place.reserved_bytes as usize > end - start {
            assert_eq!(access_at(end), "---p", "memory {n}");
            let last = start + place.reserved_bytes as usize - 1;
            assert_eq!(access_at(last), "---p", "memory {n}");
        }
    }
}

/// Writes to both ends of every memory, grows each and writes there too.
fn ruin(instance: &mut Instance, memories: &[Memory]) {
    for (n, memory) in memories.iter().enumerate() {
        for _ in 0..2 {
            let bytes = number(instance, &format!("size{n}"), &[]) * memory.page;
            if bytes > 0 {
                for index in [0, bytes / 2, bytes - 1] {
                    call(instance, &format!("poke{n}"), &[index, 0xee]).unwrap();
                }
            }
            call(instance, &format!("grow{n}"), &[1]).unwrap();
        }
    }
}

/// The length of every memory and a sum over all that it holds.
fn observe(instance: &mut Instance, memories: &[Memory]) -> Vec<u64> {
    let mut observed = Vec::new();
    for (n, memory) in memories.iter().enumerate() {
        let pages = number(instance, &format!("size{n}"), &[]);
        observed.push(pages);
        let bytes = pages * memory.page;
        let mut sum = 0u64;
        for index in (0..bytes).filter(|index| index % 2039 < 2 || *index + 2 > bytes) {
            let byte = number(instance, &format!("peek{n}"), &[index]);
            sum = sum.rotate_left(1).wrapping_add(byte);
        }
        observed.push(sum);
    }
    observed
}

#[test]
fn every_memory_is_frozen_restored_and_reset() {
    for memories in MIXES {
        for keep_resident_pages in [0, 2, 1 << 20] {
            let options = EngineOptions {
                keep_resident_pages,
                ..EngineOptions::default()
            };
            let engine = Engine::new(&options).unwrap();
            let mut original = instance(&engine, &wat(memories));
            for (n, memory) in memories.iter().enumerate() {
                // The frozen lengths are not the initial ones.
                call(&mut original, &format!("grow{n}"), &[1]).unwrap();
                let index = memory.minimum * memory.page;
                call(&mut original, &format!("poke{n}"), &[index, 0x55]).unwrap();
            }
            let frozen = observe(&mut original, memories);
            let image = freeze(&mut original);
            drop(original);
            for _ in 0..2 {
                let mut instance = restore(&image);
                gaps_are_inaccessible(&mut instance, memories);
                for _ in 0..3 {
                    assert_eq!(observe(&mut instance, memories), frozen);
                    for (n, memory) in memories.iter().enumerate() {
                        let bytes = (memory.minimum + 1) * memory.page;
                        ends_at(&mut instance, memories, n, bytes);
                    }
                    strings_are_in_place(&mut instance, memories);
                    ruin(&mut instance, memories);
                    assert_ne!(observe(&mut instance, memories), frozen);
                    gaps_are_inaccessible(&mut instance, memories);
                    instance.reset(Box::new(())).unwrap();
                    gaps_are_inaccessible(&mut instance, memories);
                    for (n, memory) in memories.iter().enumerate() {
                        let end = (memory.minimum + 1) * memory.page;
                        is_out_of_bounds(&mut instance, &format!("peek{n}"), &[end]);
                    }
                }
                ruin(&mut instance, memories);
                instance.trim().unwrap();
                assert_eq!(observe(&mut instance, memories), frozen);
                gaps_are_inaccessible(&mut instance, memories);
                // Grown again after a reset, what was there before is gone.
                for (n, memory) in memories.iter().enumerate() {
                    call(&mut instance, &format!("grow{n}"), &[1]).unwrap();
                    let grown = (memory.minimum + 1) * memory.page;
                    for index in [grown, grown + memory.page - 1] {
                        assert_eq!(number(&mut instance, &format!("peek{n}"), &[index]), 0);
                    }
                }
                // And its slot goes to another instance with all of it still there.
            }
        }
    }
}

#[test]
fn a_slot_of_several_memories_reused_by_a_module_of_one() {
    let options = EngineOptions {
        slots_max: 1,
        ..EngineOptions::default()
    };
    let engine = Engine::new(&options).unwrap();
    let one = r#"(module (memory (export "memory") 1 10)
        (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0))))"#;
    let image = freeze(&mut instance(&engine, one));
    for memories in MIXES {
        let several = freeze(&mut instance(&engine, &wat(memories)));
        for _ in 0..2 {
            let mut instance = restore(&several);
            ruin(&mut instance, memories);
            drop(instance);
            let mut instance = restore(&image);
            for address in [
                65536,
                65536 * 2,
                65536 * 3,
                1 << 20,
                1 << 31,
                u32::MAX.into(),
            ] {
                is_out_of_bounds(&mut instance, "peek", &[address]);
            }
            assert!(instance.memory().iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn the_memory_limit_is_for_all_memories_together() {
    let engine = engine();
    let memories = MIXES[0];
    let linked = linked(&engine, &wat(memories), &Imports::new());
    let limits = |pages: u64| Limits {
        memory_bytes: pages * 65536,
        ..Limits::default()
    };
    assert!(Instance::new(&linked, limits(2), Box::new(())).is_err());
    let mut instance = Instance::new(&linked, limits(4), Box::new(())).unwrap();
    assert_eq!(instance.peak_memory_bytes(), 3 * 65536);
    assert_eq!(number(&mut instance, "grow1", &[2]), u32::MAX.into());
    assert!(matches!(
        instance.refused_limit(),
        Some(Limit::Memory {
            limit_bytes: 0x40000,
            wanted_bytes: 0x50000
        })
    ));
    assert_eq!(number(&mut instance, "grow2", &[1]), 0);
    assert_eq!(number(&mut instance, "grow0", &[1]), u32::MAX.into());
    assert_eq!(instance.peak_memory_bytes(), 4 * 65536);
    let image = freeze(&mut instance);
    assert_eq!(image.memory_bytes(), 4 * 65536);
    assert!(matches!(
        image.restore(limits(3), Box::new(())),
        Err(RestoreError::Limit(_))
    ));
    let mut instance = image.restore(limits(5), Box::new(())).unwrap();
    assert_eq!(number(&mut instance, "grow0", &[1]), 1);
    assert_eq!(number(&mut instance, "grow0", &[1]), u32::MAX.into());
}

#[test]
fn a_memory_of_64_bit_indexes_ends_at_4_gib() {
    let engine = engine();
    let memories = [memory("i64", 1, 1 << 48)];
    let mut instance = instance(&engine, &wat(&memories));
    for pages in [
        65536,
        65537,
        1 << 32,
        (1 << 48) - 1,
        1 << 48,
        u64::MAX - 1,
        u64::MAX,
    ] {
        assert_eq!(number(&mut instance, "grow0", &[pages]), u64::MAX);
    }
    assert_eq!(number(&mut instance, "grow0", &[65536]), u64::MAX);
    assert!(matches!(
        instance.refused_limit(),
        Some(Limit::Memory { .. })
    ));
    assert_eq!(number(&mut instance, "grow0", &[65535]), 1);
    ends_at(&mut instance, &memories, 0, 1 << 32);
    assert_eq!(number(&mut instance, "grow0", &[1]), u64::MAX);
    for minimum in [65537, 1u64 << 48] {
        let text = format!("(module (memory i64 {minimum}))");
        let error = compile(&wat::parse_str(text).unwrap(), &CompileOptions::default());
        assert!(matches!(error, Err(CompileError::MemoriesTooLarge { .. })));
    }
    let text = "(module (memory 65536) (memory 0) (memory 1))";
    let error = compile(&wat::parse_str(text).unwrap(), &CompileOptions::default());
    assert!(matches!(error, Err(CompileError::MemoriesTooLarge { .. })));
}

#[test]
fn a_memory_of_one_byte_pages_ends_below_4_gib() {
    let engine = engine();
    for limits in ["1", "1 4294967295"] {
        let text = format!(
            r#"(module (memory {limits} (pagesize 1))
                (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#
        );
        let mut instance = instance(&engine, &text);
        // Its length is a number of 32 bits.
        let most = u64::from(u32::MAX) - 1;
        assert_eq!(number(&mut instance, "grow", &[most + 1]), u32::MAX.into());
        assert_eq!(number(&mut instance, "grow", &[most]), 1);
        assert_eq!(number(&mut instance, "grow", &[1]), u32::MAX.into());
        assert_eq!(instance.memory().len() as u64, u64::from(u32::MAX));
    }
}

#[test]
fn a_table_of_64_bit_indexes_ends_where_it_ends() {
    let engine = engine();
    let text = r#"(module
        (type $f (func (result i32)))
        (table $t i64 3 6 funcref)
        (table $u 4 funcref)
        (elem (table $t) (i64.const 1) func $one)
        (elem $e func $one $one)
        (func $one (result i32) (i32.const 1))
        (func (export "call") (param i64) (result i32)
            (call_indirect $t (type $f) (local.get 0)))
        (func (export "is_null") (param i64) (result i32) (ref.is_null (table.get $t (local.get 0))))
        (func (export "set") (param i64) (table.set $t (local.get 0) (ref.func $one)))
        (func (export "grow") (param i64) (result i64)
            (table.grow $t (ref.func $one) (local.get 0)))
        (func (export "size") (result i64) (table.size $t))
        (func (export "fill") (param i64 i64) (table.fill $t (local.get 0) (ref.func $one) (local.get 1)))
        (func (export "init") (param i64 i32 i32)
            (table.init $t $e (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy") (param i64 i32 i32)
            (table.copy $t $u (local.get 0) (local.get 1) (local.get 2))))"#;
    let mut instance = instance(&engine, text);
    let observe = |instance: &mut Instance| {
        let length = number(instance, "size", &[]);
        let beyond = |instance: &mut Instance, name: &str, arguments: &[u64]| {
            let reason = call(instance, name, arguments).unwrap_err().reason;
            let expected = match name {
                "call" => TrapKind::UndefinedElement,
                _ => TrapKind::TableOutOfBounds,
            };
            assert_eq!(reason, Reason::Trap(expected), "{name}");
        };
        for index in [
            length,
            1 << 32,
            (1 << 32) + 1,
            1 << 61,
            (1 << 61) + 1,
            u64::MAX,
        ] {
            for name in ["call", "is_null", "set"] {
                beyond(instance, name, &[index]);
            }
            beyond(instance, "fill", &[index, 1]);
            beyond(instance, "fill", &[1, index]);
            beyond(instance, "init", &[index, 0, 1]);
            beyond(instance, "copy", &[index, 0, 1]);
        }
        let null = (0..length).map(|index| number(instance, "is_null", &[index]));
        null.collect::<Vec<_>>()
    };
    let frozen = [1, 0, 1];
    assert_eq!(observe(&mut instance), frozen);
    let mut instance = restore(&freeze(&mut instance));
    for _ in 0..2 {
        assert_eq!(observe(&mut instance), frozen);
        assert_eq!(number(&mut instance, "call", &[1]), 1);
        for delta in [4, 1 << 32, u64::MAX, u64::MAX - 2] {
            assert_eq!(number(&mut instance, "grow", &[delta]), u64::MAX);
        }
        assert_eq!(number(&mut instance, "grow", &[3]), 3);
        call(&mut instance, "init", &[0, 0, 1]).unwrap();
        call(&mut instance, "copy", &[1, 0, 1]).unwrap();
        assert_eq!(observe(&mut instance), [0, 1, 1, 0, 0, 0]);
        instance.reset(Box::new(())).unwrap();
    }
}

#[test]
fn segments_go_to_their_own_memory_or_nowhere() {
    let engine = engine();
    let beyond = r#"(module (memory 1) (memory 2)
        (data (memory 1) (i32.const 131071) "x")
        (data (memory 0) (i32.const 65535) "xy"))"#;
    let linked = module(&engine, beyond).link(&Imports::new()).unwrap();
    let error = Instance::new(&linked, Limits::default(), Box::new(()));
    assert!(matches!(
        error,
        Err(dormouse::InstantiateError::Trap(
            TrapKind::MemoryOutOfBounds
        ))
    ));
}

#[test]
fn the_host_works_in_the_memory_exported_as_memory() {
    let engine = engine();
    let text = r#"(module (memory 1) (memory (export "memory") 2)
        (data (memory 0) (i32.const 0) "zero") (data (memory 1) (i32.const 0) "one"))"#;
    let mut instance = instance(&engine, text);
    assert_eq!(instance.memory().len(), 2 * 65536);
    assert!(instance.memory().starts_with(b"one\0"));
    let mut instance = restore(&freeze(&mut instance));
    assert!(instance.memory().starts_with(b"one\0"));
}

#[test]
fn an_image_file_has_no_gaps() {
    let engine = engine();
    for memories in MIXES {
        let mut original = fresh(&linked(&engine, &wat(memories), &Imports::new()));
        let file = support::image_file();
        let report = Image::capture(&mut original, &file).unwrap();
        assert!(report.file_bytes < 6 << 20, "{} bytes", report.file_bytes);
        assert_eq!(file.metadata().unwrap().len(), report.file_bytes);
    }
}

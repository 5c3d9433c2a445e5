//! The threads proposal on one thread: atomic accesses at the edges of memory, and waiting.

mod support;

use dormouse::{Image, Imports, Progress, Reason, TrapKind};
use std::time::{Duration, Instant};
use support::{call, engine, freeze, fresh, image_file, instance, linked, restore};

/// Every atomic access, with the bytes it takes and its operands after the address.
const ACCESSES: [(&str, u64, &str); 24] = [
    ("i32.atomic.load", 4, ""),
    ("i64.atomic.load", 8, ""),
    ("i32.atomic.load8_u", 1, ""),
    ("i64.atomic.load16_u", 2, ""),
    ("i64.atomic.load32_u", 4, ""),
    ("i32.atomic.rmw.add", 4, "(i32.const 1)"),
    ("i32.atomic.rmw16.sub_u", 2, "(i32.const 1)"),
    ("i64.atomic.rmw.and", 8, "(i64.const 1)"),
    ("i64.atomic.rmw8.or_u", 1, "(i64.const 1)"),
    ("i64.atomic.rmw32.xor_u", 4, "(i64.const 1)"),
    ("i32.atomic.rmw8.xchg_u", 1, "(i32.const 1)"),
    ("i64.atomic.rmw.xchg", 8, "(i64.const 1)"),
    ("i32.atomic.rmw.cmpxchg", 4, "(i32.const 1) (i32.const 2)"),
    (
        "i32.atomic.rmw8.cmpxchg_u",
        1,
        "(i32.const 1) (i32.const 2)",
    ),
    (
        "i64.atomic.rmw16.cmpxchg_u",
        2,
        "(i64.const 1) (i64.const 2)",
    ),
    ("i64.atomic.rmw.cmpxchg", 8, "(i64.const 1) (i64.const 2)"),
    ("i32.atomic.store", 4, "(i32.const 1)"),
    ("i64.atomic.store", 8, "(i64.const 1)"),
    ("i32.atomic.store8", 1, "(i32.const 1)"),
    ("i64.atomic.store16", 2, "(i64.const 1)"),
    ("i64.atomic.store32", 4, "(i64.const 1)"),
    ("memory.atomic.notify", 4, "(i32.const 1)"),
    ("memory.atomic.wait32", 4, "(i32.const 9) (i64.const 0)"),
    ("memory.atomic.wait64", 8, "(i64.const 9) (i64.const 0)"),
];

/// A module with one access at an address and a static offset, in the last of its memories.
fn module(access: (&str, u64, &str), memories: &str, index: &str, offset: u64) -> String {
    let (name, _, operands) = access;
    let drop = if name.contains("store") { "" } else { "drop" };
    let memory = memories.matches("(memory").count() - 1;
    format!(
        r#"(module {memories}
            (func (export "f") (param $at {index}) (local.get $at) {operands} {name} {memory} offset={offset} {drop}))"#
    )
}

#[test]
fn accesses_end_where_memory_does_and_are_aligned() {
    let engine = engine();
    let out = Some(TrapKind::MemoryOutOfBounds);
    let unaligned = Some(TrapKind::UnalignedAtomic);
    let memories = [
        ("(memory 1 3 shared)", "i32"),
        ("(memory 1)(memory 1 2 shared)", "i32"),
        ("(memory i64 1 2 shared)", "i64"),
    ];
    for (memories, index) in memories {
        for access in ACCESSES {
            let bytes = access.1;
            for offset in [0, 8, 65536 - 8, 1 << 26] {
                let source = module(access, memories, index, offset);
                let mut instance = instance(&engine, &source);
                let mut expect = |at: u64, expected: Option<TrapKind>| {
                    let result = call(&mut instance, "f", &[at]);
                    let found = result.err().map(|trap| trap.reason);
                    let expected = expected.map(Reason::Trap);
                    assert_eq!(found, expected, "{} {offset} at {at}", access.0);
                };
                if offset < 65536 {
                    let end = 65536 - offset;
                    expect(0, None);
                    expect(end - bytes, None);
                    expect(end, out);
                    if bytes > 1 {
                        expect(1, unaligned);
                        expect(end - 1, unaligned);
                    }
                } else {
                    expect(0, out);
                }
                expect(0xffff_fff8, out);
                if index == "i64" {
                    // The sum with the offset wraps.
                    expect(u64::MAX - 7, out);
                }
            }
        }
    }
}

#[test]
fn narrow_accesses_change_their_bytes_alone() {
    let mut instance = instance(
        &engine(),
        r#"(module (memory (export "memory") 1 1 shared)
            (func (export "add") (param i32 i32) (result i32) (i32.atomic.rmw8.add_u (local.get 0) (local.get 1)))
            (func (export "cmpxchg") (param i32 i32 i32) (result i32)
                (i32.atomic.rmw16.cmpxchg_u (local.get 0) (local.get 1) (local.get 2)))
            (func (export "xchg") (param i32 i64) (result i64) (i64.atomic.rmw32.xchg_u (local.get 0) (local.get 1))))"#,
    );
    instance.memory()[..16].fill(0xff);
    assert_eq!(call(&mut instance, "add", &[1, 2]).unwrap(), [0xff]);
    assert_eq!(instance.memory()[..4], [0xff, 1, 0xff, 0xff]);
    // Only the low bits of what is expected count.
    let result = call(&mut instance, "cmpxchg", &[2, 0xabcd_ffff, 0x1234_5678]);
    assert_eq!(result.unwrap(), [0xffff]);
    assert_eq!(instance.memory()[..6], [0xff, 1, 0x78, 0x56, 0xff, 0xff]);
    let result = call(&mut instance, "xchg", &[8, u64::MAX << 32]);
    assert_eq!(result.unwrap(), [0xffff_ffff]);
    assert_eq!(instance.memory()[8..13], [0, 0, 0, 0, 0xff]);
}

const WAITING: &str = r#"(module (memory (export "memory") 1 1 shared)
    (func (export "wait") (param i32 i64) (result i32)
        (memory.atomic.wait32 (i32.const 8) (local.get 0) (local.get 1)))
    (func (export "notify") (result i32) (memory.atomic.notify (i32.const 8) (i32.const -1))))"#;

#[test]
fn a_wait_ends_with_its_timeout_and_not_before() {
    let mut instance = instance(&engine(), WAITING);
    assert_eq!(call(&mut instance, "wait", &[1, u64::MAX]).unwrap(), [1]);
    assert_eq!(call(&mut instance, "wait", &[0, 0]).unwrap(), [2]);
    let wait = instance.linked().module().function("wait").unwrap();
    let timeout = Duration::from_millis(50);
    let begun = Instant::now();
    instance
        .begin(wait, &[0, timeout.as_nanos() as u64])
        .unwrap();
    assert_eq!(instance.resume(), Progress::Blocked);
    let deadline = instance.atomic_wait().unwrap().deadline.unwrap();
    assert!(deadline >= begun + timeout);
    while Instant::now() < deadline {
        // Resumed for no reason, it goes on waiting.
        if Instant::now() < deadline - timeout / 2 {
            assert_eq!(instance.resume(), Progress::Blocked);
        }
        std::thread::sleep(timeout / 10);
    }
    assert_eq!(instance.resume(), Progress::Returned(vec![2]));
    assert_eq!(instance.atomic_wait(), None);
    assert_eq!(call(&mut instance, "notify", &[]).unwrap(), [0]);
    // The convenience sleeps.
    let result = call(&mut instance, "wait", &[0, 1_000_000]);
    assert_eq!(result.unwrap(), [2]);
}

#[test]
fn a_wait_that_nobody_can_end_is_told_so() {
    let mut instance = instance(&engine(), WAITING);
    let trap = call(&mut instance, "wait", &[0, u64::MAX]).unwrap_err();
    assert!(
        matches!(&trap.reason, Reason::Host(message) if message.contains("waits for ever")),
        "{trap:?}"
    );
}

#[test]
fn a_guest_that_is_stopped_while_it_waits_leaves_nothing_behind() {
    let engine = engine();
    let linked = linked(&engine, WAITING, &Imports::new());
    let image = freeze(&mut fresh(&linked));
    let wait = linked.module().function("wait").unwrap();
    let notify = linked.module().function("notify").unwrap();
    let mut instance = restore(&image);
    for ending in 0..3 {
        instance.begin(wait, &[0, u64::MAX]).unwrap();
        assert_eq!(instance.resume(), Progress::Blocked);
        // It cannot be frozen or reset in the middle.
        assert!(Image::capture(&mut instance, &image_file()).is_err());
        assert!(instance.reset(Box::new(())).is_err());
        match ending {
            0 | 1 => {
                instance.stop(Reason::Host("enough".to_owned()));
                instance.reset(Box::new(())).unwrap();
            }
            // Dropped while it waits; the next one has the same slot.
            _ => instance = restore(&image),
        }
        assert_eq!(instance.atomic_wait(), None);
        assert_eq!(instance.call(notify, &[]).unwrap(), [0], "nobody waits");
        instance.reset(Box::new(())).unwrap();
    }
}

#[test]
fn waiting_takes_a_shared_memory() {
    let mut instance = instance(
        &engine(),
        r#"(module (memory 1)
            (func (export "wait") (result i32) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))
            (func (export "notify") (result i32) (memory.atomic.notify (i32.const 0) (i32.const 1))))"#,
    );
    let trap = call(&mut instance, "wait", &[]).unwrap_err();
    assert_eq!(trap.reason, Reason::Trap(TrapKind::ExpectedSharedMemory));
    assert_eq!(call(&mut instance, "notify", &[]).unwrap(), [0]);
}

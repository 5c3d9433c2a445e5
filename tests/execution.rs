//! Calls, traps, host functions, limits and preemption, through the engine's public interface.

mod support;

use dormouse::{
    Engine, EngineOptions, Imports, Instance, Limit, Limits, Progress, Reason, Stop, TrapKind,
};
use std::time::Duration;
use support::{call, engine, fresh, instance, linked};

#[test]
fn arithmetic_and_calls() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
            (func $fib (export "fib") (param i32) (result i32)
                (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                    (then (local.get 0))
                    (else (i32.add
                        (call $fib (i32.sub (local.get 0) (i32.const 1)))
                        (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
            (func (export "swap") (param i64 f64) (result f64 i64) local.get 1 local.get 0))"#,
    );
    assert_eq!(call(&mut instance, "fib", &[20]).unwrap(), [6765]);
    assert_eq!(
        call(&mut instance, "swap", &[7, 2.5f64.to_bits()]).unwrap(),
        [2.5f64.to_bits(), 7]
    );
}

#[test]
fn memory_ends_where_it_ends() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module (memory (export "memory") 1 3)
            (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
            (func (export "load_far") (param i32) (result i32) (i32.load offset=4294967292 (local.get 0)))
            (func (export "store64") (param i32) (i64.store offset=1 (local.get 0) (i64.const -1)))
            (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "size") (result i32) (memory.size)))"#,
    );
    let out_of_bounds = |result: Result<Vec<u64>, dormouse::Trap>| {
        assert_eq!(
            result.unwrap_err().reason,
            Reason::Trap(TrapKind::MemoryOutOfBounds)
        );
    };
    assert_eq!(call(&mut instance, "load", &[65535]).unwrap(), [0]);
    for address in [65536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        out_of_bounds(call(&mut instance, "load", &[address]));
        out_of_bounds(call(&mut instance, "load_far", &[address]));
        out_of_bounds(call(&mut instance, "store64", &[address]));
    }
    // An access that straddles the end changes nothing.
    out_of_bounds(call(&mut instance, "store64", &[65528]));
    assert_eq!(call(&mut instance, "load", &[65535]).unwrap(), [0]);
    assert_eq!(call(&mut instance, "grow", &[2]).unwrap(), [1]);
    assert_eq!(call(&mut instance, "size", &[]).unwrap(), [3]);
    assert_eq!(call(&mut instance, "load", &[3 * 65536 - 1]).unwrap(), [0]);
    out_of_bounds(call(&mut instance, "load", &[3 * 65536]));
    assert_eq!(
        call(&mut instance, "grow", &[1]).unwrap()[0] as u32,
        u32::MAX
    );
}

#[test]
fn traps_name_their_kind_and_the_way_there() {
    let engine = engine();
    let mut instance = instance(
        &engine,
        r#"(module
            (table 3 funcref) (elem (i32.const 0) $inner)
            (type $v (func)) (type $i (func (param i32)))
            (func $inner unreachable)
            (func $middle (call $inner))
            (func (export "outer") (call $middle))
            (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
            (func (export "convert") (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
            (func (export "indirect") (param i32) (call_indirect (type $i) (i32.const 0) (local.get 0)))
            (func $forever (export "forever") (call $forever)))"#,
    );
    let mut reason =
        |name: &str, arguments: &[u64]| call(&mut instance, name, arguments).unwrap_err().reason;
    assert_eq!(
        reason("divide", &[1, 0]),
        Reason::Trap(TrapKind::IntegerDivisionByZero)
    );
    assert_eq!(
        reason("divide", &[0x8000_0000, 0xffff_ffff]),
        Reason::Trap(TrapKind::IntegerOverflow)
    );
    assert_eq!(
        reason("convert", &[f64::NAN.to_bits()]),
        Reason::Trap(TrapKind::BadConversionToInteger)
    );
    assert_eq!(
        reason("convert", &[1e300f64.to_bits()]),
        Reason::Trap(TrapKind::IntegerOverflow)
    );
    assert_eq!(
        reason("indirect", &[0]),
        Reason::Trap(TrapKind::BadSignature)
    );
    assert_eq!(
        reason("indirect", &[1]),
        Reason::Trap(TrapKind::IndirectCallToNull)
    );
    assert_eq!(
        reason("indirect", &[3]),
        Reason::Trap(TrapKind::UndefinedElement)
    );
    assert_eq!(
        reason("forever", &[]),
        Reason::Trap(TrapKind::StackOverflow)
    );
    let trap = call(&mut instance, "outer", &[]).unwrap_err();
    assert_eq!(trap.reason, Reason::Trap(TrapKind::Unreachable));
    let names: Vec<_> = trap
        .backtrace
        .iter()
        .map(|frame| frame.name.as_deref())
        .collect();
    assert_eq!(names, [Some("inner"), Some("middle"), Some("outer")]);
    assert!(
        trap.backtrace.iter().all(|frame| frame.offset.is_some()),
        "{trap}"
    );
}

#[test]
fn host_functions_take_and_give_values_and_memory() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define("host", "add", |_: &mut dormouse::Caller, a: i32, b: f64| {
        Ok(f64::from(a) + b)
    });
    imports.define(
        "host",
        "shout",
        |caller: &mut dormouse::Caller, at: u32, bytes: u32| {
            caller.slice(at, bytes)?.make_ascii_uppercase();
            *caller.data::<u32>() += 1;
            Ok(())
        },
    );
    imports.define(
        "host",
        "refuse",
        |_: &mut dormouse::Caller| -> Result<(), Stop> { Err(Stop::error("not today")) },
    );
    imports.define(
        "host",
        "panic",
        |_: &mut dormouse::Caller| -> Result<(), Stop> { panic!("a defect") },
    );
    imports.define(
        "host",
        "exit",
        |_: &mut dormouse::Caller, code: i32| -> Result<(), Stop> { Err(Stop::Exit(code)) },
    );
    let linked = linked(
        &engine,
        r#"(module
            (import "host" "add" (func $add (param i32 f64) (result f64)))
            (import "host" "shout" (func $shout (param i32 i32)))
            (import "host" "refuse" (func $refuse))
            (import "host" "panic" (func $panic))
            (import "host" "exit" (func $exit (param i32)))
            (memory 1) (data (i32.const 8) "quiet")
            (func (export "add") (param i32 f64) (result f64) (call $add (local.get 0) (local.get 1)))
            (func (export "shout") (param i32) (result i32)
                (call $shout (i32.const 8) (local.get 0)) (i32.load8_u (i32.const 8)))
            (func $caller (export "refuse") (call $refuse))
            (func (export "panic") (call $panic))
            (func (export "exit") (call $exit (i32.const 3))))"#,
        &imports,
    );
    let mut instance = Instance::new(&linked, Limits::default(), Box::new(0u32)).unwrap();
    let minus_two = (-2i32) as u32 as u64;
    assert_eq!(
        call(&mut instance, "add", &[minus_two, 0.5f64.to_bits()]).unwrap(),
        [(-1.5f64).to_bits()]
    );
    assert_eq!(
        call(&mut instance, "shout", &[5]).unwrap(),
        [u64::from(b'Q')]
    );
    assert_eq!(*instance.data_mut::<u32>(), 1);
    let trap = call(&mut instance, "shout", &[65536]).unwrap_err();
    assert!(matches!(trap.reason, Reason::Host(message) if message.contains("beyond its memory")));
    let trap = call(&mut instance, "refuse", &[]).unwrap_err();
    assert_eq!(trap.reason, Reason::Host("not today".into()));
    assert_eq!(trap.backtrace[0].name.as_deref(), Some("caller"), "{trap}");
    let trap = call(&mut instance, "panic", &[]).unwrap_err();
    assert_eq!(trap.reason, Reason::HostPanic("a defect".into()));
    assert_eq!(
        call(&mut instance, "exit", &[]).unwrap_err().reason,
        Reason::Exit(3)
    );
    // None of that has broken the instance.
    assert_eq!(
        call(&mut instance, "shout", &[1]).unwrap(),
        [u64::from(b'Q')]
    );
}

#[test]
fn imports_that_do_not_fit_are_all_named() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define("a", "f", |_: &mut dormouse::Caller, _: i32| Ok(()));
    let module = support::module(
        &engine,
        r#"(module (import "a" "f" (func (param i64))) (import "a" "g" (func)))"#,
    );
    let error = module.link(&imports).err().unwrap().to_string();
    assert!(
        error.contains("a.f has type (i32) -> (), imported as (i64) -> ()"),
        "{error}"
    );
    assert!(error.contains("a.g is not provided"), "{error}");
}

#[test]
fn memory_limit_is_refused_and_named() {
    let engine = engine();
    let linked = linked(
        &engine,
        r#"(module (memory 1)
            (func (export "hog") (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable)))
            (func (export "grow") (result i32) (memory.grow (i32.const 100))))"#,
        &Imports::new(),
    );
    let limits = Limits {
        memory_bytes: 2 << 20,
        ..Limits::default()
    };
    let mut instance = Instance::new(&linked, limits, Box::new(())).unwrap();
    assert_eq!(
        call(&mut instance, "grow", &[]).unwrap()[0] as u32,
        u32::MAX
    );
    let limit = Limit::Memory {
        limit_bytes: 2 << 20,
        wanted_bytes: 101 << 16,
    };
    assert_eq!(instance.refused_limit(), Some(&limit));
    assert_eq!(
        call(&mut instance, "hog", &[]).unwrap_err().reason,
        Reason::Limit(limit)
    );
    let limits = Limits {
        memory_bytes: 0,
        ..Limits::default()
    };
    assert!(Instance::new(&linked, limits, Box::new(())).is_err());
}

const SPIN: &str = r#"(module
    (memory 1)
    (func (export "spin") (loop $l (br $l)))
    (func (export "fill") (loop $l
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $l)))
    (func (export "mix") (param i64) (result i64) (local f64 i64)
        (local.set 1 (f64.const 1))
        (loop $l
            (local.set 1 (f64.add (f64.mul (local.get 1) (f64.const 0.5)) (f64.const 1)))
            (local.set 2 (i64.add (i64.rotl (local.get 2) (i64.const 7)) (local.get 0)))
            (i64.store (i32.wrap_i64 (i64.and (local.get 0) (i64.const 0xfff8)))
                (i64.add (local.get 2) (i64.load (i32.wrap_i64 (i64.and (local.get 0) (i64.const 0xfff8))))))
            (br_if $l (i64.ne (local.tee 0 (i64.sub (local.get 0) (i64.const 1))) (i64.const 0))))
        (i64.add (i64.reinterpret_f64 (local.get 1)) (i64.add (local.get 2) (i64.load (i32.const 64))))))"#;

#[test]
fn a_spinner_ends_at_its_cpu_limit() {
    let engine = engine();
    let linked = linked(&engine, SPIN, &Imports::new());
    let limit = Duration::from_millis(20);
    let limits = Limits {
        cpu_time: Some(limit),
        ..Limits::default()
    };
    for export in ["spin", "fill"] {
        let mut instance = Instance::new(&linked, limits, Box::new(())).unwrap();
        let trap = call(&mut instance, export, &[]).unwrap_err();
        assert_eq!(trap.reason, Reason::Limit(Limit::CpuTime(limit)));
        assert!(
            trap.backtrace
                .iter()
                .any(|frame| frame.name.as_deref() == Some(export)),
            "{trap}"
        );
        assert!(instance.cpu_time() >= limit);
    }
}

#[test]
fn preemption_changes_no_result() {
    let steps = [3_000_000u64];
    let undisturbed = {
        let options = EngineOptions {
            tick: Duration::ZERO,
            ..EngineOptions::default()
        };
        let engine = Engine::new(&options).unwrap();
        call(&mut instance(&engine, SPIN), "mix", &steps).unwrap()
    };
    let options = EngineOptions {
        tick: Duration::from_micros(100),
        ..EngineOptions::default()
    };
    let engine = Engine::new(&options).unwrap();
    let linked = linked(&engine, SPIN, &Imports::new());
    let mix = linked.module().function("mix").unwrap();
    // Three guests take turns, so that each finds others' values in the registers when it comes back.
    let mut instances: Vec<_> = (0..3).map(|_| fresh(&linked)).collect();
    for instance in &mut instances {
        instance.begin(mix, &steps).unwrap();
    }
    let mut preemptions = 0;
    let mut results = Vec::new();
    while !instances.is_empty() {
        instances.retain_mut(|instance| match instance.resume() {
            Progress::Returned(words) => {
                results.push(words);
                false
            }
            Progress::Preempted => {
                preemptions += 1;
                true
            }
            other => panic!("{other:?}"),
        });
    }
    assert!(preemptions > 10, "{preemptions} preemptions");
    assert!(results.iter().all(|words| *words == undisturbed));
}

#[test]
fn a_blocked_guest_goes_on_or_is_stopped() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define("host", "wait", |caller: &mut dormouse::Caller| {
        caller.suspend();
        Ok(*caller.data::<i32>())
    });
    let linked = linked(
        &engine,
        r#"(module (import "host" "wait" (func $wait (result i32)))
            (func $waiter (export "f") (result i32) (i32.add (call $wait) (call $wait))))"#,
        &imports,
    );
    let function = linked.module().function("f").unwrap();
    let mut instance = Instance::new(&linked, Limits::default(), Box::new(1i32)).unwrap();
    instance.begin(function, &[]).unwrap();
    assert_eq!(instance.resume(), Progress::Blocked);
    assert_eq!(instance.resume(), Progress::Blocked);
    *instance.data_mut::<i32>() = 40;
    assert_eq!(instance.resume(), Progress::Returned(vec![41]));
    instance.begin(function, &[]).unwrap();
    assert_eq!(instance.resume(), Progress::Blocked);
    let trap = instance.stop(Reason::Limit(Limit::WallClock(Duration::from_secs(1))));
    assert!(
        trap.backtrace
            .iter()
            .any(|frame| frame.name.as_deref() == Some("waiter")),
        "{trap}"
    );
    // A begun call may be dropped with its instance, at any point.
    instance.begin(function, &[]).unwrap();
    drop(instance);
    let mut instance = Instance::new(&linked, Limits::default(), Box::new(1i32)).unwrap();
    instance.begin(function, &[]).unwrap();
    assert_eq!(instance.resume(), Progress::Blocked);
    drop(instance);
}

#[test]
fn host_call_at_stack_limit() {
    let engine = engine();
    let mut imports = Imports::new();
    imports.define("host", "work", |_: &mut dormouse::Caller, depth: i32| {
        let buffer = std::hint::black_box([depth as u8; 32 << 10]);
        Ok(i32::from(buffer[(depth as usize) % buffer.len()]))
    });
    let linked = linked(
        &engine,
        r#"(module (import "host" "work" (func $work (param i32) (result i32)))
            (func $down (export "down") (param i32) (result i32)
                (i32.add (call $work (local.get 0)) (call $down (i32.add (local.get 0) (i32.const 1))))))"#,
        &imports,
    );
    for stack_bytes in [16 << 10, 64 << 10, 1 << 20] {
        let limits = Limits {
            stack_bytes,
            ..Limits::default()
        };
        let mut instance = Instance::new(&linked, limits, Box::new(())).unwrap();
        let trap = call(&mut instance, "down", &[0]).unwrap_err();
        assert_eq!(trap.reason, Reason::Trap(TrapKind::StackOverflow));
        assert_eq!(trap.backtrace.len(), dormouse::Trap::FRAMES_MAX);
    }
}

#[test]
fn a_typed_call_takes_and_gives_rust_numbers() {
    use dormouse::TypedError;
    let engine = support::engine();
    let module = support::module(
        &engine,
        r#"(module
            (func (export "swap") (param i32 f64) (result f64 i32) (local.get 1) (local.get 0))
            (func (export "none"))
            (memory (export "memory") 1))"#,
    );
    let linked = module.link(&dormouse::Imports::new()).unwrap();
    let mut instance = support::fresh(&linked);
    let swap = module.typed::<(i32, f64), (f64, i32)>("swap").unwrap();
    assert_eq!(swap.call(&mut instance, (-1, 0.5)).unwrap(), (0.5, -1));
    module
        .typed::<(), ()>("none")
        .unwrap()
        .call(&mut instance, ())
        .unwrap();
    let missing = TypedError::Missing {
        name: "memory".to_owned(),
    };
    assert_eq!(module.typed::<(), ()>("memory").unwrap_err(), missing);
    let error = module.typed::<(i32, f32), (f64, i32)>("swap").unwrap_err();
    assert!(
        error.to_string().contains("(i32 f64) -> (f64 i32)"),
        "{error}"
    );
}

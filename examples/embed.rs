//! Embeds the engine: two guests share a thread by turns, one of them runs into its limit, and a trap is told with the way
//! there.
//!
//!     cargo run -p dormouse --example embed

use dormouse::compile::{CompileOptions, compile};
use dormouse::{Engine, EngineOptions, Imports, Instance, Limit, Limits, Module, Progress, Reason};
use std::error::Error;
use std::time::Duration;

const GUEST: &str = r#"(module
    (func $count (export "count") (param $to i64) (result i64) (local $n i64)
        (loop $next
            (local.set $n (i64.add (local.get $n) (i64.const 1)))
            (br_if $next (i64.lt_u (local.get $n) (local.get $to))))
        (local.get $n))
    (func $inner (param i32) (result i32) (i32.div_u (i32.const 100) (local.get 0)))
    (func $outer (export "divide") (param i32) (result i32) (call $inner (local.get 0))))"#;

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::new(&EngineOptions::default())?;
    let artifact = compile(&wat::parse_str(GUEST)?, &CompileOptions::default())?;
    let module = Module::from_artifact(&engine, &artifact)?;
    let linked = module.link(&Imports::new())?;

    // A guest that takes long gives the thread back after each time slice, in the middle of its loop.
    let limits = Limits {
        cpu_time: Some(Duration::from_millis(50)),
        ..Limits::default()
    };
    let count = module.typed::<(i64,), i64>("count")?;
    let mut guests = Vec::new();
    for to in [10_000_000, i64::MAX] {
        let mut instance = Instance::new(&linked, limits, Box::new(()))?;
        count.begin(&mut instance, (to,))?;
        guests.push((to, instance, 0));
    }
    while let Some((to, mut instance, turns)) = guests.pop() {
        match instance.resume() {
            Progress::Preempted | Progress::Blocked => guests.insert(0, (to, instance, turns + 1)),
            Progress::Stopped(trap) => {
                let expected = Reason::Limit(Limit::CpuTime(Duration::from_millis(50)));
                assert_eq!(trap.reason, expected);
                println!(
                    "counting to {to} was stopped after {turns} turns: {}",
                    trap.reason
                );
            }
            returned => {
                let result = count.results(&returned).ok_or("it returned")?;
                assert_eq!(result, to);
                println!("counted to {result} in {turns} turns");
            }
        }
    }

    let divide = module.typed::<(u32,), u32>("divide")?;
    let mut instance = Instance::new(&linked, limits, Box::new(()))?;
    println!("100 / 7 = {}", divide.call(&mut instance, (7,))?);
    let trap = divide.call(&mut instance, (0,)).err().ok_or("it traps")?;
    assert_eq!(trap.backtrace.len(), 2);
    println!("100 / 0: {trap}");
    Ok(())
}

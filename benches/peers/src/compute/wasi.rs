//! As much of WASI preview 1 as the suite's programs call, for Wasmtime: arguments, standard output, clocks, the exit code.
//! Its own implementation brings an async runtime and the component model, which would be in nobody's measurements but in
//! everybody's build. None of the programs calls any of it while it computes.

use super::engines::Ended;
use std::io::Write;
use wasmtime::{Caller, Extern, Linker, Memory};

const MODULE: &str = "wasi_snapshot_preview1";
const SUCCESS: i32 = 0;
const BADF: i32 = 8;

/// What a program gets: its arguments.
pub struct State {
    pub arguments: Vec<String>,
}

fn memory(caller: &mut Caller<'_, State>) -> wasmtime::Result<Memory> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(wasmtime::Error::msg("the program exports no memory")),
    }
}

fn put(caller: &mut Caller<'_, State>, at: i32, bytes: &[u8]) -> wasmtime::Result<()> {
    let memory = memory(caller)?;
    memory.write(caller, at as u32 as usize, bytes)?;
    Ok(())
}

fn get(caller: &mut Caller<'_, State>, at: u32) -> wasmtime::Result<u32> {
    let mut bytes = [0; 4];
    memory(caller)?.read(caller, at as usize, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn args_get(mut caller: Caller<'_, State>, pointers: i32, bytes: i32) -> wasmtime::Result<i32> {
    let mut at = bytes;
    for (index, argument) in caller.data().arguments.clone().into_iter().enumerate() {
        put(&mut caller, pointers + index as i32 * 4, &at.to_le_bytes())?;
        put(&mut caller, at, argument.as_bytes())?;
        put(&mut caller, at + argument.len() as i32, &[0])?;
        at += argument.len() as i32 + 1;
    }
    Ok(SUCCESS)
}

fn args_sizes_get(mut caller: Caller<'_, State>, count: i32, bytes: i32) -> wasmtime::Result<i32> {
    let arguments = &caller.data().arguments;
    let counted = arguments.len() as u32;
    let room: usize = arguments.iter().map(|argument| argument.len() + 1).sum();
    put(&mut caller, count, &counted.to_le_bytes())?;
    put(&mut caller, bytes, &(room as u32).to_le_bytes())?;
    Ok(SUCCESS)
}

fn environ_sizes_get(
    mut caller: Caller<'_, State>,
    count: i32,
    bytes: i32,
) -> wasmtime::Result<i32> {
    put(&mut caller, count, &[0; 4])?;
    put(&mut caller, bytes, &[0; 4])?;
    Ok(SUCCESS)
}

fn clock_time_get(
    mut caller: Caller<'_, State>,
    _clock: i32,
    _precision: i64,
    result: i32,
) -> wasmtime::Result<i32> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ns = now.map_or(0, |now| now.as_nanos() as u64);
    put(&mut caller, result, &now_ns.to_le_bytes())?;
    Ok(SUCCESS)
}

/// A character device that may be written and not sought, so that lines are buffered.
fn fd_fdstat_get(mut caller: Caller<'_, State>, fd: i32, result: i32) -> wasmtime::Result<i32> {
    if !(0..3).contains(&fd) {
        return Ok(BADF);
    }
    let mut stat = [0u8; 24];
    stat[0] = 2;
    stat[8] = 1 << 6;
    put(&mut caller, result, &stat)?;
    Ok(SUCCESS)
}

fn fd_write(
    mut caller: Caller<'_, State>,
    fd: i32,
    vectors: i32,
    count: i32,
    result: i32,
) -> wasmtime::Result<i32> {
    let mut written = 0;
    for index in 0..count as u32 {
        let at = get(&mut caller, vectors as u32 + index * 8)?;
        let length = get(&mut caller, vectors as u32 + index * 8 + 4)?;
        let mut bytes = vec![0; length as usize];
        memory(&mut caller)?.read(&caller, at as usize, &mut bytes)?;
        match fd {
            1 => std::io::stdout().write_all(&bytes)?,
            2 => std::io::stderr().write_all(&bytes)?,
            _ => return Ok(BADF),
        }
        written += length;
    }
    put(&mut caller, result, &written.to_le_bytes())?;
    Ok(SUCCESS)
}

pub fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker
        .func_wrap(MODULE, "args_get", args_get)?
        .func_wrap(MODULE, "args_sizes_get", args_sizes_get)?
        .func_wrap(MODULE, "environ_sizes_get", environ_sizes_get)?
        .func_wrap(MODULE, "environ_get", |_: i32, _: i32| SUCCESS)?
        .func_wrap(MODULE, "clock_time_get", clock_time_get)?
        .func_wrap(MODULE, "fd_fdstat_get", fd_fdstat_get)?
        .func_wrap(MODULE, "fd_write", fd_write)?
        .func_wrap(MODULE, "fd_close", |_: i32| SUCCESS)?
        .func_wrap(MODULE, "fd_prestat_get", |_: i32, _: i32| BADF)?
        .func_wrap(MODULE, "proc_exit", |code: i32| -> wasmtime::Result<()> {
            Err(wasmtime::Error::new(Ended(code)))
        })?;
    Ok(())
}

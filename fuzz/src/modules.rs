//! Modules to run: wasm-smith's, within the features that the engine supports, and a few written by hand whose every export
//! changes state in a way that random instructions seldom do.

use crate::random::Random;
use arbitrary::{Result, Unstructured};
use std::sync::OnceLock;
use wasm_smith::{Config, Module};

/// What a module is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be run on several engines: everything that the specification leaves open is kept out.
    Differential,
    /// To be run on this engine alone, several times.
    Repeated,
}

/// Bytes that all memories of an instance together may have: beyond it, growing fails in every engine.
pub const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// Elements that a table may have.
pub const TABLE_ELEMENTS_MAX: u64 = 1000;

/// A module of wasm-smith's that ends: after so many loops and calls (`fuel`) it traps.
pub fn generate(u: &mut Unstructured<'_>, purpose: Purpose, fuel: u32) -> Result<Vec<u8>> {
    let config = configuration(u, purpose)?;
    finished(Module::new(config, u)?, fuel)
}

/// What wasm-smith's modules have, by a word of the input.
pub fn configuration(u: &mut Unstructured<'_>, purpose: Purpose) -> Result<Config> {
    let switches: u32 = u.arbitrary()?;
    let on = |bit: u32| switches & 1 << bit != 0;
    let relaxed_simd = on(0) && (purpose == Purpose::Repeated || on(18));
    // Several memories share the room that is left; that one of them cannot grow further would depend on the others.
    let memories = if on(1) {
        1 + usize::from(on(2)) + usize::from(on(3))
    } else {
        1
    };
    Ok(Config {
        allow_floats: !on(4) || on(5),
        canonicalize_nans: purpose == Purpose::Differential,
        disallow_traps: on(6) || on(7),
        export_everything: true,
        max_imports: 0,
        max_funcs: 8,
        max_globals: 8,
        max_types: 24,
        max_data_segments: 4,
        max_element_segments: 4,
        max_tables: 3,
        max_memories: memories,
        min_memories: u32::from(on(8) || on(9)),
        // With structs and arrays among them, fewer are of functions.
        min_types: if on(17) { 10 } else { 4 },
        min_funcs: 3,
        min_globals: 1,
        max_instructions: if on(10) { 400 } else { 100 },
        max_memory32_bytes: 10 << 16,
        max_memory64_bytes: 10 << 16,
        max_table_elements: TABLE_ELEMENTS_MAX,
        memory_max_size_required: memories > 1 || on(11),
        table_max_size_required: true,
        memory64_enabled: on(12),
        custom_page_sizes_enabled: on(13),
        simd_enabled: !on(14) || relaxed_simd,
        relaxed_simd_enabled: relaxed_simd,
        tail_call_enabled: true,
        extended_const_enabled: true,
        wide_arithmetic_enabled: true,
        exceptions_enabled: on(16),
        gc_enabled: on(17),
        limit_arrays_in_const_exprs: true,
        // Waiting on a shared memory would hold up the other engines; `operators.rs` has the instructions that do not wait.
        threads_enabled: false,
        ..Config::default()
    })
}

/// Bytes of a module that ends.
pub fn finished(mut module: Module, fuel: u32) -> Result<Vec<u8>> {
    module
        .ensure_termination(fuel)
        .map_err(|_| arbitrary::Error::IncorrectFormat)?;
    Ok(module.to_bytes())
}

/// A module whose calls write everywhere: both memories, globals, tables and segments. Takes addresses modulo the length, so
/// that most calls do something.
pub fn scribbler() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| wat::parse_str(include_str!("scribbler.wat")).expect("a valid module"))
}

/// A module whose calls write whole pages, of which images over others are made.
pub fn pages() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| wat::parse_str(include_str!("pages.wat")).expect("a valid module"))
}

/// The same with as little besides as there can be.
pub fn plain_pages() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| wat::parse_str(include_str!("plain_pages.wat")).expect("a valid module"))
}

/// A module that computes for milliseconds with every kind of register live, through calls, indirect calls, bulk operations
/// and growing memory.
pub fn mill() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| wat::parse_str(include_str!("mill.wat")).expect("a valid module"))
}

/// One of the modules above that are run on this engine alone, and a name for it.
pub fn choose(u: &mut Unstructured<'_>, fuel: u32, own: &'static [u8]) -> Result<Vec<u8>> {
    if u.ratio(1, 2)? {
        Ok(own.to_vec())
    } else {
        generate(u, Purpose::Repeated, fuel)
    }
}

/// Begins a step of its own: what it does depends on its own bytes of the input, while there are some, so that libFuzzer can
/// change one step and keep those before it.
pub fn step(u: &mut Unstructured<'_>, random: &mut Random) {
    if u.len() >= 4
        && let Ok(seed) = u.arbitrary::<u32>()
    {
        *random = Random::new(seed.into());
    }
}

//! Which WebAssembly proposals are supported, and which one a refused module would have needed.
//!
//! A validation error of the supported set is only called "unsupported feature" when validating the module once more
//! with one further proposal enabled gets past it; the answer then names that proposal.

use super::error::CompileError;
use wasmparser::{Validator, WasmFeatures};

/// WebAssembly 2.0 with extended constant expressions, tail calls, relaxed SIMD, wide arithmetic, multiple
/// memories, memories and tables with 64-bit indexes, custom page sizes, typed function references, exception
/// handling, garbage collection, and threads' atomics.
pub(super) const SUPPORTED: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::WIDE_ARITHMETIC)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::THREADS);

/// Proposals that are recognised in order to be refused by name. Custom descriptors are not among them: with them, casts are
/// valid that are errors without.
const PROPOSALS: [(WasmFeatures, &str); 6] = [
    (
        WasmFeatures::SHARED_EVERYTHING_THREADS,
        "the shared-everything-threads proposal",
    ),
    (
        WasmFeatures::LEGACY_EXCEPTIONS,
        "the legacy exception handling proposal",
    ),
    (WasmFeatures::MEMORY_CONTROL, "the memory control proposal"),
    (
        WasmFeatures::STACK_SWITCHING,
        "the stack switching proposal",
    ),
    (
        WasmFeatures::COMPACT_IMPORTS,
        "the compact import section proposal",
    ),
    (WasmFeatures::COMPONENT_MODEL, "the component model"),
];

/// Explains why `wasm` is not valid under the supported features.
pub(super) fn explain(wasm: &[u8], error: &wasmparser::Error) -> CompileError {
    let (message, offset) = (error.message().to_string(), error.offset());
    // A component has another version number in its header; no feature of a module explains it.
    if wasm.len() >= 8 && wasm[4..8] == [0x0d, 0, 1, 0] {
        return unsupported("the component model", message, 4);
    }
    let gets_past =
        |features: WasmFeatures| match Validator::new_with_features(SUPPORTED.union(features))
            .validate_all(wasm)
        {
            Ok(_) => true,
            Err(other) => other.offset() > offset,
        };
    for (features, name) in PROPOSALS {
        if gets_past(features) {
            return unsupported(name, message, offset);
        }
    }
    CompileError::Invalid { message, offset }
}

fn unsupported(feature: &str, message: String, offset: usize) -> CompileError {
    CompileError::Unsupported {
        feature: feature.to_string(),
        message,
        offset,
    }
}

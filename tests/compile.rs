//! The compiler as its callers see it: wasm bytes in, an artifact or an error out.

use dormouse::compile::artifact::{Artifact, ArtifactError};
use dormouse::compile::info::{ExportKind, ImportKind};
use dormouse::compile::{CompileError, CompileOptions, TrapKind, compile};
use std::num::NonZeroUsize;

fn artifact_of(wat: &str) -> Vec<u8> {
    let wasm = wat::parse_str(wat).expect("valid text");
    compile(&wasm, &CompileOptions::default()).expect("compiles")
}

fn error_of(wat: &str) -> CompileError {
    let wasm = wat::parse_str(wat).expect("valid text");
    compile(&wasm, &CompileOptions::default()).expect_err("is refused")
}

const SAMPLE: &str = r#"(module
  (import "env" "log" (func $log (param i32)))
  (memory (export "memory") 1 4)
  (table 2 funcref)
  (elem (i32.const 0) func $work $log)
  (global (mut i64) (i64.const 7))
  (data (i32.const 8) "hello")
  (data "passive")
  (func $work (export "work") (param i32 i32) (result i32)
    (call $log (local.get 0))
    (i32.div_s (local.get 0) (local.get 1)))
  (func (export "other") (param i32 i32) (result i32)
    (i32.load (i32.add (local.get 0) (local.get 1))))
  (func $unnamed_type (export "grow") (result i32) (memory.grow (i32.const 1)))
)"#;

#[test]
fn artifact_says_what_the_module_is() {
    let bytes = artifact_of(SAMPLE);
    let artifact = Artifact::parse(&bytes).expect("an artifact");
    artifact.check_cpu().expect("compiled for this CPU");
    let info = artifact.info();
    assert_eq!(info.imported_functions, 1);
    assert_eq!(info.imports[0].kind, ImportKind::Function { type_index: 0 });
    assert_eq!(info.export("work"), Some(ExportKind::Function(1)));
    assert_eq!(info.export("memory"), Some(ExportKind::Memory(0)));
    assert_eq!(info.functions.len(), 4);
    assert_eq!(info.memories[0].limits.maximum, Some(4));
    // `work` and `other` share a type, `grow` has its own.
    assert_eq!(info.trampolines.len(), 2);
    assert_eq!(artifact.data(), b"hellopassive");
    assert_eq!((info.data[1].start, info.data[1].bytes), (5, 7));
    assert_eq!(artifact.text_range().start % 4096, 0);
    assert_eq!(artifact.text().len() % 4096, 0);
    assert_eq!(artifact.function_name(0), Some("log"));
    assert_eq!(artifact.function_name(1), Some("work"));
    assert_eq!(artifact.function_name(2), Some("other"));
    assert_eq!(artifact.function_name(4), None);
}

#[test]
fn functions_are_found_by_code_offset() {
    let bytes = artifact_of(SAMPLE);
    let artifact = Artifact::parse(&bytes).expect("an artifact");
    let info = artifact.info();
    for (index, function) in info.functions.iter().enumerate() {
        let last = function.code_offset + function.code_bytes - 1;
        assert_eq!(
            artifact.function_at(function.code_offset),
            Some(index as u32)
        );
        assert_eq!(artifact.function_at(last), Some(index as u32));
    }
    for (_, trampoline) in &info.trampolines {
        assert_eq!(artifact.function_at(*trampoline), None);
    }
    assert_eq!(artifact.function_at(u32::MAX), None);
}

#[test]
fn trap_sites_and_calls_know_their_place_in_the_module() {
    let wasm = wat::parse_str(SAMPLE).expect("valid text");
    let bytes = compile(&wasm, &CompileOptions::default()).expect("compiles");
    let artifact = Artifact::parse(&bytes).expect("an artifact");
    let traps = |function: u32| {
        let function = artifact.info().functions[function as usize];
        (function.code_offset..function.code_offset + function.code_bytes)
            .filter_map(|offset| artifact.trap_at(offset))
            .collect::<Vec<_>>()
    };
    let work = traps(1);
    for kind in [
        TrapKind::StackOverflow,
        TrapKind::IntegerDivisionByZero,
        TrapKind::IntegerOverflow,
    ] {
        let trap = work
            .iter()
            .find(|trap| trap.kind == kind)
            .expect("a site of this kind");
        assert!(trap.wasm_offset.is_some(), "{kind:?} has a place");
    }
    let division = work
        .iter()
        .find(|trap| trap.kind == TrapKind::IntegerOverflow)
        .unwrap();
    assert_eq!(
        wasm[division.wasm_offset.unwrap() as usize],
        0x6d,
        "i32.div_s"
    );

    let other = traps(2);
    assert_eq!(
        other.len(),
        1,
        "a leaf without a frame only traps in its load"
    );
    assert_eq!(other[0].kind, TrapKind::MemoryOutOfBounds);
    assert_eq!(
        wasm[other[0].wasm_offset.unwrap() as usize],
        0x28,
        "i32.load"
    );

    let work = artifact.info().functions[1];
    let calls: Vec<u32> = (work.code_offset..work.code_offset + work.code_bytes)
        .filter_map(|offset| artifact.wasm_offset_at(offset))
        .filter(|offset| wasm[*offset as usize] == 0x10)
        .collect();
    assert_eq!(calls.len(), 1, "one call");
}

#[test]
fn same_artifact_whatever_the_number_of_threads() {
    let wasm = wat::parse_str(SAMPLE).expect("valid text");
    let with = |threads: usize| {
        let threads = NonZeroUsize::new(threads).unwrap();
        compile(
            &wasm,
            &CompileOptions {
                threads,
                ..Default::default()
            },
        )
        .expect("compiles")
    };
    let one = with(1);
    assert!(one == with(2) && one == with(7));
}

#[test]
fn damaged_artifacts_are_refused() {
    let good = artifact_of(SAMPLE);
    for length in (0..good.len()).step_by(61).chain([good.len() - 1]) {
        assert!(
            Artifact::parse(&good[..length]).is_err(),
            "truncated to {length}"
        );
    }
    for at in (0..good.len()).step_by(37).chain(0..600) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(Artifact::parse(&bad).is_err(), "byte {at} changed");
    }
    assert_eq!(
        Artifact::parse(b"\0asm").unwrap_err(),
        ArtifactError::NotAnArtifact
    );
    let mut future = good.clone();
    future[24] = 99;
    assert_eq!(
        Artifact::parse(&future).unwrap_err(),
        ArtifactError::Version { found: 99 }
    );
}

/// Bytes whose checksum has been made to match again must not make the reader panic either.
#[test]
fn forged_artifacts_do_not_panic() {
    let good = artifact_of(SAMPLE);
    // A fixed linear congruential generator: the test is the same on every run.
    let mut state = 1u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..1000 {
        let mut bad = good.clone();
        for _ in 0..1 + random() % 3 {
            // The text is most of the file, and anything is a text.
            let text = Artifact::parse(&good).unwrap().text_range();
            let at = if random() % 2 == 0 {
                64 + random() % 240
            } else {
                text.end + random() % (good.len() - text.end)
            };
            bad[at] = if random() % 4 == 0 {
                0xff
            } else {
                random() as u8
            };
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bad[..32]);
        hasher.update(&bad[64..]);
        let checksum = *hasher.finalize().as_bytes();
        bad[32..64].copy_from_slice(&checksum);
        match Artifact::parse(&bad) {
            Err(_) => refused += 1,
            Ok(artifact) => {
                accepted += 1;
                for offset in (0..0x2000).chain([u32::MAX - 1, u32::MAX]) {
                    artifact.trap_at(offset);
                    artifact.wasm_offset_at(offset);
                    artifact.function_at(offset);
                    artifact.function_name(offset);
                }
            }
        }
    }
    assert!(
        accepted > 0 && refused > 0,
        "both happen: {accepted} accepted, {refused} refused"
    );
}

#[test]
fn unsupported_proposals_are_named() {
    let refused = [
        (
            "(module (func try catch_all end))",
            "legacy exception handling",
        ),
        (
            "(module (type $f (func)) (type (cont $f)))",
            "stack switching",
        ),
    ];
    for (wat, name) in refused {
        match error_of(wat) {
            CompileError::Unsupported { feature, .. } => {
                assert!(
                    feature.contains(name),
                    "{wat}: {feature} should name {name}"
                );
            }
            other => panic!("{wat}: {other}"),
        }
    }
}

#[test]
fn components_are_named() {
    let error = compile(b"\0asm\x0d\0\x01\0", &CompileOptions::default()).expect_err("refused");
    assert!(error.to_string().contains("component model"), "{error}");
}

#[test]
fn invalid_modules_are_told_where() {
    let error = error_of("(module (func) (func (result i32) (i64.const 1)))");
    let CompileError::Invalid { offset, .. } = &error else {
        panic!("{error}")
    };
    assert!(*offset > 8, "{error}");
    let garbage = compile(b"\0asm\x01\0\0\0\xff", &CompileOptions::default());
    assert!(matches!(garbage, Err(CompileError::Invalid { .. })));
}

/// The first invalid function is reported, whichever thread finds one first.
#[test]
fn same_error_whatever_the_order_of_threads() {
    let mut wat = String::from("(module (func (nop))");
    for index in 0..40 {
        // Later functions are larger, and are compiled first.
        wat.push_str("(func (result i32)");
        wat.push_str(&"(drop (i32.const 1))".repeat(index * 4));
        wat.push_str("(i64.const 1))");
    }
    wat.push(')');
    let first = error_of(&wat).to_string();
    for _ in 0..10 {
        assert_eq!(error_of(&wat).to_string(), first);
    }
}

#[test]
fn imports_other_than_functions_are_named() {
    let error = error_of(r#"(module (import "env" "memory" (memory 1)))"#).to_string();
    assert!(error.contains("memory \"env\" \"memory\""), "{error}");
}

#[test]
fn tables_are_limited() {
    let error = error_of("(module (table 1000000 funcref))");
    assert!(matches!(
        error,
        CompileError::TableTooLarge {
            table: 0,
            minimum: 1000000,
            ..
        }
    ));

    let capacity = |wat: &str| {
        let bytes = artifact_of(wat);
        Artifact::parse(&bytes).unwrap().info().layout.tables[0].capacity
    };
    assert_eq!(
        capacity("(module (table 3 funcref))"),
        3,
        "nothing grows it"
    );
    let grow = "(func (drop (table.grow 0 (ref.null func) (i32.const 1))))";
    assert_eq!(capacity(&format!("(module (table 3 9 funcref) {grow})")), 9);
    assert_eq!(
        capacity(&format!("(module (table 3 funcref) {grow})")),
        1 << 17
    );
}

#[test]
fn deeply_nested_blocks_do_not_overflow_the_compiler() {
    let depth = 100_000;
    let mut body = vec![0]; // no locals
    body.extend(std::iter::repeat_n([0x02, 0x40], depth).flatten()); // block
    body.extend(std::iter::repeat_n(0x0b, depth + 1)); // end
    let mut wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0".to_vec();
    let leb = |mut value: usize| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    let mut section = vec![1];
    section.extend(leb(body.len()));
    section.extend(body);
    wasm.push(0x0a);
    wasm.extend(leb(section.len()));
    wasm.extend(section);
    compile(&wasm, &CompileOptions::default()).expect("compiles");
}

#[test]
fn functions_with_many_parameters_and_results_compile() {
    let types = "i32 i64 f32 f64 ".repeat(30);
    artifact_of(&format!(
        r#"(module
          (type $many (func (param {types}) (result {types})))
          (import "env" "many" (func $import (type $many)))
          (table 1 1 funcref)
          (func $pass (export "pass") (type $many) {} (call $import))
          (func (export "pass again") (type $many) {} (call_indirect (type $many) (i32.const 0)))
        )"#,
        (0..120)
            .map(|index| format!("(local.get {index})"))
            .collect::<String>(),
        (0..120)
            .map(|index| format!("(local.get {index})"))
            .collect::<String>(),
    ));
}

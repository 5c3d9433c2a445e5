//! That the table of handlers is not believed before it is checked.

use super::*;
use crate::compile::{CompileOptions, compile};

/// An artifact with handlers in its third function; the second is plain.
fn artifact() -> Vec<u8> {
    let wasm = wat::parse_str(
        r#"(module
          (tag $t (param i32))
          (func $throw (param i32) (throw $t (local.get 0)))
          (func (export "plain") (call $throw (i32.const 1)))
          (func (export "guarded") (result i32)
            (try_table (result i32) (catch $t 0)
              (call $throw (i32.const 1)) (call $throw (i32.const 2)) (i32.const 3))))"#,
    );
    compile(&wasm.unwrap(), &CompileOptions::default()).unwrap()
}

/// The artifact with a number of a section changed, and a checksum that fits.
fn with(section: Section, index: usize, number: u32) -> Vec<u8> {
    let mut bytes = artifact();
    let at = Artifact::parse(&bytes).unwrap().index.sections[section as usize].0 as usize;
    let at = at + index * 4;
    assert_ne!(bytes[at..at + 4], number.to_le_bytes());
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    let checksum = checksum(&bytes);
    bytes[CHECKSUM_AT..LENGTH_AT].copy_from_slice(&checksum);
    bytes
}

#[test]
fn handlers_outside_of_their_function_are_refused() {
    let bytes = artifact();
    let parsed = Artifact::parse(&bytes).unwrap();
    let returns = parsed.index.numbers(Section::HandlerReturn, &bytes);
    assert_eq!(returns.0.len(), 2);
    let (first, second) = (returns.get(0).unwrap(), returns.get(1).unwrap());
    let handler = parsed.index.handler_at(&bytes, first).unwrap();
    for at in [first, second] {
        let handler = parsed.index.handler_at(&bytes, at).unwrap();
        assert_eq!(parsed.function_at(handler.code_offset), Some(2));
    }
    assert_eq!(parsed.index.handler_at(&bytes, first + 1), None);

    let functions = &parsed.info.functions;
    let (plain, guarded) = (functions[1], functions[2]);
    let refused = [
        // Handlers in another function, at its end, between functions, and beyond the text.
        (Section::HandlerCode, 0, plain.code_offset),
        (
            Section::HandlerCode,
            1,
            guarded.code_offset + guarded.code_bytes,
        ),
        (Section::HandlerCode, 1, parsed.text_range().len() as u32),
        (Section::HandlerCode, 1, u32::MAX),
        // Calls of another function, of none, and out of order.
        (Section::HandlerReturn, 0, plain.code_offset + 1),
        (Section::HandlerReturn, 0, 0),
        (Section::HandlerReturn, 0, second + 1),
        (Section::HandlerReturn, 1, u32::MAX),
        // No frame is that long by half.
        (Section::HandlerFrame, 0, handler.frame_bytes + 8),
    ];
    for (section, index, number) in refused {
        let bytes = with(section, index, number);
        let error = Artifact::parse(&bytes).expect_err("damaged");
        assert!(matches!(error, ArtifactError::Damaged { .. }), "{error}");
    }
}

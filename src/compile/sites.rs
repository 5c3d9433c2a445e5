//! Places in machine code that mean something to the sandbox. Their offsets are relative to the function until it is linked, then
//! to the text.

use super::trap::TrapKind;
use cranelift_codegen::{FinalizedMachCallSite, FinalizedMachExceptionHandler};

/// A place in machine code where it may trap.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrapSite {
    pub code_offset: u32,
    pub kind: TrapKind,
    pub wasm_offset: u32,
}

/// A place in machine code a call returns to.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallSite {
    pub return_offset: u32,
    pub wasm_offset: u32,
}

/// A place in machine code a call returns to that has a handler for exceptions.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandlerSite {
    pub return_offset: u32,
    /// Where the handler begins.
    pub handler_offset: u32,
    /// Bytes from the stack pointer at the call up to the frame pointer.
    pub frame_bytes: u32,
}

/// The handler of a call, if it has one. The translator gives a call one for all exceptions, or none.
pub(super) fn handler_site(call: FinalizedMachCallSite<'_>) -> Option<HandlerSite> {
    let handler_offset = match *call.exception_handlers {
        [] => return None,
        [FinalizedMachExceptionHandler::Default(offset)] => offset,
        ref other => unreachable!("a call with the handlers {other:?}"),
    };
    Some(HandlerSite {
        return_offset: call.ret_addr,
        handler_offset,
        frame_bytes: call
            .frame_offset
            .expect("a call with a handler has a frame"),
    })
}

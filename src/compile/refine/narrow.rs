//! Bytes are compared as bytes.
//!
//! WebAssembly compares 32 bits, so a byte that was computed is masked first, again for each comparison. Where both sides
//! are bytes the lower eight bits alone tell the same.

use super::values::{before, constant, definition, equality, insts};
use cranelift_codegen::ir::{Function, Inst, InstBuilder, InstructionData, Opcode, Value, types};

pub(super) fn compare_bytes(function: &mut Function) {
    let insts: Vec<Inst> = insts(function).collect();
    for inst in insts {
        narrow(function, inst);
    }
}

fn narrow(function: &mut Function, inst: Inst) {
    let Some((_, [a, b])) = equality(function.dfg.insts[inst]) else {
        return;
    };
    let (Some(left), Some(right)) = (byte_of(function, a), byte_of(function, b)) else {
        return;
    };
    // A mask less is what it is for.
    if (left, right) == (a, b) {
        return;
    }
    let mut cursor = before(function, inst);
    let bytes = [left, right].map(|value| cursor.ins().ireduce(types::I8, value));
    function.dfg.inst_args_mut(inst).copy_from_slice(&bytes);
}

/// A number whose lowest byte is all there is of a value of 32 bits, if that is known to be a byte.
fn byte_of(function: &Function, value: Value) -> Option<Value> {
    if function.dfg.value_type(value) != types::I32 {
        return None;
    }
    match definition(function, value)?.1 {
        InstructionData::Load {
            opcode: Opcode::Uload8,
            ..
        } => Some(value),
        InstructionData::Binary {
            opcode: Opcode::Band,
            args: [of, mask],
        } => (constant(function, mask) == Some(0xff)).then_some(of),
        _ => None,
    }
}

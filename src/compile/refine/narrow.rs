//! Bytes are compared as bytes.
//!
//! WebAssembly compares 32 bits, so a byte that was computed is masked first, again for each comparison. Where both sides
//! are bytes the lower eight bits alone tell the same.

use super::counter::constant;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, Function, Inst, InstBuilder, InstructionData, Opcode, Value, ValueDef, types,
};

pub(super) fn compare_bytes(function: &mut Function) {
    let blocks: Vec<Block> = function.layout.blocks().collect();
    for block in blocks {
        let mut next = function.layout.first_inst(block);
        while let Some(inst) = next {
            next = function.layout.next_inst(inst);
            narrow(function, inst);
        }
    }
}

fn narrow(function: &mut Function, inst: Inst) {
    let InstructionData::IntCompare {
        opcode: Opcode::Icmp,
        cond: cond @ (IntCC::Equal | IntCC::NotEqual),
        args: [a, b],
    } = function.dfg.insts[inst]
    else {
        return;
    };
    let (Some(left), Some(right)) = (byte_of(function, a), byte_of(function, b)) else {
        return;
    };
    // A mask less is what it is for.
    if (left, right) == (a, b) {
        return;
    }
    let mut cursor = FuncCursor::new(function).at_inst(inst);
    cursor.set_srcloc(cursor.func.srcloc(inst));
    let args = [left, right].map(|value| cursor.ins().ireduce(types::I8, value));
    function.dfg.insts[inst] = InstructionData::IntCompare {
        opcode: Opcode::Icmp,
        cond,
        args,
    };
}

/// A number whose lowest byte is all there is of a value of 32 bits, if that is known to be a byte.
fn byte_of(function: &Function, value: Value) -> Option<Value> {
    let ValueDef::Result(inst, _) = function.dfg.value_def(value) else {
        return None;
    };
    if function.dfg.value_type(value) != types::I32 {
        return None;
    }
    match function.dfg.insts[inst] {
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

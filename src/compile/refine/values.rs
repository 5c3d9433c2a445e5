//! What the passes ask of values, and how they put instructions in the place of others.
//!
//! A question that is answered with nothing says nothing of the value: passes leave alone what they do not recognise.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, Function, Inst, InstructionData, Opcode, Type, Value, ValueDef, types,
};

/// All instructions, in the order they lie in.
pub(super) fn insts(function: &Function) -> impl Iterator<Item = Inst> {
    let blocks = function.layout.blocks();
    blocks.flat_map(|block| function.layout.block_insts(block))
}

/// The instruction that a value is a result of.
pub(super) fn definition(function: &Function, value: Value) -> Option<(Inst, InstructionData)> {
    let inst = function.dfg.value_def(value).inst()?;
    Some((inst, function.dfg.insts[inst]))
}

/// The block that a value is a parameter of, and which.
pub(super) fn parameter(function: &Function, value: Value) -> Option<(Block, usize)> {
    match function.dfg.value_def(value) {
        ValueDef::Param(block, number) => Some((block, number)),
        _ => None,
    }
}

/// The number that a value always is.
pub(super) fn constant(function: &Function, value: Value) -> Option<i64> {
    match definition(function, value)?.1 {
        InstructionData::UnaryImm {
            opcode: Opcode::Iconst,
            imm,
        } => Some(imm.bits()),
        _ => None,
    }
}

/// The two that a value is the sum of.
pub(super) fn summands(function: &Function, value: Value) -> Option<[Value; 2]> {
    match definition(function, value)?.1 {
        InstructionData::Binary {
            opcode: Opcode::Iadd,
            args,
        } => Some(args),
        _ => None,
    }
}

/// The constant that an `iadd` of 32 bits adds to this value.
pub(super) fn step(function: &Function, next: Value, value: Value) -> Option<i32> {
    let by = match summands(function, next)? {
        [a, by] if a == value => by,
        [by, b] if b == value => by,
        _ => return None,
    };
    Some(constant(function, by)? as i32)
}

/// The two that an instruction compares, where it asks whether they are equal or whether they differ.
pub(super) fn equality(data: InstructionData) -> Option<(IntCC, [Value; 2])> {
    match data {
        InstructionData::IntCompare {
            opcode: Opcode::Icmp,
            cond: condition @ (IntCC::Equal | IntCC::NotEqual),
            args,
        } => Some((condition, args)),
        _ => None,
    }
}

/// The number of 32 bits that an instruction extends to 64.
pub(super) fn extended_word(function: &Function, inst: Inst) -> Option<Value> {
    let dfg = &function.dfg;
    match dfg.insts[inst] {
        InstructionData::Unary {
            opcode: Opcode::Uextend,
            arg,
        } => {
            let types = [arg, dfg.first_result(inst)].map(|value| dfg.value_type(value));
            (types == [types::I32, types::I64]).then_some(arg)
        }
        _ => None,
    }
}

/// What a bitcast takes, and the type it gives that.
pub(super) fn bitcast(function: &Function, inst: Inst) -> Option<(Value, Type)> {
    match function.dfg.insts[inst] {
        InstructionData::LoadNoOffset {
            opcode: Opcode::Bitcast,
            arg,
            ..
        } => {
            let result = function.dfg.first_result(inst);
            Some((arg, function.dfg.value_type(result)))
        }
        _ => None,
    }
}

/// The load that a value is the result of, if it is one that extends nothing.
pub(super) fn load_of(function: &Function, value: Value) -> Option<Inst> {
    let (inst, data) = definition(function, value)?;
    (data.opcode() == Opcode::Load).then_some(inst)
}

/// Puts instructions right before another, as parts of the same WebAssembly instruction.
pub(super) fn before(function: &mut Function, inst: Inst) -> FuncCursor<'_> {
    let location = function.srcloc(inst);
    let cursor = FuncCursor::new(function).at_inst(inst);
    cursor.with_srcloc(location)
}

/// Does without an instruction of one result.
pub(super) fn replace_with(function: &mut Function, inst: Inst, value: Value) {
    let result = function.dfg.first_result(inst);
    function.layout.remove_inst(inst);
    function.dfg.clear_results(inst);
    function.dfg.change_to_alias(result, value);
}

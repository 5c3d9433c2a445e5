//! Vectors are loaded as the lanes they are used as.
//!
//! WebAssembly loads a vector without saying of what, and the first instruction that takes it sees it as lanes: a load, then a
//! bitcast. Code generation makes a load part of the instruction that uses it, but does not look through a bitcast.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    Function, Inst, InstBuilder, InstructionData, Opcode, Type, Value, ValueDef,
};
use std::collections::BTreeMap;

/// How a loaded vector is used.
#[derive(Default)]
struct Uses {
    bitcasts: Vec<Inst>,
    /// Uses other than bitcasts to one and the same type.
    others: bool,
}

pub(super) fn retype_loads(function: &mut Function) {
    let mut loads: BTreeMap<Inst, Uses> = BTreeMap::new();
    let insts = |function: &Function| -> Vec<Inst> {
        let blocks = function.layout.blocks();
        blocks
            .flat_map(|block| function.layout.block_insts(block))
            .collect()
    };
    let bitcast = |function: &Function, inst: Inst| {
        let data = function.dfg.insts[inst];
        matches!(data, InstructionData::LoadNoOffset { opcode: Opcode::Bitcast, arg, .. } if loaded_vector(function, arg).is_some())
    };
    let insts = insts(function);
    // Most functions have none.
    if !insts.iter().any(|inst| bitcast(function, *inst)) {
        return;
    }
    for inst in insts {
        for value in function.dfg.inst_values(inst) {
            let Some((load, from)) = loaded_vector(function, value) else {
                continue;
            };
            let uses = loads.entry(load).or_default();
            let to = |inst| function.dfg.value_type(function.dfg.first_result(inst));
            let first = uses.bitcasts.first().map(|first| to(*first));
            let fits = bitcast(function, inst)
                && to(inst).bits() == from.bits()
                && first.is_none_or(|first| first == to(inst));
            match fits {
                true => uses.bitcasts.push(inst),
                false => uses.others = true,
            }
        }
    }
    for (load, uses) in loads {
        if !uses.others {
            retype(function, load, &uses.bitcasts);
        }
    }
}

/// The load that a value is the result of, if it is a vector's.
fn loaded_vector(function: &Function, value: Value) -> Option<(Inst, Type)> {
    let ty = function.dfg.value_type(value);
    match function.dfg.value_def(value) {
        ValueDef::Result(inst, _) if ty.is_vector() => {
            (function.dfg.insts[inst].opcode() == Opcode::Load).then_some((inst, ty))
        }
        _ => None,
    }
}

/// Loads what all of the bitcasts make of it, and does without them.
fn retype(function: &mut Function, load: Inst, bitcasts: &[Inst]) {
    let InstructionData::Load {
        flags, offset, arg, ..
    } = function.dfg.insts[load]
    else {
        unreachable!("it is a load");
    };
    let ty = function
        .dfg
        .value_type(function.dfg.first_result(bitcasts[0]));
    let flags = function.dfg.mem_flags[flags];
    let mut cursor = FuncCursor::new(function).at_inst(load);
    cursor.set_srcloc(cursor.func.srcloc(load));
    let loaded = cursor.ins().load(ty, flags, arg, offset);
    function.layout.remove_inst(load);
    for bitcast in bitcasts {
        replace_with(function, *bitcast, loaded);
    }
}

/// Does without an instruction of one result.
pub(super) fn replace_with(function: &mut Function, inst: Inst, value: Value) {
    let result = function.dfg.first_result(inst);
    function.layout.remove_inst(inst);
    function.dfg.clear_results(inst);
    function.dfg.change_to_alias(result, value);
}

//! Vectors are loaded as the lanes they are used as.
//!
//! WebAssembly loads a vector without saying of what, and the first instruction that takes it sees it as lanes: a load, then a
//! bitcast. Code generation makes a load part of the instruction that uses it, but does not look through a bitcast.

use super::values::{before, bitcast, insts, load_of, replace_with};
use cranelift_codegen::ir::{Function, Inst, InstBuilder, InstructionData, Type, Value};
use std::collections::BTreeMap;

/// How a loaded vector is used.
#[derive(Default)]
struct Uses {
    /// Bitcasts to one and the same type.
    bitcasts: Option<(Type, Vec<Inst>)>,
    others: bool,
}

pub(super) fn retype_loads(function: &mut Function) {
    // Most functions have none.
    let is_of_load = |(vector, _)| loaded_vector(function, vector).is_some();
    if !insts(function).any(|inst| bitcast(function, inst).is_some_and(is_of_load)) {
        return;
    }
    let mut loads: BTreeMap<Inst, Uses> = BTreeMap::new();
    for inst in insts(function) {
        for value in function.dfg.inst_values(inst) {
            let Some(load) = loaded_vector(function, value) else {
                continue;
            };
            let uses = loads.entry(load).or_default();
            match bitcast(function, inst) {
                Some((_, ty)) => {
                    let (first, bitcasts) = uses.bitcasts.get_or_insert((ty, Vec::new()));
                    uses.others |= *first != ty;
                    bitcasts.push(inst);
                }
                None => uses.others = true,
            }
        }
    }
    for (load, uses) in loads {
        if let Some((ty, bitcasts)) = uses.bitcasts.filter(|_| !uses.others) {
            retype(function, load, ty, &bitcasts);
        }
    }
}

fn loaded_vector(function: &Function, value: Value) -> Option<Inst> {
    load_of(function, value).filter(|_| function.dfg.value_type(value).is_vector())
}

/// Loads what all of the bitcasts make of it, and does without them.
fn retype(function: &mut Function, load: Inst, ty: Type, bitcasts: &[Inst]) {
    let InstructionData::Load {
        flags, offset, arg, ..
    } = function.dfg.insts[load]
    else {
        unreachable!("it is a load");
    };
    let flags = function.dfg.mem_flags[flags];
    let loaded = before(function, load).ins().load(ty, flags, arg, offset);
    function.layout.remove_inst(load);
    for bitcast in bitcasts {
        replace_with(function, *bitcast, loaded);
    }
}

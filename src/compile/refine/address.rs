//! Addresses that advance with a loop's counter are a base, made before the loop, and the counter.
//!
//! WebAssembly adds up an index in 32 bits, which may wrap, so the sum is made again for every access. Where bounds show that
//! it cannot wrap ([`super::range`]), the parts can be extended and added in any order: constants become the displacement of the
//! access, what stays the same during the loop is added to the vmctx before it.
//!
//! An index that is taken for one that does not wrap, and does, would reach beyond the memory: every step here is an equality
//! of exact numbers, or is not taken.

use super::counter::constant;
use super::range::Ranges;
use cranelift_codegen::Context;
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{
    Block, Inst, InstBuilder, InstructionData, Opcode, Value, ValueDef, types,
};
use cranelift_codegen::loop_analysis::Loop;
use std::collections::HashMap;

/// The most parts that an index is taken apart into, and the most bases made before one loop: each takes a register.
const PARTS_MAX: usize = 4;
const BASES_MAX: usize = 6;

/// An index, extended to 64 bits, as a sum: of parts of 32 bits, each extended, and a constant.
struct Sum {
    parts: Vec<Value>,
    constant: i64,
}

/// The loop an access is in, and the block before it.
#[derive(Clone, Copy)]
struct Place {
    inner: Loop,
    before: Block,
}

pub(super) fn simplify_addresses(context: &mut Context) {
    let blocks: Vec<Block> = context.func.layout.blocks().collect();
    let mut ranges = Ranges::new();
    // A loop may have as many ways back as blocks.
    let mut befores = HashMap::new();
    let mut bases: HashMap<Loop, HashMap<(Value, Vec<Value>), Value>> = HashMap::new();
    for block in blocks {
        let Some(inner) = context.loop_analysis.innermost_loop(block) else {
            continue;
        };
        let before = befores.entry(inner);
        let Some(before) = *before.or_insert_with(|| block_before(context, inner)) else {
            continue;
        };
        let place = Place { inner, before };
        let insts: Vec<Inst> = context.func.layout.block_insts(block).collect();
        for inst in insts {
            simplify(context, &mut ranges, &mut bases, place, inst);
        }
    }
}

/// The only block outside of a loop that leads into it.
fn block_before(context: &Context, inner: Loop) -> Option<Block> {
    let header = context.loop_analysis.loop_header(inner);
    let mut outside = context
        .cfg
        .pred_iter(header)
        .map(|predecessor| predecessor.block)
        .filter(|block| !context.loop_analysis.is_in_loop(*block, inner));
    let before = outside.next()?;
    (outside.next().is_none() && context.cfg.succ_iter(before).next().is_some()).then_some(before)
}

fn simplify(
    context: &mut Context,
    ranges: &mut Ranges,
    bases: &mut HashMap<Loop, HashMap<(Value, Vec<Value>), Value>>,
    place: Place,
    inst: Inst,
) {
    let (address, offset) = match context.func.dfg.insts[inst] {
        InstructionData::Load { arg, offset, .. } => (arg, offset),
        InstructionData::Store { args, offset, .. } => (args[1], offset),
        _ => return,
    };
    let Some((base, index)) = base_and_index(context, address) else {
        return;
    };
    let mut sum = Sum {
        parts: Vec::new(),
        constant: 0,
    };
    take_apart(context, ranges, index, PARTS_MAX, &mut sum);
    if sum.parts == [index] || sum.parts.len() > PARTS_MAX {
        return;
    }
    let displacement = i64::from(i32::from(offset)) + sum.constant;
    let Ok(displacement) = i32::try_from(displacement) else {
        return;
    };
    if displacement < 0 || !is_before(context, place, base) {
        return;
    }
    let (mut same, changing): (Vec<Value>, Vec<Value>) = sum
        .parts
        .into_iter()
        .partition(|part| is_before(context, place, *part));
    let [counter] = changing[..] else {
        return;
    };
    same.sort_unstable();
    let base = match same.is_empty() {
        true => base,
        false => {
            let bases = bases.entry(place.inner).or_default();
            match bases.get(&(base, same.clone())) {
                Some(base) => *base,
                None if bases.len() == BASES_MAX => return,
                None => {
                    let sum = base_before(context, place, base, &same);
                    bases.insert((base, same), sum);
                    sum
                }
            }
        }
    };
    let mut cursor = FuncCursor::new(&mut context.func).at_inst(inst);
    cursor.set_srcloc(cursor.func.srcloc(inst));
    let counter = cursor.ins().uextend(types::I64, counter);
    let address = cursor.ins().iadd(base, counter);
    match &mut context.func.dfg.insts[inst] {
        InstructionData::Load { arg, offset, .. } => {
            *arg = address;
            *offset = displacement.into();
        }
        InstructionData::Store { args, offset, .. } => {
            args[1] = address;
            *offset = displacement.into();
        }
        _ => unreachable!("it was one of these"),
    }
}

/// An address as a base and the extended index, if it is that.
fn base_and_index(context: &Context, address: Value) -> Option<(Value, Value)> {
    let dfg = &context.func.dfg;
    let ValueDef::Result(inst, _) = dfg.value_def(address) else {
        return None;
    };
    let InstructionData::Binary {
        opcode: Opcode::Iadd,
        args: [a, b],
    } = dfg.insts[inst]
    else {
        return None;
    };
    let extended = |value: Value| {
        let ValueDef::Result(inst, _) = dfg.value_def(value) else {
            return None;
        };
        match dfg.insts[inst] {
            InstructionData::Unary {
                opcode: Opcode::Uextend,
                arg,
            } if dfg.value_type(arg) == types::I32 => Some(arg),
            _ => None,
        }
    };
    match (extended(a), extended(b)) {
        (None, Some(index)) => Some((a, index)),
        (Some(index), None) => Some((b, index)),
        _ => None,
    }
}

/// Adds a number of 32 bits to a sum, in parts as far as it is known not to wrap, and so many levels deep.
fn take_apart(context: &Context, ranges: &mut Ranges, value: Value, depth: usize, sum: &mut Sum) {
    let dfg = &context.func.dfg;
    if let Some(number) = constant(&context.func, value) {
        sum.constant += number & 0xffff_ffff;
        return;
    }
    if let ValueDef::Result(inst, _) = dfg.value_def(value)
        && let InstructionData::Binary {
            opcode: Opcode::Iadd,
            args: [a, b],
        } = dfg.insts[inst]
        && depth > 0
    {
        let left = ranges.of(context, a);
        if let Some(number) = constant(&context.func, b) {
            if let Some((_, amount)) = left.plus_constant(number) {
                sum.constant += amount;
                return take_apart(context, ranges, a, depth - 1, sum);
            }
        } else if left.plus(ranges.of(context, b)).is_some() {
            take_apart(context, ranges, a, depth - 1, sum);
            return take_apart(context, ranges, b, depth - 1, sum);
        }
    }
    sum.parts.push(value);
}

/// Whether a value is there before the loop begins.
fn is_before(context: &Context, place: Place, value: Value) -> bool {
    let block = match context.func.dfg.value_def(value) {
        ValueDef::Result(inst, _) => context.func.layout.inst_block(inst),
        ValueDef::Param(block, _) => Some(block),
        ValueDef::Union(..) => None,
    };
    block.is_some_and(|block| context.domtree.block_dominates(block, place.before))
}

/// Adds the parts that stay the same to the base, before the loop.
fn base_before(context: &mut Context, place: Place, base: Value, same: &[Value]) -> Value {
    let branch = context.func.layout.last_inst(place.before);
    let branch = branch.expect("a block ends with a branch");
    let mut cursor = FuncCursor::new(&mut context.func).at_inst(branch);
    cursor.set_srcloc(cursor.func.srcloc(branch));
    same.iter().fold(base, |base, part| {
        let part = cursor.ins().uextend(types::I64, *part);
        cursor.ins().iadd(base, part)
    })
}

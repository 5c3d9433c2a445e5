//! Addresses that advance with a loop's counter are a base, made before the loop, and the counter.
//!
//! WebAssembly adds up an index in 32 bits, which may wrap, so the sum is made again for every access. Where bounds show that
//! it cannot wrap ([`super::range`]), the parts can be extended and added in any order: constants become the displacement of the
//! access, what stays the same during the loop is added to the vmctx before it.
//!
//! An index that is taken for one that does not wrap, and does, would reach beyond the memory: every step here is an equality
//! of exact numbers, or is not taken.

use super::range::Ranges;
use super::values::{before, constant, definition, extended_word, summands};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{Block, Inst, InstBuilder, InstructionData, Value, ValueDef, types};
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

/// Where what stays the same during a loop is added up.
struct Place {
    /// The block before the loop.
    block: Block,
    /// The sums made there, by their base and parts.
    bases: HashMap<(Value, Vec<Value>), Value>,
}

pub(super) fn simplify_addresses(context: &mut Context) {
    let blocks: Vec<Block> = context.func.layout.blocks().collect();
    let mut ranges = Ranges::default();
    // Each loop once: it may have as many ways back as blocks.
    let mut places: HashMap<Loop, Option<Place>> = HashMap::new();
    for block in blocks {
        let Some(inner) = context.loop_analysis.innermost_loop(block) else {
            continue;
        };
        let place = places.entry(inner);
        let Some(place) = place.or_insert_with(|| place_before(context, inner)) else {
            continue;
        };
        let insts: Vec<Inst> = context.func.layout.block_insts(block).collect();
        for inst in insts {
            simplify(context, &mut ranges, place, inst);
        }
    }
}

/// The only block outside of a loop that leads into it.
fn place_before(context: &Context, inner: Loop) -> Option<Place> {
    let header = context.loop_analysis.loop_header(inner);
    let mut outside = context
        .cfg
        .pred_iter(header)
        .map(|predecessor| predecessor.block)
        .filter(|block| !context.loop_analysis.is_in_loop(*block, inner));
    let block = outside.next()?;
    outside.next().is_none().then(|| Place {
        block,
        bases: HashMap::new(),
    })
}

fn simplify(context: &mut Context, ranges: &mut Ranges, place: &mut Place, inst: Inst) {
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
    let Some(base) = base_before(context, place, base, same) else {
        return;
    };
    let mut cursor = before(&mut context.func, inst);
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
    let [a, b] = summands(&context.func, address)?;
    let index = |value| {
        let (inst, _) = definition(&context.func, value)?;
        extended_word(&context.func, inst)
    };
    match (index(a), index(b)) {
        (None, Some(index)) => Some((a, index)),
        (Some(index), None) => Some((b, index)),
        _ => None,
    }
}

/// Adds a number of 32 bits to a sum, in parts as far as it is known not to wrap, and so many levels deep.
fn take_apart(context: &Context, ranges: &mut Ranges, value: Value, depth: usize, sum: &mut Sum) {
    if let Some(number) = constant(&context.func, value) {
        sum.constant += number & 0xffff_ffff;
        return;
    }
    if depth > 0
        && let Some([a, b]) = summands(&context.func, value)
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
fn is_before(context: &Context, place: &Place, value: Value) -> bool {
    let block = match context.func.dfg.value_def(value) {
        ValueDef::Result(inst, _) => context.func.layout.inst_block(inst),
        ValueDef::Param(block, _) => Some(block),
        ValueDef::Union(..) => None,
    };
    block.is_some_and(|block| context.domtree.block_dominates(block, place.block))
}

/// The sum of the base and the parts that stay the same, made before the loop if there is room for it.
fn base_before(
    context: &mut Context,
    place: &mut Place,
    base: Value,
    same: Vec<Value>,
) -> Option<Value> {
    if same.is_empty() {
        return Some(base);
    }
    let summands = (base, same);
    if let Some(sum) = place.bases.get(&summands) {
        return Some(*sum);
    }
    if place.bases.len() == BASES_MAX {
        return None;
    }
    let branch = context.func.layout.last_inst(place.block);
    let branch = branch.expect("a block ends with a branch");
    let mut cursor = before(&mut context.func, branch);
    let sum = summands.1.iter().fold(base, |base, part| {
        let part = cursor.ins().uextend(types::I64, *part);
        cursor.ins().iadd(base, part)
    });
    place.bases.insert(summands, sum);
    Some(sum)
}

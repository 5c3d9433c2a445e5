//! Loops end by comparing the next value of their counter.
//!
//! The optimiser turns `counter + 4 != 100` into `counter != 96`. Then the counter's present value is needed after its next one
//! was computed, the two cannot share a register, and the way back to the loop's start is a move and a jump of its own.

use super::edges::{argument, ways};
use super::values::{before, constant, definition, equality, parameter, step};
use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::ir::{Block, Function, Inst, InstBuilder, InstructionData, Value, types};

pub(super) fn compare_next(function: &mut Function, domtree: &DominatorTree) {
    let blocks: Vec<Block> = function.layout.blocks().collect();
    for block in blocks {
        if let Some(comparison) = comparison_of_counter(function, block) {
            rewrite(function, domtree, block, &comparison);
        }
    }
}

/// `icmp eq/ne counter, constant`, by which a block decides whether to pass the counter's next value back to where it is from.
struct Comparison {
    inst: Inst,
    advance: Inst,
    next: Value,
    /// What the next value is compared with instead.
    bound: u32,
}

fn comparison_of_counter(function: &Function, block: Block) -> Option<Comparison> {
    let branch = function.layout.last_inst(block)?;
    let InstructionData::Brif { arg: condition, .. } = function.dfg.insts[branch] else {
        return None;
    };
    let (inst, data) = definition(function, condition)?;
    let (_, [counter, other]) = equality(data)?;
    let end = constant(function, other)?;
    let (header, number) = parameter(function, counter)?;
    if function.dfg.value_type(counter) != types::I32 {
        return None;
    }
    let back = ways(function, block, branch, header).next()?;
    let next = argument(function, back, number)?;
    let step = step(function, next, counter)?;
    let (advance, _) = definition(function, next)?;
    Some(Comparison {
        inst,
        advance,
        next,
        bound: (end as u32).wrapping_add(step as u32),
    })
}

/// Compares the counter's next value, if it is known where the comparison is, or can be.
fn rewrite(
    function: &mut Function,
    domtree: &DominatorTree,
    block: Block,
    comparison: &Comparison,
) {
    let Comparison { inst, advance, .. } = *comparison;
    if !domtree.dominates(advance, inst, &function.layout) {
        if !is_only_for_branch(function, inst, advance, block) {
            return;
        }
        // All that the advance takes is a constant and the counter, and so does the comparison.
        function.layout.remove_inst(inst);
        let branch = function.layout.last_inst(block).expect("it has its branch");
        function.layout.insert_inst(inst, branch);
    }
    let bound = before(function, inst)
        .ins()
        .iconst(types::I32, i64::from(comparison.bound));
    let compared = function.dfg.inst_args_mut(inst);
    compared.copy_from_slice(&[comparison.next, bound]);
}

/// Whether a comparison, and after it an advance, are in a block that uses the comparison in its branch alone.
fn is_only_for_branch(function: &Function, comparison: Inst, advance: Inst, block: Block) -> bool {
    let layout = &function.layout;
    if [comparison, advance].map(|inst| layout.inst_block(inst)) != [Some(block); 2] {
        return false;
    }
    let result = function.dfg.first_result(comparison);
    let after = std::iter::successors(layout.next_inst(comparison), |inst| layout.next_inst(*inst));
    let mut before_branch = after.filter(|inst| layout.next_inst(*inst).is_some());
    before_branch.all(|inst| !function.dfg.inst_args(inst).contains(&result))
}

//! Loops end by comparing the next value of their counter.
//!
//! The optimiser turns `counter + 4 != 100` into `counter != 96`. Then the counter's present value is needed after its next one
//! was computed, the two cannot share a register, and the way back to the loop's start is a move and a jump of its own.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, Function, Inst, InstBuilder, InstructionData, Opcode, Value, ValueDef, types,
};

pub(super) fn compare_next(function: &mut Function, domtree: &DominatorTree) {
    let blocks: Vec<Block> = function.layout.blocks().collect();
    for block in blocks {
        let Some(branch) = function.layout.last_inst(block) else {
            continue;
        };
        let InstructionData::Brif { arg: condition, .. } = function.dfg.insts[branch] else {
            continue;
        };
        let Some(comparison) = comparison_of_counter(function, condition) else {
            continue;
        };
        rewrite(function, domtree, block, &comparison);
    }
}

/// `icmp eq/ne counter, constant`, where the counter is a block's parameter.
struct Comparison {
    inst: Inst,
    condition: IntCC,
    counter: Value,
    constant: i64,
}

fn comparison_of_counter(function: &Function, condition: Value) -> Option<Comparison> {
    let ValueDef::Result(inst, _) = function.dfg.value_def(condition) else {
        return None;
    };
    let InstructionData::IntCompare {
        opcode: Opcode::Icmp,
        cond: condition @ (IntCC::Equal | IntCC::NotEqual),
        args: [counter, other],
    } = function.dfg.insts[inst]
    else {
        return None;
    };
    let constant = constant(function, other)?;
    matches!(function.dfg.value_def(counter), ValueDef::Param(..)).then_some(Comparison {
        inst,
        condition,
        counter,
        constant,
    })
}

/// The number that a value always is.
pub(super) fn constant(function: &Function, value: Value) -> Option<i64> {
    let ValueDef::Result(inst, _) = function.dfg.value_def(value) else {
        return None;
    };
    match function.dfg.insts[inst] {
        InstructionData::UnaryImm {
            opcode: Opcode::Iconst,
            imm,
        } => Some(imm.bits()),
        _ => None,
    }
}

/// The constant that an `iadd` adds to this value.
pub(super) fn step(function: &Function, next: Value, value: Value) -> Option<i64> {
    let ValueDef::Result(inst, _) = function.dfg.value_def(next) else {
        return None;
    };
    match function.dfg.insts[inst] {
        InstructionData::Binary {
            opcode: Opcode::Iadd,
            args: [a, b],
        } if a == value => constant(function, b),
        InstructionData::Binary {
            opcode: Opcode::Iadd,
            args: [a, b],
        } if b == value => constant(function, a),
        _ => None,
    }
}

/// Compares the counter's next value, if it is known where the branch is, and that is the branch back.
fn rewrite(
    function: &mut Function,
    domtree: &DominatorTree,
    block: Block,
    comparison: &Comparison,
) {
    let counter = comparison.counter;
    let ValueDef::Param(header, number) = function.dfg.value_def(counter) else {
        return;
    };
    if function.dfg.value_type(counter) != types::I32 {
        return;
    }
    let Some(next) = passed_back(function, block, header, number) else {
        return;
    };
    let Some(step) = step(function, next, counter) else {
        return;
    };
    let ValueDef::Result(advance, _) = function.dfg.value_def(next) else {
        return;
    };
    if !domtree.dominates(advance, comparison.inst, &function.layout) {
        if !is_only_for_branch(function, comparison.inst, advance, block) {
            return;
        }
        // All that the advance takes is a constant and the counter, and so does the comparison.
        function.layout.remove_inst(comparison.inst);
        let branch = function.layout.last_inst(block).expect("it has its branch");
        function.layout.insert_inst(comparison.inst, branch);
    }
    let after = i64::from((comparison.constant as u32).wrapping_add(step as u32) as i32);
    let mut cursor = FuncCursor::new(function).at_inst(comparison.inst);
    cursor.set_srcloc(cursor.func.srcloc(comparison.inst));
    let bound = cursor.ins().iconst(types::I32, after & 0xffff_ffff);
    function.dfg.insts[comparison.inst] = InstructionData::IntCompare {
        opcode: Opcode::Icmp,
        cond: comparison.condition,
        args: [next, bound],
    };
}

/// What the branch of a block passes to another for the parameter of this number, by the first way that leads there.
fn passed_back(function: &Function, block: Block, to: Block, number: usize) -> Option<Value> {
    let dfg = &function.dfg;
    let branch = function.layout.last_inst(block)?;
    let destinations =
        dfg.insts[branch].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
    let call = destinations
        .iter()
        .find(|call| call.block(&dfg.value_lists) == to)?;
    call.args(&dfg.value_lists).nth(number)?.as_value()
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

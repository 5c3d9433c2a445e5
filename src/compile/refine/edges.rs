//! What flows into the parameters of blocks.

use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{Block, BlockArg, Function, Inst, Value};

/// One way into a block: the branch, and which of its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub block: Block,
    pub branch: Inst,
    pub destination: usize,
}

/// All ways into a block, in a fixed order.
pub(super) fn into_block(function: &Function, cfg: &ControlFlowGraph, block: Block) -> Vec<Edge> {
    let mut edges = Vec::new();
    for predecessor in cfg.pred_iter(block) {
        let dfg = &function.dfg;
        let destinations =
            dfg.insts[predecessor.inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
        for (destination, call) in destinations.iter().enumerate() {
            if call.block(&dfg.value_lists) == block {
                edges.push(Edge {
                    block: predecessor.block,
                    branch: predecessor.inst,
                    destination,
                });
            }
        }
    }
    edges
}

/// What an edge passes for the parameter of this number.
pub(super) fn argument(function: &Function, edge: Edge, number: usize) -> Option<Value> {
    let dfg = &function.dfg;
    let destinations =
        dfg.insts[edge.branch].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
    let argument = destinations[edge.destination]
        .args(&dfg.value_lists)
        .nth(number)?;
    argument.as_value()
}

/// Has an edge pass another value for the parameter of this number.
pub(super) fn set_argument(function: &mut Function, edge: Edge, number: usize, value: Value) {
    let dfg = &mut function.dfg;
    let destinations = dfg.insts[edge.branch]
        .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    let mut at = 0;
    destinations[edge.destination].update_args(&mut dfg.value_lists, |argument| {
        at += 1;
        match at - 1 == number {
            true => BlockArg::Value(value),
            false => argument,
        }
    });
}

//! What flows into the parameters of blocks.

use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{Block, BlockArg, BlockCall, Function, Inst, Value};
use std::collections::HashMap;

/// One way into a block: the branch, and which of its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// What an edge passes for the parameter of this number, if it is a value from before the branch.
pub(super) fn argument(function: &Function, edge: Edge, number: usize) -> Option<Value> {
    let dfg = &function.dfg;
    call(function, edge)
        .args(&dfg.value_lists)
        .nth(number)?
        .as_value()
}

/// All that an edge passes, in order.
pub(super) fn arguments(function: &Function, edge: Edge) -> Vec<Option<Value>> {
    let arguments = call(function, edge).args(&function.dfg.value_lists);
    arguments.map(|argument| argument.as_value()).collect()
}

fn call(function: &Function, edge: Edge) -> &BlockCall {
    let dfg = &function.dfg;
    let destinations =
        dfg.insts[edge.branch].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
    &destinations[edge.destination]
}

/// Has an edge pass other values for the parameters of these numbers.
pub(super) fn set_arguments(function: &mut Function, edge: Edge, values: &HashMap<usize, Value>) {
    let dfg = &mut function.dfg;
    let destinations = dfg.insts[edge.branch]
        .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
    let mut number = 0;
    destinations[edge.destination].update_args(&mut dfg.value_lists, |argument| {
        number += 1;
        match values.get(&(number - 1)) {
            Some(value) => BlockArg::Value(*value),
            None => argument,
        }
    });
}

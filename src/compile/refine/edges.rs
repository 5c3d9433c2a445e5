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
pub(super) fn into_block(function: &Function, cfg: &ControlFlowGraph, to: Block) -> Vec<Edge> {
    let predecessors = cfg.pred_iter(to);
    predecessors
        .flat_map(|from| ways(function, from.block, from.inst, to))
        .collect()
}

/// The ways from a block's branch to a block.
pub(super) fn ways(
    function: &Function,
    block: Block,
    branch: Inst,
    to: Block,
) -> impl Iterator<Item = Edge> {
    let calls = destinations(function, branch).iter().enumerate();
    let calls = calls.filter(move |(_, call)| call.block(&function.dfg.value_lists) == to);
    calls.map(move |(destination, _)| Edge {
        block,
        branch,
        destination,
    })
}

/// Where a branch leads, and what it passes there.
pub(super) fn destinations(function: &Function, branch: Inst) -> &[BlockCall] {
    let dfg = &function.dfg;
    dfg.insts[branch].branch_destination(&dfg.jump_tables, &dfg.exception_tables)
}

/// What an edge passes for the parameter of this number, if it is a value from before the branch.
pub(super) fn argument(function: &Function, edge: Edge, number: usize) -> Option<Value> {
    let call = &destinations(function, edge.branch)[edge.destination];
    let mut arguments = call.args(&function.dfg.value_lists);
    arguments.nth(number)?.as_value()
}

/// All that an edge passes, in order.
pub(super) fn arguments(function: &Function, edge: Edge) -> Vec<Option<Value>> {
    let call = &destinations(function, edge.branch)[edge.destination];
    let arguments = call.args(&function.dfg.value_lists);
    arguments.map(|argument| argument.as_value()).collect()
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

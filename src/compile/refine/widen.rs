//! Indexes into memory are kept as the 64-bit numbers that addresses are made of.
//!
//! An address is the vmctx and an index, extended from 32 bits. Most instructions of 32 bits extend what they compute by
//! themselves, and code generation knows it; of loads and of parameters of blocks it does not know, and moves each onto itself
//! once more, on the way of whatever waits for the address. Here
//!
//! * a number that is loaded and extended is loaded as 64 bits, extended by the load;
//! * a parameter of a block that is extended is one of 64 bits, if nearly all that flows into it is extended for nothing.
//!
//! Where 32 bits of it are needed, the lower half is: that takes no instruction.

use super::edges::{Edge, arguments, into_block, set_arguments};
use super::values::{before, constant, definition, extended_word, insts, parameter, replace_with};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{
    Block, Function, Inst, InstBuilder, InstructionData, Opcode, Value, types,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) fn widen_indexes(
    function: &mut Function,
    cfg: &ControlFlowGraph,
    domtree: &DominatorTree,
) {
    let extensions = extensions(function);
    if extensions.is_empty() {
        return;
    }
    let parameters = parameters_to_widen(function, cfg, domtree, &extensions);
    let mut wide = HashMap::new();
    let flowing = parameters.values().flatten().map(|(_, value)| *value);
    let mut loaded: Vec<Value> = extended(&extensions).chain(flowing).collect();
    loaded.sort_unstable();
    loaded.dedup();
    for value in loaded {
        if let Some(load) = load_of(function, value) {
            wide.insert(value, widen_load(function, load));
        }
    }
    for parameter in parameters.keys() {
        wide.insert(*parameter, widen_parameter(function, *parameter));
    }
    let mut passed: BTreeMap<Edge, HashMap<usize, Value>> = BTreeMap::new();
    for (of, incoming) in &parameters {
        let (_, number) = parameter(function, wide[of]).expect("a parameter");
        for (edge, value) in incoming {
            let known = wide.get(value).copied();
            let value = known.unwrap_or_else(|| extend(function, edge.branch, *value));
            passed.entry(*edge).or_default().insert(number, value);
        }
    }
    for (edge, values) in &passed {
        set_arguments(function, *edge, values);
    }
    for (value, extension) in extensions {
        if let Some(wide) = wide.get(&value) {
            replace_with(function, extension, *wide);
        }
    }
}

/// Numbers of 32 bits, each with an instruction that extends it to 64.
type Extensions = Vec<(Value, Inst)>;

fn extensions(function: &Function) -> Extensions {
    insts(function)
        .filter_map(|inst| Some((extended_word(function, inst)?, inst)))
        .collect()
}

fn extended(extensions: &Extensions) -> impl Iterator<Item = Value> {
    extensions.iter().map(|(value, _)| *value)
}

/// Parameters with what flows into them.
type Parameters = BTreeMap<Value, Vec<(Edge, Value)>>;

/// The parameters of blocks to be widened: those that are extended, and those that flow into such a one.
fn parameters_to_widen(
    function: &Function,
    cfg: &ControlFlowGraph,
    domtree: &DominatorTree,
    extensions: &Extensions,
) -> Parameters {
    let mut parameters = Parameters::new();
    let mut blocks = Incoming::new();
    let mut asked: Vec<Value> = extended(extensions).collect();
    let mut flows_into: HashMap<Value, Vec<Value>> = HashMap::new();
    while let Some(value) = asked.pop() {
        if parameters.contains_key(&value) {
            continue;
        }
        if let Some(incoming) = incoming(function, cfg, &mut blocks, value) {
            for (_, from) in &incoming {
                asked.push(*from);
                flows_into.entry(*from).or_default().push(value);
            }
            parameters.insert(value, incoming);
        }
    }
    // Without those that are extended at a price, and without those that then flow into nothing.
    let is_costly = |parameters: &Parameters, value: Value| {
        let Some(incoming) = parameters.get(&value) else {
            return false;
        };
        let (block, _) = parameter(function, value).expect("a parameter");
        let is_back = |edge: &Edge| domtree.block_dominates(block, edge.block);
        let is_loop = incoming.iter().any(|(edge, _)| is_back(edge));
        incoming.iter().any(|(edge, value)| {
            !is_extended_for_nothing(function, parameters, *value) && (!is_loop || is_back(edge))
        })
    };
    let mut doubtful: Vec<Value> = parameters.keys().copied().collect();
    while let Some(value) = doubtful.pop() {
        if is_costly(&parameters, value) {
            parameters.remove(&value);
            doubtful.extend(flows_into.get(&value).into_iter().flatten());
        }
    }
    let mut needed = BTreeSet::new();
    let mut asked: Vec<Value> = extended(extensions).collect();
    while let Some(value) = asked.pop() {
        if let Some(incoming) = parameters.get(&value)
            && needed.insert(value)
        {
            asked.extend(incoming.iter().map(|(_, value)| *value));
        }
    }
    parameters.retain(|parameter, _| needed.contains(parameter));
    parameters
}

/// What flows into each block, by its ways in.
type Incoming = HashMap<Block, Vec<(Edge, Vec<Option<Value>>)>>;

/// What flows into a parameter of 32 bits, of any block but the first.
fn incoming(
    function: &Function,
    cfg: &ControlFlowGraph,
    blocks: &mut Incoming,
    value: Value,
) -> Option<Vec<(Edge, Value)>> {
    let (block, number) = parameter(function, value)?;
    if function.layout.entry_block() == Some(block) || function.dfg.value_type(value) != types::I32
    {
        return None;
    }
    let edges = blocks.entry(block).or_insert_with(|| {
        let edges = into_block(function, cfg, block).into_iter();
        edges
            .map(|edge| (edge, arguments(function, edge)))
            .collect()
    });
    let edges = edges.iter();
    edges
        .map(|(edge, arguments)| Some((*edge, arguments[number]?)))
        .collect()
}

/// Whether 64 bits of a value take no instruction more than 32 do.
fn is_extended_for_nothing(function: &Function, parameters: &Parameters, value: Value) -> bool {
    let Some((_, data)) = definition(function, value) else {
        return parameters.contains_key(&value);
    };
    load_of(function, value).is_some()
        || matches!(
            data.opcode(),
            Opcode::Iconst
                | Opcode::Iadd
                | Opcode::Isub
                | Opcode::Imul
                | Opcode::Band
                | Opcode::Bor
                | Opcode::Bxor
                | Opcode::Ishl
                | Opcode::Ushr
        )
}

/// The load of a number of 32 bits that could as well extend it to 64, without a sign.
fn load_of(function: &Function, value: Value) -> Option<Inst> {
    let (inst, data) = definition(function, value)?;
    let unsigned = matches!(
        data.opcode(),
        Opcode::Load | Opcode::Uload8 | Opcode::Uload16
    );
    (unsigned && function.dfg.value_type(value) == types::I32).then_some(inst)
}

/// Loads 64 bits where 32 were loaded; the 32 are what is left of them.
fn widen_load(function: &mut Function, load: Inst) -> Value {
    let InstructionData::Load {
        opcode,
        flags,
        offset,
        arg,
    } = function.dfg.insts[load]
    else {
        unreachable!("it is a load");
    };
    let flags = function.dfg.mem_flags[flags];
    let mut cursor = before(function, load);
    let wide = match opcode {
        Opcode::Load => cursor.ins().uload32(flags, arg, offset),
        Opcode::Uload8 => cursor.ins().uload8(types::I64, flags, arg, offset),
        Opcode::Uload16 => cursor.ins().uload16(types::I64, flags, arg, offset),
        other => unreachable!("no load without a sign: {other}"),
    };
    // The result stays, of another instruction.
    function.dfg.insts[load] = InstructionData::Unary {
        opcode: Opcode::Ireduce,
        arg: wide,
    };
    wide
}

/// Makes a parameter one of 64 bits; the 32 are what is left of them.
fn widen_parameter(function: &mut Function, value: Value) -> Value {
    let (block, _) = parameter(function, value).expect("a parameter");
    let wide = function.dfg.replace_block_param(value, types::I64);
    let mut cursor = FuncCursor::new(function).at_first_inst(block);
    let narrow = cursor.ins().ireduce(types::I32, wide);
    function.dfg.change_to_alias(value, narrow);
    wide
}

/// 64 bits of a value for a branch.
fn extend(function: &mut Function, branch: Inst, value: Value) -> Value {
    let number = constant(function, value);
    let mut cursor = before(function, branch);
    match number {
        Some(number) => cursor.ins().iconst(types::I64, number & 0xffff_ffff),
        None => cursor.ins().uextend(types::I64, value),
    }
}

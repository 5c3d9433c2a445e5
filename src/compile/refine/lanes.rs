//! A vector that a loop only carries round and takes apart is carried as its lanes.
//!
//! LLVM likes to put some variables of a loop into one vector, shifted along each time round, though each is used by itself. Every
//! use then waits for its lane to be moved out of the vector, and every next value for the moves in.

use super::edges::{Edge, argument, destinations, into_block};
use super::values::{before, bitcast, definition, insts, parameter, replace_with};
use cranelift_codegen::Context;
use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::dominator_tree::DominatorTree;
use cranelift_codegen::ir::{
    Endianness, Function, Inst, InstBuilder, InstructionData, MemFlagsData, Opcode, Type, Value,
};
use cranelift_codegen::loop_analysis::LoopAnalysis;
use std::collections::{BTreeMap, BTreeSet};

/// The most lanes: each takes a register.
const LANES_MAX: u32 = 4;

const BYTES: u32 = 16;

/// How the lanes of one type lie over those of another.
const LITTLE: MemFlagsData = MemFlagsData::new().with_endianness(Endianness::Little);

/// How many vectors of a function are split at most: what is known of it is found anew after each.
const SPLITS_MAX: usize = 16;

/// How many instructions may make the next vector.
const STEPS_MAX: usize = 16;

pub(super) fn carry_lanes(context: &mut Context) {
    let (function, cfg) = (&mut context.func, &context.cfg);
    let (domtree, loops) = (&context.domtree, &context.loop_analysis);
    let headers = loops.loops().map(|found| loops.loop_header(found));
    let candidates: Vec<Value> = headers
        .flat_map(|header| function.dfg.block_params(header))
        .filter(|parameter| function.dfg.value_type(**parameter).bits() == 8 * BYTES)
        .copied()
        .collect();
    if candidates.is_empty() {
        return;
    }
    let mut known = users(function);
    let mut room = SPLITS_MAX;
    for vector in candidates {
        let (header, _) = parameter(function, vector).expect("a parameter");
        let edges = into_block(function, cfg, header);
        let mut lanes = lane_types(function, &known, vector).into_iter();
        let carried = lanes
            .find_map(|lane| Carried::find(function, domtree, loops, &known, &edges, vector, lane));
        if let Some(carried) = carried {
            carried.split(function, &known, &edges);
            // A lane that was taken out is a block's parameter now, and is to have one name: passes compare and replace parameters.
            function.dfg.resolve_all_aliases();
            known = users(function);
            room -= 1;
        }
        if room == 0 {
            return;
        }
    }
}

/// The instructions that take each value.
type Users = BTreeMap<Value, Vec<Inst>>;

fn users(function: &Function) -> Users {
    let mut users = Users::new();
    for inst in insts(function) {
        for value in function.dfg.inst_values(inst) {
            users.entry(value).or_default().push(inst);
        }
    }
    users
}

/// Where a lane's next value comes from.
#[derive(Clone, Copy)]
enum Source {
    /// A number of the lanes' type.
    Number(Value),
    /// The present value of the lane of this number.
    Lane(u32),
}

/// A vector that can be carried as lanes.
struct Carried {
    vector: Value,
    lane: Type,
    /// What takes lanes out, and which.
    taken: Vec<(Inst, u32)>,
    /// For each way back, what its lanes are.
    next: BTreeMap<usize, Vec<Source>>,
    /// What takes the vector, or what was made of it, to make the next one.
    makers: BTreeSet<Inst>,
    /// What takes the vector after the loop, and the value by which it does.
    outside: Vec<(Inst, Value)>,
}

impl Carried {
    fn find(
        function: &Function,
        domtree: &DominatorTree,
        loops: &LoopAnalysis,
        users: &Users,
        edges: &[Edge],
        vector: Value,
        lane: Type,
    ) -> Option<Carried> {
        let (header, number) = parameter(function, vector)?;
        let own = loops.is_loop_header(header)?;
        let lanes = BYTES / lane.bytes();
        let mut next = BTreeMap::new();
        let mut steps = BTreeSet::new();
        for (at, edge) in edges.iter().enumerate() {
            let value = argument(function, *edge, number)?;
            if !domtree.block_dominates(header, edge.block) {
                continue;
            }
            let sources = (0..lanes)
                .map(|at| source(function, vector, lane, value, at, &mut steps))
                .collect::<Option<Vec<Source>>>()?;
            next.insert(at, sources);
        }
        let mut carried = Carried {
            vector,
            lane,
            taken: Vec::new(),
            next,
            makers: BTreeSet::new(),
            outside: Vec::new(),
        };
        let is_outside = |inst| {
            let block = function.layout.inst_block(inst).expect("it uses something");
            !loops.is_in_loop(block, own)
        };
        carried
            .follow(function, users, edges, number, &steps, is_outside)
            .then_some(carried)
    }

    /// Follows the vector and all that is made of it. Answers whether that comes to nothing but lanes and the next vector.
    fn follow(
        &mut self,
        function: &Function,
        users: &Users,
        edges: &[Edge],
        number: usize,
        steps: &BTreeSet<Inst>,
        is_outside: impl Fn(Inst) -> bool,
    ) -> bool {
        // Values, and whether each is the present vector itself, as whatever lanes.
        let mut followed = vec![(self.vector, true)];
        while let Some((value, present)) = followed.pop() {
            for user in users.get(&value).into_iter().flatten() {
                match function.dfg.insts[*user] {
                    InstructionData::BinaryImm8 {
                        opcode: Opcode::Extractlane,
                        imm,
                        ..
                    } if present => {
                        let result = function.dfg.first_result(*user);
                        if function.dfg.value_type(result).bits() != self.lane.bits() {
                            return false;
                        }
                        self.taken.push((*user, u32::from(imm)));
                    }
                    InstructionData::LoadNoOffset {
                        opcode: Opcode::Bitcast,
                        ..
                    } if present => {
                        let new = self.makers.insert(*user);
                        followed.extend(new.then(|| (function.dfg.first_result(*user), true)));
                    }
                    _ if steps.contains(user) => {
                        let new = self.makers.insert(*user);
                        followed.extend(new.then(|| (function.dfg.first_result(*user), false)));
                    }
                    data if present && is_outside(*user) && !data.opcode().is_branch() => {
                        self.outside.push((*user, value));
                    }
                    _ if !only_passes(function, edges, number, *user, value) => return false,
                    _ => (),
                }
            }
        }
        true
    }

    /// Has the block take the lanes in place of the vector.
    fn split(self, function: &mut Function, users: &Users, edges: &[Edge]) {
        let (header, number) = parameter(function, self.vector).expect("a parameter");
        let lanes = BYTES / self.lane.bytes();
        let parameters: Vec<Value> = (0..lanes)
            .map(|_| function.dfg.append_block_param(header, self.lane))
            .collect();
        for (at, edge) in edges.iter().enumerate() {
            let values: Vec<Value> = match self.next.get(&at) {
                Some(sources) => sources
                    .iter()
                    .map(|source| match source {
                        Source::Number(value) => *value,
                        Source::Lane(lane) => parameters[*lane as usize],
                    })
                    .collect(),
                None => {
                    let vector = argument(function, *edge, number).expect("it was found");
                    take_lanes(function, edge.branch, vector, self.lane)
                }
            };
            let dfg = &mut function.dfg;
            let destinations = dfg.insts[edge.branch]
                .branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
            let call = &mut destinations[edge.destination];
            call.remove(number, &mut dfg.value_lists);
            call.extend(values, &mut dfg.value_lists);
        }
        for (inst, value) in self.outside {
            let whole = put_together(function, inst, &parameters, value);
            function
                .dfg
                .map_inst_values(inst, |used| if used == value { whole } else { used });
        }
        for (inst, lane) in self.taken {
            take_lane(function, users, inst, parameters[lane as usize]);
        }
        for maker in self.makers {
            function.layout.remove_inst(maker);
        }
        function.dfg.remove_block_param(self.vector);
    }
}

/// Does without an instruction that takes a lane out, which may be as another type of the same size.
fn take_lane(function: &mut Function, users: &Users, inst: Inst, lane: Value) {
    let result = function.dfg.first_result(inst);
    let ty = function.dfg.value_type(result);
    if ty == function.dfg.value_type(lane) {
        return replace_with(function, inst, lane);
    }
    // Most of those are made the lane's own type again.
    let back = (result, function.dfg.value_type(lane));
    let again = |user: &Inst| bitcast(function, *user) == Some(back);
    let users = users.get(&result).into_iter().flatten();
    let back: Vec<Inst> = users.copied().filter(again).collect();
    for inst in back {
        replace_with(function, inst, lane);
    }
    let cast = before(function, inst).ins().bitcast(ty, LITTLE, lane);
    replace_with(function, inst, cast);
}

/// The vector of these lanes, before an instruction that takes it as a value of the type of another.
fn put_together(function: &mut Function, inst: Inst, lanes: &[Value], as_value: Value) -> Value {
    let lane = function.dfg.value_type(lanes[0]);
    let ty = lane.by(lanes.len() as u32).expect("a vector of 128 bits");
    let wanted = function.dfg.value_type(as_value);
    let mut cursor = before(function, inst);
    let first = cursor.ins().splat(ty, lanes[0]);
    let rest = lanes.iter().enumerate().skip(1);
    let vector = rest.fold(first, |vector, (at, lane)| {
        cursor.ins().insertlane(vector, *lane, at as u8)
    });
    as_type(&mut cursor, wanted, vector)
}

/// The lanes of a vector, before a branch.
fn take_lanes(function: &mut Function, branch: Inst, vector: Value, lane: Type) -> Vec<Value> {
    let lanes = BYTES / lane.bytes();
    let ty = lane.by(lanes).expect("a vector of 128 bits");
    let mut cursor = before(function, branch);
    let vector = as_type(&mut cursor, ty, vector);
    (0..lanes)
        .map(|lane| cursor.ins().extractlane(vector, lane as u8))
        .collect()
}

/// A vector as lanes of another type, or the same.
fn as_type(cursor: &mut FuncCursor<'_>, ty: Type, vector: Value) -> Value {
    match cursor.func.dfg.value_type(vector) == ty {
        true => vector,
        false => cursor.ins().bitcast(ty, LITTLE, vector),
    }
}

/// The types of lanes that are taken out of a vector.
fn lane_types(function: &Function, users: &Users, vector: Value) -> Vec<Type> {
    let mut types = Vec::new();
    for user in users.get(&vector).into_iter().flatten() {
        let ty = match (function.dfg.insts[*user].opcode(), bitcast(function, *user)) {
            (Opcode::Extractlane, _) => function.dfg.value_type(vector),
            (_, Some((_, ty))) => ty,
            _ => continue,
        };
        if ty.is_vector() && ty.bits() == 8 * BYTES && ty.lane_count() <= LANES_MAX {
            types.push(ty.lane_type());
        }
    }
    types.sort_unstable_by_key(|ty| ty.is_float());
    types.dedup();
    types
}

/// Whether an instruction is a branch that passes a value as the parameter of this number, over these edges, and nowhere else.
fn only_passes(
    function: &Function,
    edges: &[Edge],
    number: usize,
    branch: Inst,
    value: Value,
) -> bool {
    let dfg = &function.dfg;
    let destinations = destinations(function, branch);
    let passed = destinations.iter().enumerate().all(|(destination, call)| {
        let known = edges
            .iter()
            .any(|edge| edge.branch == branch && edge.destination == destination);
        call.args(&dfg.value_lists)
            .enumerate()
            .all(|(at, argument)| argument.as_value() != Some(value) || (known && at == number))
    });
    passed && !destinations.is_empty() && !dfg.inst_args(branch).contains(&value)
}

/// Where a lane of what a vector is next comes from. Notes the instructions that made it.
fn source(
    function: &Function,
    vector: Value,
    lane: Type,
    value: Value,
    at: u32,
    steps: &mut BTreeSet<Inst>,
) -> Option<Source> {
    if value == vector {
        return Some(Source::Lane(at));
    }
    let (inst, data) = definition(function, value)?;
    steps.insert(inst);
    if steps.len() > STEPS_MAX {
        return None;
    }
    let has_lanes = function.dfg.value_type(value).lane_type() == lane;
    match data {
        InstructionData::LoadNoOffset {
            opcode: Opcode::Bitcast,
            arg,
            ..
        } if function.dfg.value_type(arg).is_vector() => {
            source(function, vector, lane, arg, at, steps)
        }
        InstructionData::Unary {
            opcode: Opcode::Splat,
            arg,
        } if has_lanes => Some(Source::Number(arg)),
        InstructionData::TernaryImm8 {
            opcode: Opcode::Insertlane,
            imm,
            args: [rest, number],
        } if has_lanes => match u32::from(imm) == at {
            true => Some(Source::Number(number)),
            false => source(function, vector, lane, rest, at, steps),
        },
        InstructionData::Shuffle { imm, args, .. } => {
            let mask = function.dfg.immediates.get(imm)?.as_slice();
            let width = lane.bytes();
            let from = u32::from(mask[(at * width) as usize]);
            let whole =
                (0..width).all(|byte| u32::from(mask[(at * width + byte) as usize]) == from + byte);
            if from % width != 0 || !whole {
                return None;
            }
            let of = args[(from / BYTES) as usize];
            source(function, vector, lane, of, from % BYTES / width, steps)
        }
        _ => None,
    }
}

//! What is known of numbers of 32 bits: between which bounds they are.
//!
//! A loop that counts from one constant by another until it meets a third goes round a known number of times, and then all
//! that advances by a constant each time round stays within known bounds as well. That is what LLVM makes of a loop over an
//! array of known length. Numbers are unsigned; bounds are exact numbers, which do not wrap: whatever might wrap is not known.

use super::edges::{Edge, argument, into_block};
use super::values::{constant, definition, equality, parameter, step};
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, Function, InstructionData, Opcode, Value, ValueDef, types};
use std::collections::HashMap;

const WORD: i64 = 1 << 32;

/// How deep expressions are followed, and how many blocks of a loop are searched for its end.
const DEPTH_MAX: u32 = 12;
const BLOCKS_MAX: usize = 64;

/// Least and greatest, of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub low: i64,
    pub high: i64,
}

impl Range {
    const ALL: Range = Range {
        low: 0,
        high: WORD - 1,
    };

    fn new(low: i64, high: i64) -> Option<Range> {
        (0 <= low && low <= high && high < WORD).then_some(Range { low, high })
    }

    fn exactly(number: i64) -> Range {
        let number = number & (WORD - 1);
        Range {
            low: number,
            high: number,
        }
    }

    /// The sum, unless it may wrap.
    pub fn plus(self, other: Range) -> Option<Range> {
        Range::new(self.low + other.low, self.high + other.high)
    }

    /// The sum with a constant of 32 bits that may be meant as negative, and what it amounts to, unless it may wrap.
    pub fn plus_constant(self, constant: i64) -> Option<(Range, i64)> {
        let upwards = constant & (WORD - 1);
        [upwards, upwards - WORD].into_iter().find_map(|amount| {
            let sum = Range::new(self.low + amount, self.high + amount)?;
            Some((sum, amount))
        })
    }
}

/// A loop with one way in and one way back.
#[derive(Clone, Copy)]
struct Round {
    header: Block,
    entry: Edge,
    back: Edge,
}

/// What is known so far.
#[derive(Default)]
pub(super) struct Ranges {
    known: HashMap<Value, Option<Range>>,
    /// The ways into blocks whose parameters were asked about: a block may have as many parameters as ways in.
    ways: HashMap<Block, Option<Round>>,
    /// How often a loop goes back at most, by its first block.
    rounds: HashMap<Block, Option<i64>>,
}

impl Ranges {
    /// Between which bounds a value of 32 bits is.
    pub fn of(&mut self, context: &Context, value: Value) -> Range {
        self.or_all(context, value, DEPTH_MAX)
    }

    fn within(&mut self, context: &Context, value: Value, depth: u32) -> Option<Range> {
        if let Some(number) = constant(&context.func, value) {
            return Some(Range::exactly(number));
        }
        if depth == 0 || context.func.dfg.value_type(value) != types::I32 {
            return None;
        }
        if let Some(known) = self.known.get(&value) {
            return *known;
        }
        // Whoever asks on the way here for the same goes without.
        self.known.insert(value, None);
        let range = match context.func.dfg.value_def(value) {
            ValueDef::Result(inst, _) => {
                let data = context.func.dfg.insts[inst];
                self.of_operation(context, data, depth - 1)
            }
            ValueDef::Param(block, number) => self.of_parameter(context, block, number, depth - 1),
            ValueDef::Union(..) => None,
        };
        self.known.insert(value, range);
        range
    }

    fn of_operation(
        &mut self,
        context: &Context,
        operation: InstructionData,
        depth: u32,
    ) -> Option<Range> {
        let function = &context.func;
        match operation {
            InstructionData::Binary {
                opcode,
                args: [a, b],
            } => {
                let (left, right) = (
                    self.or_all(context, a, depth),
                    self.or_all(context, b, depth),
                );
                let number = constant(function, b);
                match (opcode, number) {
                    (Opcode::Iadd, Some(number)) => Some(left.plus_constant(number)?.0),
                    (Opcode::Iadd, None) => left.plus(right),
                    (Opcode::Ishl, Some(bits @ 0..32)) => {
                        Range::new(left.low << bits, left.high << bits)
                    }
                    (Opcode::Ushr, Some(bits @ 0..32)) => {
                        Range::new(left.low >> bits, left.high >> bits)
                    }
                    (Opcode::Imul, _) => Range::new(
                        left.low.checked_mul(right.low)?,
                        left.high.checked_mul(right.high)?,
                    ),
                    (Opcode::Band, _) => Range::new(0, left.high.min(right.high)),
                    _ => None,
                }
            }
            InstructionData::Load { opcode, .. } => match opcode {
                Opcode::Uload8 => Range::new(0, 0xff),
                Opcode::Uload16 => Range::new(0, 0xffff),
                _ => None,
            },
            InstructionData::Unary {
                opcode: Opcode::Uextend,
                arg,
            } => Range::new(0, (1 << function.dfg.value_type(arg).bits()) - 1),
            _ => None,
        }
    }

    fn or_all(&mut self, context: &Context, value: Value, depth: u32) -> Range {
        self.within(context, value, depth).unwrap_or(Range::ALL)
    }

    /// The bounds of what advances by a constant each time round a loop that goes round a known number of times.
    fn of_parameter(
        &mut self,
        context: &Context,
        block: Block,
        number: usize,
        depth: u32,
    ) -> Option<Range> {
        let ways = self.ways.entry(block);
        let round = (*ways.or_insert_with(|| round(context, block)))?;
        let step = step_of(context, round, number)?;
        let rounds = self.rounds(context, round, depth)?;
        let start = argument(&context.func, round.entry, number)?;
        let start = self.within(context, start, depth)?;
        let way = rounds.checked_mul(step)?;
        Range::new(start.low + way.min(0), start.high + way.max(0))
    }

    /// How often a loop goes back at most, if it ends when something that advances by a constant is equal to another.
    fn rounds(&mut self, context: &Context, round: Round, depth: u32) -> Option<i64> {
        let header = round.header;
        if let Some(known) = self.rounds.get(&header) {
            return *known;
        }
        self.rounds.insert(header, None);
        // The blocks that every round passes, from the way back upwards.
        let passed = std::iter::successors(Some(round.back.block), |block| {
            (*block != header)
                .then(|| context.domtree.idom(*block))
                .flatten()
        });
        let rounds = passed
            .take(BLOCKS_MAX)
            .find_map(|block| self.rounds_until(context, round, block, depth));
        self.rounds.insert(header, rounds);
        rounds
    }

    /// As [`Ranges::rounds`], if it is this block that ends the loop.
    fn rounds_until(
        &mut self,
        context: &Context,
        round: Round,
        block: Block,
        depth: u32,
    ) -> Option<i64> {
        let header = round.header;
        let (value, end) = tested(context, header, block)?;
        let function = &context.func;
        // What is compared is the counter itself, or what it is next.
        let (number, ahead) = match parameter(function, value) {
            Some((owner, number)) if owner == header => (number, 0),
            _ => {
                let mut counters = function.dfg.block_params(header).iter().enumerate();
                counters.find_map(|(number, counter)| {
                    Some((number, i64::from(step(function, value, *counter)?)))
                })?
            }
        };
        let advance = step_of(context, round, number).filter(|advance| *advance != 0)?;
        let start = argument(function, round.entry, number)?;
        let start = self.within(context, start, depth)?;
        let first = Range::new(start.low + ahead, start.high + ahead)?;
        let (way, exact) = match advance > 0 {
            true => (end - first.low, first.high <= end),
            false => (first.high - end, end <= first.low),
        };
        let length = advance.abs();
        let met = exact && (length == 1 || (first.low == first.high && way % length == 0));
        met.then_some(way / length)
    }
}

/// A block's only way in from outside and its only way back from inside, if it begins such a loop.
fn round(context: &Context, header: Block) -> Option<Round> {
    // Blocks that begin no loop may be where thousands of branches meet.
    context.loop_analysis.is_loop_header(header)?;
    let edges = into_block(&context.func, &context.cfg, header);
    let [a, b] = edges[..] else {
        return None;
    };
    let is_back = |edge: Edge| context.domtree.block_dominates(header, edge.block);
    let (entry, back) = match (is_back(a), is_back(b)) {
        (true, false) => (b, a),
        (false, true) => (a, b),
        _ => return None,
    };
    Some(Round {
        header,
        entry,
        back,
    })
}

/// By how much the parameter of this number advances each time round.
fn step_of(context: &Context, round: Round, number: usize) -> Option<i64> {
    let counter = context.func.dfg.block_params(round.header)[number];
    let next = argument(&context.func, round.back, number)?;
    step(&context.func, next, counter).map(i64::from)
}

/// What a block compares, and with which constant, if it goes on within the loop as long as they differ and leaves it when they
/// are equal.
fn tested(context: &Context, header: Block, block: Block) -> Option<(Value, i64)> {
    let function = &context.func;
    let own = context.loop_analysis.is_loop_header(header)?;
    // A block of an inner loop is passed more than once a round.
    if context.loop_analysis.innermost_loop(block) != Some(own) {
        return None;
    }
    let branch = function.layout.last_inst(block)?;
    let InstructionData::Brif { arg, blocks, .. } = function.dfg.insts[branch] else {
        return None;
    };
    let stays = blocks.map(|call| {
        let destination = call.block(&function.dfg.value_lists);
        context.loop_analysis.is_in_loop(destination, own)
    });
    let (value, end, on_difference) = comparison(function, arg)?;
    (stays == [on_difference, !on_difference]).then_some((value, end & (WORD - 1)))
}

/// A condition as a value, a constant, and whether it holds when they differ.
fn comparison(function: &Function, condition: Value) -> Option<(Value, i64, bool)> {
    let compared = definition(function, condition).and_then(|(_, data)| equality(data));
    let (value, end, on_difference) = match compared {
        Some((code, [value, other])) => {
            (value, constant(function, other)?, code == IntCC::NotEqual)
        }
        None => (condition, 0, true),
    };
    (function.dfg.value_type(value) == types::I32).then_some((value, end, on_difference))
}

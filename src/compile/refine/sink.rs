//! A load that one instruction uses comes right before it.
//!
//! Code generation makes a load part of the instruction that uses it, as its operand in memory, if nothing that may trap or
//! store lies between. Other loads may trap, and compilers put the loads of an expression first.
//!
//! Loads change places with loads that trap in the same way, and with what neither traps nor stores. So what is computed stays, and whether
//! and how it traps; of two accesses that are both out of bounds, the other may be the one that is reported.

use super::values::{insts, load_of};
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Function, Inst, InstructionData, Opcode, Value};

/// How many instructions a load is moved across at most.
const DISTANCE_MAX: usize = 64;

/// How often each value is used, up to what is counted.
type Uses = SecondaryMap<Value, u8>;

pub(super) fn sink_loads(function: &mut Function) {
    let mut uses = Uses::with_capacity(function.dfg.num_values());
    let users: Vec<Inst> = insts(function).collect();
    for value in users
        .iter()
        .flat_map(|user| function.dfg.inst_values(*user))
    {
        uses[value] = uses[value].saturating_add(1);
    }
    for user in users {
        sink_into(function, &uses, user);
    }
}

/// Moves the load of the operand that may be in memory, if it is one.
fn sink_into(function: &mut Function, uses: &Uses, user: Inst) {
    let sinks = |function: &Function, value: Value| {
        let load = load_of(function, value).filter(|_| uses[value] == 1)?;
        may_move(function, load, user).then_some(load)
    };
    let load = match function.dfg.insts[user] {
        InstructionData::Binary {
            opcode,
            args: [a, b],
        } => match opcode {
            Opcode::Fadd | Opcode::Fmul => sinks(function, b).or_else(|| {
                // Of two operands that are not a number, it is either's bits that the result has.
                let load = sinks(function, a)?;
                function.dfg.inst_args_mut(user).swap(0, 1);
                Some(load)
            }),
            Opcode::Iadd | Opcode::Band | Opcode::Bor | Opcode::Bxor => {
                sinks(function, b).or_else(|| sinks(function, a))
            }
            Opcode::Fsub | Opcode::Fdiv | Opcode::Isub | Opcode::Imul => sinks(function, b),
            _ => None,
        },
        InstructionData::Unary {
            opcode: Opcode::Splat,
            arg,
        } => sinks(function, arg),
        InstructionData::TernaryImm8 {
            opcode: Opcode::Insertlane,
            args: [_, lane],
            ..
        } => sinks(function, lane),
        _ => None,
    };
    if let Some(load) = load
        && function.layout.prev_inst(user) != Some(load)
    {
        function.layout.remove_inst(load);
        function.layout.insert_inst(load, user);
    }
}

/// Whether all between a load and its user may as well come before it.
fn may_move(function: &Function, load: Inst, user: Inst) -> bool {
    if function.layout.inst_block(load) != function.layout.inst_block(user) {
        return false;
    }
    let trap = function.dfg.insts[load].memflags_trap_code(&function.dfg);
    let between = std::iter::successors(function.layout.prev_inst(user), |inst| {
        function.layout.prev_inst(*inst)
    });
    for inst in between.take(DISTANCE_MAX) {
        if inst == load {
            return true;
        }
        let data = &function.dfg.insts[inst];
        let opcode = data.opcode();
        let moves = match opcode {
            Opcode::Load
            | Opcode::Uload8
            | Opcode::Sload8
            | Opcode::Uload16
            | Opcode::Sload16
            | Opcode::Uload32
            | Opcode::Sload32 => {
                let other = data.memflags_trap_code(&function.dfg);
                other.is_none() || trap.is_none() || other == trap
            }
            _ => {
                !opcode.can_load()
                    && !opcode.can_store()
                    && !opcode.can_trap()
                    && !opcode.is_call()
                    && !opcode.is_branch()
                    && !opcode.other_side_effects()
            }
        };
        if !moves {
            return false;
        }
    }
    false
}

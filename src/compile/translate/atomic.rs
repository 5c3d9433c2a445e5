//! The atomic instructions of the threads proposal.
//!
//! They take their addresses from [`Translator::heap_address`] as loads and stores do. An address that is not a multiple of
//! the access's size traps before anything else is looked at. All are sequentially consistent, and so are Cranelift's.

use super::Translator;
use crate::compile::trap::TrapKind;
use crate::layout::Builtin;
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, Type, Value, types};
use wasmparser::{MemArg, Operator};

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use AtomicRmwOp::{Add, And, Or, Sub, Xchg, Xor};
    use types::{I8, I16, I32, I64};
    match operator {
        Operator::I32AtomicLoad { memarg } => t.atomic_load(I32, I32, memarg),
        Operator::I64AtomicLoad { memarg } => t.atomic_load(I64, I64, memarg),
        Operator::I32AtomicLoad8U { memarg } => t.atomic_load(I8, I32, memarg),
        Operator::I32AtomicLoad16U { memarg } => t.atomic_load(I16, I32, memarg),
        Operator::I64AtomicLoad8U { memarg } => t.atomic_load(I8, I64, memarg),
        Operator::I64AtomicLoad16U { memarg } => t.atomic_load(I16, I64, memarg),
        Operator::I64AtomicLoad32U { memarg } => t.atomic_load(I32, I64, memarg),
        Operator::I32AtomicStore { memarg } | Operator::I64AtomicStore32 { memarg } => {
            t.atomic_store(I32, memarg);
        }
        Operator::I64AtomicStore { memarg } => t.atomic_store(I64, memarg),
        Operator::I32AtomicStore8 { memarg } | Operator::I64AtomicStore8 { memarg } => {
            t.atomic_store(I8, memarg);
        }
        Operator::I32AtomicStore16 { memarg } | Operator::I64AtomicStore16 { memarg } => {
            t.atomic_store(I16, memarg);
        }
        Operator::I32AtomicRmwAdd { memarg } => t.atomic_rmw(Add, I32, I32, memarg),
        Operator::I64AtomicRmwAdd { memarg } => t.atomic_rmw(Add, I64, I64, memarg),
        Operator::I32AtomicRmw8AddU { memarg } => t.atomic_rmw(Add, I8, I32, memarg),
        Operator::I32AtomicRmw16AddU { memarg } => t.atomic_rmw(Add, I16, I32, memarg),
        Operator::I64AtomicRmw8AddU { memarg } => t.atomic_rmw(Add, I8, I64, memarg),
        Operator::I64AtomicRmw16AddU { memarg } => t.atomic_rmw(Add, I16, I64, memarg),
        Operator::I64AtomicRmw32AddU { memarg } => t.atomic_rmw(Add, I32, I64, memarg),
        Operator::I32AtomicRmwSub { memarg } => t.atomic_rmw(Sub, I32, I32, memarg),
        Operator::I64AtomicRmwSub { memarg } => t.atomic_rmw(Sub, I64, I64, memarg),
        Operator::I32AtomicRmw8SubU { memarg } => t.atomic_rmw(Sub, I8, I32, memarg),
        Operator::I32AtomicRmw16SubU { memarg } => t.atomic_rmw(Sub, I16, I32, memarg),
        Operator::I64AtomicRmw8SubU { memarg } => t.atomic_rmw(Sub, I8, I64, memarg),
        Operator::I64AtomicRmw16SubU { memarg } => t.atomic_rmw(Sub, I16, I64, memarg),
        Operator::I64AtomicRmw32SubU { memarg } => t.atomic_rmw(Sub, I32, I64, memarg),
        Operator::I32AtomicRmwAnd { memarg } => t.atomic_rmw(And, I32, I32, memarg),
        Operator::I64AtomicRmwAnd { memarg } => t.atomic_rmw(And, I64, I64, memarg),
        Operator::I32AtomicRmw8AndU { memarg } => t.atomic_rmw(And, I8, I32, memarg),
        Operator::I32AtomicRmw16AndU { memarg } => t.atomic_rmw(And, I16, I32, memarg),
        Operator::I64AtomicRmw8AndU { memarg } => t.atomic_rmw(And, I8, I64, memarg),
        Operator::I64AtomicRmw16AndU { memarg } => t.atomic_rmw(And, I16, I64, memarg),
        Operator::I64AtomicRmw32AndU { memarg } => t.atomic_rmw(And, I32, I64, memarg),
        Operator::I32AtomicRmwOr { memarg } => t.atomic_rmw(Or, I32, I32, memarg),
        Operator::I64AtomicRmwOr { memarg } => t.atomic_rmw(Or, I64, I64, memarg),
        Operator::I32AtomicRmw8OrU { memarg } => t.atomic_rmw(Or, I8, I32, memarg),
        Operator::I32AtomicRmw16OrU { memarg } => t.atomic_rmw(Or, I16, I32, memarg),
        Operator::I64AtomicRmw8OrU { memarg } => t.atomic_rmw(Or, I8, I64, memarg),
        Operator::I64AtomicRmw16OrU { memarg } => t.atomic_rmw(Or, I16, I64, memarg),
        Operator::I64AtomicRmw32OrU { memarg } => t.atomic_rmw(Or, I32, I64, memarg),
        Operator::I32AtomicRmwXor { memarg } => t.atomic_rmw(Xor, I32, I32, memarg),
        Operator::I64AtomicRmwXor { memarg } => t.atomic_rmw(Xor, I64, I64, memarg),
        Operator::I32AtomicRmw8XorU { memarg } => t.atomic_rmw(Xor, I8, I32, memarg),
        Operator::I32AtomicRmw16XorU { memarg } => t.atomic_rmw(Xor, I16, I32, memarg),
        Operator::I64AtomicRmw8XorU { memarg } => t.atomic_rmw(Xor, I8, I64, memarg),
        Operator::I64AtomicRmw16XorU { memarg } => t.atomic_rmw(Xor, I16, I64, memarg),
        Operator::I64AtomicRmw32XorU { memarg } => t.atomic_rmw(Xor, I32, I64, memarg),
        Operator::I32AtomicRmwXchg { memarg } => t.atomic_rmw(Xchg, I32, I32, memarg),
        Operator::I64AtomicRmwXchg { memarg } => t.atomic_rmw(Xchg, I64, I64, memarg),
        Operator::I32AtomicRmw8XchgU { memarg } => t.atomic_rmw(Xchg, I8, I32, memarg),
        Operator::I32AtomicRmw16XchgU { memarg } => t.atomic_rmw(Xchg, I16, I32, memarg),
        Operator::I64AtomicRmw8XchgU { memarg } => t.atomic_rmw(Xchg, I8, I64, memarg),
        Operator::I64AtomicRmw16XchgU { memarg } => t.atomic_rmw(Xchg, I16, I64, memarg),
        Operator::I64AtomicRmw32XchgU { memarg } => t.atomic_rmw(Xchg, I32, I64, memarg),
        Operator::I32AtomicRmwCmpxchg { memarg } => t.atomic_cmpxchg(I32, I32, memarg),
        Operator::I64AtomicRmwCmpxchg { memarg } => t.atomic_cmpxchg(I64, I64, memarg),
        Operator::I32AtomicRmw8CmpxchgU { memarg } => t.atomic_cmpxchg(I8, I32, memarg),
        Operator::I32AtomicRmw16CmpxchgU { memarg } => t.atomic_cmpxchg(I16, I32, memarg),
        Operator::I64AtomicRmw8CmpxchgU { memarg } => t.atomic_cmpxchg(I8, I64, memarg),
        Operator::I64AtomicRmw16CmpxchgU { memarg } => t.atomic_cmpxchg(I16, I64, memarg),
        Operator::I64AtomicRmw32CmpxchgU { memarg } => t.atomic_cmpxchg(I32, I64, memarg),
        Operator::AtomicFence => {
            t.builder.ins().fence();
        }
        Operator::MemoryAtomicNotify { memarg } => {
            let (index, count) = t.pop2();
            t.wait_or_notify(Builtin::AtomicNotify, index, &[count], memarg);
        }
        Operator::MemoryAtomicWait32 { memarg } => t.wait(Builtin::AtomicWait32, memarg),
        Operator::MemoryAtomicWait64 { memarg } => t.wait(Builtin::AtomicWait64, memarg),
        _ => return false,
    }
    true
}

impl Translator<'_> {
    /// The address of an atomic access, with nothing left to add, after a check that it is aligned.
    fn atomic_address(&mut self, index: Value, memarg: &MemArg, ty: Type) -> (Value, MemFlagsData) {
        let bytes = u64::from(ty.bytes());
        if bytes > 1 {
            // Of the sum of index and offset, which may wrap, only the lowest bits count.
            let index = self.word(index);
            let sum = self.builder.ins().iadd_imm_s(index, memarg.offset as i64);
            let rest = self.builder.ins().band_imm_u(sum, (bytes - 1) as i64);
            self.builder
                .ins()
                .trapnz(rest, TrapKind::UnalignedAtomic.code());
        }
        let (base, offset, flags) = self.heap_address(index, memarg, bytes);
        let address = match offset {
            0 => base,
            offset => self.builder.ins().iadd_imm_s(base, i64::from(offset)),
        };
        (address, flags)
    }

    /// The low bits of an operand.
    fn narrow(&mut self, value: Value, ty: Type) -> Value {
        match self.type_of(value) == ty {
            true => value,
            false => self.builder.ins().ireduce(ty, value),
        }
    }

    fn push_extended(&mut self, value: Value, result: Type) {
        let value = match self.type_of(value) == result {
            true => value,
            false => self.builder.ins().uextend(result, value),
        };
        self.push(value);
    }

    fn atomic_load(&mut self, ty: Type, result: Type, memarg: &MemArg) {
        let index = self.pop();
        let (address, flags) = self.atomic_address(index, memarg, ty);
        let value = self.builder.ins().atomic_load(ty, flags, address);
        self.push_extended(value, result);
    }

    fn atomic_store(&mut self, ty: Type, memarg: &MemArg) {
        let (index, value) = self.pop2();
        let (address, flags) = self.atomic_address(index, memarg, ty);
        let value = self.narrow(value, ty);
        self.builder.ins().atomic_store(flags, value, address);
    }

    fn atomic_rmw(&mut self, op: AtomicRmwOp, ty: Type, result: Type, memarg: &MemArg) {
        let (index, value) = self.pop2();
        let (address, flags) = self.atomic_address(index, memarg, ty);
        let value = self.narrow(value, ty);
        let old = self.builder.ins().atomic_rmw(ty, flags, op, address, value);
        self.push_extended(old, result);
    }

    fn atomic_cmpxchg(&mut self, ty: Type, result: Type, memarg: &MemArg) {
        let replacement = self.pop();
        let (index, expected) = self.pop2();
        let (address, flags) = self.atomic_address(index, memarg, ty);
        let (expected, replacement) = (self.narrow(expected, ty), self.narrow(replacement, ty));
        let old = self
            .builder
            .ins()
            .atomic_cas(flags, address, expected, replacement);
        self.push_extended(old, result);
    }

    fn wait(&mut self, builtin: Builtin, memarg: &MemArg) {
        let timeout = self.pop();
        let (index, expected) = self.pop2();
        self.wait_or_notify(builtin, index, &[expected, timeout], memarg);
    }

    /// The built-in checks the address itself.
    fn wait_or_notify(
        &mut self,
        builtin: Builtin,
        index: Value,
        operands: &[Value],
        memarg: &MemArg,
    ) {
        let offset = memarg.offset as i64;
        let mut arguments = vec![
            self.number(memarg.memory),
            self.word(index),
            self.builder.ins().iconst(types::I64, offset),
        ];
        for operand in operands {
            arguments.push(self.word(*operand));
        }
        let result = self
            .call_builtin(builtin, &arguments)
            .expect("returns an i32");
        let result = self.builder.ins().ireduce(types::I32, result);
        self.push(result);
    }
}

//! Loads, stores and the memory instructions.
//!
//! Every access computes its address in [`Translator::heap_address`], and nowhere else: an error there is a guest that
//! reads or writes outside its own memory.

use super::{Region, Translator};
use crate::layout::{Builtin, GUARD_BYTES, MEMORY_RESERVED_BYTES};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, TrapCode, Type, Value, types};
use wasmparser::{MemArg, Operator};

/// How a loaded number of fewer bits becomes the result.
#[derive(Clone, Copy)]
enum Extension {
    Sign,
    Zero,
}

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use Extension::{Sign, Zero};
    use types::{F32, F64, I8, I16, I32, I64};
    match operator {
        Operator::I32Load { memarg } => t.load(I32, memarg),
        Operator::I64Load { memarg } => t.load(I64, memarg),
        Operator::F32Load { memarg } => t.load(F32, memarg),
        Operator::F64Load { memarg } => t.load(F64, memarg),
        Operator::I32Load8S { memarg } => t.load_extend(I8, Sign, I32, memarg),
        Operator::I32Load8U { memarg } => t.load_extend(I8, Zero, I32, memarg),
        Operator::I32Load16S { memarg } => t.load_extend(I16, Sign, I32, memarg),
        Operator::I32Load16U { memarg } => t.load_extend(I16, Zero, I32, memarg),
        Operator::I64Load8S { memarg } => t.load_extend(I8, Sign, I64, memarg),
        Operator::I64Load8U { memarg } => t.load_extend(I8, Zero, I64, memarg),
        Operator::I64Load16S { memarg } => t.load_extend(I16, Sign, I64, memarg),
        Operator::I64Load16U { memarg } => t.load_extend(I16, Zero, I64, memarg),
        Operator::I64Load32S { memarg } => t.load_extend(I32, Sign, I64, memarg),
        Operator::I64Load32U { memarg } => t.load_extend(I32, Zero, I64, memarg),
        Operator::I32Store { memarg } | Operator::F32Store { memarg } => t.store(4, memarg),
        Operator::I64Store { memarg } | Operator::F64Store { memarg } => t.store(8, memarg),
        Operator::I32Store8 { memarg } | Operator::I64Store8 { memarg } => t.store(1, memarg),
        Operator::I32Store16 { memarg } | Operator::I64Store16 { memarg } => t.store(2, memarg),
        Operator::I64Store32 { memarg } => t.store(4, memarg),
        Operator::MemorySize { mem } => t.memory_size(*mem),
        Operator::MemoryGrow { mem } => {
            let delta = t.pop();
            let delta = t.word(delta);
            let memory = t.number(*mem);
            let pages = t
                .call_builtin(Builtin::MemoryGrow, &[memory, delta])
                .expect("returns pages");
            t.push_index(pages, t.info.memories[*mem as usize].index64);
        }
        Operator::MemoryCopy { dst_mem, src_mem } => {
            t.bulk(Builtin::MemoryCopy, &[*dst_mem, *src_mem]);
        }
        Operator::MemoryFill { mem } => t.bulk(Builtin::MemoryFill, &[*mem]),
        Operator::MemoryInit { data_index, mem } => {
            t.bulk(Builtin::MemoryInit, &[*mem, *data_index]);
        }
        Operator::DataDrop { data_index } => {
            let flag = t.info.layout.data_flags + *data_index as i32;
            t.set_flag(flag);
        }
        _ => return false,
    }
    true
}

impl Translator<'_> {
    /// The address of an access of `bytes` bytes at `index` in a linear memory: a base, an offset to add, and the flags of
    /// the access.
    ///
    /// For the one memory of a module that relies on its guard, the address is `vmctx + index + offset` with the index zero-extended. Where offset and access fit in the
    /// guard, it cannot leave the slot, and memory beyond the current length is inaccessible: no check is needed.
    /// Otherwise the end of the access is compared with the length, in 64 bits, where it cannot overflow; an access
    /// out of bounds gets the address 0, also under misprediction, and faults there.
    pub(super) fn heap_address(
        &mut self,
        index: Value,
        memarg: &MemArg,
        bytes: u64,
    ) -> (Value, i32, MemFlagsData) {
        let offset = memarg.offset;
        let flags = MemFlagsData::new().with_trap_code(Some(TrapCode::HEAP_OUT_OF_BOUNDS));
        let flags = self.in_region(flags, Region::Memory);
        if !self.info.guards_memory() {
            let address = self.checked_address(index, memarg, bytes);
            return (address, 0, flags);
        }
        debug_assert_eq!(self.info.layout.memories[0].start, 0);
        debug_assert_eq!(self.type_of(index), types::I32);
        debug_assert!(offset <= u64::from(u32::MAX));
        let index = self.word(index);
        if offset + bytes <= GUARD_BYTES {
            let base = self.builder.ins().iadd(self.vmctx, index);
            // The guard is far below 2^31.
            return (base, offset as i32, flags);
        }
        let end = self
            .builder
            .ins()
            .iadd_imm_s(index, (offset + bytes) as i64);
        let length = self.memory_length(0);
        let beyond = self
            .builder
            .ins()
            .icmp(IntCC::UnsignedGreaterThan, end, length);
        let base = self.builder.ins().iadd(self.vmctx, index);
        let address = self.builder.ins().iadd_imm_s(base, offset as i64);
        let null = self.builder.ins().iconst(types::I64, 0);
        let address = self
            .builder
            .ins()
            .select_spectre_guard(beyond, null, address);
        (address, 0, flags)
    }

    /// The address of an access of a memory that is checked against its length; out of bounds it is 0, also under
    /// misprediction, where the access faults.
    ///
    /// Offset, size and length are at most 4 GiB here, while the index may be any 64-bit number.
    fn checked_address(&mut self, index: Value, memarg: &MemArg, bytes: u64) -> Value {
        let memory = memarg.memory;
        let layout = self.info.layout.memories[memory as usize];
        let minimum_bytes = self.info.memories[memory as usize].minimum_bytes();
        let index = self.word(index);
        let null = self.builder.ins().iconst(types::I64, 0);
        let end = memarg.offset.checked_add(bytes);
        let imported = self.imported_memory(memory);
        let reserved_bytes = match imported {
            Some(_) => MEMORY_RESERVED_BYTES,
            None => layout.reserved_bytes,
        };
        let Some(end) = end.filter(|end| *end <= reserved_bytes) else {
            // Beyond all that the memory can grow to, whatever the index.
            return null;
        };
        let end = end as i64;
        let length = self.memory_length(memory);
        let beyond = if end as u64 <= minimum_bytes {
            // The length is never below the minimum: the difference does not wrap.
            let last = self.builder.ins().iadd_imm_s(length, -end);
            self.builder
                .ins()
                .icmp(IntCC::UnsignedGreaterThan, index, last)
        } else {
            // The sum may wrap for an index that is beyond the length by itself, and for no other.
            let sum = self.builder.ins().iadd_imm_s(index, end);
            let ins = self.builder.ins();
            let index_beyond = ins.icmp(IntCC::UnsignedGreaterThan, index, length);
            let ins = self.builder.ins();
            let sum_beyond = ins.icmp(IntCC::UnsignedGreaterThan, sum, length);
            self.builder.ins().bor(index_beyond, sum_beyond)
        };
        let (base, start) = match imported {
            Some(base) => (base, 0),
            None => (self.vmctx, layout.start),
        };
        let base = self.builder.ins().iadd(base, index);
        // The whole address is guarded, with nothing left to add: 0 must stay 0.
        let address = self
            .builder
            .ins()
            .iadd_imm_s(base, (start + memarg.offset) as i64);
        self.builder
            .ins()
            .select_spectre_guard(beyond, null, address)
    }

    pub(super) fn load(&mut self, ty: Type, memarg: &MemArg) {
        let index = self.pop();
        let (base, offset, flags) = self.heap_address(index, memarg, ty.bytes().into());
        let value = self.builder.ins().load(ty, flags, base, offset);
        self.push(value);
    }

    fn load_extend(&mut self, memory: Type, extension: Extension, result: Type, memarg: &MemArg) {
        let index = self.pop();
        let (base, offset, flags) = self.heap_address(index, memarg, memory.bytes().into());
        let ins = self.builder.ins();
        let value = match (memory, extension) {
            (types::I8, Extension::Sign) => ins.sload8(result, flags, base, offset),
            (types::I8, Extension::Zero) => ins.uload8(result, flags, base, offset),
            (types::I16, Extension::Sign) => ins.sload16(result, flags, base, offset),
            (types::I16, Extension::Zero) => ins.uload16(result, flags, base, offset),
            (types::I32, Extension::Sign) => ins.sload32(flags, base, offset),
            (types::I32, Extension::Zero) => ins.uload32(flags, base, offset),
            _ => unreachable!("no such load"),
        };
        self.push(value);
    }

    pub(super) fn store(&mut self, bytes: u64, memarg: &MemArg) {
        let (index, value) = self.pop2();
        let (base, offset, flags) = self.heap_address(index, memarg, bytes);
        let whole = u64::from(self.type_of(value).bytes()) == bytes;
        let ins = self.builder.ins();
        match bytes {
            _ if whole => ins.store(flags, value, base, offset),
            1 => ins.istore8(flags, value, base, offset),
            2 => ins.istore16(flags, value, base, offset),
            4 => ins.istore32(flags, value, base, offset),
            _ => unreachable!("no such store"),
        };
    }

    /// The current length of a linear memory in bytes.
    fn memory_length(&mut self, memory: u32) -> Value {
        if let Some(length) = self.imported_memory_length(memory) {
            return length;
        }
        let offset = self.info.layout.memories[memory as usize].length_offset;
        let flags = self.trusted(Region::State);
        self.builder
            .ins()
            .load(types::I64, flags, self.vmctx, offset)
    }

    fn memory_size(&mut self, memory: u32) {
        let ty = self.info.memories[memory as usize];
        let length = self.memory_length(memory);
        let shift = i64::from(ty.page_bytes_log2);
        let pages = self.builder.ins().ushr_imm_u(length, shift);
        self.push_index(pages, ty.index64);
    }

    /// A built-in that takes three operands, after the numbers of memories and segments.
    fn bulk(&mut self, builtin: Builtin, numbers: &[u32]) {
        let third = self.pop();
        let (first, second) = self.pop2();
        let mut arguments = Vec::with_capacity(5);
        for number in numbers {
            arguments.push(self.number(*number));
        }
        for operand in [first, second, third] {
            arguments.push(self.word(operand));
        }
        self.call_builtin(builtin, &arguments);
    }

    /// Marks a segment as dropped.
    pub(super) fn set_flag(&mut self, offset: i32) {
        let flags = self.trusted(Region::State);
        let one = self.builder.ins().iconst(types::I8, 1);
        self.builder.ins().store(flags, one, self.vmctx, offset);
    }
}

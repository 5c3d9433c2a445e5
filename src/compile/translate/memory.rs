//! Loads, stores and the memory instructions.
//!
//! Every access computes its address in [`Translator::heap_address`], and nowhere else: an error there is a guest that
//! reads or writes outside its own memory.

use super::{Region, Translator};
use crate::layout::{Builtin, GUARD_BYTES, WASM_PAGE_BYTES, header};
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
        Operator::MemorySize { .. } => t.memory_size(),
        Operator::MemoryGrow { .. } => {
            let delta = t.pop();
            let delta = t.word(delta);
            let pages = t
                .call_builtin(Builtin::MemoryGrow, &[delta])
                .expect("returns pages");
            let pages = t.builder.ins().ireduce(I32, pages);
            t.push(pages);
        }
        Operator::MemoryCopy { .. } => t.bulk(Builtin::MemoryCopy, None),
        Operator::MemoryFill { .. } => t.bulk(Builtin::MemoryFill, None),
        Operator::MemoryInit { data_index, .. } => t.bulk(Builtin::MemoryInit, Some(*data_index)),
        Operator::DataDrop { data_index } => {
            let flag = t.info.layout.data_flags + data_index;
            t.set_flag(flag);
        }
        _ => return false,
    }
    true
}

impl Translator<'_> {
    /// The address of an access of `bytes` bytes at `index` in linear memory: a base, an offset to add, and the flags of
    /// the access.
    ///
    /// The address is `vmctx + index + (G + offset)` with the index zero-extended. Where offset and access fit in the
    /// guard, it cannot leave the slot, and memory beyond the current length is inaccessible: no check is needed.
    /// Otherwise the end of the access is compared with the length, in 64 bits, where it cannot overflow; an access
    /// out of bounds gets the address 0, also under misprediction, and faults there.
    pub(super) fn heap_address(
        &mut self,
        index: Value,
        offset: u64,
        bytes: u64,
    ) -> (Value, i32, MemFlagsData) {
        let flags = MemFlagsData::new().with_trap_code(Some(TrapCode::HEAP_OUT_OF_BOUNDS));
        let flags = self.in_region(flags, Region::Memory);
        let start = u64::from(self.info.layout.memory_offset);
        debug_assert_eq!(self.type_of(index), types::I32);
        debug_assert!(offset <= u64::from(u32::MAX));
        let index = self.word(index);
        if offset + bytes <= GUARD_BYTES {
            let base = self.builder.ins().iadd(self.vmctx, index);
            // G and the guard together are far below 2^31.
            return (base, (start + offset) as i32, flags);
        }
        let end = self
            .builder
            .ins()
            .iadd_imm_s(index, (offset + bytes) as i64);
        let length = self.memory_length();
        let beyond = self
            .builder
            .ins()
            .icmp(IntCC::UnsignedGreaterThan, end, length);
        let base = self.builder.ins().iadd(self.vmctx, index);
        let address = self.builder.ins().iadd_imm_s(base, (start + offset) as i64);
        let null = self.builder.ins().iconst(types::I64, 0);
        let address = self
            .builder
            .ins()
            .select_spectre_guard(beyond, null, address);
        (address, 0, flags)
    }

    pub(super) fn load(&mut self, ty: Type, memarg: &MemArg) {
        let index = self.pop();
        let (base, offset, flags) = self.heap_address(index, memarg.offset, ty.bytes().into());
        let value = self.builder.ins().load(ty, flags, base, offset);
        self.push(value);
    }

    fn load_extend(&mut self, memory: Type, extension: Extension, result: Type, memarg: &MemArg) {
        let index = self.pop();
        let (base, offset, flags) = self.heap_address(index, memarg.offset, memory.bytes().into());
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
        let (base, offset, flags) = self.heap_address(index, memarg.offset, bytes);
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

    /// The current length of linear memory in bytes.
    fn memory_length(&mut self) -> Value {
        let flags = self.trusted(Region::State);
        self.builder
            .ins()
            .load(types::I64, flags, self.vmctx, header::MEMORY_LENGTH)
    }

    fn memory_size(&mut self) {
        let length = self.memory_length();
        let shift = i64::from(WASM_PAGE_BYTES.trailing_zeros());
        let pages = self.builder.ins().ushr_imm_u(length, shift);
        let pages = self.builder.ins().ireduce(types::I32, pages);
        self.push(pages);
    }

    /// A built-in that takes three 32-bit operands, after the number of a segment if there is one.
    fn bulk(&mut self, builtin: Builtin, segment: Option<u32>) {
        let third = self.pop();
        let (first, second) = self.pop2();
        let mut arguments = Vec::with_capacity(4);
        if let Some(segment) = segment {
            arguments.push(self.builder.ins().iconst(types::I64, i64::from(segment)));
        }
        for operand in [first, second, third] {
            arguments.push(self.word(operand));
        }
        self.call_builtin(builtin, &arguments);
    }

    /// Marks a segment as dropped.
    pub(super) fn set_flag(&mut self, offset: u32) {
        let flags = self.trusted(Region::State);
        let one = self.builder.ins().iconst(types::I8, 1);
        self.builder
            .ins()
            .store(flags, one, self.vmctx, offset as i32);
    }
}

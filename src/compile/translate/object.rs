//! Objects: structs and arrays, and how both store values.
//!
//! ```text
//!   struct:  | kind, bytes | fields, each at a multiple of its size ...            |
//!   array:   | kind, bytes | length, unused | elements ...                         |
//!            0             8                16
//! ```
//!
//! A reference is the offset of an object from the start of the heap. What compiled code takes for one has been checked by
//! validation, and is taken for an offset of 32 bits all the same, as is that of an element: whatever the words, an
//! access stays in the heap's reservation and the guard behind it. Beyond the heap's length it traps.

use super::{Region, Translator};
use crate::compile::info::{StorageType, ValueType, struct_layout};
use crate::compile::translate::signature::clif_type;
use crate::compile::trap::TrapKind;
use crate::layout::{
    ARRAY_ELEMENTS_OFFSET, ARRAY_LENGTH_OFFSET, Builtin, HEAP_START, object_header,
};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, TrapCode, Value, types};
use wasmparser::Operator;

/// How a packed value becomes an i32.
#[derive(Clone, Copy)]
enum Extension {
    Sign,
    Zero,
}

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    match *operator {
        Operator::StructNew { struct_type_index } => t.struct_new(struct_type_index),
        Operator::StructNewDefault { struct_type_index } => {
            let reference = t.allocate_struct(struct_type_index);
            t.push(reference);
        }
        Operator::StructGet {
            struct_type_index,
            field_index,
        }
        | Operator::StructGetU {
            struct_type_index,
            field_index,
        } => t.struct_get(struct_type_index, field_index, Extension::Zero),
        Operator::StructGetS {
            struct_type_index,
            field_index,
        } => t.struct_get(struct_type_index, field_index, Extension::Sign),
        Operator::StructSet {
            struct_type_index,
            field_index,
        } => t.struct_set(struct_type_index, field_index),
        Operator::ArrayNew { array_type_index } => {
            let (value, count) = t.pop2();
            let reference = t.allocate_array(array_type_index, count);
            let first = t.builder.ins().iconst(types::I32, 0);
            t.fill(array_type_index, reference, first, value, count);
            t.push(reference);
        }
        Operator::ArrayNewDefault { array_type_index } => {
            let count = t.pop();
            let reference = t.allocate_array(array_type_index, count);
            t.push(reference);
        }
        Operator::ArrayNewFixed {
            array_type_index,
            array_size,
        } => t.array_new_fixed(array_type_index, array_size),
        Operator::ArrayNewData {
            array_type_index,
            array_data_index,
        } => {
            let kind = t.array_kind(array_type_index);
            t.array_new_segment(Builtin::ArrayNewData, kind, array_data_index);
        }
        Operator::ArrayNewElem {
            array_type_index,
            array_elem_index,
        } => {
            let kind = t.kind(array_type_index);
            t.array_new_segment(Builtin::ArrayNewElements, kind, array_elem_index);
        }
        Operator::ArrayGet { array_type_index } | Operator::ArrayGetU { array_type_index } => {
            t.array_get(array_type_index, Extension::Zero);
        }
        Operator::ArrayGetS { array_type_index } => {
            t.array_get(array_type_index, Extension::Sign);
        }
        Operator::ArraySet { array_type_index } => {
            let value = t.pop();
            let (reference, index) = t.pop2();
            let address = t.checked_element(array_type_index, reference, index);
            t.store_element(array_type_index, address, value);
        }
        Operator::ArrayLen => {
            let reference = t.pop();
            t.trap_if_null(reference, TrapKind::NullArrayReference);
            let length = t.array_length(reference);
            t.push(length);
        }
        Operator::ArrayFill { array_type_index } => {
            let count = t.pop();
            let (index, value) = t.pop2();
            let reference = t.pop();
            t.array_fill(array_type_index, reference, index, value, count);
        }
        Operator::ArrayCopy {
            array_type_index_dst,
            ..
        } => t.array_copy(array_type_index_dst),
        Operator::ArrayInitData {
            array_type_index,
            array_data_index,
        } => {
            let logarithm = t.logarithm(array_type_index);
            let segment = i64::from(array_data_index) | logarithm << 32;
            t.array_init(Builtin::ArrayInitData, segment);
        }
        Operator::ArrayInitElem {
            array_elem_index, ..
        } => t.array_init(Builtin::ArrayInitElements, array_elem_index.into()),
        _ => return false,
    }
    true
}

impl Translator<'_> {
    /// The address of the object that a reference refers to, which is not null. Whatever the reference, it lies in the heap's
    /// reservation.
    pub(super) fn object(&mut self, reference: Value) -> Value {
        let offset = self.builder.ins().ireduce(types::I32, reference);
        self.heap_address_of(offset)
    }

    /// The address of a 32-bit offset in the heap.
    fn heap_address_of(&mut self, offset: Value) -> Value {
        let offset = self.word(offset);
        if self.info.is_linkable() {
            let heap = self.store_heap();
            return self.builder.ins().iadd(heap, offset);
        }
        let vmctx = self.vmctx();
        let heap = self.builder.ins().iadd_imm_u(vmctx, HEAP_START as i64);
        self.builder.ins().iadd(heap, offset)
    }

    /// What the headers of objects of a type say of their kind, as a word.
    fn kind(&mut self, ty: u32) -> Value {
        match self.info.is_linkable() {
            true => self.linked_kind(ty),
            false => self.number(self.info.signature_ids[ty as usize]),
        }
    }

    /// Flags of accesses of objects. A valid reference does not trap; one that is not stops the guest.
    fn object_flags(&mut self, region: Region) -> MemFlagsData {
        let flags = MemFlagsData::new().with_trap_code(Some(TrapCode::HEAP_OUT_OF_BOUNDS));
        self.in_region(flags, region)
    }

    /// The kind of an object, an i32.
    pub(super) fn object_kind(&mut self, reference: Value) -> Value {
        let address = self.object(reference);
        let flags = self.object_flags(Region::ObjectShape);
        self.builder.ins().load(types::I32, flags, address, 0)
    }

    fn load_stored(
        &mut self,
        storage: StorageType,
        extension: Extension,
        address: Value,
        offset: i32,
    ) -> Value {
        let flags = self.object_flags(Region::Object);
        let ins = self.builder.ins();
        match (storage, extension) {
            (StorageType::I8, Extension::Sign) => ins.sload8(types::I32, flags, address, offset),
            (StorageType::I8, Extension::Zero) => ins.uload8(types::I32, flags, address, offset),
            (StorageType::I16, Extension::Sign) => ins.sload16(types::I32, flags, address, offset),
            (StorageType::I16, Extension::Zero) => ins.uload16(types::I32, flags, address, offset),
            (StorageType::Value(ty), _) => ins.load(clif_type(ty), flags, address, offset),
        }
    }

    fn store_value(&mut self, storage: StorageType, value: Value, address: Value, offset: i32) {
        let value = self.canonical(value);
        let flags = self.object_flags(Region::Object);
        let ins = self.builder.ins();
        match storage {
            StorageType::I8 => ins.istore8(flags, value, address, offset),
            StorageType::I16 => ins.istore16(flags, value, address, offset),
            StorageType::Value(_) => ins.store(flags, value, address, offset),
        };
    }

    /// A struct of zeros, from the heap's current run or, if it has no room, from the built-in.
    ///
    /// The header is stored before the run is shortened: a guest that is stopped in between leaves a heap that can be walked. In a
    /// store another call may make objects in between, so there it is always the built-in.
    fn allocate_struct(&mut self, ty: u32) -> Value {
        let (_, bytes) = struct_layout(self.info.struct_fields(ty));
        if self.info.is_linkable() {
            let shape = object_header(0, bytes) as i64;
            let kind = self.linked_kind(ty);
            let header = self.builder.ins().bor_imm_u(kind, shape);
            return self
                .call_builtin(Builtin::ObjectAllocate, &[header])
                .expect("it returns a reference");
        }
        let header = object_header(self.info.signature_ids[ty as usize], bytes);
        let header = self.builder.ins().iconst(types::I64, header as i64);
        let heap = self.info.layout.heap.expect("laid out: there is a struct");
        let [room, full, done] = std::array::from_fn(|_| self.builder.create_block());
        let reference = self.builder.append_block_param(done, types::I64);
        self.builder.set_cold_block(full);

        let next = self.state_word(heap.next_offset);
        let limit = self.state_word(heap.limit_offset);
        let end = self.builder.ins().iadd_imm_u(next, i64::from(bytes));
        let ins = self.builder.ins();
        let beyond = ins.icmp(IntCC::UnsignedGreaterThan, end, limit);
        self.builder.ins().brif(beyond, full, &[], room, &[]);

        self.switch_to_sealed(room);
        let address = self.object(next);
        let flags = self.object_flags(Region::ObjectShape);
        self.builder.ins().store(flags, header, address, 0);
        let flags = self.trusted(Region::State);
        let (vmctx, offset) = (self.vmctx(), heap.next_offset);
        self.builder.ins().store(flags, end, vmctx, offset);
        self.builder.ins().jump(done, &[BlockArg::Value(next)]);

        self.switch_to_sealed(full);
        let made = self
            .call_builtin(Builtin::ObjectAllocate, &[header])
            .expect("it returns a reference");
        self.builder.ins().jump(done, &[BlockArg::Value(made)]);
        self.switch_to_sealed(done);
        reference
    }

    fn state_word(&mut self, offset: i32) -> Value {
        let (flags, vmctx) = (self.trusted(Region::State), self.vmctx());
        let ins = self.builder.ins();
        ins.load(types::I64, flags, vmctx, offset)
    }

    fn struct_new(&mut self, ty: u32) {
        let reference = self.allocate_struct(ty);
        let address = self.object(reference);
        let info = self.info;
        let fields = info.struct_fields(ty);
        let (offsets, _) = struct_layout(fields);
        for (field, offset) in fields.iter().zip(offsets).rev() {
            let value = self.pop();
            if !self.is_zero(value, field.storage) {
                self.store_value(field.storage, value, address, offset as i32);
            }
        }
        self.push(reference);
    }

    /// Whether a value is a constant zero, which a new object has everywhere.
    fn is_zero(&self, value: Value, storage: StorageType) -> bool {
        let integer = !matches!(
            storage,
            StorageType::Value(ValueType::F32 | ValueType::F64 | ValueType::V128)
        );
        let definition = self.builder.func.dfg.value_def(value);
        integer
            && definition.inst().is_some_and(|inst| {
                matches!(
                    self.builder.func.dfg.insts[inst],
                    cranelift_codegen::ir::InstructionData::UnaryImm { imm, .. } if imm.bits() == 0
                )
            })
    }

    fn struct_get(&mut self, ty: u32, field: u32, extension: Extension) {
        let reference = self.pop();
        self.trap_if_null(reference, TrapKind::NullStructReference);
        let (storage, offset) = self.struct_field(ty, field);
        let address = self.object(reference);
        let value = self.load_stored(storage, extension, address, offset);
        self.push(value);
    }

    fn struct_set(&mut self, ty: u32, field: u32) {
        let (reference, value) = self.pop2();
        self.trap_if_null(reference, TrapKind::NullStructReference);
        let (storage, offset) = self.struct_field(ty, field);
        let address = self.object(reference);
        self.store_value(storage, value, address, offset);
    }

    fn struct_field(&self, ty: u32, field: u32) -> (StorageType, i32) {
        let fields = self.info.struct_fields(ty);
        let (offsets, _) = struct_layout(&fields[..=field as usize]);
        let field = field as usize;
        (fields[field].storage, offsets[field] as i32)
    }

    /// The binary logarithm of the bytes of an element.
    fn logarithm(&self, ty: u32) -> i64 {
        self.info.array_storage(ty).bytes().trailing_zeros().into()
    }

    /// What built-ins that make arrays are told of their type.
    fn array_kind(&mut self, ty: u32) -> Value {
        let logarithm = self.logarithm(ty) << 32;
        if self.info.is_linkable() {
            let kind = self.linked_kind(ty);
            return self.builder.ins().bor_imm_u(kind, logarithm);
        }
        let kind = i64::from(self.info.signature_ids[ty as usize]);
        self.builder.ins().iconst(types::I64, kind | logarithm)
    }

    /// An array of zeros.
    fn allocate_array(&mut self, ty: u32, count: Value) -> Value {
        let kind = self.array_kind(ty);
        let count = self.word(count);
        self.call_builtin(Builtin::ArrayAllocate, &[kind, count])
            .expect("it returns a reference")
    }

    fn array_new_fixed(&mut self, ty: u32, count: u32) {
        let length = self.number(count);
        let reference = self.allocate_array(ty, length);
        let address = self.object(reference);
        let storage = self.info.array_storage(ty);
        let first = self.stack.len() - count as usize;
        for (index, value) in self.stack.split_off(first).into_iter().enumerate() {
            if !self.is_zero(value, storage) {
                let offset = ARRAY_ELEMENTS_OFFSET as u32 + index as u32 * storage.bytes();
                self.store_value(storage, value, address, offset as i32);
            }
        }
        self.push(reference);
    }

    fn array_new_segment(&mut self, builtin: Builtin, kind: Value, segment: u32) {
        let (source, count) = self.pop2();
        let (source, count) = (self.word(source), self.word(count));
        let segment = self.number(segment);
        let reference = self
            .call_builtin(builtin, &[kind, segment, source, count])
            .expect("it returns a reference");
        self.push(reference);
    }

    fn array_length(&mut self, reference: Value) -> Value {
        let address = self.object(reference);
        let flags = self.object_flags(Region::ObjectShape);
        let offset = ARRAY_LENGTH_OFFSET as i32;
        self.builder.ins().load(types::I32, flags, address, offset)
    }

    /// What an element's address is less [`ARRAY_ELEMENTS_OFFSET`], without a check of its index.
    fn element(&mut self, ty: u32, reference: Value, index: Value) -> Value {
        let logarithm = self.logarithm(ty);
        let offset = self.builder.ins().ireduce(types::I32, reference);
        let index = self.builder.ins().ishl_imm_u(index, logarithm);
        // In 32 bits, so that not even speculation leaves the heap.
        let offset = self.builder.ins().iadd(offset, index);
        self.heap_address_of(offset)
    }

    fn checked_element(&mut self, ty: u32, reference: Value, index: Value) -> Value {
        self.trap_if_null(reference, TrapKind::NullArrayReference);
        let length = self.array_length(reference);
        let beyond = self
            .builder
            .ins()
            .icmp(IntCC::UnsignedGreaterThanOrEqual, index, length);
        self.builder
            .ins()
            .trapnz(beyond, TrapKind::ArrayOutOfBounds.code());
        self.element(ty, reference, index)
    }

    fn store_element(&mut self, ty: u32, address: Value, value: Value) {
        let storage = self.info.array_storage(ty);
        self.store_value(storage, value, address, ARRAY_ELEMENTS_OFFSET as i32);
    }

    fn array_get(&mut self, ty: u32, extension: Extension) {
        let (reference, index) = self.pop2();
        let address = self.checked_element(ty, reference, index);
        let storage = self.info.array_storage(ty);
        let offset = ARRAY_ELEMENTS_OFFSET as i32;
        let value = self.load_stored(storage, extension, address, offset);
        self.push(value);
    }

    fn array_fill(&mut self, ty: u32, reference: Value, index: Value, value: Value, count: Value) {
        self.trap_if_null(reference, TrapKind::NullArrayReference);
        let length = self.array_length(reference);
        let length = self.word(length);
        let (start, many) = (self.word(index), self.word(count));
        let end = self.builder.ins().iadd(start, many);
        let beyond = self
            .builder
            .ins()
            .icmp(IntCC::UnsignedGreaterThan, end, length);
        self.builder
            .ins()
            .trapnz(beyond, TrapKind::ArrayOutOfBounds.code());
        self.fill(ty, reference, index, value, count);
    }

    /// Fills a range of an array, which lies within it: the first element here, the others by copying it.
    fn fill(&mut self, ty: u32, reference: Value, index: Value, value: Value, count: Value) {
        let (some, done) = (self.builder.create_block(), self.builder.create_block());
        self.builder.ins().brif(count, some, &[], done, &[]);
        self.switch_to_sealed(some);
        let address = self.element(ty, reference, index);
        self.store_element(ty, address, value);
        let logarithm = self.logarithm(ty);
        let logarithm = self.builder.ins().iconst(types::I64, logarithm);
        let (index, count) = (self.word(index), self.word(count));
        self.call_builtin(
            Builtin::ArrayReplicate,
            &[reference, index, count, logarithm],
        );
        self.builder.ins().jump(done, &[]);
        self.switch_to_sealed(done);
    }

    fn array_copy(&mut self, ty: u32) {
        let count = self.pop();
        let (source, source_index) = self.pop2();
        let (destination, index) = self.pop2();
        for reference in [destination, source] {
            self.trap_if_null(reference, TrapKind::NullArrayReference);
        }
        let (index, source_index) = (self.word(index), self.word(source_index));
        let count = self.word(count);
        let logarithm = self.logarithm(ty) << 32;
        let logarithm = self.builder.ins().iconst(types::I64, logarithm);
        let count = self.builder.ins().bor(count, logarithm);
        self.call_builtin(
            Builtin::ArrayCopy,
            &[destination, index, source, source_index, count],
        );
    }

    fn array_init(&mut self, builtin: Builtin, segment: i64) {
        let count = self.pop();
        let (index, source) = self.pop2();
        let reference = self.pop();
        self.trap_if_null(reference, TrapKind::NullArrayReference);
        let segment = self.builder.ins().iconst(types::I64, segment);
        let (index, source) = (self.word(index), self.word(source));
        let count = self.word(count);
        self.call_builtin(builtin, &[reference, index, segment, source, count]);
    }
}

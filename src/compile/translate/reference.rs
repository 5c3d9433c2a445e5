//! References: null, functions and calls through them, numbers, and conversions from and to external ones.
//!
//! A reference is one word, 0 for null. What a reference of a function's type refers to is known by validation: a call
//! through it checks nothing but that it is not null, and not even that where its type says so.

use super::Translator;
use super::cast::is_cast;
use super::link::Callee;
use crate::compile::info::{CompositeType, ModuleInfo};
use crate::compile::trap::TrapKind;
use crate::layout::{EXTERNALIZED, I31_BIT, INTERNALIZED, NULL_REFERENCE, function_reference};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, TrapCode, Value, types};
use wasmparser::Operator;

/// Of an operator that asks what the type of a reference says, as whether it may be null: how many operands lie above the
/// reference.
pub(super) fn checked_operand(operator: &Operator<'_>) -> Option<usize> {
    match operator {
        Operator::CallRef { .. }
        | Operator::ReturnCallRef { .. }
        | Operator::RefAsNonNull
        | Operator::ThrowRef
        | Operator::StructGet { .. }
        | Operator::StructGetS { .. }
        | Operator::StructGetU { .. }
        | Operator::ArrayLen
        | Operator::I31GetS
        | Operator::I31GetU => Some(0),
        Operator::StructSet { .. }
        | Operator::ArrayGet { .. }
        | Operator::ArrayGetS { .. }
        | Operator::ArrayGetU { .. } => Some(1),
        Operator::ArraySet { .. } => Some(2),
        Operator::ArrayFill { .. }
        | Operator::ArrayInitData { .. }
        | Operator::ArrayInitElem { .. } => Some(3),
        operator if is_cast(operator) => Some(0),
        _ => None,
    }
}

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    match operator {
        Operator::RefNull { .. } => {
            let null = t.builder.ins().iconst(types::I64, NULL_REFERENCE as i64);
            t.push(null);
        }
        Operator::RefIsNull => {
            let reference = t.pop();
            let null = t.is_null(reference);
            t.push_condition(null);
        }
        Operator::RefFunc { function_index } => t.ref_func(*function_index),
        Operator::RefAsNonNull => {
            let reference = t.pop();
            t.trap_if_null(reference, TrapKind::NullReference);
            t.push(reference);
        }
        Operator::BrOnNull { relative_depth } => {
            let reference = t.pop();
            let null = t.is_null(reference);
            t.branch_if(null, *relative_depth);
            t.push(reference);
        }
        Operator::BrOnNonNull { relative_depth } => {
            let reference = *t.stack.last().expect("validated: a reference");
            // The reference goes to the label, and nowhere else.
            t.branch_if(reference, *relative_depth);
            t.pop();
        }
        Operator::CallRef { type_index } => {
            let callee = t.referred_callee();
            t.call_callee(*type_index, callee);
        }
        Operator::ReturnCallRef { type_index } => {
            let callee = t.referred_callee();
            t.return_call_callee(*type_index, callee);
        }
        Operator::RefEq => {
            let (first, second) = t.pop2();
            let equal = t.builder.ins().icmp(IntCC::Equal, first, second);
            t.push_condition(equal);
        }
        Operator::RefI31 => {
            let number = t.pop();
            let shifted = t.builder.ins().ishl_imm_u(number, 1);
            let reference = t.builder.ins().bor_imm_u(shifted, I31_BIT as i64);
            let reference = t.word(reference);
            t.push(reference);
        }
        Operator::I31GetS => {
            let number = t.i31();
            let value = t.builder.ins().sshr_imm_u(number, 1);
            t.push(value);
        }
        Operator::I31GetU => {
            let number = t.i31();
            let value = t.builder.ins().ushr_imm_u(number, 1);
            t.push(value);
        }
        Operator::ExternConvertAny => t.extern_convert_any(),
        Operator::AnyConvertExtern => t.any_convert_extern(),
        _ => return false,
    }
    true
}

/// Whether the type of this index is a function's.
pub(super) fn is_function(info: &ModuleInfo, index: u32) -> bool {
    matches!(
        info.types[index as usize].composite,
        CompositeType::Function(_)
    )
}

impl Translator<'_> {
    fn is_null(&mut self, reference: Value) -> Value {
        self.builder
            .ins()
            .icmp_imm_u(IntCC::Equal, reference, NULL_REFERENCE as i64)
    }

    /// Traps if the reference that the operator takes is null, unless its type says that it is not.
    pub(super) fn trap_if_null(&mut self, reference: Value, kind: TrapKind) {
        if self.operand_nullable() {
            let code: TrapCode = kind.code();
            self.builder.ins().trapz(reference, code);
        }
    }

    /// Whether the reference that the operator takes may be null, by its type.
    pub(super) fn operand_nullable(&self) -> bool {
        self.operand.is_none_or(|ty| ty.nullable)
    }

    /// The low half of the number on the stack that is a reference by itself.
    fn i31(&mut self) -> Value {
        let reference = self.pop();
        self.trap_if_null(reference, TrapKind::NullI31Reference);
        self.builder.ins().ireduce(types::I32, reference)
    }

    /// Numbers and objects are marked as internal; what was external is what it was. Null stays null.
    fn extern_convert_any(&mut self) {
        let reference = self.pop();
        let tag = self
            .builder
            .ins()
            .band_imm_u(reference, (I31_BIT | INTERNALIZED) as i64);
        let foreign = self
            .builder
            .ins()
            .icmp_imm_u(IntCC::Equal, tag, INTERNALIZED as i64);
        let word = self.builder.ins().ushr_imm_u(reference, 2);
        let mark = self.builder.ins().iconst(types::I64, EXTERNALIZED as i64);
        let marked = self.builder.ins().bor(reference, mark);
        let result = self.builder.ins().select(foreign, word, marked);
        let result = self.builder.ins().select(reference, result, reference);
        self.push(result);
    }

    /// The inverse.
    fn any_convert_extern(&mut self) {
        let word = self.pop();
        let internal = self
            .builder
            .ins()
            .icmp_imm_s(IntCC::SignedLessThan, word, 0);
        let mask = self.builder.ins().iconst(types::I64, !EXTERNALIZED as i64);
        let unmarked = self.builder.ins().band(word, mask);
        let shifted = self.builder.ins().ishl_imm_u(word, 2);
        let foreign = self.builder.ins().bor_imm_u(shifted, INTERNALIZED as i64);
        let result = self.builder.ins().select(internal, unmarked, foreign);
        let result = self.builder.ins().select(word, result, word);
        self.push(result);
    }

    /// The function that the reference on the stack refers to.
    fn referred_callee(&mut self) -> Callee {
        let reference = self.pop();
        self.trap_if_null(reference, TrapKind::NullFunctionReference);
        self.callee_of(reference)
    }

    /// A reference to a function: its offset from the start of the text, which is known when the module is linked, and
    /// its signature.
    fn ref_func(&mut self, index: u32) {
        if self.info.is_linkable() {
            let reference = self.linked_reference(index);
            return self.push(reference);
        }
        let function = self.function(index);
        let address = self.builder.ins().func_addr(types::I64, function);
        let base = self.text_base();
        let offset = self.builder.ins().isub(address, base);
        let type_index = self.info.functions[index as usize].type_index;
        let signature = self.info.signature_ids[type_index as usize];
        let upper = function_reference(0, signature) as i64;
        let upper = self.builder.ins().iconst(types::I64, upper);
        let reference = self.builder.ins().bor(offset, upper);
        self.push(reference);
    }
}

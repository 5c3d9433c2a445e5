//! References: null, functions, and calls through them.
//!
//! A reference is one word, 0 for null. What a reference of a function's type refers to is known by validation: a call
//! through it checks nothing but that it is not null, and not even that where its type says so.

use super::Translator;
use super::link::Callee;
use crate::compile::trap::TrapKind;
use crate::layout::{NULL_REFERENCE, function_reference};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, TrapCode, Value, types};
use wasmparser::Operator;

/// Of an operator that takes a reference and traps when it is null: how many operands lie above the reference.
pub(super) fn checked_operand(operator: &Operator<'_>) -> Option<usize> {
    match operator {
        Operator::CallRef { .. }
        | Operator::ReturnCallRef { .. }
        | Operator::RefAsNonNull
        | Operator::ThrowRef => Some(0),
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
        _ => return false,
    }
    true
}

impl Translator<'_> {
    fn is_null(&mut self, reference: Value) -> Value {
        self.builder
            .ins()
            .icmp_imm_u(IntCC::Equal, reference, NULL_REFERENCE as i64)
    }

    /// Traps if the reference that the operator takes is null, unless its type says that it is not.
    pub(super) fn trap_if_null(&mut self, reference: Value, kind: TrapKind) {
        if self.operand_nullable {
            let code: TrapCode = kind.code();
            self.builder.ins().trapz(reference, code);
        }
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

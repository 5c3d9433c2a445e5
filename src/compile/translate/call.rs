//! Calls, direct and through tables, and tail calls of both kinds.

use super::signature::guest_signature;
use super::{Region, Translator};
use crate::compile::info::HeapType;
use crate::compile::trap::TrapKind;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Inst, InstBuilder, MemFlagsData, SigRef, Value, types};
use wasmparser::Operator;

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    match operator {
        Operator::Call { function_index } => t.call(*function_index),
        Operator::CallIndirect {
            type_index,
            table_index,
        } => {
            t.call_indirect(*type_index, *table_index);
        }
        Operator::ReturnCall { function_index } => t.return_call(*function_index),
        Operator::ReturnCallIndirect {
            type_index,
            table_index,
        } => {
            t.return_call_indirect(*type_index, *table_index);
        }
        _ => return false,
    }
    true
}

impl Translator<'_> {
    fn call(&mut self, index: u32) {
        let parameters = self.info.function_type(index).parameters.len();
        let arguments = self.call_arguments(parameters);
        let function = self.function(index);
        // An imported function is the host's, which throws no exceptions.
        let handler = match index < self.info.imported_functions {
            true => None,
            false => self.handler(),
        };
        match handler {
            None => {
                let call = self.builder.ins().call(function, &arguments);
                self.push_results(call);
            }
            Some(handler) => {
                let signature = self.builder.func.dfg.ext_funcs[function].signature;
                let (exits, next) = self.exits(signature, handler);
                self.builder.ins().try_call(function, &arguments, exits);
                self.go_on_after_call(next);
            }
        }
    }

    fn call_indirect(&mut self, type_index: u32, table: u32) {
        let index = self.pop();
        let code = self.checked_callee(type_index, table, index);
        self.call_code(type_index, code);
    }

    /// Calls the function of this type at an address.
    pub(super) fn call_code(&mut self, type_index: u32, code: Value) {
        let parameters = self.info.signature(type_index).parameters.len();
        let arguments = self.call_arguments(parameters);
        let signature = self.signature(type_index);
        match self.handler() {
            None => {
                let ins = self.builder.ins();
                let call = ins.call_indirect(signature, code, &arguments);
                self.push_results(call);
            }
            Some(handler) => {
                let (exits, next) = self.exits(signature, handler);
                let ins = self.builder.ins();
                ins.try_call_indirect(code, &arguments, exits);
                self.go_on_after_call(next);
            }
        }
    }

    /// Calls a function in place of the current frame: its results are this function's.
    fn return_call(&mut self, index: u32) {
        let parameters = self.info.function_type(index).parameters.len();
        let arguments = self.tail_call_arguments(parameters);
        let function = self.function(index);
        self.builder.ins().return_call(function, &arguments);
        self.reachable = false;
    }

    fn return_call_indirect(&mut self, type_index: u32, table: u32) {
        let index = self.pop();
        let code = self.checked_callee(type_index, table, index);
        self.return_call_code(type_index, code);
    }

    /// Calls the function of this type at an address in place of the current frame.
    pub(super) fn return_call_code(&mut self, type_index: u32, code: Value) {
        let parameters = self.info.signature(type_index).parameters.len();
        let arguments = self.tail_call_arguments(parameters);
        let signature = self.signature(type_index);
        self.builder
            .ins()
            .return_call_indirect(signature, code, &arguments);
        self.reachable = false;
    }

    /// The address of the function in a table's element, after checking that it is one of this type.
    ///
    /// The entry is loaded once: `code offset | signature id << 32`. A null reference has signature id 0, which is no
    /// type's, so one comparison tells both null and other types, also where there are subtypes, whose ids follow their
    /// supertype's; which of the two it was is found out in a cold block. Elements of a table whose type says what they
    /// are can only be null.
    fn checked_callee(&mut self, type_index: u32, table: u32, index: Value) -> Value {
        let address = self.table_entry_address(table, index);
        let flags = MemFlagsData::new()
            .with_aligned()
            .with_trap_code(Some(TrapKind::UndefinedElement.code()));
        let flags = self.in_region(flags, Region::Table);
        let entry = self.builder.ins().load(types::I64, flags, address, 0);
        let element = self.info.tables[table as usize].element;
        if self.is_subtype(element.heap, type_index) {
            if element.nullable {
                self.builder
                    .ins()
                    .trapz(entry, TrapKind::IndirectCallToNull.code());
            }
            return self.code_of(entry);
        }
        let id = self.builder.ins().ushr_imm_u(entry, 32);
        let id = self.builder.ins().ireduce(types::I32, id);
        let mismatch = self.is_no_subtype_id(id, type_index);
        let (wrong, right) = (self.builder.create_block(), self.builder.create_block());
        self.builder.ins().brif(mismatch, wrong, &[], right, &[]);

        self.builder.switch_to_block(wrong);
        self.builder.seal_block(wrong);
        self.builder.set_cold_block(wrong);
        self.builder
            .ins()
            .trapz(entry, TrapKind::IndirectCallToNull.code());
        self.builder.ins().trap(TrapKind::BadSignature.code());

        self.builder.switch_to_block(right);
        self.builder.seal_block(right);
        self.code_of(entry)
    }

    /// Whether what a reference refers to is always of the type of this index.
    fn is_subtype(&self, heap: HeapType, type_index: u32) -> bool {
        match heap {
            HeapType::Concrete(index) => {
                let id = self.info.signature_ids[index as usize];
                self.info.is_subtype_id(id, type_index)
            }
            _ => false,
        }
    }

    /// Whether a signature id, an i32, is that of no subtype of the type of this index.
    pub(super) fn is_no_subtype_id(&mut self, id: Value, type_index: u32) -> Value {
        let first = i64::from(self.info.signature_ids[type_index as usize]);
        let count = i64::from(self.info.subtype_ids[type_index as usize]);
        if count == 1 {
            return self.builder.ins().icmp_imm_u(IntCC::NotEqual, id, first);
        }
        let difference = self.builder.ins().iadd_imm_s(id, -first);
        self.builder
            .ins()
            .icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, difference, count)
    }

    /// The address of the function that a reference, not null, refers to.
    pub(super) fn code_of(&mut self, reference: Value) -> Value {
        let offset = self.builder.ins().ireduce(types::I32, reference);
        let offset = self.word(offset);
        let base = self.text_base();
        self.builder.ins().iadd(base, offset)
    }

    /// Takes a call's arguments from the stack; the vmctx goes first.
    fn call_arguments(&mut self, parameters: usize) -> Vec<Value> {
        let vmctx = self.vmctx_for_call();
        self.arguments_after(vmctx, parameters)
    }

    /// As [`Translator::call_arguments`], for a call after which this body does not go on.
    fn tail_call_arguments(&mut self, parameters: usize) -> Vec<Value> {
        let vmctx = self.vmctx();
        self.arguments_after(vmctx, parameters)
    }

    fn arguments_after(&mut self, vmctx: Value, parameters: usize) -> Vec<Value> {
        let mut arguments = vec![vmctx];
        arguments.extend(self.canonical_top(parameters));
        self.stack.truncate(self.stack.len() - parameters);
        arguments
    }

    fn push_results(&mut self, call: Inst) {
        self.stack
            .extend_from_slice(self.builder.inst_results(call));
    }

    fn signature(&mut self, type_index: u32) -> SigRef {
        // Equal types share one signature, also in the CLIF function.
        let id = self.info.signature_ids[type_index as usize];
        if let Some(signature) = self.signatures.get(&id) {
            return *signature;
        }
        let signature = guest_signature(self.info.signature(type_index));
        let signature = self.builder.import_signature(signature);
        self.signatures.insert(id, signature);
        signature
    }
}

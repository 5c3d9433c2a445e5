//! Locals, globals, constants and the parametric instructions.

use super::Translator;
use super::signature::clif_type;
use crate::compile::info::{ConstantInstruction, ValueType};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use wasmparser::Operator;

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    match operator {
        Operator::LocalGet { local_index } => {
            let value = t.builder.use_var(t.locals[*local_index as usize]);
            t.push(value);
        }
        Operator::LocalSet { local_index } => {
            let value = t.pop();
            t.set_local(*local_index, value);
        }
        Operator::LocalTee { local_index } => {
            let value = t.pop();
            let value = t.set_local(*local_index, value);
            t.push(value);
        }
        Operator::GlobalGet { global_index } => t.global_get(*global_index),
        Operator::GlobalSet { global_index } => t.global_set(*global_index),
        Operator::I32Const { value } => {
            let value = t.builder.ins().iconst(types::I32, i64::from(*value as u32));
            t.push(value);
        }
        Operator::I64Const { value } => {
            let value = t.builder.ins().iconst(types::I64, *value);
            t.push(value);
        }
        Operator::F32Const { value } => {
            let value = t.builder.ins().f32const(Ieee32::with_bits(value.bits()));
            t.push(value);
        }
        Operator::F64Const { value } => {
            let value = t.builder.ins().f64const(Ieee64::with_bits(value.bits()));
            t.push(value);
        }
        Operator::Drop => {
            t.pop();
        }
        Operator::Select | Operator::TypedSelect { .. } => {
            let condition = t.pop();
            let (first, second) = t.pop2();
            let (first, second) = (t.canonical(first), t.canonical(second));
            let value = t.builder.ins().select(condition, first, second);
            t.push(value);
        }
        _ => return false,
    }
    true
}

impl Translator<'_> {
    fn set_local(&mut self, index: u32, value: Value) -> Value {
        let value = self.canonical(value);
        self.builder.def_var(self.locals[index as usize], value);
        value
    }

    /// The one place that knows where a global lies: the base and offset of its bytes, and the flags of accesses.
    fn global_address(&mut self, index: u32) -> (Value, i32, MemFlagsData) {
        let flags = self.trusted(self.global_region(index));
        if let Some(address) = self.imported_global(index) {
            return (address, 0, flags);
        }
        let offset = self.info.layout.globals[index as usize];
        (self.vmctx, offset, flags)
    }

    fn global_get(&mut self, index: u32) {
        let value = match self.constant_global(index) {
            Some(value) => value,
            None => {
                let ty = clif_type(self.info.globals[index as usize].value);
                let (base, offset, flags) = self.global_address(index);
                self.builder.ins().load(ty, flags, base, offset)
            }
        };
        self.push(value);
    }

    fn global_set(&mut self, index: u32) {
        let value = self.pop();
        let value = self.canonical(value);
        let (base, offset, flags) = self.global_address(index);
        self.builder.ins().store(flags, value, base, offset);
    }

    /// The value of an immutable global that is a plain number.
    fn constant_global(&mut self, index: u32) -> Option<Value> {
        let global = self.info.globals[index as usize];
        let defined = index.checked_sub(self.info.imported_globals)?;
        let initializer = &self.info.global_initializers[defined as usize];
        let (false, [ConstantInstruction::Const(bits)]) = (global.mutable, &initializer[..]) else {
            return None;
        };
        Some(match global.value {
            ValueType::F32 => self.builder.ins().f32const(Ieee32::with_bits(*bits as u32)),
            ValueType::F64 => self.builder.ins().f64const(Ieee64::with_bits(*bits)),
            other => self.builder.ins().iconst(clif_type(other), *bits as i64),
        })
    }
}

//! Tests of what a reference refers to: `ref.test`, `ref.cast`, and branches on them.
//!
//! All go through [`Translator::branch_on_type`]. That a type is a subtype of another is a comparison of its id with a range,
//! whatever the depth of the tree they are in.

use super::Translator;
use super::reference::is_function;
use crate::compile::info::{HeapType, ReferenceType};
use crate::compile::trap::TrapKind;
use crate::compile::type_section::{heap_type, reference_type};
use crate::layout::{ARRAY_KIND, I31_BIT, INTERNALIZED};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};
use wasmparser::{AbstractHeapType, Operator};

/// The two low bits of an internal reference: clear for an object.
const TAG_MASK: i64 = (I31_BIT | INTERNALIZED) as i64;

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    if !names_known_type(operator) {
        return false;
    }
    let to = |heap, nullable| ReferenceType {
        nullable,
        heap: heap_type(heap),
    };
    match *operator {
        Operator::RefTestNonNull { hty } => t.ref_test(to(hty, false)),
        Operator::RefTestNullable { hty } => t.ref_test(to(hty, true)),
        Operator::RefCastNonNull { hty } => t.ref_cast(to(hty, false)),
        Operator::RefCastNullable { hty } => t.ref_cast(to(hty, true)),
        Operator::BrOnCast {
            relative_depth,
            to_ref_type,
            ..
        } => t.br_on_cast(reference_type(to_ref_type), relative_depth, true),
        Operator::BrOnCastFail {
            relative_depth,
            to_ref_type,
            ..
        } => t.br_on_cast(reference_type(to_ref_type), relative_depth, false),
        _ => return false,
    }
    true
}

impl Translator<'_> {
    fn ref_test(&mut self, to: ReferenceType) {
        let reference = self.pop();
        let (yes, no) = self.branch_on_type(reference, to);
        let done = self.builder.create_block();
        let result = self.builder.append_block_param(done, types::I32);
        for (block, answer) in [(yes, 1), (no, 0)] {
            self.switch_to_sealed(block);
            let answer = self.builder.ins().iconst(types::I32, answer);
            self.builder.ins().jump(done, &[BlockArg::Value(answer)]);
        }
        self.switch_to_sealed(done);
        self.push(result);
    }

    fn ref_cast(&mut self, to: ReferenceType) {
        let reference = self.pop();
        let (yes, no) = self.branch_on_type(reference, to);
        self.switch_to_sealed(no);
        self.builder.set_cold_block(no);
        self.builder.ins().trap(TrapKind::CastFailure.code());
        self.switch_to_sealed(yes);
        self.push(reference);
    }

    /// Branches with the reference and what is below it, which all stay on the stack.
    fn br_on_cast(&mut self, to: ReferenceType, depth: u32, if_of_type: bool) {
        let reference = *self.stack.last().expect("validated: a reference");
        let (yes, no) = self.branch_on_type(reference, to);
        let (branches, goes_on) = if if_of_type { (yes, no) } else { (no, yes) };
        self.switch_to_sealed(branches);
        let (target, arity) = self.branch_target(depth);
        self.jump(target, arity);
        self.switch_to_sealed(goes_on);
    }

    /// Ends the block with a branch on whether a reference is of a type: where it goes if so, and otherwise.
    fn branch_on_type(&mut self, reference: Value, to: ReferenceType) -> (Block, Block) {
        let (yes, no) = (self.builder.create_block(), self.builder.create_block());
        let null = if to.nullable { yes } else { no };
        if self.operand_nullable() {
            let some = self.builder.create_block();
            self.builder.ins().brif(reference, some, &[], null, &[]);
            self.switch_to_sealed(some);
        }
        match to.heap {
            HeapType::Any | HeapType::Func | HeapType::Extern | HeapType::Exn => {
                self.builder.ins().jump(yes, &[]);
            }
            HeapType::None | HeapType::NoFunc | HeapType::NoExtern | HeapType::NoExn => {
                self.builder.ins().jump(no, &[]);
            }
            HeapType::I31 => {
                let bit = self.builder.ins().band_imm_u(reference, I31_BIT as i64);
                self.builder.ins().brif(bit, yes, &[], no, &[]);
            }
            HeapType::Eq => {
                let tag = self.builder.ins().band_imm_u(reference, TAG_MASK);
                let ins = self.builder.ins();
                let foreign = ins.icmp_imm_u(IntCC::Equal, tag, INTERNALIZED as i64);
                self.builder.ins().brif(foreign, no, &[], yes, &[]);
            }
            HeapType::Concrete(index) if is_function(self.info, index) => {
                let id = self.builder.ins().ushr_imm_u(reference, 32);
                let id = self.builder.ins().ireduce(types::I32, id);
                let other = self.is_other_signature(id, index);
                self.builder.ins().brif(other, no, &[], yes, &[]);
            }
            // Without a heap, there is no object.
            _ if !self.info.has_heap() => {
                self.builder.ins().jump(no, &[]);
            }
            heap => {
                if !self.operand_is_object() {
                    let object = self.builder.create_block();
                    let tag = self.builder.ins().band_imm_u(reference, TAG_MASK);
                    self.builder.ins().brif(tag, no, &[], object, &[]);
                    self.switch_to_sealed(object);
                }
                let kind = self.object_kind(reference);
                let other = match heap {
                    HeapType::Struct => self.is_no_kind(kind, false),
                    HeapType::Array => self.is_no_kind(kind, true),
                    HeapType::Concrete(index) => self.is_other_signature(kind, index),
                    other => unreachable!("no type of objects: {other}"),
                };
                self.builder.ins().brif(other, no, &[], yes, &[]);
            }
        }
        (yes, no)
    }

    /// Whether the kind of an object, an i32, is none of structs; of arrays, if those are asked for.
    fn is_no_kind(&mut self, kind: Value, arrays: bool) -> Value {
        let first_array = match self.info.is_linkable() {
            true => ARRAY_KIND,
            false => self.info.first_array_id,
        };
        let other = match arrays {
            false => IntCC::UnsignedGreaterThanOrEqual,
            true => IntCC::UnsignedLessThan,
        };
        let ins = self.builder.ins();
        ins.icmp_imm_u(other, kind, i64::from(first_array))
    }

    /// Whether the type of the operand says that it is an object or null.
    fn operand_is_object(&self) -> bool {
        self.operand.is_some_and(|ty| {
            matches!(
                ty.heap,
                HeapType::Struct | HeapType::Array | HeapType::Concrete(_)
            )
        })
    }
}

/// Whether the type that an operator names is of a supported proposal, which the validator does not ask of casts.
fn names_known_type(operator: &Operator<'_>) -> bool {
    let heap = match *operator {
        Operator::RefTestNonNull { hty }
        | Operator::RefTestNullable { hty }
        | Operator::RefCastNonNull { hty }
        | Operator::RefCastNullable { hty } => hty,
        Operator::BrOnCast { to_ref_type, .. } | Operator::BrOnCastFail { to_ref_type, .. } => {
            to_ref_type.heap_type()
        }
        _ => return true,
    };
    match heap {
        wasmparser::HeapType::Concrete(_) => true,
        wasmparser::HeapType::Abstract { shared, ty } => {
            let continuation = [AbstractHeapType::Cont, AbstractHeapType::NoCont].contains(&ty);
            !shared && !continuation
        }
        _ => false,
    }
}

/// Whether an operator is of this family, so that the type of its operand matters.
pub(super) fn is_cast(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::RefTestNonNull { .. }
            | Operator::RefTestNullable { .. }
            | Operator::RefCastNonNull { .. }
            | Operator::RefCastNullable { .. }
            | Operator::BrOnCast { .. }
            | Operator::BrOnCastFail { .. }
    )
}

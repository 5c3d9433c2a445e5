//! Wasm types as CLIF types and signatures.

use crate::compile::info::{FunctionType, ValueType};
use cranelift_codegen::ir::{AbiParam, ArgumentPurpose, Signature, Type, types};
use cranelift_codegen::isa::CallConv;

/// The CLIF type of a wasm value outside of expressions: in locals, block parameters and calls.
///
/// A v128 is sixteen bytes there; within expressions it has the lanes of the instruction that made it.
pub(in crate::compile) fn clif_type(ty: ValueType) -> Type {
    match ty {
        ValueType::I32 => types::I32,
        ValueType::I64 | ValueType::Reference(_) => types::I64,
        ValueType::F32 => types::F32,
        ValueType::F64 => types::F64,
        ValueType::V128 => types::I8X16,
    }
}

/// The vmctx parameter that every function of the text takes first.
fn vmctx_parameter() -> AbiParam {
    AbiParam::special(types::I64, ArgumentPurpose::VMContext)
}

/// The signature of a guest function of this type: the vmctx, then the parameters.
pub(in crate::compile) fn guest_signature(ty: &FunctionType) -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.push(vmctx_parameter());
    signature
        .params
        .extend(ty.parameters.iter().map(|ty| AbiParam::new(clif_type(*ty))));
    signature
        .returns
        .extend(ty.results.iter().map(|ty| AbiParam::new(clif_type(*ty))));
    signature
}

/// A signature of the vmctx and 64-bit words.
pub(in crate::compile) fn word_signature(
    convention: CallConv,
    arguments: usize,
    returns: bool,
) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params.push(vmctx_parameter());
    signature
        .params
        .resize(arguments + 1, AbiParam::new(types::I64));
    if returns {
        signature.returns.push(AbiParam::new(types::I64));
    }
    signature
}

/// `extern "C" fn(vmctx, import: u32, values: *mut u64)`.
pub(in crate::compile) fn host_call_signature() -> Signature {
    let mut signature = word_signature(CallConv::SystemV, 0, false);
    signature.params.push(AbiParam::new(types::I32));
    signature.params.push(AbiParam::new(types::I64));
    signature
}

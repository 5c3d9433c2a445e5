//! Conversions between scalar types.

use super::Translator;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, types};
use wasmparser::Operator;

/// Replaces the top operand by its conversion to a type.
macro_rules! convert {
    ($t:ident, $instruction:ident $ty:expr) => {{
        let operand = $t.pop();
        let result = $t.builder.ins().$instruction($ty, operand);
        $t.push(result);
    }};
}

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{F32, F64, I8, I16, I32, I64};
    match operator {
        Operator::I32WrapI64 => convert!(t, ireduce I32),
        Operator::I64ExtendI32S => convert!(t, sextend I64),
        Operator::I64ExtendI32U => convert!(t, uextend I64),
        Operator::I32Extend8S => t.sign_extend(I8, I32),
        Operator::I32Extend16S => t.sign_extend(I16, I32),
        Operator::I64Extend8S => t.sign_extend(I8, I64),
        Operator::I64Extend16S => t.sign_extend(I16, I64),
        Operator::I64Extend32S => t.sign_extend(I32, I64),
        // NaN traps as a bad conversion, other values out of range as an overflow, as the specification has it.
        Operator::I32TruncF32S | Operator::I32TruncF64S => convert!(t, fcvt_to_sint I32),
        Operator::I32TruncF32U | Operator::I32TruncF64U => convert!(t, fcvt_to_uint I32),
        Operator::I64TruncF32S | Operator::I64TruncF64S => convert!(t, fcvt_to_sint I64),
        Operator::I64TruncF32U | Operator::I64TruncF64U => convert!(t, fcvt_to_uint I64),
        Operator::I32TruncSatF32S | Operator::I32TruncSatF64S => convert!(t, fcvt_to_sint_sat I32),
        Operator::I32TruncSatF32U | Operator::I32TruncSatF64U => convert!(t, fcvt_to_uint_sat I32),
        Operator::I64TruncSatF32S | Operator::I64TruncSatF64S => convert!(t, fcvt_to_sint_sat I64),
        Operator::I64TruncSatF32U | Operator::I64TruncSatF64U => convert!(t, fcvt_to_uint_sat I64),
        Operator::F32ConvertI32S | Operator::F32ConvertI64S => convert!(t, fcvt_from_sint F32),
        Operator::F32ConvertI32U | Operator::F32ConvertI64U => convert!(t, fcvt_from_uint F32),
        Operator::F64ConvertI32S | Operator::F64ConvertI64S => convert!(t, fcvt_from_sint F64),
        Operator::F64ConvertI32U | Operator::F64ConvertI64U => convert!(t, fcvt_from_uint F64),
        Operator::F32DemoteF64 => convert!(t, fdemote F32),
        Operator::F64PromoteF32 => convert!(t, fpromote F64),
        Operator::I32ReinterpretF32 => t.reinterpret(I32),
        Operator::I64ReinterpretF64 => t.reinterpret(I64),
        Operator::F32ReinterpretI32 => t.reinterpret(F32),
        Operator::F64ReinterpretI64 => t.reinterpret(F64),
        _ => return false,
    }
    true
}

impl Translator<'_> {
    fn sign_extend(&mut self, from: Type, to: Type) {
        let operand = self.pop();
        let low = self.builder.ins().ireduce(from, operand);
        let value = self.builder.ins().sextend(to, low);
        self.push(value);
    }

    fn reinterpret(&mut self, ty: Type) {
        let operand = self.pop();
        let value = self.builder.ins().bitcast(ty, MemFlagsData::new(), operand);
        self.push(value);
    }
}

//! Arithmetic lane by lane.

use super::{Translator, apply};
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Type, types};
use wasmparser::Operator;

/// Shifts all lanes by one i32. Both the specification and CLIF take it modulo the width of a lane.
macro_rules! shift {
    ($t:ident, $lanes:expr, $instruction:ident) => {{
        let amount = $t.pop();
        let vector = $t.pop_lanes($lanes);
        let result = $t.builder.ins().$instruction(vector, amount);
        $t.push(result);
    }};
}

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    integer(t, operator) || float(t, operator)
}

fn integer(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{I8X16, I16X8, I32X4, I64X2};
    match operator {
        Operator::I8x16Abs => apply!(t, I8X16, unary iabs),
        Operator::I8x16Neg => apply!(t, I8X16, unary ineg),
        Operator::I16x8Abs => apply!(t, I16X8, unary iabs),
        Operator::I16x8Neg => apply!(t, I16X8, unary ineg),
        Operator::I32x4Abs => apply!(t, I32X4, unary iabs),
        Operator::I32x4Neg => apply!(t, I32X4, unary ineg),
        Operator::I64x2Abs => apply!(t, I64X2, unary iabs),
        Operator::I64x2Neg => apply!(t, I64X2, unary ineg),
        Operator::I8x16Popcnt => apply!(t, I8X16, unary popcnt),
        Operator::I8x16Add => apply!(t, I8X16, binary iadd),
        Operator::I8x16Sub => apply!(t, I8X16, binary isub),
        Operator::I16x8Add => apply!(t, I16X8, binary iadd),
        Operator::I16x8Sub => apply!(t, I16X8, binary isub),
        Operator::I16x8Mul => apply!(t, I16X8, binary imul),
        Operator::I32x4Add => apply!(t, I32X4, binary iadd),
        Operator::I32x4Sub => apply!(t, I32X4, binary isub),
        Operator::I32x4Mul => apply!(t, I32X4, binary imul),
        Operator::I64x2Add => apply!(t, I64X2, binary iadd),
        Operator::I64x2Sub => apply!(t, I64X2, binary isub),
        Operator::I64x2Mul => apply!(t, I64X2, binary imul),
        Operator::I8x16MinS => apply!(t, I8X16, binary smin),
        Operator::I8x16MinU => apply!(t, I8X16, binary umin),
        Operator::I8x16MaxS => apply!(t, I8X16, binary smax),
        Operator::I8x16MaxU => apply!(t, I8X16, binary umax),
        Operator::I16x8MinS => apply!(t, I16X8, binary smin),
        Operator::I16x8MinU => apply!(t, I16X8, binary umin),
        Operator::I16x8MaxS => apply!(t, I16X8, binary smax),
        Operator::I16x8MaxU => apply!(t, I16X8, binary umax),
        Operator::I32x4MinS => apply!(t, I32X4, binary smin),
        Operator::I32x4MinU => apply!(t, I32X4, binary umin),
        Operator::I32x4MaxS => apply!(t, I32X4, binary smax),
        Operator::I32x4MaxU => apply!(t, I32X4, binary umax),
        Operator::I8x16AddSatS => apply!(t, I8X16, binary sadd_sat),
        Operator::I8x16AddSatU => apply!(t, I8X16, binary uadd_sat),
        Operator::I8x16SubSatS => apply!(t, I8X16, binary ssub_sat),
        Operator::I8x16SubSatU => apply!(t, I8X16, binary usub_sat),
        Operator::I8x16AvgrU => apply!(t, I8X16, binary avg_round),
        Operator::I16x8AddSatS => apply!(t, I16X8, binary sadd_sat),
        Operator::I16x8AddSatU => apply!(t, I16X8, binary uadd_sat),
        Operator::I16x8SubSatS => apply!(t, I16X8, binary ssub_sat),
        Operator::I16x8SubSatU => apply!(t, I16X8, binary usub_sat),
        Operator::I16x8AvgrU => apply!(t, I16X8, binary avg_round),
        Operator::I16x8Q15MulrSatS => apply!(t, I16X8, binary sqmul_round_sat),
        Operator::I8x16Shl => shift!(t, I8X16, ishl),
        Operator::I8x16ShrS => shift!(t, I8X16, sshr),
        Operator::I8x16ShrU => shift!(t, I8X16, ushr),
        Operator::I16x8Shl => shift!(t, I16X8, ishl),
        Operator::I16x8ShrS => shift!(t, I16X8, sshr),
        Operator::I16x8ShrU => shift!(t, I16X8, ushr),
        Operator::I32x4Shl => shift!(t, I32X4, ishl),
        Operator::I32x4ShrS => shift!(t, I32X4, sshr),
        Operator::I32x4ShrU => shift!(t, I32X4, ushr),
        Operator::I64x2Shl => shift!(t, I64X2, ishl),
        Operator::I64x2ShrS => shift!(t, I64X2, sshr),
        Operator::I64x2ShrU => shift!(t, I64X2, ushr),
        _ => return false,
    }
    true
}

fn float(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{F32X4, F64X2};
    match operator {
        Operator::F32x4Ceil => apply!(t, F32X4, unary ceil),
        Operator::F32x4Floor => apply!(t, F32X4, unary floor),
        Operator::F32x4Trunc => apply!(t, F32X4, unary trunc),
        Operator::F32x4Nearest => apply!(t, F32X4, unary nearest),
        Operator::F32x4Abs => apply!(t, F32X4, unary fabs),
        Operator::F32x4Neg => apply!(t, F32X4, unary fneg),
        Operator::F32x4Sqrt => apply!(t, F32X4, unary sqrt),
        Operator::F32x4Add => apply!(t, F32X4, binary fadd),
        Operator::F32x4Sub => apply!(t, F32X4, binary fsub),
        Operator::F32x4Mul => apply!(t, F32X4, binary fmul),
        Operator::F32x4Div => apply!(t, F32X4, binary fdiv),
        Operator::F32x4Min => apply!(t, F32X4, binary fmin),
        Operator::F32x4Max => apply!(t, F32X4, binary fmax),
        Operator::F32x4PMin => t.pseudo_minimum(F32X4),
        Operator::F32x4PMax => t.pseudo_maximum(F32X4),
        Operator::F64x2Ceil => apply!(t, F64X2, unary ceil),
        Operator::F64x2Floor => apply!(t, F64X2, unary floor),
        Operator::F64x2Trunc => apply!(t, F64X2, unary trunc),
        Operator::F64x2Nearest => apply!(t, F64X2, unary nearest),
        Operator::F64x2Abs => apply!(t, F64X2, unary fabs),
        Operator::F64x2Neg => apply!(t, F64X2, unary fneg),
        Operator::F64x2Sqrt => apply!(t, F64X2, unary sqrt),
        Operator::F64x2Add => apply!(t, F64X2, binary fadd),
        Operator::F64x2Sub => apply!(t, F64X2, binary fsub),
        Operator::F64x2Mul => apply!(t, F64X2, binary fmul),
        Operator::F64x2Div => apply!(t, F64X2, binary fdiv),
        Operator::F64x2Min => apply!(t, F64X2, binary fmin),
        Operator::F64x2Max => apply!(t, F64X2, binary fmax),
        Operator::F64x2PMin => t.pseudo_minimum(F64X2),
        Operator::F64x2PMax => t.pseudo_maximum(F64X2),
        _ => return false,
    }
    true
}

impl Translator<'_> {
    /// `second < first ? second : first`: which operand a NaN or a zero of either sign yields is part of it.
    pub(super) fn pseudo_minimum(&mut self, lanes: Type) {
        let (first, second) = self.pop2_lanes(lanes);
        let less = self.builder.ins().fcmp(FloatCC::LessThan, second, first);
        let less = self.as_lanes(less, lanes);
        let result = self.builder.ins().bitselect(less, second, first);
        self.push(result);
    }

    /// `first < second ? second : first`.
    pub(super) fn pseudo_maximum(&mut self, lanes: Type) {
        let (first, second) = self.pop2_lanes(lanes);
        let less = self.builder.ins().fcmp(FloatCC::LessThan, first, second);
        let less = self.as_lanes(less, lanes);
        let result = self.builder.ins().bitselect(less, second, first);
        self.push(result);
    }
}

//! Conversions between lanes of different size or kind.

use super::{Translator, apply};
use cranelift_codegen::ir::{InstBuilder, types};
use wasmparser::Operator;

/// Products of the low or high lanes of two vectors, each extended to twice its size.
macro_rules! extended_multiply {
    ($t:ident, $lanes:expr, $widen:ident) => {{
        let (first, second) = $t.pop2_lanes($lanes);
        let first = $t.builder.ins().$widen(first);
        let second = $t.builder.ins().$widen(second);
        let result = $t.builder.ins().imul(first, second);
        $t.push(result);
    }};
}

/// Sums of neighbouring lanes, each extended to twice its size.
macro_rules! pairwise {
    ($t:ident, $lanes:expr, $low:ident, $high:ident) => {{
        let vector = $t.pop_lanes($lanes);
        let low = $t.builder.ins().$low(vector);
        let high = $t.builder.ins().$high(vector);
        let result = $t.builder.ins().iadd_pairwise(low, high);
        $t.push(result);
    }};
}

/// Converts the lanes of the top vector to those of another type.
macro_rules! convert {
    ($t:ident, $from:expr, $instruction:ident $to:expr) => {{
        let vector = $t.pop_lanes($from);
        let result = $t.builder.ins().$instruction($to, vector);
        $t.push(result);
    }};
}

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    integer(t, operator) || float(t, operator)
}

fn integer(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{I8X16, I16X8, I32X4};
    match operator {
        Operator::I16x8ExtendLowI8x16S => apply!(t, I8X16, unary swiden_low),
        Operator::I16x8ExtendHighI8x16S => apply!(t, I8X16, unary swiden_high),
        Operator::I16x8ExtendLowI8x16U => apply!(t, I8X16, unary uwiden_low),
        Operator::I16x8ExtendHighI8x16U => apply!(t, I8X16, unary uwiden_high),
        Operator::I32x4ExtendLowI16x8S => apply!(t, I16X8, unary swiden_low),
        Operator::I32x4ExtendHighI16x8S => apply!(t, I16X8, unary swiden_high),
        Operator::I32x4ExtendLowI16x8U => apply!(t, I16X8, unary uwiden_low),
        Operator::I32x4ExtendHighI16x8U => apply!(t, I16X8, unary uwiden_high),
        Operator::I64x2ExtendLowI32x4S => apply!(t, I32X4, unary swiden_low),
        Operator::I64x2ExtendHighI32x4S => apply!(t, I32X4, unary swiden_high),
        Operator::I64x2ExtendLowI32x4U => apply!(t, I32X4, unary uwiden_low),
        Operator::I64x2ExtendHighI32x4U => apply!(t, I32X4, unary uwiden_high),
        Operator::I16x8ExtMulLowI8x16S => extended_multiply!(t, I8X16, swiden_low),
        Operator::I16x8ExtMulHighI8x16S => extended_multiply!(t, I8X16, swiden_high),
        Operator::I16x8ExtMulLowI8x16U => extended_multiply!(t, I8X16, uwiden_low),
        Operator::I16x8ExtMulHighI8x16U => extended_multiply!(t, I8X16, uwiden_high),
        Operator::I32x4ExtMulLowI16x8S => extended_multiply!(t, I16X8, swiden_low),
        Operator::I32x4ExtMulHighI16x8S => extended_multiply!(t, I16X8, swiden_high),
        Operator::I32x4ExtMulLowI16x8U => extended_multiply!(t, I16X8, uwiden_low),
        Operator::I32x4ExtMulHighI16x8U => extended_multiply!(t, I16X8, uwiden_high),
        Operator::I64x2ExtMulLowI32x4S => extended_multiply!(t, I32X4, swiden_low),
        Operator::I64x2ExtMulHighI32x4S => extended_multiply!(t, I32X4, swiden_high),
        Operator::I64x2ExtMulLowI32x4U => extended_multiply!(t, I32X4, uwiden_low),
        Operator::I64x2ExtMulHighI32x4U => extended_multiply!(t, I32X4, uwiden_high),
        Operator::I16x8ExtAddPairwiseI8x16S => {
            pairwise!(t, I8X16, swiden_low, swiden_high)
        }
        Operator::I16x8ExtAddPairwiseI8x16U => {
            pairwise!(t, I8X16, uwiden_low, uwiden_high)
        }
        Operator::I32x4ExtAddPairwiseI16x8S => {
            pairwise!(t, I16X8, swiden_low, swiden_high)
        }
        Operator::I32x4ExtAddPairwiseI16x8U => {
            pairwise!(t, I16X8, uwiden_low, uwiden_high)
        }
        Operator::I8x16NarrowI16x8S => apply!(t, I16X8, binary snarrow),
        Operator::I8x16NarrowI16x8U => apply!(t, I16X8, binary unarrow),
        Operator::I16x8NarrowI32x4S => apply!(t, I32X4, binary snarrow),
        Operator::I16x8NarrowI32x4U => apply!(t, I32X4, binary unarrow),
        Operator::I32x4DotI16x8S => t.dot_product(),
        _ => return false,
    }
    true
}

fn float(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{F32X4, F64X2, I32X4, I64X2};
    match operator {
        Operator::I32x4TruncSatF32x4S => convert!(t, F32X4, fcvt_to_sint_sat I32X4),
        Operator::I32x4TruncSatF32x4U => convert!(t, F32X4, fcvt_to_uint_sat I32X4),
        Operator::F32x4ConvertI32x4S => convert!(t, I32X4, fcvt_from_sint F32X4),
        Operator::F32x4ConvertI32x4U => convert!(t, I32X4, fcvt_from_uint F32X4),
        Operator::I32x4TruncSatF64x2SZero => {
            convert!(t, F64X2, fcvt_to_sint_sat I64X2);
            // Lanes of zeros right here, not a bit cast of some: the code generator only knows this pattern.
            let zero = t.vector_constant(I64X2, [0; 16]);
            t.push(zero);
            apply!(t, I64X2, binary snarrow);
        }
        Operator::I32x4TruncSatF64x2UZero => {
            convert!(t, F64X2, fcvt_to_uint_sat I64X2);
            let zero = t.vector_constant(I64X2, [0; 16]);
            t.push(zero);
            apply!(t, I64X2, binary uunarrow);
        }
        Operator::F64x2ConvertLowI32x4S => {
            apply!(t, I32X4, unary swiden_low);
            convert!(t, I64X2, fcvt_from_sint F64X2);
        }
        Operator::F64x2ConvertLowI32x4U => {
            apply!(t, I32X4, unary uwiden_low);
            convert!(t, I64X2, fcvt_from_uint F64X2);
        }
        Operator::F32x4DemoteF64x2Zero => apply!(t, F64X2, unary fvdemote),
        Operator::F64x2PromoteLowF32x4 => apply!(t, F32X4, unary fvpromote_low),
        _ => return false,
    }
    true
}

impl Translator<'_> {
    /// Sums of neighbouring products of signed 16-bit lanes.
    fn dot_product(&mut self) {
        let (first, second) = self.pop2_lanes(types::I16X8);
        let first_low = self.builder.ins().swiden_low(first);
        let second_low = self.builder.ins().swiden_low(second);
        let low = self.builder.ins().imul(first_low, second_low);
        let first_high = self.builder.ins().swiden_high(first);
        let second_high = self.builder.ins().swiden_high(second);
        let high = self.builder.ins().imul(first_high, second_high);
        let result = self.builder.ins().iadd_pairwise(low, high);
        self.push(result);
    }
}

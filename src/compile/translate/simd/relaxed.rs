//! Relaxed SIMD: instructions whose result the specification leaves open where processors differ.
//!
//! Each is the one or two x86-64 instructions that its authors had in mind, so results are those of this CPU: the same in every
//! instance of an artifact, which only runs on CPUs of the features it was compiled for.

use super::{Translator, apply};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use wasmparser::Operator;

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{F32X4, F64X2, I8X16, I16X8, I32X4, I64X2};
    match operator {
        Operator::I8x16RelaxedSwizzle => apply!(t, I8X16, binary x86_pshufb),
        Operator::I32x4RelaxedTruncF32x4S => {
            let vector = t.pop_lanes(F32X4);
            let result = t.builder.ins().x86_cvtt2dq(I32X4, vector);
            t.push(result);
        }
        Operator::I32x4RelaxedTruncF32x4U => {
            let vector = t.pop_lanes(F32X4);
            let result = t.builder.ins().fcvt_to_uint_sat(I32X4, vector);
            t.push(result);
        }
        Operator::I32x4RelaxedTruncF64x2SZero => {
            let vector = t.pop_lanes(F64X2);
            let wide = t.builder.ins().x86_cvtt2dq(I64X2, vector);
            let zero = t.vector_constant(I64X2, [0; 16]);
            let result = t.builder.ins().snarrow(wide, zero);
            t.push(result);
        }
        Operator::I32x4RelaxedTruncF64x2UZero => {
            let vector = t.pop_lanes(F64X2);
            let wide = t.builder.ins().fcvt_to_uint_sat(I64X2, vector);
            let zero = t.vector_constant(I64X2, [0; 16]);
            let result = t.builder.ins().uunarrow(wide, zero);
            t.push(result);
        }
        Operator::F32x4RelaxedMadd => t.multiply_add(F32X4, false),
        Operator::F32x4RelaxedNmadd => t.multiply_add(F32X4, true),
        Operator::F64x2RelaxedMadd => t.multiply_add(F64X2, false),
        Operator::F64x2RelaxedNmadd => t.multiply_add(F64X2, true),
        Operator::I8x16RelaxedLaneselect => t.lane_select(I8X16),
        Operator::I16x8RelaxedLaneselect => t.lane_select(I16X8),
        Operator::I32x4RelaxedLaneselect => t.lane_select(I32X4),
        Operator::I64x2RelaxedLaneselect => t.lane_select(I64X2),
        // Which operand a NaN and zeros of both signs yield is open; these are one instruction.
        Operator::F32x4RelaxedMin => t.pseudo_minimum(F32X4),
        Operator::F32x4RelaxedMax => t.pseudo_maximum(F32X4),
        Operator::F64x2RelaxedMin => t.pseudo_minimum(F64X2),
        Operator::F64x2RelaxedMax => t.pseudo_maximum(F64X2),
        Operator::I16x8RelaxedQ15mulrS => apply!(t, I16X8, binary x86_pmulhrsw),
        Operator::I16x8RelaxedDotI8x16I7x16S => apply!(t, I8X16, binary x86_pmaddubsw),
        Operator::I32x4RelaxedDotI8x16I7x16AddS => {
            let sum = t.pop_lanes(I32X4);
            let (first, second) = t.pop2_lanes(I8X16);
            let products = t.builder.ins().x86_pmaddubsw(first, second);
            let low = t.builder.ins().swiden_low(products);
            let high = t.builder.ins().swiden_high(products);
            let dot = t.builder.ins().iadd_pairwise(low, high);
            let result = t.builder.ins().iadd(dot, sum);
            t.push(result);
        }
        _ => return false,
    }
    true
}

impl Translator<'_> {
    fn pop3_lanes(&mut self, lanes: Type) -> (Value, Value, Value) {
        let third = self.pop_lanes(lanes);
        let (first, second) = self.pop2_lanes(lanes);
        (first, second, third)
    }

    /// `first * second + third`, the product negated or not; rounded once where the CPU can, else twice. To round once
    /// without such an instruction would be a call of a library.
    fn multiply_add(&mut self, lanes: Type, negated: bool) {
        let (first, second, third) = self.pop3_lanes(lanes);
        let first = if negated {
            self.builder.ins().fneg(first)
        } else {
            first
        };
        let result = if self.target.fused_multiply_add {
            self.builder.ins().fma(first, second, third)
        } else {
            let product = self.builder.ins().fmul(first, second);
            self.builder.ins().fadd(product, third)
        };
        self.push(result);
    }

    /// Lanes of the first where the mask is all ones, of the second where it is all zeros; of other masks the topmost bit
    /// of a lane decides, or each bit where the CPU has no such instruction.
    fn lane_select(&mut self, lanes: Type) {
        let (first, second, mask) = self.pop3_lanes(lanes);
        let result = if lanes == types::I16X8 {
            self.builder.ins().bitselect(mask, first, second)
        } else {
            self.builder.ins().blendv(mask, first, second)
        };
        self.push(result);
    }
}

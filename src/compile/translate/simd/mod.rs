//! 128-bit vectors (SIMD128 and relaxed SIMD).
//!
//! A vector on the operand stack has the lanes of the instruction that made it; each instruction asks for the lanes it
//! works on, and a bit cast is put between where they differ. Bit casts cost nothing in machine code.

mod arithmetic;
mod convert;
mod lane;
mod relaxed;

use super::Translator;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use wasmparser::Operator;

/// Replaces the top one or two vectors, taken as the lanes given, by the result of an instruction of the builder.
macro_rules! apply {
    ($t:ident, $lanes:expr, unary $instruction:ident) => {{
        let operand = $t.pop_lanes($lanes);
        let result = $t.builder.ins().$instruction(operand);
        $t.push(result);
    }};
    ($t:ident, $lanes:expr, binary $instruction:ident) => {{
        let (first, second) = $t.pop2_lanes($lanes);
        let result = $t.builder.ins().$instruction(first, second);
        $t.push(result);
    }};
}
use apply;

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    lane::translate(t, operator)
        || bitwise(t, operator)
        || arithmetic::translate(t, operator)
        || integer_comparison(t, operator)
        || float_comparison(t, operator)
        || convert::translate(t, operator)
        || relaxed::translate(t, operator)
}

/// Instructions that do not care about lanes, and those that reduce a vector to a number.
fn bitwise(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{I8X16, I16X8, I32X4, I64X2};
    match operator {
        Operator::V128Not => apply!(t, I8X16, unary bnot),
        Operator::V128And => apply!(t, I8X16, binary band),
        Operator::V128AndNot => apply!(t, I8X16, binary band_not),
        Operator::V128Or => apply!(t, I8X16, binary bor),
        Operator::V128Xor => apply!(t, I8X16, binary bxor),
        Operator::V128Bitselect => {
            let mask = t.pop_lanes(I8X16);
            let (first, second) = t.pop2_lanes(I8X16);
            let result = t.builder.ins().bitselect(mask, first, second);
            t.push(result);
        }
        Operator::V128AnyTrue => {
            let vector = t.pop_lanes(I8X16);
            let result = t.builder.ins().vany_true(vector);
            t.push_condition(result);
        }
        Operator::I8x16AllTrue => t.all_true(I8X16),
        Operator::I16x8AllTrue => t.all_true(I16X8),
        Operator::I32x4AllTrue => t.all_true(I32X4),
        Operator::I64x2AllTrue => t.all_true(I64X2),
        Operator::I8x16Bitmask => t.bitmask(I8X16),
        Operator::I16x8Bitmask => t.bitmask(I16X8),
        Operator::I32x4Bitmask => t.bitmask(I32X4),
        Operator::I64x2Bitmask => t.bitmask(I64X2),
        _ => return false,
    }
    true
}

fn integer_comparison(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{I8X16, I16X8, I32X4, I64X2};
    let (lanes, condition) = match operator {
        Operator::I8x16Eq => (I8X16, IntCC::Equal),
        Operator::I8x16Ne => (I8X16, IntCC::NotEqual),
        Operator::I8x16LtS => (I8X16, IntCC::SignedLessThan),
        Operator::I8x16LtU => (I8X16, IntCC::UnsignedLessThan),
        Operator::I8x16GtS => (I8X16, IntCC::SignedGreaterThan),
        Operator::I8x16GtU => (I8X16, IntCC::UnsignedGreaterThan),
        Operator::I8x16LeS => (I8X16, IntCC::SignedLessThanOrEqual),
        Operator::I8x16LeU => (I8X16, IntCC::UnsignedLessThanOrEqual),
        Operator::I8x16GeS => (I8X16, IntCC::SignedGreaterThanOrEqual),
        Operator::I8x16GeU => (I8X16, IntCC::UnsignedGreaterThanOrEqual),
        Operator::I16x8Eq => (I16X8, IntCC::Equal),
        Operator::I16x8Ne => (I16X8, IntCC::NotEqual),
        Operator::I16x8LtS => (I16X8, IntCC::SignedLessThan),
        Operator::I16x8LtU => (I16X8, IntCC::UnsignedLessThan),
        Operator::I16x8GtS => (I16X8, IntCC::SignedGreaterThan),
        Operator::I16x8GtU => (I16X8, IntCC::UnsignedGreaterThan),
        Operator::I16x8LeS => (I16X8, IntCC::SignedLessThanOrEqual),
        Operator::I16x8LeU => (I16X8, IntCC::UnsignedLessThanOrEqual),
        Operator::I16x8GeS => (I16X8, IntCC::SignedGreaterThanOrEqual),
        Operator::I16x8GeU => (I16X8, IntCC::UnsignedGreaterThanOrEqual),
        Operator::I32x4Eq => (I32X4, IntCC::Equal),
        Operator::I32x4Ne => (I32X4, IntCC::NotEqual),
        Operator::I32x4LtS => (I32X4, IntCC::SignedLessThan),
        Operator::I32x4LtU => (I32X4, IntCC::UnsignedLessThan),
        Operator::I32x4GtS => (I32X4, IntCC::SignedGreaterThan),
        Operator::I32x4GtU => (I32X4, IntCC::UnsignedGreaterThan),
        Operator::I32x4LeS => (I32X4, IntCC::SignedLessThanOrEqual),
        Operator::I32x4LeU => (I32X4, IntCC::UnsignedLessThanOrEqual),
        Operator::I32x4GeS => (I32X4, IntCC::SignedGreaterThanOrEqual),
        Operator::I32x4GeU => (I32X4, IntCC::UnsignedGreaterThanOrEqual),
        Operator::I64x2Eq => (I64X2, IntCC::Equal),
        Operator::I64x2Ne => (I64X2, IntCC::NotEqual),
        Operator::I64x2LtS => (I64X2, IntCC::SignedLessThan),
        Operator::I64x2GtS => (I64X2, IntCC::SignedGreaterThan),
        Operator::I64x2LeS => (I64X2, IntCC::SignedLessThanOrEqual),
        Operator::I64x2GeS => (I64X2, IntCC::SignedGreaterThanOrEqual),
        _ => return false,
    };
    let (first, second) = t.pop2_lanes(lanes);
    let result = t.builder.ins().icmp(condition, first, second);
    t.push(result);
    true
}

fn float_comparison(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{F32X4, F64X2};
    let (lanes, condition) = match operator {
        Operator::F32x4Eq => (F32X4, FloatCC::Equal),
        Operator::F32x4Ne => (F32X4, FloatCC::NotEqual),
        Operator::F32x4Lt => (F32X4, FloatCC::LessThan),
        Operator::F32x4Gt => (F32X4, FloatCC::GreaterThan),
        Operator::F32x4Le => (F32X4, FloatCC::LessThanOrEqual),
        Operator::F32x4Ge => (F32X4, FloatCC::GreaterThanOrEqual),
        Operator::F64x2Eq => (F64X2, FloatCC::Equal),
        Operator::F64x2Ne => (F64X2, FloatCC::NotEqual),
        Operator::F64x2Lt => (F64X2, FloatCC::LessThan),
        Operator::F64x2Gt => (F64X2, FloatCC::GreaterThan),
        Operator::F64x2Le => (F64X2, FloatCC::LessThanOrEqual),
        Operator::F64x2Ge => (F64X2, FloatCC::GreaterThanOrEqual),
        _ => return false,
    };
    let (first, second) = t.pop2_lanes(lanes);
    let result = t.builder.ins().fcmp(condition, first, second);
    t.push(result);
    true
}

impl Translator<'_> {
    fn pop_lanes(&mut self, lanes: Type) -> Value {
        let vector = self.pop();
        self.as_lanes(vector, lanes)
    }

    /// The last two operands as these lanes, in the order they were pushed.
    fn pop2_lanes(&mut self, lanes: Type) -> (Value, Value) {
        let (first, second) = self.pop2();
        (self.as_lanes(first, lanes), self.as_lanes(second, lanes))
    }

    fn all_true(&mut self, lanes: Type) {
        let vector = self.pop_lanes(lanes);
        let result = self.builder.ins().vall_true(vector);
        self.push_condition(result);
    }

    fn bitmask(&mut self, lanes: Type) {
        let vector = self.pop_lanes(lanes);
        let mask = self.builder.ins().vhigh_bits(types::I32, vector);
        self.push(mask);
    }
}

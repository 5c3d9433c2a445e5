//! Arithmetic, comparisons and bit operations on scalars.

use super::Translator;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use wasmparser::Operator;

/// Replaces the top one or two operands by the result of an instruction of the builder.
macro_rules! apply {
    ($t:ident, unary $instruction:ident) => {{
        let operand = $t.pop();
        let result = $t.builder.ins().$instruction(operand);
        $t.push(result);
    }};
    ($t:ident, binary $instruction:ident) => {{
        let (first, second) = $t.pop2();
        let result = $t.builder.ins().$instruction(first, second);
        $t.push(result);
    }};
}

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    integer(t, operator) || integer_comparison(t, operator) || float(t, operator)
}

fn integer(t: &mut Translator, operator: &Operator<'_>) -> bool {
    match operator {
        Operator::I32Add | Operator::I64Add => apply!(t, binary iadd),
        Operator::I32Sub | Operator::I64Sub => apply!(t, binary isub),
        Operator::I32Mul | Operator::I64Mul => apply!(t, binary imul),
        Operator::I32DivS | Operator::I64DivS => apply!(t, binary sdiv),
        Operator::I32DivU | Operator::I64DivU => apply!(t, binary udiv),
        Operator::I32RemS | Operator::I64RemS => apply!(t, binary srem),
        Operator::I32RemU | Operator::I64RemU => apply!(t, binary urem),
        Operator::I32And | Operator::I64And => apply!(t, binary band),
        Operator::I32Or | Operator::I64Or => apply!(t, binary bor),
        Operator::I32Xor | Operator::I64Xor => apply!(t, binary bxor),
        // Both the specification and CLIF take shift amounts modulo the width.
        Operator::I32Shl | Operator::I64Shl => apply!(t, binary ishl),
        Operator::I32ShrS | Operator::I64ShrS => apply!(t, binary sshr),
        Operator::I32ShrU | Operator::I64ShrU => apply!(t, binary ushr),
        Operator::I32Rotl | Operator::I64Rotl => apply!(t, binary rotl),
        Operator::I32Rotr | Operator::I64Rotr => apply!(t, binary rotr),
        Operator::I32Clz | Operator::I64Clz => apply!(t, unary clz),
        Operator::I32Ctz | Operator::I64Ctz => apply!(t, unary ctz),
        Operator::I32Popcnt | Operator::I64Popcnt => apply!(t, unary popcnt),
        _ => return false,
    }
    true
}

fn integer_comparison(t: &mut Translator, operator: &Operator<'_>) -> bool {
    let condition = match operator {
        Operator::I32Eqz | Operator::I64Eqz => {
            let operand = t.pop();
            let result = t.builder.ins().icmp_imm_u(IntCC::Equal, operand, 0);
            t.push_condition(result);
            return true;
        }
        Operator::I32Eq | Operator::I64Eq => IntCC::Equal,
        Operator::I32Ne | Operator::I64Ne => IntCC::NotEqual,
        Operator::I32LtS | Operator::I64LtS => IntCC::SignedLessThan,
        Operator::I32LtU | Operator::I64LtU => IntCC::UnsignedLessThan,
        Operator::I32GtS | Operator::I64GtS => IntCC::SignedGreaterThan,
        Operator::I32GtU | Operator::I64GtU => IntCC::UnsignedGreaterThan,
        Operator::I32LeS | Operator::I64LeS => IntCC::SignedLessThanOrEqual,
        Operator::I32LeU | Operator::I64LeU => IntCC::UnsignedLessThanOrEqual,
        Operator::I32GeS | Operator::I64GeS => IntCC::SignedGreaterThanOrEqual,
        Operator::I32GeU | Operator::I64GeU => IntCC::UnsignedGreaterThanOrEqual,
        _ => return false,
    };
    let (first, second) = t.pop2();
    let result = t.builder.ins().icmp(condition, first, second);
    t.push_condition(result);
    true
}

fn float(t: &mut Translator, operator: &Operator<'_>) -> bool {
    let condition = match operator {
        Operator::F32Eq | Operator::F64Eq => FloatCC::Equal,
        Operator::F32Ne | Operator::F64Ne => FloatCC::NotEqual,
        Operator::F32Lt | Operator::F64Lt => FloatCC::LessThan,
        Operator::F32Gt | Operator::F64Gt => FloatCC::GreaterThan,
        Operator::F32Le | Operator::F64Le => FloatCC::LessThanOrEqual,
        Operator::F32Ge | Operator::F64Ge => FloatCC::GreaterThanOrEqual,
        _ => return float_arithmetic(t, operator),
    };
    let (first, second) = t.pop2();
    let result = t.builder.ins().fcmp(condition, first, second);
    t.push_condition(result);
    true
}

fn float_arithmetic(t: &mut Translator, operator: &Operator<'_>) -> bool {
    match operator {
        Operator::F32Abs | Operator::F64Abs => apply!(t, unary fabs),
        Operator::F32Neg | Operator::F64Neg => apply!(t, unary fneg),
        Operator::F32Ceil | Operator::F64Ceil => apply!(t, unary ceil),
        Operator::F32Floor | Operator::F64Floor => apply!(t, unary floor),
        Operator::F32Trunc | Operator::F64Trunc => apply!(t, unary trunc),
        Operator::F32Nearest | Operator::F64Nearest => apply!(t, unary nearest),
        Operator::F32Sqrt | Operator::F64Sqrt => apply!(t, unary sqrt),
        Operator::F32Add | Operator::F64Add => apply!(t, binary fadd),
        Operator::F32Sub | Operator::F64Sub => apply!(t, binary fsub),
        Operator::F32Mul | Operator::F64Mul => apply!(t, binary fmul),
        Operator::F32Div | Operator::F64Div => apply!(t, binary fdiv),
        Operator::F32Min | Operator::F64Min => apply!(t, binary fmin),
        Operator::F32Max | Operator::F64Max => apply!(t, binary fmax),
        Operator::F32Copysign | Operator::F64Copysign => apply!(t, binary fcopysign),
        _ => return false,
    }
    true
}

impl Translator<'_> {
    /// Pushes the outcome of a comparison as an i32.
    pub(super) fn push_condition(&mut self, condition: Value) {
        let value = self.builder.ins().uextend(types::I32, condition);
        self.push(value);
    }
}

//! Wide arithmetic: sums, differences and products of 128 bits, as pairs of 64-bit halves, the low one first.

use super::Translator;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use wasmparser::Operator;

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    let result = match operator {
        Operator::I64Add128 => {
            let (first, second) = t.pop_wide2();
            t.builder.ins().iadd(first, second)
        }
        Operator::I64Sub128 => {
            let (first, second) = t.pop_wide2();
            t.builder.ins().isub(first, second)
        }
        // The code generator makes one multiplication of extended factors.
        Operator::I64MulWideS => {
            let (first, second) = t.pop2();
            let first = t.builder.ins().sextend(types::I128, first);
            let second = t.builder.ins().sextend(types::I128, second);
            t.builder.ins().imul(first, second)
        }
        Operator::I64MulWideU => {
            let (first, second) = t.pop2();
            let first = t.builder.ins().uextend(types::I128, first);
            let second = t.builder.ins().uextend(types::I128, second);
            t.builder.ins().imul(first, second)
        }
        _ => return false,
    };
    let (low, high) = t.builder.ins().isplit(result);
    t.push(low);
    t.push(high);
    true
}

impl Translator<'_> {
    /// The last two 128-bit operands, in the order they were pushed.
    fn pop_wide2(&mut self) -> (Value, Value) {
        let (low, high) = self.pop2();
        let second = self.builder.ins().iconcat(low, high);
        let (low, high) = self.pop2();
        (self.builder.ins().iconcat(low, high), second)
    }
}

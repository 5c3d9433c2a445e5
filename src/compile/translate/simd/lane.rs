//! Vectors from memory, constants and scalars, and single lanes of them.

use super::{Translator, apply};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use wasmparser::{MemArg, Operator};

/// A load of eight bytes whose lanes are extended to twice their size.
macro_rules! load_extend {
    ($t:ident, $memarg:ident, $instruction:ident) => {{
        let index = $t.pop();
        let (base, offset, flags) = $t.heap_address(index, $memarg, 8);
        let vector = $t.builder.ins().$instruction(flags, base, offset);
        $t.push(vector);
    }};
}

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    memory(t, operator) || register(t, operator)
}

fn memory(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{I8, I8X16, I16, I16X8, I32, I32X4, I64, I64X2};
    match operator {
        Operator::V128Load { memarg } => t.load(I8X16, memarg),
        Operator::V128Store { memarg } => t.store(16, memarg),
        Operator::V128Load8x8S { memarg } => load_extend!(t, memarg, sload8x8),
        Operator::V128Load8x8U { memarg } => load_extend!(t, memarg, uload8x8),
        Operator::V128Load16x4S { memarg } => load_extend!(t, memarg, sload16x4),
        Operator::V128Load16x4U { memarg } => load_extend!(t, memarg, uload16x4),
        Operator::V128Load32x2S { memarg } => load_extend!(t, memarg, sload32x2),
        Operator::V128Load32x2U { memarg } => load_extend!(t, memarg, uload32x2),
        Operator::V128Load8Splat { memarg } => t.load_splat(I8X16, memarg),
        Operator::V128Load16Splat { memarg } => t.load_splat(I16X8, memarg),
        Operator::V128Load32Splat { memarg } => t.load_splat(I32X4, memarg),
        Operator::V128Load64Splat { memarg } => t.load_splat(I64X2, memarg),
        Operator::V128Load32Zero { memarg } => t.load_zero(I32, I32X4, memarg),
        Operator::V128Load64Zero { memarg } => t.load_zero(I64, I64X2, memarg),
        Operator::V128Load8Lane { memarg, lane } => t.load_lane(I8, I8X16, memarg, *lane),
        Operator::V128Load16Lane { memarg, lane } => t.load_lane(I16, I16X8, memarg, *lane),
        Operator::V128Load32Lane { memarg, lane } => t.load_lane(I32, I32X4, memarg, *lane),
        Operator::V128Load64Lane { memarg, lane } => t.load_lane(I64, I64X2, memarg, *lane),
        Operator::V128Store8Lane { memarg, lane } => t.store_lane(I8X16, memarg, *lane),
        Operator::V128Store16Lane { memarg, lane } => t.store_lane(I16X8, memarg, *lane),
        Operator::V128Store32Lane { memarg, lane } => t.store_lane(I32X4, memarg, *lane),
        Operator::V128Store64Lane { memarg, lane } => t.store_lane(I64X2, memarg, *lane),
        _ => return false,
    }
    true
}

fn register(t: &mut Translator, operator: &Operator<'_>) -> bool {
    use types::{F32X4, F64X2, I8X16, I16X8, I32, I32X4, I64X2};
    match operator {
        Operator::V128Const { value } => {
            let vector = t.vector_constant(I8X16, *value.bytes());
            t.push(vector);
        }
        Operator::I8x16Shuffle { lanes } => {
            let (first, second) = t.pop2_lanes(I8X16);
            let mask = t.builder.func.dfg.immediates.push(lanes.to_vec().into());
            let result = t.builder.ins().shuffle(first, second, mask);
            t.push(result);
        }
        Operator::I8x16Swizzle => apply!(t, I8X16, binary swizzle),
        Operator::I8x16Splat => t.splat(I8X16),
        Operator::I16x8Splat => t.splat(I16X8),
        Operator::I32x4Splat => t.splat(I32X4),
        Operator::I64x2Splat => t.splat(I64X2),
        Operator::F32x4Splat => t.splat(F32X4),
        Operator::F64x2Splat => t.splat(F64X2),
        Operator::I8x16ExtractLaneS { lane } => {
            let value = t.extract(I8X16, *lane);
            let value = t.builder.ins().sextend(I32, value);
            t.push(value);
        }
        Operator::I16x8ExtractLaneS { lane } => {
            let value = t.extract(I16X8, *lane);
            let value = t.builder.ins().sextend(I32, value);
            t.push(value);
        }
        Operator::I8x16ExtractLaneU { lane } => {
            let value = t.extract(I8X16, *lane);
            let value = t.builder.ins().uextend(I32, value);
            t.push(value);
        }
        Operator::I16x8ExtractLaneU { lane } => {
            let value = t.extract(I16X8, *lane);
            let value = t.builder.ins().uextend(I32, value);
            t.push(value);
        }
        Operator::I32x4ExtractLane { lane } => t.extract_lane(I32X4, *lane),
        Operator::I64x2ExtractLane { lane } => t.extract_lane(I64X2, *lane),
        Operator::F32x4ExtractLane { lane } => t.extract_lane(F32X4, *lane),
        Operator::F64x2ExtractLane { lane } => t.extract_lane(F64X2, *lane),
        Operator::I8x16ReplaceLane { lane } => t.replace_lane(I8X16, *lane),
        Operator::I16x8ReplaceLane { lane } => t.replace_lane(I16X8, *lane),
        Operator::I32x4ReplaceLane { lane } => t.replace_lane(I32X4, *lane),
        Operator::I64x2ReplaceLane { lane } => t.replace_lane(I64X2, *lane),
        Operator::F32x4ReplaceLane { lane } => t.replace_lane(F32X4, *lane),
        Operator::F64x2ReplaceLane { lane } => t.replace_lane(F64X2, *lane),
        _ => return false,
    }
    true
}

impl Translator<'_> {
    fn load_scalar(&mut self, ty: Type, memarg: &MemArg) -> Value {
        let index = self.pop();
        let (base, offset, flags) = self.heap_address(index, memarg, ty.bytes().into());
        self.builder.ins().load(ty, flags, base, offset)
    }

    fn load_splat(&mut self, lanes: Type, memarg: &MemArg) {
        let scalar = self.load_scalar(lanes.lane_type(), memarg);
        let vector = self.builder.ins().splat(lanes, scalar);
        self.push(vector);
    }

    /// A scalar in the lowest lane, zeros in the others.
    fn load_zero(&mut self, ty: Type, lanes: Type, memarg: &MemArg) {
        let scalar = self.load_scalar(ty, memarg);
        let vector = self.builder.ins().scalar_to_vector(lanes, scalar);
        self.push(vector);
    }

    fn load_lane(&mut self, ty: Type, lanes: Type, memarg: &MemArg, lane: u8) {
        let vector = self.pop_lanes(lanes);
        let scalar = self.load_scalar(ty, memarg);
        let vector = self.builder.ins().insertlane(vector, scalar, lane);
        self.push(vector);
    }

    fn store_lane(&mut self, lanes: Type, memarg: &MemArg, lane: u8) {
        let scalar = self.extract(lanes, lane);
        let index = self.pop();
        let bytes = lanes.lane_type().bytes().into();
        let (base, offset, flags) = self.heap_address(index, memarg, bytes);
        self.builder.ins().store(flags, scalar, base, offset);
    }

    /// A scalar operand in the type of a lane: an i32 stands for the narrower integers.
    fn pop_scalar(&mut self, lanes: Type) -> Value {
        let scalar = self.pop();
        if self.type_of(scalar) == lanes.lane_type() {
            return scalar;
        }
        self.builder.ins().ireduce(lanes.lane_type(), scalar)
    }

    fn splat(&mut self, lanes: Type) {
        let scalar = self.pop_scalar(lanes);
        let vector = self.builder.ins().splat(lanes, scalar);
        self.push(vector);
    }

    fn extract(&mut self, lanes: Type, lane: u8) -> Value {
        let vector = self.pop_lanes(lanes);
        self.builder.ins().extractlane(vector, lane)
    }

    fn extract_lane(&mut self, lanes: Type, lane: u8) {
        let scalar = match (lanes, lane) {
            // As bits of a float: that is how the code generator comes to a plain move, half of what an extraction costs.
            (types::I32X4, 0) => self.extract_bits(types::F32X4, types::I32),
            (types::I64X2, 0) => self.extract_bits(types::F64X2, types::I64),
            _ => self.extract(lanes, lane),
        };
        self.push(scalar);
    }

    /// The first lane, as an integer of its bits.
    fn extract_bits(&mut self, lanes: Type, integer: Type) -> Value {
        let float = self.extract(lanes, 0);
        self.builder
            .ins()
            .bitcast(integer, MemFlagsData::new(), float)
    }

    fn replace_lane(&mut self, lanes: Type, lane: u8) {
        let scalar = self.pop_scalar(lanes);
        let vector = self.pop_lanes(lanes);
        let vector = self.builder.ins().insertlane(vector, scalar, lane);
        self.push(vector);
    }
}

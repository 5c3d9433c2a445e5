//! Why compiled code traps, and how Cranelift's trap codes say it.
//!
//! A trap site of an artifact holds one [`TrapKind`] as a byte. Explicit checks of the translator use Cranelift's user
//! codes, whose numbers are the kinds themselves; checks Cranelift makes by itself have reserved codes, mapped here.

use cranelift_codegen::ir::TrapCode;
use std::fmt;

/// Why an instruction of compiled code traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TrapKind {
    /// The instruction `unreachable` was executed.
    Unreachable = 1,
    /// A load or store beyond the length of a memory.
    MemoryOutOfBounds = 2,
    /// An access beyond the length of a table.
    TableOutOfBounds = 3,
    /// An indirect call of an index beyond the length of the table.
    UndefinedElement = 4,
    /// An indirect call of a null reference.
    IndirectCallToNull = 5,
    /// An indirect call of a function of another type.
    BadSignature = 6,
    /// A quotient or a converted float that the integer type cannot represent.
    IntegerOverflow = 7,
    /// A division or remainder by zero.
    IntegerDivisionByZero = 8,
    /// A conversion of NaN to an integer.
    BadConversionToInteger = 9,
    /// The stack limit was reached.
    StackOverflow = 10,
    /// A null reference where it was asserted not to be.
    NullReference = 11,
    /// A call of a null reference.
    NullFunctionReference = 12,
    /// An access of a field of the null reference.
    NullStructReference = 13,
    /// An access of an element of the null reference.
    NullArrayReference = 14,
    /// The number of the null reference.
    NullI31Reference = 15,
    /// An access beyond the length of an array.
    ArrayOutOfBounds = 16,
    /// A cast of a reference to a type it is not of.
    CastFailure = 17,
    /// An object larger than any heap.
    AllocationTooLarge = 18,
    /// A null reference was thrown.
    NullExceptionReference = 19,
    /// An atomic access of an address that is not a multiple of its size.
    UnalignedAtomic = 20,
    /// A wait at a memory that is not shared.
    ExpectedSharedMemory = 21,
}

impl TrapKind {
    /// Every kind, in the order of their numbers, which begin at 1.
    pub const ALL: [TrapKind; 21] = [
        TrapKind::Unreachable,
        TrapKind::MemoryOutOfBounds,
        TrapKind::TableOutOfBounds,
        TrapKind::UndefinedElement,
        TrapKind::IndirectCallToNull,
        TrapKind::BadSignature,
        TrapKind::IntegerOverflow,
        TrapKind::IntegerDivisionByZero,
        TrapKind::BadConversionToInteger,
        TrapKind::StackOverflow,
        TrapKind::NullReference,
        TrapKind::NullFunctionReference,
        TrapKind::NullStructReference,
        TrapKind::NullArrayReference,
        TrapKind::NullI31Reference,
        TrapKind::ArrayOutOfBounds,
        TrapKind::CastFailure,
        TrapKind::AllocationTooLarge,
        TrapKind::NullExceptionReference,
        TrapKind::UnalignedAtomic,
        TrapKind::ExpectedSharedMemory,
    ];

    /// The kind of this number.
    pub fn from_number(number: u8) -> Option<TrapKind> {
        TrapKind::ALL
            .get(usize::from(number).wrapping_sub(1))
            .copied()
    }

    /// The code an explicit check of the translator carries.
    pub(super) const fn code(self) -> TrapCode {
        TrapCode::unwrap_user(self as u8)
    }

    /// The kind a trap code of compiled code stands for.
    pub(super) fn from_code(code: TrapCode) -> TrapKind {
        match code {
            TrapCode::STACK_OVERFLOW => TrapKind::StackOverflow,
            TrapCode::INTEGER_OVERFLOW => TrapKind::IntegerOverflow,
            TrapCode::HEAP_OUT_OF_BOUNDS => TrapKind::MemoryOutOfBounds,
            TrapCode::INTEGER_DIVISION_BY_ZERO => TrapKind::IntegerDivisionByZero,
            TrapCode::BAD_CONVERSION_TO_INTEGER => TrapKind::BadConversionToInteger,
            user => TrapKind::from_number(user.as_raw().get())
                .unwrap_or_else(|| panic!("the translator emitted the unknown trap code {user}")),
        }
    }
}

impl fmt::Display for TrapKind {
    /// The words of the specification's test suite.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrapKind::Unreachable => "unreachable",
            TrapKind::MemoryOutOfBounds => "out of bounds memory access",
            TrapKind::TableOutOfBounds => "out of bounds table access",
            TrapKind::UndefinedElement => "undefined element",
            TrapKind::IndirectCallToNull => "uninitialized element",
            TrapKind::BadSignature => "indirect call type mismatch",
            TrapKind::IntegerOverflow => "integer overflow",
            TrapKind::IntegerDivisionByZero => "integer divide by zero",
            TrapKind::BadConversionToInteger => "invalid conversion to integer",
            TrapKind::StackOverflow => "call stack exhausted",
            TrapKind::NullReference => "null reference",
            TrapKind::NullFunctionReference => "null function reference",
            TrapKind::NullStructReference => "null structure reference",
            TrapKind::NullArrayReference => "null array reference",
            TrapKind::NullI31Reference => "null i31 reference",
            TrapKind::ArrayOutOfBounds => "out of bounds array access",
            TrapKind::CastFailure => "cast failure",
            TrapKind::AllocationTooLarge => "allocation size too large",
            TrapKind::NullExceptionReference => "null exception reference",
            TrapKind::UnalignedAtomic => "unaligned atomic",
            TrapKind::ExpectedSharedMemory => "expected shared memory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_round_trip() {
        for kind in TrapKind::ALL {
            assert_eq!(TrapKind::from_number(kind as u8), Some(kind));
            assert_eq!(TrapKind::from_code(kind.code()), kind);
        }
        assert_eq!(TrapKind::from_number(0), None);
        assert_eq!(TrapKind::from_number(20), None);
    }

    #[test]
    fn every_code_of_cranelift_has_a_kind() {
        for code in TrapCode::non_user_traps() {
            TrapKind::from_code(*code);
        }
    }
}

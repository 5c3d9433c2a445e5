//! Types of values, functions and objects, in the words of the WebAssembly specification, section "Types".
//!
//! Types that a module defines are known by their index in its type section. Of types that are equal (of recursion groups
//! that are), the index of the first stands for all wherever one type refers to another, so that `==` compares.

use crate::layout::OBJECT_HEADER_BYTES;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueType {
    I32,
    I64,
    F32,
    F64,
    V128,
    Reference(ReferenceType),
}

impl ValueType {
    pub const FUNCREF: ValueType = ValueType::Reference(ReferenceType::FUNCREF);
    pub const EXTERNREF: ValueType = ValueType::Reference(ReferenceType::EXTERNREF);

    /// 64-bit words a value of this type takes in a call from or to the host.
    pub const fn words(self) -> usize {
        match self {
            ValueType::V128 => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::I32 => "i32",
            ValueType::I64 => "i64",
            ValueType::F32 => "f32",
            ValueType::F64 => "f64",
            ValueType::V128 => "v128",
            ValueType::Reference(ty) => return ty.fmt(f),
        })
    }
}

/// The type of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReferenceType {
    pub nullable: bool,
    pub heap: HeapType,
}

impl ReferenceType {
    pub const FUNCREF: ReferenceType = ReferenceType {
        nullable: true,
        heap: HeapType::Func,
    };
    pub const EXTERNREF: ReferenceType = ReferenceType {
        nullable: true,
        heap: HeapType::Extern,
    };
}

impl fmt::Display for ReferenceType {
    /// As in the text format, short where there is a short form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.nullable, self.heap) {
            (true, HeapType::Concrete(index)) => write!(f, "(ref null {index})"),
            (false, heap) => write!(f, "(ref {heap})"),
            (true, HeapType::None) => f.write_str("nullref"),
            (true, HeapType::NoFunc) => f.write_str("nullfuncref"),
            (true, HeapType::NoExtern) => f.write_str("nullexternref"),
            (true, HeapType::NoExn) => f.write_str("nullexnref"),
            (true, heap) => write!(f, "{heap}ref"),
        }
    }
}

/// What a reference refers to. There are four hierarchies: functions, external references, exceptions, and all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeapType {
    Func,
    NoFunc,
    Extern,
    NoExtern,
    Exn,
    NoExn,
    Any,
    Eq,
    I31,
    Struct,
    Array,
    None,
    /// A type that the module defines.
    Concrete(u32),
}

impl fmt::Display for HeapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeapType::Func => "func",
            HeapType::NoFunc => "nofunc",
            HeapType::Extern => "extern",
            HeapType::NoExtern => "noextern",
            HeapType::Exn => "exn",
            HeapType::NoExn => "noexn",
            HeapType::Any => "any",
            HeapType::Eq => "eq",
            HeapType::I31 => "i31",
            HeapType::Struct => "struct",
            HeapType::Array => "array",
            HeapType::None => "none",
            HeapType::Concrete(index) => return write!(f, "{index}"),
        })
    }
}

/// The type of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionType {
    pub parameters: Vec<ValueType>,
    pub results: Vec<ValueType>,
}

impl fmt::Display for FunctionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |types: &[ValueType]| {
            types
                .iter()
                .map(ValueType::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        write!(
            f,
            "({}) -> ({})",
            list(&self.parameters),
            list(&self.results)
        )
    }
}

/// How a field of a struct or an element of an array is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StorageType {
    I8,
    I16,
    Value(ValueType),
}

impl StorageType {
    /// Bytes that it takes in an object.
    pub const fn bytes(self) -> u32 {
        match self {
            StorageType::I8 => 1,
            StorageType::I16 => 2,
            StorageType::Value(ValueType::I32 | ValueType::F32) => 4,
            StorageType::Value(ValueType::V128) => 16,
            StorageType::Value(_) => 8,
        }
    }

    /// The multiple of bytes at which it lies. Objects begin at multiples of 8.
    pub const fn alignment(self) -> u32 {
        match self.bytes() {
            16 => 8,
            bytes => bytes,
        }
    }

    /// Whether it is a reference to something in the object heap, or can be one. An external reference can.
    pub const fn is_object(self) -> bool {
        match self {
            StorageType::Value(ValueType::Reference(ty)) => {
                !matches!(ty.heap, HeapType::Func | HeapType::NoFunc)
            }
            _ => false,
        }
    }
}

/// A field of a struct, or all elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FieldType {
    pub storage: StorageType,
    pub mutable: bool,
}

/// What a type of the type section describes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CompositeType {
    Function(FunctionType),
    Struct(Vec<FieldType>),
    Array(FieldType),
}

/// Where the fields of a struct lie in it, and its length, each in bytes from its header's beginning.
///
/// They are in order, so that a struct begins as one of its supertype does.
pub fn struct_layout(fields: &[FieldType]) -> (Vec<u32>, u32) {
    let mut end = OBJECT_HEADER_BYTES as u32;
    let offsets = fields
        .iter()
        .map(|field| {
            let at = end.next_multiple_of(field.storage.alignment());
            end = at + field.storage.bytes();
            at
        })
        .collect();
    (offsets, end.next_multiple_of(8))
}

/// A type of the type section.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DefinedType {
    pub composite: CompositeType,
    /// Whether no type may name it as its supertype.
    pub is_final: bool,
    pub supertype: Option<u32>,
    /// Index of the first type of its recursion group.
    pub group: u32,
}

//! The type section: which types are equal, and numbers for them that tell subtypes by a comparison.
//!
//! Two types are equal when their recursion groups are, up to what each group calls its own types; the validator finds
//! that out. A type names at most one supertype, so that types form trees. Ids are given in preorder: those of a type's
//! subtypes are a range that begins with its own, whatever the depth.

use super::info::{
    CompositeType, DefinedType, FieldType, FunctionType, HeapType, ReferenceType, StorageType,
    ValueType,
};
use std::collections::HashMap;
use wasmparser::types::TypesRef;
use wasmparser::{
    AbstractHeapType, CompositeInnerType, RefType, TypeSectionReader, UnpackedIndex, ValType,
};

/// The types of a module.
#[derive(Default)]
pub(super) struct Types {
    pub defined: Vec<DefinedType>,
    /// See [`super::info::ModuleInfo::signature_ids`].
    pub signature_ids: Vec<u32>,
    /// See [`super::info::ModuleInfo::subtype_ids`].
    pub subtype_ids: Vec<u32>,
    pub first_struct_id: u32,
    pub first_array_id: u32,
    /// The index of the first type that equals each.
    representatives: Vec<u32>,
}

impl Types {
    /// Reads a section that `validated` has taken in.
    pub fn read(
        section: TypeSectionReader<'_>,
        validated: TypesRef<'_>,
    ) -> wasmparser::Result<Types> {
        let mut first = HashMap::new();
        let representatives = (0..validated.core_type_count_in_module())
            .map(|index| {
                let id = validated.core_type_at_in_module(index);
                *first.entry(id).or_insert(index)
            })
            .collect();
        let mut types = Types {
            representatives,
            ..Types::default()
        };
        for group in section {
            let start = types.defined.len() as u32;
            for ty in group?.into_types() {
                let supertype = ty.supertype_idx.map(|index| types.index(index.unpack()));
                let composite = match &ty.composite_type.inner {
                    CompositeInnerType::Func(ty) => CompositeType::Function(FunctionType {
                        parameters: types.values(ty.params()),
                        results: types.values(ty.results()),
                    }),
                    CompositeInnerType::Struct(ty) => {
                        CompositeType::Struct(ty.fields.iter().map(|ty| types.field(ty)).collect())
                    }
                    CompositeInnerType::Array(ty) => CompositeType::Array(types.field(&ty.0)),
                    CompositeInnerType::Cont(_) => {
                        unreachable!("validated away: a type of continuations")
                    }
                };
                types.defined.push(DefinedType {
                    composite,
                    is_final: ty.is_final,
                    supertype,
                    group: start,
                });
            }
        }
        types.number();
        Ok(types)
    }

    /// Gives out ids.
    fn number(&mut self) {
        let count = self.defined.len();
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); count];
        let mut roots = Vec::new();
        let distinct = (0..count as u32).filter(|ty| self.representatives[*ty as usize] == *ty);
        for ty in distinct {
            match self.defined[ty as usize].supertype {
                Some(supertype) => children[supertype as usize].push(ty),
                None => roots.push(ty),
            }
        }
        self.signature_ids = vec![0; count];
        self.subtype_ids = vec![1; count];
        let mut order = Vec::with_capacity(count);
        (self.first_struct_id, self.first_array_id) = (1, 1);
        // Supertypes are of the same kind, so that all types of a kind are a range too.
        let kind = |ty: &u32| match self.defined[*ty as usize].composite {
            CompositeType::Function(_) => 0,
            CompositeType::Struct(_) => 1,
            CompositeType::Array(_) => 2,
        };
        roots.sort_by_key(kind);
        let mut waiting = roots;
        waiting.reverse();
        while let Some(ty) = waiting.pop() {
            order.push(ty);
            let id = order.len() as u32;
            self.signature_ids[ty as usize] = id;
            self.first_struct_id += u32::from(kind(&ty) == 0);
            self.first_array_id += u32::from(kind(&ty) <= 1);
            waiting.extend(children[ty as usize].iter().rev());
        }
        // Subtypes come after their supertypes in preorder: backwards, each is complete when it is added.
        for ty in order.into_iter().rev() {
            if let Some(supertype) = self.defined[ty as usize].supertype {
                self.subtype_ids[supertype as usize] += self.subtype_ids[ty as usize];
            }
        }
        for ty in 0..count {
            let representative = self.representatives[ty] as usize;
            self.signature_ids[ty] = self.signature_ids[representative];
            self.subtype_ids[ty] = self.subtype_ids[representative];
        }
    }

    fn index(&self, index: UnpackedIndex) -> u32 {
        self.representatives[module_index(index) as usize]
    }

    pub fn value(&self, ty: ValType) -> ValueType {
        match value_type(ty) {
            ValueType::Reference(ty) => ValueType::Reference(self.of_representative(ty)),
            other => other,
        }
    }

    pub fn reference(&self, ty: RefType) -> ReferenceType {
        self.of_representative(reference_type(ty))
    }

    fn of_representative(&self, mut ty: ReferenceType) -> ReferenceType {
        if let HeapType::Concrete(index) = &mut ty.heap {
            *index = self.representatives[*index as usize];
        }
        ty
    }

    fn values(&self, types: &[ValType]) -> Vec<ValueType> {
        types.iter().map(|ty| self.value(*ty)).collect()
    }

    fn field(&self, ty: &wasmparser::FieldType) -> FieldType {
        FieldType {
            storage: match ty.element_type {
                wasmparser::StorageType::I8 => StorageType::I8,
                wasmparser::StorageType::I16 => StorageType::I16,
                wasmparser::StorageType::Val(ty) => StorageType::Value(self.value(ty)),
            },
            mutable: ty.mutable,
        }
    }
}

/// The index of a type as the module's bytes give it.
fn module_index(index: UnpackedIndex) -> u32 {
    match index {
        UnpackedIndex::Module(index) => index,
        other => unreachable!("the index of a type before it is canonical: {other:?}"),
    }
}

/// A type in a function's body, where it is of no account which of equal types it names.
pub(super) fn value_type(ty: ValType) -> ValueType {
    match ty {
        ValType::I32 => ValueType::I32,
        ValType::I64 => ValueType::I64,
        ValType::F32 => ValueType::F32,
        ValType::F64 => ValueType::F64,
        ValType::V128 => ValueType::V128,
        ValType::Ref(ty) => ValueType::Reference(reference_type(ty)),
    }
}

/// As [`value_type`], of a reference.
pub(super) fn reference_type(ty: RefType) -> ReferenceType {
    ReferenceType {
        nullable: ty.is_nullable(),
        heap: heap_type(ty.heap_type()),
    }
}

/// The type of an operand, as the validator knows it: of a type that the module defines, only what it is not of account.
pub(super) fn operand_type(ty: RefType) -> ReferenceType {
    let heap = match ty.heap_type() {
        wasmparser::HeapType::Concrete(_) => None,
        abstract_type => Some(heap_type(abstract_type)),
    };
    ReferenceType {
        nullable: ty.is_nullable(),
        heap: heap.unwrap_or(HeapType::Concrete(u32::MAX)),
    }
}

/// As [`value_type`], of what is referred to.
pub(super) fn heap_type(ty: wasmparser::HeapType) -> HeapType {
    let ty = match ty {
        wasmparser::HeapType::Concrete(index) => return HeapType::Concrete(module_index(index)),
        wasmparser::HeapType::Abstract { ty, .. } => ty,
        other => unreachable!("validated away: heap type {other:?}"),
    };
    match ty {
        AbstractHeapType::Func => HeapType::Func,
        AbstractHeapType::NoFunc => HeapType::NoFunc,
        AbstractHeapType::Extern => HeapType::Extern,
        AbstractHeapType::NoExtern => HeapType::NoExtern,
        AbstractHeapType::Exn => HeapType::Exn,
        AbstractHeapType::NoExn => HeapType::NoExn,
        AbstractHeapType::Any => HeapType::Any,
        AbstractHeapType::Eq => HeapType::Eq,
        AbstractHeapType::I31 => HeapType::I31,
        AbstractHeapType::Struct => HeapType::Struct,
        AbstractHeapType::Array => HeapType::Array,
        AbstractHeapType::None => HeapType::None,
        AbstractHeapType::Cont | AbstractHeapType::NoCont => {
            unreachable!("validated away: references to continuations")
        }
    }
}

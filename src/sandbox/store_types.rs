//! What the instances of a store call types: ids that are equal for equal types, whichever module defines them.
//!
//! Types are equal when their recursion groups are, up to what a group calls its own types. A group is known here by the
//! definitions of its types, in which a type of the same group is named by its position and any other by its id; ids of a group
//! follow each other.

use crate::compile::info::{
    CompositeType, DefinedType, FieldType, FunctionType, HeapType, ModuleInfo, ReferenceType,
    StorageType, ValueType,
};
use crate::layout::ARRAY_KIND;
use std::collections::HashMap;

/// Marks, in the definitions of a group, the position of one of its own types.
const IN_GROUP: u32 = 1 << 31;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Function,
    Struct,
    Array,
}

/// The types known to a store.
#[derive(Default)]
pub struct StoreTypes {
    /// The id of the first type of each group.
    groups: HashMap<Vec<DefinedType>, u32>,
    /// Of each type, by its id less one: what it describes, and its supertype's id.
    known: Vec<(Kind, Option<u32>)>,
}

impl StoreTypes {
    /// The ids of a module's types, by type index; never 0.
    pub fn ids(&mut self, info: &ModuleInfo) -> Vec<u32> {
        let mut of_signature: HashMap<u32, u32> = HashMap::new();
        let mut ids: Vec<u32> = Vec::with_capacity(info.types.len());
        while ids.len() < info.types.len() {
            let start = ids.len();
            let types = info.types[start..].iter();
            let count = types
                .take_while(|ty| ty.group as usize == start)
                .count()
                .max(1);
            let signatures = &info.signature_ids[start..start + count];
            if let Some(known) = of_signature.get(&signatures[0]) {
                // A group that the module has already.
                let first = *known;
                ids.extend((0..count as u32).map(|position| first + position));
                continue;
            }
            let group = start as u32..(start + count) as u32;
            let name = |index: u32| match group.contains(&index) {
                true => IN_GROUP | (index - group.start),
                false => of_signature[&info.signature_ids[index as usize]],
            };
            let definitions: Vec<DefinedType> = info.types[start..start + count]
                .iter()
                .map(|ty| rename(ty, &name))
                .collect();
            let first = self.group(definitions);
            for (position, signature) in signatures.iter().enumerate() {
                of_signature.insert(*signature, first + position as u32);
                ids.push(first + position as u32);
            }
        }
        ids
    }

    /// The id of the first type of a group.
    fn group(&mut self, definitions: Vec<DefinedType>) -> u32 {
        if let Some(first) = self.groups.get(&definitions) {
            return *first;
        }
        let first = self.known.len() as u32 + 1;
        let end = self.known.len() + definitions.len();
        assert!(end < ARRAY_KIND as usize, "memory ends before numbers do");
        for ty in &definitions {
            let kind = match ty.composite {
                CompositeType::Function(_) => Kind::Function,
                CompositeType::Struct(_) => Kind::Struct,
                CompositeType::Array(_) => Kind::Array,
            };
            let supertype = ty.supertype.map(|name| match name & IN_GROUP {
                0 => name,
                _ => first + (name & !IN_GROUP),
            });
            self.known.push((kind, supertype));
        }
        self.groups.insert(definitions, first);
        first
    }

    /// Whether the type of an id is that of another, or a subtype of it.
    pub fn is_subtype(&self, id: u32, of: u32) -> bool {
        let mut next = Some(id);
        while let Some(id) = next {
            if id == of {
                return true;
            }
            next = self
                .known
                .get((id as usize).wrapping_sub(1))
                .and_then(|(_, supertype)| *supertype);
        }
        false
    }

    fn kind(&self, id: u32) -> Kind {
        self.known[id as usize - 1].0
    }

    /// Whether a value of one type is one of another; both name types by their ids.
    pub fn is_value_subtype(&self, ty: ValueType, of: ValueType) -> bool {
        match (ty, of) {
            (ValueType::Reference(ty), ValueType::Reference(of)) => {
                (of.nullable || !ty.nullable) && self.is_heap_subtype(ty.heap, of.heap)
            }
            _ => ty == of,
        }
    }

    fn is_heap_subtype(&self, ty: HeapType, of: HeapType) -> bool {
        use HeapType::*;
        match (ty, of) {
            (Concrete(ty), Concrete(of)) => self.is_subtype(ty, of),
            (Concrete(ty), of) => match self.kind(ty) {
                Kind::Function => of == Func,
                Kind::Struct => matches!(of, Struct | Eq | Any),
                Kind::Array => matches!(of, Array | Eq | Any),
            },
            (NoFunc, Concrete(of)) => self.kind(of) == Kind::Function,
            (None, Concrete(of)) => self.kind(of) != Kind::Function,
            (NoFunc, Func) | (NoExtern, Extern) | (NoExn, Exn) => true,
            (None, I31 | Struct | Array | Eq | Any) => true,
            (I31 | Struct | Array, Eq | Any) | (Eq, Any) => true,
            _ => ty == of,
        }
    }
}

/// A module's type of a value, with ids in the place of type indexes.
pub fn value_in_store(ty: ValueType, ids: &[u32]) -> ValueType {
    rename_value(ty, &|index| ids[index as usize])
}

fn rename(ty: &DefinedType, name: &impl Fn(u32) -> u32) -> DefinedType {
    let values = |types: &[ValueType]| types.iter().map(|ty| rename_value(*ty, name)).collect();
    let field = |ty: &FieldType| FieldType {
        storage: match ty.storage {
            StorageType::Value(ty) => StorageType::Value(rename_value(ty, name)),
            packed => packed,
        },
        mutable: ty.mutable,
    };
    DefinedType {
        composite: match &ty.composite {
            CompositeType::Function(ty) => CompositeType::Function(FunctionType {
                parameters: values(&ty.parameters),
                results: values(&ty.results),
            }),
            CompositeType::Struct(fields) => {
                CompositeType::Struct(fields.iter().map(field).collect())
            }
            CompositeType::Array(element) => CompositeType::Array(field(element)),
        },
        is_final: ty.is_final,
        supertype: ty.supertype.map(name),
        group: 0,
    }
}

fn rename_value(ty: ValueType, name: &impl Fn(u32) -> u32) -> ValueType {
    match ty {
        ValueType::Reference(ReferenceType {
            nullable,
            heap: HeapType::Concrete(index),
        }) => ValueType::Reference(ReferenceType {
            nullable,
            heap: HeapType::Concrete(name(index)),
        }),
        other => other,
    }
}

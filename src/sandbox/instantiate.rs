//! Instantiation from scratch, as the specification describes it, short of running the start function.

use super::instance::{Inner, Instance, Limits};
use super::module::Linked;
use super::os::{self, Access};
use super::slots::SlotError;
use super::trap::{Limit, Reason, TrapKind};
use crate::compile::info::{ConstantInstruction, ModuleInfo, SegmentMode, ValueType};
use crate::layout::{
    I31_BIT, NULL_REFERENCE, PAGE_BYTES, TABLE_ENTRY_BYTES, externalize, internalize,
};
use std::any::Any;
use std::fmt;
use std::io;
use std::ops::Range;

/// Why there is no instance.
#[derive(Debug)]
pub enum InstantiateError {
    /// As many instances exist as the engine may have.
    NoSlot,
    /// The module needs more from the start than it may have.
    Limit(Limit),
    /// An active segment does not fit its memory or table.
    Trap(TrapKind),
    System(io::Error),
}

impl fmt::Display for InstantiateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstantiateError::NoSlot => f.write_str("all instance slots are in use"),
            InstantiateError::Limit(limit) => write!(f, "{limit}"),
            InstantiateError::Trap(kind) => {
                write!(f, "an active segment does not fit at instantiation: {kind}")
            }
            InstantiateError::System(error) => {
                write!(f, "the system has no memory for an instance: {error}")
            }
        }
    }
}

impl std::error::Error for InstantiateError {}

impl From<Reason> for InstantiateError {
    fn from(reason: Reason) -> InstantiateError {
        match reason {
            Reason::Trap(kind) => InstantiateError::Trap(kind),
            Reason::Limit(limit) => InstantiateError::Limit(limit),
            other => InstantiateError::System(io::Error::other(other.to_string())),
        }
    }
}

impl From<SlotError> for InstantiateError {
    fn from(error: SlotError) -> InstantiateError {
        match error {
            SlotError::AllTaken => InstantiateError::NoSlot,
            SlotError::System(error) => InstantiateError::System(error),
        }
    }
}

impl Instance {
    /// Makes an instance in a fresh slot: globals, tables, memory and active segments. The start function, if there
    /// is one, is for the caller to run ([`Module::start_function`](super::Module::start_function)).
    ///
    /// # Panics
    /// When the module is compiled to be linked: see [`Store`](super::Store).
    pub fn new(
        linked: &Linked,
        limits: Limits,
        data: Box<dyn Any>,
    ) -> Result<Instance, InstantiateError> {
        let info = linked.module().info();
        assert!(!info.is_linkable(), "a linkable module needs a store");
        let mut instance = Instance::allocate(linked, limits, data)?;
        instance
            .inner_mut()
            .initialise()
            .map_err(InstantiateError::from)?;
        Ok(instance)
    }

    /// Makes an instance whose state is still zero, and whose memories have their initial length.
    pub(super) fn allocate(
        linked: &Linked,
        limits: Limits,
        data: Box<dyn Any>,
    ) -> Result<Instance, InstantiateError> {
        let module = linked.module();
        let info = module.info();
        // The object heap begins empty; what is imported has its length elsewhere.
        let memories: Vec<u64> = info
            .memories
            .iter()
            .enumerate()
            .map(
                |(index, memory)| match index < info.imported_memories as usize {
                    true => 0,
                    false => memory.minimum_bytes(),
                },
            )
            .chain(info.layout.heap.map(|_| 0))
            .collect();
        // The layout has room for all, which is 4 GiB at most.
        let memory_bytes = memories.iter().sum();
        if memory_bytes > limits.memory_bytes {
            return Err(InstantiateError::Limit(Limit::Memory {
                limit_bytes: limits.memory_bytes,
                wanted_bytes: memory_bytes,
            }));
        }
        if let Some(table) = info
            .tables
            .iter()
            .skip(info.imported_tables as usize)
            .find(|table| table.limits.minimum > limits.table_elements)
        {
            return Err(InstantiateError::Limit(Limit::Table {
                limit_elements: limits.table_elements,
                wanted_elements: table.limits.minimum,
            }));
        }
        let mut slot = module
            .shared
            .engine
            .shared
            .slots
            .take(&info.layout, 0, None)?;
        slot.clear_from(0).map_err(InstantiateError::System)?;
        for part in accessible_parts(info, &memories) {
            slot.extend_to(part.end);
            // SAFETY: a part of a slot that was just taken, inaccessible and unused; the layout, which is checked when the
            // artifact is read, keeps it within the slot.
            unsafe { os::protect(slot.start().add(part.start), part.len(), Access::ReadWrite) }
                .map_err(InstantiateError::System)?;
        }
        let mut instance = Instance::in_slot(slot, linked, limits, data, &memories, None);
        for (memory, bytes) in memories.into_iter().enumerate().skip(1) {
            instance.inner_mut().note_memory_length(memory, bytes);
        }
        Ok(instance)
    }
}

/// What is accessible of an instance with memories, and an object heap, of these lengths, from the slot's start, in
/// whole pages: state and memory 0 first, then every further memory and the heap if it is not empty.
pub(crate) fn accessible_parts<'a>(
    info: &'a ModuleInfo,
    memories: &'a [u64],
) -> impl Iterator<Item = Range<usize>> + 'a {
    let whole = |bytes: u64| (bytes as usize).next_multiple_of(PAGE_BYTES);
    let adjoining = info.adjoining_memories();
    let first: usize = memories[..adjoining]
        .iter()
        .map(|bytes| whole(*bytes))
        .sum();
    let state_bytes = info.layout.state_bytes as usize;
    let first = 0..state_bytes + first;
    let further = memories.iter().zip(info.layout.regions()).skip(adjoining);
    std::iter::once(first).chain(further.filter(|(bytes, _)| **bytes > 0).map(
        move |(bytes, layout)| {
            let start = state_bytes + layout.start as usize;
            start..start + whole(*bytes)
        },
    ))
}

impl Inner {
    /// Gives globals and tables their initial values and applies the active segments.
    pub(super) fn initialise(&mut self) -> Result<(), Reason> {
        let module = self.linked.module().clone();
        let info = module.info();
        for (index, initializer) in info.global_initializers.iter().enumerate() {
            let global = info.imported_globals as usize + index;
            let value = self.evaluate(initializer)?;
            let offset = info.layout.globals[global];
            *self.word(offset) = value[0];
            if info.globals[global].value == ValueType::V128 {
                *self.word(offset + 8) = value[1];
            }
        }
        let imported_tables = info.imported_tables as usize;
        for (index, table) in info.tables.iter().enumerate().skip(imported_tables) {
            *self.word(info.layout.tables[index].length_offset) = table.limits.minimum;
            if let Some(initializer) = &info.table_initializers[index - imported_tables] {
                let entry = self.evaluate(initializer)?[0];
                self.table(index).fill(entry);
            }
        }
        for (place, segment) in info.layout.elements.iter().zip(&info.elements) {
            let mut at = *place;
            for expression in &segment.elements {
                let Some(offset) = &mut at else { break };
                *self.word(*offset) = self.evaluate(expression)?[0];
                *offset += TABLE_ENTRY_BYTES as i32;
            }
        }
        for (index, segment) in info.elements.iter().enumerate() {
            if let SegmentMode::Active { target, offset } = &segment.mode {
                let destination = self.evaluate(offset)?[0];
                let count = segment.elements.len() as u64;
                self.table_init(*target as usize, index, destination, 0, count)?;
                self.drop_segment(info.layout.element_flags + index as i32);
            }
        }
        for (index, segment) in info.data.iter().enumerate() {
            if let SegmentMode::Active { target, offset } = &segment.mode {
                let destination = self.evaluate(offset)?[0] as usize;
                let bytes = module.data_segment(index);
                self.memory_mut(*target as usize)
                    .get_mut(destination..)
                    .and_then(|memory| memory.get_mut(..bytes.len()))
                    .ok_or(Reason::Trap(TrapKind::MemoryOutOfBounds))?
                    .copy_from_slice(bytes);
                self.drop_segment(info.layout.data_flags + index as i32);
            }
        }
        Ok(())
    }

    /// The value of a constant expression: two words, the second for a v128.
    ///
    /// # Errors
    /// When there is no room for the objects that it makes.
    pub(crate) fn evaluate(
        &mut self,
        expression: &[ConstantInstruction],
    ) -> Result<[u64; 2], Reason> {
        let module = self.linked.module().clone();
        let info = module.info();
        let mut stack: Vec<[u64; 2]> = Vec::with_capacity(4);
        for instruction in expression {
            let mut pop = || stack.pop().expect("constant expressions are validated");
            let value = match *instruction {
                ConstantInstruction::Const(word) => [word, 0],
                ConstantInstruction::V128(bytes) => {
                    let value = u128::from_le_bytes(bytes);
                    [value as u64, (value >> 64) as u64]
                }
                ConstantInstruction::RefNull => [NULL_REFERENCE, 0],
                ConstantInstruction::RefFunc(function) => [self.reference(function), 0],
                ConstantInstruction::GlobalGet(global) => {
                    match (
                        info.globals[global as usize].value,
                        self.global_mut(global as usize),
                    ) {
                        (ValueType::V128, [low, high]) => [*low, *high],
                        // Also where it is the offset of a segment, it is an unsigned number.
                        (ValueType::I32, [low, ..]) => [u64::from(*low as u32), 0],
                        (_, [low, ..]) => [*low, 0],
                        (_, []) => unreachable!("a global has a word"),
                    }
                }
                ConstantInstruction::RefI31 => [u64::from((pop()[0] as u32) << 1) | I31_BIT, 0],
                ConstantInstruction::ExternConvertAny => [externalize(pop()[0]), 0],
                ConstantInstruction::AnyConvertExtern => [internalize(pop()[0]), 0],
                ConstantInstruction::StructNew(ty) => {
                    let first = stack.len() - info.struct_fields(ty).len();
                    let fields = stack.split_off(first);
                    [self.new_struct(info, ty, &fields)?, 0]
                }
                ConstantInstruction::StructNewDefault(ty) => [self.new_struct(info, ty, &[])?, 0],
                ConstantInstruction::ArrayNew(ty) => {
                    let count = u64::from(pop()[0] as u32);
                    let element = pop();
                    let elements = std::iter::repeat_n(element, count as usize);
                    [self.new_array(info, ty, count, elements)?, 0]
                }
                ConstantInstruction::ArrayNewDefault(ty) => {
                    let count = u64::from(pop()[0] as u32);
                    [self.new_array(info, ty, count, std::iter::empty())?, 0]
                }
                ConstantInstruction::ArrayNewFixed(ty, count) => {
                    let first = stack.len() - count as usize;
                    let elements = stack.split_off(first);
                    [
                        self.new_array(info, ty, count.into(), elements.into_iter())?,
                        0,
                    ]
                }
                ConstantInstruction::I32Add => binary(&mut stack, |a, b| narrow(a.wrapping_add(b))),
                ConstantInstruction::I32Sub => binary(&mut stack, |a, b| narrow(a.wrapping_sub(b))),
                ConstantInstruction::I32Mul => binary(&mut stack, |a, b| narrow(a.wrapping_mul(b))),
                ConstantInstruction::I64Add => binary(&mut stack, u64::wrapping_add),
                ConstantInstruction::I64Sub => binary(&mut stack, u64::wrapping_sub),
                ConstantInstruction::I64Mul => binary(&mut stack, u64::wrapping_mul),
            };
            stack.push(value);
        }
        Ok(stack.pop().expect("constant expressions are validated"))
    }
}

fn narrow(word: u64) -> u64 {
    u64::from(word as u32)
}

/// The result of an instruction with two operands, which it takes from the stack.
fn binary(stack: &mut Vec<[u64; 2]>, operation: fn(u64, u64) -> u64) -> [u64; 2] {
    let mut pop = || stack.pop().expect("constant expressions are validated")[0];
    let (right, left) = (pop(), pop());
    [operation(left, right), 0]
}

//! Restoring an instance: one mapping of the image file, and the header's words.

use super::image::Image;
use crate::layout::{HEADER_BYTES, PAGE_BYTES};
use crate::sandbox::os::{self, Access};
use crate::sandbox::{Instance, Limit, Limits, SlotError};
use std::any::Any;
use std::fmt;
use std::io;

/// Why there is no instance.
#[derive(Debug)]
pub enum RestoreError {
    /// As many instances exist as the engine may have.
    NoSlot,
    /// The image's memory is larger than the instance may have.
    Limit(Limit),
    System(io::Error),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::NoSlot => f.write_str("all instance slots are in use"),
            RestoreError::Limit(limit) => write!(f, "{limit}"),
            RestoreError::System(error) => write!(f, "the image cannot be mapped: {error}"),
        }
    }
}

impl std::error::Error for RestoreError {}

impl From<SlotError> for RestoreError {
    fn from(error: SlotError) -> RestoreError {
        match error {
            SlotError::AllTaken => RestoreError::NoSlot,
            SlotError::System(error) => RestoreError::System(error),
        }
    }
}

impl Image {
    /// Makes an instance as it was captured, in a free slot.
    ///
    /// Costs one mapping of the file and the pages that calls are known to write, whatever the size of the memory.
    pub fn restore(&self, limits: Limits, data: Box<dyn Any>) -> Result<Instance, RestoreError> {
        let origin = &self.origin;
        if origin.memory_bytes > limits.memory_bytes {
            return Err(RestoreError::Limit(Limit::Memory {
                limit_bytes: limits.memory_bytes,
                wanted_bytes: origin.memory_bytes,
            }));
        }
        let module = self.linked.module();
        let mut slot = module.shared.engine.shared.slots.take()?;
        // What the last instance of the slot mapped goes with the mapping of the file, and here what reaches beyond.
        slot.clear_from(origin.file_bytes)
            .map_err(RestoreError::System)?;
        let state_bytes = module.info().layout.memory_offset as usize;
        let whole_bytes = HEADER_BYTES + state_bytes + origin.memory_bytes as usize;
        slot.extend_to(whole_bytes.next_multiple_of(PAGE_BYTES));
        let start = slot.start();
        // SAFETY: the slot was free, so nothing refers to the range; the file is as long as what is mapped of it
        // (`Image::open`).
        unsafe { os::map_file(start, origin.file_bytes, &origin.file, 0, Access::ReadWrite) }
            .map_err(RestoreError::System)?;
        if whole_bytes > origin.file_bytes {
            // SAFETY: memory beyond the image, inaccessible and unused in a free slot.
            unsafe {
                os::protect(
                    start.add(origin.file_bytes),
                    whole_bytes - origin.file_bytes,
                    Access::ReadWrite,
                )
            }
            .map_err(RestoreError::System)?;
        }
        // Failing to make pages private ahead costs the guest page faults and nothing else.
        os::populate_writable(start, &origin.written.borrow());
        Ok(Instance::in_slot(
            slot,
            &self.linked,
            limits,
            data,
            origin.memory_bytes,
            Some(origin.clone()),
        ))
    }
}

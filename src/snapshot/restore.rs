//! Restoring an instance: one mapping of the image file, and the header's words.

use super::image::Image;
use super::reset::held_bytes;
use crate::sandbox::os::{self, Access};
use crate::sandbox::{Instance, Limit, Limits, Part, SlotError};
use std::any::Any;
use std::fmt;
use std::fs::File;
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
    /// Costs one mapping of the file (one for each memory, if there are several) and the pages that calls are known to write, whatever the size of the memory.
    pub fn restore(&self, limits: Limits, data: Box<dyn Any>) -> Result<Instance, RestoreError> {
        let (ahead, written) = (self.origin.ahead.borrow(), self.origin.written.borrow());
        let ahead = if ahead.is_empty() { &written } else { &ahead };
        self.restore_with(limits, data, ahead)
    }

    /// Makes an instance, with these pages private already.
    pub(super) fn restore_with(
        &self,
        limits: Limits,
        data: Box<dyn Any>,
        ahead: &[(u32, u32)],
    ) -> Result<Instance, RestoreError> {
        let origin = &self.origin;
        let memory_bytes = origin.memory_bytes();
        if memory_bytes > limits.memory_bytes {
            return Err(RestoreError::Limit(Limit::Memory {
                limit_bytes: limits.memory_bytes,
                wanted_bytes: memory_bytes,
            }));
        }
        let module = self.linked.module();
        let wide = module.info().layout.is_wide();
        let mut slot = module.shared.engine.shared.slots.take(wide)?;
        // What the last instance of the slot mapped goes with the mapping of the file, and here what reaches beyond: all that
        // lies between the parts is inaccessible from here on.
        slot.clear_from(origin.parts[0].file_bytes)
            .map_err(RestoreError::System)?;
        slot.extend_to(origin.end());
        let start = slot.start();
        for part in &origin.parts {
            map_part(start.wrapping_add(part.start), part, &origin.file)
                .map_err(RestoreError::System)?;
        }
        // Failing to make pages private ahead costs the guest page faults and nothing else.
        os::populate_writable(start, ahead);
        let mut instance = Instance::in_slot(
            slot,
            &self.linked,
            limits,
            data,
            &origin.memories,
            Some(origin.clone()),
        );
        instance.held_bytes = held_bytes(ahead);
        Ok(instance)
    }
}

/// Maps a part of an instance to its place in a free slot.
fn map_part(at: *mut u8, part: &Part, file: &File) -> io::Result<()> {
    if part.file_bytes > 0 {
        // SAFETY: the slot was free, so nothing refers to the range, and the part lies within the slot; the file is as long as
        // what is mapped of it (`Image::open` checked both).
        unsafe {
            let offset = part.file_start as u64;
            os::map_file(at, part.file_bytes, file, offset, Access::ReadWrite)?;
        }
    }
    if part.bytes > part.file_bytes {
        // SAFETY: memory beyond the image, inaccessible and unused in a free slot.
        unsafe {
            os::protect(
                at.add(part.file_bytes),
                part.bytes - part.file_bytes,
                Access::ReadWrite,
            )?;
        }
    }
    Ok(())
}

//! Restoring an instance: one mapping of the image file, and the header's words.

use super::image::Image;
use super::reset::held_bytes;
use crate::layout::PAGE_BYTES;
use crate::sandbox::os::{self, Access};
use crate::sandbox::{Contents, Instance, Limit, Limits, LinkError, Linked, Part, SlotError};
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
    /// What an instance of a store imported is not provided.
    Link(LinkError),
    /// What an instance of a store was linked with is not what it is to be linked with now.
    Mismatch(&'static str),
    System(io::Error),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::NoSlot => f.write_str("all instance slots are in use"),
            RestoreError::Limit(limit) => write!(f, "{limit}"),
            RestoreError::Link(error) => error.fmt(f),
            RestoreError::Mismatch(what) => {
                write!(f, "the image cannot be restored here: {what}")
            }
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
    /// Costs one mapping of the file (one for each memory, if there are several; one more for each run of pages that lies over a base) and
    /// the pages that calls are known to write, whatever the size of the memory. The mappings are there already in a slot that an instance of
    /// this image left lately, if it was trimmed ([`Instance::trim`]) before it was dropped.
    ///
    /// # Panics
    /// When it is that of an instance of a store: see [`Image::restore_linked`].
    pub fn restore(&self, limits: Limits, data: Box<dyn Any>) -> Result<Instance, RestoreError> {
        let info = self.linked.module().info();
        assert!(!info.is_linkable(), "a linkable module needs a store");
        let (ahead, written) = (self.origin.ahead.borrow(), self.origin.written.borrow());
        let ahead = if ahead.is_empty() { &written } else { &ahead };
        self.restore_with(&self.linked, limits, data, ahead)
    }

    /// Makes an instance, of this or another link of the module, with these pages private already.
    pub(super) fn restore_with(
        &self,
        linked: &Linked,
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
        let module = linked.module();
        let further = origin.contents.further_mappings();
        let mut slot = module.shared.engine.shared.slots.take(
            &module.info().layout,
            further,
            Some(origin.id),
        )?;
        let start = slot.start();
        if slot.take_shown() != Some(origin.id) {
            // What the last instance of the slot mapped goes with the mapping of the file, and here what reaches beyond: all that
            // lies between the parts is inaccessible from here on.
            slot.clear_from(origin.parts[0].file_bytes)
                .map_err(RestoreError::System)?;
            slot.extend_to(origin.end());
            for part in &origin.parts {
                map_part(start.wrapping_add(part.start), part, &origin.contents)
                    .map_err(RestoreError::System)?;
            }
        }
        // Failing to make pages private ahead costs the guest page faults and nothing else, but for the page that is written here: a file
        // that cannot be read must not be noticed by a fault.
        os::populate_writable(start, ahead);
        os::make_private(start.wrapping_add(origin.header_page as usize * PAGE_BYTES))
            .map_err(RestoreError::System)?;
        let mut instance = Instance::in_slot(
            slot,
            linked,
            limits,
            data,
            &origin.memories,
            Some(origin.clone()),
        );
        instance.held_bytes = held_bytes(origin.header_page, ahead);
        Ok(instance)
    }
}

/// Maps a part of an instance to its place in a free slot.
fn map_part(at: *mut u8, part: &Part, contents: &Contents) -> io::Result<()> {
    if part.file_bytes > 0 {
        // SAFETY: the slot was free, so nothing refers to the range, and the part lies within the slot; the contents are as long
        // as what is mapped of them (`Image::open` checked both).
        unsafe { contents.map_over(at, part.file_start..part.file_start + part.file_bytes)? };
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

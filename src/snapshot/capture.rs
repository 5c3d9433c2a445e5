//! Freezing an instance into an image file.

use super::image::{COVERED_TAIL_BYTES, Description, Image, ImageError, is_zero, pages_not_zero};
use crate::layout::{HEADER_BYTES, PAGE_BYTES};
use crate::sandbox::Instance;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageReport {
    /// Length of the file.
    pub file_bytes: u64,
    /// Pages that are not zero: what the file takes on disk, besides its first.
    pub pages: u64,
    /// Length of linear memory.
    pub memory_bytes: u64,
}

impl Image {
    /// Writes an instance's state and memory into a file, which is cut to size.
    ///
    /// The file is not synced; nothing of the instance changes.
    ///
    /// # Errors
    /// [`ImageError::InCall`] while a call is in progress, or what the file system says.
    pub fn capture(instance: &mut Instance, file: &File) -> Result<ImageReport, ImageError> {
        if instance.in_call() {
            return Err(ImageError::InCall);
        }
        instance.wake();
        let inner = instance.inner();
        let module = inner.linked.module();
        let state_bytes = module.info().layout.memory_offset as usize;
        let memory_bytes = inner.memory_bytes();
        // SAFETY: from the vmctx, state and memory are accessible without a gap up to the memory's length; the instance is
        // borrowed and no call is in progress, so nothing changes them.
        let contents = unsafe {
            std::slice::from_raw_parts(inner.vmctx(), state_bytes + memory_bytes as usize)
        };
        let last = contents
            .chunks_exact(PAGE_BYTES)
            .rposition(|page| !is_zero(page));
        let mut kept_bytes = last
            .map_or(0, |last| (last + 1) * PAGE_BYTES)
            .max(state_bytes);
        if (contents.len() - kept_bytes) as u64 <= COVERED_TAIL_BYTES {
            kept_bytes = contents.len();
        }
        let contents = &contents[..kept_bytes];
        let description = Description {
            artifact: module.shared.checksum,
            file_bytes: (HEADER_BYTES + kept_bytes) as u64,
            memory_bytes,
            pages: pages_not_zero(contents).count() as u64,
        };
        file.set_len(0)?;
        file.set_len(description.file_bytes)?;
        file.write_all_at(&description.encode(contents), 0)?;
        // One page at a time: file systems cache what is written at once as one large folio, and a fault on any page of it would
        // map all of them.
        for (number, page) in pages_not_zero(contents) {
            file.write_all_at(page, (HEADER_BYTES + number * PAGE_BYTES) as u64)?;
        }
        Ok(ImageReport {
            file_bytes: description.file_bytes,
            pages: description.pages,
            memory_bytes,
        })
    }
}

//! An image file that was checked, ready to be opened: the part of opening that reads from disk, for any thread.
//!
//! The whole file is read and verified, unless a note says that this very file was before and what calls need of it: then
//! only that is read. The checksum guards against damage and not against forgery, and what damages a file that is not
//! replaced changes what the note says of it; only bytes that rot on the disk go unnoticed until the file is next read whole.

use super::image::{Description, ImageError};
use super::working_set::{self, Prefetch, WorkingSet};
use crate::layout::{HEADER_BYTES, PAGE_BYTES};
use crate::sandbox::Part;
use crate::sandbox::os;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// See above.
#[derive(Debug)]
pub struct CheckedImage {
    pub(super) file: File,
    pub(super) description: Description,
    pub(super) working_set: WorkingSet,
}

impl CheckedImage {
    /// Reads and verifies all of an image file.
    pub fn check(file: File) -> Result<CheckedImage, ImageError> {
        os::will_need(&file, &(0..file.metadata()?.len()));
        let description = Description::verify(&file)?;
        Ok(CheckedImage {
            file,
            description,
            working_set: WorkingSet::default(),
        })
    }

    /// Reads what a note from [`Image::working_set_note`](super::Image::working_set_note) says that calls need; all of the
    /// file when the note does not speak of it. Whether the note was of use.
    pub fn check_noted(file: File, note: &[u8]) -> Result<(CheckedImage, bool), ImageError> {
        let Some(working_set) = working_set::decode(note, &file) else {
            return Ok((CheckedImage::check(file)?, false));
        };
        let mut page = [0; PAGE_BYTES];
        file.read_exact_at(&mut page, 0)?;
        let description = Description::read(&page, file.metadata()?.len())?;
        // By what is known before the module is: memory 0 and the state follow the first page in the file as in the slot.
        let first = Part {
            start: 0,
            bytes: description.file_bytes as usize,
            file_start: 0,
            file_bytes: description.file_bytes as usize,
        };
        let mut ranges = working_set.file_ranges(&[first]);
        // The state's first page holds the lengths of further memories, which opening compares.
        let least = ((HEADER_BYTES + PAGE_BYTES) as u64).min(description.file_bytes);
        if let Some(range) = ranges.first_mut() {
            range.end = range.end.max(least);
        }
        Prefetch::new(file.try_clone()?, ranges).run()?;
        Ok((
            CheckedImage {
                file,
                description,
                working_set,
            },
            true,
        ))
    }
}

//! An image file that was checked, ready to be opened: the part of opening that reads from disk, for any thread.
//!
//! The whole file is read and verified, and its base, if it has one, unless a note says that these very files were before and what
//! calls need of them: then only that is read. The checksum guards against damage and not against forgery, and what damages a file that is
//! not replaced changes what the note says of it; only bytes that rot on the disk go unnoticed until the file is next read whole.

use super::image::{Description, ImageError};
use super::prefetch::Prefetch;
use super::working_set::{self, WorkingSet};
use crate::layout::PAGE_BYTES;
use crate::sandbox::{Contents, Part};
use std::fs::File;

/// See above.
#[derive(Debug)]
pub struct CheckedImage {
    pub(super) contents: Contents,
    pub(super) description: Description,
    pub(super) working_set: WorkingSet,
}

impl CheckedImage {
    /// Reads and verifies all of an image file, and of the base it was captured over, if it was over one.
    pub fn check(file: File, base: Option<File>) -> Result<CheckedImage, ImageError> {
        let description = Description::verify(&file)?.description;
        let base = base.filter(|_| description.layer.is_some());
        if let Some(base) = &base {
            Description::verify(base)?;
        }
        Ok(CheckedImage {
            contents: description.contents(file, base)?,
            description,
            working_set: WorkingSet::default(),
        })
    }

    /// Reads what a note from [`Image::working_set_note`](super::Image::working_set_note) says that calls need; all of the
    /// files when the note does not speak of them. Whether the note was of use.
    pub fn check_noted(
        file: File,
        base: Option<File>,
        note: &[u8],
    ) -> Result<(CheckedImage, bool), ImageError> {
        let Some(working_set) = working_set::decode(note, &file, base.as_ref()) else {
            return Ok((CheckedImage::check(file, base)?, false));
        };
        let (description, _) = Description::of(&file)?;
        let contents = description.contents(file, base)?;
        // By what is known before the module is: after the description, state and memory 0 follow each other as in the slot.
        let bytes = contents.bytes().saturating_sub(PAGE_BYTES);
        let first = Part {
            start: 0,
            bytes,
            file_start: PAGE_BYTES,
            file_bytes: bytes,
        };
        // Where the header's page is says the module alone: each record has it.
        let ranges = working_set.file_ranges(&[first], 0);
        Prefetch::new(&contents, &ranges)?.run()?;
        Ok((
            CheckedImage {
                contents,
                description,
                working_set,
            },
            true,
        ))
    }
}

//! The image file.
//!
//! ```text
//!   offset 0            4096                     4096 + G                      file end
//!   +-------------------+------------------------+-----------------------------+
//!   | description       | globals, tables, flags | linear memory 0, up to its  |
//!   | (the fields below)|                        | last page that is not zero  |
//!   +-------------------+------------------------+-----------------------------+
//!   ^ slot start        ^ vmctx                  ^ vmctx + G
//! ```
//!
//! The whole file is mapped over the start of a slot, in one go. Its first page becomes the instance's header page,
//! whose words are written anew, so that header, state and memory are one mapping. Pages that are zero are holes. When
//! little of the memory's initial length would be left beyond the last page that is not zero, the file covers that too
//! and no second mapping is needed.
//!
//! An image belongs to one artifact (its tables hold code offsets) and says so by the artifact's checksum. The file is
//! verified before anything of it is used: description and every page, by one checksum.

use crate::layout::{HEADER_BYTES, MEMORY_RESERVED_BYTES, PAGE_BYTES, WASM_PAGE_BYTES};
use crate::sandbox::os::Reservation;
use crate::sandbox::{Linked, Origin};
use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io;
use std::rc::Rc;

const MAGIC: [u8; 16] = *b"dormouse-image\r\n";
const VERSION: u32 = 1;

/// Zero bytes at the end of the initial memory that the file covers rather than leaving them to a mapping of their own.
pub(super) const COVERED_TAIL_BYTES: u64 = 1 << 20;

/// Why an image file is not used.
#[derive(Debug)]
pub enum ImageError {
    /// The file is not an image, or is cut short.
    NotAnImage,
    /// The file was written by another version of Dormouse.
    Version(u32),
    /// The file does not hold what was written.
    Damaged,
    /// The file belongs to another artifact.
    OtherArtifact,
    /// The instance is executing a call.
    InCall,
    Io(io::Error),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::NotAnImage => f.write_str("this is not an image file, or it is cut short"),
            ImageError::Version(version) => write!(
                f,
                "the image has format version {version}, this is version {VERSION}: make it again"
            ),
            ImageError::Damaged => {
                f.write_str("the image's checksum does not match its contents: make it again")
            }
            ImageError::OtherArtifact => {
                f.write_str("the image belongs to another artifact: make it again")
            }
            ImageError::InCall => f.write_str("an instance cannot be frozen during a call"),
            ImageError::Io(error) => write!(f, "the image file cannot be used: {error}"),
        }
    }
}

impl std::error::Error for ImageError {}

impl From<io::Error> for ImageError {
    fn from(error: io::Error) -> ImageError {
        ImageError::Io(error)
    }
}

/// The fields of the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub artifact: [u8; 32],
    pub file_bytes: u64,
    pub memory_bytes: u64,
    /// Pages after the first that are not zero.
    pub pages: u64,
}

/// Bytes of the fields that the checksum covers, from the start of the page; the checksum follows.
const FIELDS_BYTES: usize = 80;
const CHECKSUM_END: usize = FIELDS_BYTES + 32;

impl Description {
    fn fields(&self) -> [u8; FIELDS_BYTES] {
        let mut fields = [0; FIELDS_BYTES];
        fields[..16].copy_from_slice(&MAGIC);
        fields[16..20].copy_from_slice(&VERSION.to_le_bytes());
        fields[24..56].copy_from_slice(&self.artifact);
        fields[56..64].copy_from_slice(&self.file_bytes.to_le_bytes());
        fields[64..72].copy_from_slice(&self.memory_bytes.to_le_bytes());
        fields[72..80].copy_from_slice(&self.pages.to_le_bytes());
        fields
    }

    /// The first page of a file with these contents after it.
    pub fn encode(&self, contents: &[u8]) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        page[..FIELDS_BYTES].copy_from_slice(&self.fields());
        page[FIELDS_BYTES..CHECKSUM_END].copy_from_slice(&self.checksum(contents));
        page
    }

    /// The checksum over the fields and all pages of the contents that are not zero, each with its number.
    fn checksum(&self, contents: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.fields());
        for (number, page) in pages_not_zero(contents) {
            hasher.update(&(number as u64).to_le_bytes());
            hasher.update(page);
        }
        *hasher.finalize().as_bytes()
    }

    /// Verifies a file's bytes: the description by its shape, then everything by the checksum.
    fn verify(bytes: &[u8]) -> Result<Description, ImageError> {
        let shaped = bytes.len() >= PAGE_BYTES && bytes.len().is_multiple_of(PAGE_BYTES);
        if !shaped || bytes[..16] != MAGIC {
            return Err(ImageError::NotAnImage);
        }
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let version = word(16) as u32;
        if version != VERSION {
            return Err(ImageError::Version(version));
        }
        let description = Description {
            artifact: bytes[24..56].try_into().expect("32 bytes"),
            file_bytes: word(56),
            memory_bytes: word(64),
            pages: word(72),
        };
        if description.file_bytes != bytes.len() as u64 {
            return Err(ImageError::NotAnImage);
        }
        let expected = description.encode(&bytes[HEADER_BYTES..]);
        if bytes[..HEADER_BYTES] != expected {
            return Err(ImageError::Damaged);
        }
        Ok(description)
    }
}

pub(super) fn is_zero(page: &[u8]) -> bool {
    // Sixteen bytes at a time: the compiler makes vector code of it.
    page.chunks_exact(16)
        .all(|chunk| u128::from_ne_bytes(chunk.try_into().expect("16 bytes")) == 0)
}

/// The pages that are not zero, with their numbers.
pub(super) fn pages_not_zero(contents: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    contents
        .chunks_exact(PAGE_BYTES)
        .enumerate()
        .filter(|(_, page)| !is_zero(page))
}

/// A frozen instance. Clones share it.
#[derive(Clone)]
pub struct Image {
    pub(super) linked: Linked,
    pub(super) origin: Rc<Origin>,
    pages: u64,
}

impl Image {
    /// Opens an image file for the module it was captured from, verifying all of it.
    ///
    /// The file must not be changed while the image or an instance of it exists; image files are written once and
    /// replaced by renaming.
    pub fn open(linked: &Linked, file: &File) -> Result<Image, ImageError> {
        let bytes = file.metadata()?.len();
        if bytes == 0 {
            return Err(ImageError::NotAnImage);
        }
        let mapping = Reservation::of_file(file, bytes as usize)?;
        // SAFETY: the whole range is a read-only mapping of the image file, which nobody changes (see above), and `mapping`
        // outlives the slice.
        let contents = unsafe { std::slice::from_raw_parts(mapping.base(), mapping.bytes()) };
        let description = Description::verify(contents)?;
        let module = linked.module();
        if description.artifact != module.shared.checksum {
            return Err(ImageError::OtherArtifact);
        }
        let info = module.info();
        let memory_start = HEADER_BYTES as u64 + u64::from(info.layout.memory_offset);
        let minimum = info
            .memory
            .map_or(0, |memory| memory.minimum * WASM_PAGE_BYTES);
        // The checksum says that this is what was captured; that it fits a slot is checked all the same.
        if description.memory_bytes < minimum
            || description.memory_bytes > MEMORY_RESERVED_BYTES
            || !description.memory_bytes.is_multiple_of(WASM_PAGE_BYTES)
            || description.file_bytes < memory_start
            || description.file_bytes > memory_start + description.memory_bytes
        {
            return Err(ImageError::Damaged);
        }
        Ok(Image {
            linked: linked.clone(),
            origin: Rc::new(Origin {
                file: file.try_clone()?,
                mapping,
                file_bytes: description.file_bytes as usize,
                memory_bytes: description.memory_bytes,
                written: RefCell::default(),
            }),
            pages: description.pages,
        })
    }

    pub fn linked(&self) -> &Linked {
        &self.linked
    }

    /// Length of the file.
    pub fn bytes(&self) -> u64 {
        self.origin.file_bytes as u64
    }

    /// Pages that are not zero: what the file takes on disk, besides its first.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Length of linear memory in a restored instance.
    pub fn memory_bytes(&self) -> u64 {
        self.origin.memory_bytes
    }
}

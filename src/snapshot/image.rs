//! The image file.
//!
//! ```text
//!   offset 0            4096                     4096 + state_bytes            file end
//!   +-------------------+------------------------+-----------------------------+
//!   | description       | tables, flags, globals,| linear memory 0, up to its  |
//!   | (the fields below)| zeros for the header   | last page that is not zero  |
//!   +-------------------+------------------------+-----------------------------+
//!                       ^ slot start             ^ vmctx
//! ```
//!
//! From its second page on it is mapped over the start of a slot, in one go. The header's words are written anew, so
//! that header, state and memory are one mapping. Pages that are zero are holes. When
//! little of the memory's initial length would be left beyond the last page that is not zero, the file covers that too
//! and no second mapping is needed.
//!
//! A module with several memories has the contents of the others, each up to its last page that is not zero, after those
//! of memory 0. Each is mapped to where the memory lies in the slot, which may be gigabytes further: the file has no gaps.
//! The length of memory 0 is in the description; those of the others are words of the state, and in the description too.
//! The object heap of a module that has one is kept as if it were its last memory.
//!
//! All this is the image's *contents*. An image that has most of them in common with another one, its base, keeps only the pages that
//! differ (`layer.rs`): its file is the description and those pages, and its contents are the base's file with these laid over it.
//!
//! An image belongs to one artifact (its tables hold code offsets) and says so by the artifact's checksum. The file is
//! verified before anything of it is used: description and every page, by one checksum; the base's is in the description.

use super::checked::CheckedImage;
use super::layer::{Layer, RUNS_MAX};
use super::working_set::WorkingSet;
use crate::compile::info::ModuleInfo;
use crate::layout::{PAGE_BYTES, header};
use crate::sandbox::os;
use crate::sandbox::{Contents, IMAGE_MAPPINGS, Linked, Origin, OriginId, Part, accessible_parts};
use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

const MAGIC: [u8; 16] = *b"dormouse-image\r\n";
const VERSION: u32 = 4;

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
    /// The file has what differs from a base, which was not given or is another.
    NoBase,
    /// The instance is executing a call.
    InCall,
    /// The instance is one of a store, and its globals or tables refer to objects, which are the store's.
    HasObjects,
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
            ImageError::NoBase => {
                f.write_str("the image's base is missing or another: make it again")
            }
            ImageError::InCall => f.write_str("an instance cannot be frozen during a call"),
            ImageError::HasObjects => {
                f.write_str(
                    "an instance of a store cannot be frozen while its own globals, tables or element segments refer to objects: \
                     set them to null first",
                )
            }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub artifact: [u8; 32],
    /// Length of the contents, which that of a file without base is too.
    pub contents_bytes: u64,
    /// Pages of the file after the first that are not zero.
    pub pages: u64,
    pub memories: Vec<FrozenMemory>,
    /// What the file has, if not all.
    pub layer: Option<Layer>,
}

/// A description that was verified, and what it was verified by.
#[derive(Debug)]
pub(super) struct Verified {
    pub description: Description,
    pub checksum: [u8; CHECKSUM_BYTES],
}

/// A linear memory in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrozenMemory {
    /// Its length.
    pub bytes: u64,
    /// How much of it the file has; the rest is zero.
    pub kept_bytes: u64,
}

/// What is read at a time.
const READ_BYTES: usize = 256 << 10;

/// Bytes of the fields of fixed size. Two words for each memory follow, a word for each run over the base, then the checksum over
/// all of these and the file's pages.
const FIELDS_BYTES: usize = 112;
const MEMORY_FIELDS_BYTES: usize = 16;
const RUN_BYTES: usize = 8;
pub(super) const CHECKSUM_BYTES: usize = 32;

/// What the description says of having no base, in place of the number of runs.
const NO_BASE: u32 = u32::MAX;

/// The most memories there is room for in the description: more than a valid module can have.
const MEMORIES_MAX: usize =
    (PAGE_BYTES - FIELDS_BYTES - RUNS_MAX * RUN_BYTES - CHECKSUM_BYTES) / MEMORY_FIELDS_BYTES;

impl Description {
    fn fields(&self) -> Vec<u8> {
        assert!(
            self.memories.len() <= MEMORIES_MAX,
            "validated: few memories"
        );
        let mut fields = vec![0; FIELDS_BYTES];
        fields[20..24].copy_from_slice(&(self.memories.len() as u32).to_le_bytes());
        fields[..16].copy_from_slice(&MAGIC);
        fields[16..20].copy_from_slice(&VERSION.to_le_bytes());
        fields[24..56].copy_from_slice(&self.artifact);
        fields[56..64].copy_from_slice(&self.contents_bytes.to_le_bytes());
        fields[64..72].copy_from_slice(&self.pages.to_le_bytes());
        let runs = self.layer.as_ref().map(|layer| layer.runs.as_slice());
        let count = runs.map_or(NO_BASE, |runs| runs.len() as u32);
        fields[72..76].copy_from_slice(&count.to_le_bytes());
        if let Some(layer) = &self.layer {
            fields[80..112].copy_from_slice(&layer.base);
        }
        for memory in &self.memories {
            fields.extend(memory.bytes.to_le_bytes());
            fields.extend(memory.kept_bytes.to_le_bytes());
        }
        for (first, end) in runs.unwrap_or_default() {
            fields.extend(first.to_le_bytes());
            fields.extend(end.to_le_bytes());
        }
        fields
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        match &self.layer {
            Some(layer) => PAGE_BYTES as u64 + layer.pages() * PAGE_BYTES as u64,
            None => self.contents_bytes,
        }
    }

    /// The first page of a file with these pages after it, of those that follow each other in it.
    pub fn encode(&self, pages: &[(usize, &[u8])]) -> [u8; PAGE_BYTES] {
        let mut hasher = self.hasher();
        for (number, page) in pages {
            add_page(&mut hasher, *number, page);
        }
        self.first_page(hasher.finalize().as_bytes())
    }

    fn first_page(&self, checksum: &[u8; CHECKSUM_BYTES]) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        let fields = self.fields();
        page[..fields.len()].copy_from_slice(&fields);
        page[fields.len()..][..CHECKSUM_BYTES].copy_from_slice(checksum);
        page
    }

    /// For the checksum over the fields and all pages of the file that are not zero, each with its number.
    fn hasher(&self) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.fields());
        hasher
    }

    /// Reads the description of a file of so many bytes from its first page, without verifying it.
    pub fn read(page: &[u8], file_bytes: u64) -> Result<Description, ImageError> {
        let shaped = page.len() >= PAGE_BYTES && file_bytes.is_multiple_of(PAGE_BYTES as u64);
        if !shaped || page[..16] != MAGIC {
            return Err(ImageError::NotAnImage);
        }
        let word = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().expect("8 bytes"));
        let version = word(16) as u32;
        if version != VERSION {
            return Err(ImageError::Version(version));
        }
        let memories = u32::from_le_bytes(page[20..24].try_into().expect("4 bytes")) as usize;
        if memories > MEMORIES_MAX {
            return Err(ImageError::Damaged);
        }
        let half = |at: usize| u32::from_le_bytes(page[at..at + 4].try_into().expect("4 bytes"));
        let runs_at = FIELDS_BYTES + memories * MEMORY_FIELDS_BYTES;
        let layer = match half(72) {
            NO_BASE => None,
            runs if runs as usize > RUNS_MAX => return Err(ImageError::Damaged),
            runs => Some(Layer {
                base: page[80..112].try_into().expect("32 bytes"),
                runs: (0..runs as usize)
                    .map(|run| runs_at + run * RUN_BYTES)
                    .map(|at| (half(at), half(at + 4)))
                    .collect(),
            }),
        };
        // Lengths of runs are only taken of such as have one.
        let ordered = |layer: &Layer| layer.runs.iter().all(|run| run.0 < run.1);
        if layer.as_ref().is_some_and(|layer| !ordered(layer)) {
            return Err(ImageError::Damaged);
        }
        let description = Description {
            artifact: page[24..56].try_into().expect("32 bytes"),
            contents_bytes: word(56),
            pages: word(64),
            layer,
            memories: (0..memories)
                .map(|memory| FIELDS_BYTES + memory * MEMORY_FIELDS_BYTES)
                .map(|at| FrozenMemory {
                    bytes: word(at),
                    kept_bytes: word(at + 8),
                })
                .collect(),
        };
        if description.file_bytes() != file_bytes {
            return Err(ImageError::NotAnImage);
        }
        Ok(description)
    }

    /// Reads the description of a file, without verifying it, and the page it is on.
    pub fn of(file: &File) -> Result<(Description, [u8; PAGE_BYTES]), ImageError> {
        let file_bytes = file.metadata()?.len();
        if file_bytes < PAGE_BYTES as u64 {
            return Err(ImageError::NotAnImage);
        }
        let mut page = [0; PAGE_BYTES];
        // The kernel would read the next pages along and mark one of them to read more when it is touched, which is a page fault that waits.
        os::will_need(file, &(0..PAGE_BYTES as u64));
        read(file, &mut page, 0)?;
        Ok((Description::read(&page, file_bytes)?, page))
    }

    /// Reads and verifies a file: the description by its shape, then everything by the checksum. Not its base.
    pub fn verify(file: &File) -> Result<Verified, ImageError> {
        let (description, page) = Description::of(file)?;
        let file_bytes = description.file_bytes();
        let mut hasher = description.hasher();
        let mut buffer = vec![0; READ_BYTES];
        let page_bytes = PAGE_BYTES as u64;
        let mut at = PAGE_BYTES as u64;
        // Holes are passed over: pages of zeros do not count, and once read they would be kept in memory, and mapped along with what
        // calls touch.
        while at < file_bytes
            && let Some(data) = os::next_data(file, at)?
        {
            at = at.max(data.start / page_bytes * page_bytes);
            let end = data.end.next_multiple_of(page_bytes).min(file_bytes);
            os::will_need(file, &(at..end));
            while at < end {
                let bytes = &mut buffer[..(end - at).min(READ_BYTES as u64) as usize];
                read(file, bytes, at)?;
                let first = (at as usize - PAGE_BYTES) / PAGE_BYTES;
                for (number, page) in pages_not_zero(&[bytes]) {
                    add_page(&mut hasher, first + number, page);
                }
                at += bytes.len() as u64;
            }
        }
        let checksum = *hasher.finalize().as_bytes();
        if page != description.first_page(&checksum) {
            return Err(ImageError::Damaged);
        }
        Ok(Verified {
            description,
            checksum,
        })
    }

    /// The contents, of this file and the base it names, if it names one.
    ///
    /// Whether the base is that one shows the first page alone; who has not verified the base before does it as well.
    pub fn contents(&self, file: File, base: Option<File>) -> Result<Contents, ImageError> {
        let bytes = self.contents_bytes as usize;
        let Some(layer) = &self.layer else {
            return Ok(Contents::of_file(file, bytes));
        };
        let base = base.ok_or(ImageError::NoBase)?;
        let (of_base, page) = Description::of(&base)?;
        let pages = |bytes: u64| bytes / PAGE_BYTES as u64;
        if of_base.layer.is_some() || page != of_base.first_page(&layer.base) {
            return Err(ImageError::NoBase);
        }
        if !layer.is_sound(pages(self.contents_bytes), pages(of_base.contents_bytes)) {
            return Err(ImageError::Damaged);
        }
        Ok(Contents::over(base, file, layer.runs.clone(), bytes))
    }
}

/// Reads a part of a file that should be there.
fn read(file: &File, bytes: &mut [u8], at: u64) -> Result<(), ImageError> {
    file.read_exact_at(bytes, at)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ImageError::NotAnImage,
            _ => error.into(),
        })
}

fn add_page(hasher: &mut blake3::Hasher, number: usize, page: &[u8]) {
    hasher.update(&(number as u64).to_le_bytes());
    hasher.update(page);
}

pub(super) fn is_zero(page: &[u8]) -> bool {
    // Sixteen bytes at a time: the compiler makes vector code of it.
    page.chunks_exact(16)
        .all(|chunk| u128::from_ne_bytes(chunk.try_into().expect("16 bytes")) == 0)
}

/// All pages of parts that follow each other.
pub(super) fn pages<'a>(parts: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    parts.iter().flat_map(|part| part.chunks_exact(PAGE_BYTES))
}

/// Those that are not zero, with their numbers.
pub(super) fn pages_not_zero<'a>(parts: &'a [&'a [u8]]) -> impl Iterator<Item = (usize, &'a [u8])> {
    pages(parts).enumerate().filter(|(_, page)| !is_zero(page))
}

/// The parts of an instance of this image; `None` when the description does not fit the module or the file.
fn parts(info: &ModuleInfo, description: &Description, contents: &[u8]) -> Option<Vec<Part>> {
    let memories = &description.memories;
    if memories.len() != info.layout.regions().count() {
        return None;
    }
    let adjoining = info.adjoining_memories();
    let mut lengths = Vec::with_capacity(memories.len());
    for (index, (memory, layout)) in memories.iter().zip(info.layout.regions()).enumerate() {
        let (minimum_bytes, page_bytes) = match info.memories.get(index) {
            // An imported memory is another instance's.
            Some(ty) if index < info.imported_memories as usize => (0, ty.page_bytes()),
            Some(ty) => (ty.minimum_bytes(), ty.page_bytes()),
            None => (0, PAGE_BYTES as u64),
        };
        let fits = memory.bytes >= minimum_bytes
            && memory.bytes <= layout.reserved_bytes
            && memory.bytes.is_multiple_of(page_bytes)
            && memory.kept_bytes <= memory.bytes.next_multiple_of(PAGE_BYTES as u64)
            && memory.kept_bytes.is_multiple_of(PAGE_BYTES as u64);
        // The guest is held to the length that the state says.
        let is_noted = || {
            let at = PAGE_BYTES + info.layout.from_start(layout.length_offset);
            let word = contents.get(at..at + 8);
            word == Some(&memory.bytes.to_le_bytes()[..])
        };
        if !fits || (index >= adjoining && !is_noted()) {
            return None;
        }
        lengths.push(memory.bytes);
    }
    let further = memories.iter().skip(adjoining);
    let further = further.filter(|memory| memory.bytes > 0);
    let first: u64 = memories[..adjoining]
        .iter()
        .map(|memory| memory.kept_bytes)
        .sum();
    let kept =
        std::iter::once(first as usize).chain(further.map(|memory| memory.kept_bytes as usize));
    // After the description.
    let mut file_start = PAGE_BYTES;
    let parts = accessible_parts(info, &lengths)
        .zip(kept)
        .map(|(range, kept_bytes)| {
            let state_bytes = match range.start {
                0 => info.layout.state_bytes as usize,
                _ => 0,
            };
            let part = Part {
                start: range.start,
                bytes: range.len(),
                file_start,
                file_bytes: state_bytes + kept_bytes,
            };
            file_start += part.file_bytes;
            part
        })
        .collect();
    (file_start == contents.len()).then_some(parts)
}

/// A frozen instance. Clones share it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use dormouse::compile::{CompileOptions, compile};
/// # use dormouse::{Engine, EngineOptions, Image, Imports, Instance, Limits, Module};
/// let engine = Engine::new(&EngineOptions::default())?;
/// let wasm = wat::parse_str(
///     r#"(module (global $n (mut i32) (i32.const 1))
///         (func (export "double") (result i32)
///             (global.set $n (i32.shl (global.get $n) (i32.const 1))) (global.get $n)))"#,
/// )?;
/// let module = Module::from_artifact(&engine, &compile(&wasm, &CompileOptions::default())?)?;
/// let linked = module.link(&Imports::new())?;
/// let double = module.typed::<(), i32>("double")?;
/// let mut instance = Instance::new(&linked, Limits::default(), Box::new(()))?;
/// assert_eq!(double.call(&mut instance, ())?, 2);
///
/// let file = tempfile::tempfile()?;
/// Image::capture(&mut instance, &file)?;
/// let image = Image::open(&linked, &file)?;
/// let mut first = image.restore(Limits::default(), Box::new(()))?;
/// let mut second = image.restore(Limits::default(), Box::new(()))?;
/// assert_eq!(double.call(&mut first, ())?, 4);
/// assert_eq!(double.call(&mut first, ())?, 8);
/// assert_eq!(double.call(&mut second, ())?, 4);
/// first.reset(Box::new(()))?;
/// assert_eq!(double.call(&mut first, ())?, 4);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Image {
    pub(super) linked: Linked,
    pub(super) origin: Rc<Origin>,
    pub(super) working_set: Rc<RefCell<WorkingSet>>,
    pages: u64,
}

impl Image {
    /// Opens an image file for the module it was captured from, verifying all of it. One over a base is opened with
    /// [`CheckedImage::check`].
    ///
    /// The file must not be changed while the image or an instance of it exists; image files are written once and
    /// replaced by renaming.
    pub fn open(linked: &Linked, file: &File) -> Result<Image, ImageError> {
        Image::open_checked(linked, CheckedImage::check(file.try_clone()?, None)?)
    }

    /// As [`Image::open`], with a file that was checked.
    pub fn open_checked(linked: &Linked, checked: CheckedImage) -> Result<Image, ImageError> {
        let CheckedImage {
            contents,
            description,
            working_set,
        } = checked;
        let module = linked.module();
        if description.artifact != module.shared.checksum {
            return Err(ImageError::OtherArtifact);
        }
        let mapping = contents.map()?;
        // SAFETY: the whole range is a read-only mapping of image files, which nobody changes (see above), and `mapping`
        // outlives the slice.
        let bytes = unsafe { std::slice::from_raw_parts(mapping.base(), mapping.bytes()) };
        // The checksum says that this is what was captured; that it fits a slot is checked all the same.
        let parts = parts(module.info(), &description, bytes).ok_or(ImageError::Damaged)?;
        let layout = &module.info().layout;
        let header_page = layout.state_bytes / PAGE_BYTES as u32 - 1;
        let first = (layout.padding_bytes as usize).max(header_page as usize * PAGE_BYTES);
        let end = layout.state_bytes as usize - header::BYTES;
        let image = Image {
            linked: linked.clone(),
            origin: Rc::new(Origin {
                id: OriginId::new(),
                contents,
                mapping,
                parts,
                header_page,
                before_header: (first, bytes[PAGE_BYTES..][first..end].into()),
                memories: description
                    .memories
                    .iter()
                    .map(|memory| memory.bytes)
                    .collect(),
                written: RefCell::default(),
                ahead: RefCell::default(),
            }),
            working_set: Rc::default(),
            pages: description.pages,
        };
        image.set_working_set(working_set);
        Ok(image)
    }

    pub fn linked(&self) -> &Linked {
        &self.linked
    }

    /// Length of its contents: state, and memory up to the last page that is not zero.
    pub fn bytes(&self) -> u64 {
        self.origin.mapping.bytes() as u64
    }

    /// Mappings that it takes while it is open, with the artifact of its module.
    pub fn mappings(&self) -> usize {
        IMAGE_MAPPINGS + self.origin.contents.further_mappings()
    }

    /// Files that it keeps open.
    pub fn files(&self) -> usize {
        1 + usize::from(self.origin.contents.base().is_some())
    }

    /// Pages that are not zero: what the file takes on disk, besides its first; not those of the base.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Length of linear memory, of all memories together, and of the object heap in a restored instance.
    pub fn memory_bytes(&self) -> u64 {
        self.origin.memory_bytes()
    }
}

#[cfg(test)]
mod tests;

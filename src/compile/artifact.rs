//! The artifact: a compiled module as a file that is mapped, not loaded.
//!
//! ```text
//!   0      header   magic, format version, checksum, length, place of each section          one page
//!   4096   text     position-independent machine code, padded with breakpoints to whole pages
//!          ...      compiler, CPU features, ModuleInfo, data, trap sites, call sites, handlers, functions, names
//! ```
//!
//! All numbers are little-endian; lists of numbers are arrays of u32, read in place. The text can be mapped read-execute
//! from the file at any address. The checksum covers every other byte of the file and is verified, with the version,
//! before anything else is believed; what is read afterwards is checked all the same, so that no bytes whatever make
//! the reader panic or read out of bounds. That is a guard against damage, not against forgery: who can write the file
//! can write machine code.

mod index;

pub use index::{ArtifactIndex, Handler, Trap};

use super::check;
use super::error::CompileError;
use super::info::ModuleInfo;
use super::parse::Module;
use super::text::{FILLER, TEXT_BYTES_MAX, Text};
use crate::layout::PAGE_BYTES;
use std::fmt;
use std::ops::Range;

const MAGIC: [u8; 24] = *b"dormouse-artifact\0\0\0\0\0\0\0";

/// The version of the file's format and of the contract between compiled code and the sandbox
/// ([`crate::layout`]). To be raised with every change of either.
pub const FORMAT_VERSION: u32 = 7;

/// Who compiled: an artifact of another compiler is compiled again.
pub const COMPILER: &str = concat!("dormouse ", env!("CARGO_PKG_VERSION"), " cranelift 0.135.8");

/// What the stack pointer is a multiple of at every call.
const STACK_ALIGNMENT: u32 = 16;

const VERSION_AT: usize = 24;
const CHECKSUM_AT: usize = 32;
const LENGTH_AT: usize = 64;
const SECTIONS_AT: usize = 72;

/// The parts of the file after the header.
#[derive(Clone, Copy)]
enum Section {
    Text,
    Compiler,
    CpuFeatures,
    Info,
    Data,
    /// Code offsets of trap sites, ascending; the next two are parallel to it.
    TrapCode,
    TrapWasm,
    TrapKind,
    /// Return offsets of calls, ascending; the next is parallel to it.
    CallCode,
    CallWasm,
    /// Return offsets of the calls with a handler for exceptions, ascending; the next two are parallel to it.
    HandlerReturn,
    /// Where the handler begins.
    HandlerCode,
    /// Bytes from the stack pointer at the call up to the frame pointer.
    HandlerFrame,
    /// Code offset of each function by index, ascending; the next is parallel to it.
    FunctionCode,
    FunctionBytes,
    /// Where each function's name begins in the section of names, and one more: where the last ends.
    NameStart,
    Names,
}

const SECTIONS: usize = Section::Names as usize + 1;
const _: () = assert!(SECTIONS_AT + SECTIONS * 16 <= PAGE_BYTES);

/// Why bytes are not an artifact that can be used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactError {
    /// Not an artifact at all.
    NotAnArtifact,
    /// An artifact of another format; to be compiled again.
    Version { found: u32 },
    /// An artifact of another compiler; to be compiled again.
    Compiler { found: String },
    /// Compiled for a CPU with an extension this one lacks; to be compiled again.
    Cpu { missing: String },
    /// Truncated or damaged; to be compiled again.
    Damaged { what: &'static str },
}

impl std::error::Error for ArtifactError {}

impl fmt::Display for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArtifactError::NotAnArtifact => f.write_str("not a Dormouse artifact"),
            ArtifactError::Version { found } => write!(
                f,
                "an artifact of format {found}, this is format {FORMAT_VERSION}; compile the module again"
            ),
            ArtifactError::Compiler { found } => {
                write!(
                    f,
                    "an artifact of {found:?}, this is {COMPILER:?}; compile the module again"
                )
            }
            ArtifactError::Cpu { missing } => write!(
                f,
                "an artifact for a CPU with {missing}, which this one lacks; compile the module again"
            ),
            ArtifactError::Damaged { what } => {
                write!(
                    f,
                    "the artifact is damaged ({what}); compile the module again"
                )
            }
        }
    }
}

/// Writes the artifact of a linked module.
pub(super) fn write(
    module: &Module<'_>,
    text: &Text,
    cpu_features: &[String],
) -> Result<Vec<u8>, CompileError> {
    let mut writer = Writer {
        bytes: vec![0; PAGE_BYTES],
        sections: [(0, 0); SECTIONS],
    };
    writer.section(Section::Text, |bytes| {
        bytes.extend_from_slice(&text.bytes);
        bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES), FILLER);
    });
    writer.section(Section::Compiler, |bytes| {
        bytes.extend_from_slice(COMPILER.as_bytes())
    });
    writer.section(Section::CpuFeatures, |bytes| {
        bytes.extend_from_slice(cpu_features.join("\n").as_bytes());
    });
    let info = postcard::to_allocvec(&module.info).expect("module information can be written");
    writer.section(Section::Info, |bytes| bytes.extend_from_slice(&info));
    writer.section(Section::Data, |bytes| {
        for segment in &module.data {
            bytes.extend_from_slice(segment);
        }
    });
    writer.numbers(
        Section::TrapCode,
        text.traps.iter().map(|trap| trap.code_offset),
    );
    writer.numbers(
        Section::TrapWasm,
        text.traps.iter().map(|trap| trap.wasm_offset),
    );
    writer.section(Section::TrapKind, |bytes| {
        bytes.extend(text.traps.iter().map(|trap| trap.kind as u8));
    });
    writer.numbers(
        Section::CallCode,
        text.calls.iter().map(|call| call.return_offset),
    );
    writer.numbers(
        Section::CallWasm,
        text.calls.iter().map(|call| call.wasm_offset),
    );
    let handlers = || text.handlers.iter();
    writer.numbers(
        Section::HandlerReturn,
        handlers().map(|site| site.return_offset),
    );
    writer.numbers(
        Section::HandlerCode,
        handlers().map(|site| site.handler_offset),
    );
    writer.numbers(
        Section::HandlerFrame,
        handlers().map(|site| site.frame_bytes),
    );
    let functions = &module.info.functions;
    writer.numbers(
        Section::FunctionCode,
        functions.iter().map(|function| function.code_offset),
    );
    writer.numbers(
        Section::FunctionBytes,
        functions.iter().map(|function| function.code_bytes),
    );
    let mut names = String::new();
    let mut starts = Vec::with_capacity(functions.len() + 1);
    for name in &module.names {
        starts.push(names.len());
        names.push_str(name.as_deref().unwrap_or(""));
    }
    starts.push(names.len());
    if u32::try_from(names.len()).is_err() {
        return Err(CompileError::TooLarge {
            what: "the names of functions",
            bytes: names.len() as u64,
            limit: u32::MAX.into(),
        });
    }
    writer.numbers(
        Section::NameStart,
        starts.into_iter().map(|start| start as u32),
    );
    writer.section(Section::Names, |bytes| {
        bytes.extend_from_slice(names.as_bytes())
    });
    Ok(writer.finish())
}

struct Writer {
    bytes: Vec<u8>,
    sections: [(u64, u64); SECTIONS],
}

impl Writer {
    fn section(&mut self, section: Section, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(start, 0);
        write(&mut self.bytes);
        self.sections[section as usize] = (start as u64, (self.bytes.len() - start) as u64);
    }

    fn numbers(&mut self, section: Section, numbers: impl Iterator<Item = u32>) {
        self.section(section, |bytes| {
            numbers.for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        });
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u64;
        let mut put = |at: usize, bytes: &[u8]| {
            self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &MAGIC);
        put(VERSION_AT, &FORMAT_VERSION.to_le_bytes());
        put(LENGTH_AT, &length.to_le_bytes());
        for (index, (start, length)) in self.sections.iter().enumerate() {
            put(SECTIONS_AT + index * 16, &start.to_le_bytes());
            put(SECTIONS_AT + index * 16 + 8, &length.to_le_bytes());
        }
        let checksum = checksum(&self.bytes);
        self.bytes[CHECKSUM_AT..LENGTH_AT].copy_from_slice(&checksum);
        self.bytes
    }
}

/// Of everything but the checksum itself.
fn checksum(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..CHECKSUM_AT]);
    hasher.update(&bytes[LENGTH_AT..]);
    *hasher.finalize().as_bytes()
}

/// Tells whether the bytes of a file, piece by piece, are those that were written.
pub struct Verifier {
    hasher: blake3::Hasher,
    expected: [u8; 32],
}

impl Verifier {
    /// Begins with the first bytes of a file of so many, its first page at least.
    pub fn new(bytes: &[u8], file_bytes: u64) -> Result<Verifier, ArtifactError> {
        check_header(bytes, file_bytes)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..CHECKSUM_AT]);
        hasher.update(&bytes[LENGTH_AT..]);
        Ok(Verifier {
            hasher,
            expected: bytes[CHECKSUM_AT..LENGTH_AT].try_into().expect("32 bytes"),
        })
    }

    /// Goes on with the bytes that follow.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// All of the file was seen. Answers with its checksum.
    pub fn finish(self) -> Result<[u8; 32], ArtifactError> {
        if *self.hasher.finalize().as_bytes() != self.expected {
            return Err(ArtifactError::Damaged {
                what: "its checksum does not match",
            });
        }
        Ok(self.expected)
    }
}

/// What the first page says of a file of so many bytes, before all of it is read.
fn check_header(bytes: &[u8], file_bytes: u64) -> Result<(), ArtifactError> {
    let damaged = |what| Err(ArtifactError::Damaged { what });
    if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
        return Err(ArtifactError::NotAnArtifact);
    }
    if bytes.len() < PAGE_BYTES {
        return damaged("shorter than its header");
    }
    let version = header_number(bytes, VERSION_AT) as u32;
    if version != FORMAT_VERSION {
        return Err(ArtifactError::Version { found: version });
    }
    if header_number(bytes, LENGTH_AT) != file_bytes {
        return damaged("of another length than it says");
    }
    Ok(())
}

fn header_number(bytes: &[u8], at: usize) -> u64 {
    let number = bytes[at..at + 8].try_into();
    u64::from_le_bytes(number.expect("eight bytes of the header"))
}

/// An artifact whose bytes have been verified.
#[derive(Clone, Debug)]
pub struct Artifact<'a> {
    bytes: &'a [u8],
    index: ArtifactIndex,
    info: ModuleInfo,
}

impl<'a> Artifact<'a> {
    /// Verifies and reads an artifact: magic, version, checksum, compiler, then contents. Whether this CPU can run it is
    /// asked separately, with [`Artifact::check_cpu`].
    pub fn parse(bytes: &'a [u8]) -> Result<Artifact<'a>, ArtifactError> {
        Verifier::new(bytes, bytes.len() as u64)?.finish()?;
        Artifact::read(bytes)
    }

    /// Reads an artifact of which a [`Verifier`] said that it is whole.
    pub fn read(bytes: &'a [u8]) -> Result<Artifact<'a>, ArtifactError> {
        let damaged = |what| ArtifactError::Damaged { what };
        check_header(bytes, bytes.len() as u64)?;
        let mut index = ArtifactIndex {
            sections: [(0, 0); SECTIONS],
            text_bytes: 0,
        };
        for section in 0..SECTIONS {
            let (start, length) = (
                header_number(bytes, SECTIONS_AT + section * 16),
                header_number(bytes, SECTIONS_AT + section * 16 + 8),
            );
            let end = start
                .checked_add(length)
                .ok_or(damaged("a section beyond its end"))?;
            if start < PAGE_BYTES as u64 || end > bytes.len() as u64 {
                return Err(damaged("a section beyond its end"));
            }
            index.sections[section] = (start, length);
        }
        let text = index.text_range();
        index.text_bytes = text.len() as u64;
        if !text.start.is_multiple_of(PAGE_BYTES)
            || !text.len().is_multiple_of(PAGE_BYTES)
            || text.len() as u64 > TEXT_BYTES_MAX + 1
        {
            return Err(damaged("text that is not whole pages"));
        }
        let compiler = index.bytes(Section::Compiler, bytes);
        if compiler != COMPILER.as_bytes() {
            return Err(ArtifactError::Compiler {
                found: String::from_utf8_lossy(compiler).into_owned(),
            });
        }
        let info: ModuleInfo = postcard::from_bytes(index.bytes(Section::Info, bytes))
            .map_err(|_| damaged("module information that cannot be read"))?;
        let data = index.data(bytes).len() as u64;
        check::module_info(&info, text.len() as u64, data).map_err(damaged)?;

        for sorted in [
            Section::TrapCode,
            Section::CallCode,
            Section::HandlerReturn,
            Section::FunctionCode,
        ] {
            if !index.numbers(sorted, bytes).is_ascending() {
                return Err(damaged("code offsets out of order"));
            }
        }
        let count = |section| index.numbers(section, bytes).0.len();
        let traps = count(Section::TrapCode);
        if count(Section::TrapWasm) != traps
            || index.bytes(Section::TrapKind, bytes).len() != traps
            || count(Section::CallWasm) != count(Section::CallCode)
            || count(Section::HandlerCode) != count(Section::HandlerReturn)
            || count(Section::HandlerFrame) != count(Section::HandlerReturn)
            || count(Section::FunctionCode) != info.functions.len()
            || count(Section::FunctionBytes) != info.functions.len()
            || count(Section::NameStart) != info.functions.len() + 1
        {
            return Err(damaged("lists of different lengths"));
        }
        if !index.handlers_are_in_place(bytes) {
            return Err(damaged("a handler outside of its function"));
        }
        Ok(Artifact { bytes, index, info })
    }

    /// Whether this CPU has every extension the code was compiled for.
    pub fn check_cpu(&self) -> Result<(), ArtifactError> {
        let here = super::host_cpu_features().map_err(|error| ArtifactError::Cpu {
            missing: error.to_string(),
        })?;
        let needed = self.index.bytes(Section::CpuFeatures, self.bytes);
        for feature in needed
            .split(|byte| *byte == b'\n')
            .filter(|name| !name.is_empty())
        {
            if !here.iter().any(|name| name.as_bytes() == feature) {
                let missing = String::from_utf8_lossy(feature).into_owned();
                return Err(ArtifactError::Cpu { missing });
            }
        }
        Ok(())
    }

    /// The checksum, which identifies the artifact: an image is tied to it.
    pub fn checksum(&self) -> [u8; 32] {
        self.bytes[CHECKSUM_AT..CHECKSUM_AT + 32]
            .try_into()
            .expect("32 bytes")
    }

    /// What to keep beside the bytes.
    pub fn index(&self) -> ArtifactIndex {
        self.index
    }

    pub fn info(&self) -> &ModuleInfo {
        &self.info
    }

    pub fn into_info(self) -> ModuleInfo {
        self.info
    }

    pub fn text_range(&self) -> Range<usize> {
        self.index.text_range()
    }

    pub fn text(&self) -> &'a [u8] {
        self.index.text(self.bytes)
    }

    pub fn data(&self) -> &'a [u8] {
        self.index.data(self.bytes)
    }

    pub fn trap_at(&self, code_offset: u32) -> Option<Trap> {
        self.index.trap_at(self.bytes, code_offset)
    }

    pub fn wasm_offset_at(&self, code_offset: u32) -> Option<u32> {
        self.index.wasm_offset_at(self.bytes, code_offset)
    }

    pub fn function_at(&self, code_offset: u32) -> Option<u32> {
        self.index.function_at(self.bytes, code_offset)
    }

    pub fn function_name(&self, function: u32) -> Option<&'a str> {
        self.index.function_name(self.bytes, function)
    }
}

#[cfg(test)]
mod tests;

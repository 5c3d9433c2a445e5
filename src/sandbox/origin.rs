//! What an instance came from: the image it is restored from and reset to, and what is known of its pages.

use super::contents::Contents;
use super::os;
use super::slots::OriginId;

/// What an instance is restored from and reset to; made by the snapshot side.
#[derive(Debug)]
pub(crate) struct Origin {
    pub id: OriginId,
    pub contents: Contents,
    /// The contents, mapped for reading: what a reset copies from.
    pub mapping: os::Reservation,
    /// What is accessible of an instance after a restore, in ascending order: the state and memory 0 are the
    /// first, each further memory is one.
    pub parts: Vec<Part>,
    /// The page that the header is on, from the slot's start: it is private in every instance.
    pub header_page: u32,
    /// What precedes the header on its page, and where that begins, from the slot's start: resets have it from here, so that they need
    /// nothing of the file for an instance that wrote nothing else.
    pub before_header: (usize, Box<[u8]>),
    /// Length of each linear memory in the image, and of the object heap, if the module has one.
    pub memories: Vec<u64>,
    /// Pages that calls wrote lately, as (first, end) page numbers from the slot's start: made private at restore.
    pub written: std::cell::RefCell<Vec<(u32, u32)>>,
    /// What every recorded call wrote: made private at restore instead of `written`, when it is known.
    pub ahead: std::cell::RefCell<Vec<(u32, u32)>>,
}

/// Which pages of an instance were private at its last reset.
#[derive(Debug)]
pub(crate) struct Settled {
    /// As (first, end) page numbers from the slot's start; not the header's page.
    pub runs: Vec<(u32, u32)>,
    /// The thread's page faults by then: none since means that no other page is private.
    pub faults: u64,
}

/// A part of a slot that is accessible after a restore. All numbers are multiples of the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it begins, from the slot's start.
    pub start: usize,
    pub bytes: usize,
    /// Where it begins in the image's contents, and how many bytes they have of it; the rest is zero.
    pub file_start: usize,
    pub file_bytes: usize,
}

impl Part {
    pub fn end(&self) -> usize {
        self.start + self.bytes
    }
}

impl Origin {
    /// Length of all memories together.
    pub fn memory_bytes(&self) -> u64 {
        self.memories.iter().sum()
    }

    /// Length of linear memory 0.
    pub fn first_memory_bytes(&self) -> u64 {
        self.memories.first().copied().unwrap_or(0)
    }

    /// Where what is accessible ends, from the slot's start.
    pub fn end(&self) -> usize {
        self.parts.last().map_or(0, Part::end)
    }
}

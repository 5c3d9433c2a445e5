//! Freezing an instance into an image file.

use super::image::{
    COVERED_TAIL_BYTES, Description, FrozenMemory, Image, ImageError, Verified, is_zero, pages,
    pages_not_zero,
};
use super::layer::{Layer, page_of, runs_over};
use super::linked;
use crate::layout::{PAGE_BYTES, header};
use crate::sandbox::{Instance, accessible_parts};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageReport {
    /// Length of the file.
    pub file_bytes: u64,
    /// Pages that are not zero: what the file takes on disk, besides its first.
    pub pages: u64,
    /// Length of linear memory, of all memories together, and of the object heap.
    pub memory_bytes: u64,
    /// Whether the file has what differs from the base alone, and cannot be opened without it.
    pub has_base: bool,
}

impl Image {
    /// Writes an instance's state and memory into a file, which is cut to size.
    ///
    /// The file is not synced; nothing of the instance changes.
    ///
    /// # Errors
    /// [`ImageError::InCall`] while a call is in progress, or what the file system says.
    pub fn capture(instance: &mut Instance, file: &File) -> Result<ImageReport, ImageError> {
        Image::capture_with(instance, file, None)
    }

    /// As [`Image::capture`], with only the pages that differ from another image in the file, if that saves something worth while.
    ///
    /// A base is a file that has no base itself, mostly of another instance of the same module. It is verified first.
    ///
    /// # Errors
    /// As [`Image::capture`], and what is wrong with the base.
    pub fn capture_over(
        instance: &mut Instance,
        file: &File,
        base: &File,
    ) -> Result<ImageReport, ImageError> {
        Image::capture_with(instance, file, Some(base))
    }

    fn capture_with(
        instance: &mut Instance,
        file: &File,
        base: Option<&File>,
    ) -> Result<ImageReport, ImageError> {
        if instance.in_call() {
            return Err(ImageError::InCall);
        }
        instance.wake()?;
        linked::check_objects(instance.inner_mut())?;
        let inner = instance.inner();
        let module = inner.linked.module();
        let info = module.info();
        let lengths: Vec<u64> = (0..info.layout.regions().count())
            .map(|memory| inner.own_memory_length(memory))
            .collect();
        let mut parts = Vec::new();
        let mut kept = Vec::new();
        let state_bytes = info.layout.state_bytes as usize;
        for range in accessible_parts(info, &lengths) {
            // SAFETY: the parts are what is accessible of an instance with memories of these lengths, without a gap in any; the
            // instance is borrowed and no call is in progress, so nothing changes them.
            let part = unsafe {
                std::slice::from_raw_parts(inner.slot.start().add(range.start), range.len())
            };
            let least = if range.start == 0 { state_bytes } else { 0 };
            let kept_bytes = kept_bytes(part, least);
            parts.push(&part[..kept_bytes]);
            kept.push(kept_bytes - least);
        }
        // The parts are the state with memory 0, and every further memory and the heap if it is not empty.
        let adjoining = info.adjoining_memories();
        let mut kept = kept.into_iter().skip(1 - adjoining);
        let memories: Vec<FrozenMemory> = lengths
            .iter()
            .enumerate()
            .map(|(memory, bytes)| FrozenMemory {
                bytes: *bytes,
                kept_bytes: match memory < adjoining || *bytes > 0 {
                    true => kept.next().expect("a part") as u64,
                    false => 0,
                },
            })
            .collect();
        // The state is in the first part: without the header, and that of an instance of a store in other words.
        let (state, memory) = parts[0].split_at(state_bytes);
        let mut state = state.to_vec();
        state[state_bytes - header::BYTES..].fill(0);
        linked::make_relocatable(&mut state, inner);
        parts.splice(..1, [&state[..], memory]);
        let contents_bytes: usize = parts.iter().map(|part| part.len()).sum();
        let memory_bytes = lengths.iter().sum();
        let layer = match base {
            Some(base) => layer_over(base, &parts)?,
            None => None,
        };
        // What the file has, numbered from its second page.
        let kept: Vec<(usize, &[u8])> = match &layer {
            None => pages_not_zero(&parts).collect(),
            Some(layer) => (1..)
                .zip(pages(&parts))
                .filter(|(number, _)| layer.has(*number))
                .map(|(_, page)| page)
                .enumerate()
                .filter(|(_, page)| !is_zero(page))
                .collect(),
        };
        let description = Description {
            artifact: module.shared.checksum,
            contents_bytes: (PAGE_BYTES + contents_bytes) as u64,
            pages: kept.len() as u64,
            memories,
            layer,
        };
        file.set_len(0)?;
        file.set_len(description.file_bytes())?;
        file.write_all_at(&description.encode(&kept), 0)?;
        // One page at a time: file systems cache what is written at once as one large folio, and a fault on any page of it would
        // map all of them.
        for (number, page) in kept {
            file.write_all_at(page, ((1 + number) * PAGE_BYTES) as u64)?;
        }
        Ok(ImageReport {
            file_bytes: description.file_bytes(),
            pages: description.pages,
            memory_bytes,
            has_base: description.layer.is_some(),
        })
    }
}

/// What of these contents has to lie over a base, if it saves something.
fn layer_over(base: &File, parts: &[&[u8]]) -> Result<Option<Layer>, ImageError> {
    let Verified {
        description,
        checksum,
    } = Description::verify(base)?;
    if description.layer.is_some() {
        return Err(ImageError::NoBase);
    }
    let mapping = description.contents(base.try_clone()?, None)?.map()?;
    // SAFETY: all of a read-only mapping of an image file, which nobody changes, and which outlives the slice.
    let bytes = unsafe { std::slice::from_raw_parts(mapping.base(), mapping.bytes()) };
    let runs = runs_over(pages(parts), |number| page_of(bytes, number));
    Ok(runs.map(|runs| Layer {
        base: checksum,
        runs,
    }))
}

/// How much of a part the file has: up to its last page that is not zero, `least` bytes at least, and all of it when little
/// would be left. Nothing of a further memory that is all zero.
fn kept_bytes(part: &[u8], least: usize) -> usize {
    let last = part
        .chunks_exact(PAGE_BYTES)
        .rposition(|page| !is_zero(page));
    let kept = last.map_or(0, |last| (last + 1) * PAGE_BYTES).max(least);
    if kept > 0 && (part.len() - kept) as u64 <= COVERED_TAIL_BYTES {
        part.len()
    } else {
        kept
    }
}

//! The working set of an image: which pages calls read and write, so that they can be there before a call needs them.
//!
//! A call in an instance from [`Image::restore_recorded`] leaves a record of the pages it touched, exactly. The records of the
//! last few calls make the working set:
//!
//! * what any of them touched is read from disk before the call, in one go ([`Image::prefetch`]);
//! * what all of them wrote is made private at the restore, in one system call.
//!
//! The set is kept beside the image ([`Image::working_set_note`]). The note says of which file it speaks by what the kernel
//! changes whenever a file is changed, so that it also says that the file was verified and need not be again. A note that is
//! damaged, or of another file, counts for nothing: it is made anew.

use super::image::Image;
use super::prefetch::{Gathering, Prefetch};
use super::restore::RestoreError;
use crate::layout::PAGE_BYTES;
use crate::sandbox::os::{PageRun, Pages};
use crate::sandbox::{ExactFaults, Instance, Part};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

/// Pages as (first, end) numbers from the slot's start.
type Run = (u32, u32);

/// How many calls' records make the set.
const RECORDS_MAX: usize = 4;

/// The most pages that a restore makes private ahead. The thread does nothing else meanwhile, some three milliseconds; beyond, a guest takes its
/// faults in its own time slices, each half as dear again.
const AHEAD_PAGES_MAX: u32 = 2 << 10;

/// Pages that nobody asked for and that are read all the same when that saves a request to the disk: as many as a disk reads in the time
/// that a request takes besides.
const GAP_BYTES_MAX: u64 = 16 << 10;

/// Runs asked of a scan at a time.
const RUNS_PER_SCAN: usize = 64;

/// What one call touched: both lists ascending, without overlap in themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    read: Vec<Run>,
    written: Vec<Run>,
}

/// What the last calls touched, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WorkingSet {
    records: Vec<Record>,
}

impl WorkingSet {
    fn add(&mut self, record: Record) {
        if self.records.len() == RECORDS_MAX {
            self.records.remove(0);
        }
        self.records.push(record);
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What any call touched.
    fn touched(&self) -> Vec<Run> {
        let lists = self.records.iter();
        let mut runs: Vec<Run> = lists
            .flat_map(|record| record.read.iter().chain(&record.written))
            .copied()
            .collect();
        runs.sort_unstable();
        let mut union: Vec<Run> = Vec::with_capacity(runs.len());
        for (first, end) in runs {
            match union.last_mut() {
                Some(last) if first <= last.1 => last.1 = last.1.max(end),
                _ => union.push((first, end)),
            }
        }
        union
    }

    /// What all calls wrote, within bounds: what a restore makes private ahead.
    pub fn ahead(&self) -> Vec<Run> {
        let mut lists = self.records.iter().map(|record| &record.written);
        let first = lists.next().cloned().unwrap_or_default();
        let common = lists.fold(first, |common, list| intersection(&common, list));
        let mut ahead: Vec<Run> = Vec::new();
        let mut room = AHEAD_PAGES_MAX;
        for (first, end) in common {
            let end = end.min(first + room);
            room -= end - first;
            match ahead.last_mut() {
                Some(last) if first <= last.1 => last.1 = end.max(last.1),
                _ if end > first => ahead.push((first, end)),
                _ => break,
            }
        }
        ahead
    }

    /// The parts of the image's contents that any call needs, in as few pieces as makes sense, and this page of the state.
    pub fn file_ranges(&self, parts: &[Part], header_page: u32) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let header = std::iter::once((header_page, header_page + 1));
        for (first, end) in self.touched().into_iter().chain(header) {
            let (start, end) = (first as usize * PAGE_BYTES, end as usize * PAGE_BYTES);
            for part in parts {
                let from = start.max(part.start);
                let to = end.min(part.start + part.file_bytes);
                if from < to {
                    let offset = (part.file_start + from - part.start) as u64;
                    ranges.push(offset..offset + (to - from) as u64);
                }
            }
        }
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let near = next.start <= last.end + GAP_BYTES_MAX;
            if near {
                last.end = last.end.max(next.end);
            }
            near
        });
        ranges
    }

    /// Whether every list is in order: what was read from a file may be anything.
    fn is_sound(&self) -> bool {
        let sound = |runs: &[Run]| {
            runs.iter().all(|run| run.0 < run.1)
                && runs.windows(2).all(|pair| pair[0].1 <= pair[1].0)
        };
        self.records.len() <= RECORDS_MAX
            && self
                .records
                .iter()
                .all(|record| sound(&record.read) && sound(&record.written))
    }
}

/// What lies in both lists.
fn intersection(left: &[Run], right: &[Run]) -> Vec<Run> {
    let (mut both, mut right) = (Vec::new(), right.iter().peekable());
    for (first, end) in left {
        while let Some((other_first, other_end)) = right.peek() {
            let (from, to) = (*first.max(other_first), *end.min(other_end));
            if from < to {
                both.push((from, to));
            }
            if other_end > end {
                break;
            }
            right.next();
        }
    }
    both
}

/// What the kernel says of a file and changes whenever the file's bytes are changed. Not the change time of the inode, which another
/// link to the file changes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Stamp> {
        let metadata = file.metadata()?;
        Ok(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        })
    }
}

/// What is kept beside an image file. The checksum of the rest goes before it.
#[derive(Serialize, Deserialize)]
struct Note {
    version: u32,
    image: Stamp,
    base: Option<Stamp>,
    set: WorkingSet,
}

const NOTE_VERSION: u32 = 3;
const CHECKSUM_BYTES: usize = 32;

fn encode(image: &File, base: Option<&File>, set: &WorkingSet) -> io::Result<Vec<u8>> {
    let note = Note {
        version: NOTE_VERSION,
        image: Stamp::of(image)?,
        base: base.map(Stamp::of).transpose()?,
        set: set.clone(),
    };
    let note = postcard::to_allocvec(&note).expect("a note can be written");
    let mut bytes = blake3::hash(&note).as_bytes().to_vec();
    bytes.extend(note);
    Ok(bytes)
}

/// The set of a note that is whole and speaks of these files as they are now.
pub(super) fn decode(note: &[u8], image: &File, base: Option<&File>) -> Option<WorkingSet> {
    let (checksum, note) = note.split_at_checked(CHECKSUM_BYTES)?;
    if blake3::hash(note) != <[u8; CHECKSUM_BYTES]>::try_from(checksum).ok()? {
        return None;
    }
    let note: Note = postcard::from_bytes(note).ok()?;
    let base = base.map(Stamp::of).transpose().ok()?;
    let fits =
        note.version == NOTE_VERSION && note.image == Stamp::of(image).ok()? && note.base == base;
    (fits && note.set.is_sound()).then_some(note.set)
}

impl Image {
    /// As [`Image::restore`], to record what the next call touches; [`Image::record`] takes the record.
    ///
    /// Nothing is made private ahead, and every page costs a fault, so it is for one call in many. Where the kernel cannot
    /// record (before 6.7), the instance is as any other.
    pub fn restore_recorded(
        &self,
        limits: crate::Limits,
        data: Box<dyn std::any::Any>,
    ) -> Result<Instance, RestoreError> {
        let mut instance = self.restore_with(&self.linked, limits, data, &[])?;
        let start = instance.inner().slot.start() as usize;
        let ranges = self.origin.parts.iter();
        let ranges = ranges.map(|part| start + part.start..start + part.end());
        instance.recording = ExactFaults::new(ranges).ok();
        Ok(instance)
    }

    /// Adds what the call of a recording instance touched to the working set, and ends the recording. To be called when the
    /// call has ended, before a reset. Whether there was a record.
    pub fn record(&self, instance: &mut Instance) -> bool {
        if instance.in_call() || instance.recording.take().is_none() {
            return false;
        }
        let Some(record) = touched_pages(instance, &self.origin.parts) else {
            return false;
        };
        self.set_working_set({
            let mut set = self.working_set.borrow().clone();
            set.add(record);
            set
        });
        true
    }

    /// Uses a working set from now on, if it fits.
    pub(super) fn set_working_set(&self, set: WorkingSet) {
        let end = (self.origin.end() / PAGE_BYTES) as u32;
        if !set.is_empty() && set.touched().last().is_none_or(|last| last.1 <= end) {
            *self.origin.ahead.borrow_mut() = set.ahead();
            *self.working_set.borrow_mut() = set;
        }
    }

    /// How many calls, of the last few, the working set was recorded of.
    pub fn calls_recorded(&self) -> usize {
        self.working_set.borrow().records.len()
    }

    /// The working set in the form in which it is kept beside the image file.
    pub fn working_set_note(&self) -> io::Result<Vec<u8>> {
        let contents = &self.origin.contents;
        encode(contents.file(), contents.base(), &self.working_set.borrow())
    }

    /// The parts of the contents that calls need.
    fn ranges(&self) -> Vec<Range<u64>> {
        let set = self.working_set.borrow();
        set.file_ranges(&self.origin.parts, self.origin.header_page)
    }

    /// The working set, to be laid in one piece on the disk.
    pub fn gathering(&self) -> Gathering {
        Gathering::new(&self.origin.contents, &self.ranges())
    }

    /// What of the working set has to be read from disk before a call; nothing when all of it is in the page cache.
    pub fn prefetch(&self) -> io::Result<Option<Prefetch>> {
        let ranges = self.ranges();
        if ranges.iter().all(|range| {
            self.origin
                .mapping
                .is_in_core(range.start as usize..range.end as usize)
        }) {
            return Ok(None);
        }
        Ok(Some(Prefetch::new(&self.origin.contents, &ranges)?))
    }
}

impl Instance {
    /// Whether what its call touches is being recorded.
    pub fn is_recording(&self) -> bool {
        self.recording.is_some()
    }
}

/// The pages of an instance that are mapped; `None` when they cannot be found.
fn touched_pages(instance: &Instance, parts: &[Part]) -> Option<Record> {
    let inner = instance.inner();
    let page_map = inner.engine().shared.page_map.as_ref()?;
    let start = inner.slot.start() as u64;
    let mut record = Record::default();
    let mut runs = [PageRun::default(); RUNS_PER_SCAN];
    for part in parts {
        let mut from = start + part.start as u64;
        let end = start + part.end() as u64;
        while from < end {
            let (found, stopped) = page_map.scan(Pages::Touched, from, end, &mut runs).ok()?;
            for run in &runs[..found] {
                let list = match run.is_of_file() {
                    true => &mut record.read,
                    false => &mut record.written,
                };
                let page = |address: u64| ((address - start) / PAGE_BYTES as u64) as u32;
                list.push((page(run.start), page(run.end)));
            }
            if stopped <= from {
                return None;
            }
            from = stopped;
        }
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(records: &[(&[Run], &[Run])]) -> WorkingSet {
        let mut set = WorkingSet::default();
        for (read, written) in records {
            set.add(Record {
                read: read.to_vec(),
                written: written.to_vec(),
            });
        }
        set
    }

    #[test]
    fn what_any_call_touched_is_read_and_what_all_wrote_is_made_private() {
        let set = set(&[
            (&[(1, 3), (90, 91)], &[(5, 9), (20, 21)]),
            (&[(3, 4)], &[(6, 12)]),
        ]);
        assert_eq!(set.touched(), [(1, 4), (5, 12), (20, 21), (90, 91)]);
        assert_eq!(set.ahead(), [(6, 9)]);
    }

    #[test]
    fn only_the_last_calls_count() {
        let mut set = set(&[(&[(1, 2)], &[])]);
        for _ in 0..RECORDS_MAX {
            set.add(Record {
                read: vec![(7, 8)],
                written: vec![],
            });
        }
        assert_eq!(set.touched(), [(7, 8)]);
    }

    #[test]
    fn file_ranges_follow_the_parts_and_skip_small_gaps() {
        let page = PAGE_BYTES;
        let parts = [
            Part {
                start: 0,
                bytes: 100 * page,
                file_start: 0,
                file_bytes: 50 * page,
            },
            Part {
                start: 1000 * page,
                bytes: 20 * page,
                file_start: 50 * page,
                file_bytes: 10 * page,
            },
        ];
        // The second run lies beyond what the file has, the third is half of the second part. Between the header's page and the first run is a
        // small gap, between the others are larger ones.
        let set = set(&[(&[(2, 4), (60, 70), (1005, 1010)], &[(45, 52)])]);
        let pages: Vec<_> = set
            .file_ranges(&parts, 0)
            .into_iter()
            .map(|range| (range.start / page as u64, range.end / page as u64))
            .collect();
        assert_eq!(pages, [(0, 4), (45, 50), (55, 60)]);
    }

    #[test]
    fn a_note_holds_for_the_file_it_was_written_of_and_no_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        let set = set(&[(&[(1, 2)], &[(3, 4)])]);
        let note = encode(file.as_file(), None, &set).unwrap();
        assert_eq!(decode(&note, file.as_file(), None), Some(set));
        for at in 0..note.len() {
            let mut damaged = note.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged, file.as_file(), None), None);
            assert_eq!(decode(&note[..at], file.as_file(), None), None);
        }
        let other = tempfile::NamedTempFile::new().unwrap();
        other.as_file().set_len(4096).unwrap();
        assert_eq!(decode(&note, other.as_file(), None), None);
        file.as_file().set_len(8192).unwrap();
        assert_eq!(decode(&note, file.as_file(), None), None);
    }
}

//! Resetting an instance to its image after a call: the pages the guest wrote are put back, and nothing else is touched.
//!
//! This is where isolation between requests is won or lost:
//!
//! * A written page can be swapped out, so the scan matches present *or swapped* pages.
//! * The scan answers in batches; it goes on where it stopped until it has seen the whole range.
//! * Memory that was grown is given back whole, before anything else, so that its pages need no scan.
//! * If the scan fails for any reason, everything written is dropped.
//! * The page of the header is no part of this: it is private in every instance, and what else is on it is put back always.
//!
//! A page becomes private by a page fault and in no other way, and the kernel counts a thread's faults, those taken inside
//! system calls too. So an instance whose thread took none since its last reset has the private pages it had
//! then, all of which are put back, and needs no scan.

use crate::layout::PAGE_BYTES;
use crate::sandbox::os::{self, Access, PageMap, PageRun, Pages};
use crate::sandbox::{Instance, Origin, Settled};
use std::any::Any;
use std::fmt;
use std::io;
use std::ops::Range;

/// Runs of pages asked for at a time.
const RUNS_PER_SCAN: usize = 64;

/// The most pages, in the most runs, that a restore makes private ahead.
const WRITTEN_PAGES_MAX: usize = 256;
const WRITTEN_RUNS_MAX: usize = 256;

/// An instance that keeps so many pages gives them all up once in so many resets.
const AGING_PAGES: usize = 64;
const RESETS_PER_SET: u32 = 256;

/// The binary logarithm of how many entries a page of page-table entries has; a page of the level above spans so many of them.
const PAGE_TABLE_PAGES_LOG2: u32 = 9;

/// Why an instance could not be reset; it must not be used again.
#[derive(Debug)]
pub enum ResetError {
    /// It was not restored from an image.
    NoImage,
    /// A call is in progress.
    InCall,
    System(io::Error),
}

impl fmt::Display for ResetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResetError::NoImage => f.write_str("the instance was not restored from an image"),
            ResetError::InCall => f.write_str("the instance is executing a call"),
            ResetError::System(error) => {
                write!(f, "the instance's pages cannot be put back: {error}")
            }
        }
    }
}

impl std::error::Error for ResetError {}

/// What a reset did with pages other than the header's, which is always put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResetReport {
    /// Written pages that were put back in place and stay resident.
    pub pages_kept: usize,
    /// Written pages that were dropped.
    pub pages_dropped: usize,
}

impl Instance {
    /// Puts the instance back to its image and gives it new data.
    ///
    /// # Errors
    /// The instance is unusable afterwards and should be dropped.
    pub fn reset(&mut self, data: Box<dyn Any>) -> Result<ResetReport, ResetError> {
        if self.in_call() {
            return Err(ResetError::InCall);
        }
        let origin = self.origin.clone().ok_or(ResetError::NoImage)?;
        // A record that nobody took.
        self.recording = None;
        self.give_back_grown_memory(&origin)?;
        let mut report = self.put_back(&origin)?;
        self.resets = self.resets.wrapping_add(1);
        if report.pages_kept >= AGING_PAGES && self.resets.is_multiple_of(RESETS_PER_SET) {
            self.drop_private_pages(&origin)?;
            self.held_bytes = held_bytes(origin.header_page, &[]);
            report.pages_dropped += std::mem::take(&mut report.pages_kept);
        }
        self.put_back_before_header(&origin);
        self.write_header(origin.first_memory_bytes());
        self.clear_call_record(origin.memory_bytes());
        self.replace_data(data);
        Ok(report)
    }

    /// Puts back what shares its page with the header.
    fn put_back_before_header(&mut self, origin: &Origin) {
        let (first, bytes) = &origin.before_header;
        // SAFETY: that part of the state of one slot, of which no reference is live: the instance is borrowed with no call in progress.
        unsafe {
            let at = self.inner().slot.start().add(*first);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
        }
    }

    /// Has the set of pages that stay private form anew: what one unusual call wrote would else be put back for ever.
    fn drop_private_pages(&mut self, origin: &Origin) -> Result<(), ResetError> {
        self.settled = None;
        origin.written.borrow_mut().clear();
        drop_all(origin, self.inner().slot.start() as usize)
    }

    /// Puts back what the image has in every page that is private.
    fn put_back(&mut self, origin: &Origin) -> Result<ResetReport, ResetError> {
        let inner = self.inner();
        let start = inner.slot.start() as usize;
        let engine = inner.engine().clone();
        let keep = engine.shared.keep_resident_pages;
        let page_map = engine
            .shared
            .page_map
            .as_ref()
            .filter(|map| map.is_of_this_process());
        let settled = self.settled.take();
        let mut put_back = PutBack::new(origin, start, keep);
        if let Some(settled) = settled
            && page_map.is_some()
            && settled.faults == os::thread_faults()
        {
            for (first, end) in &settled.runs {
                put_back.run(*first as usize, (end - first) as usize)?;
            }
            let report = put_back.report;
            self.settled = Some(settled);
            return Ok(report);
        }
        // A first call faults page by page, and a read fault maps much of the file along, which every later scan has to walk. So
        // everything is dropped once, and what calls write is made private again.
        let unprepared = std::mem::take(&mut self.unprepared);
        put_back.finds_only = unprepared;
        let scanned = page_map.is_some_and(|map| put_back.scan(map).is_some());
        let (report, runs) = (put_back.report, put_back.kept);
        if unprepared || !scanned {
            drop_all(origin, start)?;
            os::populate_writable(start as *mut u8, &origin.written.borrow());
            self.held_bytes = held_bytes(origin.header_page, &origin.written.borrow());
            return Ok(if scanned {
                report
            } else {
                ResetReport::default()
            });
        }
        self.held_bytes = held_bytes(origin.header_page, &runs);
        if runs.len() <= WRITTEN_RUNS_MAX {
            let faults = os::thread_faults();
            self.settled = Some(Box::new(Settled { runs, faults }));
        }
        Ok(report)
    }

    /// Gives up every private page, so that an idle instance costs its mapping alone; the next call makes them anew.
    ///
    /// Puts state and memory back to the image as a reset does, but gives the instance no new data: for one that is as its image,
    /// restored or reset, and not called since.
    ///
    /// # Errors
    /// As [`Instance::reset`].
    pub fn trim(&mut self) -> Result<(), ResetError> {
        if self.in_call() {
            return Err(ResetError::InCall);
        }
        let origin = self.origin.clone().ok_or(ResetError::NoImage)?;
        self.give_back_grown_memory(&origin)?;
        self.settled = None;
        self.held_bytes = held_bytes(origin.header_page, &[]) - PAGE_BYTES as u64;
        // Noted first: also if dropping fails halfway, the header page may be gone.
        self.drop_header(origin.first_memory_bytes());
        let start = self.inner().slot.start() as usize;
        for part in &origin.parts {
            drop_pages(start + part.start..start + part.end())?;
        }
        // Others may write to what a linkable instance exports, without its knowing.
        let is_linkable = self.linked().module().info().is_linkable();
        let shown = (!is_linkable).then_some(origin.id);
        self.inner_mut().slot.note_shown(shown);
        Ok(())
    }

    /// Makes the memory that the guest grew inaccessible again, so that none of it is left for a later call to find.
    fn give_back_grown_memory(&mut self, origin: &Origin) -> Result<(), ResetError> {
        self.wake().map_err(ResetError::System)?;
        let inner = self.inner_mut();
        if inner.image_lost {
            // To copy from the file as the guest did could end the process where it ended the guest.
            return Err(ResetError::System(io::Error::from_raw_os_error(libc::EIO)));
        }
        for (memory, bytes) in origin.memories.iter().enumerate() {
            let length = inner.own_memory_length(memory);
            if length == *bytes {
                continue;
            }
            let from = (*bytes as usize).next_multiple_of(PAGE_BYTES);
            let grown = (length as usize)
                .next_multiple_of(PAGE_BYTES)
                .saturating_sub(from);
            if grown > 0 {
                // SAFETY: the part of this slot's memory that the guest grew; both callers made sure that no call is in progress.
                unsafe {
                    let at = inner.own_memory_base(memory).add(from);
                    os::map_anonymous(at, grown, Access::None)
                }
                .map_err(ResetError::System)?;
            }
            // At once: whatever fails after this, the length never says more than is accessible.
            inner.note_memory_length(memory, *bytes);
        }
        Ok(())
    }

    /// What the instance holds alone while it is idle: its private pages and the page tables under them, in bytes.
    ///
    /// It is known from the last restore, reset or trim, and costs nothing to ask. Page tables under pages that calls only
    /// read are not in it.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}

/// What an instance with these private pages, and its header's, holds: the pages, and their page tables. Slots are more than
/// 1 GiB apart, so they share neither of the two lowest levels.
pub(super) fn held_bytes(header_page: u32, runs: &[(u32, u32)]) -> u64 {
    let at = runs.partition_point(|(_, end)| *end <= header_page);
    let (before, after) = runs.split_at(at);
    let has_header = after.first().is_some_and(|run| run.0 <= header_page);
    let header = (!has_header).then_some((header_page, header_page + 1));
    let runs = before.iter().copied().chain(header);
    let runs = runs.chain(after.iter().copied());
    let spans = |pages_log2: u32| {
        let (mut spans, mut next) = (0, 0);
        for (first, end) in runs.clone() {
            let (first, end) = ((first >> pages_log2).max(next), (end - 1) >> pages_log2);
            spans += u64::from(end + 1 - first);
            next = end + 1;
        }
        spans
    };
    let pages: u64 = runs
        .clone()
        .map(|(first, end)| u64::from(end - first))
        .sum();
    let tables = spans(PAGE_TABLE_PAGES_LOG2) + spans(2 * PAGE_TABLE_PAGES_LOG2);
    (pages + tables) * PAGE_BYTES as u64
}

/// State and memories of an instance as it was restored, without the header's page, as addresses.
fn ranges(origin: &Origin, start: usize) -> impl Iterator<Item = Range<usize>> {
    let header = origin.header_page as usize * PAGE_BYTES;
    let parts = origin.parts.iter().flat_map(move |part| {
        let [before, after] = match part.start {
            0 => [0..header, header + PAGE_BYTES..part.end()],
            start => [start..start, start..part.end()],
        };
        [before, after]
    });
    let parts = parts.filter(|range| !range.is_empty());
    parts.map(move |range| start + range.start..start + range.end)
}

/// Drops all private pages of an idle instance but the header's.
fn drop_all(origin: &Origin, start: usize) -> Result<(), ResetError> {
    ranges(origin, start).try_for_each(drop_pages)
}

/// Drops the private pages of a range of an idle instance, which then shows its image and, beyond it, zeros.
fn drop_pages(range: Range<usize>) -> Result<(), ResetError> {
    // SAFETY: state and memory of one slot, by both callers, who have its instance borrowed with no call in progress.
    unsafe { os::advise(range.start as *mut u8, range.len(), libc::MADV_DONTNEED) }
        .map_err(ResetError::System)
}

/// Puts pages back to the image: so many in place, the rest by dropping them.
struct PutBack<'a> {
    origin: &'a Origin,
    /// Where the slot starts.
    start: usize,
    /// The most pages that stay private.
    keep: usize,
    /// Pages are found and counted, and left as they are: all are dropped afterwards.
    finds_only: bool,
    report: ResetReport,
    /// The runs of pages that stayed private, as page numbers from the slot's start.
    kept: Vec<(u32, u32)>,
}

impl<'a> PutBack<'a> {
    fn new(origin: &'a Origin, start: usize, keep: usize) -> PutBack<'a> {
        PutBack {
            origin,
            start,
            keep,
            finds_only: false,
            report: ResetReport::default(),
            kept: Vec::new(),
        }
    }

    /// Finds the private pages of the instance and puts them back; `None` when a scan fails, with an unknown part put back.
    fn scan(&mut self, page_map: &PageMap) -> Option<()> {
        let origin = self.origin;
        let mut record = origin.written.borrow_mut();
        let header_page = origin.header_page;
        let mut recorder = (record.is_empty()).then(|| Recorder::new(&mut record, header_page));
        for range in ranges(origin, self.start) {
            self.scan_range(page_map, range, &mut recorder)?;
        }
        record.sort_unstable();
        Some(())
    }

    fn scan_range(
        &mut self,
        page_map: &PageMap,
        range: Range<usize>,
        recorder: &mut Option<Recorder<'_>>,
    ) -> Option<()> {
        let mut runs = [PageRun::default(); RUNS_PER_SCAN];
        let (mut from, end) = (range.start as u64, range.end as u64);
        while from < end {
            let (found, stopped) = page_map.scan(Pages::Private, from, end, &mut runs).ok()?;
            for run in &runs[..found] {
                let first = (run.start as usize - self.start) / PAGE_BYTES;
                let pages = (run.end - run.start) as usize / PAGE_BYTES;
                if let Some(recorder) = recorder {
                    recorder.add(first, pages);
                }
                let kept = self.run(first, pages).ok()?;
                if kept > 0 {
                    self.kept.push((first as u32, (first + kept) as u32));
                }
            }
            if stopped <= from {
                return None;
            }
            from = stopped;
        }
        Some(())
    }

    /// Puts one run of pages back and says how many of them stayed private, the first ones.
    fn run(&mut self, first: usize, pages: usize) -> Result<usize, ResetError> {
        let offset = first * PAGE_BYTES;
        let kept = pages.min(self.keep - self.report.pages_kept);
        if self.finds_only {
            self.report.pages_kept += kept;
            self.report.pages_dropped += pages - kept;
            return Ok(kept);
        }
        let kept_bytes = kept * PAGE_BYTES;
        // A run was found by a scan of one part and lies in it.
        let part = self.origin.parts.iter().find(|part| offset < part.end());
        let part = part.expect("scans look at the parts only");
        let in_part = offset - part.start;
        let from_file = kept_bytes.min(part.file_bytes.saturating_sub(in_part));
        // SAFETY: the run lies in one slot's accessible state and memory (a scan was asked for no more), of which no
        // reference is live: `reset` has the instance borrowed with no call in progress. The image's mapping is as long as the
        // file, which has the first bytes of the part; what lies beyond them was zero when it was captured.
        unsafe {
            let at = (self.start + offset) as *mut u8;
            let source = self
                .origin
                .mapping
                .base()
                .wrapping_add(part.file_start + in_part);
            std::ptr::copy_nonoverlapping(source, at, from_file);
            // Not with a length of zero: a masked store that stores nothing to a page it may not write is slow.
            if kept_bytes > from_file {
                std::ptr::write_bytes(at.add(from_file), 0, kept_bytes - from_file);
            }
        }
        if pages > kept {
            let end = self.start + offset + pages * PAGE_BYTES;
            drop_pages(self.start + offset + kept_bytes..end)?;
        }
        self.report.pages_kept += kept;
        self.report.pages_dropped += pages - kept;
        Ok(kept)
    }
}

/// Notes which pages a call wrote, within bounds, for restores to make them private ahead.
struct Recorder<'a> {
    runs: &'a mut Vec<(u32, u32)>,
    pages: usize,
}

impl Recorder<'_> {
    fn new(runs: &mut Vec<(u32, u32)>, header_page: u32) -> Recorder<'_> {
        runs.push((header_page, header_page + 1));
        Recorder { runs, pages: 1 }
    }

    fn add(&mut self, first: usize, pages: usize) {
        let pages = pages.min(WRITTEN_PAGES_MAX - self.pages);
        if pages == 0 {
            return;
        }
        let (first, end) = (first as u32, (first + pages) as u32);
        let full = self.runs.len() == WRITTEN_RUNS_MAX;
        match self.runs.last_mut() {
            Some(last) if last.1 == first => last.1 = end,
            _ if full => return,
            _ => self.runs.push((first, end)),
        }
        self.pages += pages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_counts_pages_and_their_tables_once() {
        let pages = |runs: &[(u32, u32)]| held_bytes(0, runs) / PAGE_BYTES as u64;
        assert_eq!(pages(&[]), 1 + 2);
        assert_eq!(pages(&[(0, 1)]), 1 + 2, "the header's page");
        assert_eq!(pages(&[(0, 1), (3, 5), (9, 10)]), 1 + 3 + 2);
        assert_eq!(pages(&[(511, 513)]), 1 + 2 + 3);
        assert_eq!(pages(&[(3, 4), (600, 601), (700, 701)]), 1 + 3 + 3);
        assert_eq!(pages(&[(512, 2048)]), 1 + 1536 + 5);
        // The second gigabyte.
        assert_eq!(pages(&[(1 << 18, (1 << 18) + 1)]), 1 + 1 + 4);
        // State of more than one page.
        let pages = |runs: &[(u32, u32)]| held_bytes(600, runs) / PAGE_BYTES as u64;
        assert_eq!(pages(&[]), 1 + 2);
        assert_eq!(pages(&[(599, 602)]), 3 + 2);
        assert_eq!(pages(&[(1, 2), (700, 701)]), 3 + 3);
    }
}

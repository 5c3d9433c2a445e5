//! The reading of what calls need of an image from the disk, ahead of them.
//!
//! What a call touches lies here and there in its memory, and so in the file. A disk reads requests for pieces that lie apart half as fast
//! as one sequence of as many bytes, so the file system is asked to lay them one after another ([`Gathering`]): in the file
//! they stay where they are, for an instance is a mapping of it.

use crate::layout::PAGE_BYTES;
use crate::sandbox::Contents;
use crate::sandbox::extents::{self, Extent};
use crate::sandbox::os::{self, Reservation};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::slice;

/// A prefetch waits for the disk by looking at one page in so many bytes: the kernel makes requests of no less where it can, and copying
/// all would take as long again as the faults that are saved.
const WAIT_STEP_BYTES: u64 = 64 << 10;

/// Pieces on the disk that are not worth gathering: what the requests for them take besides reading is a few hundred microseconds.
const PIECES_MAX: usize = 32;

/// Parts of image files to be read from disk, by whichever thread has the time.
#[derive(Debug)]
pub struct Prefetch {
    /// Each file once: a descriptor for each of thousands of ranges would be more than a process may have, and where there are threads the
    /// kernel takes milliseconds to make room for them.
    files: Vec<(File, Vec<Range<u64>>)>,
}

impl Prefetch {
    /// Of these ranges of the contents. For an image over a base, what lies beneath its own pages is read along.
    pub(super) fn new(contents: &Contents, ranges: &[Range<u64>]) -> io::Result<Prefetch> {
        let files = [Some(contents.file()), contents.base()].into_iter();
        let files = files
            .flatten()
            .map(|of| Ok((of.try_clone()?, ranges_of(contents, of, ranges))));
        Ok(Prefetch {
            files: files.collect::<io::Result<_>>()?,
        })
    }

    fn ranges(&self) -> impl Iterator<Item = (&File, &Range<u64>)> {
        let each = self.files.iter();
        each.flat_map(|(file, ranges)| ranges.iter().map(move |range| (file, range)))
    }

    /// Has the disk read all of it, and returns when it is in the page cache. How many bytes it was.
    pub fn run(&self) -> io::Result<u64> {
        for (file, range) in self.ranges() {
            os::will_need(file, range);
        }
        for (file, range) in self.ranges() {
            let steps = range.clone().step_by(WAIT_STEP_BYTES as usize);
            let last = range.end.saturating_sub(1);
            for at in steps.skip(1).chain(std::iter::once(last)) {
                file.read_at(&mut [0], at)?;
            }
        }
        for (file, ranges) in &self.files {
            let Some(end) = ranges.iter().map(|range| range.end).max() else {
                continue;
            };
            let mapping = Reservation::of_file(file, end as usize)?;
            let is_there =
                |range: &&Range<u64>| mapping.is_in_core(range.start as usize..range.end as usize);
            // Parts of a range that lie apart on the disk come in any order.
            for range in ranges.iter().filter(|range| !is_there(range)) {
                for at in range.clone().step_by(PAGE_BYTES) {
                    file.read_at(&mut [0], at)?;
                }
            }
        }
        let bytes = self.ranges().map(|(_, range)| range.end - range.start);
        Ok(bytes.sum())
    }
}

/// What calls need of an image's file, and of its base's, to be laid in one piece on the disk, by whichever thread has the time.
#[derive(Debug)]
pub struct Gathering {
    of_file: Vec<Range<u64>>,
    of_base: Vec<Range<u64>>,
}

impl Gathering {
    /// Of these ranges of the contents.
    pub(super) fn new(contents: &Contents, ranges: &[Range<u64>]) -> Gathering {
        let of = |file| ranges_of(contents, file, ranges);
        Gathering {
            of_file: of(contents.file()),
            of_base: contents.base().map(of).unwrap_or_default(),
        }
    }

    /// Has the file system lay what is scattered in one piece, where it can (ext4) and it lies in many.
    ///
    /// The files are open for reading and writing. They keep their bytes and their modification times, and may be in use; `spare` makes
    /// an empty file without a name in their file system, which gives its place to them. What fails halfway leaves them as good as
    /// before. Whether anything was moved.
    pub fn run(
        &self,
        file: &File,
        base: Option<&File>,
        spare: impl Fn() -> io::Result<File>,
    ) -> io::Result<bool> {
        let mut gathered = false;
        let files = [(Some(file), &self.of_file), (base, &self.of_base)];
        for (file, ranges) in files {
            let Some(file) = file else { continue };
            gathered |= match gather(file, ranges, &spare) {
                Err(error) if extents::is_unsupported(&error) => false,
                result => result?,
            };
        }
        Ok(gathered)
    }
}

/// What of these ranges of the contents one of their files has, as ranges of that file.
fn ranges_of(contents: &Contents, of: &File, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let ranges = contents.file_ranges(ranges);
    let ranges = ranges.filter(|(file, _)| std::ptr::eq(*file, of));
    ranges.map(|(_, range)| range).collect()
}

/// Copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// As [`Gathering::run`], of one file.
fn gather(
    file: &File,
    ranges: &[Range<u64>],
    spare: impl Fn() -> io::Result<File>,
) -> io::Result<bool> {
    let scattered = pieces(&extents::extents(file)?, ranges);
    if scattered <= PIECES_MAX {
        return Ok(false);
    }
    let donor = spare()?;
    let bytes = ranges.iter().map(|range| range.end - range.start).sum();
    os::allocate(&donor, bytes)?;
    // On a disk without large free areas nothing is won.
    if pieces(&extents::extents(&donor)?, slice::from_ref(&(0..bytes))) > scattered / 2 {
        return Ok(false);
    }
    let mut offset = 0;
    for range in ranges {
        copy(file, range.clone(), &donor, offset)?;
        offset += range.end - range.start;
    }
    // From here on both places have the same bytes, so it is all one which of them a power failure leaves to the file: not every
    // mount of ext4 writes data before it says where they are.
    donor.sync_data()?;
    let mut offset = 0;
    for range in ranges {
        extents::exchange(file, range.clone(), &donor, offset)?;
        offset += range.end - range.start;
    }
    Ok(true)
}

fn copy(from: &File, range: Range<u64>, to: &File, offset: u64) -> io::Result<()> {
    let mut buffer = vec![0; ((range.end - range.start) as usize).min(COPY_BYTES)];
    for at in range.clone().step_by(COPY_BYTES) {
        let bytes = (range.end - at).min(COPY_BYTES as u64) as usize;
        from.read_exact_at(&mut buffer[..bytes], at)?;
        to.write_all_at(&buffer[..bytes], offset + at - range.start)?;
    }
    Ok(())
}

/// In how many pieces these ranges of a file lie on the disk, in their order.
fn pieces(extents: &[Extent], ranges: &[Range<u64>]) -> usize {
    let mut pieces = 0;
    let mut end_on_disk = None;
    let mut extents = extents.iter().peekable();
    for range in ranges {
        while let Some(extent) = extents.peek() {
            let from = extent.bytes.start.max(range.start);
            let to = extent.bytes.end.min(range.end);
            if from < to {
                let on_disk = extent.on_disk + (from - extent.bytes.start);
                pieces += usize::from(end_on_disk != Some(on_disk));
                end_on_disk = Some(on_disk + (to - from));
            }
            if extent.bytes.end > range.end {
                break;
            }
            extents.next();
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_counted_as_the_disk_has_them() {
        let extent = |bytes, on_disk| Extent { bytes, on_disk };
        let whole = [extent(0..100, 1000)];
        assert_eq!(pieces(&whole, slice::from_ref(&(0..100))), 1);
        assert_eq!(pieces(&whole, &[0..10, 20..30, 30..40]), 2);
        assert_eq!(pieces(&[], slice::from_ref(&(0..10))), 0);
        // Apart in the file, and one after another on the disk.
        let gathered = [
            extent(0..10, 500),
            extent(10..20, 1010),
            extent(20..30, 510),
            extent(30..50, 1030),
        ];
        assert_eq!(pieces(&gathered, &[0..10, 20..30]), 1);
        assert_eq!(pieces(&gathered, &[0..15, 20..30]), 3);
        assert_eq!(pieces(&gathered, &[5..8, 35..60]), 2);
        // A hole between.
        let holed = [extent(0..10, 0), extent(20..30, 10)];
        assert_eq!(pieces(&holed, slice::from_ref(&(0..30))), 1);
    }
}

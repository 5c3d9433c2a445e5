//! The bytes of an image, as one sequence: those of a file, or those of a *base* with runs of another file's pages laid over it.
//!
//! Mapping them costs one mapping, and two more for each run, whose neighbours are mappings of their own then.

use super::os::{self, Access, Reservation};
use crate::layout::PAGE_BYTES;
use std::fs::File;
use std::io;
use std::ops::Range;

/// See above.
#[derive(Debug)]
pub(crate) struct Contents {
    file: File,
    /// Whose pages show where no run lies.
    base: Option<File>,
    /// What of the file lies over the base: as (first, end) page numbers of the contents, ascending and apart. Their pages follow
    /// the file's first page.
    runs: Vec<(u32, u32)>,
    bytes: usize,
}

/// A part of the contents, and where a file has it.
#[derive(Debug)]
struct Piece<'a> {
    range: Range<usize>,
    file: &'a File,
    offset: u64,
}

impl Contents {
    /// The whole of a file of so many bytes.
    pub fn of_file(file: File, bytes: usize) -> Contents {
        Contents {
            file,
            base: None,
            runs: Vec::new(),
            bytes,
        }
    }

    /// A base with runs of a file's pages over it, up to so many bytes.
    ///
    /// Whoever made this checked that the runs are ascending, apart and within, and that the files are as long as they say.
    pub fn over(base: File, file: File, runs: Vec<(u32, u32)>, bytes: usize) -> Contents {
        Contents {
            file,
            base: Some(base),
            runs,
            bytes,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The file of its own: all there is, or what lies over the base.
    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn base(&self) -> Option<&File> {
        self.base.as_ref()
    }

    /// Mappings that it takes beyond one.
    pub fn further_mappings(&self) -> usize {
        2 * self.runs.len()
    }

    /// What shows a range, from below: the first piece is all of it, later ones lie over it.
    fn layers(&self, range: Range<usize>) -> impl Iterator<Item = Piece<'_>> {
        let below = Piece {
            range: range.clone(),
            file: self.base.as_ref().unwrap_or(&self.file),
            offset: range.start as u64,
        };
        let mut file_page = 1;
        let over = self.runs.iter().filter_map(move |(first, end)| {
            let start = *first as usize * PAGE_BYTES;
            let file_start = file_page * PAGE_BYTES;
            file_page += (end - first) as usize;
            let from = start.max(range.start);
            let to = (*end as usize * PAGE_BYTES).min(range.end);
            (from < to).then(|| Piece {
                range: from..to,
                file: &self.file,
                offset: (file_start + from - start) as u64,
            })
        });
        std::iter::once(below).chain(over)
    }

    /// The parts of files that hold these ranges of the contents, each list by its offset.
    pub fn file_ranges<'a>(
        &'a self,
        ranges: &'a [Range<u64>],
    ) -> impl Iterator<Item = (&'a File, Range<u64>)> {
        ranges.iter().flat_map(|range| {
            let layers = self.layers(range.start as usize..range.end as usize);
            layers.map(|piece| {
                let bytes = piece.range.len() as u64;
                (piece.file, piece.offset..piece.offset + bytes)
            })
        })
    }

    /// Maps a range of them privately, to be written.
    ///
    /// # Safety
    /// As [`os::map_file`], for as many bytes as the range has.
    pub unsafe fn map_over(&self, at: *mut u8, range: Range<usize>) -> io::Result<()> {
        debug_assert!(range.end <= self.bytes);
        for piece in self.layers(range.clone()) {
            // SAFETY: forwarded; every piece lies in the range.
            unsafe {
                os::map_file(
                    at.add(piece.range.start - range.start),
                    piece.range.len(),
                    piece.file,
                    piece.offset,
                    Access::ReadWrite,
                )?;
            }
        }
        Ok(())
    }

    /// Maps all of them for reading, at an address of the kernel's choice.
    pub fn map(&self) -> io::Result<Reservation> {
        let mut layers = self.layers(0..self.bytes);
        let below = layers.next().expect("the first is always there");
        let mapping = Reservation::of_file(below.file, self.bytes)?;
        for piece in layers {
            // SAFETY: the piece lies in the mapping, which was just made and which nothing refers to.
            unsafe {
                os::map_file(
                    mapping.base().add(piece.range.start),
                    piece.range.len(),
                    piece.file,
                    piece.offset,
                    Access::Read,
                )?;
            }
        }
        Ok(mapping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const PAGE: u64 = PAGE_BYTES as u64;

    /// A file with this byte in each of its pages.
    fn file(pages: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        for (number, byte) in pages.iter().enumerate() {
            file.write_all_at(&[*byte; PAGE_BYTES], number as u64 * PAGE)
                .unwrap();
        }
        file
    }

    /// The byte of each page.
    fn bytes_of(mapping: &Reservation) -> Vec<u8> {
        (0..mapping.bytes() / PAGE_BYTES)
            // SAFETY: within the mapping of files that are as long.
            .map(|page| unsafe { *mapping.base().add(page * PAGE_BYTES + 7) })
            .collect()
    }

    #[test]
    fn runs_lie_over_the_base_and_may_reach_beyond_it() {
        let base = file(b"0123");
        let over = file(b"-abcd");
        let contents = Contents::over(base, over, vec![(1, 2), (3, 6)], 6 * PAGE_BYTES);
        assert_eq!(bytes_of(&contents.map().unwrap()), b"0a2bcd");
        assert_eq!(contents.further_mappings(), 4);

        let slot = Reservation::new(6 * PAGE_BYTES, PAGE_BYTES).unwrap();
        // SAFETY: the reservation is as long, and nothing refers to it.
        unsafe { contents.map_over(slot.base(), 0..6 * PAGE_BYTES).unwrap() };
        assert_eq!(bytes_of(&slot), b"0a2bcd");
        let part = Reservation::new(3 * PAGE_BYTES, PAGE_BYTES).unwrap();
        // SAFETY: as above.
        unsafe {
            contents
                .map_over(part.base(), 2 * PAGE_BYTES..5 * PAGE_BYTES)
                .unwrap()
        };
        assert_eq!(bytes_of(&part), b"2bc");
    }

    #[test]
    fn a_file_alone_is_one_mapping() {
        let contents = Contents::of_file(file(b"012"), 3 * PAGE_BYTES);
        assert_eq!(bytes_of(&contents.map().unwrap()), b"012");
        assert_eq!(contents.further_mappings(), 0);
        assert_eq!(contents.layers(PAGE_BYTES..2 * PAGE_BYTES).count(), 1);
    }

    #[test]
    fn what_is_read_ahead_is_read_from_the_file_that_shows() {
        let contents = Contents::over(
            file(b"0123"),
            file(b"-abc"),
            vec![(1, 2), (3, 5)],
            5 * PAGE_BYTES,
        );
        let ranges = [0..2 * PAGE, 4 * PAGE..5 * PAGE];
        let of: Vec<_> = contents
            .file_ranges(&ranges)
            .map(|(file, range)| {
                let is_base = std::ptr::eq(file, contents.base().unwrap());
                (is_base, range.start / PAGE, range.end / PAGE)
            })
            .collect();
        assert_eq!(
            of,
            [(true, 0, 2), (false, 1, 2), (true, 4, 5), (false, 3, 4)]
        );
    }
}

//! Images over others: what an image has in common with a *base* is stored once, on disk and in the page cache.
//!
//! The base is an image whose file is whole. One over it has the pages that differ, in a few runs, and names the base by its
//! checksum. Each run costs a restore two mappings, so near runs are joined, at the price of pages that are stored twice, and
//! an image of which a base would save little has none.

use super::image::{CHECKSUM_BYTES, is_zero};
use crate::layout::PAGE_BYTES;

/// The most runs.
pub(super) const RUNS_MAX: usize = 8;

/// Equal pages between two runs that are too few for a mapping of their own.
const GAP_PAGES_MIN: u32 = 4;

/// Pages that a base has to save, which are also to be no fewer than those it does not save.
const SAVED_PAGES_MIN: u64 = 32;

/// What lies over a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub base: [u8; CHECKSUM_BYTES],
    /// As (first, end) page numbers of the contents, ascending and apart.
    pub runs: Vec<(u32, u32)>,
}

impl Layer {
    pub fn pages(&self) -> u64 {
        self.runs
            .iter()
            .map(|(first, end)| u64::from(end - first))
            .sum()
    }

    /// Whether the page lies over the base.
    pub fn has(&self, page: u32) -> bool {
        self.runs
            .iter()
            .any(|(first, end)| (*first..*end).contains(&page))
    }

    /// Whether the runs are in order and, with a base of so many pages, show all of so many. What was read from a file may be
    /// anything.
    pub fn is_sound(&self, pages: u64, base_pages: u64) -> bool {
        let ordered = self.runs.iter().all(|run| run.0 < run.1)
            && self.runs.windows(2).all(|pair| pair[0].1 < pair[1].0);
        let (last, beyond) = match self.runs.last() {
            Some(run) => (u64::from(run.1), *run),
            None => (0, (0, 0)),
        };
        let shown = pages <= base_pages
            || (u64::from(beyond.0) <= base_pages && u64::from(beyond.1) == pages);
        // The first page of each file is its description.
        let apart = self.runs.first().is_none_or(|run| run.0 > 0);
        self.runs.len() <= RUNS_MAX && ordered && apart && last <= pages && shown
    }
}

/// What of an image's pages, from number 1, has to lie over a base; `None` when the base would save too little.
pub(super) fn runs_over<'a>(
    pages: impl Iterator<Item = &'a [u8]>,
    base: impl Fn(usize) -> Option<&'a [u8]>,
) -> Option<Vec<(u32, u32)>> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let mut kept = 0u64;
    for (number, page) in (1..).zip(pages) {
        kept += u64::from(!is_zero(page));
        if base(number as usize) == Some(page) {
            continue;
        }
        match runs.last_mut() {
            Some(last) if number - last.1 < GAP_PAGES_MIN => last.1 = number + 1,
            _ => runs.push((number, number + 1)),
        }
    }
    while runs.len() > RUNS_MAX {
        let gap = |at: usize| runs[at + 1].0 - runs[at].1;
        let least = (0..runs.len() - 1).min_by_key(|at| gap(*at))?;
        runs[least].1 = runs.remove(least + 1).1;
    }
    let over: u64 = runs.iter().map(|run| u64::from(run.1 - run.0)).sum();
    (over + SAVED_PAGES_MIN.max(over) <= kept).then_some(runs)
}

/// The pages of a mapped image file.
pub(super) fn page_of(contents: &[u8], number: usize) -> Option<&[u8]> {
    contents.get(number * PAGE_BYTES..(number + 1) * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages with these bytes, the base's and the image's, and what lies over.
    fn over(base: &[u8], image: &[u8]) -> Option<Vec<(u32, u32)>> {
        let pages = |bytes: &[u8]| -> Vec<Vec<u8>> {
            bytes.iter().map(|byte| vec![*byte; PAGE_BYTES]).collect()
        };
        let (base, image) = (pages(base), pages(image));
        runs_over(image.iter().map(Vec::as_slice), |number| {
            base.get(number - 1).map(Vec::as_slice)
        })
    }

    fn with(len: usize, changes: &[usize]) -> Vec<u8> {
        let mut bytes = vec![1; len];
        for at in changes {
            bytes[*at] = 2;
        }
        bytes
    }

    #[test]
    fn pages_that_differ_make_runs_and_near_ones_are_joined() {
        let base = with(200, &[]);
        assert_eq!(over(&base, &with(200, &[])), Some(vec![]));
        assert_eq!(over(&base, &with(200, &[4])), Some(vec![(5, 6)]));
        assert_eq!(over(&base, &with(200, &[4, 8])), Some(vec![(5, 10)]));
        assert_eq!(
            over(&base, &with(200, &[4, 9, 199])),
            Some(vec![(5, 6), (10, 11), (200, 201)])
        );
    }

    #[test]
    fn beyond_the_most_runs_the_nearest_are_joined() {
        let base = with(2000, &[]);
        let far: Vec<usize> = (0..9).map(|n| n * 100 + n).collect();
        let runs = over(&base, &with(2000, &far)).unwrap();
        assert_eq!(runs.len(), RUNS_MAX);
        assert_eq!(runs[0], (1, 103), "the first two are nearest to each other");
        let page = |at: &usize| {
            runs.iter()
                .any(|run| (run.0..run.1).contains(&(*at as u32 + 1)))
        };
        assert!(far.iter().all(page));
    }

    #[test]
    fn an_image_that_would_save_little_has_no_base() {
        // A small one; one of which more than half differs; one that is mostly zeros.
        assert_eq!(over(&with(31, &[]), &with(31, &[])), None);
        assert_eq!(over(&with(32, &[]), &with(32, &[])), Some(vec![]));
        let half: Vec<usize> = (0..101).collect();
        assert_eq!(over(&with(200, &[]), &with(200, &half)), None);
        let zeros = vec![0; 200];
        assert_eq!(over(&zeros, &zeros), None);
    }

    #[test]
    fn what_is_longer_than_its_base_lies_over_it() {
        let base = with(100, &[]);
        assert_eq!(over(&base, &with(120, &[])), Some(vec![(101, 121)]));
        assert_eq!(over(&base, &with(60, &[])), Some(vec![]));
    }

    #[test]
    fn runs_that_do_not_show_every_page_are_not_sound() {
        let sound = |runs: &[(u32, u32)], pages, base| {
            let runs = runs.to_vec();
            Layer {
                base: [0; 32],
                runs,
            }
            .is_sound(pages, base)
        };
        assert!(sound(&[], 10, 10));
        assert!(sound(&[(1, 3), (5, 10)], 10, 10));
        assert!(sound(&[(8, 12)], 12, 10));
        assert!(!sound(&[], 11, 10));
        assert!(!sound(&[(8, 11)], 12, 10));
        assert!(!sound(&[(11, 12)], 12, 10), "page 10 is nowhere");
        assert!(!sound(&[(5, 11)], 10, 10));
        assert!(!sound(&[(0, 1)], 10, 10), "the description's page");
        assert!(!sound(&[(3, 3)], 10, 10));
        assert!(!sound(&[(5, 4)], 10, 10));
        assert!(!sound(&[(1, 3), (2, 4)], 10, 10));
        assert!(!sound(&[(4, 6), (1, 2)], 10, 10));
        let many: Vec<_> = (0..9).map(|n| (n * 2 + 1, n * 2 + 2)).collect();
        assert!(!sound(&many, 100, 100));
    }
}

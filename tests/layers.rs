//! Images over a base: they are as if they were whole, whatever is written to their instances, and refuse any other base.

mod support;

use dormouse::{CheckedImage, Image, ImageError, Imports, Instance, Linked};
use std::fs::File;
use std::os::unix::fs::FileExt;
use support::*;

const PAGE: u64 = 4096;

/// 8 MiB; `fill(seed, from, pages)` gives so many pages each a word of its own at their start and end, `sum` is of all words.
const SOURCE: &str = r#"(module
    (memory (export "memory") 128 256)
    (global $calls (mut i32) (i32.const 0))
    (func (export "fill") (param $seed i64) (param $from i32) (param $pages i32) (local $at i32)
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (local.set $at (i32.shl (local.get $from) (i32.const 12)))
        (loop $l (if (local.get $pages) (then
            (i64.store (local.get $at) (i64.add (local.get $seed) (i64.extend_i32_u (local.get $at))))
            (i64.store offset=4088 (local.get $at) (i64.xor (local.get $seed) (i64.extend_i32_u (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 4096)))
            (local.set $pages (i32.sub (local.get $pages) (i32.const 1)))
            (br $l)))))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "calls") (result i32) (global.get $calls)))"#;

/// A module with an image of an instance that wrote all but the last megabyte, the base, in a file.
struct Fixture {
    linked: Linked,
    base: File,
}

fn fill(instance: &mut Instance, seed: u64, from: u64, pages: u64) {
    call(instance, "fill", &[seed, from, pages]).unwrap();
}

impl Fixture {
    fn new() -> Fixture {
        let linked = linked(&engine(), SOURCE, &Imports::new());
        let base = image_file();
        Image::capture(&mut Fixture::filled(&linked), &base).unwrap();
        Fixture { linked, base }
    }

    /// As the instance that the base is of.
    fn filled(linked: &Linked) -> Instance {
        let mut instance = fresh(linked);
        fill(&mut instance, 1, 0, 1792);
        instance
    }

    /// An instance that differs from the base in these runs of pages.
    fn changed(&self, runs: &[(u64, u64)]) -> Instance {
        let mut instance = Fixture::filled(&self.linked);
        for (number, (from, pages)) in (2..).zip(runs) {
            fill(&mut instance, number << 40, *from, *pages);
        }
        instance
    }

    fn over(&self, instance: &mut Instance) -> File {
        let file = image_file();
        let report = Image::capture_over(instance, &file, &self.base).unwrap();
        assert!(report.has_base);
        assert_eq!(file.metadata().unwrap().len(), report.file_bytes);
        file
    }

    fn open(&self, file: &File) -> Result<Image, ImageError> {
        let base = self.base.try_clone().unwrap();
        self.open_with(file, Some(base))
    }

    fn open_with(&self, file: &File, base: Option<File>) -> Result<Image, ImageError> {
        let checked = CheckedImage::check(file.try_clone().unwrap(), base)?;
        Image::open_checked(&self.linked, checked)
    }
}

/// Runs that lie in the state's page and memory's first, in the middle, next to each other, and beyond the base's end.
const RUNS: [(u64, u64); 5] = [(0, 1), (300, 2), (320, 1), (900, 100), (1790, 60)];

#[test]
fn an_image_over_a_base_restores_what_was_captured_in_the_few_pages_that_differ() {
    let fixture = Fixture::new();
    let mut original = fixture.changed(&RUNS);
    let file = fixture.over(&mut original);
    assert!(file.metadata().unwrap().len() < 200 * PAGE);
    let image = fixture.open(&file).unwrap();
    assert!(image.pages() < 190, "{} pages", image.pages());
    assert!(image.mappings() > fixture.open(&fixture.base).unwrap().mappings());
    let mut restored = restore(&image);
    assert!(restored.memory() == original.memory());
    assert_eq!(
        call(&mut restored, "calls", &[]).unwrap(),
        call(&mut original, "calls", &[]).unwrap()
    );
    // The base is what it was, also in the slots of the others.
    drop(restored);
    let base = fixture.open(&fixture.base).unwrap();
    assert!(restore(&base).memory() == Fixture::filled(&fixture.linked).memory());
    assert!(restore(&image).memory() == original.memory());
}

#[test]
fn whatever_is_written_over_a_base_is_gone_after_a_reset() {
    let fixture = Fixture::new();
    let mut original = fixture.changed(&RUNS);
    let image = fixture.open(&fixture.over(&mut original)).unwrap();
    let expected = original.memory().to_vec();
    let mut instance = restore(&image);
    let mut state = 7u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(99);
        (state >> 33) % below
    };
    for round in 0..60 {
        // Few pages are copied back, many dropped; runs cross the borders between the files.
        let pages = [1, 3, 40, 600][random(4) as usize];
        let from = random(2048 - pages);
        fill(&mut instance, round << 32, from, pages);
        if random(3) == 0 {
            call(&mut instance, "grow", &[random(40)]).unwrap();
        }
        assert!(instance.memory() != expected, "the call wrote nothing");
        if random(8) == 0 {
            instance = restore(&image);
        } else {
            instance.reset(Box::new(())).unwrap();
            if random(4) == 0 {
                instance.trim().unwrap();
            }
        }
        assert!(instance.memory() == expected, "round {round}");
        assert_eq!(call(&mut instance, "calls", &[]).unwrap(), [6]);
    }
}

#[test]
fn a_base_that_is_missing_damaged_or_another_is_refused() {
    let fixture = Fixture::new();
    let file = fixture.over(&mut fixture.changed(&RUNS));
    assert!(matches!(
        fixture.open_with(&file, None),
        Err(ImageError::NoBase)
    ));
    // Of the same module and as long, but other bytes.
    let other = image_file();
    let mut instance = fresh(&fixture.linked);
    fill(&mut instance, 5, 0, 1792);
    Image::capture(&mut instance, &other).unwrap();
    assert!(matches!(
        fixture.open_with(&file, Some(other)),
        Err(ImageError::NoBase)
    ));
    // What lies over a base is none.
    let again = file.try_clone().unwrap();
    assert!(fixture.open_with(&file, Some(again)).is_err());
    let nothing = image_file();
    let mut plain = fixture.changed(&[(0, 1)]);
    assert!(matches!(
        Image::capture_over(&mut plain, &nothing, &file),
        Err(ImageError::NoBase)
    ));
    // Each byte of the description, and some of the pages, of both files.
    for file_at in [&file, &fixture.base] {
        let length = file_at.metadata().unwrap().len();
        let described = 0..200;
        for at in described.chain([4095, 4096, 4096 + 5000, length - 1]) {
            let mut byte = [0];
            file_at.read_exact_at(&mut byte, at).unwrap();
            file_at.write_all_at(&[byte[0] ^ 1], at).unwrap();
            assert!(fixture.open(&file).is_err(), "byte {at} of {length}");
            file_at.write_all_at(&byte, at).unwrap();
        }
    }
    assert!(fixture.open(&file).is_ok());
}

#[test]
fn an_image_that_has_little_in_common_with_another_is_whole() {
    let fixture = Fixture::new();
    let mut instance = fixture.changed(&[(0, 1500)]);
    let file = image_file();
    let report = Image::capture_over(&mut instance, &file, &fixture.base).unwrap();
    assert!(!report.has_base);
    let image = fixture.open_with(&file, None).unwrap();
    assert!(restore(&image).memory() == instance.memory());
    assert_eq!(
        image.mappings(),
        fixture.open(&fixture.base).unwrap().mappings()
    );
}

#[test]
fn further_memories_lie_over_a_base_too() {
    let source = r#"(module
        (memory (export "memory") 16) (memory $second (export "second") 16 32)
        (func (export "fill") (param $at i32) (param $bytes i32) (param $with i32)
            (memory.fill (local.get $at) (local.get $with) (local.get $bytes))
            (memory.fill $second (local.get $at) (local.get $with) (local.get $bytes)))
        (func (export "bytes") (param i32) (result i32 i32)
            (i32.load8_u (local.get 0)) (i32.load8_u $second (local.get 0))))"#;
    let linked = linked(&engine(), source, &Imports::new());
    let mut instance = fresh(&linked);
    call(&mut instance, "fill", &[0, 1 << 20, 1]).unwrap();
    let base = image_file();
    Image::capture(&mut instance, &base).unwrap();
    call(&mut instance, "fill", &[500_000, 9000, 2]).unwrap();
    let file = image_file();
    let report = Image::capture_over(&mut instance, &file, &base).unwrap();
    assert!(report.has_base);
    assert!(report.pages < 10, "{report:?}");
    let image = Image::open_checked(&linked, CheckedImage::check(file, Some(base)).unwrap());
    let image = image.unwrap();
    let mut restored = restore(&image);
    for _ in 0..3 {
        for at in [0, 499_999, 500_000, 508_999, 509_000, (1 << 20) - 1] {
            let expected = 1 + u64::from((500_000..509_000).contains(&at));
            let found = call(&mut restored, "bytes", &[at]).unwrap();
            assert_eq!(found, [expected, expected], "byte {at}");
        }
        call(&mut restored, "fill", &[400_000, 300_000, 9]).unwrap();
        restored.reset(Box::new(())).unwrap();
    }
}

#[test]
fn a_working_set_is_known_of_both_files() {
    let fixture = Fixture::new();
    let file = fixture.over(&mut fixture.changed(&RUNS));
    let image = fixture.open(&file).unwrap();
    let mut instance = image
        .restore_recorded(Default::default(), Box::new(()))
        .unwrap();
    fill(&mut instance, 1, 890, 20);
    assert!(image.record(&mut instance));
    let note = image.working_set_note().unwrap();
    let noted = |base: &File| {
        let (file, base) = (file.try_clone().unwrap(), base.try_clone().unwrap());
        CheckedImage::check_noted(file, Some(base), &note)
    };
    let (checked, of_use) = noted(&fixture.base).unwrap();
    assert!(of_use);
    let again = Image::open_checked(&fixture.linked, checked).unwrap();
    assert_eq!(again.calls_recorded(), 1);
    let mut restored = restore(&again);
    assert!(restored.memory() == fixture.changed(&RUNS).memory());
    // Another file in the base's place is verified, and is not the base.
    let copy = image_file();
    Image::capture(&mut Fixture::filled(&fixture.linked), &copy).unwrap();
    assert!(
        !noted(&copy).unwrap().1,
        "a copy is verified and serves as well"
    );
    copy.write_all_at(b"damage", 100 * PAGE).unwrap();
    assert!(matches!(noted(&copy), Err(ImageError::Damaged)));
}

//! The loaders of artifacts and images on damaged files: each is refused, or is what was written; nothing panics.
//!
//! With its checksum put right again a damaged file gets as far as the readers behind. Such a file is trusted for its machine
//! code, by design, so nothing of it is executed here; but everything that is read of it is indexed with, and every index is
//! checked.

use crate::modules::{mill, pages, plain_pages, scribbler, step};
use crate::random::Random;
use crate::values::Value;
use crate::{Canary, Finding, Outcome, Verdict, finding, guest};
use arbitrary::Unstructured;
use dormouse::compile::artifact::Artifact;
use dormouse::layout::PAGE_BYTES;
use dormouse::{CheckedImage, Engine, Image, Imports, Instance, Limits, Linked, Module};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Where an artifact's checksum is, over all of the file but itself.
const ARTIFACT_CHECKSUM: std::ops::Range<usize> = 32..64;
const ARTIFACT_LENGTH: std::ops::Range<usize> = 64..72;
/// Where an image says how many memories it has, how long its contents are, and of how many runs over a base it has the pages; where
/// its checksum is with none of either, and how many bytes each takes.
const IMAGE_MEMORIES: std::ops::Range<usize> = 20..24;
const IMAGE_LENGTH: std::ops::Range<usize> = 56..64;
const IMAGE_RUNS: std::ops::Range<usize> = 72..76;
const IMAGE_FIELDS_BYTES: usize = 112;
const IMAGE_MEMORY_BYTES: usize = 16;
const IMAGE_RUN_BYTES: usize = 8;
/// The number of runs of an image that is whole.
const NO_BASE: u32 = u32::MAX;

/// A file that was written as it should be, and what it belongs to.
struct Original {
    artifact: Vec<u8>,
    image: Vec<u8>,
    /// The base of the image, if it has one.
    base: Option<Vec<u8>>,
    linked: Linked,
}

const SMALL: &str = r#"(module
    (memory (export "memory") 1) (global (export "g") (mut i32) (i32.const 3))
    (table 2 funcref) (elem (i32.const 0) func $f) (data (i32.const 9) "data") (data "passive")
    (func $f (export "f") (param i32) (result i32) (i32.div_u (i32.const 10) (local.get 0)))
    (func $start (global.set 0 (call $f (i32.const 2)))) (start $start))"#;

thread_local! {
    static ENGINE: Engine = guest::engine(Duration::from_millis(1), 256);
    static ORIGINALS: Vec<Original> = {
        let small = wat::parse_str(SMALL).expect("a valid module");
        let whole = [&small, scribbler(), mill()].map(original);
        let over = [pages(), plain_pages()].map(original_over);
        let all = whole.into_iter().chain(over);
        all.map(|original| original.expect("it is all right")).collect()
    };
}

fn original(wasm: &[u8]) -> Result<Original, Finding> {
    let artifact = guest::artifact(wasm)?.ok_or(finding!("too large"))?;
    let linked = ENGINE.with(|engine| guest::link(engine, &artifact))?;
    let mut instance =
        guest::fresh(&linked)?.map_err(|end| finding!("not instantiated: {end:?}"))?;
    let image = guest::frozen(&mut instance, &guest::image_file())?;
    let original = Original {
        artifact,
        image,
        base: None,
        linked,
    };
    original.put_right_as_it_is()
}

/// An image over a base: of an instance that wrote some pages more.
fn original_over(wasm: &[u8]) -> Result<Original, Finding> {
    let mut original = original(wasm)?;
    let span = original.linked.module().function("span");
    let span = span.expect("it has the export");
    let mut instance =
        guest::fresh(&original.linked)?.map_err(|end| finding!("not instantiated: {end:?}"))?;
    let write = |instance: &mut Instance, seed, from, pages| {
        let arguments = [Value::I64(seed), Value::I32(from), Value::I32(pages)];
        guest::call(instance, span, &arguments)
    };
    write(&mut instance, 1, 0, 60)?;
    let (base, over) = (guest::image_file(), guest::image_file());
    let bytes = guest::frozen(&mut instance, &base)?;
    for from in [4, 11, 30] {
        write(&mut instance, 2, from, 3)?;
    }
    let report = Image::capture_over(&mut instance, &over, &base)
        .map_err(|error| finding!("no image over a base: {error}"))?;
    if !report.has_base {
        return Err(finding!("an image with most pages of its base is whole"));
    }
    original.image = guest::contents(&over);
    original.base = Some(bytes);
    original.put_right_as_it_is()
}

impl Original {
    /// That checksums are put where the loaders look for them: otherwise nothing would get behind the first check.
    fn put_right_as_it_is(self) -> Result<Original, Finding> {
        let mut again = self.image.clone();
        put_image_right(&mut again);
        let mut artifact = self.artifact.clone();
        put_artifact_right(&mut artifact);
        match again == self.image && artifact == self.artifact {
            true => Ok(self),
            false => Err(finding!(
                "what a file's checksum is over is not what this target takes it to be"
            )),
        }
    }
}

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damaged {
    Artifact,
    Image,
    /// The base of an image that is not damaged itself.
    Base,
}

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let checksum_put_right = !random.chance(4);
    ORIGINALS.with(|originals| {
        let original = random.pick(originals);
        let what = match (random.chance(2), &original.base) {
            (true, _) => Damaged::Artifact,
            (false, Some(_)) if random.chance(2) => Damaged::Base,
            (false, _) => Damaged::Image,
        };
        let written = match (what, &original.base) {
            (Damaged::Artifact, _) => &original.artifact,
            (Damaged::Base, Some(base)) => base,
            _ => &original.image,
        };
        let mut bytes = written.clone();
        match what {
            Damaged::Base if random.chance(4) => another_base(&mut bytes, original, random),
            _ => damage(&mut bytes, what == Damaged::Artifact, u, random),
        }
        // The canary's error: what was damaged passes for undamaged.
        if checksum_put_right || canary.is_present() {
            match what {
                Damaged::Artifact => put_artifact_right(&mut bytes),
                Damaged::Image | Damaged::Base => put_image_right(&mut bytes),
            }
        }
        let linked = &original.linked;
        let accepted = match (what, &original.base) {
            (Damaged::Artifact, _) => load_artifact(&bytes, original),
            (Damaged::Image, base) => load_image(linked, &bytes, base.as_deref()),
            (Damaged::Base, _) => load_image(linked, &original.image, Some(&bytes)),
        };
        // An image names its base, whatever checksum that has.
        let must_be_refused = !checksum_put_right || what == Damaged::Base;
        if accepted && bytes != *written && must_be_refused {
            return Err(finding!("a damaged file is taken: {what:?}"));
        }
        Ok(Verdict::Checked(1))
    })
}

/// Puts another file into the base's place: one that is an image all right, or the base with pages at other places.
fn another_base(bytes: &mut Vec<u8>, original: &Original, random: &mut Random) {
    let page = PAGE_BYTES * random.below((bytes.len() / PAGE_BYTES) as u64) as usize;
    match random.below(5) {
        0 => *bytes = original.image.clone(),
        1 => bytes.truncate(page),
        2 => drop(bytes.drain(page..page + PAGE_BYTES)),
        3 => bytes.rotate_left(page),
        _ => bytes.extend([0; PAGE_BYTES]),
    }
}

/// Changes a few bytes, or the length, of a file.
fn damage(bytes: &mut Vec<u8>, is_artifact: bool, u: &mut Unstructured<'_>, random: &mut Random) {
    // Machine code is most of an artifact and is not read by a loader.
    let description = text_end(bytes).filter(|_| is_artifact);
    for _ in 0..1 + random.below(6) {
        step(u, random);
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let at = match description {
            Some(end) if end < length && !random.chance(4) => {
                end + random.below((length - end) as u64) as usize
            }
            _ if random.chance(2) => random.below(length.min(320) as u64) as usize,
            _ => random.below(length as u64) as usize,
        };
        let number = random.interesting();
        match random.below(16) {
            0 => bytes.truncate(at),
            1 => bytes.resize(
                length + random.below(2 * PAGE_BYTES as u64) as usize,
                number as u8,
            ),
            2 => {
                let end = (at + 1 + random.below(16) as usize).min(length);
                bytes.drain(at..end);
            }
            3 => {
                let piece = random.bytes(1 + (number % 16) as usize);
                bytes.splice(at..at, piece);
            }
            4 => {
                let from = random.below(length as u64) as usize;
                let count = (1 + (number % 64) as usize).min(length - at.max(from));
                bytes.copy_within(from..from + count, at);
            }
            5 => put(bytes, at & !7, &random.interesting().to_le_bytes()),
            6 => put(bytes, at & !3, &(random.interesting() as u32).to_le_bytes()),
            7..10 => bytes[at] ^= 1 << (number % 8),
            10..13 => bytes[at] = (number % 40) as u8,
            _ => bytes[at] = number as u8,
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Where the first section of an artifact, its text, ends.
fn text_end(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    Some(number(72)?.checked_add(number(80)?)? as usize)
}

/// Writes the length and the checksum of what is there now.
fn put_artifact_right(bytes: &mut [u8]) {
    if bytes.len() < PAGE_BYTES {
        return;
    }
    let length = bytes.len() as u64;
    put(bytes, ARTIFACT_LENGTH.start, &length.to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..ARTIFACT_CHECKSUM.start]);
    hasher.update(&bytes[ARTIFACT_CHECKSUM.end..]);
    put(bytes, ARTIFACT_CHECKSUM.start, hasher.finalize().as_bytes());
}

fn put_image_right(bytes: &mut Vec<u8>) {
    if bytes.len() < PAGE_BYTES {
        return;
    }
    bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES), 0);
    let number = |bytes: &[u8], at: std::ops::Range<usize>| {
        u32::from_le_bytes(bytes[at].try_into().expect("four bytes"))
    };
    let runs = match number(bytes, IMAGE_RUNS) {
        NO_BASE => {
            // The contents of a file that has a base are longer.
            let length = bytes.len() as u64;
            put(bytes, IMAGE_LENGTH.start, &length.to_le_bytes());
            0
        }
        runs => runs as usize,
    };
    let memories = number(bytes, IMAGE_MEMORIES) as usize;
    let fields = IMAGE_FIELDS_BYTES
        .saturating_add(memories.saturating_mul(IMAGE_MEMORY_BYTES))
        .saturating_add(runs.saturating_mul(IMAGE_RUN_BYTES));
    if fields.saturating_add(32) > PAGE_BYTES {
        return;
    }
    // What the description has no room for, a reader of it leaves out.
    bytes[76..80].fill(0);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..fields]);
    for (number, page) in bytes[PAGE_BYTES..].chunks_exact(PAGE_BYTES).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            hasher.update(&(number as u64).to_le_bytes());
            hasher.update(page);
        }
    }
    let checksum = hasher.finalize();
    bytes[fields..PAGE_BYTES].fill(0);
    put(bytes, fields, checksum.as_bytes());
}

const LIMITS: Limits = Limits {
    memory_bytes: 4 << 20,
    table_elements: 1 << 16,
    stack_bytes: 1 << 20,
    cpu_time: None,
};

/// Loads an artifact and reads all there is to read of it, executing nothing.
fn load_artifact(bytes: &[u8], original: &Original) -> bool {
    if let Ok(artifact) = Artifact::parse(bytes) {
        let (index, info) = (artifact.index(), artifact.info());
        let offsets = (0..=index.text_bytes() as u32 + 16).step_by(7);
        for offset in offsets.chain(u32::MAX - 2..=u32::MAX) {
            let _ = index.trap_at(bytes, offset);
            let _ = index.wasm_offset_at(bytes, offset);
            let _ = index.function_at(bytes, offset);
        }
        for function in 0..info.functions.len() as u32 + 2 {
            let _ = index.function_name(bytes, function);
        }
        for export in &info.exports {
            let _ = info.export(&export.name);
        }
        let _ = artifact.check_cpu();
    }
    let Ok(module) = ENGINE.with(|engine| Module::from_artifact(engine, bytes)) else {
        return false;
    };
    for (_, callable) in guest::functions(&module) {
        let _ = module.function_type(callable);
    }
    let Ok(linked) = module.link(&Imports::new()) else {
        return true;
    };
    let _ = load_image(&linked, &original.image, original.base.as_deref());
    if let Ok(mut instance) = Instance::new(&linked, LIMITS, Box::new(())) {
        look_at(&mut instance);
    }
    true
}

/// Opens an image, over a base if there is one, restores it, and looks at what there is, executing nothing.
fn load_image(linked: &Linked, bytes: &[u8], base: Option<&[u8]>) -> bool {
    let written = |bytes: &[u8]| {
        let file = guest::image_file();
        file.write_all_at(bytes, 0).expect("room for an image");
        file
    };
    let Ok(checked) = CheckedImage::check(written(bytes), base.map(written)) else {
        return false;
    };
    let Ok(image) = Image::open_checked(linked, checked) else {
        return false;
    };
    if let Ok(mut instance) = image.restore(LIMITS, Box::new(())) {
        look_at(&mut instance);
        if let Some(byte) = instance.memory().last_mut() {
            *byte ^= 1;
        }
        let _ = instance.reset(Box::new(()));
        let _ = instance.trim();
        look_at(&mut instance);
    }
    true
}

fn look_at(instance: &mut Instance) {
    let info = instance.linked().module().info().clone();
    for export in &info.exports {
        let _ = instance.global(&export.name);
    }
    let sum: u64 = instance.memory().iter().map(|byte| u64::from(*byte)).sum();
    std::hint::black_box((sum, instance.held_bytes()));
    let _ = Image::capture(instance, &guest::image_file());
}

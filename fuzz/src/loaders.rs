//! The loaders of artifacts and images on damaged files: each is refused, or is what was written; nothing panics.
//!
//! With its checksum put right again a damaged file gets as far as the readers behind. Such a file is trusted for its machine
//! code, by design, so nothing of it is executed here; but everything that is read of it is indexed with, and every index is
//! checked.

use crate::modules::{mill, random, scribbler, step};
use crate::random::Random;
use crate::{Canary, Finding, Outcome, Verdict, finding, guest};
use arbitrary::Unstructured;
use dormouse::compile::artifact::Artifact;
use dormouse::layout::PAGE_BYTES;
use dormouse::{Engine, Image, Imports, Instance, Limits, Linked, Module};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Where an artifact's checksum is, over all of the file but itself.
const ARTIFACT_CHECKSUM: std::ops::Range<usize> = 32..64;
const ARTIFACT_LENGTH: std::ops::Range<usize> = 64..72;
/// Where an image says how many memories it has, and where its checksum is when it has none; each takes so many bytes.
const IMAGE_MEMORIES: std::ops::Range<usize> = 20..24;
const IMAGE_LENGTH: std::ops::Range<usize> = 56..64;
const IMAGE_FIELDS_BYTES: usize = 72;
const IMAGE_MEMORY_BYTES: usize = 16;

/// A file that was written as it should be, and what it belongs to.
struct Original {
    artifact: Vec<u8>,
    image: Vec<u8>,
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
        [&small, scribbler(), mill()].map(|wasm| original(wasm).expect("it is all right")).into()
    };
}

fn original(wasm: &[u8]) -> Result<Original, Finding> {
    let artifact = guest::artifact(wasm)?.ok_or(finding!("too large"))?;
    let linked = ENGINE.with(|engine| guest::link(engine, &artifact))?;
    let mut instance =
        guest::fresh(&linked)?.map_err(|end| finding!("not instantiated: {end:?}"))?;
    let image = guest::frozen(&mut instance, &guest::image_file())?;
    Ok(Original {
        artifact,
        image,
        linked,
    })
}

pub fn check(data: &[u8], canary: Canary) -> Outcome {
    let mut u = Unstructured::new(data);
    let Ok(mut random) = random(&mut u) else {
        return Ok(Verdict::NoCase);
    };
    let checksum_put_right = !random.chance(4);
    ORIGINALS.with(|originals| {
        let original = random.pick(originals);
        let is_artifact = random.chance(2);
        let written = match is_artifact {
            true => &original.artifact,
            false => &original.image,
        };
        let mut bytes = written.clone();
        damage(&mut bytes, is_artifact, &mut u, &mut random);
        // The canary's error: what was damaged passes for undamaged.
        if checksum_put_right || canary.is_present() {
            match is_artifact {
                true => put_artifact_right(&mut bytes),
                false => put_image_right(&mut bytes),
            }
        }
        let accepted = match is_artifact {
            true => load_artifact(&bytes, original),
            false => load_image(&bytes, original),
        };
        if accepted && bytes != *written && !checksum_put_right {
            let kind = if is_artifact { "artifact" } else { "image" };
            return Err(finding!("an {kind} that was damaged is taken"));
        }
        Ok(Verdict::Checked(1))
    })
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
    let length = bytes.len() as u64;
    put(bytes, IMAGE_LENGTH.start, &length.to_le_bytes());
    let memories: [u8; 4] = bytes[IMAGE_MEMORIES].try_into().expect("four bytes");
    let memories = u32::from_le_bytes(memories) as usize;
    let fields = memories
        .checked_mul(IMAGE_MEMORY_BYTES)
        .map_or(PAGE_BYTES, |bytes| bytes.saturating_add(IMAGE_FIELDS_BYTES));
    if fields + 32 > PAGE_BYTES {
        return;
    }
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
    memory_bytes: 1 << 20,
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
    let _ = load_image_of(&linked, &original.image);
    if let Ok(mut instance) = Instance::new(&linked, LIMITS, Box::new(())) {
        look_at(&mut instance);
    }
    true
}

fn load_image(bytes: &[u8], original: &Original) -> bool {
    load_image_of(&original.linked, bytes)
}

/// Opens an image, restores it, and looks at what there is, executing nothing.
fn load_image_of(linked: &Linked, bytes: &[u8]) -> bool {
    let file = guest::image_file();
    file.write_all_at(bytes, 0).expect("room for an image");
    let Ok(image) = Image::open(linked, &file) else {
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

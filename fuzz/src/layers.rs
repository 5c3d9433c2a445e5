//! Images over a base: an instance restored from one is as one restored from the whole image and as a fresh one, byte for byte,
//! whatever is called and reset; and the base is what it was.
//!
//! Two versions of a function are made, which have most pages in common. The second is frozen whole, and over the first. Then instances of
//! all three images, several at a time, are called, reset, trimmed and frozen again in an order that the input gives; the
//! instance of the image over the base and that of the whole one in step, so that each says what the other has to be.

use crate::modules::{pages, plain_pages, scribbler, step};
use crate::peers::describe;
use crate::random::Random;
use crate::values::Value;
use crate::{Canary, Finding, Outcome, Verdict, finding, guest};
use arbitrary::Unstructured;
use dormouse::{Callable, CheckedImage, Engine, Image, ImageError, Instance, Linked};
use std::cell::RefCell;
use std::fs::File;
use std::time::Duration;

const PAIRS_MAX: usize = 2;

thread_local! {
    static ENGINES: [Engine; 3] = [0, 4, 256].map(|pages| guest::engine(Duration::ZERO, pages));
    /// Of the modules below, for each engine.
    static LINKED: Vec<Vec<Linked>> = ENGINES.with(|engines| {
        let artifacts = [pages(), plain_pages(), scribbler()].map(|wasm| {
            let artifact = guest::artifact(wasm).expect("it compiles");
            artifact.expect("it is small")
        });
        let link = |engine: &Engine| {
            let linked = artifacts.iter().map(|artifact| guest::link(engine, artifact));
            linked.map(|linked| linked.expect("just made")).collect()
        };
        engines.iter().map(link).collect()
    });
}

/// A call that is made in several instances alike.
type Call = (String, Callable, Vec<Value>);

/// Three images, and what they are as bytes.
struct Case {
    linked: Linked,
    functions: Vec<(String, Callable)>,
    base: Version,
    whole: Version,
    over_file: File,
    over_bytes: Vec<u8>,
    over: RefCell<Image>,
    scratch: File,
}

/// A version of the function that is frozen whole.
struct Version {
    file: File,
    bytes: Vec<u8>,
    image: Image,
}

/// An instance of the image over the base, and one of the whole image, which are always alike.
struct Pair {
    over: Instance,
    whole: Instance,
    history: &'static str,
}

pub fn check(u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
    let linked = LINKED.with(|all| {
        let modules = random.pick(all);
        let which = [0, 0, 1, 1, 2][random.below(5) as usize];
        modules[which].clone()
    });
    let Some(case) = Case::new(linked, u, random)? else {
        return Ok(Verdict::NoCase);
    };
    case.run(u, random, canary)
}

fn call_of(linked: &Linked, functions: &[(String, Callable)], random: &mut Random) -> Option<Call> {
    let (name, callable) = random.pick(functions).clone();
    let arguments = Value::arguments(linked.module().function_type(callable), random)?;
    Some((name, callable, arguments))
}

impl Version {
    fn new(instance: &mut Instance) -> Result<Version, Finding> {
        let file = guest::image_file();
        let bytes = guest::frozen(instance, &file)?;
        let image = guest::open(instance.linked(), &file)?;
        Ok(Version { file, bytes, image })
    }
}

impl Case {
    /// `None` when the second version has too little in common with the first.
    fn new(
        linked: Linked,
        u: &mut Unstructured<'_>,
        random: &mut Random,
    ) -> Result<Option<Case>, Finding> {
        let functions = guest::functions(linked.module());
        let calls = |count: u64, u: &mut Unstructured<'_>, random: &mut Random| -> Vec<Call> {
            let one = |_| {
                step(u, random);
                call_of(&linked, &functions, random)
            };
            (0..count).filter_map(one).collect()
        };
        // What makes most of the pages, and is common to both.
        let wide: Vec<(String, Callable)> = functions
            .iter()
            .filter(|(name, _)| matches!(name.as_str(), "span" | "scatter"))
            .cloned()
            .collect();
        let many = 2 + random.below(3);
        let common: Vec<Call> = (0..many)
            .filter_map(|_| call_of(&linked, &wide, random))
            .collect();
        let more = random.below(5);
        let common = [common, calls(more, u, random)].concat();
        let (first, second) = (random.below(4), random.below(6));
        let (first, second) = (calls(first, u, random), calls(second, u, random));
        let made = |calls: &[Call]| -> Result<Instance, Finding> {
            let instance = guest::fresh(&linked)?;
            let mut instance = instance.map_err(|end| finding!("no instance: {end:?}"))?;
            for (_, callable, arguments) in common.iter().chain(calls) {
                guest::call(&mut instance, *callable, arguments)?;
            }
            Ok(instance)
        };
        let base = Version::new(&mut made(&first)?)?;
        let mut instance = made(&second)?;
        let whole = Version::new(&mut instance)?;
        let over_file = guest::image_file();
        let report = Image::capture_over(&mut instance, &over_file, &base.file)
            .map_err(|error| finding!("no image over a base: {error}"))?;
        let over_bytes = guest::contents(&over_file);
        if over_bytes.len() as u64 != report.file_bytes {
            return Err(finding!("an image over a base is not as long as is said"));
        }
        if !report.has_base {
            // Then it is as if no base had been given.
            return match over_bytes == whole.bytes {
                true => Ok(None),
                false => Err(finding!("an image that has no base is not the whole image")),
            };
        }
        let over = open(&linked, &over_file, &base.file)?;
        Ok(Some(Case {
            linked,
            functions,
            base,
            whole,
            over_file,
            over_bytes,
            over: over.into(),
            scratch: guest::image_file(),
        }))
    }

    fn run(&self, u: &mut Unstructured<'_>, random: &mut Random, canary: Canary) -> Outcome {
        self.refuses_other_bases()?;
        let mut pairs: Vec<Pair> = Vec::new();
        let mut checked = 1;
        for _ in 0..10 + random.below(40) {
            step(u, random);
            if pairs.len() < PAIRS_MAX && random.chance(3) {
                pairs.push(self.restore(random)?);
                continue;
            }
            if pairs.is_empty() {
                continue;
            }
            let index = random.below(pairs.len() as u64) as usize;
            let pair = &mut pairs[index];
            match random.below(12) {
                0 => drop(pairs.swap_remove(index)),
                1 => {
                    self.reset(pair, random, canary)?;
                    let trimmed = pair.over.trim().and_then(|()| pair.whole.trim());
                    trimmed.map_err(|error| finding!("an instance is not trimmed: {error}"))?;
                    pair.history = "trimmed";
                }
                2 | 3 => {
                    self.reset(pair, random, canary)?;
                    self.is_as_frozen(&mut pair.over, pair.history)?;
                    checked += 1;
                }
                4 => {
                    self.compare(pair)?;
                    checked += 1;
                }
                5 => self.reset(pair, random, canary)?,
                6 => {
                    // The base, between instances of what lies over it.
                    let restored = self.base.image.restore(guest::limits(), Box::new(()));
                    let mut instance =
                        restored.map_err(|error| finding!("a base is not restored: {error}"))?;
                    let found = guest::frozen(&mut instance, &self.scratch)?;
                    let info = self.linked.module().info();
                    same(
                        guest::frozen_difference(info, &found, &self.base.bytes),
                        "an instance of the base",
                    )?;
                    if let Some((_, callable, arguments)) =
                        call_of(&self.linked, &self.functions, random)
                    {
                        guest::call(&mut instance, callable, &arguments)?;
                    }
                    checked += 1;
                }
                _ => {
                    let Some(call) = call_of(&self.linked, &self.functions, random) else {
                        continue;
                    };
                    let (name, callable, arguments) = call;
                    let end = guest::call(&mut pair.over, callable, &arguments)?;
                    let expected = guest::call(&mut pair.whole, callable, &arguments)?;
                    if end != expected {
                        return Err(finding!(
                            "{} in an instance over a base, {}: {end:x?}, without one {expected:x?}",
                            describe(&name, &arguments),
                            pair.history
                        ));
                    }
                    checked += 1;
                }
            }
        }
        for (file, bytes) in [
            (&self.base.file, &self.base.bytes),
            (&self.whole.file, &self.whole.bytes),
            (&self.over_file, &self.over_bytes),
        ] {
            if guest::contents(file) != *bytes {
                return Err(finding!("an image file was changed by its instances"));
            }
        }
        Ok(Verdict::Checked(checked))
    }

    /// Neither without a base nor with another image in its place is there an image.
    fn refuses_other_bases(&self) -> Result<(), Finding> {
        let others = [None, Some(&self.whole.file), Some(&self.over_file)];
        for other in others {
            // The two versions may be one.
            if other.is_some_and(|file| guest::contents(file) == self.base.bytes) {
                continue;
            }
            let file = self.over_file.try_clone().expect("a descriptor");
            let other = other.map(|file| file.try_clone().expect("a descriptor"));
            match CheckedImage::check(file, other) {
                Err(ImageError::NoBase) => {}
                Err(error) => return Err(finding!("another base is refused for: {error}")),
                Ok(_) => return Err(finding!("an image is opened over another base")),
            }
        }
        Ok(())
    }

    fn restore(&self, random: &mut Random) -> Result<Pair, Finding> {
        if random.chance(5) {
            self.reopen()?;
        }
        let image = self.over.borrow();
        let over = match random.chance(3) {
            true => image.restore_recorded(guest::limits(), Box::new(())),
            false => image.restore(guest::limits(), Box::new(())),
        };
        let over = over.map_err(|error| finding!("an image over a base: {error}"))?;
        let whole = self.whole.image.restore(guest::limits(), Box::new(()));
        let whole = whole.map_err(|error| finding!("a whole image: {error}"))?;
        Ok(Pair {
            over,
            whole,
            history: "restored",
        })
    }

    /// Opens the image over the base anew, by the note of its working set.
    fn reopen(&self) -> Result<(), Finding> {
        let note = self.over.borrow().working_set_note().unwrap_or_default();
        let base = Some(&self.base.file);
        let (image, _) = guest::open_noted(&self.linked, &self.over_file, base, &note)?;
        self.over.replace(image);
        Ok(())
    }

    fn reset(&self, pair: &mut Pair, random: &mut Random, canary: Canary) -> Result<(), Finding> {
        if pair.over.is_recording() && !random.chance(4) {
            self.over.borrow().record(&mut pair.over);
        }
        let failed = |error| finding!("an instance is not reset: {error}");
        // The canary's error: what lies over a base is not put back.
        if !canary.is_present() {
            pair.over.reset(Box::new(())).map_err(failed)?;
        }
        pair.whole.reset(Box::new(())).map_err(failed)?;
        pair.history = "reset";
        Ok(())
    }

    /// An instance as it was restored: frozen again it gives the same files, whole and over the base.
    fn is_as_frozen(&self, instance: &mut Instance, history: &str) -> Result<(), Finding> {
        let info = self.linked.module().info();
        let found = guest::frozen(instance, &self.scratch)?;
        let difference = guest::frozen_difference(info, &found, &self.whole.bytes);
        same(difference, history)?;
        Image::capture_over(instance, &self.scratch, &self.base.file)
            .map_err(|error| finding!("no image over a base: {error}"))?;
        match guest::contents(&self.scratch) == self.over_bytes {
            true => Ok(()),
            false => Err(finding!(
                "an instance that is the same is another image over the same base"
            )),
        }
    }

    /// Both instances of a pair, which were called alike.
    fn compare(&self, pair: &mut Pair) -> Result<(), Finding> {
        let info = self.linked.module().info();
        let over = guest::frozen(&mut pair.over, &self.scratch)?;
        let whole = guest::frozen(&mut pair.whole, &self.scratch)?;
        same(guest::lived_difference(info, &over, &whole), pair.history)
    }
}

fn open(linked: &Linked, file: &File, base: &File) -> Result<Image, Finding> {
    let clone = |file: &File| file.try_clone().expect("a descriptor");
    let checked = CheckedImage::check(clone(file), Some(clone(base)))
        .map_err(|error| finding!("an image over a base is not checked: {error}"))?;
    Image::open_checked(linked, checked)
        .map_err(|error| finding!("an image over a base is refused: {error}"))
}

fn same(difference: Option<String>, history: &str) -> Result<(), Finding> {
    match difference {
        None => Ok(()),
        Some(difference) => Err(finding!(
            "over a base, {history}, then without: {difference}"
        )),
    }
}

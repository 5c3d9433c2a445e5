//! Images of instances of a store.
//!
//! A reference to a function says where the store keeps it, which is no matter of the instance alone. In an image it is
//!
//! ```text
//!   function index | OWN << 32       a function of the instance's index space, imported ones of their import's type included
//!   store index    | FOREIGN << 32   any other: good in the store it was captured in, which the image names, and nowhere else
//! ```
//!
//! The link words are another matter of the store: the image keeps in their place how long the imported memories and tables were, and
//! they are written when the imports are given anew. What is imported is not part of the image. Nor are objects, which are on the
//! store's heap, where other instances refer to them too: an instance whose own globals or tables refer to some cannot be frozen. Its
//! tags are others after a restore, as those of any two instances are.

use super::capture::ImageReport;
use super::image::{Image, ImageError};
use super::restore::RestoreError;
use crate::compile::info::{ModuleInfo, ValueType};
use crate::sandbox::{Inner, InstanceId, Limits, Linked, Module, Store, StoreImports};
use std::any::Any;
use std::collections::HashMap;
use std::fs::File;

const OWN: u64 = 1 << 32;
const FOREIGN: u64 = 2 << 32;

/// Link words a memory or a table takes.
const PAIR_BYTES: i32 = 16;

/// Refuses an instance of a store that refers to its objects.
pub(super) fn check_objects(inner: &mut Inner) -> Result<(), ImageError> {
    match inner.is_linked() && inner.refers_to_objects() {
        true => Err(ImageError::HasObjects),
        false => Ok(()),
    }
}

/// Puts a copy of the state of an instance into the words of an image, if it is one of a store.
pub(super) fn make_relocatable(state: &mut [u8], inner: &Inner) {
    let info = inner.linked.module().info();
    let (Some(links), Some(layout)) = (&inner.links, info.layout.links) else {
        return;
    };
    let word = |state: &[u8], offset: i32| {
        let bytes = &state[info.layout.from_start(offset)..][..8];
        u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
    };
    let put = |state: &mut [u8], offset: i32, word: u64| {
        state[info.layout.from_start(offset)..][..8].copy_from_slice(&word.to_le_bytes());
    };
    // What is imported may be given by another function of the import's type then, and not of a narrower one that a place
    // may ask for: a function of a narrower type is that very one.
    let replaceable = |function: &u64| {
        let function = *function as usize;
        let ty = links.types[info.functions[function].type_index as usize];
        function >= info.imported_functions as usize
            || links.references[function] >> 32 == u64::from(ty)
    };
    let functions: HashMap<u64, u64> = (0..links.references.len() as u64)
        .filter(replaceable)
        .map(|function| (links.references[function as usize], function))
        .collect();
    let mut foreign = false;
    for at in references(info, |at| word(state, at)) {
        let reference = word(state, at);
        let kept = match functions.get(&reference) {
            _ if reference == 0 => 0,
            Some(function) => OWN | function,
            None => {
                foreign = true;
                FOREIGN | u64::from(reference as u32)
            }
        };
        put(state, at, kept);
    }
    let [first, end] = [layout.memories, layout.end].map(|at| info.layout.from_start(at));
    state[first..end].fill(0);
    for memory in 0..info.imported_memories {
        let bytes = inner.memory_length(memory as usize);
        put(state, layout.memories + memory as i32 * PAIR_BYTES, bytes);
    }
    for (table, length) in (0..).zip(links.table_lengths()) {
        put(state, layout.tables + table * PAIR_BYTES, length);
    }
    if foreign {
        put(state, layout.store, links.store.id);
    }
}

/// Where in the state the references to functions are, given a way to read it.
fn references(info: &ModuleInfo, word: impl Fn(i32) -> u64) -> Vec<i32> {
    let mut found = Vec::new();
    for (index, global) in info.globals.iter().enumerate() {
        if index >= info.imported_globals as usize && info.refers_to_functions(global.value) {
            found.push(info.layout.globals[index]);
        }
    }
    for (index, table) in info.tables.iter().enumerate() {
        let element = ValueType::Reference(table.element);
        if index >= info.imported_tables as usize && info.refers_to_functions(element) {
            let place = info.layout.tables[index];
            let length = word(place.length_offset).min(place.capacity.into()) as i32;
            found.extend((0..length).map(|entry| place.entries_offset + entry * 8));
        }
    }
    found
}

impl Image {
    /// As [`Image::capture`], of an instance of a store. What it imports is not part of the image.
    ///
    /// # Errors
    /// As [`Image::capture`], and [`ImageError::HasObjects`].
    pub fn capture_linked(
        store: &mut Store,
        instance: InstanceId,
        file: &File,
    ) -> Result<ImageReport, ImageError> {
        Image::capture(store.instance_mut(instance), file)
    }

    /// As [`Image::open`], of an image of an instance of a store.
    pub fn open_linked(module: &Module, file: &File) -> Result<Image, ImageError> {
        Image::open(&Linked::new(module, Vec::new()), file)
    }

    /// As [`Image::restore`], in a store, linked with these imports: those it had, or others like them.
    ///
    /// # Errors
    /// As [`Image::restore`]; what imports do not match their types; memories and tables among them that are shorter than those of the
    /// instance that was captured; and another store, if the instance referred to functions of others in its own tables or globals.
    ///
    /// # Panics
    /// When the image is not one of a linkable module of the store's engine.
    pub fn restore_linked(
        &self,
        store: &mut Store,
        imports: &StoreImports,
        limits: Limits,
        data: Box<dyn Any>,
    ) -> Result<InstanceId, RestoreError> {
        let module = self.linked.module();
        let info = module.info();
        let found = store.find(module, imports).map_err(RestoreError::Link)?;
        let links = info.layout.links.expect("found: it is linkable");
        let mut instance = self.restore_with(&found.linked, limits, data, &[])?;
        let inner = instance.inner_mut();
        let (memories, tables) = found.lengths();
        for (first, lengths, what) in [
            (
                links.memories,
                memories,
                "an imported memory is shorter than it was",
            ),
            (
                links.tables,
                tables,
                "an imported table is shorter than it was",
            ),
        ] {
            for (index, length) in (0..).zip(lengths) {
                if *inner.word(first + index * PAIR_BYTES) > length {
                    return Err(RestoreError::Mismatch(what));
                }
            }
        }
        let of_store = *inner.word(links.store);
        if of_store != 0 && of_store != store.state.id {
            let what = "it refers to functions of other instances of another store";
            return Err(RestoreError::Mismatch(what));
        }
        let words: Vec<(i32, u64)> = references(info, |at| inner.read_word(at))
            .into_iter()
            .map(|at| (at, inner.read_word(at)))
            .collect();
        let id = store.add(instance, found).map_err(RestoreError::System)?;
        for (at, kept) in words {
            let index = kept as u32;
            let state = store.state.clone();
            let inner = store.instance_mut(id).inner_mut();
            let reference = match kept & !u64::from(u32::MAX) {
                0 => continue,
                OWN if (index as usize) < info.functions.len() => Some(inner.reference(index)),
                FOREIGN => state.reference_at(index),
                _ => None,
            };
            // The checksum says that this is what was captured.
            *inner.word(at) = reference.unwrap_or(0);
        }
        Ok(id)
    }
}

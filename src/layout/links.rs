//! What a linkable module's instances have besides what all have: words that say where the things they share lie.

use super::LayoutError;
use serde::{Deserialize, Serialize};

/// A function as the instances of a store refer to it.
///
/// In a linkable module a function reference is `index | signature id << 32`, where the index is that of one of these in the array at
/// [`header::FUNCTIONS`](super::header::FUNCTIONS), and the id is the store's for the function's type.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StoreFunction {
    pub code: usize,
    /// The vmctx it is called with.
    pub vmctx: usize,
}

const _: () = assert!(size_of::<StoreFunction>() == 16);

/// How many of each a linkable module has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkRequest {
    pub imported_memories: u32,
    pub imported_tables: u32,
    pub imported_globals: u32,
    pub imported_functions: u32,
    pub types: u32,
    pub functions: u32,
    pub tags: u32,
}

/// Where the *link words* of a linkable module's instance lie: addresses of what it shares with others, and what its store
/// calls its types and functions. They are written when it is linked, and never taken from an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkLayout {
    /// Of two words for each imported memory: the addresses of its first byte and of its length.
    pub memories: i32,
    /// Of two words for each imported table: the addresses of its first entry and of its length.
    pub tables: i32,
    /// Of a word for each imported global: its address.
    pub globals: i32,
    /// Of a [`StoreFunction`] for each imported function.
    pub functions: i32,
    /// Of a word for each type: its signature id in the store, with [`ARRAY_KIND`](super::ARRAY_KIND) for those of arrays.
    pub types: i32,
    /// Of a word for each function: the reference to it.
    pub references: i32,
    /// Of a word for each tag: what the store calls it.
    pub tags: i32,
    /// Of a word that is used in images only: the store whose functions the image refers to.
    pub store: i32,
    /// Where they end.
    pub end: i32,
}

impl LinkLayout {
    /// Takes room for all, given a way to take so many bytes of the state at such an alignment.
    pub(super) fn new(
        count: LinkRequest,
        take: &mut impl FnMut(u64, u64) -> Result<i32, LayoutError>,
    ) -> Result<LinkLayout, LayoutError> {
        // From the highest to the lowest, as room is taken.
        let mut words = |count: u32, words: u64| take(u64::from(count) * words * 8, 8);
        Ok(LinkLayout {
            end: words(0, 1)?,
            store: words(1, 1)?,
            tags: words(count.tags, 1)?,
            references: words(count.functions, 1)?,
            types: words(count.types, 1)?,
            functions: words(count.imported_functions, 2)?,
            globals: words(count.imported_globals, 1)?,
            tables: words(count.imported_tables, 2)?,
            memories: words(count.imported_memories, 2)?,
        })
    }
}

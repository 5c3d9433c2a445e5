//! Links: what an instance of a store shares with the others, on the host's side.
//!
//! Compiled code of a linkable module reaches what it imports by its *link words* (see `layout.rs`); the host by [`Links`], from which
//! they are written. Neither changes while the instance exists.
//!
//! * An import is resolved to the instance that has it itself, however often it was passed on.
//! * All instances of a store live until the store ends: whatever one got hold of (a memory, the code of a function in a table)
//!   stays where it is. That is what makes the pointers here, and the link words, good.
//! * A function has one index in the store for all its life; the array of functions never moves.
//! * What is shared is used on one thread; host code holds no slice of it while a guest runs.

use super::fiber::{Entry, Trampoline};
use super::instance::Inner;
use super::module::{Callable, Module};
use super::os::{self, Access, Reservation};
use super::store_heap::StoreHeap;
use super::store_types::StoreTypes;
use super::trap::Limit;
use crate::compile::info::{ValueType, exception_header};
use crate::layout::{
    ARRAY_KIND, EXCEPTION_BYTES_MAX, EXCEPTION_KIND, PAGE_BYTES, StoreFunction, function_reference,
    header,
};
use std::cell::{Cell, RefCell};
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;

/// The most functions of all instances of a store.
const FUNCTIONS_MAX: usize = 1 << 22;

/// What the instances of a store have in common.
pub(crate) struct StoreState {
    /// A random number: images that name functions of other instances are good in the store they come from only.
    pub id: u64,
    members: RefCell<Vec<NonNull<Inner>>>,
    pub types: RefCell<StoreTypes>,
    functions: Reservation,
    /// The signature id of each function.
    function_types: RefCell<Vec<u32>>,
    functions_accessible: Cell<usize>,
    tags: RefCell<Vec<StoreTag>>,
    pub heap: StoreHeap,
}

/// A tag of a store. Each instance that is made has others, also of the same module.
pub(crate) struct StoreTag {
    /// The module that has it itself, and its index there.
    pub module: Module,
    pub index: u32,
    /// The signature id of its type.
    pub type_id: u32,
    /// Of exceptions with it.
    pub header: u64,
}

impl StoreState {
    pub fn new() -> io::Result<StoreState> {
        let id = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u64);
        Ok(StoreState {
            id: id.max(1),
            members: RefCell::default(),
            types: RefCell::default(),
            functions: Reservation::new(FUNCTIONS_MAX * size_of::<StoreFunction>(), PAGE_BYTES)?,
            function_types: RefCell::default(),
            functions_accessible: Cell::new(0),
            tags: RefCell::default(),
            heap: StoreHeap::new()?,
        })
    }

    /// Makes room for so many more functions.
    pub fn reserve_functions(&self, more: usize) -> io::Result<()> {
        let count = self.function_types.borrow().len() + more;
        if count > FUNCTIONS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "the store has too many functions",
            ));
        }
        let accessible = self.functions_accessible.get();
        let wanted = (count * size_of::<StoreFunction>()).next_multiple_of(PAGE_BYTES);
        if wanted > accessible {
            // SAFETY: a part of the store's own reservation, inaccessible and unused so far.
            unsafe {
                let from = self.functions.base().add(accessible);
                os::protect(from, wanted - accessible, Access::ReadWrite)?;
            }
            self.functions_accessible.set(wanted);
        }
        Ok(())
    }

    /// Gives a function its index and answers the reference to it. There has to be room.
    fn add_function(&self, function: StoreFunction, signature_id: u32) -> u64 {
        let mut types = self.function_types.borrow_mut();
        let index = types.len();
        assert!((index + 1) * size_of::<StoreFunction>() <= self.functions_accessible.get());
        types.push(signature_id);
        // SAFETY: the place is accessible, as was just checked, and aligned; no reference to what lies there is ever made.
        unsafe {
            let place = self.functions.base().cast::<StoreFunction>().add(index);
            place.write(function);
        }
        function_reference(index as u32, signature_id)
    }

    /// Gives a tag that an instance of a module has itself the name under which the store knows it.
    fn add_tag(&self, module: &Module, index: u32, type_id: u32) -> u32 {
        let mut tags = self.tags.borrow_mut();
        let (name, values) = (tags.len() as u32, module.info().tag_values(index));
        assert!(name < EXCEPTION_KIND, "memory ends before numbers do");
        let header = exception_header(name, values);
        self.heap.shapes.borrow_mut().add_tag(values);
        tags.push(StoreTag {
            module: module.clone(),
            index,
            type_id,
            header,
        });
        name
    }

    /// Looks at a tag, if there is one of this name.
    pub fn with_tag<T>(&self, name: u32, look: impl FnOnce(&StoreTag) -> T) -> Option<T> {
        self.tags.borrow().get(name as usize).map(look)
    }

    /// The signature id of the function that a reference names, if there is one.
    fn signature_of(&self, reference: u64) -> Option<u32> {
        let types = self.function_types.borrow();
        let id = *types.get(reference as u32 as usize)?;
        ((reference >> 32) as u32 == id).then_some(id)
    }

    /// The reference to the function of an index.
    pub fn reference_at(&self, index: u32) -> Option<u64> {
        let types = self.function_types.borrow();
        let id = types.get(index as usize)?;
        Some(function_reference(index, *id))
    }

    /// Takes an instance in, for good.
    pub fn add_member(&self, inner: NonNull<Inner>) {
        self.members.borrow_mut().push(inner);
    }

    /// Does something with every instance until one answers.
    pub(super) fn find<T>(&self, mut look: impl FnMut(*mut Inner) -> Option<T>) -> Option<T> {
        // Of a signal handler too, which cannot wait: instances are taken in while no guest runs.
        let members = self.members.try_borrow().ok()?;
        members.iter().find_map(|inner| look(inner.as_ptr()))
    }
}

/// Something that an instance has itself: that instance, and its index there.
pub(crate) type Place = (NonNull<Inner>, usize);

/// What an instance of a store imports, and how the store calls what it has.
pub(crate) struct Links {
    pub store: Rc<StoreState>,
    pub memories: Vec<Place>,
    pub tables: Vec<Place>,
    pub globals: Vec<Place>,
    /// Of each imported function.
    pub functions: Vec<StoreFunction>,
    /// Signature ids by type index.
    pub types: Vec<u32>,
    /// By function index.
    pub references: Vec<u64>,
    /// What the store calls tags, by index.
    pub tags: Vec<u32>,
    /// The place for an exception of the call that was begun in this instance, from the first on.
    exception: Vec<u64>,
    /// By how much the instance lengthened the store's heap.
    pub heap_bytes: u64,
}

/// An imported function as it is found: another instance's, or the host's, which the instance's own stub calls.
#[derive(Clone, Copy)]
pub(crate) enum FoundFunction {
    Instance {
        function: StoreFunction,
        reference: u64,
    },
    Host,
}

impl Inner {
    pub fn is_linked(&self) -> bool {
        self.links.is_some()
    }

    /// Links an instance that was just made, whose imports were found to match: tells the store its functions, and compiled code
    /// where everything is. The store has room for the functions.
    pub fn link(&mut self, mut links: Links, found: &[FoundFunction]) {
        let module = self.linked.module().clone();
        let info = module.info();
        let vmctx = self.vmctx() as usize;
        for (index, function) in info.functions.iter().enumerate() {
            let own = StoreFunction {
                code: module.code_of(index as u32),
                vmctx,
            };
            let id = links.types[function.type_index as usize];
            let (function, reference) = match found.get(index) {
                Some(FoundFunction::Instance {
                    function,
                    reference,
                }) => (*function, *reference),
                Some(FoundFunction::Host) | None => (own, links.store.add_function(own, id)),
            };
            if index < info.imported_functions as usize {
                links.functions.push(function);
            }
            links.references.push(reference);
        }
        for index in links.tags.len()..info.tags.len() {
            let id = links.types[info.tags[index].type_index as usize];
            let tag = links.store.add_tag(&module, index as u32, id);
            links.tags.push(tag);
        }
        let shapes = &links.store.heap.shapes;
        shapes.borrow_mut().add_types(info, &links.types);
        self.links = Some(Box::new(links));
        self.write_link_words();
        self.write_store_header();
    }

    fn write_link_words(&mut self) {
        let links = self.links.take().expect("it was just linked");
        let module = self.linked.module().clone();
        let info = module.info();
        let layout = info.layout.links;
        let layout = layout.expect("only linkable modules are linked");
        let mut words = |offset: i32, values: &mut dyn Iterator<Item = u64>| {
            for (index, value) in values.enumerate() {
                *self.word(offset + index as i32 * 8) = value;
            }
        };
        // SAFETY: every owner is an instance of the store, alive; only its layout is looked at.
        unsafe {
            let memories = links.memories.iter().flat_map(|(owner, index)| {
                let owner = owner.as_ptr();
                let length = (*owner).memory_layout(*index).length_offset;
                let length = (*owner).at(length);
                [(*owner).own_memory_base(*index), length].map(|place| place as u64)
            });
            words(layout.memories, &mut { memories });
            let tables = links.tables.iter().flat_map(|(owner, index)| {
                let owner = owner.as_ptr();
                let place = (*owner).linked.module().info().layout.tables[*index];
                [place.entries_offset, place.length_offset].map(|offset| (*owner).at(offset) as u64)
            });
            words(layout.tables, &mut { tables });
            let globals = links.globals.iter().map(|(owner, index)| {
                let owner = owner.as_ptr();
                let offset = (*owner).linked.module().info().layout.globals[*index];
                (*owner).at(offset) as u64
            });
            words(layout.globals, &mut { globals });
        }
        let functions = links.functions.iter();
        let functions = functions.flat_map(|of| [of.code as u64, of.vmctx as u64]);
        words(layout.functions, &mut { functions });
        let kinds = (0..).zip(&links.types).map(|(ty, id)| {
            let array = if info.is_array(ty) { ARRAY_KIND } else { 0 };
            u64::from(id | array)
        });
        words(layout.types, &mut { kinds });
        words(layout.tags, &mut links.tags.iter().map(|tag| (*tag).into()));
        words(layout.references, &mut links.references.iter().copied());
        words(layout.store, &mut std::iter::once(0));
        self.links = Some(links);
    }

    /// Writes the header words that only instances of a store have.
    pub fn write_store_header(&mut self) {
        if let Some(links) = &self.links {
            let functions = links.store.functions.base() as u64;
            let heap = links.store.heap.base() as u64;
            self.write_header(header::FUNCTIONS, functions);
            self.write_header(header::HEAP, heap);
        }
    }

    /// Makes the stack limit of the call that was begun here, and its place for exceptions, hold wherever it goes.
    pub fn take_turn(&mut self) {
        let Some(links) = &self.links else { return };
        links.store.heap.take_turn();
        let words = [
            (header::STACK_LIMIT, self.stack_limit as u64),
            (header::EXCEPTION, links.exception_address()),
        ];
        links.store.find(|inner| {
            for (offset, word) in words {
                // SAFETY: an instance of the store, alive; its header is accessible.
                unsafe { (*inner).at(offset).cast::<u64>().write(word) };
            }
            None::<()>
        });
    }

    /// Makes the place for an exception of the call that begins here, in an instance of a store: as long as any could be, since
    /// instances with other tags may come while it is suspended.
    pub fn make_room_for_exception(&mut self) {
        if let Some(links) = &mut self.links {
            links
                .exception
                .resize(EXCEPTION_BYTES_MAX.div_ceil(8) as usize, 0);
        }
    }

    /// Whether an address lies in the slot of this instance or of one that it is linked with, or in the heap they have together. Safe
    /// in a signal handler.
    pub fn reaches(&self, address: usize) -> bool {
        // SAFETY: an instance of the store is alive; its slot does not change.
        let contains = |inner: *mut Inner| unsafe { (*inner).contains(address) }.then_some(());
        let others = |links: &Links| {
            links.store.heap.contains(address) || links.store.find(contains).is_some()
        };
        self.contains(address) || self.links.as_deref().is_some_and(others)
    }

    /// The module whose text an address lies in, as far as this instance is linked with it; its own otherwise.
    pub fn module_at(&self, address: usize) -> Module {
        let own = self.linked.module();
        match own.is_code(address) {
            true => own.clone(),
            false => self
                .linked_module_at(address)
                .unwrap_or_else(|| own.clone()),
        }
    }

    /// The module of an instance of the store whose text an address lies in.
    pub fn linked_module_at(&self, address: usize) -> Option<Module> {
        // SAFETY: an instance of the store is alive; what it was made of does not change.
        let of = |inner: *mut Inner| unsafe {
            let module = (*inner).linked.module();
            module.is_code(address).then(|| module.clone())
        };
        self.links.as_ref()?.store.find(of)
    }

    /// What the guest was refused by this instance, or by one that it is linked with.
    pub fn refusal(&self) -> Option<Limit> {
        // SAFETY: an instance of the store is alive, and no call runs.
        let refused = |inner: *mut Inner| unsafe { (*inner).refused.clone() };
        let others = |links: &Links| links.store.find(refused);
        let own = self.refused.clone();
        own.or_else(|| self.links.as_deref().and_then(others))
    }

    /// Forgets what earlier calls were refused.
    pub fn forget_refusals(&mut self) {
        self.refused = None;
        if let Some(links) = &self.links {
            let this: *const Inner = self;
            links.store.find(|inner| {
                if !std::ptr::eq(inner, this) {
                    // SAFETY: another instance of the store, alive; no reference to it is live.
                    unsafe { (*inner).refused = None };
                }
                None::<()>
            });
        }
    }

    fn imported_memory(&self, memory: usize) -> Option<Place> {
        self.links.as_ref()?.memories.get(memory).copied()
    }

    /// Current length of a linear memory, wherever it is.
    pub fn memory_length(&self, memory: usize) -> u64 {
        match self.imported_memory(memory) {
            // SAFETY: the owner is an instance of the store, alive, and another than this one.
            Some((owner, index)) => unsafe { (*owner.as_ptr()).own_memory_length(index) },
            None => self.own_memory_length(memory),
        }
    }

    /// The first byte of a linear memory, wherever it is.
    pub fn memory_base(&self, memory: usize) -> *mut u8 {
        match self.imported_memory(memory) {
            // SAFETY: as in `memory_length`.
            Some((owner, index)) => unsafe { (*owner.as_ptr()).own_memory_base(index) },
            None => self.own_memory_base(memory),
        }
    }

    /// memory.grow: the previous length in pages, or `None` when it may not.
    pub fn memory_grow(&mut self, memory: usize, delta_pages: u64) -> Option<u64> {
        match self.imported_memory(memory) {
            // SAFETY: as in `memory_length`; no reference to the owner is live.
            Some((owner, index)) => unsafe {
                (*owner.as_ptr()).own_memory_grow(index, delta_pages)
            },
            None => self.own_memory_grow(memory, delta_pages),
        }
    }

    fn imported_table(&self, table: usize) -> Option<Place> {
        self.links.as_ref()?.tables.get(table).copied()
    }

    /// A table's entries, wherever they are.
    pub fn table(&mut self, table: usize) -> &mut [u64] {
        match self.imported_table(table) {
            // SAFETY: as in `memory_length`. While the slice lives this instance is borrowed, and with it, by its store, every other.
            Some((owner, index)) => unsafe { (*owner.as_ptr()).own_table(index) },
            None => self.own_table(table),
        }
    }

    /// table.grow: the previous length, or `None` when it may not.
    pub fn table_grow(&mut self, table: usize, delta: u64, entry: u64) -> Option<u64> {
        match self.imported_table(table) {
            // SAFETY: as in `memory_grow`.
            Some((owner, index)) => unsafe {
                (*owner.as_ptr()).own_table_grow(index, delta, entry)
            },
            None => self.own_table_grow(table, delta, entry),
        }
    }

    /// The words of a global, wherever it is: one, or two for a v128.
    pub fn global_mut(&mut self, global: usize) -> &mut [u64] {
        let imported = self
            .links
            .as_ref()
            .and_then(|links| links.globals.get(global));
        let (owner, index) = match imported {
            Some((owner, index)) => (owner.as_ptr(), *index),
            None => (&raw mut *self, global),
        };
        // SAFETY: the owner is this instance or another of the store, alive; the global lies in its state, by the layout, aligned.
        // While the slice lives this instance is borrowed, and with it, by its store, every other.
        unsafe {
            let info = (*owner).linked.module().info();
            let words = info.globals[index].value.words();
            let at = (*owner).at(info.layout.globals[index]);
            std::slice::from_raw_parts_mut(at.cast(), words)
        }
    }

    /// The reference to a function of the module.
    pub fn reference(&self, function: u32) -> u64 {
        match &self.links {
            Some(links) => links.references[function as usize],
            None => self.linked.module().reference(function),
        }
    }

    /// See [`Builtin::IsSubtype`](crate::layout::Builtin::IsSubtype).
    pub fn is_subtype(&self, id: u32, of: u32) -> bool {
        let links = self.links.as_ref();
        let [id, of] = [id, of].map(|kind| kind & !ARRAY_KIND);
        links.is_some_and(|links| links.store.types.borrow().is_subtype(id, of))
    }

    /// Whether every word that guest code would take for a reference is one, of its type: guests jump to what a function
    /// reference says, and rely on what a type says of null.
    pub fn are_references(&self, types: &[ValueType], words: &[u64]) -> bool {
        let Some(links) = &self.links else {
            return self.linked.module().are_references(types, words);
        };
        let module = self.linked.module();
        module.are_references_to(types, words, &|word, of| {
            let signature = links.store.signature_of(word);
            signature.is_some_and(|id| match of {
                None => true,
                Some(of) => self.is_subtype(id, links.types[of as usize]),
            })
        })
    }

    /// How a function is entered.
    pub fn entry(&self, callable: Callable) -> Option<Entry> {
        let (trampoline, code): (Trampoline, *const u8) = self.linked.module().entry(callable)?;
        let imported = |links: &Links| links.functions.get(callable.function as usize).copied();
        let imported = self.links.as_deref().and_then(imported);
        Some(match imported {
            Some(function) => Entry {
                trampoline,
                code: function.code as *const u8,
                vmctx: function.vmctx as *mut u8,
            },
            None => Entry {
                trampoline,
                code,
                vmctx: self.vmctx(),
            },
        })
    }
}

impl Links {
    /// Of an instance whose types have these signature ids; what it imports, and what it has itself, is still to be added.
    pub fn new(store: Rc<StoreState>, types: Vec<u32>) -> Links {
        Links {
            store,
            types,
            memories: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
            functions: Vec::new(),
            references: Vec::new(),
            tags: Vec::new(),
            exception: Vec::new(),
            heap_bytes: 0,
        }
    }

    /// The place for an exception of the call that was begun in this instance.
    pub fn exception_address(&self) -> u64 {
        self.exception.as_ptr() as u64
    }

    /// What is there: an exception that is on its way, or what is left of one that was.
    pub fn exception(&self) -> &[u64] {
        &self.exception
    }

    /// Current lengths of the imported tables.
    pub fn table_lengths(&self) -> Vec<u64> {
        let length = |(owner, index): &Place| {
            // SAFETY: the owner is an instance of the store, alive; no call runs, and no reference to it is live.
            unsafe { (*owner.as_ptr()).own_table(*index).len() as u64 }
        };
        self.tables.iter().map(length).collect()
    }
}

//! The link words: how a linkable module reaches what it shares with other instances.
//!
//! What an instance has itself lies at constant offsets from its vmctx in every mode. What it imports lies in another instance:
//! link words, which do not change while code runs, say where. In a module that is not linkable nothing here is used.

use super::{Region, Translator};
use crate::layout::{Builtin, LinkLayout, StoreFunction, header};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use std::mem::offset_of;

/// A function to call: where its code is, and the vmctx to call it with, if it is not certainly this instance's.
#[derive(Clone, Copy)]
pub(super) struct Callee {
    pub code: Value,
    pub vmctx: Option<Value>,
}

/// Two link words.
const PAIR_BYTES: i32 = 16;

impl Translator<'_> {
    fn links(&self) -> LinkLayout {
        let links = self.info.layout.links;
        links.expect("only a linkable module shares anything")
    }

    fn link_word(&mut self, offset: i32) -> Value {
        let flags = self.trusted(Region::State).with_readonly().with_can_move();
        let vmctx = self.vmctx();
        let ins = self.builder.ins();
        ins.load(types::I64, flags, vmctx, offset)
    }

    /// The word at an address that link words gave.
    fn shared_word(&mut self, address: Value) -> Value {
        let flags = self.trusted(Region::State);
        self.builder.ins().load(types::I64, flags, address, 0)
    }

    /// Where an imported memory begins. `None` for one of the instance's own, as below.
    pub(super) fn imported_memory(&mut self, memory: u32) -> Option<Value> {
        (memory < self.info.imported_memories)
            .then(|| self.link_word(self.links().memories + memory as i32 * PAIR_BYTES))
    }

    /// The length of an imported memory.
    pub(super) fn imported_memory_length(&mut self, memory: u32) -> Option<Value> {
        (memory < self.info.imported_memories).then(|| {
            let address = self.link_word(self.links().memories + memory as i32 * PAIR_BYTES + 8);
            self.shared_word(address)
        })
    }

    /// Where the entries of an imported table begin.
    pub(super) fn imported_table(&mut self, table: u32) -> Option<Value> {
        (table < self.info.imported_tables)
            .then(|| self.link_word(self.links().tables + table as i32 * PAIR_BYTES))
    }

    /// The length of an imported table.
    pub(super) fn imported_table_length(&mut self, table: u32) -> Option<Value> {
        (table < self.info.imported_tables).then(|| {
            let address = self.link_word(self.links().tables + table as i32 * PAIR_BYTES + 8);
            self.shared_word(address)
        })
    }

    /// Where an imported global lies.
    pub(super) fn imported_global(&mut self, global: u32) -> Option<Value> {
        (global < self.info.imported_globals)
            .then(|| self.link_word(self.links().globals + global as i32 * 8))
    }

    /// What to call for a function that is imported from wherever; `None` where the module's own text has the function.
    pub(super) fn imported_function(&mut self, function: u32) -> Option<Callee> {
        if !self.info.is_linkable() || function >= self.info.imported_functions {
            return None;
        }
        let at = self.links().functions + function as i32 * size_of::<StoreFunction>() as i32;
        Some(Callee {
            code: self.link_word(at + offset_of!(StoreFunction, code) as i32),
            vmctx: Some(self.link_word(at + offset_of!(StoreFunction, vmctx) as i32)),
        })
    }

    /// The reference to a function.
    pub(super) fn linked_reference(&mut self, function: u32) -> Value {
        self.link_word(self.links().references + function as i32 * 8)
    }

    /// The function that a reference, not null, refers to in the store.
    pub(super) fn store_function(&mut self, reference: Value) -> Callee {
        let functions = self.store_word(header::FUNCTIONS);
        let index = self.builder.ins().ireduce(types::I32, reference);
        let index = self.word(index);
        let shift = i64::from(size_of::<StoreFunction>().trailing_zeros());
        let offset = self.builder.ins().ishl_imm_u(index, shift);
        let function = self.builder.ins().iadd(functions, offset);
        // What a reference refers to does not change, but references come and go.
        let flags = self.trusted(Region::State);
        let mut word = |offset: usize| {
            let ins = self.builder.ins();
            ins.load(types::I64, flags, function, offset as i32)
        };
        Callee {
            code: word(offset_of!(StoreFunction, code)),
            vmctx: Some(word(offset_of!(StoreFunction, vmctx))),
        }
    }

    /// A header word that only instances of a store have, and that is the same whenever this code runs.
    fn store_word(&mut self, offset: i32) -> Value {
        let flags = self.trusted(Region::State).with_readonly().with_can_move();
        let vmctx = self.vmctx();
        self.builder.ins().load(types::I64, flags, vmctx, offset)
    }

    /// Where the object heap begins.
    pub(super) fn store_heap(&mut self) -> Value {
        self.store_word(header::HEAP)
    }

    /// Where an exception on its way to a handler goes.
    pub(super) fn linked_exception(&mut self) -> Value {
        self.store_word(header::EXCEPTION)
    }

    /// What the store calls a tag.
    pub(super) fn linked_tag(&mut self, tag: u32) -> Value {
        self.link_word(self.links().tags + tag as i32 * 8)
    }

    /// What the headers of objects of a type say of their kind, as a word.
    pub(super) fn linked_kind(&mut self, type_index: u32) -> Value {
        self.link_word(self.links().types + type_index as i32 * 8)
    }

    /// Whether a signature id of the store, an i32, is that of no subtype of the type of this index.
    pub(super) fn is_no_subtype_in_store(&mut self, id: Value, type_index: u32) -> Value {
        let of = self.linked_kind(type_index);
        let id = self.word(id);
        let differs = self.builder.ins().icmp(IntCC::NotEqual, id, of);
        if self.info.types[type_index as usize].is_final {
            return differs;
        }
        // Modules that this one does not know may have subtypes.
        let (ask, known) = (self.builder.create_block(), self.builder.create_block());
        self.builder.append_block_param(known, types::I8);
        self.builder.set_cold_block(ask);
        let same = [differs.into()];
        self.builder.ins().brif(differs, ask, &[], known, &same);
        self.builder.switch_to_block(ask);
        self.builder.seal_block(ask);
        let is_subtype = self
            .call_builtin(Builtin::IsSubtype, &[id, of])
            .expect("it answers");
        let differs = self.builder.ins().icmp_imm_u(IntCC::Equal, is_subtype, 0);
        self.builder.ins().jump(known, &[differs.into()]);
        self.builder.switch_to_block(known);
        self.builder.seal_block(known);
        self.builder.block_params(known)[0]
    }

    /// The category of a global's place. Imported ones share one: several may be the same global.
    pub(super) fn global_region(&self, global: u32) -> Region {
        match global < self.info.imported_globals {
            true => Region::Global(super::GLOBAL_REGIONS),
            false => Region::Global(global),
        }
    }
}

//! Where a function body keeps its vmctx.
//!
//! Memory, globals and tables are reached through the parameter. Calls pass it on in a fixed register, each of them: if that were
//! the same value, the register allocator would split it at every call, once too often in a larger body, give up, and
//! reload it before every single use, in the innermost loop too. So calls take theirs from a slot of the native frame, and the
//! parameter is free to stay in a register that calls preserve.
//!
//! Guests cannot reach the native stack: the slot is as much out of their hands as the allocator's own spill slots.

use super::{Region, Translator};
use cranelift_codegen::ir::{
    Block, Inst, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Value, types,
};

/// The slot of a body's vmctx, what fills it, and whether there is a call that loads it.
pub(super) struct Home {
    slot: StackSlot,
    store: Inst,
    called: bool,
    /// The entry block, until a call.
    untouched: Option<Block>,
}

impl Translator<'_> {
    /// Stores the vmctx in a slot, for bodies; stubs do with the parameter.
    pub(super) fn house_vmctx(&mut self) {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3);
        let slot = self.builder.create_sized_stack_slot(data);
        let flags = self.in_region(MemFlagsData::trusted(), Region::Frame);
        let address = self.builder.ins().stack_addr(types::I64, slot, 0);
        let store = self.builder.ins().store(flags, self.vmctx, address, 0);
        self.home = Some(Home {
            slot,
            store,
            called: false,
            untouched: self.builder.current_block(),
        });
    }

    /// The vmctx, for everything but calls.
    pub(super) fn vmctx(&self) -> Value {
        self.vmctx
    }

    /// The vmctx as an argument of a call.
    pub(super) fn vmctx_for_call(&mut self) -> Value {
        let Some(home) = &mut self.home else {
            return self.vmctx;
        };
        // The first of all is as good a place for the parameter as any.
        if home.untouched.take() == self.builder.current_block() {
            return self.vmctx;
        }
        home.called = true;
        let slot = home.slot;
        let flags = self.in_region(MemFlagsData::trusted(), Region::Frame);
        let address = self.builder.ins().stack_addr(types::I64, slot, 0);
        self.builder.ins().load(types::I64, flags, address, 0)
    }

    /// The body is complete: without calls it needs no slot.
    pub(super) fn settle_vmctx(&mut self) {
        let Some(home) = self.home.take() else {
            return;
        };
        if home.called {
            return;
        }
        let function = &mut *self.builder.func;
        function.layout.remove_inst(home.store);
        // It is the only one: bodies have no other use for slots.
        debug_assert_eq!(function.sized_stack_slots.len(), 1);
        function.sized_stack_slots[home.slot].size = 0;
    }
}

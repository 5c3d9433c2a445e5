//! Where a function body keeps its vmctx.
//!
//! It is needed from the first instruction to the last, and no register survives a call. As one value with so long a life
//! the register allocator splits it once too often, gives up, and reloads it before every single use, in the innermost loop
//! too. So it is kept in a slot of the native frame explicitly, and every block that needs it loads it from there:
//! elimination of redundant loads leaves the parameter itself up to the first call and one load after each, values
//! whose lives are short. A loop without calls finds it loaded where the loop is entered.
//!
//! Guests cannot reach the native stack: the slot is as much out of their hands as the allocator's own spill slots.

use super::{Region, Translator};
use cranelift_codegen::ir::{
    Block, Inst, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Value, types,
};

/// The slot of a body's vmctx, and who uses it.
pub(super) struct Home {
    slot: StackSlot,
    store: Inst,
    loads: Vec<Inst>,
    /// The block being translated and its vmctx, until the next call.
    here: Option<(Block, Value)>,
    /// Whether there is any call.
    calls: bool,
}

impl Translator<'_> {
    /// Stores the vmctx in a slot, for bodies; stubs do with the parameter.
    pub(super) fn house_vmctx(&mut self) {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3);
        let slot = self.builder.create_sized_stack_slot(data);
        let flags = self.in_region(MemFlagsData::trusted(), Region::Frame);
        let address = self.builder.ins().stack_addr(types::I64, slot, 0);
        let store = self.builder.ins().store(flags, self.vmctx, address, 0);
        let block = self.builder.current_block().expect("in the entry block");
        self.home = Some(Home {
            slot,
            store,
            loads: Vec::new(),
            here: Some((block, self.vmctx)),
            calls: false,
        });
    }

    /// The vmctx, for an instruction that is made next.
    pub(super) fn vmctx(&mut self) -> Value {
        let Some(home) = &self.home else {
            return self.vmctx;
        };
        let block = self.builder.current_block().expect("in a block");
        match home.here {
            Some((here, vmctx)) if here == block => return vmctx,
            _ => {}
        }
        let slot = home.slot;
        let flags = self.in_region(MemFlagsData::trusted(), Region::Frame);
        let address = self.builder.ins().stack_addr(types::I64, slot, 0);
        let vmctx = self.builder.ins().load(types::I64, flags, address, 0);
        let load = self.builder.func.dfg.value_def(vmctx).unwrap_inst();
        let home = self.home.as_mut().expect("as above");
        home.loads.push(load);
        home.here = Some((block, vmctx));
        vmctx
    }

    /// The vmctx as an argument of a call, after which it is loaded anew.
    pub(super) fn vmctx_for_call(&mut self) -> Value {
        let vmctx = self.vmctx();
        if let Some(home) = &mut self.home {
            home.here = None;
            home.calls = true;
        }
        vmctx
    }

    /// The body is complete: one without calls, or that does not need the vmctx after them, needs no slot.
    pub(super) fn settle_vmctx(&mut self) {
        let Some(home) = self.home.take() else {
            return;
        };
        if home.calls && !home.loads.is_empty() {
            return;
        }
        let function = &mut *self.builder.func;
        for load in home.loads {
            let value = function.dfg.first_result(load);
            function.dfg.clear_results(load);
            function.dfg.change_to_alias(value, self.vmctx);
            function.layout.remove_inst(load);
        }
        function.layout.remove_inst(home.store);
        // It is the only one: bodies have no other use for slots.
        debug_assert_eq!(function.sized_stack_slots.len(), 1);
        function.sized_stack_slots[home.slot].size = 0;
    }
}

//! What is made of a function's CLIF between Cranelift's optimiser and its code generator.
//!
//! The optimiser chooses the cheapest form of each expression by itself, before registers and loops are thought of, and code
//! generation matches what it finds. These passes bring what it finds into the forms that match:
//!
//! * [`vector`]: a vector is loaded as the lanes it is used as, so that the load becomes part of the instruction that uses it;
//! * [`lanes`]: a vector that a loop only carries round and takes apart is carried as its lanes;
//! * [`counter`]: a loop ends by comparing the next value of its counter, so that the present one and the next share a register;
//! * [`address`]: what of an address stays the same during a loop is added up before it, where bounds show that sums do not wrap;
//! * [`widen`]: an index that memory is reached through is kept as the 64-bit number that addresses are made of;
//! * [`narrow`]: bytes are compared as bytes, without masks;
//! * [`sink`]: a load comes right before the one instruction that uses it, so that it becomes part of it.
//!
//! Each is an equality of CLIF, whatever the module: none relies on where addresses lie or how memory is reserved.

mod address;
mod counter;
mod edges;
mod lanes;
mod narrow;
mod range;
mod sink;
mod values;
mod vector;
mod widen;

use cranelift_codegen::Context;

/// Refines the optimised function in the context. Blocks and edges between them stay as they are.
pub(super) fn refine(context: &mut Context) {
    vector::retype_loads(&mut context.func);
    narrow::compare_bytes(&mut context.func);
    // The optimiser leaves the graph and dominators as they are, and of loops what it found before it cut branches.
    context.compute_loop_analysis();
    if context.loop_analysis.loops().len() > 0 {
        lanes::carry_lanes(context);
        counter::compare_next(&mut context.func, &context.domtree);
        address::simplify_addresses(context);
    }
    widen::widen_indexes(&mut context.func, &context.cfg, &context.domtree);
    context.func.dfg.resolve_all_aliases();
    sink::sink_loads(&mut context.func);
}

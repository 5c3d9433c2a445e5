//! Exceptions: throwing them, the calls they come from, and the handlers of `try_table`.
//!
//! ```text
//!   throw: header and values -> the exception's place in the state      throw_ref: an object
//!                         \                                            /
//!                          `--> (address of the header, tag) ---------'
//!                                     |
//!        within a try_table: jump     |     otherwise: the built-in, which looks for a call with a handler
//!                                     v
//!   handler:  compare the tag with each clause -> load the values -> branch;  no clause: throw further out
//! ```
//!
//! * One handler serves all of a `try_table`: the calls in it end with the call's results or, with the address and the tag, at
//!   the handler. Calls outside of any are as if there were no exceptions.
//! * An exception is an object only from when it is referred to. Until then it is in the state, where there is one at a time:
//!   between a throw and the branch of a clause, no code of the guest runs that could throw another. In a store, where other calls
//!   may run in between, each call has a place for it.
//! * Traps are no exceptions: no handler sees them.

use super::Translator;
use super::control::FrameKind;
use crate::compile::info::exception_header;
use crate::compile::trap::TrapKind;
use crate::layout::{Builtin, EXCEPTION_KIND, OBJECT_HEADER_BYTES};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, ExceptionTable, ExceptionTableData, ExceptionTableItem,
    InstBuilder, MemFlagsData, SigRef, Value, types,
};
use wasmparser::{Catch, Operator};

/// Answers whether the operator was one of this family.
pub(super) fn translate(t: &mut Translator, operator: &Operator<'_>) -> bool {
    match operator {
        Operator::Throw { tag_index } => t.throw(*tag_index),
        Operator::ThrowRef => t.throw_ref(),
        _ => return false,
    }
    true
}

impl Translator<'_> {
    /// The handler of the innermost `try_table` around here: it takes the address of an exception and its tag.
    pub(super) fn handler(&mut self) -> Option<Block> {
        let frame = *self.try_tables.last()?;
        let FrameKind::TryTable { handler, .. } = &mut self.frames[frame].kind else {
            unreachable!("the frame of a try_table")
        };
        Some(*handler.get_or_insert_with(|| {
            let block = self.builder.create_block();
            self.builder.append_block_param(block, types::I64);
            self.builder.append_block_param(block, types::I64);
            block
        }))
    }

    /// The two ways on from a call within a `try_table`: with its results, to the block that is answered too, and to the handler.
    pub(super) fn exits(&mut self, signature: SigRef, handler: Block) -> (ExceptionTable, Block) {
        let next = self.builder.create_block();
        let results = self.builder.func.dfg.signatures[signature].returns.clone();
        for result in &results {
            self.builder.append_block_param(next, result.value_type);
        }
        let dfg = &mut self.builder.func.dfg;
        let results = (0..results.len() as u32).map(BlockArg::TryCallRet);
        let returned = BlockCall::new(next, results, &mut dfg.value_lists);
        let exception = [BlockArg::TryCallExn(0), BlockArg::TryCallExn(1)];
        let thrown = BlockCall::new(handler, exception, &mut dfg.value_lists);
        let exits = [ExceptionTableItem::Default(thrown)];
        let table = ExceptionTableData::new(signature, returned, exits);
        (dfg.exception_tables.push(table), next)
    }

    /// Takes up where a call within a `try_table` returned.
    pub(super) fn go_on_after_call(&mut self, next: Block) {
        self.switch_to_sealed(next);
        self.stack
            .extend_from_slice(self.builder.block_params(next));
    }

    /// What tells the exceptions of one tag from those of others at run time.
    fn tag(&mut self, index: u32) -> Value {
        match self.info.is_linkable() {
            true => self.linked_tag(index),
            false => self.number(index),
        }
    }

    /// Where an exception with a tag goes on its way to a handler, and its header.
    fn thrown(&mut self, tag: u32) -> (Value, Value) {
        if self.info.is_linkable() {
            let shape = exception_header(0, self.info.tag_values(tag)) as i64;
            let (exception, tag) = (self.linked_exception(), self.linked_tag(tag));
            return (exception, self.builder.ins().bor_imm_u(tag, shape));
        }
        let place = self.info.layout.exception;
        let place = place.expect("laid out: there is a tag");
        let vmctx = self.vmctx();
        let exception = self.builder.ins().iadd_imm_s(vmctx, i64::from(place));
        let header = self.info.exception_header(tag) as i64;
        (exception, self.builder.ins().iconst(types::I64, header))
    }

    fn throw(&mut self, tag: u32) {
        let values = self.canonical_top(self.info.tag_values(tag).len());
        self.stack.truncate(self.stack.len() - values.len());
        let (exception, header) = self.thrown(tag);
        let flags = MemFlagsData::trusted();
        self.builder.ins().store(flags, header, exception, 0);
        let first = self.first_value(exception);
        self.store_words(&values, first);
        let tag = self.tag(tag);
        self.throw_from_here(exception, tag);
        self.reachable = false;
    }

    fn throw_ref(&mut self) {
        let reference = self.pop();
        let null = TrapKind::NullExceptionReference;
        self.reachable = false;
        if !self.info.has_heap() {
            // Nothing makes a reference to an exception: it is null.
            self.builder.ins().trap(null.code());
            return;
        }
        self.trap_if_null(reference, null);
        let exception = self.object(reference);
        let flags = MemFlagsData::trusted();
        let kind = self.builder.ins().load(types::I32, flags, exception, 0);
        let tag = self
            .builder
            .ins()
            .band_imm_u(kind, i64::from(!EXCEPTION_KIND));
        let tag = self.word(tag);
        self.throw_from_here(exception, tag);
    }

    fn first_value(&mut self, exception: Value) -> Value {
        self.builder
            .ins()
            .iadd_imm_u(exception, OBJECT_HEADER_BYTES as i64)
    }

    /// Passes an exception to the handler around here, or out of the function.
    fn throw_from_here(&mut self, exception: Value, tag: Value) {
        match self.handler() {
            Some(handler) => {
                let arguments = [BlockArg::Value(exception), BlockArg::Value(tag)];
                self.builder.ins().jump(handler, &arguments);
            }
            None => {
                self.call_builtin(Builtin::Throw, &[exception]);
                // The built-in does not return, but a block must end.
                self.builder.ins().trap(TrapKind::Unreachable.code());
            }
        }
    }

    /// Fills the handler of a `try_table` whose frame was just left: `height` is that of the operand stack below it, and labels
    /// count from here.
    pub(super) fn handle(&mut self, handler: Block, catches: &[Catch], height: usize) {
        self.builder.set_cold_block(handler);
        self.switch_to_sealed(handler);
        let [exception, thrown] = self.builder.block_params(handler)[..] else {
            unreachable!("a handler has two parameters")
        };
        for catch in catches {
            let (tag, label, refers) = match *catch {
                Catch::One { tag, label } => (Some(tag), label, false),
                Catch::OneRef { tag, label } => (Some(tag), label, true),
                Catch::All { label } => (None, label, false),
                Catch::AllRef { label } => (None, label, true),
            };
            let otherwise = tag.map(|tag| self.unless_tag(thrown, tag));
            self.stack.truncate(height);
            if let Some(tag) = tag {
                let first = self.first_value(exception);
                let info = self.info;
                let values = self.load_words(info.tag_values(tag), first);
                self.stack.extend(values);
            }
            if refers {
                let reference = self.reference(exception);
                self.push(reference);
            }
            let (target, arity) = self.branch_target(label);
            self.jump(target, arity);
            self.stack.truncate(height);
            match otherwise {
                Some(otherwise) => self.switch_to_sealed(otherwise),
                // The clauses after one that catches everything are never reached.
                None => return,
            }
        }
        self.throw_from_here(exception, thrown);
    }

    /// Goes on where an exception has this tag, and answers where it has another.
    fn unless_tag(&mut self, thrown: Value, tag: u32) -> Block {
        let tag = self.tag(tag);
        let same = self.builder.ins().icmp(IntCC::Equal, thrown, tag);
        let (caught, otherwise) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(caught);
        self.builder.set_cold_block(otherwise);
        self.builder.ins().brif(same, caught, &[], otherwise, &[]);
        self.switch_to_sealed(caught);
        otherwise
    }

    /// The reference to an exception that a handler was given.
    fn reference(&mut self, exception: Value) -> Value {
        if !self.info.has_heap() {
            // There is no tag, so there is no exception.
            return self.builder.ins().iconst(types::I64, 0);
        }
        self.call_builtin(Builtin::ExceptionReference, &[exception])
            .expect("it returns a reference")
    }
}

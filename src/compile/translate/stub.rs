//! Functions of the text that no wasm function body stands behind: the ways into compiled code and out of it.
//!
//! Whoever leaves compiled code notes the frame pointer of its stub in the header, so that a backtrace can begin there.

use super::signature::{clif_type, guest_signature, host_call_signature, word_signature};
use super::{Region, Target, Translator};
use crate::compile::info::{ModuleInfo, ValueType};
use crate::compile::native::name;
use crate::layout::{Builtin, header};
use cranelift_codegen::ir::{
    AbiParam, Function, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Type, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilderContext;

/// What every generator of a stub is given.
pub(in crate::compile) struct StubContext<'a> {
    pub info: &'a ModuleInfo,
    pub function: &'a mut Function,
    pub context: &'a mut FunctionBuilderContext,
    pub target: Target,
}

/// The function that stands for an imported one: callable like any guest function, also through tables.
///
/// It stores its parameters as words on the stack, calls the host with their address, and loads the results from
/// there.
pub(in crate::compile) fn import_stub(stub: StubContext<'_>, index: u32) {
    let StubContext {
        info,
        function,
        context,
        target,
    } = stub;
    let ty = info.function_type(index);
    function.signature = guest_signature(ty);
    function.name = name::function(index);
    let mut t = Translator::new(info, function, context, target);
    let parameters = t.parameters();
    let words = words(&ty.parameters).max(words(&ty.results)).max(1);
    let slot = t.builder.create_sized_stack_slot(StackSlotData::new(
        StackSlotKind::ExplicitSlot,
        words as u32 * 8,
        3,
    ));
    let values = t.builder.ins().stack_addr(types::I64, slot, 0);
    t.store_words(&parameters[1..], values);
    t.leave();
    let host = t.header_word(header::HOST_CALL);
    let signature = t.builder.import_signature(host_call_signature());
    let number = t.builder.ins().iconst(types::I32, i64::from(index));
    let vmctx = t.vmctx;
    t.builder
        .ins()
        .call_indirect(signature, host, &[vmctx, number, values]);
    let results = t.load_words(&ty.results, values);
    t.builder.ins().return_(&results);
    t.builder.finalize(target.frontend);
}

/// The function through which compiled code calls a built-in of the sandbox.
pub(in crate::compile) fn builtin_stub(stub: StubContext<'_>, builtin: Builtin) {
    let StubContext {
        info,
        function,
        context,
        target,
    } = stub;
    let (_, arguments, returns) = Builtin::ALL[builtin as usize];
    function.signature = word_signature(CallConv::Tail, arguments, returns);
    function.name = name::builtin(builtin);
    let mut t = Translator::new(info, function, context, target);
    let parameters = t.parameters();
    t.leave();
    let table = t.header_word(header::BUILTINS);
    let flags = MemFlagsData::trusted().with_readonly();
    let code = t
        .builder
        .ins()
        .load(types::I64, flags, table, builtin.offset());
    let signature = word_signature(CallConv::SystemV, arguments, returns);
    let signature = t.builder.import_signature(signature);
    let call = t.builder.ins().call_indirect(signature, code, &parameters);
    let results = t.builder.inst_results(call).to_vec();
    t.builder.ins().return_(&results);
    t.builder.finalize(target.frontend);
}

/// `extern "C" fn(vmctx, code, values)`: calls the guest function at `code`, of this type.
pub(in crate::compile) fn entry_trampoline(stub: StubContext<'_>, type_index: u32) {
    let StubContext {
        info,
        function,
        context,
        target,
    } = stub;
    let ty = info.signature(type_index);
    function.signature = word_signature(CallConv::SystemV, 0, false);
    function
        .signature
        .params
        .resize(3, AbiParam::new(types::I64));
    function.name = name::trampoline(type_index);
    let mut t = Translator::new(info, function, context, target);
    let [vmctx, code, values] = t.parameters()[..] else {
        unreachable!("three parameters")
    };
    let mut arguments = vec![vmctx];
    arguments.extend(t.load_words(&ty.parameters, values));
    let signature = t.builder.import_signature(guest_signature(ty));
    let call = t.builder.ins().call_indirect(signature, code, &arguments);
    let results = t.builder.inst_results(call).to_vec();
    t.store_words(&results, values);
    t.builder.ins().return_(&[]);
    t.builder.finalize(target.frontend);
}

fn words(types: &[ValueType]) -> usize {
    types.iter().map(|ty| ty.words()).sum()
}

impl Translator<'_> {
    fn parameters(&self) -> Vec<Value> {
        let entry = self.builder.current_block().expect("in the entry block");
        self.builder.block_params(entry).to_vec()
    }

    /// Notes the frame pointer in the header: the next call leaves compiled code.
    fn leave(&mut self) {
        let frame = self.builder.ins().get_frame_pointer(types::I64);
        let flags = self.trusted(Region::State);
        self.builder
            .ins()
            .store(flags, frame, self.vmctx, header::EXIT_FRAME);
    }

    /// Stores values as words, the upper bits of narrow ones zero.
    pub(super) fn store_words(&mut self, values: &[Value], base: Value) {
        let mut offset = 0;
        for value in values {
            let ty = self.type_of(*value);
            let word = match ty {
                types::I32 => self.word(*value),
                types::F32 => {
                    let bits = self
                        .builder
                        .ins()
                        .bitcast(types::I32, MemFlagsData::new(), *value);
                    self.word(bits)
                }
                _ => *value,
            };
            self.builder.ins().store(word_flags(ty), word, base, offset);
            offset += word_bytes(ty);
        }
    }

    /// Loads values from words, ignoring the upper bits of narrow ones.
    pub(super) fn load_words(&mut self, types: &[ValueType], base: Value) -> Vec<Value> {
        let mut offset = 0;
        types
            .iter()
            .map(|ty| {
                let ty = clif_type(*ty);
                let value = self.builder.ins().load(ty, word_flags(ty), base, offset);
                offset += word_bytes(ty);
                value
            })
            .collect()
    }
}

fn word_bytes(ty: Type) -> i32 {
    ty.bytes().max(8) as i32
}

/// Words are aligned as such; a vector among them is not.
fn word_flags(ty: Type) -> MemFlagsData {
    if ty.is_vector() {
        MemFlagsData::new().with_notrap()
    } else {
        MemFlagsData::trusted()
    }
}

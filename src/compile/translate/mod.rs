//! Function bodies of validated wasm as CLIF.
//!
//! One pass over the operators, each validated just before it is translated. The operand stack of the specification
//! exists only here, as a list of SSA values; locals are variables of the frontend's SSA construction. Each family of
//! instructions has a file whose `translate` dispatches; families that do not know an operator pass it on.
//!
//! Invariants:
//! * `stack` and `frames` mirror the validator's while code is reachable; in unreachable code only the nesting of
//!   frames is followed.
//! * Nothing here recurses, whatever the nesting of the module.

mod atomic;
mod call;
mod cast;
mod control;
mod convert;
mod exception;
mod memory;
mod numeric;
mod object;
mod reference;
mod signature;
mod simd;
mod stub;
mod table;
mod variable;
mod vmctx;
mod wide;

pub(super) use stub::{StubContext, builtin_stub, entry_trampoline, import_stub};

use super::error::CompileError;
use super::info::{ModuleInfo, ReferenceType, ValueType};
use super::native::name;
use super::type_section::{operand_type, value_type};
use crate::layout::{Builtin, header};
use control::Frame;
use cranelift_codegen::ir::{
    AliasRegionData, Endianness, ExtFuncData, ExternalName, FuncRef, Function, GlobalValue,
    GlobalValueData, InstBuilder, MemFlagsData, SigRef, Signature, SourceLoc, Type,
    UserExternalName, Value, types,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use signature::{clif_type, guest_signature, word_signature};
use std::collections::HashMap;
use vmctx::Home;
use wasmparser::{FuncValidator, FunctionBody, Operator, ValType, ValidatorResources};

/// Why a body was not translated: it is not valid, or something else is wrong with it.
pub(super) enum BodyError {
    Invalid(wasmparser::Error),
    Other(CompileError),
}

impl From<wasmparser::Error> for BodyError {
    fn from(error: wasmparser::Error) -> Self {
        BodyError::Invalid(error)
    }
}

/// Disjoint categories of memory, for redundant-load elimination.
#[derive(Clone, Copy)]
enum Region {
    /// Linear memory.
    Memory,
    /// Entries of tables.
    Table,
    /// Lengths of memories and tables, segment flags, the header.
    State,
    /// Kinds of objects and lengths of arrays, which never change.
    ObjectShape,
    /// Fields and elements of objects.
    Object,
    /// The global of this index; the last region takes all from [`GLOBAL_REGIONS`] on.
    Global(u32),
    /// The slot of the native frame that holds the vmctx.
    Frame,
}

/// Globals that have an alias region of their own. Flags of memory accesses are a small resource of a CLIF function.
const GLOBAL_REGIONS: u32 = 64;

/// What the translation depends on of the CPU that is compiled for.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub frontend: TargetFrontendConfig,
    /// Whether it multiplies and adds with one rounding.
    pub fused_multiply_add: bool,
}

/// The state of the translation of one function.
pub(super) struct Translator<'a> {
    info: &'a ModuleInfo,
    target: Target,
    builder: FunctionBuilder<'a>,
    /// The parameter; instructions of a body use [`Translator::vmctx`].
    vmctx: Value,
    home: Option<Home>,
    stack: Vec<Value>,
    frames: Vec<Frame>,
    /// Which of the frames are those of a `try_table` with clauses.
    try_tables: Vec<usize>,
    reachable: bool,
    /// The type of the reference that the operator at hand takes, if it asks: see [`reference::checked_operand`].
    operand: Option<ReferenceType>,
    locals: Vec<Variable>,
    functions: HashMap<u32, FuncRef>,
    builtins: HashMap<Builtin, FuncRef>,
    signatures: HashMap<u32, SigRef>,
    text_base: Option<GlobalValue>,
}

/// Translates the body of function `index` (imports count) into `function`, validating it on the way.
pub(super) fn function_body(
    info: &ModuleInfo,
    index: u32,
    body: &FunctionBody<'_>,
    validator: &mut FuncValidator<ValidatorResources>,
    function: &mut Function,
    context: &mut FunctionBuilderContext,
    target: Target,
) -> Result<(), BodyError> {
    let ty = info.function_type(index);
    function.signature = guest_signature(ty);
    function.name = name::function(index);
    let mut translator = Translator::new(info, function, context, target);

    for parameter in 0..ty.parameters.len() {
        let value = translator
            .builder
            .block_params(translator.builder.current_block().unwrap())[parameter + 1];
        translator.declare_local(ty.parameters[parameter], value);
    }
    let mut locals = body.get_locals_reader()?;
    for _ in 0..locals.get_count() {
        let offset = locals.original_position();
        let (count, ty) = locals.read()?;
        validator.define_locals(offset, count, ty)?;
        // One zero for all of a group: a module can ask for fifty thousand locals in three bytes.
        let ty = value_type(ty);
        let zero = (count > 0).then(|| translator.zero(ty));
        for _ in 0..count {
            translator.declare_local(ty, zero.expect("there is a local"));
        }
    }
    translator.house_vmctx();
    translator.enter_body(&ty.results);

    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        translator.operand = reference::checked_operand(&operator)
            .and_then(|depth| operand_reference(validator, depth));
        validator.op(offset, &operator)?;
        translator.builder.set_srcloc(SourceLoc::new(offset as u32));
        translator.operator(&operator, offset)?;
    }
    operators.finish()?;
    translator.settle_vmctx();
    translator.builder.finalize(target.frontend);
    Ok(())
}

/// The type of an operand, so far below the topmost, that is a reference, if it is known.
fn operand_reference(
    validator: &FuncValidator<ValidatorResources>,
    depth: usize,
) -> Option<ReferenceType> {
    match validator.get_operand_type(depth) {
        Some(Some(ValType::Ref(ty))) => Some(operand_type(ty)),
        _ => None,
    }
}

impl<'a> Translator<'a> {
    /// Starts a function whose signature is set and begins with the vmctx: entry block, stack limit.
    fn new(
        info: &'a ModuleInfo,
        function: &'a mut Function,
        context: &'a mut FunctionBuilderContext,
        target: Target,
    ) -> Translator<'a> {
        check_stack_limit(function);
        let mut builder = FunctionBuilder::new(function, context);
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let vmctx = builder.block_params(entry)[0];
        Translator {
            info,
            target,
            builder,
            vmctx,
            home: None,
            stack: Vec::new(),
            frames: Vec::new(),
            try_tables: Vec::new(),
            reachable: true,
            operand: None,
            locals: Vec::new(),
            functions: HashMap::new(),
            builtins: HashMap::new(),
            signatures: HashMap::new(),
            text_base: None,
        }
    }

    /// Translates one validated operator.
    fn operator(&mut self, operator: &Operator<'_>, offset: usize) -> Result<(), BodyError> {
        if control::translate(self, operator)? || !self.reachable {
            return Ok(());
        }
        let known = variable::translate(self, operator)
            || memory::translate(self, operator)
            || atomic::translate(self, operator)
            || numeric::translate(self, operator)
            || convert::translate(self, operator)
            || call::translate(self, operator)
            || exception::translate(self, operator)
            || table::translate(self, operator)
            || reference::translate(self, operator)
            || object::translate(self, operator)
            || cast::translate(self, operator)
            || simd::translate(self, operator)
            || wide::translate(self, operator);
        if known {
            return Ok(());
        }
        Err(BodyError::Other(CompileError::Unsupported {
            feature: "an instruction".to_string(),
            message: format!("{operator:?}"),
            offset,
        }))
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn pop(&mut self) -> Value {
        self.stack
            .pop()
            .expect("validated: the operand stack has a value")
    }

    /// The last two operands, in the order they were pushed.
    fn pop2(&mut self) -> (Value, Value) {
        let second = self.pop();
        (self.pop(), second)
    }

    fn type_of(&self, value: Value) -> Type {
        self.builder.func.dfg.value_type(value)
    }

    /// A vector as the lanes `ty`, any other value as it is.
    fn as_lanes(&mut self, value: Value, ty: Type) -> Value {
        if self.type_of(value) == ty {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.builder.ins().bitcast(ty, flags, value)
    }

    /// A value in the type it has outside of expressions.
    fn canonical(&mut self, value: Value) -> Value {
        if self.type_of(value).is_vector() {
            self.as_lanes(value, types::I8X16)
        } else {
            value
        }
    }

    fn zero(&mut self, ty: ValueType) -> Value {
        match ty {
            ValueType::F32 => self.builder.ins().f32const(0.0),
            ValueType::F64 => self.builder.ins().f64const(0.0),
            ValueType::V128 => self.vector_constant(types::I8X16, [0; 16]),
            other => self.builder.ins().iconst(clif_type(other), 0),
        }
    }

    fn vector_constant(&mut self, lanes: Type, bytes: [u8; 16]) -> Value {
        let constant = self
            .builder
            .func
            .dfg
            .constants
            .insert(bytes.to_vec().into());
        self.builder.ins().vconst(lanes, constant)
    }

    fn declare_local(&mut self, ty: ValueType, value: Value) {
        let variable = self.builder.declare_var(clif_type(ty));
        self.builder.def_var(variable, value);
        self.locals.push(variable);
    }

    /// Flags of an access in `region` that cannot trap and is aligned.
    fn trusted(&mut self, region: Region) -> MemFlagsData {
        self.in_region(MemFlagsData::trusted(), region)
    }

    fn in_region(&mut self, flags: MemFlagsData, region: Region) -> MemFlagsData {
        let (user_id, description) = match region {
            Region::Memory => (0, "memory"),
            Region::Table => (1, "table"),
            Region::State => (2, "state"),
            Region::Frame => (3, "frame"),
            Region::ObjectShape => (4, "object shape"),
            Region::Object => (5, "object"),
            Region::Global(index) => (6 + index.min(GLOBAL_REGIONS), "global"),
        };
        let region = self.builder.func.dfg.alias_regions.insert(AliasRegionData {
            user_id,
            description: description.into(),
        });
        flags.with_alias_region(Some(region))
    }

    /// A word of the header that never changes while a function runs.
    fn header_word(&mut self, offset: i32) -> Value {
        debug_assert!([header::HOST_CALL, header::BUILTINS].contains(&offset));
        let flags = self.trusted(Region::State).with_readonly().with_can_move();
        self.builder
            .ins()
            .load(types::I64, flags, self.vmctx, offset)
    }

    /// An unsigned operand as a word: 32-bit ones are extended.
    fn word(&mut self, value: Value) -> Value {
        if self.type_of(value) == types::I64 {
            return value;
        }
        self.builder.ins().uextend(types::I64, value)
    }

    /// The number of something, for a built-in.
    fn number(&mut self, number: u32) -> Value {
        self.builder.ins().iconst(types::I64, i64::from(number))
    }

    /// Pushes a word as an index or a size of a memory or table with indexes of this width.
    fn push_index(&mut self, word: Value, index64: bool) {
        let index = if index64 {
            word
        } else {
            self.builder.ins().ireduce(types::I32, word)
        };
        self.push(index);
    }

    fn import(&mut self, name: UserExternalName, signature: Signature) -> FuncRef {
        let signature = self.builder.import_signature(signature);
        let name = self.builder.func.declare_imported_user_function(name);
        self.builder.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            // All code of a module is one text: calls are direct, addresses relative.
            colocated: true,
            patchable: false,
        })
    }

    /// The function of this index, for a call or to take its address.
    fn function(&mut self, index: u32) -> FuncRef {
        if let Some(function) = self.functions.get(&index) {
            return *function;
        }
        let signature = guest_signature(self.info.function_type(index));
        let function = self.import(name::function_name(index), signature);
        self.functions.insert(index, function);
        function
    }

    /// Calls a function of the sandbox through its stub.
    fn call_builtin(&mut self, builtin: Builtin, arguments: &[Value]) -> Option<Value> {
        let (_, count, returns) = Builtin::ALL[builtin as usize];
        assert_eq!(arguments.len(), count, "arguments of {builtin:?}");
        let function = match self.builtins.get(&builtin) {
            Some(function) => *function,
            None => {
                let signature = word_signature(CallConv::Tail, count, returns);
                let function = self.import(name::builtin_name(builtin), signature);
                self.builtins.insert(builtin, function);
                function
            }
        };
        let mut all = vec![self.vmctx_for_call()];
        all.extend_from_slice(arguments);
        let call = self.builder.ins().call(function, &all);
        self.builder.inst_results(call).first().copied()
    }

    /// The address of the first byte of the module's text.
    fn text_base(&mut self) -> Value {
        let base = match self.text_base {
            Some(base) => base,
            None => {
                let name = self
                    .builder
                    .func
                    .declare_imported_user_function(name::text_base());
                let base = self.builder.create_global_value(GlobalValueData::Symbol {
                    name: ExternalName::user(name),
                    offset: 0.into(),
                    colocated: true,
                    tls: false,
                });
                *self.text_base.insert(base)
            }
        };
        self.builder.ins().symbol_value(types::I64, base)
    }
}

/// Makes the prologue of a function compare the stack pointer, less the frame's size, with the limit in the header.
fn check_stack_limit(function: &mut Function) {
    let vmctx = function.create_global_value(GlobalValueData::VMContext);
    let flags = function
        .dfg
        .mem_flags
        .insert_unchecked(MemFlagsData::trusted().with_readonly());
    let limit = function.create_global_value(GlobalValueData::Load {
        base: vmctx,
        offset: header::STACK_LIMIT.into(),
        global_type: types::I64,
        flags,
    });
    function.stack_limit = Some(limit);
}

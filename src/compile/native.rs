//! CLIF to machine code, in parallel by function.
//!
//! The text is position-independent and self-contained: its code reaches other code of the text by relative
//! displacements and everything else through the vmctx. There is no other kind of relocation, and no call of a
//! run-time library; both are refused here, so that what is let through can be mapped anywhere.

use super::CompileOptions;
use super::error::CompileError;
use super::features;
use super::info::ModuleInfo;
use super::parse::{Body, Module};
use super::refine::refine;
use super::sites::{CallSite, TrapSite, handler_site};
use super::text::{MachineCode, Relocation, Text, Unit, link};
use super::translate::{self, BodyError, StubContext, Target};
use super::trap::TrapKind;
use crate::layout::Builtin;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::ExternalName;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenResult, CompiledCode, Context, FinalizedRelocTarget};
use cranelift_frontend::FunctionBuilderContext;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmparser::FuncValidatorAllocations;

/// Alignment of functions in the text.
const FUNCTION_ALIGNMENT: u32 = 16;

/// Stack of a compiling thread. Passes of the code generator recurse over expressions, to a bounded depth.
const COMPILE_STACK_BYTES: usize = 16 << 20;

/// A code offset's place in the module is not known.
pub(super) const NO_WASM_OFFSET: u32 = u32::MAX;

/// The names by which functions of the text refer to each other.
pub(super) mod name {
    use super::Builtin;
    use cranelift_codegen::ir::{UserExternalName, UserFuncName};

    pub const FUNCTION: u32 = 0;
    pub const TRAMPOLINE: u32 = 1;
    pub const BUILTIN: u32 = 2;
    pub const TEXT_BASE: u32 = 3;

    pub fn function(index: u32) -> UserFuncName {
        UserFuncName::User(function_name(index))
    }

    pub fn function_name(index: u32) -> UserExternalName {
        UserExternalName::new(FUNCTION, index)
    }

    pub fn trampoline(type_index: u32) -> UserFuncName {
        UserFuncName::user(TRAMPOLINE, type_index)
    }

    pub fn builtin(builtin: Builtin) -> UserFuncName {
        UserFuncName::User(builtin_name(builtin))
    }

    pub fn builtin_name(builtin: Builtin) -> UserExternalName {
        UserExternalName::new(BUILTIN, builtin as u32)
    }

    /// The first byte of the text.
    pub fn text_base() -> UserExternalName {
        UserExternalName::new(TEXT_BASE, 0)
    }
}

/// The code generator for the CPU this runs on.
pub(super) fn host_isa() -> Result<OwnedTargetIsa, CompileError> {
    let unsupported = |message: String| CompileError::UnsupportedCpu { message };
    if !cfg!(target_arch = "x86_64") {
        let architecture = std::env::consts::ARCH;
        return Err(unsupported(format!("it is {architecture}, not x86-64")));
    }
    let builder = cranelift_native::builder().map_err(|message| unsupported(message.into()))?;
    let isa = finish_isa(&builder)?;
    // From x86-64-v2 on, rounding and shuffles are instructions; below, they would be calls of a library.
    let features = cpu_features(&*isa);
    for needed in ["has_ssse3", "has_sse41", "has_sse42", "has_popcnt"] {
        if !features.iter().any(|feature| feature == needed) {
            return Err(unsupported(format!("its CPU lacks x86-64-v2 ({needed})")));
        }
    }
    Ok(isa)
}

/// The code generator for the least CPU that is supported, x86-64-v2, whatever this runs on.
pub(super) fn reference_isa() -> Result<OwnedTargetIsa, CompileError> {
    let unsupported = |message: String| CompileError::UnsupportedCpu { message };
    let mut builder = cranelift_codegen::isa::lookup_by_name("x86_64")
        .map_err(|error| unsupported(error.to_string()))?;
    builder
        .enable("x86-64-v2")
        .expect("a preset of the code generator");
    finish_isa(&builder)
}

fn finish_isa(builder: &cranelift_codegen::isa::Builder) -> Result<OwnedTargetIsa, CompileError> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        // Backtraces walk frame pointers.
        ("preserve_frame_pointers", "true"),
        // All of a module is linked into one text, reached by relative displacements without a table of addresses,
        // which is what "pic" would ask for.
        ("is_pic", "false"),
        // Prologues compare with the stack limit instead.
        ("enable_probestack", "false"),
        // Results beyond the registers go through an area the caller provides.
        ("enable_multi_ret_implicit_sret", "true"),
        ("unwind_info", "false"),
        (
            "enable_verifier",
            if cfg!(debug_assertions) {
                "true"
            } else {
                "false"
            },
        ),
    ] {
        flags
            .set(name, value)
            .expect("a setting of the code generator");
    }
    builder
        .finish(settings::Flags::new(flags))
        .map_err(|error| CompileError::UnsupportedCpu {
            message: error.to_string(),
        })
}

/// The instruction set extensions the code generator may use, sorted by name.
pub(super) fn cpu_features(isa: &dyn TargetIsa) -> Vec<String> {
    let mut features: Vec<String> = isa
        .isa_flags()
        .iter()
        .filter(|value| value.as_bool() == Some(true))
        .map(|value| value.name.to_string())
        .collect();
    features.sort();
    features
}

/// One function as the compiler's tests see it.
#[derive(Clone, Debug)]
pub struct CompiledFunction {
    pub index: u32,
    /// Before optimisation, in Cranelift's text format.
    pub clif: String,
    /// Machine code as the code generator prints it, with its registers, before it is linked.
    pub assembly: String,
}

/// What one thread needs to compile functions, one after the other.
struct Worker<'a> {
    isa: &'a dyn TargetIsa,
    info: &'a ModuleInfo,
    target: Target,
    context: Context,
    frontend: FunctionBuilderContext,
    registers: regalloc2::Ctx,
    allocations: FuncValidatorAllocations,
}

/// Bodies as they are handed out to threads: each is taken once.
type Bodies<'a> = Vec<Mutex<Option<Body<'a>>>>;

impl<'a> Worker<'a> {
    fn new(isa: &'a dyn TargetIsa, info: &'a ModuleInfo) -> Worker<'a> {
        Worker {
            isa,
            info,
            target: Target {
                frontend: isa.frontend_config(),
                fused_multiply_add: cpu_features(isa).iter().any(|name| name == "has_fma"),
            },
            context: Context::new(),
            frontend: FunctionBuilderContext::new(),
            registers: regalloc2::Ctx::default(),
            allocations: FuncValidatorAllocations::default(),
        }
    }

    /// Leaves the unit's CLIF in the context; answers where in the module it begins.
    fn translate(&mut self, unit: Unit, bodies: &Bodies<'_>) -> Result<u32, BodyError> {
        self.context.clear();
        let stub = StubContext {
            info: self.info,
            function: &mut self.context.func,
            context: &mut self.frontend,
            target: self.target,
        };
        match unit {
            Unit::Import(index) => translate::import_stub(stub, index),
            Unit::Trampoline(type_index) => translate::entry_trampoline(stub, type_index),
            Unit::Builtin(builtin) => translate::builtin_stub(stub, builtin),
            Unit::Body(index) => {
                let body = bodies[index as usize]
                    .lock()
                    .expect("no holder panics")
                    .take();
                let Body { validator, body } = body.expect("each body is compiled once");
                let start = body.range().start as u32;
                let allocations = std::mem::take(&mut self.allocations);
                let mut validator = validator.into_validator(allocations);
                let result = translate::function_body(
                    self.info,
                    self.info.imported_functions + index,
                    &body,
                    &mut validator,
                    &mut self.context.func,
                    &mut self.frontend,
                    self.target,
                );
                self.allocations = validator.into_allocations();
                if result.is_err() {
                    // What the frontend knows of a half translated function must not reach the next one.
                    self.frontend = FunctionBuilderContext::new();
                }
                result?;
                return Ok(start);
            }
        }
        Ok(NO_WASM_OFFSET)
    }

    fn compile(&mut self, unit: Unit, bodies: &Bodies<'_>) -> Result<MachineCode, BodyError> {
        let start = self.translate(unit, bodies)?;
        let code = self.machine_code(unit)?;
        self.parts(unit, start, &code)
    }

    /// Machine code with what the link and the artifact need of it.
    fn parts(&self, unit: Unit, start: u32, code: &CompiledCode) -> Result<MachineCode, BodyError> {
        let refuse = |message: String| self.refuse(unit, message);
        let buffer = &code.buffer;
        let locations = buffer.get_srclocs_sorted();
        let wasm_offset = |code_offset: u32| {
            let after = locations.partition_point(|location| location.start <= code_offset);
            match after.checked_sub(1).map(|index| &locations[index]) {
                Some(location) if code_offset < location.end && !location.loc.is_default() => {
                    location.loc.bits()
                }
                _ => start,
            }
        };
        let mut relocations = Vec::with_capacity(buffer.relocs().len());
        for relocation in buffer.relocs() {
            let target = match &relocation.target {
                FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                    self.context.func.params.user_named_funcs()[*name].clone()
                }
                other => return Err(refuse(format!("needs {other:?} of a run-time library"))),
            };
            if relocation.kind != Reloc::X86CallPCRel4 && relocation.kind != Reloc::X86PCRel4 {
                return Err(refuse(format!("needs a relocation {:?}", relocation.kind)));
            }
            relocations.push(Relocation {
                offset: relocation.offset,
                target,
                addend: relocation.addend,
            });
        }
        Ok(MachineCode {
            bytes: buffer.data().to_vec(),
            alignment: buffer.alignment.max(FUNCTION_ALIGNMENT),
            relocations,
            traps: buffer
                .traps()
                .iter()
                .map(|trap| TrapSite {
                    code_offset: trap.offset,
                    kind: TrapKind::from_code(trap.code),
                    wasm_offset: wasm_offset(trap.offset),
                })
                .collect(),
            calls: buffer
                .call_sites()
                .map(|call| CallSite {
                    return_offset: call.ret_addr,
                    wasm_offset: wasm_offset(call.ret_addr - 1),
                })
                .collect(),
            handlers: buffer.call_sites().filter_map(handler_site).collect(),
        })
    }

    /// Machine code of the CLIF in the context.
    fn machine_code(&mut self, unit: Unit) -> Result<CompiledCode, BodyError> {
        self.code_of_context()
            .map_err(|error| self.refuse(unit, format!("{error:?}")))
    }

    /// What [`Context::compile`] does, with passes of ours before code is generated.
    fn code_of_context(&mut self) -> CodegenResult<CompiledCode> {
        let control = &mut ControlPlane::default();
        self.context.verify_if(self.isa)?;
        self.context.optimize(self.isa, control)?;
        refine(&mut self.context);
        self.context.verify_if(self.isa)?;
        let code = self.isa.compile_function(
            &self.context.func,
            &self.context.domtree,
            &mut self.registers,
            self.context.want_disasm,
            control,
        )?;
        Ok(code.apply_params(&self.context.func.params))
    }

    fn refuse(&self, unit: Unit, message: String) -> BodyError {
        let function = self.function_of(unit);
        BodyError::Other(CompileError::Codegen { function, message })
    }

    fn function_of(&self, unit: Unit) -> u32 {
        match unit {
            Unit::Import(index) => index,
            Unit::Body(index) => self.info.imported_functions + index,
            Unit::Trampoline(_) | Unit::Builtin(_) => u32::MAX,
        }
    }
}

/// Compiles all functions of a module and links them. Fills in what [`ModuleInfo`] says of code.
pub(super) fn compile_module(
    wasm: &[u8],
    module: &mut Module<'_>,
    isa: &dyn TargetIsa,
    options: &CompileOptions,
) -> Result<Text, CompileError> {
    let trampolines = trampoline_types(&module.info);
    let imports = (0..module.info.imported_functions).map(Unit::Import);
    let bodies = (0..module.bodies.len() as u32).map(Unit::Body);
    // Equal types share a trampoline: the first type's.
    let distinct: BTreeSet<u32> = trampolines.values().copied().collect();
    let mut units: Vec<Unit> = imports
        .chain(bodies)
        .chain(distinct.into_iter().map(Unit::Trampoline))
        .collect();
    let mut codes = compile_units(wasm, module, isa, options, &units)?;

    let used: BTreeSet<u32> = codes
        .iter()
        .flat_map(|code| &code.relocations)
        .filter(|relocation| relocation.target.namespace == name::BUILTIN)
        .map(|relocation| relocation.target.index)
        .collect();
    let mut worker = Worker::new(isa, &module.info);
    for index in used {
        let unit = Unit::Builtin(Builtin::ALL[index as usize].0);
        units.push(unit);
        codes.push(
            worker
                .compile(unit, &Vec::new())
                .map_err(|error| explain(wasm, error))?,
        );
    }
    link(&mut module.info, &trampolines, &units, codes)
}

/// The types that need an entry trampoline, each with the type whose trampoline it uses.
fn trampoline_types(info: &ModuleInfo) -> BTreeMap<u32, u32> {
    let exported = info.exports.iter().filter_map(|export| match export.kind {
        super::info::ExportKind::Function(function) => Some(function),
        _ => None,
    });
    let types: BTreeSet<u32> = exported
        .chain(info.start)
        .map(|function| info.functions[function as usize].type_index)
        .collect();
    let mut first_of_signature = HashMap::new();
    types
        .into_iter()
        .map(|ty| {
            let signature = info.signature_ids[ty as usize];
            (ty, *first_of_signature.entry(signature).or_insert(ty))
        })
        .collect()
}

/// Compiles units in parallel, large bodies first, and answers their code in the order of the units.
fn compile_units(
    wasm: &[u8],
    module: &mut Module<'_>,
    isa: &dyn TargetIsa,
    options: &CompileOptions,
    units: &[Unit],
) -> Result<Vec<MachineCode>, CompileError> {
    let sizes: Vec<usize> = module
        .bodies
        .iter()
        .map(|body| body.body.range().len())
        .collect();
    let bodies: Bodies<'_> = module
        .bodies
        .drain(..)
        .map(|body| Mutex::new(Some(body)))
        .collect();
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|index| match units[*index] {
        Unit::Body(body) => std::cmp::Reverse(sizes[body as usize]),
        _ => std::cmp::Reverse(0),
    });
    let next = AtomicUsize::new(0);
    // The unit of the lowest index that failed so far: units after it need not be compiled, units before it have to,
    // so that the error does not depend on the order of threads.
    let failed = AtomicUsize::new(usize::MAX);
    let work = || {
        let mut worker = Worker::new(isa, &module.info);
        let mut done = Vec::new();
        while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            if index > failed.load(Ordering::Relaxed) {
                continue;
            }
            let result = worker.compile(units[index], &bodies);
            if result.is_err() {
                failed.fetch_min(index, Ordering::Relaxed);
            }
            done.push((index, result));
        }
        done
    };
    let threads = options.threads.get().min(units.len()).max(1);
    let mut results: Vec<(usize, Result<MachineCode, BodyError>)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                std::thread::Builder::new()
                    .name("compile".into())
                    .stack_size(COMPILE_STACK_BYTES)
                    .spawn_scoped(scope, work)
                    .expect("a thread can be started")
            })
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results
        .into_iter()
        .map(|(_, result)| result.map_err(|error| explain(wasm, error)))
        .collect()
}

fn explain(wasm: &[u8], error: BodyError) -> CompileError {
    match error {
        BodyError::Invalid(error) => features::explain(wasm, &error),
        BodyError::Other(error) => error,
    }
}

/// The CLIF and machine code of every function, in the order of their indices, imports' stubs included.
pub(super) fn inspect_module(
    wasm: &[u8],
    module: &mut Module<'_>,
    isa: &dyn TargetIsa,
) -> Result<Vec<CompiledFunction>, CompileError> {
    let defined = 0..module.bodies.len() as u32;
    let bodies: Bodies<'_> = module
        .bodies
        .drain(..)
        .map(|body| Mutex::new(Some(body)))
        .collect();
    let mut worker = Worker::new(isa, &module.info);
    let imports = (0..module.info.imported_functions).map(Unit::Import);
    let mut functions = Vec::new();
    for unit in imports.chain(defined.map(Unit::Body)) {
        let fail = |error| explain(wasm, error);
        worker.translate(unit, &bodies).map_err(fail)?;
        let clif = worker.context.func.display().to_string();
        worker.context.set_disasm(true);
        let code = worker.machine_code(unit).map_err(fail)?;
        let assembly = code.vcode.expect("asked for");
        functions.push(CompiledFunction {
            index: worker.function_of(unit),
            clif,
            assembly,
        });
    }
    Ok(functions)
}

//! A compiled module in this process: its artifact mapped, its text executable, its imports resolved.

use super::code::Text;
use super::collector::Shapes;
use super::engine::Engine;
use super::fiber::Trampoline;
use super::host_function::{HostFunction, Imports};
use super::os::{self, Reservation};
use super::trap::{Frame, TrapKind};
use crate::compile::artifact::{self, Artifact, ArtifactError, ArtifactIndex};
use crate::compile::info::{
    CompositeType, ExportKind, FunctionType, HeapType, ImportKind, ModuleInfo, ReferenceType,
    ValueType,
};
use crate::layout::{
    EXTERNALIZED, I31_BIT, INTERNALIZED, NULL_REFERENCE, PAGE_BYTES, function_reference,
};
use std::cell::OnceCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// Why an artifact could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The artifact is damaged, or was compiled by another version or for another processor: compile the module again.
    Artifact(ArtifactError),
    Io(io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Artifact(error) => write!(f, "{error}"),
            LoadError::Io(error) => write!(f, "the artifact cannot be mapped: {error}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// What is read of an artifact at a time: memory that it takes besides is the kernel's, and given back.
const READ_BYTES: usize = 256 << 10;

/// An artifact file that was read and verified, ready to be loaded: the part of loading that reads from disk, for any thread.
#[derive(Debug)]
pub struct CheckedArtifact {
    file: File,
    bytes: usize,
    checksum: [u8; 32],
}

impl CheckedArtifact {
    /// What tells it from others: two artifacts with the same checksum are the same code.
    pub fn checksum(&self) -> [u8; 32] {
        self.checksum
    }

    /// Reads and verifies all of an artifact file.
    pub fn check(file: File) -> Result<CheckedArtifact, LoadError> {
        let length = file.metadata().map_err(LoadError::Io)?.len();
        // At its place, for the position in the file is also that of whoever else has it open.
        let read = |bytes: &mut [u8], at| file.read_exact_at(bytes, at).map_err(LoadError::Io);
        let mut buffer = vec![0; length.min(READ_BYTES as u64) as usize];
        let page = buffer.len().min(PAGE_BYTES);
        read(&mut buffer[..page], 0)?;
        let verifier = artifact::Verifier::new(&buffer[..page], length);
        let mut verifier = verifier.map_err(LoadError::Artifact)?;
        let mut at = page as u64;
        while at < length {
            let bytes = buffer.len().min((length - at) as usize);
            read(&mut buffer[..bytes], at)?;
            verifier.update(&buffer[..bytes]);
            at += bytes as u64;
        }
        Ok(CheckedArtifact {
            file,
            bytes: length as usize,
            checksum: verifier.finish().map_err(LoadError::Artifact)?,
        })
    }
}

/// A compiled module, ready to be linked. Clones share it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use dormouse::compile::{CompileOptions, compile};
/// # use dormouse::{Engine, EngineOptions, Image, Imports, Instance, Limits, Module};
/// # use std::io::Write;
/// // Compiled once, and kept as a file.
/// let wasm = wat::parse_str(r#"(module (func (export "three") (result i32) (i32.const 3)))"#)?;
/// let mut file = tempfile::tempfile()?;
/// file.write_all(&compile(&wasm, &CompileOptions::default())?)?;
///
/// // Mapped wherever it is needed.
/// let engine = Engine::new(&EngineOptions::default())?;
/// let module = Module::load(&engine, &file)?;
/// assert!(module.function("three").is_some());
/// assert!(module.function("four").is_none());
/// assert!(module.typed::<(), i32>("three").is_ok());
/// assert!(module.typed::<(), i64>("three").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Module {
    pub(crate) shared: Rc<ModuleState>,
}

pub(crate) struct ModuleState {
    pub engine: Engine,
    pub info: ModuleInfo,
    /// See [`ModuleInfo::host_memory`].
    pub host_memory: Option<u32>,
    index: ArtifactIndex,
    artifact: Reservation,
    pub text: Text,
    /// Made by the first collection of a heap.
    shapes: OnceCell<Shapes>,
    /// The artifact's checksum, to which images are tied.
    pub checksum: [u8; 32],
}

/// A function of a module that the host can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callable {
    /// Index in the function index space.
    pub function: u32,
}

impl Module {
    /// Maps an artifact file and verifies it. Its text runs from the file's own pages.
    ///
    /// The file must not be changed while the module is in use; artifacts are written once and replaced by renaming.
    pub fn load(engine: &Engine, file: &File) -> Result<Module, LoadError> {
        let file = file.try_clone().map_err(LoadError::Io)?;
        Module::load_checked(engine, &CheckedArtifact::check(file)?)
    }

    /// As [`Module::load`], with a file that was checked.
    pub fn load_checked(engine: &Engine, checked: &CheckedArtifact) -> Result<Module, LoadError> {
        let CheckedArtifact { file, bytes, .. } = checked;
        let artifact = Reservation::of_file(file, *bytes).map_err(LoadError::Io)?;
        let parsed = Artifact::read(map_bytes(&artifact)).map_err(LoadError::Artifact)?;
        parsed.check_cpu().map_err(LoadError::Artifact)?;
        let (range, index, checksum) = (parsed.text_range(), parsed.index(), parsed.checksum());
        let info = parsed.into_info();
        let text = Text::map(file, range.start as u64, range.len()).map_err(LoadError::Io)?;
        let engine = engine.clone();
        Ok(Module {
            shared: Rc::new(ModuleState {
                engine,
                host_memory: info.host_memory(),
                info,
                index,
                artifact,
                text,
                shapes: OnceCell::new(),
                checksum,
            }),
        })
    }

    /// As [`Module::load`], from bytes; they are kept in a file in memory.
    pub fn from_artifact(engine: &Engine, artifact: &[u8]) -> Result<Module, LoadError> {
        let mut file = os::memory_file(c"dormouse-artifact").map_err(LoadError::Io)?;
        file.write_all(artifact).map_err(LoadError::Io)?;
        Module::load(engine, &file)
    }

    /// The checksum of its artifact.
    pub fn checksum(&self) -> [u8; 32] {
        self.shared.checksum
    }

    pub fn info(&self) -> &ModuleInfo {
        &self.shared.info
    }

    /// The exported function of this name.
    pub fn function(&self, name: &str) -> Option<Callable> {
        match self.shared.info.export(name)? {
            ExportKind::Function(function) => Some(Callable { function }),
            _ => None,
        }
    }

    /// The start function, which [`Instance::new`](super::Instance::new) leaves to its caller to run.
    pub fn start_function(&self) -> Option<Callable> {
        self.shared.info.start.map(|function| Callable { function })
    }

    /// Resolves every import.
    pub fn link(&self, imports: &Imports) -> Result<Linked, LinkError> {
        let info = &self.shared.info;
        if info.is_linkable() {
            return Err(LinkError {
                problems: vec![Unresolved {
                    import: "the module".to_owned(),
                    problem: "is compiled to be linked: instantiate it in a store".to_owned(),
                }],
            });
        }
        let mut functions = Vec::new();
        let mut problems = Vec::new();
        for import in &info.imports {
            let ImportKind::Function { type_index } = import.kind else {
                problems.push(Unresolved {
                    import: format!("{}.{}", import.module, import.name),
                    problem: "only functions can be imported".to_owned(),
                });
                continue;
            };
            let wanted = info.signature(type_index);
            let problem = match imports.get(&import.module, &import.name) {
                Some((ty, function)) if ty == wanted => {
                    functions.push(ResolvedImport::new(ty, function));
                    continue;
                }
                Some((ty, _)) => format!("has type {ty}, imported as {wanted}"),
                None => "is not provided".to_owned(),
            };
            problems.push(Unresolved {
                import: format!("{}.{}", import.module, import.name),
                problem,
            });
        }
        if problems.is_empty() {
            Ok(Linked {
                module: self.clone(),
                imports: functions.into(),
            })
        } else {
            Err(LinkError { problems })
        }
    }

    /// Where the module's objects have references.
    pub(crate) fn shapes(&self) -> &Shapes {
        let state = &self.shared;
        state.shapes.get_or_init(|| Shapes::new(&state.info))
    }

    /// The bytes of a data segment, in the artifact.
    pub(crate) fn data_segment(&self, index: usize) -> &[u8] {
        let segment = &self.shared.info.data[index];
        let data = self.shared.index.data(map_bytes(&self.shared.artifact));
        &data[segment.start as usize..(segment.start + segment.bytes) as usize]
    }

    /// The reference to a function that guests of this module use.
    pub(crate) fn reference(&self, function: u32) -> u64 {
        let info = &self.shared.info;
        let of = &info.functions[function as usize];
        function_reference(of.code_offset, info.signature_ids[of.type_index as usize])
    }

    /// Whether every word that guest code would take for a reference is one, of its type: guests jump to what a function
    /// reference says, and rely on what a type says of null.
    pub(crate) fn are_references(&self, types: &[ValueType], words: &[u64]) -> bool {
        self.are_references_to(types, words, &|word, of| {
            let info = &self.shared.info;
            let mut functions = 0..info.functions.len() as u32;
            of.is_none_or(|of| info.is_subtype_id((word >> 32) as u32, of))
                && functions.any(|function| self.reference(function) == word)
        })
    }

    /// The same, given how to tell references to functions: all, or those of a type.
    pub(crate) fn are_references_to(
        &self,
        types: &[ValueType],
        words: &[u64],
        functions: &dyn Fn(u64, Option<u32>) -> bool,
    ) -> bool {
        let mut at = 0;
        types.iter().all(|ty| {
            let word = words[at];
            at += ty.words();
            match ty {
                ValueType::Reference(ty) => self.is_reference(*ty, word, functions),
                _ => true,
            }
        })
    }

    fn is_reference(
        &self,
        ty: ReferenceType,
        word: u64,
        functions: &dyn Fn(u64, Option<u32>) -> bool,
    ) -> bool {
        if word == NULL_REFERENCE {
            return ty.nullable;
        }
        let info = &self.shared.info;
        let is_number = |word: u64| word & I31_BIT != 0 && word <= u64::from(u32::MAX);
        match ty.heap {
            HeapType::Func => functions(word, None),
            HeapType::Concrete(index) => {
                let types = &info.types[index as usize].composite;
                matches!(types, CompositeType::Function(_)) && functions(word, Some(index))
            }
            // Without objects, an external reference is any word of the host's.
            HeapType::Extern if !info.has_heap() => true,
            HeapType::Extern => {
                word < 1 << 62 || word & EXTERNALIZED != 0 && is_number(word & !EXTERNALIZED)
            }
            HeapType::Any => is_number(word) || word & (I31_BIT | INTERNALIZED) == INTERNALIZED,
            HeapType::Eq | HeapType::I31 => is_number(word),
            // Objects of the guest are its own.
            _ => false,
        }
    }

    /// Where a function's code, or an import's stub, begins.
    pub(crate) fn code_of(&self, function: u32) -> usize {
        let function = &self.shared.info.functions[function as usize];
        self.shared.text.base() + function.code_offset as usize
    }

    /// The machine code of a function and the trampoline for its type.
    pub(crate) fn entry(&self, callable: Callable) -> Option<(Trampoline, *const u8)> {
        let info = &self.shared.info;
        let function = info.functions.get(callable.function as usize)?;
        let (_, trampoline) = info
            .trampolines
            .iter()
            .find(|(ty, _)| *ty == function.type_index)?;
        let base = self.shared.text.base();
        let code = (base + function.code_offset as usize) as *const u8;
        // SAFETY: the artifact, which is verified, says that an entry trampoline of this shape begins there.
        let trampoline =
            unsafe { std::mem::transmute::<usize, Trampoline>(base + *trampoline as usize) };
        Some((trampoline, code))
    }

    /// The type of a callable function.
    pub fn function_type(&self, callable: Callable) -> &FunctionType {
        self.shared.info.function_type(callable.function)
    }

    /// The trap that an address in the text stands for.
    pub(crate) fn trap_at(&self, pc: usize) -> Option<TrapKind> {
        let offset = self.shared.text.offset_of(pc)?;
        let trap = self
            .shared
            .index
            .trap_at(map_bytes(&self.shared.artifact), offset)?;
        Some(trap.kind)
    }

    /// Whether an address lies in the text.
    pub(crate) fn is_code(&self, address: usize) -> bool {
        self.shared.text.offset_of(address).is_some()
    }

    /// Where the call that returns to an address in the text goes on with an exception: the handler's address, and the bytes from
    /// the stack pointer it expects up to the frame pointer.
    pub(crate) fn handler_at(&self, return_address: usize) -> Option<(usize, usize)> {
        let offset = self.shared.text.offset_of(return_address)?;
        let bytes = map_bytes(&self.shared.artifact);
        let handler = self.shared.index.handler_at(bytes, offset)?;
        let code = self.shared.text.base() + handler.code_offset as usize;
        Some((code, handler.frame_bytes as usize))
    }

    /// The wasm function that is executing at an address in the text, described for a backtrace.
    pub(crate) fn frame_at(&self, pc: usize) -> Option<Frame> {
        let trap = |offset| {
            let bytes = map_bytes(&self.shared.artifact);
            self.shared.index.trap_at(bytes, offset)?.wasm_offset
        };
        self.frame(pc, self.shared.text.offset_of(pc).and_then(trap))
    }

    /// The wasm function whose call returns to an address in the text.
    pub(crate) fn frame_of_call(&self, return_address: usize) -> Option<Frame> {
        let call = |offset| {
            let bytes = map_bytes(&self.shared.artifact);
            self.shared.index.wasm_offset_at(bytes, offset)
        };
        let offset = self.shared.text.offset_of(return_address).and_then(call);
        // The call is the instruction before; a function that never returns may end with it.
        self.frame(return_address.wrapping_sub(1), offset)
    }

    fn frame(&self, pc: usize, offset: Option<u32>) -> Option<Frame> {
        let (index, bytes) = (&self.shared.index, map_bytes(&self.shared.artifact));
        let function = index.function_at(bytes, self.shared.text.offset_of(pc)?)?;
        let name = index.function_name(bytes, function).map(str::to_owned);
        Some(Frame {
            function,
            name,
            offset,
        })
    }
}

fn map_bytes(artifact: &Reservation) -> &[u8] {
    // SAFETY: the whole range is a read-only mapping of the artifact file, which nobody changes (see `Module::load`), and lives
    // as long as the reservation that is borrowed.
    unsafe { std::slice::from_raw_parts(artifact.base(), artifact.bytes()) }
}

/// An import that a host function was found for.
pub(crate) struct ResolvedImport {
    pub function: HostFunction,
    /// Words of its parameters or its results, whichever are more.
    pub words: usize,
    /// The types of its results, if there is a reference among them.
    pub results: Option<Vec<ValueType>>,
}

impl ResolvedImport {
    pub fn new(ty: &FunctionType, function: &HostFunction) -> ResolvedImport {
        let words = |types: &[ValueType]| types.iter().map(|ty| ty.words()).sum::<usize>();
        let is_reference = |ty: &ValueType| matches!(ty, ValueType::Reference(_));
        ResolvedImport {
            function: function.clone(),
            words: words(&ty.parameters).max(words(&ty.results)),
            results: ty
                .results
                .iter()
                .any(is_reference)
                .then(|| ty.results.clone()),
        }
    }

    /// What stands for an import that is a function of another instance: such are called directly.
    pub fn of_instance() -> ResolvedImport {
        ResolvedImport {
            function: Rc::new(|_, _| unreachable!("a function of an instance is called directly")),
            words: 0,
            results: None,
        }
    }
}

/// A module with its imports resolved: what instances are made of. Clones share it.
#[derive(Clone)]
pub struct Linked {
    module: Module,
    imports: Rc<[ResolvedImport]>,
}

impl Linked {
    pub(crate) fn new(module: &Module, imports: Vec<ResolvedImport>) -> Linked {
        Linked {
            module: module.clone(),
            imports: imports.into(),
        }
    }

    pub fn module(&self) -> &Module {
        &self.module
    }

    pub(crate) fn import(&self, index: u32) -> &ResolvedImport {
        &self.imports[index as usize]
    }
}

/// An import that could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// `module.name`
    pub import: String,
    pub problem: String,
}

/// Imports that could not be resolved, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkError {
    pub problems: Vec<Unresolved>,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the module's imports cannot be satisfied:")?;
        for unresolved in &self.problems {
            write!(f, " {} {};", unresolved.import, unresolved.problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for LinkError {}

//! One run of a test file: its directives in order, and what came of each.

use crate::instances::{Instances, Mode, Refusal, compile_one};
use crate::values;
use dormouse::Reason;
use dormouse::compile::CompileError;
use std::collections::HashMap;
use wast::token::Id;
use wast::{QuoteWat, Wast, WastDirective, WastExecute, WastInvoke};

/// What came of a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
    /// It could not be tried: the module it speaks of has no instance.
    Untried,
    /// It says something to the runner and asserts nothing.
    Silent,
}

/// A parsed file, its modules encoded.
pub struct Script<'a> {
    directives: Vec<(usize, WastDirective<'a>)>,
    /// The module of each directive that has one.
    modules: Vec<Encoded>,
}

impl<'a> Script<'a> {
    pub fn new(wast: Wast<'a>, text: &str) -> Script<'a> {
        let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let mut modules = Vec::new();
        let mut directives = Vec::new();
        for mut directive in wast.directives {
            modules.push(encode(&mut directive));
            let offset = directive.span().offset();
            directives.push((starts.partition_point(|at| *at < offset) + 1, directive));
        }
        Script {
            directives,
            modules,
        }
    }

    /// Whether some module of the file imports what only instances of a store can: only these modes are for it then.
    pub fn needs_links(&self) -> bool {
        let registers = |(_, directive): &(usize, WastDirective<'_>)| {
            matches!(directive, WastDirective::Register { .. })
        };
        let imports = |(_, directive): &(usize, WastDirective<'_>), module: &Encoded| {
            let instantiated = matches!(
                directive,
                WastDirective::Module(_)
                    | WastDirective::ModuleDefinition(_)
                    | WastDirective::AssertReturn { .. }
                    | WastDirective::AssertTrap { .. }
            );
            instantiated && matches!(module, Some(Ok(wasm)) if imports_more_than_functions(wasm))
        };
        let modules = self.directives.iter().zip(&self.modules);
        self.directives.iter().any(registers)
            || modules
                .into_iter()
                .any(|(directive, module)| imports(directive, module))
    }

    /// The line each directive begins on.
    pub fn lines(&self) -> impl Iterator<Item = usize> + '_ {
        self.directives.iter().map(|(line, _)| *line)
    }
}

/// The binary of a directive that has a module, or why there is none.
type Encoded = Option<Result<Vec<u8>, String>>;

/// Whether a module imports tables, memories, globals or tags.
fn imports_more_than_functions(wasm: &[u8]) -> bool {
    let payloads = wasmparser::Parser::new(0).parse_all(wasm);
    payloads.map_while(Result::ok).any(|payload| {
        let wasmparser::Payload::ImportSection(imports) = payload else {
            return false;
        };
        imports
            .into_imports()
            .map_while(Result::ok)
            .any(|import| !matches!(import.ty, wasmparser::TypeRef::Func(_)))
    })
}

/// Takes the module out of a directive.
fn encode(directive: &mut WastDirective<'_>) -> Encoded {
    let encoded = match directive {
        WastDirective::Module(module)
        | WastDirective::ModuleDefinition(module)
        | WastDirective::AssertMalformed { module, .. }
        | WastDirective::AssertInvalid { module, .. }
        | WastDirective::AssertMalformedCustom { module, .. }
        | WastDirective::AssertInvalidCustom { module, .. } => module.encode(),
        WastDirective::AssertUnlinkable { module, .. }
        | WastDirective::AssertReturn {
            exec: WastExecute::Wat(module),
            ..
        }
        | WastDirective::AssertTrap {
            exec: WastExecute::Wat(module),
            ..
        }
        | WastDirective::AssertException {
            exec: WastExecute::Wat(module),
            ..
        } => module.encode(),
        _ => return None,
    };
    Some(encoded.map_err(|error| error.message()))
}

/// The end of a call or an instantiation that a directive speaks of.
enum End {
    Returned(Vec<u64>),
    Trapped(String),
    /// An exception came out of it.
    Threw(String),
    Refused(Refusal),
}

/// Runs a file once.
pub struct Execution<'s, 'a> {
    script: &'s Script<'a>,
    instances: &'s mut Instances,
    mode: Mode,
    /// The module that unnamed assertions speak of, by its directive.
    current: Option<usize>,
    named: HashMap<&'a str, usize>,
    definitions: HashMap<&'a str, usize>,
    last_definition: Option<usize>,
    /// Whether "unsupported" is an answer to a test that a module is invalid.
    unsupported_is_invalid: bool,
}

impl<'s, 'a> Execution<'s, 'a> {
    pub fn new(
        script: &'s Script<'a>,
        instances: &'s mut Instances,
        mode: Mode,
        unsupported_is_invalid: bool,
    ) -> Execution<'s, 'a> {
        let registers = |(_, directive): &(usize, WastDirective<'_>)| {
            matches!(directive, WastDirective::Register { .. })
        };
        instances.begin(mode, script.directives.iter().any(registers));
        Execution {
            script,
            instances,
            mode,
            current: None,
            named: HashMap::new(),
            definitions: HashMap::new(),
            last_definition: None,
            unsupported_is_invalid,
        }
    }

    /// What comes of every directive.
    pub fn run(mut self) -> Vec<Outcome> {
        (0..self.script.directives.len())
            .map(|index| self.directive(index))
            .collect()
    }

    fn directive(&mut self, index: usize) -> Outcome {
        let script = self.script;
        match &script.directives[index].1 {
            WastDirective::Module(module) => self.module(index, module),
            WastDirective::ModuleDefinition(module) => {
                self.last_definition = Some(index);
                if let Some(name) = module.name() {
                    self.definitions.insert(name.name(), index);
                }
                self.definition(index)
            }
            WastDirective::ModuleInstance {
                instance, module, ..
            } => {
                let definition = match module {
                    Some(name) => self.definitions.get(name.name()).copied(),
                    None => self.last_definition,
                };
                match definition {
                    Some(definition) => self.instance(index, *instance, definition),
                    None => Outcome::Untried,
                }
            }
            WastDirective::Register { name, module, .. } => match self.target(*module) {
                Some(instance) => {
                    self.instances.register(instance, name);
                    Outcome::Silent
                }
                None => Outcome::Untried,
            },
            WastDirective::Invoke(invoke) => match self.invoke(invoke) {
                None => Outcome::Untried,
                Some(End::Returned(_)) => Outcome::Passed,
                Some(end) => failed(end.describe()),
            },
            WastDirective::AssertReturn { exec, results, .. } => match self.execute(index, exec) {
                None => Outcome::Untried,
                Some(End::Returned(words)) if values::match_results(results, &words) => {
                    Outcome::Passed
                }
                Some(end) => failed(format!("expected {results:?}, {}", end.describe())),
            },
            WastDirective::AssertTrap { exec, message, .. } => {
                let end = self.execute(index, exec);
                assert_trap(end, message)
            }
            WastDirective::AssertException { exec, .. } => match self.execute(index, exec) {
                None => Outcome::Untried,
                Some(End::Threw(_)) => Outcome::Passed,
                Some(end) => failed(format!("expected an exception, {}", end.describe())),
            },
            WastDirective::AssertExhaustion { call, message, .. } => {
                assert_trap(self.invoke(call), message)
            }
            // Nothing of these depends on how an instance came about.
            _ if self.mode != Mode::ALL[0] => Outcome::Silent,
            WastDirective::AssertInvalid { message, .. }
            | WastDirective::AssertMalformed { message, .. }
            | WastDirective::AssertInvalidCustom { message, .. }
            | WastDirective::AssertMalformedCustom { message, .. } => {
                self.assert_refused(index, message)
            }
            WastDirective::AssertUnlinkable { message, .. } => {
                self.assert_unlinkable(index, message)
            }
            other => failed(format!("the runner cannot execute {}", kind(other))),
        }
    }

    fn binary(&self, index: usize) -> Result<&'s [u8], Outcome> {
        match &self.script.modules[index] {
            Some(Ok(wasm)) => Ok(wasm),
            Some(Err(message)) => Err(failed(format!("cannot be encoded: {message}"))),
            None => unreachable!("only asked of directives with a module"),
        }
    }

    fn module(&mut self, index: usize, module: &QuoteWat<'a>) -> Outcome {
        self.instance(index, module.name(), index)
    }

    /// Makes the instance of directive `index` from the module of directive `definition`.
    fn instance(&mut self, index: usize, name: Option<Id<'a>>, definition: usize) -> Outcome {
        self.current = None;
        if let Some(name) = name {
            self.named.remove(name.name());
        }
        let wasm = match self.binary(definition) {
            Ok(wasm) => wasm,
            Err(outcome) => return outcome,
        };
        if let Err(refusal) = self.instances.make(index, wasm, self.mode) {
            return failed(refusal.to_string());
        }
        self.current = Some(index);
        if let Some(name) = name {
            self.named.insert(name.name(), index);
        }
        Outcome::Passed
    }

    fn definition(&mut self, index: usize) -> Outcome {
        match self.binary(index).map(|wasm| compile_one(wasm, true)) {
            Ok(Ok(_)) => Outcome::Passed,
            Ok(Err(error)) => failed(error.to_string()),
            Err(outcome) => outcome,
        }
    }

    fn target(&self, module: Option<Id<'_>>) -> Option<usize> {
        match module {
            Some(name) => self.named.get(name.name()).copied(),
            None => self.current,
        }
    }

    /// None when the module has no instance.
    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Option<End> {
        let target = self.target(invoke.module)?;
        if !self.instances.has(target) {
            return None;
        }
        let end = match values::arguments(&invoke.args) {
            Err(message) => End::Refused(Refusal::Other(message)),
            Ok(words) => match self.instances.call(target, invoke.name, &words) {
                None => End::Refused(Refusal::Other(format!(
                    "there is no exported function \"{}\"",
                    invoke.name
                ))),
                Some(Ok(words)) => End::Returned(words),
                Some(Err(trap)) => match trap.reason {
                    Reason::UncaughtException(exception) => End::Threw(exception.to_string()),
                    reason => End::Trapped(reason.to_string()),
                },
            },
        };
        Some(end)
    }

    fn execute(&mut self, index: usize, execute: &WastExecute<'_>) -> Option<End> {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(invoke),
            WastExecute::Get { module, global, .. } => {
                let target = self.target(*module)?;
                if !self.instances.has(target) {
                    return None;
                }
                Some(match self.instances.global(target, global) {
                    Some(words) => End::Returned(words),
                    None => End::Refused(Refusal::Other(format!(
                        "there is no exported global \"{global}\""
                    ))),
                })
            }
            WastExecute::Wat(_) => Some(match self.binary(index) {
                Err(_) => End::Refused(Refusal::Other("the module cannot be encoded".to_owned())),
                Ok(wasm) => match self.instantiate(wasm) {
                    Ok(()) => End::Returned(Vec::new()),
                    Err(Refusal::Trap(message)) => End::Trapped(message),
                    Err(refusal) => End::Refused(refusal),
                },
            }),
        }
    }

    /// That a module is malformed or invalid. Messages are not compared: those of the suite are its interpreter's.
    fn assert_refused(&self, index: usize, message: &str) -> Outcome {
        // What cannot be encoded is malformed text, which the parser of the test format found.
        let Ok(wasm) = self.binary(index) else {
            return Outcome::Passed;
        };
        match compile_one(wasm, true) {
            Err(CompileError::Invalid { .. }) => Outcome::Passed,
            Err(CompileError::Unsupported { .. }) if self.unsupported_is_invalid => Outcome::Passed,
            Err(error) => failed(format!("expected \"{message}\", got: {error}")),
            Ok(_) => failed(format!("expected \"{message}\", but it is accepted")),
        }
    }

    /// Makes an instance in the way of this run that nothing else speaks of.
    fn instantiate(&mut self, wasm: &[u8]) -> Result<(), Refusal> {
        match self.mode.links() {
            true => self.instances.instantiate_linked(wasm).map(|_| ()),
            false => self.instances.instantiate(wasm).map(|_| ()),
        }
    }

    fn assert_unlinkable(&mut self, index: usize, message: &str) -> Outcome {
        let wasm = match self.binary(index) {
            Ok(wasm) => wasm,
            Err(outcome) => return outcome,
        };
        match self.instantiate(wasm) {
            Err(Refusal::Link(got)) if got.contains(message) => Outcome::Passed,
            Err(refusal) => failed(format!("expected \"{message}\", got: {refusal}")),
            Ok(()) => failed(format!("expected \"{message}\", but it links")),
        }
    }
}

impl End {
    fn describe(&self) -> String {
        match self {
            End::Returned(words) => format!("got {words:x?}"),
            End::Trapped(message) => format!("trapped: {message}"),
            End::Threw(message) => message.clone(),
            End::Refused(refusal) => refusal.to_string(),
        }
    }
}

/// The suite's messages may go on where ours end ("uninitialized element 2"), and ours where its end.
fn assert_trap(end: Option<End>, message: &str) -> Outcome {
    match end {
        None => Outcome::Untried,
        Some(End::Trapped(got)) if got.starts_with(message) || message.starts_with(&got) => {
            Outcome::Passed
        }
        Some(end) => failed(format!(
            "expected the trap \"{message}\", {}",
            end.describe()
        )),
    }
}

fn failed(message: String) -> Outcome {
    Outcome::Failed(message)
}

fn kind(directive: &WastDirective<'_>) -> &'static str {
    match directive {
        WastDirective::AssertSuspension { .. } => "assert_suspension",
        WastDirective::Thread(_) => "thread",
        WastDirective::Wait { .. } => "wait",
        _ => "this directive",
    }
}

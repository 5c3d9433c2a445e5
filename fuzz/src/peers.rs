//! The engines that results are compared with: Wasmtime, whose code comes from the same code generator by another translator, and
//! Wasmi, an interpreter, which shares neither.

use crate::guest::words;
use crate::modules::{MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX};
use crate::values::{End, MemoryState, State, Value};
use std::sync::LazyLock;

/// An instance on another engine.
pub trait Peer {
    fn name(&self) -> &'static str;
    /// Calls an export that has so many results.
    fn call(&mut self, export: &str, arguments: &[Value], results: usize) -> End;
    /// What these exports show, in this order.
    fn observe(&mut self, exports: &[String]) -> State;
}

/// An instance, how instantiation ended otherwise, or that the engine does not take the module.
pub enum Started {
    Instance(Box<dyn Peer>),
    Ended(End),
    Refused(String),
}

/// Native stack of a call, as Dormouse's.
const STACK_BYTES: usize = 1 << 20;

pub mod of_wasmtime {
    use super::*;
    use wasmtime::{
        AnyRef, Collector, Config, Engine, Error, Extern, ExternRef, Instance, Linker, Module, Ref,
        Store, StoreLimits, StoreLimitsBuilder, ThrownException, Trap, Val, ValType,
    };

    /// Signals are left to Dormouse: Wasmtime checks what it would have trapped by them.
    static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
        let mut config = Config::new();
        config
            .signals_based_traps(false)
            .memory_reservation(1 << 20)
            .memory_guard_size(0)
            .collector(Collector::Null)
            .gc_heap_reservation(1 << 20)
            .gc_heap_guard_size(0)
            .max_wasm_stack(STACK_BYTES)
            .memory_init_cow(false)
            .wasm_tail_call(true)
            .wasm_multi_memory(true)
            .wasm_memory64(true)
            .wasm_wide_arithmetic(true)
            .wasm_custom_page_sizes(true)
            .wasm_function_references(true)
            .wasm_gc(true)
            .wasm_exceptions(true)
            .wasm_relaxed_simd(true)
            .wasm_threads(true)
            .shared_memory(true)
            .wasm_extended_const(true);
        Engine::new(&config).expect("a configuration of this machine")
    });

    /// Instances in a store, each of which may import what those before it export, by the name they were given.
    pub struct Guests {
        store: Store<StoreLimits>,
        linker: Linker<StoreLimits>,
        instances: Vec<Instance>,
    }

    /// What became of a module: an instance, how its instantiation ended otherwise, or why it is not taken.
    pub enum Added {
        Instance,
        Ended(End),
        Refused(String),
    }

    pub fn start(wasm: &[u8]) -> Started {
        let mut guests = Guests::default();
        match guests.add("", wasm) {
            Added::Instance => Started::Instance(Box::new(guests)),
            Added::Ended(end) => Started::Ended(end),
            Added::Refused(error) => Started::Refused(error),
        }
    }

    fn end(error: &Error) -> End {
        match error.downcast_ref::<Trap>() {
            Some(trap) => End::of_trap(&trap.to_string()),
            None => End::Limited(format!("{error:?}")),
        }
    }

    impl Default for Guests {
        fn default() -> Guests {
            let limits = StoreLimitsBuilder::new()
                .memory_size(MEMORY_BYTES_MAX as usize)
                .table_elements(TABLE_ELEMENTS_MAX as usize)
                .instances(100)
                .memories(100)
                .tables(100)
                .build();
            let mut store = Store::new(&ENGINE, limits);
            store.limiter(|limits| limits);
            Guests {
                store,
                linker: Linker::new(&ENGINE),
                instances: Vec::new(),
            }
        }
    }

    impl Guests {
        /// Makes an instance, whose exports others can import by this name from now on.
        pub fn add(&mut self, name: &str, wasm: &[u8]) -> Added {
            let module = match Module::new(&ENGINE, wasm) {
                Ok(module) => module,
                Err(error) => return Added::Refused(format!("{error:?}")),
            };
            let instance = match self.linker.instantiate(&mut self.store, &module) {
                Ok(instance) => instance,
                Err(error) => return Added::Ended(self.ended(&error)),
            };
            self.linker
                .instance(&mut self.store, name, instance)
                .expect("a name of its own");
            self.instances.push(instance);
            Added::Instance
        }

        /// As [`Peer::call`], in one of the instances.
        pub fn call_in(
            &mut self,
            instance: usize,
            export: &str,
            arguments: &[Value],
            results: usize,
        ) -> End {
            let function = self.instances[instance]
                .get_func(&mut self.store, export)
                .expect("the exports are the module's");
            let ty = function.ty(&self.store);
            let arguments: Vec<Val> = arguments
                .iter()
                .zip(ty.params())
                .map(|(value, ty)| self.argument(*value, &ty))
                .collect();
            let mut returned = vec![Val::I32(0); results];
            match function.call(&mut self.store, &arguments, &mut returned) {
                Ok(()) => End::Returned(
                    returned
                        .into_iter()
                        .map(|value| self.value(value))
                        .collect(),
                ),
                Err(error) => self.ended(&error),
            }
        }

        /// As [`Peer::observe`], of one of the instances.
        pub fn observe_in(&mut self, instance: usize, exports: &[String]) -> State {
            let instance = self.instances[instance];
            let mut seen = State::default();
            for name in exports {
                match instance.get_export(&mut self.store, name) {
                    Some(Extern::Memory(memory)) => {
                        let bytes = memory.data(&self.store);
                        seen.memories
                            .push(MemoryState::new(bytes.len() as u64, bytes));
                    }
                    Some(Extern::Global(global)) => {
                        let value = global.get(&mut self.store);
                        let value = self.value(value);
                        seen.globals.push(value);
                    }
                    Some(Extern::Table(table)) => {
                        let entries = (0..table.size(&self.store))
                            .map(|index| match table.get(&mut self.store, index) {
                                Some(Ref::Func(function)) => Value::Reference(function.is_some()),
                                Some(Ref::Extern(reference)) => self.external(reference),
                                Some(Ref::Any(reference)) => self.internal(reference),
                                Some(reference) => Value::Reference(!reference.is_null()),
                                None => Value::Reference(false),
                            })
                            .collect();
                        seen.tables.push(entries);
                    }
                    _ => {}
                }
            }
            seen
        }

        fn argument(&mut self, value: Value, ty: &ValType) -> Val {
            match value {
                Value::I32(value) => Val::I32(value as i32),
                Value::I64(value) => Val::I64(value as i64),
                Value::F32(bits) => Val::F32(bits),
                Value::F64(bits) => Val::F64(bits),
                Value::V128(value) => Val::V128(value.into()),
                Value::I31(_) | Value::Reference(_) => {
                    let ty = ty.as_ref().expect("the argument of a reference");
                    Val::null_ref(ty.heap_type())
                }
                Value::Extern(number) => Val::ExternRef(number.map(|number| {
                    ExternRef::new(&mut self.store, number).expect("room in the heap")
                })),
            }
        }

        fn external(&self, reference: Option<wasmtime::Rooted<ExternRef>>) -> Value {
            let Some(reference) = reference else {
                return Value::Extern(None);
            };
            // What was internal has no data of the host's.
            let data = reference.data(&self.store).ok().flatten();
            match data.and_then(|data| data.downcast_ref::<u32>()) {
                Some(number) => Value::Extern(Some(*number)),
                None => Value::Reference(true),
            }
        }

        fn internal(&self, reference: Option<wasmtime::Rooted<AnyRef>>) -> Value {
            let Some(reference) = reference else {
                return Value::Reference(false);
            };
            match reference.as_i31(&self.store) {
                Ok(Some(number)) => Value::I31(number.get_i32()),
                _ => Value::Reference(true),
            }
        }

        /// How a call ended that did not return.
        fn ended(&mut self, error: &Error) -> End {
            if error.downcast_ref::<ThrownException>().is_none() {
                return end(error);
            }
            let Some(exception) = self.store.take_pending_exception() else {
                return End::Limited("an exception that is not there".to_owned());
            };
            let fields = exception.fields(&mut self.store);
            let fields: Vec<Val> = fields.map(Iterator::collect).unwrap_or_default();
            End::Thrown(fields.into_iter().map(|value| self.value(value)).collect())
        }

        fn value(&self, value: Val) -> Value {
            match value {
                Val::I32(value) => Value::I32(value as u32),
                Val::I64(value) => Value::I64(value as u64),
                Val::F32(bits) => Value::F32(bits),
                Val::F64(bits) => Value::F64(bits),
                Val::V128(value) => Value::V128(value.as_u128()),
                Val::FuncRef(function) => Value::Reference(function.is_some()),
                Val::ExternRef(reference) => self.external(reference),
                Val::AnyRef(reference) => self.internal(reference),
                Val::ExnRef(reference) => Value::Reference(reference.is_some()),
                _ => Value::Reference(false),
            }
        }
    }

    impl Peer for Guests {
        fn name(&self) -> &'static str {
            "Wasmtime"
        }

        fn call(&mut self, export: &str, arguments: &[Value], results: usize) -> End {
            self.call_in(0, export, arguments, results)
        }

        fn observe(&mut self, exports: &[String]) -> State {
            self.observe_in(0, exports)
        }
    }
}

pub mod of_wasmi {
    use super::*;
    use wasmi::{
        Config, Engine, Error, Extern, ExternRef, Instance, Module, Ref, Store, StoreLimits,
        StoreLimitsBuilder, Val,
    };

    static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
        let mut config = Config::default();
        config
            .wasm_tail_call(true)
            .wasm_multi_memory(true)
            .wasm_memory64(true)
            .wasm_wide_arithmetic(true)
            .wasm_custom_page_sizes(true)
            .wasm_extended_const(true)
            // Where results depend on the processor, it takes others than compiled code does.
            .wasm_relaxed_simd(false)
            .set_max_recursion_depth(1 << 20)
            .set_max_stack_height(16 << 20);
        Engine::new(&config)
    });

    struct Guest {
        store: Store<StoreLimits>,
        instance: Instance,
    }

    pub fn start(wasm: &[u8]) -> Started {
        let module = match Module::new(&ENGINE, wasm) {
            Ok(module) => module,
            Err(error) => return Started::Refused(error.to_string()),
        };
        let limits = StoreLimitsBuilder::new()
            .memory_size(MEMORY_BYTES_MAX as usize)
            .table_elements(TABLE_ELEMENTS_MAX as usize)
            .memories(100)
            .tables(100)
            .build();
        let mut store = Store::new(&ENGINE, limits);
        store.limiter(|limits| limits);
        match Instance::new(&mut store, &module, &[]) {
            Ok(instance) => Started::Instance(Box::new(Guest { store, instance })),
            Err(error) => Started::Ended(end(&error)),
        }
    }

    fn end(error: &Error) -> End {
        match error.as_trap_code() {
            Some(wasmi::TrapCode::GrowthOperationLimited | wasmi::TrapCode::OutOfFuel) | None => {
                // Segments that do not fit are errors of their own kind here.
                let message = error.to_string();
                match crate::values::trap_class(&message) {
                    "other" => End::Limited(message),
                    _ => End::of_trap(&message),
                }
            }
            Some(code) => End::of_trap(code.trap_message()),
        }
    }

    impl Guest {
        fn argument(&mut self, value: Value) -> Val {
            match value {
                Value::I32(value) => Val::I32(value as i32),
                Value::I64(value) => Val::I64(value as i64),
                Value::F32(bits) => Val::F32(wasmi::F32::from_bits(bits)),
                Value::F64(bits) => Val::F64(wasmi::F64::from_bits(bits)),
                Value::V128(value) => Val::V128(value.into()),
                Value::I31(_) | Value::Reference(_) => Val::FuncRef(Ref::Null),
                Value::Extern(None) => Val::ExternRef(Ref::Null),
                Value::Extern(Some(number)) => {
                    Val::ExternRef(Ref::Val(ExternRef::new(&mut self.store, number)))
                }
            }
        }

        fn value(&self, value: &Val) -> Value {
            match value {
                Val::I32(value) => Value::I32(*value as u32),
                Val::I64(value) => Value::I64(*value as u64),
                Val::F32(value) => Value::F32(value.to_bits()),
                Val::F64(value) => Value::F64(value.to_bits()),
                Val::V128(value) => Value::V128(value.as_u128()),
                Val::FuncRef(function) => Value::Reference(!function.is_null()),
                Val::ExternRef(reference) => Value::Extern(reference.val().map(|reference| {
                    *reference
                        .data(&self.store)
                        .downcast_ref::<u32>()
                        .expect("a number of ours")
                })),
            }
        }
    }

    impl Peer for Guest {
        fn name(&self) -> &'static str {
            "Wasmi"
        }

        fn call(&mut self, export: &str, arguments: &[Value], results: usize) -> End {
            let function = self
                .instance
                .get_func(&self.store, export)
                .expect("the exports are the module's");
            let arguments: Vec<Val> = arguments
                .iter()
                .map(|value| self.argument(*value))
                .collect();
            let mut returned = vec![Val::I32(0); results];
            match function.call(&mut self.store, &arguments, &mut returned) {
                Ok(()) => End::Returned(returned.iter().map(|value| self.value(value)).collect()),
                Err(error) => end(&error),
            }
        }

        fn observe(&mut self, exports: &[String]) -> State {
            let mut seen = State::default();
            for name in exports {
                match self.instance.get_export(&self.store, name) {
                    Some(Extern::Memory(memory)) => {
                        let bytes = memory.data(&self.store);
                        seen.memories
                            .push(MemoryState::new(bytes.len() as u64, bytes));
                    }
                    Some(Extern::Global(global)) => {
                        let value = global.get(&self.store);
                        seen.globals.push(self.value(&value));
                    }
                    Some(Extern::Table(table)) => {
                        let entries = (0..table.size(&self.store))
                            .filter_map(|index| table.get(&self.store, index))
                            .map(|value| self.value(&value))
                            .collect();
                        seen.tables.push(entries);
                    }
                    _ => {}
                }
            }
            seen
        }
    }
}

/// Arguments in a form that tells which call went wrong.
pub fn describe(export: &str, arguments: &[Value]) -> String {
    format!(
        "{export:?} called with {arguments:x?} (words {:x?})",
        words(arguments)
    )
}

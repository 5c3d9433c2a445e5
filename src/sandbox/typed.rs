//! Calls of exported functions with Rust's types, checked once.

use super::call::Progress;
use super::host_function::HostValue;
use super::instance::Instance;
use super::module::{Callable, Module};
use super::trap::Trap;
use crate::compile::info::{FunctionType, ValueType};
use std::fmt;
use std::marker::PhantomData;

/// Parameters of a typed call: a tuple of up to eight numbers.
pub trait Parameters {
    fn types() -> Vec<ValueType>;
    fn into_words(self) -> Vec<u64>;
}

/// Results of a typed call: nothing, a number, or a tuple of up to four.
pub trait Results {
    fn types() -> Vec<ValueType>;
    fn from_words(words: &[u64]) -> Self;
}

macro_rules! parameters {
    ($($ty:ident $index:tt),*) => {
        impl<$($ty: HostValue),*> Parameters for ($($ty,)*) {
            fn types() -> Vec<ValueType> {
                vec![$($ty::TYPE),*]
            }
            fn into_words(self) -> Vec<u64> {
                vec![$(self.$index.into_word()),*]
            }
        }
    };
}

parameters!();
parameters!(A 0);
parameters!(A 0, B 1);
parameters!(A 0, B 1, C 2);
parameters!(A 0, B 1, C 2, D 3);
parameters!(A 0, B 1, C 2, D 3, E 4);
parameters!(A 0, B 1, C 2, D 3, E 4, F 5);
parameters!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
parameters!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

impl Results for () {
    fn types() -> Vec<ValueType> {
        Vec::new()
    }
    fn from_words(_: &[u64]) -> Self {}
}

impl<T: HostValue> Results for T {
    fn types() -> Vec<ValueType> {
        vec![T::TYPE]
    }
    fn from_words(words: &[u64]) -> T {
        T::from_word(words[0])
    }
}

macro_rules! results {
    ($($ty:ident $index:tt),*) => {
        impl<$($ty: HostValue),*> Results for ($($ty,)*) {
            fn types() -> Vec<ValueType> {
                vec![$($ty::TYPE),*]
            }
            fn from_words(words: &[u64]) -> Self {
                ($($ty::from_word(words[$index]),)*)
            }
        }
    };
}

results!(A 0, B 1);
results!(A 0, B 1, C 2);
results!(A 0, B 1, C 2, D 3);

/// An exported function whose type was found to be that of `P` and `R`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use dormouse::compile::{CompileOptions, compile};
/// use dormouse::{Engine, EngineOptions, Imports, Instance, Limits, Module};
///
/// let engine = Engine::new(&EngineOptions::default())?;
/// let wasm = wat::parse_str(
///     r#"(module (func (export "divide") (param i32 i32) (result i32 i32)
///         (i32.div_s (local.get 0) (local.get 1)) (i32.rem_s (local.get 0) (local.get 1))))"#,
/// )?;
/// let module = Module::from_artifact(&engine, &compile(&wasm, &CompileOptions::default())?)?;
/// let divide = module.typed::<(i32, i32), (i32, i32)>("divide")?;
/// let mut instance = Instance::new(&module.link(&Imports::new())?, Limits::default(), Box::new(()))?;
/// assert_eq!(divide.call(&mut instance, (-7, 2))?, (-3, -1));
///
/// let trap = divide.call(&mut instance, (1, 0)).unwrap_err();
/// assert_eq!(trap.to_string().lines().next(), Some("integer divide by zero"));
///
/// // Another type is an error here, and not when it is called.
/// let error = module.typed::<(i64,), i64>("divide").unwrap_err();
/// assert_eq!(error.to_string(), "the export `divide` has type (i32 i32) -> (i32 i32), not (i64) -> (i64)");
/// # Ok(())
/// # }
/// ```
pub struct TypedFunction<P, R> {
    callable: Callable,
    types: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for TypedFunction<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for TypedFunction<P, R> {}

impl<P, R> fmt::Debug for TypedFunction<P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedFunction")
            .field(&self.callable)
            .finish()
    }
}

impl<P: Parameters, R: Results> TypedFunction<P, R> {
    /// Calls the function and runs it to its end, as [`Instance::call`].
    ///
    /// # Panics
    /// As [`Instance::call`]: in an instance of another module, for example.
    pub fn call(self, instance: &mut Instance, parameters: P) -> Result<R, Trap> {
        let words = instance.call(self.callable, &parameters.into_words())?;
        Ok(R::from_words(&words))
    }

    /// Begins the call, to be run by turns.
    ///
    /// # Errors
    /// As [`Instance::begin`].
    pub fn begin(self, instance: &mut Instance, parameters: P) -> std::io::Result<()> {
        instance.begin(self.callable, &parameters.into_words())
    }

    /// The results, when the call that was begun has returned.
    pub fn results(self, progress: &Progress) -> Option<R> {
        match progress {
            Progress::Returned(words) => Some(R::from_words(words)),
            Progress::Stopped(_) | Progress::Preempted | Progress::Blocked => None,
        }
    }
}

/// Why an export cannot be called with these types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypedError {
    /// The module exports no function of this name.
    Missing { name: String },
    /// The function is of another type.
    Type {
        name: String,
        found: FunctionType,
        wanted: FunctionType,
    },
}

impl fmt::Display for TypedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypedError::Missing { name } => {
                write!(f, "the module exports no function `{name}`")
            }
            TypedError::Type {
                name,
                found,
                wanted,
            } => write!(f, "the export `{name}` has type {found}, not {wanted}"),
        }
    }
}

impl std::error::Error for TypedError {}

impl Module {
    /// The exported function of this name, to be called with Rust's types; see [`TypedFunction`].
    pub fn typed<P: Parameters, R: Results>(
        &self,
        name: &str,
    ) -> Result<TypedFunction<P, R>, TypedError> {
        let callable = self.function(name).ok_or_else(|| TypedError::Missing {
            name: name.to_owned(),
        })?;
        let found = self.function_type(callable);
        let wanted = FunctionType {
            parameters: P::types(),
            results: R::types(),
        };
        if *found != wanted {
            return Err(TypedError::Type {
                name: name.to_owned(),
                found: found.clone(),
                wanted,
            });
        }
        Ok(TypedFunction {
            callable,
            types: PhantomData,
        })
    }
}

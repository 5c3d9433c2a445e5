//! Values, ends of calls and states in terms that every engine can be asked for, so that they can be compared.

use crate::random::Random;
use dormouse::compile::info::{FunctionType, HeapType, ReferenceType, ValueType};
use dormouse::layout::{EXTERNALIZED, I31_BIT, NULL_REFERENCE};

/// A value as all engines see it. References, but for those that are the host's, are told apart by whether they are null and no
/// further: each engine has names of its own for what they refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    I32(u32),
    I64(u64),
    /// By its bits.
    F32(u32),
    /// By its bits.
    F64(u64),
    V128(u128),
    /// The host's number, or null.
    Extern(Option<u32>),
    /// A number of 31 bits, sign-extended.
    I31(i32),
    /// Whether there is something.
    Reference(bool),
}

impl Value {
    /// The value of this type whose words are these, as [`dormouse::Instance::call`] has them.
    pub fn from_words(ty: ValueType, words: &[u64]) -> Value {
        let word = words[0];
        match ty {
            ValueType::I32 => Value::I32(word as u32),
            ValueType::I64 => Value::I64(word),
            ValueType::F32 => Value::F32(word as u32),
            ValueType::F64 => Value::F64(word),
            ValueType::V128 => Value::V128(u128::from(words[1]) << 64 | u128::from(word)),
            ValueType::Reference(ty) => Value::from_reference(ty, word),
        }
    }

    fn from_reference(ty: ReferenceType, word: u64) -> Value {
        let internal = matches!(ty.heap, HeapType::Any | HeapType::Eq | HeapType::I31);
        if word == NULL_REFERENCE {
            return match is_external(ty) {
                true => Value::Extern(None),
                false => Value::Reference(false),
            };
        }
        if is_external(ty) && word & EXTERNALIZED == 0 {
            return Value::Extern((word as u32).checked_sub(1));
        }
        if internal && word & I31_BIT != 0 {
            return Value::I31((word as u32) as i32 >> 1);
        }
        Value::Reference(true)
    }

    /// The words of an argument. Of references that are not the host's only null can be passed.
    pub fn words(self) -> Vec<u64> {
        match self {
            Value::I32(value) | Value::F32(value) => vec![value.into()],
            Value::I64(value) | Value::F64(value) => vec![value],
            Value::V128(value) => vec![value as u64, (value >> 64) as u64],
            Value::I31(_) | Value::Reference(_) => vec![0],
            Value::Extern(number) => vec![number.map_or(0, |number| u64::from(number) + 1)],
        }
    }

    /// A list of values from their words.
    pub fn list(types: &[ValueType], mut words: &[u64]) -> Vec<Value> {
        types
            .iter()
            .map(|ty| {
                let (own, rest) = words.split_at(ty.words());
                words = rest;
                Value::from_words(*ty, own)
            })
            .collect()
    }

    /// An argument of this type; `None` if the host has no value of it.
    pub fn arbitrary(ty: ValueType, random: &mut Random) -> Option<Value> {
        const SINGLES: [f32; 8] = [
            0.0,
            -0.0,
            1.5,
            -1e10,
            f32::MAX,
            f32::INFINITY,
            2147483648.0,
            f32::NAN,
        ];
        const DOUBLES: [f64; 8] = [
            0.0,
            -0.0,
            1.5,
            -1e10,
            9223372036854775808.0,
            f64::INFINITY,
            4294967296.0,
            f64::NAN,
        ];
        Some(match ty {
            ValueType::I32 => Value::I32(random.interesting() as u32),
            ValueType::I64 => Value::I64(random.interesting()),
            ValueType::F32 if random.chance(2) => Value::F32(random.pick(&SINGLES).to_bits()),
            ValueType::F32 => Value::F32(random.number() as u32),
            ValueType::F64 if random.chance(2) => Value::F64(random.pick(&DOUBLES).to_bits()),
            ValueType::F64 => Value::F64(random.number()),
            ValueType::V128 => Value::V128(
                u128::from(random.interesting()) << 64 | u128::from(random.interesting()),
            ),
            ValueType::Reference(ty)
                if ty.heap == HeapType::Extern && (!ty.nullable || random.chance(2)) =>
            {
                Value::Extern(Some(random.below(5) as u32))
            }
            ValueType::Reference(ty) if ty.nullable && is_external(ty) => Value::Extern(None),
            ValueType::Reference(ty) if ty.nullable => Value::Reference(false),
            ValueType::Reference(_) => return None,
        })
    }

    /// Arguments for a function of this type; `None` if the host has none.
    pub fn arguments(ty: &FunctionType, random: &mut Random) -> Option<Vec<Value>> {
        let parameters = ty.parameters.iter();
        parameters.map(|ty| Value::arbitrary(*ty, random)).collect()
    }
}

/// Whether references of this type are the host's numbers.
fn is_external(ty: ReferenceType) -> bool {
    matches!(ty.heap, HeapType::Extern | HeapType::NoExtern)
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Returned(Vec<Value>),
    /// The kind of trap, in the words of [`trap_class`].
    Trapped(String),
    /// The native stack, of which every engine has its own length: nothing can be said of what comes after.
    StackExhausted,
    /// An exception with these values left the function.
    Thrown(Vec<Value>),
    /// A limit of the embedder's.
    Limited(String),
}

impl End {
    /// An end by the message of a trap.
    pub fn of_trap(message: &str) -> End {
        match trap_class(message) {
            "stack" => End::StackExhausted,
            // How many objects there is room for is each engine's own.
            "allocation" => End::Limited(message.to_owned()),
            class => End::Trapped(class.to_owned()),
        }
    }

    /// Whether an engine came to a limit of its own, after which nothing can be compared.
    pub fn is_own_limit(&self) -> bool {
        matches!(self, End::StackExhausted | End::Limited(_))
    }

    /// Whether two engines agree. A guest that ran into a limit and then trapped is told of the limit by one of them. An atomic access
    /// that is unaligned as well as out of bounds is unaligned here, and may be the other there.
    pub fn agrees(&self, other: &End) -> bool {
        match (self, other) {
            (End::Limited(_), End::Trapped(_)) | (End::Trapped(_), End::Limited(_)) => true,
            (End::Trapped(own), End::Trapped(other)) if own == "unaligned" => {
                other == "unaligned" || other == "memory"
            }
            _ => self == other,
        }
    }
}

/// The kind of trap that a message is about; the engines' messages are those of the official tests with words added. An index
/// beyond a table is one kind, whether an element was to be called or read.
pub fn trap_class(message: &str) -> &'static str {
    const CLASSES: [(&str, &str); 17] = [
        ("unreachable", "unreachable"),
        ("out of bounds memory", "memory"),
        ("out of bounds table", "table"),
        ("undefined element", "table"),
        ("uninitialized element", "null"),
        ("indirect call type mismatch", "signature"),
        ("integer overflow", "overflow"),
        ("divide by zero", "division"),
        ("invalid conversion", "conversion"),
        ("stack exhausted", "stack"),
        ("unaligned atomic", "unaligned"),
        ("expected shared memory", "not shared"),
        ("atomic wait on non-shared", "not shared"),
        ("null", "null"),
        ("out of bounds array", "array"),
        ("cast failure", "cast"),
        ("allocation size", "allocation"),
    ];
    let class = CLASSES.iter().find(|(words, _)| message.contains(words));
    class.map_or("other", |(_, class)| class)
}

/// A linear memory: its length and its bytes up to the last that is not zero.
#[derive(Clone, PartialEq, Eq)]
pub struct MemoryState {
    pub bytes: u64,
    pub contents: Vec<u8>,
}

impl MemoryState {
    pub fn new(bytes: u64, contents: &[u8]) -> MemoryState {
        let used = contents.iter().rposition(|byte| *byte != 0);
        MemoryState {
            bytes,
            contents: contents[..used.map_or(0, |last| last + 1)].to_vec(),
        }
    }
}

/// What a module's exports show of an instance, in the order of the exports.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    pub memories: Vec<MemoryState>,
    pub globals: Vec<Value>,
    pub tables: Vec<Vec<Value>>,
}

impl State {
    /// Where two states differ, if they do.
    pub fn difference(&self, other: &State) -> Option<String> {
        for (index, (one, two)) in self.memories.iter().zip(&other.memories).enumerate() {
            if one.bytes != two.bytes {
                return Some(format!(
                    "exported memory {index} has {} and {} bytes",
                    one.bytes, two.bytes
                ));
            }
            let longer = one.contents.len().max(two.contents.len());
            let byte = |state: &MemoryState, at| state.contents.get(at).copied().unwrap_or(0);
            if let Some(at) = (0..longer).find(|at| byte(one, *at) != byte(two, *at)) {
                return Some(format!(
                    "exported memory {index} has {:#04x} and {:#04x} at {at:#x}",
                    byte(one, at),
                    byte(two, at)
                ));
            }
        }
        for (index, (one, two)) in self.globals.iter().zip(&other.globals).enumerate() {
            if one != two {
                return Some(format!("exported global {index} is {one:x?} and {two:x?}"));
            }
        }
        for (index, (one, two)) in self.tables.iter().zip(&other.tables).enumerate() {
            if one != two {
                return Some(format!("exported table {index} is {one:?} and {two:?}"));
            }
        }
        (self != other).then(|| "there are more exports in one than in the other".to_owned())
    }
}

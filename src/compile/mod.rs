//! From WebAssembly bytes to an artifact: parse and validate, translate, native code, file.
#![forbid(unsafe_code)]

pub mod info;

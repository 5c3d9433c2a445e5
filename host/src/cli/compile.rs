//! `dormouse compile`: a module to an artifact file.

use super::Failure;
use crate::deploy::worker;
use crate::run::with_progress;
use dormouse::compile::{CompileOptions, compile as compile_module};
use std::fs;
use std::path::Path;

/// Compiles `file`; `output` appears whole or not at all.
pub fn compile(file: &Path, output: &Path) -> Result<(), Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure(format!("{}: {error}", file.display()));
    let source = fs::read(file).map_err(|error| fail(&format!("cannot be read: {error}")))?;
    let module = worker::binary(&source).map_err(|failure| fail(&failure.message))?;
    let artifact = with_progress("compiling", || {
        compile_module(&module, &CompileOptions::default())
    })
    .map_err(|error| fail(&error))?;
    let cannot = |error| Failure(format!("{}: cannot be written: {error}", output.display()));
    let mut staging = output.as_os_str().to_owned();
    staging.push(format!(".{}.part", std::process::id()));
    let staging = Path::new(&staging);
    fs::write(staging, &artifact)
        .and_then(|()| fs::rename(staging, output))
        .map_err(|error| {
            let _ = fs::remove_file(staging);
            cannot(error)
        })
}

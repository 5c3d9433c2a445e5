//! From a file to a module: compiled here, or an artifact that has been.

use super::error::RunError;
use super::progress::with_progress;
use dormouse::compile::artifact::ArtifactError;
use dormouse::compile::{CompileOptions, compile};
use dormouse::{Engine, LoadError, Module};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A module and how it came about.
pub struct Program {
    pub module: Module,
    /// Bytes of the binary module; unknown of an artifact.
    pub wasm_bytes: Option<u64>,
    pub artifact_bytes: u64,
    /// How long compiling took; an artifact is not compiled.
    pub compile: Option<Duration>,
}

/// The first bytes of a binary module.
const WASM_MAGIC: [u8; 4] = *b"\0asm";

/// Loads an artifact, or compiles a module, binary or text; the content tells which it is.
pub fn load(engine: &Engine, path: &Path) -> Result<Program, RunError> {
    let file = File::open(path).map_err(RunError::Read)?;
    let metadata = file.metadata().map_err(RunError::Read)?;
    let mut magic = [0; 4];
    let is_wasm = file.read_exact_at(&mut magic, 0).is_ok() && magic == WASM_MAGIC;
    // Only a regular file can be mapped; a module may come through a pipe too.
    if metadata.is_file() && !is_wasm {
        match Module::load(engine, &file) {
            Ok(module) => {
                let artifact_bytes = metadata.len();
                return Ok(Program {
                    module,
                    wasm_bytes: None,
                    artifact_bytes,
                    compile: None,
                });
            }
            Err(LoadError::Artifact(ArtifactError::NotAnArtifact)) => {}
            Err(error) => return Err(RunError::Load(error)),
        }
    }
    let mut bytes = Vec::new();
    (&file).read_to_end(&mut bytes).map_err(RunError::Read)?;
    let wasm = wat::parse_bytes(&bytes).map_err(|mut error| {
        error.set_path(path);
        RunError::Text(error.to_string())
    })?;
    let begin = Instant::now();
    let compiling = format!("compiling {}", path.display());
    let artifact = with_progress(&compiling, || compile(&wasm, &CompileOptions::default()))
        .map_err(RunError::Compile)?;
    let compile = begin.elapsed();
    let module = Module::from_artifact(engine, &artifact).map_err(RunError::Load)?;
    Ok(Program {
        module,
        wasm_bytes: Some(wasm.len() as u64),
        artifact_bytes: artifact.len() as u64,
        compile: Some(compile),
    })
}

//! The compile worker: the child process that makes a version of a module and commits it.
//!
//! It trusts its job and distrusts the module. Its answer goes to stdout, its panics to stderr.

use super::build::{build, compiler};
use super::error::{Failure, FailureKind};
use super::job::{Answer, Job, JobDirectory};
use super::limits;
use crate::store::{MODULE_FILE, OsDisk, Paths, Version, change};
use std::borrow::Cow;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// The hidden subcommand by which the server starts workers.
pub const SUBCOMMAND: &str = "compile-worker";

/// Does the job in this directory and prints the answer.
pub fn main(directory: &Path) -> ExitCode {
    let answer = work(directory);
    let json = serde_json::to_vec(&answer).expect("an answer is plain data");
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&json).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn work(directory: &Path) -> Answer {
    let staged = JobDirectory(directory);
    let json =
        fs::read(staged.job()).map_err(|error| Failure::io("cannot read the job", &error))?;
    let job: Job = serde_json::from_slice(&json).map_err(|error| {
        Failure::new(
            FailureKind::Internal,
            format_args!("cannot read the job: {error}"),
        )
    })?;
    limits::apply(&job.config, job.server)
        .map_err(|error| Failure::io("cannot limit the compile worker", &error))?;
    let source =
        fs::read(&job.source).map_err(|error| Failure::io("cannot read the module", &error))?;
    let module = binary(&source)?;
    let out = staged.version();
    fs::create_dir(&out).map_err(|error| Failure::io("cannot write", &error))?;
    let path = out.join(MODULE_FILE);
    let sibling = job.sibling.as_deref();
    let sibling = sibling.filter(|sibling| has_module(sibling, &module, &path));
    if sibling.is_none() {
        fs::write(&path, &module).map_err(|error| Failure::io("cannot write", &error))?;
    }
    let built = build(&module, &job.config, &out, sibling)?;
    let version = Version {
        name: job.name.clone(),
        id: job.id.clone(),
        module_id: job.module_id.clone(),
        build: 0,
        kind: built.kind,
        config: job.config.clone(),
        compiler: compiler(),
        wasm_bytes: module.len() as u64,
        artifact_bytes: built.artifact_bytes,
        image_bytes: built.image_bytes,
        image_pages: built.image_pages,
        created_unix_ms: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis() as u64,
        compile_us: built.compile.as_micros() as u64,
        init_us: built.init.as_micros() as u64,
    };
    Ok(change::commit(
        &Paths::new(&job.data),
        &OsDisk,
        &out,
        version,
        job.place(),
    )?)
}

/// Whether a version is of this very module, which then has this path too.
fn has_module(version: &Path, module: &[u8], path: &Path) -> bool {
    let theirs = version.join(MODULE_FILE);
    fs::read(&theirs).is_ok_and(|bytes| bytes == module) && fs::hard_link(&theirs, path).is_ok()
}

/// The module in binary form: as it is, or translated from text.
pub fn binary(source: &[u8]) -> Result<Cow<'_, [u8]>, Failure> {
    if source.starts_with(b"\0asm") {
        return Ok(Cow::Borrowed(source));
    }
    let invalid = |message: String| Failure::new(FailureKind::InvalidModule, message);
    if source.is_empty() {
        return Err(invalid(
            "the module is empty; send WebAssembly in binary (.wasm) or text (.wat)".into(),
        ));
    }
    let text = std::str::from_utf8(source).map_err(|_| {
        invalid("this is not WebAssembly: it is neither a binary module, which begins with \\0asm, nor text".into())
    })?;
    wat::parse_str(text)
        .map(Cow::Owned)
        .map_err(|error| invalid(format!("this is not WebAssembly text: {error}")))
}

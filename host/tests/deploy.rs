//! Deploying with the real compile worker: what becomes of good modules and of bad ones.

use dormouse::{Engine, EngineOptions, Image, Module, Progress};
use dormouse_host::deploy::files::next_turn;
use dormouse_host::deploy::{
    Change, Crash, DeployError, Deployed, Deployments, Failure, FailureKind, Finished,
};
use dormouse_host::interface::{Context, imports};
use dormouse_host::store::{FunctionConfig, Kind, Store, Version};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

struct Server {
    directory: TempDir,
    store: Store,
    deployments: Deployments,
}

impl Server {
    fn new() -> Server {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let deployments = Deployments::with_program(env!("CARGO_BIN_EXE_dormouse").into(), 2);
        Server {
            directory,
            store,
            deployments,
        }
    }

    /// Has the shell do something in each worker before it becomes one.
    fn with_shell(mut self, command: &str) -> Server {
        let worker = self.directory.path().join("worker");
        let program = env!("CARGO_BIN_EXE_dormouse");
        fs::write(
            &worker,
            format!("#!/bin/sh\n{command}\nexec {program} \"$@\"\n"),
        )
        .unwrap();
        fs::set_permissions(&worker, fs::Permissions::from_mode(0o755)).unwrap();
        self.deployments = Deployments::with_program(worker, 1);
        self
    }

    fn run(&mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        while !self.deployments.is_empty() {
            finished.extend(next_turn(&mut self.store, &mut self.deployments).finished);
        }
        finished
    }

    fn deploy_as(
        &mut self,
        name: &str,
        settings: &[(&str, &str)],
        module: &[u8],
    ) -> Result<Deployed, DeployError> {
        let config = FunctionConfig::from_settings(settings.iter().copied()).unwrap();
        self.deployments
            .submit(&self.store, name.parse().unwrap(), config, module)
            .unwrap();
        self.run().pop().unwrap().result
    }

    fn deploy(&mut self, module: &str) -> Result<Deployed, DeployError> {
        self.deploy_as("f", &[], module.as_bytes())
    }

    fn refusal(&mut self, module: &str) -> Failure {
        match self.deploy(module) {
            Err(DeployError::Refused(failure)) => failure,
            other => panic!("{module} gave {other:?}"),
        }
    }

    /// Calls an export of a fresh instance of the version: without parameters, with an i32 result.
    fn call(&self, version: &Version, export: &str) -> i32 {
        let engine = Engine::new(&EngineOptions {
            slots_max: 1,
            ..EngineOptions::default()
        })
        .unwrap();
        let module = Module::load(&engine, &self.store.files(version).artifact().unwrap()).unwrap();
        let linked = module.link(&imports()).unwrap();
        let image = Image::open(&linked, &self.store.files(version).image().unwrap()).unwrap();
        let limits = dormouse_host::deploy::serving_limits(&version.config);
        let context =
            Context::initialising(Vec::new(), dormouse_host::interface::InitPolicy::Allow);
        let mut instance = image.restore(limits, Box::new(context)).unwrap();
        instance
            .begin(module.function(export).unwrap(), &[])
            .unwrap();
        loop {
            match instance.resume() {
                Progress::Returned(values) => return values[0] as i32,
                Progress::Stopped(trap) => panic!("{trap}"),
                _ => {}
            }
        }
    }
}

const REACTOR: &str = "(module (func (export \"handle\") (result i32) (i32.const 0)))";

#[test]
fn initialisers_run_once_in_order_and_their_work_is_in_the_image() {
    let mut server = Server::new();
    let deployed = server
        .deploy(
            r#"(module
                (memory 1)
                (func $append (param i32)
                    (i32.store (i32.const 0)
                        (i32.add (i32.mul (i32.load (i32.const 0)) (i32.const 10)) (local.get 0))))
                (func $start (call $append (i32.const 1)))
                (start $start)
                (func (export "_initialize") (call $append (i32.const 2)))
                (func (export "dormouse_init") (call $append (i32.const 3)))
                (func (export "wizer-initialize") (call $append (i32.const 9)))
                (func (export "handle") (result i32)
                    (call $append (i32.const 4))
                    (i32.load (i32.const 0))))"#,
        )
        .unwrap();
    assert_eq!(deployed.change, Change::Created);
    assert_eq!(deployed.version.kind, Kind::Reactor);
    assert!(deployed.version.image_pages >= 1 && deployed.version.artifact_bytes > 0);
    assert_eq!(server.call(&deployed.version, "handle"), 1234);
    assert_eq!(server.call(&deployed.version, "handle"), 1234);
}

#[test]
fn the_start_of_a_command_is_left_to_its_requests() {
    let mut server = Server::new();
    let deployed = server
        .deploy(
            r#"(module
                (memory 1)
                (func (export "_start") unreachable)
                (func (export "wizer-initialize") (i32.store (i32.const 8) (i32.const 7)))
                (func (export "peek") (result i32) (i32.load (i32.const 8))))"#,
        )
        .unwrap();
    assert_eq!(deployed.version.kind, Kind::Command);
    assert_eq!(server.call(&deployed.version, "peek"), 7);
}

#[test]
fn bad_modules_are_refused_with_the_reason() {
    let mut server = Server::new();
    for (module, kind, words) in [
        ("", FailureKind::InvalidModule, "empty"),
        (
            "(module",
            FailureKind::InvalidModule,
            "not WebAssembly text",
        ),
        (
            "\0asm\u{1}\0\0\0\u{7f}",
            FailureKind::InvalidModule,
            "not a valid WebAssembly module",
        ),
        (
            "(module (func (export \"handle\") (result i32)))",
            FailureKind::InvalidModule,
            "not a valid",
        ),
        (
            "(module)",
            FailureKind::NotAFunction,
            "neither _start nor handle",
        ),
        (
            "(module (memory (export \"handle\") 1))",
            FailureKind::NotAFunction,
            "neither _start nor handle",
        ),
        (
            "(module (func (export \"handle\")))",
            FailureKind::NotAFunction,
            "handle has type () -> ()",
        ),
        (
            "(module (func (export \"_start\") (param i32)))",
            FailureKind::NotAFunction,
            "_start has type (i32) -> ()",
        ),
        (
            "(module (func (export \"_start\")) (func (export \"handle\") (result i32) (i32.const 0)))",
            FailureKind::NotAFunction,
            "both",
        ),
        (
            "(module (import \"env\" \"puts\" (func)) (func (export \"_start\")))",
            FailureKind::MissingImport,
            "env.puts",
        ),
        (
            "(module (func $f unreachable) (start $f) (func (export \"_start\")))",
            FailureKind::InitFailed,
            "the start function: unreachable",
        ),
        (
            "(module (memory 1) (data (i32.const 65536) \"x\") (func (export \"_start\")))",
            FailureKind::InitFailed,
            "segment",
        ),
        (
            "(module (memory 4000) (func (export \"_start\")))",
            FailureKind::LimitExceeded,
            "memory limit",
        ),
        (
            "(module (func (export \"dormouse_init\") (param i32)) (func (export \"_start\")))",
            FailureKind::NotAFunction,
            "dormouse_init has type",
        ),
    ] {
        let failure = server.refusal(module);
        assert_eq!(failure.kind, kind, "{module}: {}", failure.message);
        assert!(
            failure.message.contains(words),
            "{module}: {}",
            failure.message
        );
    }
    assert_eq!(server.store.functions().len(), 0);
    let left: Vec<_> = fs::read_dir(server.directory.path().join("staging"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn entropy_drawn_during_initialisation_is_refused_unless_allowed() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "dormouse_init") (drop (call $random (i32.const 0) (i32.const 4))))
        (func (export "handle") (result i32) (i32.load (i32.const 0))))"#;
    let mut server = Server::new();
    let failure = server.refusal(module);
    assert_eq!(failure.kind, FailureKind::InitFailed);
    assert!(
        failure.message.contains("init-entropy=allow"),
        "{}",
        failure.message
    );
    let deployed = server
        .deploy_as("f", &[("init-entropy", "allow")], module.as_bytes())
        .unwrap();
    assert_eq!(
        server.call(&deployed.version, "handle"),
        server.call(&deployed.version, "handle")
    );
}

#[test]
fn the_same_again_changes_nothing_and_an_earlier_version_needs_no_compiler() {
    let mut server = Server::new();
    let other = "(module (func (export \"handle\") (result i32) (i32.const 1)))";
    let first = server.deploy(REACTOR).unwrap();
    let again = server.deploy(REACTOR).unwrap();
    assert_eq!(
        (again.change, &again.version),
        (Change::Unchanged, &first.version)
    );
    let second = server.deploy(other).unwrap();
    assert_eq!(second.change, Change::Updated);
    let back = server.deploy(REACTOR).unwrap();
    assert_eq!(
        (back.change, &back.version),
        (Change::Updated, &first.version)
    );
    let function = server.store.function("f").unwrap();
    assert_eq!(function.versions(), [first.version, second.version]);
    let configured = server
        .deploy_as("f", &[("cpu", "2s")], REACTOR.as_bytes())
        .unwrap();
    assert_eq!(configured.change, Change::Updated);
}

#[test]
fn a_damaged_artifact_is_built_again() {
    let mut server = Server::new();
    let version = server.deploy(REACTOR).unwrap().version;
    let artifact = server.store.paths().version(&version).join("artifact");
    let mut bytes = fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&artifact).unwrap();
    fs::write(&artifact, bytes).unwrap();
    let engine = Engine::new(&EngineOptions {
        slots_max: 1,
        ..EngineOptions::default()
    })
    .unwrap();
    assert!(Module::load(&engine, &server.store.files(&version).artifact().unwrap()).is_err());
    drop(engine);
    server
        .deployments
        .submit_rebuild(&server.store, &version)
        .unwrap();
    let rebuilt = server.run().pop().unwrap().result.unwrap();
    assert_eq!(rebuilt.change, Change::Rebuilt);
    assert_eq!(
        (&rebuilt.version.id, rebuilt.version.build),
        (&version.id, 1)
    );
    assert_eq!(
        server.store.function("f").unwrap().versions(),
        std::slice::from_ref(&rebuilt.version)
    );
    assert_eq!(server.call(&rebuilt.version, "handle"), 0);
    assert!(!artifact.exists());
}

#[test]
fn an_initialiser_that_never_ends_is_stopped() {
    // Its own limit is a minute; the server's deadline is moved up by the test's clock.
    let mut server = Server::new();
    let config = FunctionConfig::default();
    let module =
        b"(module (func (export \"dormouse_init\") (loop (br 0))) (func (export \"_start\")))";
    server
        .deployments
        .submit(&server.store, "f".parse().unwrap(), config, module)
        .unwrap();
    server
        .deployments
        .poll(&mut server.store, std::time::Instant::now());
    let deadline = server.deployments.next_deadline().unwrap();
    let mut finished = server
        .deployments
        .poll(&mut server.store, deadline)
        .finished;
    finished.extend(server.run());
    assert!(
        matches!(finished[0].result, Err(DeployError::TimedOut { .. })),
        "{finished:?}"
    );
}

#[test]
fn a_function_may_fill_all_its_memory_while_it_is_initialised() {
    let mut server = Server::new();
    let module = r#"(module
        (memory 1)
        (func (export "dormouse_init")
            (drop (memory.grow (i32.const 16383)))
            (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x3fffffff)))
        (func (export "handle") (result i32) (memory.size)))"#;
    let deployed = server
        .deploy_as("f", &[("memory", "1GiB")], module.as_bytes())
        .unwrap();
    assert_eq!(deployed.version.image_pages >> 18, 1);
    assert_eq!(server.call(&deployed.version, "handle"), 16384);
}

#[test]
fn files_that_cannot_be_written_leave_nothing() {
    // A limit on the size of files stands in for the full disk.
    let mut server = Server::new().with_shell("trap '' XFSZ; ulimit -f 1");
    let error = server.deploy(REACTOR).unwrap_err();
    assert!(
        matches!(&error, DeployError::Refused(failure) if failure.kind == FailureKind::DiskFull),
        "{error:?}"
    );
    assert_eq!(server.store.functions().len(), 0);
    assert_eq!(
        fs::read_dir(server.directory.path().join("staging"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_compiler_that_runs_out_of_memory_is_told_apart() {
    // Less than the limit the worker sets itself, and it does not undo it.
    let mut server = Server::new().with_shell("ulimit -d 16000");
    let functions =
        "(func (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))".repeat(50_000);
    let error = server
        .deploy(&format!("(module {functions} (func (export \"_start\")))"))
        .unwrap_err();
    assert!(
        matches!(
            error,
            DeployError::Crashed {
                crash: Crash::OutOfMemory,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_worker_that_is_killed_leaves_the_server_and_the_old_version() {
    let mut server = Server::new();
    let first = server.deploy(REACTOR).unwrap();
    let mut server = server.with_shell("kill -KILL $$");
    let error = server
        .deploy("(module (func (export \"_start\")))")
        .unwrap_err();
    assert!(
        matches!(
            error,
            DeployError::Crashed {
                crash: Crash::OutOfMemory,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        *server.store.function("f").unwrap().current(),
        first.version
    );
}

#[test]
fn two_hundred_functions_are_deployed_at_once() {
    let mut server = Server::new();
    for n in 0..200 {
        let module = format!("(module (func (export \"handle\") (result i32) (i32.const {n})))");
        let name = format!("f{n}").parse().unwrap();
        server
            .deployments
            .submit(
                &server.store,
                name,
                FunctionConfig::default(),
                module.as_bytes(),
            )
            .unwrap();
    }
    let finished = server.run();
    assert_eq!(finished.len(), 200);
    for finished in finished {
        finished.result.unwrap();
    }
    drop(server.store);
    let store = Store::open(server.directory.path()).unwrap();
    assert_eq!(store.versions().len(), 200);
    let version = store.function("f123").unwrap().current().clone();
    server.store = store;
    assert_eq!(server.call(&version, "handle"), 123);
}

#[test]
fn the_example_functions_deploy() {
    let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests");
    let mut server = Server::new();
    let files = dormouse_host::deploy::files::find(&[guests.into()]).unwrap();
    assert!(files.len() > 5);
    let mut seen = 0;
    dormouse_host::deploy::files::deploy(
        &mut server.store,
        &mut server.deployments,
        &files,
        |_| seen += 1,
    )
    .unwrap_or_else(|failed| {
        panic!(
            "{}",
            failed
                .iter()
                .map(|(f, e)| format!("{}: {e}\n", f.display()))
                .collect::<String>()
        )
    });
    assert_eq!(seen, files.len());
    // A second start has nothing to do.
    dormouse_host::deploy::files::deploy(
        &mut server.store,
        &mut server.deployments,
        &files,
        |_| panic!("deployed again"),
    )
    .unwrap();
}

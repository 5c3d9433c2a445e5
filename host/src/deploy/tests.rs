//! The queue of workers with shell scripts in place of the compiler: what happens when a worker crashes, hangs, babbles or
//! answers. What the real one does is tested in `host/tests/deploy.rs`.

use super::files::next_turn;
use super::*;
use tempfile::TempDir;

/// A store and a queue whose workers run this script, with the job's directory as $2.
struct Bench {
    directory: TempDir,
    store: Store,
    deployments: Deployments,
}

impl Bench {
    fn new(script: &str) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("data")).unwrap();
        let text = directory.path().join("worker.sh");
        fs::write(&text, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")).unwrap();
        // Written by another process: a child that another test begins here meanwhile would have the file open for writing, and a file
        // that is open for writing cannot be run.
        let program = directory.path().join("worker");
        let mut install = std::process::Command::new("install");
        let installed = install.arg("-m755").args([&text, &program]).status();
        assert!(installed.unwrap().success());
        Bench {
            directory,
            store,
            deployments: Deployments::with_program(program, 2),
        }
    }

    fn submit(&mut self, name: &str, module: &[u8]) -> DeploymentId {
        let config = FunctionConfig::default();
        self.deployments
            .submit(&self.store, name.parse().unwrap(), config, module)
            .unwrap()
    }

    fn run(&mut self) -> Vec<Finished> {
        let mut finished = Vec::new();
        while !self.deployments.is_empty() {
            finished.extend(next_turn(&mut self.store, &mut self.deployments).finished);
        }
        finished
    }

    /// The error of a single deployment.
    fn error(script: &str) -> DeployError {
        let mut bench = Bench::new(script);
        bench.submit("f", b"module");
        let error = bench.run().pop().unwrap().result.unwrap_err();
        assert!(bench.staging_is_empty());
        error
    }

    fn staging_is_empty(&self) -> bool {
        change::list(&self.store.paths().staging())
            .unwrap()
            .is_empty()
    }
}

#[test]
fn a_worker_that_crashes_is_reported_with_its_last_words() {
    let error = Bench::error("echo first >&2; echo last words >&2; kill -SEGV $$");
    assert!(
        matches!(
            error,
            DeployError::Crashed {
                crash: Crash::Signal(11),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains("SIGSEGV (signal 11): first; last words"),
        "{error}"
    );
    let error = Bench::error("exit 3");
    assert!(
        matches!(
            error,
            DeployError::Crashed {
                crash: Crash::Exit(3),
                ..
            }
        ),
        "{error:?}"
    );
    let error = Bench::error("echo memory allocation of 99 bytes failed >&2; kill -ABRT $$");
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
    let error = Bench::error("kill -XCPU $$");
    assert!(
        matches!(
            error,
            DeployError::Crashed {
                crash: Crash::CpuTime,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_worker_that_answers_nonsense_is_not_believed() {
    for script in ["echo nonsense", "echo '{\"Ok\":1}'", "exec yes", "exit 0"] {
        let error = Bench::error(script);
        assert!(
            matches!(
                error,
                DeployError::Crashed { .. } | DeployError::TimedOut { .. }
            ),
            "{script}: {error:?}"
        );
    }
}

#[test]
fn a_worker_that_answers_and_then_crashes_is_not_believed() {
    let answer = r#"{"Err":{"kind":"invalid-module","message":"no"}}"#;
    let error = Bench::error(&format!("echo '{answer}'; kill -SEGV $$"));
    assert!(matches!(error, DeployError::Crashed { .. }), "{error:?}");
}

#[test]
fn a_refusal_is_passed_on() {
    let answer = r#"{"Err":{"kind":"invalid-module","message":"no"}}"#;
    let error = Bench::error(&format!("echo '{answer}'"));
    let DeployError::Refused(failure) = error else {
        panic!("{error:?}")
    };
    assert_eq!(failure, Failure::new(FailureKind::InvalidModule, "no"));
}

#[test]
fn a_worker_that_hangs_is_killed_at_its_deadline() {
    let mut bench = Bench::new("exec sleep 1000");
    bench.submit("f", b"module");
    let begin = Instant::now();
    assert_eq!(
        bench
            .deployments
            .poll(&mut bench.store, begin)
            .started
            .len(),
        1
    );
    assert!(
        bench
            .deployments
            .poll(&mut bench.store, begin)
            .finished
            .is_empty()
    );
    // The clock is the caller's: the test does not wait.
    let deadline = bench.deployments.next_deadline().unwrap();
    let mut finished = bench.deployments.poll(&mut bench.store, deadline).finished;
    while finished.is_empty() {
        finished = next_turn(&mut bench.store, &mut bench.deployments).finished;
    }
    assert!(
        matches!(finished[0].result, Err(DeployError::TimedOut { .. })),
        "{finished:?}"
    );
}

#[test]
fn workers_are_few_and_a_function_has_one_at_a_time() {
    // Each worker notes its beginning and its end, and fails.
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let log_path = log.display();
    let mut bench = Bench::new(&format!(
        "name=$(sed 's/.*\"name\":\"\\([a-z]*\\)\".*/\\1/' $2/job.json)
         echo begin $name >> {log_path}; sleep 0.02; echo end $name >> {log_path}; exit 1"
    ));
    let ids: Vec<_> = ["a", "a", "b", "a", "c", "b", "d"]
        .map(|name| bench.submit(name, b"module"))
        .into();
    assert!(bench.deployments.is_busy("a") && !bench.deployments.is_busy("x"));
    assert_eq!(bench.deployments.len(), 7);
    let finished = bench.run();
    let of = |name: &str| {
        finished
            .iter()
            .filter(|f| f.name.as_str() == name)
            .map(|f| f.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("a"), [ids[0], ids[1], ids[3]]);
    assert_eq!(of("b"), [ids[2], ids[5]]);
    let mut running = Vec::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let (what, name) = line.split_once(' ').unwrap();
        if what == "begin" {
            assert!(!running.contains(&name.to_owned()), "two workers of {name}");
            running.push(name.to_owned());
            assert!(running.len() <= 2);
        } else {
            running.retain(|running| running != name);
        }
    }
    assert!(bench.staging_is_empty());
}

#[test]
fn dropping_the_queue_kills_its_workers_and_frees_the_directory() {
    let mut bench = Bench::new("echo $$ > $2/pid; exec sleep 1000");
    bench.submit("f", b"module");
    bench.deployments.poll(&mut bench.store, Instant::now());
    let Bench {
        directory,
        store,
        deployments,
    } = bench;
    drop((deployments, store));
    // The worker held the lock; that the store opens shows it is gone.
    Store::open(&directory.path().join("data")).unwrap();
}

#[test]
fn a_missing_worker_is_an_error_of_the_server() {
    let mut bench = Bench::new("");
    bench.deployments.program = "/nonexistent".into();
    bench.submit("f", b"module");
    let error = bench.run().pop().unwrap().result.unwrap_err();
    assert!(matches!(error, DeployError::Worker(_)), "{error:?}");
}

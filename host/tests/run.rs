//! `dormouse run` and `dormouse compile` as a user has them: the real binary, real files, real pipes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn dormouse() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dormouse"))
}

/// A program in `guests/commands/`.
fn guest(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../guests/commands")
        .join(name)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a module given as text.
fn run_text(options: &[&str], module: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("module.wat");
    fs::write(&file, module).unwrap();
    dormouse()
        .arg("run")
        .args(options)
        .arg(&file)
        .args(arguments)
        .output()
        .unwrap()
}

fn run_cat(options: &[&str], arguments: &[&str]) -> Output {
    let mut command = dormouse();
    command
        .arg("run")
        .args(options)
        .arg(guest("cat.wasm"))
        .args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

/// A folder `inside` to give to a program, and a file beside it.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("inside")).unwrap();
    fs::write(tree.path().join("inside/file"), "inside\n").unwrap();
    fs::write(tree.path().join("secret"), "secret\n").unwrap();
    symlink("../secret", tree.path().join("inside/out")).unwrap();
    symlink("file", tree.path().join("inside/link")).unwrap();
    tree
}

#[test]
fn the_exit_code_is_the_programs_own() {
    for code in [0, 1, 7, 255] {
        let output = run_cat(&[], &["--exit", &code.to_string()]);
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn arguments_and_environment_reach_the_program() {
    // What follows the file is the program's, even where `run` has an option of that name.
    let output = run_cat(&["--env", "GREETING=hello there"], &["--env", "GREETING"]);
    assert_eq!(text(&output.stdout), "hello there\n");
    // Nothing of this process's own environment does.
    let output = run_cat(&[], &["--env", "PATH"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn standard_streams_are_passed_through_byte_for_byte() {
    let bytes: Vec<u8> = (0..1_000_000u32)
        .map(|index| (index.wrapping_mul(2654435761) >> 13) as u8)
        .collect();
    let mut child = dormouse()
        .arg("run")
        .arg(guest("cat.wasm"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.stdout == bytes);
    assert!(output.status.success());
}

#[test]
fn input_is_read_as_it_arrives() {
    let mut child = dormouse()
        .arg("run")
        .arg(guest("cat.wasm"))
        .arg("-n")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    stdin.write_all(b"two").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "     1\tone\n     2\ttwo");
}

#[test]
fn a_reader_that_goes_away_is_an_error_to_the_program() {
    // Waits for a byte of input, then writes one, and exits with the error number of that.
    let module = r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\40\00\00\00\01\00\00\00")
        (func (export "_start")
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)))
            (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("module.wat");
    fs::write(&file, module).unwrap();
    let mut child = dormouse()
        .arg("run")
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    // EPIPE of WASI.
    assert_eq!(child.wait().unwrap().code(), Some(64));
}

#[test]
fn a_trap_tells_where_and_exits_with_134() {
    let output = run_text(
        &[],
        r#"(module (func $deep unreachable) (func (export "_start") (call $deep)))"#,
        &[],
    );
    assert_eq!(output.status.code(), Some(134));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("module.wat: unreachable"), "{stderr}");
    assert!(stderr.contains("in deep (function 0)"), "{stderr}");
    assert!(stderr.contains("in _start (function 1)"), "{stderr}");
}

#[test]
fn an_uncaught_exception_is_named_and_exits_with_134() {
    let output = run_text(
        &[],
        r#"(module (tag $refused (param i32)) (func $deep (throw $refused (i32.const -7)))
             (func (export "_start") (block $h (try_table (catch_all $h) (call $deep))) (call $deep)))"#,
        &[],
    );
    assert_eq!(output.status.code(), Some(134));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("uncaught exception: refused (tag 0) with i32 -7"),
        "{stderr}"
    );
    assert!(stderr.contains("in _start (function 1)"), "{stderr}");
}

/// Of a module with objects, the one instance has a wide slot.
#[test]
fn exceptions_are_kept_and_thrown_again() {
    let module = r#"(module (tag $t (param i32))
        (func $throw (param i32) (throw $t (local.get 0)))
        (func (export "twice") (param i32) (result i32)
            (block $h (result i32)
                (try_table (result i32) (catch $t $h)
                    (block $r (result exnref)
                        (try_table (catch_all_ref $r) (call $throw (local.get 0))) (unreachable))
                    (throw_ref)))))"#;
    let output = run_text(&["--invoke", "twice"], module, &["41"]);
    assert_eq!(text(&output.stdout), "41\n");
}

#[test]
fn an_export_is_invoked_with_arguments_of_its_type() {
    let module = r#"(module
        (func (export "divide") (param i32 f64) (result f64 i64 i32)
            (f64.div (f64.convert_i32_s (local.get 0)) (local.get 1))
            (i64.const -1)
            (local.get 0)))"#;
    let output = run_text(&["--invoke", "divide"], module, &["-3", "2"]);
    assert_eq!(text(&output.stdout), "-1.5\n-1\n-3\n");
    let output = run_text(&[], module, &["--invoke", "divide", "8", "2"]);
    assert_eq!(text(&output.stdout), "4\n-1\n8\n");
    let output = run_text(&["--invoke", "divide"], module, &["x", "2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("\"x\" is not an i32"));
    let output = run_text(&["--invoke", "multiply"], module, &[]);
    assert!(text(&output.stderr).contains("it exports divide"));
    let output = run_text(&[], module, &[]);
    assert!(text(&output.stderr).contains("--invoke (divide)"));
}

#[test]
fn a_reactor_is_initialised_before_an_export_is_invoked() {
    let module = r#"(module
        (global $ready (mut i32) (i32.const 0))
        (func $start (global.set $ready (i32.add (global.get $ready) (i32.const 1))))
        (start $start)
        (func (export "_initialize") (global.set $ready (i32.mul (global.get $ready) (i32.const 10))))
        (func (export "ready") (result i32) (global.get $ready)))"#;
    assert_eq!(
        text(&run_text(&["--invoke", "ready"], module, &[]).stdout),
        "10\n"
    );
}

#[test]
fn a_compiled_file_runs_like_its_module() {
    let directory = tempfile::tempdir().unwrap();
    let compiled = directory.path().join("cat");
    let mut compile = dormouse();
    compile
        .arg("compile")
        .arg(guest("cat.wasm"))
        .arg("-o")
        .arg(&compiled);
    let output = compile.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = dormouse()
        .arg("run")
        .arg(&compiled)
        .args(["--exit", "9"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(9), "{}", text(&output.stderr));
    // A damaged one is not run.
    let mut bytes = fs::read(&compiled).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&compiled, bytes).unwrap();
    let output = dormouse().arg("run").arg(&compiled).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("compile the module again"));
}

#[test]
fn a_directory_is_what_was_given_and_nothing_else() {
    let tree = tree();
    let dir = format!("{}::/data", tree.path().join("inside").display());
    let cat = |path: &str| run_cat(&["--dir", &dir], &[path]);
    assert_eq!(text(&cat("/data/file").stdout), "inside\n");
    assert_eq!(text(&cat("/data/link").stdout), "inside\n");
    let secret = tree.path().join("secret");
    for path in [
        "/data/out",
        "/data/../secret",
        "/secret",
        secret.to_str().unwrap(),
        "/data/none",
    ] {
        let output = cat(path);
        assert_eq!(output.status.code(), Some(1), "{path}");
        assert_eq!(text(&output.stdout), "", "{path}");
    }
    let output = run_cat(&["--dir", "/none/such::/data"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/none/such: cannot be given to the program"));
}

#[test]
fn what_cannot_be_run_is_told_by_name() {
    for (content, message) in [
        (&b"\0asm\x01\0\0\0\xff"[..], "bad:"),
        (b"(module (func", "bad:1:14"),
        (b"", "not a WebAssembly module"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bad");
        fs::write(&file, content).unwrap();
        let output = dormouse().arg("run").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains(message),
            "{}",
            text(&output.stderr)
        );
    }
    let output = dormouse().args(["run", "/none/such"]).output().unwrap();
    assert!(text(&output.stderr).contains("/none/such: cannot be read"));
    let module = r#"(module (import "env" "f" (func)) (func (export "_start")))"#;
    let output = run_text(&[], module, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("env.f"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn memory_is_limited_and_the_limit_named() {
    let module = r#"(module (memory 1)
        (func (export "_start") (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))))"#;
    assert!(
        run_text(&["--memory", "7MiB"], module, &[])
            .status
            .success()
    );
    let output = run_text(&["--memory", "1MiB"], module, &[]);
    assert_eq!(output.status.code(), Some(134));
    assert!(
        text(&output.stderr).contains("--memory raises the limit"),
        "{}",
        text(&output.stderr)
    );
}

/// A guest that sleeps and polls its input is resumed when there is something to do.
#[test]
fn polling_waits_for_input_or_time() {
    // Two subscriptions at 0: standard input, and a clock 20 ms (or 1 h) from now. Exits with the number of events times 10 plus
    // the type of the first.
    let module = |timeout_ns: u64| {
        format!(
            r#"(module
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start")
                (i32.store8 (i32.const 8) (i32.const 1))
                (i32.store (i32.const 64) (i32.const 1))
                (i64.store (i32.const 72) (i64.const {timeout_ns}))
                (if (call $poll (i32.const 0) (i32.const 200) (i32.const 2) (i32.const 300)) (then unreachable))
                (call $exit (i32.add
                    (i32.mul (i32.load (i32.const 300)) (i32.const 10))
                    (i32.load8_u (i32.const 210))))))"#
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("poll.wat");
    let spawn = |timeout_ns| {
        fs::write(&file, module(timeout_ns)).unwrap();
        dormouse()
            .arg("run")
            .arg(&file)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut child = spawn(20_000_000);
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(10));
    drop(stdin);
    let mut child = spawn(3_600_000_000_000);
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(11));
    drop(stdin);
}

#[test]
fn bench_gives_figures_for_people_and_machines() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../guests/hello.wasm");
    let bench = |options: &[&str]| {
        let output = dormouse()
            .arg("bench")
            .arg(&file)
            .args(options)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let json: serde_json::Value =
        serde_json::from_str(&bench(&["--calls", "3", "--json"])).unwrap();
    assert_eq!(json["kind"], "reactor");
    assert_eq!(json["response_status"], 200);
    for figure in ["compile_us", "init_us", "image_bytes", "idle_bytes"] {
        assert!(json[figure].as_f64().unwrap() > 0.0, "{figure}");
    }
    for figure in ["warm_call_us", "reset_us", "restore_us", "cold_call_us"] {
        let quantile = |name: &str| json[figure][name].as_f64().unwrap();
        assert!(
            quantile("p50") > 0.0 && quantile("p50") <= quantile("p99"),
            "{figure}"
        );
    }
    let table = bench(&["--calls", "3"]);
    assert!(
        table.contains("warm call") && table.contains("pages written by a call"),
        "{table}"
    );
}

#[test]
fn bench_refuses_what_fails() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../guests/trap.wasm");
    let mut child = dormouse()
        .args(["bench", "--calls", "3"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout, "");
    assert!(text(&output.stderr).contains("the call failed: unreachable"));
}

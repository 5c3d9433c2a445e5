//! `dormouse run`, `compile`, `bench`, and what a typo gets.

use crate::harness::{BINARY, dormouse, guests};
use std::io::Write;
use std::process::{Command, Stdio};

fn cat() -> String {
    guests()
        .join("commands/cat.wasm")
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn run_passes_streams_arguments_directories_and_the_exit_code() {
    let directory = format!("{}::/data", guests().join("data").display());
    let output = dormouse(&["run", "--dir", &directory, &cat(), "/data/orders.json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        output.stdout,
        std::fs::read(guests().join("data/orders.json")).unwrap()
    );
    let mut child = Command::new(BINARY)
        .args(["run", &cat(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.stdout, bytes);
    let output = dormouse(&["run", &cat(), "/no/such/file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
}

#[test]
fn compile_and_run_what_was_compiled() {
    let directory = tempfile::tempdir().unwrap();
    let artifact = directory.path().join("cat");
    let artifact = artifact.to_str().unwrap();
    assert!(
        dormouse(&["compile", &cat(), "-o", artifact])
            .status
            .success()
    );
    let directory = format!("{}::/data", guests().join("data").display());
    let output = dormouse(&["run", "--dir", &directory, artifact, "/data/server.log"]);
    assert_eq!(
        output.stdout,
        std::fs::read(guests().join("data/server.log")).unwrap()
    );
    // A damaged artifact is not run.
    let mut bytes = std::fs::read(artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(artifact, &bytes).unwrap();
    let output = dormouse(&["run", artifact]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains(artifact) && message.contains("compile"),
        "{message}"
    );
}

#[test]
fn invoke_calls_an_export_and_traps_are_told_with_the_way_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("math.wat");
    std::fs::write(
        &file,
        r#"(module
            (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
            (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5))))"#,
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let output = dormouse(&["run", "--invoke", "div", file, "-7", "2"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "-3\n",
        "{output:?}"
    );
    let output = dormouse(&["run", "--invoke", "half", file, "3"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1.5\n",
        "{output:?}"
    );
    let output = dormouse(&["run", "--invoke", "div", file, "1", "0"]);
    assert_eq!(output.status.code(), Some(134));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("integer divide by zero") && message.contains("div"),
        "{message}"
    );
    for arguments in [
        vec!["run", "--invoke", "nothing", file],
        vec!["run", "--invoke", "div", file, "1"],
        vec!["run", "--invoke", "div", file, "1", "x"],
        vec!["run", "/no/such.wasm"],
        vec!["run", file],
    ] {
        let output = dormouse(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).starts_with("dormouse: "),
            "{output:?}"
        );
    }
}

#[test]
fn bench_measures_a_function() {
    let file = guests().join("hello.wasm");
    let output = dormouse(&["bench", file.to_str().unwrap(), "--calls", "20", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = report.to_string();
    assert!(text.contains("_us") && text.contains("_bytes"), "{text}");
    let output = dormouse(&["bench", file.to_str().unwrap(), "--calls", "5"]);
    assert!(output.status.success() && !output.stdout.is_empty());
}

#[test]
fn simulate_takes_what_bench_recorded_and_a_trace_it_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (profiles, trace, plot) = (path("profiles.json"), path("trace.csv"), path("plot.svg"));
    for name in ["hello", "nop"] {
        let file = guests().join(name).with_extension("wasm");
        let file = file.to_str().unwrap();
        let output = dormouse(&["bench", file, "--calls", "5", "--record", &profiles]);
        assert!(output.status.success(), "{output:?}");
    }
    let shape = "functions=20,rate=2,span=10m";
    let output = dormouse(&["simulate", "--generate", shape, "--write", &trace]);
    assert!(output.status.success(), "{output:?}");
    let simulate = |more: &[&str]| {
        let policies = [
            "simulate",
            "--policy",
            "predicted,keepalive:1m",
            "--for",
            "5m",
        ];
        let output = dormouse(&[&policies, more].concat());
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let stdout = simulate(&[
        "--trace",
        &trace,
        "--profile",
        &profiles,
        "--budget",
        "1MiB,1GiB",
        "--plot",
        &plot,
        "--json",
    ]);
    let report: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    let names = report["profiles"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|profile| profile["name"].clone()).collect();
    assert_eq!(names, ["hello", "nop"]);
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    assert_eq!(runs[1]["policy"], "predicted");
    assert_eq!(runs[1]["budget_bytes"], 1 << 30);
    assert_eq!(runs[3]["calls"], report["trace"]["calls"]);
    assert!(
        std::fs::read_to_string(&plot)
            .unwrap()
            .contains("keepalive:1m")
    );
    let table =
        String::from_utf8(simulate(&["--trace", &trace, "--profile", "container"])).unwrap();
    assert!(
        table.contains("45.8 MiB") && table.contains("keepalive:1m"),
        "{table}"
    );
    // What is wrong is told where it is.
    std::fs::write(&trace, "app,func,end_timestamp,duration\na,f,x,1\n").unwrap();
    let output = dormouse(&["simulate", "--trace", &trace]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("line 2, column 3 (end_timestamp)"),
        "{message}"
    );
}

#[test]
fn a_typo_gets_a_suggestion_and_exit_code_2() {
    for (arguments, words) in [
        (vec!["serv"], "serve"),
        (vec!["serve", "--lisen", "127.0.0.1:0"], "--listen"),
        (vec!["serve", "--budget", "lots"], "64MiB"),
        (vec!["serve", "--listen", "nowhere"], "--listen"),
        (vec!["serve", "--policy", "lru"], "greedy-dual"),
        (vec!["simulate"], "--trace"),
        (vec!["simulate", "--generate", "colour=red"], "functions"),
    ] {
        let output = dormouse(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(words), "{message}");
    }
}

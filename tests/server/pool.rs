//! The pool's policies in the running server.

use crate::harness::{Server, dormouse, guest};
use std::thread;
use std::time::{Duration, Instant};

/// Waits until so many instances are warm, which no request brings about.
fn wait_for_warm(server: &Server, count: u64) {
    let began = Instant::now();
    loop {
        let warm = server.metric("dormouse_warm_instances");
        if warm == count {
            return;
        }
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(60), "{warm} are warm");
        thread::sleep(Duration::from_millis(20));
    }
}

fn starts(server: &Server, kind: &str) -> u64 {
    let text = server.admin("GET", "/metrics").expect(200).text();
    let name = format!("dormouse_function_starts_total{{function=\"hello\",start=\"{kind}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or("0").parse().unwrap()
}

#[test]
fn every_policy_serves_and_says_its_name() {
    for policy in [
        "predicted",
        "fixed:2",
        "keepalive:5m",
        "histogram",
        "greedy-dual",
    ] {
        let server = Server::with(&["--policy", policy]);
        server.deploy("hello", &guest("hello"), "");
        for _ in 0..5 {
            server.get("/hello").expect(200);
        }
        assert!(starts(&server, "warm") >= 3, "{policy}");
        let metrics = server.admin("GET", "/metrics").expect(200).text();
        let line = format!("dormouse_pool_policy{{policy=\"{policy}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[test]
fn instances_are_made_ahead_without_a_request() {
    let server = Server::with(&["--policy", "fixed:5"]);
    server.deploy("hello", &guest("hello"), "");
    server.get("/hello").expect(200);
    wait_for_warm(&server, 5);
    assert_eq!(starts(&server, "warm"), 0);
    server.get("/hello").expect(200);
    assert_eq!(starts(&server, "warm"), 1);
}

#[test]
fn an_idle_instance_is_given_up_in_time_without_a_request() {
    let server = Server::with(&["--policy", "keepalive:300ms"]);
    server.deploy("hello", &guest("hello"), "");
    server.get("/hello").expect(200);
    wait_for_warm(&server, 0);
    server.get("/hello").expect(200);
    assert_eq!(starts(&server, "warm"), 0);
}

/// Neither figure depends on how fast the machine is: the first call of each function is cold, and calls that come long
/// after the one before are warm.
#[test]
fn a_live_replay_finds_the_cold_starts_that_were_predicted() {
    let server = Server::with(&["--policy", "keepalive"]);
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace.csv");
    let mut text = "app,func,end_timestamp,duration\n".to_owned();
    for number in 0..30 {
        text.push_str(&format!("a,f{},{}.5,0.02\n", number % 3, number));
    }
    std::fs::write(&trace, text).unwrap();
    let (public, admin) = (
        format!("http://{}", server.public),
        format!("http://{}", server.admin),
    );
    let output = dormouse(&[
        "simulate",
        "--trace",
        trace.to_str().unwrap(),
        "--speed",
        "10",
        "--live",
        &public,
        "--admin",
        &admin,
        "--json",
    ]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured = &report["measured"];
    assert_eq!(report["predicted"]["policy"], "keepalive");
    assert_eq!(
        (&measured["calls"], &measured["failed"]),
        (&30.into(), &0.into())
    );
    assert_eq!(report["predicted"]["cold"], 3);
    assert_eq!(
        (&measured["cold"], &measured["warm"]),
        (&3.into(), &27.into())
    );
    // The guest waits no less than the 2 ms that are left at that speed.
    assert!(measured["response_us"]["p50"].as_f64().unwrap() >= 2000.0);
    // What was deployed for it is gone.
    let list = server.admin("GET", "/v1/functions").expect(200).json();
    assert_eq!(list["functions"].as_array().unwrap().len(), 0, "{list}");
    let output = dormouse(&[
        "simulate",
        "--generate",
        "--live",
        &public,
        "--admin",
        &public,
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

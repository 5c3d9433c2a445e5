//! The pool's policies in the running server.

use crate::harness::{Server, guest};
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

//! The admin API's decisions, with a real store that is filled without a compiler.

use super::*;
use crate::deploy::{
    Change, Crash, DeployError, Deployed, Deployments, Failure, FailureKind, Finished,
};
use crate::metrics::{Gauges, Invocation, Metrics, Outcome, StartKind};
use crate::store::change::{self, Place};
use crate::store::{Kind, OsDisk, Store, StoreError, Version, version_id};
use serde_json::Value;
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

struct Server {
    _directory: TempDir,
    store: Store,
    metrics: Metrics,
    busy: &'static str,
    draining: bool,
}

impl ServerView for Server {
    fn store(&self) -> &Store {
        &self.store
    }
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
    fn gauges(&self) -> Gauges {
        Gauges {
            functions: self.store.functions().len() as u64,
            ..Gauges::default()
        }
    }
    fn now(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn warm_instances(&self, function: &str) -> u64 {
        function.len() as u64
    }
    fn is_being_deployed(&self, function: &str) -> bool {
        function == self.busy
    }
    fn is_draining(&self) -> bool {
        self.draining
    }
}

fn version(name: &str) -> Version {
    let config = FunctionConfig::default();
    Version {
        name: name.parse().unwrap(),
        id: version_id(name.as_bytes(), &config),
        module_id: String::new(),
        build: 0,
        kind: Kind::Reactor,
        config,
        compiler: String::new(),
        wasm_bytes: 10,
        artifact_bytes: 20,
        image_bytes: 30,
        image_pages: 3,
        created_unix_ms: 1,
        compile_us: 2,
        init_us: 3,
    }
}

fn server(functions: &[&str]) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    for name in functions {
        let staged = change::staging_path(store.paths());
        fs::create_dir(&staged).unwrap();
        for file in [
            crate::store::MODULE_FILE,
            crate::store::ARTIFACT_FILE,
            crate::store::IMAGE_FILE,
        ] {
            fs::write(staged.join(file), b"").unwrap();
        }
        let version = version(name);
        change::commit(
            store.paths(),
            &OsDisk,
            &staged,
            version.clone(),
            Place::Current,
        )
        .unwrap();
        store.reload(&version.name);
    }
    Server {
        _directory: directory,
        store,
        metrics: Metrics::new(),
        busy: "",
        draining: false,
    }
}

fn ask(server: &Server, method: &str, target: &str) -> AdminAction {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    handle(
        &AdminRequest {
            method,
            path,
            query,
        },
        server,
    )
}

fn response(server: &Server, method: &str, target: &str) -> (u16, Value) {
    match ask(server, method, target) {
        AdminAction::Respond(response) => (response.status, json(&response)),
        other => panic!("{other:?}"),
    }
}

fn json(response: &AdminResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn functions_are_listed_with_their_sizes() {
    let server = server(&["b", "aa"]);
    let (status, body) = response(&server, "GET", "/v1/functions");
    assert_eq!(status, 200);
    let list: FunctionList = serde_json::from_value(body.clone()).unwrap();
    let names: Vec<_> = list
        .functions
        .iter()
        .map(|f| (f.name.as_str(), f.warm_instances, f.image_pages))
        .collect();
    assert_eq!(names, [("aa", 2, 3), ("b", 1, 3)]);
    assert_eq!(body["functions"][0]["kind"], "reactor");
}

#[test]
fn a_function_is_shown_with_its_calls_and_latencies() {
    let mut server = server(&["f"]);
    let (_, body) = response(&server, "GET", "/v1/functions/f");
    assert_eq!(body["statistics"]["calls"], 0);
    assert_eq!(body["statistics"]["latency_us"], Value::Null);
    let id = server.metrics.id("f");
    for start in [StartKind::DiskCold, StartKind::Warm, StartKind::Warm] {
        let invocation = Invocation {
            start,
            outcome: Outcome::Answered,
            cpu: Duration::from_micros(5),
            wall: Duration::from_micros(1000),
            bytes_in: 0,
            bytes_out: 0,
        };
        server.metrics.record(id, &invocation, server.now());
    }
    let (status, body) = response(&server, "HEAD", "/v1/functions/f");
    assert_eq!(status, 200);
    let details: FunctionDetails = serde_json::from_value(body).unwrap();
    assert_eq!(
        (details.statistics.calls, details.statistics.warm_starts),
        (3, 2)
    );
    assert_eq!(details.statistics.disk_cold_starts, 1);
    assert!(details.statistics.latency_us.unwrap().p99.abs_diff(1000) < 130);
    assert_eq!(details.versions, [version("f")]);
}

#[test]
fn a_deployment_takes_its_settings_from_the_query() {
    let server = server(&[]);
    let action = ask(
        &server,
        "PUT",
        "/v1/functions/hello?memory=64MiB&env.GREETING=hello+world%21&init-entropy=allow",
    );
    let AdminAction::Deploy { name, config } = action else {
        panic!("{action:?}")
    };
    assert_eq!(name.as_str(), "hello");
    assert_eq!(config.memory_bytes, 64 << 20);
    assert_eq!(config.env["GREETING"], "hello world!");
    assert!(config.init_entropy);
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let mut server = server(&["f", "busy"]);
    server.busy = "busy";
    for (method, target, status, code) in [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1/functions/f/x", 404, "not-found"),
        ("GET", "/v1/functions/f/rollback/x", 404, "not-found"),
        ("GET", "/v1/functions/g", 404, "no-such-function"),
        ("GET", "/v1/functions/..%2f", 404, "no-such-function"),
        ("DELETE", "/v1/functions/g", 404, "no-such-function"),
        ("POST", "/v1/functions/g/rollback", 404, "no-such-function"),
        ("POST", "/v1/functions", 405, "method-not-allowed"),
        ("POST", "/v1/functions/f", 405, "method-not-allowed"),
        ("get", "/healthz", 405, "method-not-allowed"),
        ("GET", "/v1/functions/f/rollback", 405, "method-not-allowed"),
        ("PUT", "/v1/functions/Upper", 400, "invalid-name"),
        ("PUT", "/v1/functions/", 405, "method-not-allowed"),
        ("PUT", "/v1/functions/f?memory=lots", 400, "invalid-setting"),
        ("PUT", "/v1/functions/f?colour=red", 400, "invalid-setting"),
        (
            "PUT",
            "/v1/functions/f?cpu=1s&cpu=2s",
            400,
            "invalid-setting",
        ),
        ("PUT", "/v1/functions/f?env.A=%ff", 400, "invalid-query"),
        (
            "POST",
            "/v1/functions/f/rollback?id=1",
            400,
            "invalid-query",
        ),
        ("DELETE", "/v1/functions/busy", 409, "being-deployed"),
        ("POST", "/v1/functions/busy/rollback", 409, "being-deployed"),
    ] {
        let (actual, body) = response(&server, method, target);
        assert_eq!(
            (actual, body["error"]["code"].as_str()),
            (status, Some(code)),
            "{method} {target}: {body}"
        );
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    }
    let AdminAction::Respond(refused) = ask(&server, "PATCH", "/v1/functions/f") else {
        panic!()
    };
    assert_eq!(
        refused.headers,
        [("Allow", "GET, HEAD, PUT, DELETE".to_owned())]
    );
    let (_, body) = response(&server, "PUT", "/v1/functions/f?colour=red");
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("known are memory"),
        "{body}"
    );
    // A second deployment of the same function waits for the first one.
    assert!(matches!(
        ask(&server, "PUT", "/v1/functions/busy"),
        AdminAction::Deploy { .. }
    ));
}

#[test]
fn changes_are_handed_to_the_event_loop() {
    let server = server(&["f"]);
    let name: FunctionName = "f".parse().unwrap();
    assert_eq!(
        ask(&server, "DELETE", "/v1/functions/f"),
        AdminAction::Remove { name: name.clone() }
    );
    assert_eq!(
        ask(&server, "POST", "/v1/functions/f/rollback"),
        AdminAction::Rollback {
            name: name.clone(),
            version: None
        }
    );
    assert_eq!(
        ask(&server, "POST", "/v1/functions/f/rollback?version=abc"),
        AdminAction::Rollback {
            name,
            version: Some("abc".into())
        }
    );
}

#[test]
fn a_draining_server_says_so_and_takes_no_changes() {
    let mut server = server(&["f"]);
    assert_eq!(response(&server, "GET", "/healthz").0, 200);
    server.draining = true;
    for (method, target) in [
        ("GET", "/healthz"),
        ("PUT", "/v1/functions/f"),
        ("DELETE", "/v1/functions/f"),
        ("POST", "/v1/functions/f/rollback"),
    ] {
        assert_eq!(
            response(&server, method, target).0,
            503,
            "{method} {target}"
        );
    }
    assert_eq!(response(&server, "GET", "/v1/functions").0, 200);
}

#[test]
fn metrics_are_prometheus_text() {
    let server = server(&["f"]);
    let AdminAction::Respond(response) = ask(&server, "GET", "/metrics") else {
        panic!()
    };
    assert_eq!(
        response.content_type,
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(
        String::from_utf8(response.body)
            .unwrap()
            .contains("\ndormouse_functions 1\n")
    );
}

#[test]
fn a_damaged_function_is_listed_and_can_be_removed() {
    let mut server = server(&["f"]);
    let name: FunctionName = "f".parse().unwrap();
    fs::write(server.store.paths().manifest(&name), b"damaged").unwrap();
    server.store.reload(&name);
    let (_, body) = response(&server, "GET", "/v1/functions");
    assert_eq!(body["damaged"][0]["name"], "f");
    assert_eq!(response(&server, "GET", "/v1/functions/f").0, 500);
    assert!(matches!(
        ask(&server, "DELETE", "/v1/functions/f"),
        AdminAction::Remove { .. }
    ));
    server.store.remove(&name).unwrap();
    assert_eq!(response(&server, "GET", "/v1/functions/f").0, 404);
}

#[test]
fn the_end_of_a_deployment_has_a_status_that_says_whose_fault_it_was() {
    let mut deployments = Deployments::new();
    let server = server(&[]);
    let id = deployments
        .submit(
            &server.store,
            "f".parse().unwrap(),
            FunctionConfig::default(),
            b"",
        )
        .unwrap();
    let refused = |kind| Err(DeployError::Refused(Failure::new(kind, "why")));
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    for (result, status, code) in [
        (Ok(Change::Created), 201, None),
        (Ok(Change::Updated), 200, None),
        (Ok(Change::Unchanged), 200, None),
        (
            refused(FailureKind::InvalidModule),
            422,
            Some("invalid-module"),
        ),
        (
            refused(FailureKind::MissingImport),
            422,
            Some("missing-import"),
        ),
        (refused(FailureKind::DiskFull), 507, Some("disk-full")),
        (refused(FailureKind::Internal), 500, Some("internal")),
        (
            Err(DeployError::Crashed {
                crash: Crash::Signal(11),
                log: String::new(),
            }),
            422,
            Some("compiler-crashed"),
        ),
        (
            Err(DeployError::TimedOut {
                limit: Duration::from_secs(1),
            }),
            422,
            Some("compiler-timed-out"),
        ),
        (
            Err(StoreError::io("cannot write", "x".as_ref())(full).into()),
            507,
            Some("disk-full"),
        ),
    ] {
        let result = result.map(|change| Deployed {
            version: version("f"),
            change,
        });
        let response = deployed(&Finished {
            id,
            name: "f".parse().unwrap(),
            result,
        });
        let body = json(&response);
        assert_eq!(
            (response.status, body["error"]["code"].as_str()),
            (status, code),
            "{body}"
        );
        assert_eq!(body["name"].as_str(), code.is_none().then_some("f"));
    }
}

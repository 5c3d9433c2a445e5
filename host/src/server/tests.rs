//! A whole server in this process, spoken to over real sockets.
//!
//! One server serves all tests: its engine reserves most of the address space.

mod client;

use super::*;
use crate::deploy::build;
use crate::store::change::{self, Place};
use crate::store::{FunctionConfig, Kind, MODULE_FILE, OsDisk, Version, version_id};
use client::{Client, Response};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

type Settings = &'static [(&'static str, &'static str)];

/// Functions to test with: name, settings, the body of a reactor's `handle` and what else the module has.
const FUNCTIONS: &[(&str, Settings, &str)] = &[
    (
        "hello",
        &[],
        "(call $write (i32.const 0) (i32.const 5)) (i32.const 0)",
    ),
    (
        "echo",
        &[],
        "(loop $more
           (local.set $n (call $read (i32.const 1024) (i32.const 60000)))
           (call $write (i32.const 1024) (local.get $n))
           (br_if $more (local.get $n)))
         (i32.const 0)",
    ),
    // Half a body, then nothing but time.
    (
        "spin",
        &[("cpu", "200ms")],
        "(call $write (i32.const 0) (i32.const 5)) (loop $l (br $l)) (i32.const 0)",
    ),
    (
        "spin-long",
        &[("cpu", "60s"), ("timeout", "2s")],
        "(loop $l (br $l)) (i32.const 0)",
    ),
    (
        "trap",
        &[],
        "(call $write (i32.const 0) (i32.const 5)) unreachable",
    ),
    ("fail", &[], "(i32.const 7)"),
    (
        "bad-header",
        &[],
        "(call $header (i32.const 0) (i32.const 5) (i32.const 16) (i32.const 4)) (i32.const 0)",
    ),
    (
        "teapot",
        &[],
        "(call $status (i32.const 418)) (call $write (i32.const 0) (i32.const 5)) (i32.const 0)",
    ),
    (
        "nothing",
        &[],
        "(call $status (i32.const 204)) (i32.const 0)",
    ),
    // 4 MiB, more than is kept back.
    (
        "large",
        &[],
        "(call $megabytes (i32.const 4)) (i32.const 0)",
    ),
    (
        "large-trap",
        &[],
        "(call $megabytes (i32.const 4)) unreachable",
    ),
    // Exactly what is kept back.
    (
        "one-megabyte-trap",
        &[],
        "(call $megabytes (i32.const 1)) unreachable",
    ),
    (
        "memory",
        &[("memory", "1MiB")],
        "(drop (memory.grow (i32.const 100))) unreachable",
    ),
    (
        "counter",
        &[],
        "(i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
                      (call $write (i32.const 0) (i32.const 1)) (i32.const 0)",
    ),
    // Waits for the body, one at a time, and one more may wait for that.
    (
        "single",
        &[("concurrency", "1"), ("queue", "1")],
        "(loop $more (br_if $more (call $read (i32.const 1024) (i32.const 60000)))) (i32.const 0)",
    ),
];

fn module(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (import "dormouse" "read_call_input" (func $read (param i32 i32) (result i32)))
          (import "dormouse" "write_call_output" (func $write (param i32 i32)))
          (import "dormouse" "set_status" (func $status (param i32)))
          (import "dormouse" "set_header" (func $header (param i32 i32 i32 i32)))
          (memory (export "memory") 2)
          (data (i32.const 0) "hello")
          (data (i32.const 16) "a\0d\0ab")
          (func $megabytes (param $n i32) (local $i i32)
            (local.set $i (i32.mul (local.get $n) (i32.const 16)))
            (loop $more
              (call $write (i32.const 0) (i32.const 65536))
              (br_if $more (local.tee $i (i32.sub (local.get $i) (i32.const 1))))))
          (func (export "handle") (result i32) (local $n i32) {body}))"#
    );
    wat::parse_str(text).expect("the functions of these tests are valid")
}

fn deploy(store: &Store, name: &str, settings: &[(&str, &str)], body: &str) {
    let module = module(body);
    let config = FunctionConfig::from_settings(settings.iter().copied()).unwrap();
    let staged = change::staging_path(store.paths());
    std::fs::create_dir(&staged).unwrap();
    std::fs::write(staged.join(MODULE_FILE), &module).unwrap();
    let built = build(&module, &config, &staged, None).unwrap();
    let version = Version {
        name: name.parse().unwrap(),
        id: version_id(&module, &config),
        module_id: String::new(),
        build: 0,
        kind: Kind::Reactor,
        config,
        compiler: crate::deploy::compiler(),
        wasm_bytes: module.len() as u64,
        artifact_bytes: built.artifact_bytes,
        image_bytes: built.image_bytes,
        image_pages: built.image_pages,
        created_unix_ms: 0,
        compile_us: 0,
        init_us: 0,
    };
    change::commit(store.paths(), &OsDisk, &staged, version, Place::Current).unwrap();
}

/// The address of the server.
fn server() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path()).unwrap();
            for (name, settings, body) in FUNCTIONS {
                deploy(&store, name, settings, body);
            }
            drop(store);
            let store = Store::open(directory.path()).unwrap();
            let options = ServeOptions {
                listen: "127.0.0.1:0".parse().unwrap(),
                admin: "127.0.0.1:0".parse().unwrap(),
                budget_bytes: Some(64 << 20),
                policy: Default::default(),
                log: LogFormat::Text,
                drain: Duration::from_secs(1),
            };
            // Short, for the tests of slow clients; no other test is slower than this.
            let timeouts = Timeouts {
                head: Duration::from_secs(3),
                body_stall: Duration::from_secs(3),
                idle: Duration::from_secs(300),
                ..Timeouts::default()
            };
            let mut server = Server::new(store, &options, timeouts).unwrap();
            send.send(server.public_address()).unwrap();
            server.serve().unwrap();
        });
        receive.recv().expect("the server starts")
    })
}

fn get(target: &str) -> Response {
    Client::new().get(target)
}

#[test]
fn a_function_answers_over_one_connection_again_and_again() {
    let mut client = Client::new();
    for _ in 0..100 {
        let response = client.get("/hello");
        assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    }
    assert_eq!(client.get("/hello/deeper?query=1").status, 200);
    assert_eq!(client.get("/teapot").status, 418);
    assert_eq!(client.get("/nothing").status, 204);
}

#[test]
fn every_request_sees_a_fresh_instance() {
    let mut client = Client::new();
    for _ in 0..1000 {
        assert_eq!(client.get("/counter").body, [b'h' + 1]);
    }
}

#[test]
fn request_ids_differ() {
    let mut client = Client::new();
    let first = client
        .get("/hello")
        .header("X-Request-Id")
        .unwrap()
        .to_owned();
    assert_ne!(
        client.get("/hello").header("X-Request-Id"),
        Some(first.as_str())
    );
}

#[test]
fn unknown_functions_are_404_and_say_why() {
    let mut client = Client::new();
    for (target, words) in [
        ("/", "called by its name"),
        ("/no-such", "no function named no-such"),
        ("/No%20Such", "names have a-z"),
        ("//hello", "called by its name"),
    ] {
        let response = client.get(target);
        assert_eq!(response.status, 404, "{target}");
        assert!(
            response.text().contains(words),
            "{target}: {}",
            response.text()
        );
    }
    client.send("GET /none HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n");
    assert!(
        client
            .response()
            .text()
            .contains("\"code\":\"no_such_function\"")
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut client = Client::new();
    let targets = [
        "/hello", "/teapot", "/none", "/counter", "/nothing", "/fail",
    ];
    let all: String = targets
        .iter()
        .map(|t| format!("GET {t} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .collect();
    for _ in 0..20 {
        client.send(&all);
    }
    for _ in 0..20 {
        let statuses: Vec<u16> = targets.iter().map(|_| client.response().status).collect();
        assert_eq!(statuses, [200, 418, 404, 200, 204, 500]);
    }
}

#[test]
fn a_failing_function_is_never_taken_for_whole() {
    for (target, status, code) in [
        ("/trap", 500, "trapped"),
        ("/fail", 500, "failed"),
        ("/bad-header", 500, "host function"),
        ("/memory", 500, "memory limit"),
        ("/spin", 504, "CPU time limit"),
        ("/spin-long", 504, "wall-clock limit"),
        ("/one-megabyte-trap", 500, "trapped"),
    ] {
        let response = get(target);
        assert_eq!(response.status, status, "{target}");
        let text = response.text();
        assert!(
            text.contains(code) && !text.contains("hello"),
            "{target}: {text}"
        );
        assert!(
            text.contains(response.header("X-Request-Id").unwrap()),
            "{target}: {text}"
        );
    }
    // What has begun to stream breaks off without its last chunk.
    let mut client = Client::new();
    client.send("GET /large-trap HTTP/1.1\r\nHost: a\r\n\r\n");
    if let Some(response) = client.response_to("GET") {
        assert!(!response.complete, "{} bytes", response.body.len());
    }
    // Over HTTP/1.0 the end of the connection is the end of the body: it has to be a reset.
    let mut client = Client::new();
    client.send("GET /large-trap HTTP/1.0\r\n\r\n");
    if let Some(response) = client.response_to("GET") {
        assert!(!response.complete, "{} bytes", response.body.len());
    }
}

#[test]
fn large_responses_are_streamed_whole() {
    let mut client = Client::new();
    let response = client.get("/large");
    assert_eq!(response.header("Transfer-Encoding"), Some("chunked"));
    assert!(response.complete);
    assert_eq!(response.body.len(), 4 << 20);
    assert!(
        response
            .body
            .chunks(65_536)
            .all(|chunk| chunk.starts_with(b"hello"))
    );
    assert_eq!(client.get("/hello").status, 200, "the connection goes on");
    client.send("GET /large HTTP/1.0\r\n\r\n");
    let response = client.response();
    assert_eq!(
        (response.header("Transfer-Encoding"), response.body.len()),
        (None, 4 << 20)
    );
    let mut client = Client::new();
    client.send("HEAD /large HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to("HEAD").unwrap().status, 200);
    assert_eq!(client.get("/hello").text(), "hello");
}

#[test]
fn bodies_reach_the_function_whole_whatever_their_framing() {
    let mut client = Client::new();
    for bytes in [0, 1, 1000, 65_535, 65_536, 65_537, 300_000, 3 << 20] {
        let body: Vec<u8> = (0..bytes as u32).map(|n| (n % 253) as u8).collect();
        // The client writes in a thread of its own: the function answers before it has read everything.
        let mut writer = client.reader.get_ref().try_clone().unwrap();
        let sent = body.clone();
        let thread = thread::spawn(move || {
            let length = sent.len();
            let head =
                format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            writer.write_all(head.as_bytes()).unwrap();
            writer.write_all(&sent).unwrap();
            writer
                .write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                .unwrap();
            for chunk in sent.chunks(7001) {
                writer
                    .write_all(format!("{:X}\r\n", chunk.len()).as_bytes())
                    .unwrap();
                writer.write_all(chunk).unwrap();
                writer.write_all(b"\r\n").unwrap();
            }
            writer.write_all(b"0\r\n\r\n").unwrap();
        });
        for framing in ["length", "chunks"] {
            let response = client.response();
            assert_eq!(response.status, 200);
            assert!(response.body == body, "{bytes} bytes by {framing}");
        }
        thread.join().unwrap();
    }
}

#[test]
fn continue_is_sent_when_it_is_waited_for() {
    let mut client = Client::new();
    client.send(
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    assert_eq!(client.response().status, 100);
    client.send("hi");
    assert_eq!(client.response().text(), "hi");
    // A request that is refused anyway needs no body.
    client.send(
        "POST /none HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(
        (response.status, response.header("Connection")),
        (404, Some("close"))
    );
    assert!(client.is_closed());
}

#[test]
fn malformed_requests_are_refused_and_the_connection_closed() {
    for (text, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
            413,
        ),
        ("GET /hello HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("nonsense\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    ] {
        let mut client = Client::new();
        // What follows must not be taken for a request.
        client.send(format!("{text}GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, status, "{text:?}");
        assert_eq!(response.header("Connection"), Some("close"), "{text:?}");
        assert!(client.is_closed(), "{text:?}");
    }
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let mut client = Client::new();
    client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    client.reader.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.response().text(), "hello");
    assert!(client.is_closed());
}

#[test]
fn slow_clients_are_timed_out() {
    let mut head = Client::new();
    head.send("GET /hello HTTP/1.1\r\nHo");
    let mut body = Client::new();
    body.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    for mut client in [head, body] {
        let response = client.response();
        assert_eq!(
            (response.status, response.header("Connection")),
            (408, Some("close"))
        );
        assert!(client.is_closed());
    }
}

#[test]
fn a_client_that_disappears_harms_nobody() {
    for _ in 0..20 {
        let mut client = Client::new();
        client.send("GET /spin HTTP/1.1\r\nHost: a\r\n\r\n");
        drop(client);
        let mut client = Client::new();
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut some = [0; 100];
        client.reader.read_exact(&mut some).unwrap();
        drop(client);
        assert_eq!(get("/hello").status, 200);
    }
}

#[test]
fn spinners_do_not_stop_others() {
    let spinners: Vec<_> = (0..4)
        .map(|_| thread::spawn(|| get("/spin").status))
        .collect();
    let mut client = Client::new();
    for _ in 0..200 {
        assert_eq!(client.get("/hello").text(), "hello");
    }
    for spinner in spinners {
        assert_eq!(spinner.join().unwrap(), 504);
    }
}

#[test]
fn a_full_queue_is_503_and_says_when_to_retry() {
    // A window of the body starts the function, which then waits for the rest; so one runs and one waits.
    let begin = |client: &mut Client| {
        client.send("POST /single HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n");
        client.send(vec![0; 69_999]);
    };
    let (mut first, mut second) = (Client::new(), Client::new());
    begin(&mut first);
    begin(&mut second);
    let refused = loop {
        // Until both are in, others get in before them.
        let response = get("/single");
        if response.status == 503 {
            break response;
        }
    };
    assert_eq!(refused.header("Retry-After"), Some("1"));
    // Which of the two runs depends on whose body came first.
    first.send("x");
    second.send("x");
    for client in [&mut first, &mut second] {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(get("/single").status, 200);
}

#[test]
fn options_for_the_server_itself_are_answered() {
    let mut client = Client::new();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 204);
    assert_eq!(client.get("/hello").status, 200);
}

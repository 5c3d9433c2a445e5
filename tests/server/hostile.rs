//! Guests and modules that mean harm.

use crate::harness::{Server, guest};

fn wat(server: &Server, name: &str, text: &str, query: &str) -> crate::harness::Response {
    server.put(name, text.as_bytes(), query)
}

#[test]
fn modules_that_cannot_be_served_are_refused_with_the_reason() {
    let server = Server::start();
    let refused = |name: &str, text: &str, words: &[&str]| {
        let response = wat(&server, name, text, "").expect(422);
        let message = response.text();
        assert!(
            words.iter().all(|word| message.contains(word)),
            "{name}: {message}"
        );
        assert!(server.admin("GET", &format!("/v1/functions/{name}")).status == 404);
    };
    refused("neither", "(module)", &["_start", "handle"]);
    refused(
        "import",
        r#"(module (import "env" "f" (func)) (func (export "_start")))"#,
        &["env.f"],
    );
    refused("syntax", "(module (func", &["1:"]);
    refused(
        "invalid",
        r#"(module (func (export "_start") (result i32) i64.const 1))"#,
        &["type"],
    );
    refused(
        "init-traps",
        r#"(module (func (export "dormouse_init") unreachable) (func (export "handle") (result i32) i32.const 0))"#,
        &["unreachable", "dormouse_init"],
    );
    refused(
        "init-entropy",
        r#"(module (import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "dormouse_init") (drop (call $r (i32.const 0) (i32.const 8))))
            (func (export "handle") (result i32) i32.const 0))"#,
        &["init-entropy=allow"],
    );
    refused("binary", "\0asm\u{1}\0\0\0\u{7f}", &["offset"]);
    refused(
        "start-spins",
        r#"(module (func $s (loop $l (br $l))) (start $s) (func (export "_start")))"#,
        &["CPU"],
    );
    assert_eq!(server.put("huge", &vec![0; 300 << 20], "").status, 413);
    let response = wat(
        &server,
        "ok",
        "(module (func (export \"_start\")))",
        "bogus=1",
    )
    .expect(400);
    assert!(response.text().contains("memory"), "{response:?}");
}

#[test]
fn a_failed_deployment_leaves_the_old_version_serving() {
    let server = Server::serving(&["hello"]);
    let before = server.get("/hello").expect(200).body;
    server.put("hello", b"(module)", "").expect(422);
    assert_eq!(server.get("/hello").expect(200).body, before);
}

#[test]
fn pointers_out_of_bounds_harm_nobody() {
    let server = Server::serving(&["hello"]);
    let text = r#"(module
        (import "dormouse" "read_call_input" (func $in (param i32 i32) (result i32)))
        (import "dormouse" "write_call_output" (func $out (param i32 i32)))
        (import "dormouse" "call_header" (func $header (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) ":query")
        (func $which (result i32)
            (drop (call $header (i32.const 0) (i32.const 6) (i32.const 100) (i32.const 1)))
            (i32.load8_u (i32.const 100)))
        (func (export "handle") (result i32)
            (if (i32.eq (call $which) (i32.const 97)) (then (drop (call $in (i32.const -8) (i32.const 100)))))
            (if (i32.eq (call $which) (i32.const 98)) (then (call $out (i32.const 65535) (i32.const 2))))
            (if (i32.eq (call $which) (i32.const 99)) (then (call $out (i32.const 0) (i32.const -1))))
            (if (i32.eq (call $which) (i32.const 100)) (then
                (i32.store (i32.const 200) (i32.const 0x7fffffff)) (i32.store (i32.const 204) (i32.const 0x7fffffff))
                (if (i32.eqz (call $fd_write (i32.const 1) (i32.const 200) (i32.const 1) (i32.const 300))) (then unreachable))))
            i32.const 0))"#;
    wat(&server, "pointers", text, "").expect(201);
    for query in ["a", "b", "c"] {
        let response = server
            .post(&format!("/pointers?{query}"), b"some input")
            .expect(500);
        server.log_line(&[
            response.header("x-request-id").unwrap(),
            "beyond the guest's memory",
        ]);
    }
    server.get("/pointers?d").expect(200);
    server.get("/hello").expect(200);
}

#[test]
fn deep_recursion_and_huge_output_stay_within_bounds() {
    let server = Server::start();
    let deep =
        r#"(module (func $f (export "handle") (result i32) (i32.add (call $f) (i32.const 1))))"#;
    wat(&server, "deep", deep, "").expect(201);
    let flood = r#"(module
        (import "dormouse" "write_call_output" (func $out (param i32 i32)))
        (memory (export "memory") 16)
        (func (export "handle") (result i32)
            (loop $l (call $out (i32.const 0) (i32.const 1000000)) (br $l)) i32.const 0))"#;
    wat(&server, "flood", flood, "cpu=300ms&timeout=2s").expect(201);
    for _ in 0..3 {
        server.get("/deep").expect(500);
    }
    // A client that reads nothing: the output must not gather in the server.
    let before = server.resident_bytes();
    let mut connections: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = server.connect();
            connection.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
            connection
        })
        .collect();
    server.get("/deep").expect(500);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes");
    // None of them may take what it got for a whole answer.
    for connection in &mut connections {
        let whole = connection
            .try_receive(false)
            .filter(|response| response.status == 200);
        assert!(whole.is_none());
    }
}

#[test]
fn a_large_body_is_not_held_twice() {
    let server = Server::start();
    // Reads its input in small parts and answers with nothing.
    let drain = r#"(module
        (import "dormouse" "read_call_input" (func $in (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "handle") (result i32)
            (loop $l (br_if $l (call $in (i32.const 0) (i32.const 4096)))) i32.const 0))"#;
    wat(&server, "drain", drain, "").expect(201);
    server.post("/drain", b"x").expect(200);
    let before = server.resident_bytes();
    let body = vec![7; 60 << 20];
    server.post("/drain", &body).expect(200);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(
        grown < 20 << 20,
        "{grown} bytes for a body of {}",
        body.len()
    );
}

#[test]
fn two_hundred_functions_deployed_at_once() {
    let server = Server::start();
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (admin, module) = (server.admin, guest("hello"));
            std::thread::spawn(move || {
                for number in 0..25 {
                    let target = format!("/v1/functions/f{}", thread * 25 + number);
                    let response = crate::harness::request(admin, "PUT", &target, &[], &module);
                    assert_eq!(response.status, 201, "{response:?}");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for number in 0..200 {
        server.get(&format!("/f{number}")).expect(200);
    }
    let listed = server.admin("GET", "/v1/functions").expect(200).json();
    assert_eq!(listed["functions"].as_array().unwrap().len(), 200);
}

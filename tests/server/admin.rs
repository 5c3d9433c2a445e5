//! The admin API and the commands that use it.

use crate::harness::{Server, dormouse, guest, guests, request};

#[test]
fn the_life_of_a_function() {
    let server = Server::start();
    server.admin("GET", "/healthz").expect(200);
    let created = server
        .put("greet", &guest("hello"), "memory=16MiB&env.LANG=C")
        .expect(201)
        .json();
    let version = created["version"].as_str().unwrap().to_owned();
    // The same again changes nothing; another configuration is another version.
    assert_eq!(
        server
            .put("greet", &guest("hello"), "memory=16MiB&env.LANG=C")
            .expect(200)
            .json()["version"],
        *version
    );
    assert_ne!(
        server
            .put("greet", &guest("hello"), "memory=8MiB")
            .expect(200)
            .json()["version"],
        *version
    );
    for _ in 0..5 {
        server.get("/greet").expect(200);
    }
    let function = server
        .admin("GET", "/v1/functions/greet")
        .expect(200)
        .json();
    let text = function.to_string();
    assert_eq!(function["name"], "greet");
    let statistics = &function["statistics"];
    assert_eq!(statistics["calls"], 5, "{text}");
    assert_eq!(function["versions"].as_array().unwrap().len(), 2, "{text}");
    let starts = ["warm_starts", "cold_starts", "disk_cold_starts"]
        .map(|kind| statistics[kind].as_u64().unwrap());
    assert_eq!(starts.iter().sum::<u64>(), 5, "{text}");
    let metrics = server.admin("GET", "/metrics").expect(200).text();
    assert!(
        metrics.contains("greet") && metrics.contains("# TYPE"),
        "{metrics}"
    );
    server.admin("DELETE", "/v1/functions/greet");
    server.get("/greet").expect(404);
    server.admin("GET", "/v1/functions/greet").expect(404);
    server.admin("DELETE", "/v1/functions/greet").expect(404);
    server.put("Bad Name", &guest("hello"), "");
    let wrong = request(server.admin, "POST", "/v1/functions", &[], b"").expect(405);
    assert!(wrong.header("allow").unwrap().contains("GET"));
    assert!(wrong.json()["error"]["message"].is_string());
}

#[test]
fn a_new_version_takes_over_between_requests() {
    let server = Server::serving(&["hello"]);
    let hello = server.get("/hello").expect(200).body;
    let other = r#"(module
        (import "dormouse" "write_call_output" (func $out (param i32 i32)))
        (memory (export "memory") 1) (data (i32.const 0) "second")
        (func (export "handle") (result i32) (call $out (i32.const 0) (i32.const 6)) i32.const 0))"#;
    let mut connection = server.connect();
    connection.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.receive().body, hello);
    server.put("hello", other.as_bytes(), "").expect(200);
    connection.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(connection.receive().text(), "second");
}

#[test]
fn commands_speak_to_the_server() {
    let server = Server::start();
    let admin = format!("http://{}", server.admin);
    let public = format!("http://{}", server.public);
    let file = guests().join("echo.wasm");
    let ok = |arguments: &[&str]| {
        let output = dormouse(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    ok(&[
        "deploy",
        "mine",
        file.to_str().unwrap(),
        "--admin",
        &admin,
        "--memory",
        "32MiB",
        "--env",
        "A=b",
    ]);
    assert!(ok(&["ls", "--admin", &admin]).contains("mine"));
    assert_eq!(
        ok(&["invoke", "mine", "--data", "hello", "--url", &public]),
        "hello"
    );
    assert!(ok(&["invoke", "mine", "--path", "/p?env", "--url", &public]).contains("A=b"));
    ok(&["rm", "mine", "--admin", &admin]);
    for (arguments, words) in [
        (vec!["rm", "mine", "--admin", &admin], "mine"),
        (
            vec!["deploy", "x", "/does/not/exist", "--admin", &admin],
            "/does/not/exist",
        ),
        (
            vec!["ls", "--admin", "http://127.0.0.1:1"],
            "dormouse serve",
        ),
    ] {
        let output = dormouse(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(words),
            "{output:?}"
        );
    }
}

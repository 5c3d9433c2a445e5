//! The example functions, as the README shows them.

use crate::harness::{Server, guest, guests, request};
use std::collections::HashSet;

#[test]
fn hello_answers_and_says_how_it_was_started() {
    let server = Server::serving(&["hello"]);
    let first = server.get("/hello").expect(200);
    assert!(!first.body.is_empty());
    assert!(first.header("x-request-id").is_some());
    server.log_line(&["hello", "disk-cold", first.header("x-request-id").unwrap()]);
    let again = server.get("/hello/and/more?query").expect(200);
    assert_eq!(again.body, first.body);
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    server.log_line(&["hello", "warm"]);
}

#[test]
fn ten_thousand_requests_each_see_a_fresh_counter() {
    let server = Server::serving(&["counter"]);
    let each = server.get("/counter?each").expect(200).body;
    let mut connection = server.connect();
    for round in 0..100 {
        // Pipelined, so that instances are reset and reused under load.
        connection.send("GET /counter HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100));
        for _ in 0..100 {
            let response = connection.receive().expect(200);
            assert_eq!(response.text(), "1\n", "round {round}");
        }
        assert_eq!(
            server.get("/counter?each").expect(200).body,
            each,
            "round {round}"
        );
    }
}

#[test]
fn randomness_is_fresh_in_every_instance() {
    let server = Server::serving(&["random"]);
    let seen: HashSet<_> = (0..200)
        .map(|_| server.get("/random").expect(200).body)
        .collect();
    assert_eq!(seen.len(), 200);
}

#[test]
fn a_trap_is_a_clean_500_whose_id_the_log_explains() {
    let server = Server::serving(&["trap"]);
    for query in ["", "?b", "?d", "?o", "?c", "?n", "?t", "?s", "?e"] {
        let response = server.get(&format!("/trap{query}")).expect(500);
        let id = response.header("x-request-id").unwrap().to_owned();
        assert!(response.text().contains(&id), "{response:?}");
        // Nothing of what the guest had written before.
        assert!(response.text().len() < 200 && response.header("content-length").is_some());
        let line = server.log_line(&[&id, "500"]);
        if query.is_empty() {
            assert!(line.contains("unreachable"), "{line}");
            assert!(
                line.contains("handle"),
                "the backtrace names functions: {line}"
            );
        }
    }
}

#[test]
fn an_uncaught_exception_is_a_500_that_the_log_names() {
    let server = Server::start();
    let module = r#"(module (tag $refused (param i64)) (memory (export "memory") 1)
        (func (export "handle") (result i32) (throw $refused (i64.const 12))))"#;
    server.deploy("throws", &wat::parse_str(module).unwrap(), "");
    for _ in 0..3 {
        let response = server.get("/throws").expect(500);
        let id = response.header("x-request-id").unwrap().to_owned();
        assert!(response.text().contains("exception"), "{response:?}");
        assert!(!response.text().contains("refused"), "{response:?}");
        let line = server.log_line(&[&id, "500"]);
        let told = "uncaught exception: refused (tag 0) with i64 12";
        assert!(line.contains(told), "{line}");
    }
}

#[test]
fn limits_have_answers_of_their_own() {
    let server = Server::start();
    let guest = crate::harness::guest;
    server.deploy("spin", &guest("spin"), "cpu=50ms&timeout=10s");
    server.deploy("spin-wall", &guest("spin"), "cpu=10s&timeout=80ms");
    server.deploy("sleep", &guest("sleep"), "timeout=100ms");
    server.deploy("hog", &guest("hog"), "memory=8MiB");
    let answer = server.get("/spin").expect(504).text();
    assert!(answer.to_lowercase().contains("cpu"), "{answer}");
    server.get("/spin-wall").expect(504);
    server.get("/sleep?ms=60000").expect(504);
    let answer = server.get("/hog").expect(500).text();
    assert!(answer.contains("memory limit"), "{answer}");
}

#[test]
fn a_spinner_does_not_keep_others_from_being_served() {
    let server = Server::start();
    server.deploy("spin", &crate::harness::guest("spin"), "cpu=2s&timeout=10s");
    server.deploy("hello", &crate::harness::guest("hello"), "");
    server.get("/hello").expect(200);
    let mut spinner = server.connect();
    spinner.send("GET /spin HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut during = 0;
    // Every answer that comes before the spinner's end came between its slices: were it not preempted, none would.
    for _ in 0..200 {
        server.get("/hello").expect(200);
        during += 1;
    }
    assert_eq!(during, 200);
    let spun = spinner.receive();
    assert_eq!(spun.status, 504);
    // The log has them in the order in which they ended: hellos before the spinner.
    let line = server.log_line(&["function=", "status="]);
    assert!(line.contains("hello"), "{line}");
}

#[test]
fn sleeping_functions_do_not_hold_the_thread() {
    let server = Server::serving(&["sleep"]);
    let began = std::time::Instant::now();
    let mut connections: Vec<_> = (0..50)
        .map(|_| {
            let mut connection = server.connect();
            connection.send("GET /sleep?ms=400 HTTP/1.1\r\nHost: x\r\n\r\n");
            connection
        })
        .collect();
    for connection in &mut connections {
        connection.receive().expect(200);
    }
    let took = began.elapsed();
    // One after the other they would take fifty times as long.
    assert!(
        took.as_millis() >= 400 && took.as_millis() < 50 * 400,
        "{took:?}"
    );
}

#[test]
fn commands_get_cgi_and_stream_their_bodies() {
    let server = Server::serving(&["echo"]);
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 251) as u8).collect();
    assert_eq!(server.post("/echo", &body).expect(200).body, body);
    let headers = [
        ("X-Odd", "yes"),
        ("Proxy", "evil"),
        ("Content-Type", "text/x-test"),
    ];
    let environment = request(
        server.public,
        "POST",
        "/echo/a%20b/c?env&x=1",
        &headers,
        b"abc",
    )
    .expect(200)
    .text();
    for line in [
        "REQUEST_METHOD=POST",
        "SCRIPT_NAME=/echo",
        "PATH_INFO=/a b/c",
        "QUERY_STRING=env&x=1",
        "CONTENT_LENGTH=3",
        "CONTENT_TYPE=text/x-test",
        "GATEWAY_INTERFACE=CGI/1.1",
        "SERVER_PROTOCOL=HTTP/1.1",
        "HTTP_X_ODD=yes",
    ] {
        assert!(environment.contains(line), "{line} in {environment}");
    }
    assert!(!environment.contains("evil"));
    server.get("/echo?status=418").expect(418);
    server.get("/echo?exit=3").expect(500);
    server.get("/echo?stderr=said%20aloud").expect(200);
    server.log_line(&["echo", "said aloud"]);
}

#[test]
fn the_real_programs_work() {
    let server = Server::serving(&["web", "json", "thumbnail", "text", "preinit"]);
    let data = |name: &str| std::fs::read(guests().join("data").join(name)).unwrap();
    let page = server.get("/web/hello?name=%3Cyou%3E").expect(200).text();
    assert!(
        page.contains("&lt;you&gt;") && !page.contains("<you>"),
        "{page}"
    );
    server.get("/web/nothing/here").expect(404);
    let orders = data("orders.json");
    let sums = server
        .post(
            "/json?from=orders&group=customer.country&sum=total",
            &orders,
        )
        .expect(200)
        .json();
    assert!(sums.to_string().contains("GB"), "{sums}");
    server.post("/json", b"{\"a\": 1,}").expect(400);
    let thumbnail = server
        .post("/thumbnail?w=160&h=160", &data("landscape.jpg"))
        .expect(200);
    assert_eq!(thumbnail.body[..3], [0xff, 0xd8, 0xff]);
    assert_eq!(thumbnail.header("content-type"), Some("image/jpeg"));
    assert!(server.post("/thumbnail", b"not a picture").status >= 400);
    let found = server
        .post("/text?top=3", &data("server.log"))
        .expect(200)
        .json();
    assert!(found.is_object(), "{found}");
    let primes = server.get("/preinit").expect(200).text();
    assert!(
        primes.contains("times built: 1 (before any call)"),
        "{primes}"
    );
}

#[test]
fn scripts_run_at_deployment_and_answer_requests() {
    let server = Server::serving(&["javascript"]);
    let hello = server.get("/javascript?name=Ada").expect(200);
    assert_eq!(hello.text(), "Hello, Ada!\n");
    let module = guest("javascript");
    let deploy = |name: &str, script: &str| {
        let script: String = script.bytes().map(|byte| format!("%{byte:02x}")).collect();
        server.put(name, &module, &format!("env.SCRIPT={script}"))
    };
    let script = "let calls = 0; const squares = [...Array(1000).keys()].map(n => n * n);
        function handle({ method, path, body }) {
            calls++;
            if (path === '/throw') throw new Error('as asked');
            return { status: 201, headers: { 'X-Path': path },
                body: [method, body.toUpperCase(), squares[31], calls, Math.random() < 1, Date.now() > 1.7e12].join(' ') };
        }";
    assert_eq!(deploy("script", script).status, 201);
    for _ in 0..3 {
        let answer = server.post("/script/a/b", "größe".as_bytes()).expect(201);
        assert_eq!(answer.text(), "POST GRÖSSE 961 1 true true");
        assert_eq!(answer.header("x-path"), Some("/a/b"));
    }
    server.get("/script/throw").expect(500);
    server.log_line(&["script", "Error: as asked"]);
    let randoms = "function handle() { return String(Math.random()); }";
    assert_eq!(deploy("randoms", randoms).status, 201);
    let seen: HashSet<_> = (0..20)
        .map(|_| server.get("/randoms").expect(200).body)
        .collect();
    assert_eq!(seen.len(), 20);
    for (wrong, why) in [
        ("function handle( {", "SyntaxError"),
        ("handle = 7", "no function handle"),
        ("Math.random(); function handle() {}", "at deployment"),
    ] {
        let refused = deploy("wrong", wrong);
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.text().contains(why), "{}", refused.text());
    }
}

#[test]
fn an_unknown_function_is_a_404() {
    let server = Server::start();
    for target in ["/", "/none", "/none/such", "/%2e%2e/x", "/UPPER"] {
        server.get(target).expect(404);
    }
}

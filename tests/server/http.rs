//! HTTP/1.1 on the wire: what is served, and what is refused.

use crate::harness::{Connection, Server};

fn server() -> Server {
    Server::serving(&["hello", "echo"])
}

#[test]
fn keep_alive_pipelining_head_and_close() {
    let server = server();
    let mut connection = server.connect();
    connection.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    let hello = connection.receive().expect(200).body;
    assert_eq!(connection.receive().expect(200).text(), "abc");
    assert_eq!(connection.receive().expect(200).body, hello);
    connection.send("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = connection.try_receive(true).unwrap();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some(hello.len().to_string().as_str()))
    );
    connection.send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection.receive().expect(200);
    assert!(connection.is_closed());
    let mut old = server.connect();
    old.send("GET /hello HTTP/1.0\r\n\r\n");
    old.receive().expect(200);
    assert!(old.is_closed());
}

#[test]
fn bodies_arrive_in_chunks_and_in_drips() {
    let server = server();
    let mut connection = server.connect();
    connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for part in [
        "3\r\nabc\r\n",
        "A;ext=1\r\n0123",
        "456789\r\n",
        "0\r\nTrailer: ignored\r\n\r\n",
    ] {
        connection.send(part);
    }
    assert_eq!(connection.receive().expect(200).text(), "abc0123456789");
    for byte in "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi".bytes() {
        connection.send([byte]);
    }
    assert_eq!(connection.receive().expect(200).text(), "hi");
    connection.send(
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(connection.receive_head().unwrap().status, 100);
    connection.send("ok");
    assert_eq!(connection.receive().expect(200).text(), "ok");
}

#[test]
fn malformed_and_smuggled_requests_are_refused_and_the_connection_closed() {
    let server = server();
    for (request, status) in [
        ("GARBAGE\r\n\r\n", 400),
        ("GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        ("GET /hello HTTP/1.1\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET /hello HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (
            "GET /hello HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nabc",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc",
            501,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\nabc",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
            400,
        ),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
            400,
        ),
        ("GET /hello\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ] {
        let mut connection = server.connect();
        connection.send(request);
        // What follows must not be taken for a request.
        connection.try_send("GET /hello HTTP/1.1\r\nHost: smuggled\r\n\r\n");
        let response = connection.receive();
        assert!(
            response.status == status || (response.status / 100 == 4 && status == 505),
            "{request:?}: {response:?}"
        );
        assert!(connection.is_closed(), "{request:?}");
    }
    server.get("/hello").expect(200);
}

#[test]
fn heads_and_bodies_have_limits() {
    let server = server();
    let mut connection = server.connect();
    connection.try_send(format!(
        "GET /hello HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "b".repeat(200_000)
    ));
    connection.receive().expect(431);
    let mut connection = server.connect();
    connection.send("POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
    connection.receive().expect(413);
    let mut connection = server.connect();
    connection.try_send(format!(
        "GET /{} HTTP/1.1\r\nHost: x\r\n\r\n",
        "a".repeat(200_000)
    ));
    let status = connection.receive().status;
    assert!([414, 431].contains(&status), "{status}");
}

#[test]
fn a_client_that_leaves_disturbs_nobody() {
    let server = server();
    for _ in 0..50 {
        let mut connection = server.connect();
        connection.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
        drop(connection);
        let mut connection = server.connect();
        connection.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        drop(connection);
    }
    assert_eq!(
        server.post("/echo", b"still here").expect(200).text(),
        "still here"
    );
}

#[test]
fn the_admin_api_is_not_on_the_public_address() {
    let server = server();
    server.get("/v1/functions").expect(404);
    server.get("/metrics").expect(404);
    let mut admin = Connection::new(server.admin);
    admin.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    admin.receive().expect(404);
}

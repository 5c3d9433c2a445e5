//! The end of a server.

use crate::harness::{Connection, Server, guest};
use std::net::TcpStream;

#[test]
fn sigterm_and_sigint_drain() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Server::start();
        server.deploy("sleep", &guest("sleep"), "");
        let mut running = server.connect();
        running.send("GET /sleep?ms=700 HTTP/1.1\r\nHost: x\r\n\r\n");
        // It is running when the log or the list of functions can say so; one answer after it was sent is enough.
        server.get("/sleep?ms=1").expect(200);
        server.signal(signal);
        assert_eq!(running.receive().status, 200);
        assert!(running.is_closed());
        assert_eq!(server.child.wait().unwrap().code(), Some(0));
        assert!(TcpStream::connect(server.public).is_err());
    }
}

#[test]
fn a_second_signal_ends_at_once_and_drain_is_bounded() {
    let mut server = Server::start();
    server.deploy("sleep", &guest("sleep"), "timeout=60s");
    let mut running = server.connect();
    running.send("GET /sleep?ms=50000 HTTP/1.1\r\nHost: x\r\n\r\n");
    server.get("/sleep?ms=1").expect(200);
    server.signal("-TERM");
    while TcpStream::connect(server.public).is_ok() {
        std::thread::yield_now();
    }
    server.signal("-TERM");
    let status = server.child.wait().unwrap();
    assert_ne!(status.code(), None, "it exits, it is not killed: {status}");

    let mut server = Server::with(&["--drain", "300ms"]);
    server.deploy("sleep", &guest("sleep"), "timeout=60s");
    let mut running: Connection = server.connect();
    running.send("GET /sleep?ms=50000 HTTP/1.1\r\nHost: x\r\n\r\n");
    server.get("/sleep?ms=1").expect(200);
    server.signal("-TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

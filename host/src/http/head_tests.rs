use super::*;

/// Parses a head that must be complete and well-formed and gives it to `check`.
fn accepts(bytes: &str, check: impl FnOnce(&Head<'_, '_>)) {
    let mut storage = header_storage();
    match parse(bytes.as_bytes(), &mut storage) {
        Ok(Some(head)) => check(&head),
        other => panic!("{bytes:?} gave {other:?}"),
    }
}

fn status_of(bytes: &[u8]) -> u16 {
    let mut storage = header_storage();
    match parse(bytes, &mut storage) {
        Ok(Some(_)) => 200,
        Ok(None) => 100,
        Err(refusal) => refusal.status(),
    }
}

/// A request to `/` of HTTP/1.1 with a Host field and these further lines.
fn with(lines: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

#[test]
fn a_plain_request_is_read() {
    let text = "GET /hello/x?y=1&z HTTP/1.1\r\nHost: example.org:80\r\nA: b \r\n\r\nrest";
    accepts(text, |head| {
        assert_eq!(head.method, "GET");
        assert_eq!(head.raw_target, "/hello/x?y=1&z");
        assert_eq!(
            head.target,
            Target::Resource {
                path: "/hello/x",
                query: Some("y=1&z")
            }
        );
        assert_eq!(head.host, Some("example.org:80"));
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.framing, Framing::Length(0));
        assert!(head.keep_alive && !head.expects_continue);
        assert_eq!(head.header("a"), Some(&b"b"[..]));
        assert_eq!(&text[head.bytes..], "rest");
    });
}

#[test]
fn every_prefix_of_a_head_is_incomplete() {
    let text = b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(status_of(&text[..end]), 100, "{end} bytes");
    }
    assert_eq!(status_of(text), 200);
}

#[test]
fn a_head_fed_byte_by_byte_is_parsed_when_it_may_be_complete() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut seen = 0;
    let mut parses = 0;
    for end in 1..=text.len() {
        if may_complete(&text[..end], seen) {
            parses += 1;
            seen = end;
            if status_of(&text[..end]) == 200 {
                assert_eq!(end, text.len());
                assert!(parses < 10, "{parses} parses");
                return;
            }
        }
    }
    panic!("the complete head was not noticed");
}

#[test]
fn keep_alive_follows_version_and_connection_options() {
    let keeps = |text: &str| {
        let mut kept = false;
        accepts(text, |head| kept = head.keep_alive);
        kept
    };
    assert!(keeps("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(!keeps(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n"
    ));
    assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
    assert!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    assert!(!keeps(
        "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"
    ));
}

#[test]
fn bodies_are_framed_by_one_length_or_by_chunks() {
    accepts(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n",
        |head| {
            assert_eq!(head.framing, Framing::Length(12));
        },
    );
    accepts(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
        |head| {
            assert_eq!(head.framing, Framing::Chunked);
        },
    );
}

#[test]
fn request_smuggling_shapes_are_refused() {
    for (lines, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length: \r\n", 400),
        ("Content-Length: 99999999999999999999\r\n", 400),
        ("Content-Length : 5\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\n Foo: bar\r\n", 400),
        ("X: a\r\n folded\r\n", 400),
        ("X: a\r\n\tfolded\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        ("Transfer-Encoding: chunked, gzip\r\n", 400),
        ("Transfer-Encoding: \r\n", 400),
        ("Transfer-Encoding: ,chunked\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: identity\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding: chunked;q=1\r\n", 501),
        ("Transfer-Encoding: \"chunked\"\r\n", 501),
        ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ("X: a\rb\r\n", 400),
        ("X: a\0b\r\n", 400),
        ("X: a\nY: b\r\n", 400),
        ("X\r\n", 400),
        (": empty\r\n", 400),
        ("Host: b\r\n", 400),
    ] {
        assert_eq!(status_of(&with(lines)), status, "{lines:?}");
    }
}

#[test]
fn lines_must_end_in_cr_lf() {
    for text in [
        &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\n",
        b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(status_of(text), 400, "{:?}", String::from_utf8_lossy(text));
    }
    // One empty line before the request line is to be ignored (RFC 9112 section 2.2).
    assert_eq!(status_of(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
}

#[test]
fn the_host_field_is_checked() {
    assert_eq!(status_of(b"GET / HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(status_of(b"GET / HTTP/1.0\r\n\r\n"), 200);
    assert_eq!(
        status_of(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
        400
    );
    assert_eq!(status_of(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400);
    assert_eq!(status_of(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400);
    assert_eq!(status_of(b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n"), 400);
    assert_eq!(status_of(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"), 200);
    assert_eq!(status_of(b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), 200);
}

#[test]
fn malformed_request_lines_are_refused() {
    for (line, status) in [
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / http/1.1", 400),
        ("GET / FTP/1.1", 400),
        ("G@T / HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("GET x HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /\u{e9} HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET http:/// HTTP/1.1", 400),
        ("GET http://a@b/ HTTP/1.1", 400),
        ("CONNECT a:443 HTTP/1.1", 501),
        ("PRI * HTTP/2.0", 505),
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(status_of(text.as_bytes()), status, "{line:?}");
    }
    assert_eq!(
        status_of(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        400,
        "a TLS client hello"
    );
}

#[test]
fn absolute_targets_name_the_host() {
    accepts(
        "GET http://b:8080/x?q HTTP/1.1\r\nHost: a\r\n\r\n",
        |head| {
            assert_eq!(
                head.target,
                Target::Resource {
                    path: "/x",
                    query: Some("q")
                }
            );
            assert_eq!(head.host, Some("b:8080"));
        },
    );
    accepts("GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n", |head| {
        assert_eq!(
            head.target,
            Target::Resource {
                path: "/",
                query: None
            }
        );
    });
    accepts("GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n", |head| {
        assert_eq!(
            head.target,
            Target::Resource {
                path: "/",
                query: Some("q")
            }
        );
    });
    accepts("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", |head| {
        assert_eq!(head.target, Target::Server);
    });
}

#[test]
fn expectations_other_than_continue_fail() {
    accepts(
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n",
        |head| {
            assert!(head.expects_continue);
        },
    );
    accepts("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", |head| {
        assert!(!head.expects_continue);
    });
    assert_eq!(status_of(&with("Expect: 200-ok\r\n")), 417);
}

#[test]
fn a_target_that_is_too_long_is_refused_before_it_ends() {
    let long = "a".repeat(TARGET_BYTES_MAX);
    assert_eq!(
        status_of(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()),
        414
    );
    assert_eq!(
        status_of(format!("GET /{long}{}", "a".repeat(64)).as_bytes()),
        414
    );
    let fits = "a".repeat(TARGET_BYTES_MAX - 1);
    assert_eq!(
        status_of(format!("GET /{fits} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()),
        200
    );
}

#[test]
fn a_head_that_is_too_large_is_refused_before_it_ends() {
    let value = "v".repeat(HEAD_BYTES_MAX);
    assert_eq!(status_of(&with(&format!("X: {value}\r\n"))), 431);
    assert_eq!(
        status_of(format!("GET / HTTP/1.1\r\nX: {value}").as_bytes()),
        431
    );
    let many: String = (0..HEADERS_MAX + 1)
        .map(|n| format!("h{n}: v\r\n"))
        .collect();
    assert_eq!(status_of(&with(&many)), 431);
    let most: String = (0..HEADERS_MAX - 1)
        .map(|n| format!("h{n}: v\r\n"))
        .collect();
    assert_eq!(status_of(&with(&most)), 200);
}

#[test]
fn endless_empty_lines_are_refused() {
    assert_eq!(status_of(&b"\r\n".repeat(HEAD_BYTES_MAX)), 431);
}

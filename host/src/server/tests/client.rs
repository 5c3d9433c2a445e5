//! A client that reads responses as strictly as the server reads requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A connection to the server of these tests.
pub struct Client {
    pub reader: BufReader<TcpStream>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The body came to its proper end.
    pub complete: bool,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub fn new() -> Client {
        Client {
            reader: BufReader::new(TcpStream::connect(super::server()).unwrap()),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
        self
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .response()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(bytes) if bytes > 0 => Some(line.strip_suffix("\r\n").unwrap().to_owned()),
            _ => None,
        }
    }

    pub fn response(&mut self) -> Response {
        self.response_to("GET").expect("a response")
    }

    pub fn response_to(&mut self, method: &str) -> Option<Response> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
            complete: true,
        };
        if method == "HEAD" || matches!(status, 100 | 204 | 304) {
            return Some(response);
        }
        if let Some(length) = response.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            response.complete = self.reader.read_exact(&mut body).is_ok();
            response.body = body;
        } else if response.header("transfer-encoding") == Some("chunked") {
            response.complete = false;
            while let Some(size) = self.line() {
                let size = usize::from_str_radix(&size, 16).unwrap();
                let mut chunk = vec![0; size + 2];
                if self.reader.read_exact(&mut chunk).is_err() {
                    break;
                }
                if size == 0 {
                    response.complete = true;
                    break;
                }
                response.body.extend_from_slice(&chunk[..size]);
            }
        } else {
            response.complete = self.reader.read_to_end(&mut response.body).is_ok();
        }
        Some(response)
    }

    /// Whether the server closed the connection, with nothing more to say.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.reader.read_to_end(&mut rest);
        rest.is_empty()
    }
}

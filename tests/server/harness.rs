//! Starts the real binary on ports of the system's choice, in a data directory of its own, and talks to it over sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Nobody here waits longer than this for an answer: a test that would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(120);

pub const BINARY: &str = env!("CARGO_BIN_EXE_dormouse");

/// The example functions.
pub fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests")
}

pub fn guest(name: &str) -> Vec<u8> {
    let path = guests().join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A running server. Killed on drop.
pub struct Server {
    pub child: Child,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    /// Lines of its log, from the one that says where it listens.
    log: Receiver<String>,
    pub data: PathBuf,
    _directory: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts a server without functions, in a fresh data directory.
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// The same, with more arguments.
    pub fn with(arguments: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Server::on(directory.path(), arguments);
        server._directory = Some(directory);
        server
    }

    /// Starts a server with these guests deployed.
    pub fn serving(names: &[&str]) -> Server {
        let server = Server::start();
        for name in names {
            server.deploy(name, &guest(name), "");
        }
        server
    }

    /// Starts a server that may open so many files.
    pub fn with_files(files_max: u32) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {files_max} && exec \"$0\" \"$@\"");
        command.args(["-c", &script, BINARY]);
        let mut server = Server::spawn(command, directory.path(), &[]);
        server._directory = Some(directory);
        server
    }

    /// Starts a server on a data directory.
    pub fn on(data: &Path, arguments: &[&str]) -> Server {
        Server::spawn(Command::new(BINARY), data, arguments)
    }

    fn spawn(mut command: Command, data: &Path, arguments: &[&str]) -> Server {
        let mut child = command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(data)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    // The test is over; the server must still be able to write.
                    continue;
                }
            }
        });
        let mut seen = Vec::new();
        let (public, admin) = loop {
            let line = log
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("the server does not say where it listens: {seen:#?}"));
            if let Some(addresses) = addresses(&line) {
                break addresses;
            }
            seen.push(line);
        };
        Server {
            child,
            public,
            admin,
            log,
            data: data.to_owned(),
            _directory: None,
        }
    }

    /// Deploys a module and expects success.
    pub fn deploy(&self, name: &str, module: &[u8], query: &str) -> Response {
        let response = self.put(name, module, query);
        assert!(response.status / 100 == 2, "{name}: {response:?}");
        response
    }

    pub fn put(&self, name: &str, module: &[u8], query: &str) -> Response {
        let target = format!("/v1/functions/{name}?{query}");
        request(self.admin, "PUT", &target, &[], module)
    }

    /// Calls a function.
    pub fn get(&self, target: &str) -> Response {
        request(self.public, "GET", target, &[], b"")
    }

    pub fn post(&self, target: &str, body: &[u8]) -> Response {
        request(self.public, "POST", target, &[], body)
    }

    pub fn admin(&self, method: &str, target: &str) -> Response {
        request(self.admin, method, target, &[], b"")
    }

    pub fn connect(&self) -> Connection {
        Connection::new(self.public)
    }

    /// The next line of the log that has all these words.
    pub fn log_line(&self, words: &[&str]) -> String {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if words.iter().all(|word| line.contains(word)) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {words:?} ({error}) among {seen:#?}"),
            }
        }
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Kills the server at once, as a power cut would as far as it can tell.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Resident memory of the server, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.kernel_bytes("status", "VmRSS:")
    }

    /// What a file of the process in /proc says under this name, in bytes.
    pub fn kernel_bytes(&self, file: &str, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let kibibytes = line.split_whitespace().nth(1).unwrap();
        kibibytes.parse::<u64>().unwrap() * 1024
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.admin("GET", "/metrics").expect(200).text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The two addresses in the line that says where the server listens.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut found = line.split("http://").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
        rest[..end.unwrap_or(rest.len())]
            .trim_end_matches(['.', ':'])
            .parse()
            .ok()
    });
    Some((found.next()??, found.next()??))
}

/// A response, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The response with this status, or a failure that shows it.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{self:?} {}", self.text());
        self
    }
}

/// A connection on which bytes are sent as they are.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection {
            stream: BufReader::new(stream),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what may be more than the server wants to read.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).ok()?;
        let text = String::from_utf8(line).unwrap();
        Some(text.strip_suffix("\r\n")?.to_owned())
    }

    /// Reads one response to a request that was not HEAD.
    pub fn receive(&mut self) -> Response {
        self.try_receive(false).expect("a whole response")
    }

    /// Reads one response, if it comes whole.
    pub fn try_receive(&mut self, to_head: bool) -> Option<Response> {
        let mut response = self.receive_head()?;
        let chunked = response.header("transfer-encoding") == Some("chunked");
        let length = response
            .header("content-length")
            .map(|value| value.parse().unwrap());
        if to_head || response.status / 100 == 1 || [204, 304].contains(&response.status) {
            return Some(response);
        }
        if chunked {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).unwrap();
                let mut chunk = vec![0; size];
                self.stream.read_exact(&mut chunk).ok()?;
                response.body.extend(chunk);
                assert_eq!(self.line()?, "");
                if size == 0 {
                    return Some(response);
                }
            }
        }
        match length {
            Some(length) => {
                response.body = vec![0; length];
                self.stream.read_exact(&mut response.body).ok()?;
            }
            None => {
                self.stream.read_to_end(&mut response.body).ok()?;
            }
        }
        Some(response)
    }

    pub fn receive_head(&mut self) -> Option<Response> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(Response {
                    status,
                    headers,
                    body: Vec::new(),
                });
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Whether the server has closed the connection, with nothing more to read.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// One request on a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut connection = Connection::new(address);
    let mut head =
        format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    // A server that refuses a request may answer before it has read all of it.
    connection.try_send(bytes);
    connection
        .try_receive(method == "HEAD")
        .expect("a whole response")
}

/// Runs the binary to its end.
pub fn dormouse(arguments: &[&str]) -> std::process::Output {
    Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

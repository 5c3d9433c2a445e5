//! A server under load: a child process on the measured core, found by its port.

use crate::system;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Server {
    pub name: &'static str,
    pub url: String,
    child: Child,
    address: SocketAddr,
    path: &'static str,
}

impl Server {
    /// Starts `taskset -c CORE PROGRAM ARGUMENTS` and waits until it answers with `expected`.
    pub fn start(
        name: &'static str,
        program: OsString,
        arguments: Vec<OsString>,
        port: u16,
        path: &'static str,
        expected: &str,
    ) -> Result<Server> {
        let child = Command::new("taskset")
            .args(["-c", &system::MEASURED_CORE.to_string()])
            .arg(&program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // An access log is part of serving; where it goes is not.
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let url = format!("http://{address}{path}");
        let mut server = Server {
            name,
            url,
            child,
            address,
            path,
        };
        let begun = Instant::now();
        loop {
            match server.get() {
                Ok(body) if body.ends_with(expected) => return Ok(server),
                Ok(response) => bail!("{name} answered {response:?} and not {expected:?}"),
                Err(_) if begun.elapsed() < START_TIMEOUT => {
                    if let Some(status) = server.ended()? {
                        bail!("{name} ended with {status}; start it by hand to see why");
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error.context(format!("{name} does not answer"))),
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the server ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Time that the server's threads have been on a processor.
    pub fn processor_time(&self) -> Result<Duration> {
        system::processor_time(self.child.id())
    }

    fn get(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(START_TIMEOUT))?;
        write!(
            stream,
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.path, self.address
        )?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        ensure!(!response.is_empty(), "no response");
        Ok(response)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // taskset has become the server by execve(2).
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on just now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

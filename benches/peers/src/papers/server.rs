//! `dormouse serve` on the measured core, with functions of the repository or made for a measurement.

use super::Setting;
use super::load::{Client, request};
use crate::system;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Dormouse {
    child: Child,
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

impl Dormouse {
    /// Starts it on a data directory; its access log is written, to `/dev/null`.
    pub fn start(setting: &Setting, data: &Path, arguments: &[&str]) -> Result<Dormouse> {
        let mut child = Command::new("taskset")
            .args(["-c", &system::MEASURED_CORE.to_string()])
            .arg(&setting.dormouse)
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--data")
            .arg(data)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start taskset")?;
        let stderr = child.stderr.take().context("the log is piped")?;
        let mut log = BufReader::new(stderr).lines();
        let mut said = String::new();
        let found = log.find_map(|line| {
            let line = line.ok()?;
            let found = addresses(&line);
            said.push_str(&line);
            found
        });
        // The server must be able to go on writing.
        std::thread::spawn(move || log.for_each(drop));
        let (public, admin) = found
            .with_context(|| format!("dormouse serve does not say where it listens: {said}"))?;
        Ok(Dormouse {
            child,
            public,
            admin,
        })
    }

    /// The same, with these guests of the repository deployed.
    pub fn serving(
        setting: &Setting,
        data: &Path,
        arguments: &[&str],
        guests: &[&str],
    ) -> Result<Dormouse> {
        let server = Dormouse::start(setting, data, arguments)?;
        for guest in guests {
            let path = setting.root.join(format!("guests/{guest}.wasm"));
            let module =
                std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            server.deploy(guest, &module, "")?;
        }
        Ok(server)
    }

    pub fn deploy(&self, name: &str, module: &[u8], query: &str) -> Result<()> {
        let request = request("PUT", &format!("/v1/functions/{name}?{query}"), module);
        Client::connect(self.admin)?
            .ask(&request)
            .with_context(|| format!("deploying {name}"))?;
        Ok(())
    }

    /// Time that its threads have been on a processor.
    pub fn processor_time(&self) -> Result<Duration> {
        system::processor_time(self.child.id())
    }

    /// A metric by its name with its labels.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = Client::connect(self.admin)?.ask(&request("GET", "/metrics", b""))?;
        let text = String::from_utf8(text)?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.with_context(|| format!("there is no metric {name}"))
    }

    /// How many calls of a function were started this way (`warm`, `cold`, `disk-cold`).
    pub fn starts(&self, function: &str, start: &str) -> Result<f64> {
        self.metric(&format!(
            "dormouse_function_starts_total{{function=\"{function}\",start=\"{start}\"}}"
        ))
    }
}

impl Drop for Dormouse {
    fn drop(&mut self) {
        // taskset has become the server by execve(2); its data is in a folder for temporary files.
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

//! What a live replay asks of the server's admin API: functions to call, and counts.

use super::LiveError;
use crate::pool::PolicyOptions;

/// The guest that waits as long as it is told.
const PAUSE: &[u8] = include_bytes!("../../../../guests/pause.wasm");

/// No call may run into a limit that the trace does not know.
const SETTINGS: &str = "timeout=1h&concurrency=100000&queue=100000";

const TIMEOUT_SECONDS: u64 = 60;

/// An admin API.
pub struct Server {
    url: String,
    deployed: Vec<String>,
}

/// The state of the server's pool.
#[derive(Clone, Debug)]
pub struct PoolState {
    pub policy: PolicyOptions,
    pub budget_bytes: u64,
    pub held_bytes: u64,
    pub waiting: u64,
}

/// How calls got their instances.
#[derive(Clone, Copy, Debug, Default)]
pub struct Starts {
    pub warm: u64,
    pub cold: u64,
}

impl Server {
    pub fn new(url: &str) -> Server {
        Server {
            url: url.trim_end_matches('/').to_owned(),
            deployed: Vec::new(),
        }
    }

    fn ask(&self, request: minreq::Request) -> Result<minreq::Response, LiveError> {
        let answer = request
            .with_timeout(TIMEOUT_SECONDS)
            .send()
            .map_err(|error| LiveError::Silent(self.url.clone(), error.to_string()))?;
        match answer.status_code {
            200..300 => Ok(answer),
            status => {
                let text = String::from_utf8_lossy(answer.as_bytes()).into_owned();
                Err(LiveError::Refused(self.url.clone(), status, text))
            }
        }
    }

    fn function_url(&self, name: &str) -> String {
        format!("{}/v1/functions/{name}", self.url)
    }

    /// Deploys a function that waits. It is removed when this goes away.
    pub fn deploy(&mut self, name: &str) -> Result<(), LiveError> {
        let url = format!("{}?{SETTINGS}", self.function_url(name));
        self.ask(minreq::put(url).with_body(PAUSE))?;
        self.deployed.push(name.to_owned());
        Ok(())
    }

    fn metrics(&self) -> Result<String, LiveError> {
        let answer = self.ask(minreq::get(format!("{}/metrics", self.url)))?;
        Ok(String::from_utf8_lossy(answer.as_bytes()).into_owned())
    }

    pub fn pool(&self) -> Result<PoolState, LiveError> {
        let text = self.metrics()?;
        let missing = |name: &str| LiveError::NotDormouse(self.url.clone(), name.to_owned());
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<u64>().ok())
                .ok_or_else(|| missing(name))
        };
        let name = "dormouse_pool_policy{policy=\"";
        let policy = text.lines().find_map(|line| line.strip_prefix(name));
        let policy = policy.and_then(|rest| rest.split('"').next()?.parse().ok());
        Ok(PoolState {
            policy: policy.ok_or_else(|| missing(name))?,
            budget_bytes: number("dormouse_budget_bytes ")?,
            held_bytes: number("dormouse_budget_used_bytes ")?,
            waiting: number("dormouse_warm_instances ")?,
        })
    }

    /// The starts of all functions with this prefix.
    pub fn starts(&self, prefix: &str) -> Result<Starts, LiveError> {
        let text = self.metrics()?;
        let head = format!("dormouse_function_starts_total{{function=\"{prefix}");
        let mut starts = Starts::default();
        for line in text.lines().filter(|line| line.starts_with(&head)) {
            let count = line
                .rsplit(' ')
                .next()
                .and_then(|count| count.parse::<u64>().ok())
                .unwrap_or(0);
            match line.contains("start=\"warm\"") {
                true => starts.warm += count,
                false => starts.cold += count,
            }
        }
        Ok(starts)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for name in std::mem::take(&mut self.deployed) {
            // What cannot be removed stays; the user sees it in `dormouse ls`.
            let _ = self.ask(minreq::delete(self.function_url(&name)));
        }
    }
}

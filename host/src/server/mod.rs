//! The event loop: everything the host side does, in one thread.
//!
//! ```text
//!     poll ---> events ---> timers ---> a batch of time slices ---> resets ---> log ---+
//!      ^                                                                               |
//!      +-------------------------------------------------------------------------------+
//! ```
//!
//! * `clients.rs`: sockets to requests; `calls.rs`: requests to invocations of functions; `slices.rs`: running them;
//!   `endings.rs`: what became of them; `verdict.rs`: what the client and the log are told of it.
//! * `services.rs`: the functions that are served; `instances.rs`: where their instances come from and go to; `opening.rs`: how
//!   their code and images come into memory; `disk.rs`: the threads that wait for the disk.
//! * `administration.rs`: the admin API and deployments; `drain.rs`: the end.
//!
//! A [`Server`] owns all state, and each of these files is a part of its implementation. What can be decided without
//! I/O is decided elsewhere: in `http`, `gateway`, `scheduler` and `pool`.
//!
//! Invariants: a client has at most one invocation, and an invocation knows its client until the client is gone; an
//! invocation that can run is in the run queue exactly once. Keys outlive what they name: whoever looks one up
//! expects to find nothing.
#![forbid(unsafe_code)]

mod administration;
mod calls;
mod clients;
mod disk;
mod drain;
mod endings;
mod instances;
mod opening;
mod services;
mod slices;
mod verdict;

#[cfg(test)]
mod tests;

use crate::alarm::Alarm;
use crate::arena::{Arena, Key};
use crate::deploy::Deployments;
use crate::gateway::{Listener, Shared, Timeouts};
use crate::interface;
use crate::log::{Format, Level, Log, RequestIds};
use crate::metrics::Metrics;
use crate::options::{LogFormat, ServeOptions};
use crate::pool::{Chosen, Limits, PolicyOptions, Pool};
use crate::scheduler::{RunQueue, Timers};
use crate::store::Store;
use calls::Invocation;
use clients::{Client, Side};
use disk::DiskThreads;
use dormouse::{Engine, EngineError, EngineOptions, Imports, Instance};
use instances::Used;
use mio::{Events, Interest, Poll, Token, Waker};
use services::Services;
use signal_hook_mio::v1_0::Signals;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

/// Instances that exist at a time; a little below what the address space and the process's mappings allow.
const INSTANCES_MAX: usize = 30_000;
/// Slots that warm instances leave to those that start cold.
const INSTANCES_RESERVED: usize = 1_000;
/// The most warm instances there may be, whatever the budget.
pub const WARM_INSTANCES_MAX: usize = INSTANCES_MAX - INSTANCES_RESERVED;
/// Clients connected at a time, if the limit on open files allows as many.
const CONNECTIONS_MAX: usize = 20_000;
/// Of the files a process may open, clients may hold one part in so many.
const CLIENT_FILES_PART: u64 = 2;
/// Of the machine's memory, warm instances may use one part in so many unless told otherwise.
const BUDGET_PART: u64 = 4;
/// Events taken at a time.
const EVENTS_MAX: usize = 1_024;
/// How often clients are looked over for slow ones, and the pool for instances it may no longer keep.
const SWEEP: Duration = Duration::from_secs(1);
/// How long the loop may sleep though the pool's policy has something due: nothing there is urgent to the millisecond.
const HOUSE_PAUSE: Duration = Duration::from_millis(50);
/// A turn of the loop that runs longer is mentioned in the log: everybody waited for it.
const TURN_LONG: Duration = Duration::from_millis(10);

const PUBLIC: Token = Token(0);
const ADMIN: Token = Token(1);
const SIGNALS: Token = Token(2);
const WORKERS: Token = Token(3);
const DISK: Token = Token(4);
const ALARM: Token = Token(5);
/// The token of the client at place 0.
const CLIENTS: usize = 6;

/// Why the server does not serve.
#[derive(Debug)]
pub enum ServeError {
    Listen {
        address: SocketAddr,
        what: &'static str,
        cause: io::Error,
    },
    Engine(EngineError),
    System {
        what: &'static str,
        cause: io::Error,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Listen {
                address,
                what,
                cause,
            } => {
                write!(f, "cannot listen on {address} for {what}: {cause}")?;
                match cause.kind() {
                    io::ErrorKind::AddrInUse => {
                        f.write_str("; stop the other server or choose another address")
                    }
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; ports below 1024 need privileges")
                    }
                    _ => Ok(()),
                }
            }
            ServeError::Engine(error) => write!(f, "{error}"),
            ServeError::System { what, cause } => write!(f, "cannot {what}: {cause}"),
        }
    }
}

impl std::error::Error for ServeError {}

/// Serves until a signal asks for the end.
pub fn run(store: Store, options: ServeOptions) -> Result<(), ServeError> {
    let mut server = Server::new(store, &options, Timeouts::default())?;
    server.log.server(
        Level::Info,
        &format!(
            "serving {} functions on http://{}; admin API on http://{}",
            server.store.functions().len(),
            server.public_address,
            server.admin_address
        ),
    );
    server.serve()
}

/// Everything.
pub struct Server {
    poll: Poll,
    signals: Signals,
    public: Option<Listener>,
    admin: Option<Listener>,
    public_address: SocketAddr,
    admin_address: SocketAddr,

    epoch: Instant,
    now_ns: u64,
    next_sweep_ns: u64,
    /// Clients with something to receive of which no event will tell.
    ready: VecDeque<Key>,
    clients: Arena<Client>,
    clients_max: usize,
    shared: Shared,

    engine: Engine,
    imports: Imports,
    services: Services,
    invocations: Arena<Invocation>,
    run_queue: RunQueue<Key>,
    /// Invocations' wall-clock limits.
    deadlines: Timers<Key>,
    /// When what invocations wait for, or a part of it, is over.
    wakes: Timers<Key>,
    alarm: Alarm,
    policy: PolicyOptions,
    pool: Pool<Instance>,
    /// Instances to be reset.
    used: Vec<Used>,
    /// Instances to be dropped.
    given_up: Vec<Instance>,
    /// There may be instances to drop or to prepare when there is nothing better to do.
    housework: bool,

    store: Store,
    disk: DiskThreads,
    deployments: Deployments,
    /// Who waits for a deployment.
    deploying: HashMap<crate::deploy::DeploymentId, administration::Waiting>,

    log: Log,
    ids: RequestIds,
    metrics: Metrics,
    drain_time: Duration,
    drain_ends_ns: Option<u64>,
}

impl Server {
    /// Binds the addresses and gets everything ready. No function is opened before its first request.
    pub fn new(
        store: Store,
        options: &ServeOptions,
        timeouts: Timeouts,
    ) -> Result<Server, ServeError> {
        let system = |what| move |cause| ServeError::System { what, cause };
        let format = match options.log {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        let debug = std::env::var_os("DORMOUSE_LOG").is_some_and(|level| level == "debug");
        let least = if debug { Level::Debug } else { Level::Info };
        let mut log = Log::to_stderr(format, least).map_err(system("write to standard error"))?;
        let poll = Poll::new().map_err(system("poll"))?;
        let signals = [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT];
        let mut signals = Signals::new(signals).map_err(system("handle signals"))?;
        let registry = poll.registry();
        registry
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .map_err(system("handle signals"))?;
        let disk = Waker::new(registry, DISK)
            .and_then(DiskThreads::start)
            .map_err(system("start threads for the disk"))?;
        let alarm = Alarm::new(registry, ALARM).map_err(system("make a timer"))?;
        let listen = |address, token, what| {
            let bind = || -> io::Result<(Listener, SocketAddr)> {
                let mut listener = Listener::bind(address)?;
                registry.register(listener.source(), token, Interest::READABLE)?;
                let bound = listener.local_address()?;
                Ok((listener, bound))
            };
            bind().map_err(|cause| ServeError::Listen {
                address,
                what,
                cause,
            })
        };
        let (public, public_address) = listen(options.listen, PUBLIC, "functions")?;
        let (admin, admin_address) = listen(options.admin, ADMIN, "the admin API")?;
        let engine_options = EngineOptions {
            slots_max: INSTANCES_MAX,
            ..EngineOptions::default()
        };
        let engine = Engine::new(&engine_options).map_err(ServeError::Engine)?;
        let files_max = files_max();
        let open_limits = services::OpenLimits::new(&engine, files_max);
        let pool_limits = Limits {
            budget_bytes: options.budget_bytes.unwrap_or_else(default_budget_bytes),
            instances_max: WARM_INSTANCES_MAX,
        };
        let unix = unix_time();
        log.set_time(unix.as_millis() as u64);
        for (name, error) in store.damaged() {
            log.server(
                Level::Error,
                &format!("the function {name} is not served: {error}"),
            );
        }
        Ok(Server {
            signals,
            public: Some(public),
            admin: Some(admin),
            public_address,
            admin_address,
            poll,
            epoch: Instant::now(),
            now_ns: 0,
            next_sweep_ns: 0,
            ready: VecDeque::new(),
            clients: Arena::default(),
            clients_max: clients_max(files_max),
            shared: Shared::new(timeouts, unix.as_secs()),
            engine,
            imports: interface::imports(),
            services: Services::new(open_limits),
            invocations: Arena::default(),
            run_queue: RunQueue::default(),
            deadlines: Timers::default(),
            wakes: Timers::default(),
            alarm,
            policy: options.policy,
            pool: Pool::new(pool_limits, Chosen::new(&options.policy)),
            used: Vec::new(),
            given_up: Vec::new(),
            housework: false,
            store,
            disk,
            deployments: Deployments::new(),
            deploying: HashMap::new(),
            log,
            ids: RequestIds::new().map_err(|errno| system("draw random numbers")(errno.into()))?,
            metrics: Metrics::new(),
            drain_time: options.drain,
            drain_ends_ns: None,
        })
    }

    /// Where functions are served: the port that was chosen when 0 was asked for.
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// Where the admin API is served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Runs the loop until the server is drained.
    pub fn serve(&mut self) -> Result<(), ServeError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.tick();
        while !self.is_drained() {
            self.turn(&mut events)?;
        }
        self.log.finish();
        Ok(())
    }

    /// One turn of the loop.
    fn turn(&mut self, events: &mut Events) -> Result<(), ServeError> {
        let patience = self.patience();
        if patience != Some(Duration::ZERO)
            && let Some(wake_ns) = self.wakes.next_ns()
        {
            self.read_clock();
            let left = Duration::from_nanos(wake_ns.saturating_sub(self.now_ns));
            self.alarm.set(left).map_err(|cause| ServeError::System {
                what: "set a timer",
                cause,
            })?;
        }
        // A poll that does not wait is not worth two system calls more.
        let polled = match patience {
            Some(Duration::ZERO) => self.poll.poll(events, patience),
            _ => {
                let (engine, poll) = (&self.engine, &mut self.poll);
                engine.without_ticks(|| poll.poll(events, patience))
            }
        };
        match polled {
            Ok(()) => {}
            // A signal that asks for the end: its pipe is readable then.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => {
                return Err(ServeError::System {
                    what: "poll",
                    cause,
                });
            }
        }
        self.tick();
        let began_ns = self.now_ns;
        for event in events.iter() {
            self.on_event(event);
        }
        for _ in 0..self.ready.len() {
            if let Some(client) = self.ready.pop_front() {
                self.drive(client);
            }
        }
        while let Some(call) = self.deadlines.take_due(self.now_ns) {
            self.on_deadline(call);
        }
        while let Some(call) = self.wakes.take_due(self.now_ns) {
            self.wake(call);
        }
        self.run_batch();
        self.reset_used();
        if !self.run_queue.has_short() {
            self.keep_house();
        }
        if self.now_ns >= self.next_sweep_ns {
            self.sweep();
        }
        if !self.deployments.is_empty() {
            self.poll_deployments();
        }
        self.read_clock();
        let turn = Duration::from_nanos(self.now_ns - began_ns);
        if turn > TURN_LONG {
            self.log
                .server(Level::Debug, &format!("a turn of the loop took {turn:?}"));
        }
        if self.log.is_pending() {
            self.log.flush();
        }
        Ok(())
    }

    fn on_event(&mut self, event: &mio::event::Event) {
        match event.token() {
            PUBLIC => self.accept(Side::Public),
            ADMIN => self.accept(Side::Admin),
            SIGNALS => self.on_signals(),
            DISK => self.take_from_disk(),
            // They are looked after later in the turn.
            WORKERS | ALARM => {}
            Token(token) => self.on_client_event(token - CLIENTS, event),
        }
    }

    /// How long polling may take: until something is due, but for the wakes, which have the alarm.
    fn patience(&self) -> Option<Duration> {
        if !self.run_queue.is_empty() || !self.ready.is_empty() || self.housework {
            return Some(Duration::ZERO);
        }
        let mut until_ns = self.deadlines.next_ns();
        let mut at_most = |ns: u64| until_ns = Some(until_ns.map_or(ns, |other| other.min(ns)));
        let accepting = [&self.public, &self.admin]
            .into_iter()
            .flatten()
            .any(|l| l.ready);
        let swept = !self.clients.is_empty() || self.pool.waiting() > 0;
        if swept || accepting || self.log.is_pending() {
            at_most(self.next_sweep_ns);
        }
        if let Some(ends_ns) = self.drain_ends_ns {
            at_most(ends_ns);
        }
        // Instances are given up and made ahead to the policy's timetable, several at a time.
        if let Some(next_ns) = self.pool.next_ns() {
            at_most(next_ns.max(self.now_ns + HOUSE_PAUSE.as_nanos() as u64));
        }
        if let Some(deadline) = self.deployments.next_deadline() {
            at_most(deadline.saturating_duration_since(self.epoch).as_nanos() as u64);
        }
        until_ns.map(|ns| Duration::from_nanos(ns.saturating_sub(self.now_ns)))
    }

    /// Reads the clocks for this turn.
    fn tick(&mut self) {
        self.read_clock();
        let unix = unix_time();
        self.shared.now_ns = self.now_ns;
        self.shared.date.set(unix.as_secs());
        self.log.set_time(unix.as_millis() as u64);
    }

    fn read_clock(&mut self) {
        self.now_ns = self.epoch.elapsed().as_nanos() as u64;
    }

    fn sweep(&mut self) {
        self.next_sweep_ns = self.now_ns + SWEEP.as_nanos() as u64;
        self.sweep_clients();
        // Descriptors may have become free without our doing.
        for side in [Side::Public, Side::Admin] {
            self.accept_waiting(side);
        }
    }
}

fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// A part of the machine's memory.
fn default_budget_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let total_bytes = info.totalram as u64 * u64::from(info.mem_unit);
    total_bytes / BUDGET_PART
}

/// How many files the process may open, after the limit was raised as far as it goes.
fn files_max() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current.unwrap_or(u64::MAX)
}

/// How many clients there may be, in a process that may open so many files.
fn clients_max(files_max: u64) -> usize {
    usize::try_from(files_max / CLIENT_FILES_PART)
        .unwrap_or(usize::MAX)
        .min(CONNECTIONS_MAX)
}

//! The admin API over the wire, and deployments in progress.
//!
//! What is answered is decided in `admin`, without I/O; here it is done. A change of the store is served from the next
//! request on; what runs goes on in the version it began in.

use super::Server;
use super::WORKERS;
use super::calls::Arrival;
use super::clients::Work;
use super::verdict::Refused;
use crate::admin::{self, AdminAction, AdminRequest, AdminResponse, ServerView};
use crate::arena::Key;
use crate::deploy::{Change, Finished};
use crate::log::Level;
use crate::metrics::{Gauges, Metrics};
use crate::store::{FunctionConfig, FunctionName, Store};
use mio::Interest;
use mio::unix::SourceFd;
use std::time::{Duration, Instant};

/// The largest body of a request to the admin API. It is held in memory until it is complete.
pub(super) const BODY_BYTES_MAX: u64 = 128 << 20;

const _: () = assert!(BODY_BYTES_MAX <= admin::MODULE_BYTES_MAX);

/// A module that is arriving to be deployed.
#[derive(Debug)]
pub(super) struct Upload {
    pub body: Vec<u8>,
    name: FunctionName,
    config: FunctionConfig,
    request_id: String,
}

/// Who waits for a deployment.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A client of the admin API, and the id of its request.
    Client(Key, String),
    /// The invocations of this service.
    Rebuild(Key),
}

impl Server {
    pub(super) fn on_admin_arrival(&mut self, client_key: Key, arrival: Arrival) {
        let Arrival {
            request,
            expects_continue,
            ..
        } = arrival;
        let id = request.id.0.clone();
        // Browsers say where a request comes from. No page has business here: one that a developer happens to look at
        // could otherwise deploy functions on the machine it is looked at from.
        let reads = matches!(request.method.as_str(), "GET" | "HEAD");
        if !reads && request.header("origin").is_some() {
            let message = "the admin API takes no changes from web pages";
            let refused = Refused::new(403, "forbidden", message);
            return self.send_refused(client_key, Some(&request), &refused);
        }
        let admin_request = AdminRequest {
            method: &request.method,
            path: &request.path,
            query: &request.query,
        };
        match admin::handle(&admin_request, &View(self)) {
            AdminAction::Respond(response) => self.reply_admin(client_key, &id, response),
            AdminAction::Deploy { name, config } => {
                let Some(client) = self.clients.get_mut(client_key) else {
                    return;
                };
                let upload = Upload {
                    body: Vec::new(),
                    name,
                    config,
                    request_id: id,
                };
                client.work = Work::Upload(Box::new(upload));
                if expects_continue {
                    client.connection.send_continue(&mut self.shared);
                }
            }
            AdminAction::Remove { name } => {
                let result = self.store.remove(&name);
                self.replace_service(name.as_str());
                if result.is_ok() {
                    self.log
                        .server(Level::Info, &format!("the function {name} was removed"));
                }
                self.reply_admin(client_key, &id, admin::removed(&result));
            }
            AdminAction::Rollback { name, version } => {
                let response = admin::rolled_back(self.store.rollback(&name, version.as_deref()));
                self.replace_service(name.as_str());
                self.reply_admin(client_key, &id, response);
            }
        }
    }

    /// A module has arrived.
    pub(super) fn on_upload_end(&mut self, client_key: Key) {
        let Some(client) = self.clients.get_mut(client_key) else {
            return;
        };
        let Work::Upload(upload) = std::mem::replace(&mut client.work, Work::Deployment) else {
            unreachable!("the body of an upload has ended");
        };
        let Upload {
            body,
            name,
            config,
            request_id,
        } = *upload;
        match self.deployments.submit(&self.store, name, config, &body) {
            Ok(id) => {
                self.deploying
                    .insert(id, Waiting::Client(client_key, request_id));
            }
            Err(error) => {
                self.metrics.deployments[1] += 1;
                self.reply_admin(client_key, &request_id, admin::deploy_error(&error));
            }
        }
    }

    /// Goes on with deployments that can go on.
    pub(super) fn poll_deployments(&mut self) {
        let turn = self.deployments.poll(&mut self.store, Instant::now());
        for (_, fd) in turn.started {
            let mut source = SourceFd(&fd);
            let registered =
                self.poll
                    .registry()
                    .register(&mut source, WORKERS, Interest::READABLE);
            if let Err(error) = registered {
                // Its deadline is a last resort.
                let message = format!("a compile worker cannot be watched: {error}");
                self.log.server(Level::Error, &message);
            }
        }
        for finished in turn.finished {
            self.on_deployed(&finished);
        }
    }

    fn on_deployed(&mut self, finished: &Finished) {
        let waiting = self.deploying.remove(&finished.id);
        let name = &finished.name;
        match &finished.result {
            Ok(deployed) => {
                self.metrics.deployments[0] += 1;
                let (id, change) = (&deployed.version.id, deployed.change);
                let message = match change {
                    Change::Created => format!("the function {name} was deployed, version {id}"),
                    Change::Updated => format!("the function {name} has the version {id} now"),
                    Change::Unchanged => {
                        format!("the function {name} has the version {id} already")
                    }
                    Change::Rebuilt => format!("version {id} of {name} was compiled again"),
                };
                self.log.server(Level::Info, &message);
            }
            Err(error) => {
                self.metrics.deployments[1] += 1;
                self.log
                    .server(Level::Warn, &format!("deploying {name} failed: {error}"));
            }
        }
        match waiting {
            Some(Waiting::Rebuild(service)) => {
                let version = finished
                    .result
                    .as_ref()
                    .map(|deployed| deployed.version.clone());
                self.rebuilt(service, version.map_err(ToString::to_string));
            }
            Some(Waiting::Client(client, request_id)) => {
                let is_current = |deployed: &crate::deploy::Deployed| {
                    let service = self.services.by_name(name.as_str());
                    service.is_some_and(|service| service.version == deployed.version)
                };
                if !finished.result.as_ref().is_ok_and(is_current) {
                    self.replace_service(name.as_str());
                }
                self.reply_admin(client, &request_id, admin::deployed(finished));
            }
            None => {}
        }
    }

    fn reply_admin(&mut self, client_key: Key, request_id: &str, response: AdminResponse) {
        let Some(client) = self.clients.get_mut(client_key) else {
            return;
        };
        client.work = Work::Idle;
        let AdminResponse {
            status,
            content_type,
            headers,
            body,
        } = response;
        let content_type = ("Content-Type".to_owned(), content_type.as_bytes().to_vec());
        let others = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()));
        let headers: Vec<(String, Vec<u8>)> = std::iter::once(content_type).chain(others).collect();
        client
            .connection
            .respond(&mut self.shared, status, &headers, request_id, body)
            .expect("the server's own answers are valid");
        self.drive_later(client_key);
    }
}

/// The server as the admin API sees it.
struct View<'a>(&'a Server);

impl ServerView for View<'_> {
    fn store(&self) -> &Store {
        &self.0.store
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn gauges(&self) -> Gauges {
        let server = self.0;
        let admissions = || server.services.iter().map(|service| &service.admission);
        Gauges {
            functions: server.store.functions().len() as u64,
            open_functions: server.services.open() as u64,
            connections: server.clients.len() as u64,
            running: admissions()
                .map(|admission| u64::from(admission.running()))
                .sum(),
            queued: admissions()
                .map(|admission| admission.waiting() as u64)
                .sum(),
            warm_instances: server.pool.waiting() as u64,
            budget_bytes: server.pool.limits().budget_bytes,
            budget_used_bytes: server.pool.held_bytes(),
            policy: server.policy.to_string(),
            deployments_in_progress: server.deployments.len() as u64,
            damaged_functions: server.store.damaged().len() as u64,
        }
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.now_ns)
    }

    fn warm_instances(&self, function: &str) -> u64 {
        let service = self.0.services.by_name(function);
        service.map_or(0, |service| {
            u64::from(self.0.pool.stock(service.pool_id).waiting)
        })
    }

    fn is_being_deployed(&self, function: &str) -> bool {
        self.0.deployments.is_busy(function)
    }

    fn is_draining(&self) -> bool {
        self.0.drain_ends_ns.is_some()
    }
}

//! The admin API over the wire, and deployments in progress.

use super::Server;
use super::calls::{Arrival, Holder, Stage};
use super::clients::Work;
use super::endings::End;
use super::services::Code;
use super::verdict::Refused;
use crate::arena::Key;
use crate::interface::Request;

/// The largest module that is deployed over the network.
pub(super) const BODY_BYTES_MAX: u64 = 64 << 20;

/// A request to the admin API whose body is arriving.
#[derive(Debug)]
pub(super) struct Upload {
    pub request: Request,
    pub body: Vec<u8>,
}

/// Who waits for a deployment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    /// A client of the admin API.
    Client(Key),
    /// The invocations of this service.
    Rebuild(Key),
}

impl Server {
    pub(super) fn on_admin_arrival(&mut self, client_key: Key, arrival: Arrival) {
        let Some(client) = self.clients.get_mut(client_key) else {
            return;
        };
        client.work = Work::Upload(Box::new(Upload {
            request: arrival.request,
            body: Vec::new(),
        }));
        if arrival.expects_continue {
            client.connection.send_continue(&mut self.shared);
        }
    }

    pub(super) fn on_upload_end(&mut self, client_key: Key) {
        let Some(client) = self.clients.get_mut(client_key) else {
            return;
        };
        let Work::Upload(upload) = std::mem::replace(&mut client.work, Work::Idle) else {
            return;
        };
        let refused = Refused::new(404, "not_found", "there is no such resource");
        self.reply_refused(client_key, Some(&upload.request), &refused);
    }

    pub(super) fn poll_deployments(&mut self) {
        let turn = self
            .deployments
            .poll(&mut self.store, std::time::Instant::now());
        for finished in turn.finished {
            match self.deploying.remove(&finished.id) {
                Some(Waiting::Rebuild(service)) => {
                    let result = finished.result.map(|deployed| deployed.version);
                    self.end_rebuild(service, result.map_err(|error| error.to_string()));
                }
                Some(Waiting::Client(_)) | None => {}
            }
        }
    }

    fn end_rebuild(&mut self, service_key: Key, result: Result<crate::store::Version, String>) {
        let Some(service) = self.services.get_mut(service_key) else {
            return;
        };
        let failure = match result {
            Ok(version) => {
                service.version = version;
                service.code = Code::Asleep;
                None
            }
            Err(message) => {
                service.code = Code::Broken(message.clone());
                Some(message)
            }
        };
        let waiting: Vec<Key> = self
            .invocations
            .keys()
            .filter(|call| {
                self.invocations.get(*call).is_some_and(|invocation| {
                    invocation.service == service_key
                        && invocation.stage == Stage::Blocked
                        && matches!(invocation.holder, Holder::Context(_))
                })
            })
            .collect();
        for call in waiting {
            match &failure {
                None => self.wake(call),
                Some(message) => {
                    self.end(
                        call,
                        End::NotStarted {
                            busy: false,
                            message: message.clone(),
                        },
                    );
                }
            }
        }
    }
}

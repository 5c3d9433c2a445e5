//! The end of an invocation: the answer, the log line, the counters, and what becomes of the instance.

use super::Server;
use super::calls::{Holder, Invocation, Stage};
use super::clients::{Side, Work};
use super::instances::Used;
use super::verdict::{Failed, Refused, judge};
use crate::arena::Key;
use crate::http::Refusal;
use crate::interface::Request;
use crate::log::Access;
use crate::metrics::{self, Outcome};
use dormouse::{Reason, Trap};
use std::time::Duration;

/// The status in the log of a request whose client was gone.
const CLIENT_GONE: u16 = 499;

/// How an invocation ended.
#[derive(Debug)]
pub(super) enum End {
    /// The function returned, with a result if it has one.
    Returned(Option<i32>),
    Stopped(Trap),
    /// There was no instance for it; `busy`: another time there may be.
    NotStarted {
        busy: bool,
        message: String,
    },
    /// The client is gone, or broke the protocol and is told so.
    Abandoned(Option<Refusal>),
}

impl Server {
    /// Ends an invocation that does not run at this moment.
    pub(super) fn end_early(&mut self, call: Key, reason: Reason) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        let trap = match &mut invocation.holder {
            Holder::Instance(instance) if instance.in_call() => instance.stop(reason),
            _ => Trap {
                reason,
                backtrace: Vec::new(),
            },
        };
        self.end(call, End::Stopped(trap));
    }

    /// Ends an invocation that is of no use any more.
    pub(super) fn abandon(&mut self, call: Key, refusal: Option<Refusal>) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        if let Holder::Instance(instance) = &mut invocation.holder
            && instance.in_call()
        {
            instance.stop(Reason::Host("the client is gone".into()));
        }
        self.end(call, End::Abandoned(refusal));
    }

    /// Ends an invocation: nothing of it is left after this but its instance, to be reset.
    pub(super) fn end(&mut self, call: Key, end: End) {
        self.read_clock();
        let Some(mut invocation) = self.invocations.remove(call) else {
            return;
        };
        if invocation.stage == Stage::Queued
            && let Some(service) = self.services.get_mut(invocation.service)
        {
            service.admission.forget(&call);
        }
        let context = invocation.context();
        let output = context.finish();
        let lines = context.stderr.take_lines();
        for line in &lines {
            self.log
                .guest(&invocation.request.function, &invocation.request.id.0, line);
        }
        let Some(service) = self.services.get(invocation.service) else {
            unreachable!("a service with invocations stays");
        };
        let refused = match &invocation.holder {
            Holder::Instance(instance) => instance.refused_limit(),
            Holder::Context(_) | Holder::Nobody => None,
        };
        let failed = judge(service.kind, &end, refused, output);
        let (status, failed) = self.answer(&mut invocation, failed);
        self.record(&mut invocation, status, failed.as_ref());
        let pool_id = service_pool_id(self, invocation.service);
        if let Holder::Instance(instance) = invocation.holder
            && let Some((started_ns, _)) = invocation.started
        {
            self.used.push(Used {
                instance,
                pool_id,
                started_ns,
            });
        }
        if invocation.stage != Stage::Queued {
            self.leave(invocation.service);
        } else {
            self.retire(invocation.service);
        }
        self.drive_later(invocation.client);
    }

    /// Sends the response or what takes its place. The status that the client saw, and the failure if it was one.
    fn answer(
        &mut self,
        invocation: &mut Invocation,
        failed: Option<Failed>,
    ) -> (u16, Option<Failed>) {
        let client_key = invocation.client;
        let Some(client) = self.clients.get_mut(client_key) else {
            return (CLIENT_GONE, failed);
        };
        client.work = Work::Idle;
        if client.connection.is_closed() {
            return (invocation.streaming.unwrap_or(CLIENT_GONE), failed);
        }
        let request = invocation.request.clone();
        let failed = match (failed, invocation.streaming) {
            (Some(failed), Some(status)) => {
                client.connection.abort(&mut self.shared);
                return (status, Some(failed));
            }
            (None, Some(status)) => {
                let rest = invocation.context().output.take_body();
                invocation.bytes_out += rest.len() as u64;
                client.connection.stream(&mut self.shared, rest);
                client.connection.end_stream(&mut self.shared);
                return (status, None);
            }
            (None, None) => {
                let output = &mut invocation.context().output;
                let body = output.take_body();
                let body_bytes = body.len() as u64;
                let Some((status, headers)) = output.head() else {
                    unreachable!("the head of a finished response is known");
                };
                let sent = client.connection.respond(
                    &mut self.shared,
                    status,
                    headers,
                    &request.id.0,
                    body,
                );
                match sent {
                    Ok(()) => {
                        invocation.bytes_out = body_bytes;
                        return (status, None);
                    }
                    Err(error) => Failed::response(&error),
                }
            }
            (Some(failed), None) => failed,
        };
        self.send_refused(client_key, Some(&request), &failed.refused);
        (failed.refused.status, Some(failed))
    }

    /// Writes the log line and counts.
    fn record(&mut self, invocation: &mut Invocation, status: u16, failed: Option<&Failed>) {
        let (cpu, peak_memory_bytes) = match &invocation.holder {
            Holder::Instance(instance) => (instance.cpu_time(), instance.peak_memory_bytes()),
            Holder::Context(_) | Holder::Nobody => (Duration::ZERO, 0),
        };
        let wall = Duration::from_nanos(self.now_ns.saturating_sub(invocation.admitted_ns));
        let Some(service) = self.services.get(invocation.service) else {
            return;
        };
        let start = invocation.started.map(|(_, start)| start);
        self.log.access(&Access {
            function: service.version.name.as_str(),
            version: &service.version.id,
            method: &invocation.request.method,
            target: &invocation.request.raw_target,
            status,
            start: start.map(|start| start.as_str()),
            cpu_us: cpu.as_micros() as u64,
            wall_us: wall.as_micros() as u64,
            peak_memory_bytes,
            bytes_in: invocation.bytes_in,
            bytes_out: invocation.bytes_out,
            id: &invocation.request.id.0,
            error: failed.map(|failed| failed.failure.clone()),
        });
        // A function that was removed is forgotten by the counters too.
        let known =
            !service.retired || self.store.function(service.version.name.as_str()).is_some();
        if let Some(start) = start
            && known
        {
            let counted = metrics::Invocation {
                start,
                outcome: failed.map_or(Outcome::Answered, |failed| failed.outcome),
                cpu,
                wall,
                bytes_in: invocation.bytes_in,
                bytes_out: invocation.bytes_out,
            };
            self.metrics.record(
                service.metrics_id,
                &counted,
                Duration::from_nanos(self.now_ns),
            );
        }
    }

    /// Answers a request that no invocation was made for, and logs it.
    pub(super) fn reply_refused(
        &mut self,
        client: Key,
        request: Option<&Request>,
        refused: &Refused,
    ) {
        self.send_refused(client, request, refused);
        if let Some(request) = request {
            self.log.access(&Access {
                function: &request.function,
                version: "none",
                method: &request.method,
                target: &request.raw_target,
                status: refused.status,
                start: None,
                cpu_us: 0,
                wall_us: 0,
                peak_memory_bytes: 0,
                bytes_in: 0,
                bytes_out: 0,
                id: &request.id.0,
                error: None,
            });
        }
    }

    /// Answers what was no request.
    pub(super) fn reply_refusal(&mut self, client: Key, refusal: Refusal) {
        self.send_refused(client, None, &Refused::of_refusal(refusal));
        self.reap(client);
    }

    pub(super) fn send_refused(
        &mut self,
        client_key: Key,
        request: Option<&Request>,
        refused: &Refused,
    ) {
        let Some(client) = self.clients.get_mut(client_key) else {
            return;
        };
        client.work = Work::Idle;
        let accepts = request
            .and_then(|request| request.header("accept"))
            .unwrap_or(b"");
        let json = client.side == Side::Admin
            || accepts
                .windows(4)
                .any(|window| window.eq_ignore_ascii_case(b"json"));
        let id = request.map_or("", |request| request.id.0.as_str());
        let (content_type, body) = refused.body(json, id);
        let mut headers = vec![("Content-Type".to_owned(), content_type.as_bytes().to_vec())];
        if let Some(seconds) = refused.retry_after_seconds {
            headers.push(("Retry-After".to_owned(), seconds.to_string().into_bytes()));
        }
        client
            .connection
            .respond(&mut self.shared, refused.status, &headers, id, body)
            .expect("the server's own answers are valid");
    }

    /// Answers with a status alone.
    pub(super) fn reply_empty(&mut self, client_key: Key, status: u16, id: &str) {
        let Some(client) = self.clients.get_mut(client_key) else {
            return;
        };
        client
            .connection
            .respond(&mut self.shared, status, &[], id, Vec::new())
            .expect("the server's own answers are valid");
    }
}

fn service_pool_id(server: &Server, service: Key) -> crate::pool::FunctionId {
    server
        .services
        .get(service)
        .expect("a service with invocations stays")
        .pool_id
}

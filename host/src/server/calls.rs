//! Invocations from the arrival of their request to the moment they may run.
//!
//! ```text
//!                     body, or a window of it, is here          turn            waits for something
//!   Arrival --> Gathering ------------------> Queued ------> Runnable <-----------------------> Blocked
//!                  |                            |               |                                  |
//!                  +----------------------------+--- ended -----+----------------------------------+
//! ```
//!
//! An invocation starts when its whole body is here or as much of it as the guest's window takes. So a slow client
//! holds a connection and at most one window of memory, never an instance.

use super::Server;
use super::clients::{Side, Work};
use super::verdict::Refused;
use crate::arena::Key;
use crate::http::{Framing, Head, Refusal, Target};
use crate::interface::{Context, Input, Request, RequestId, Wait};
use crate::log::RequestIds;
use crate::metrics::StartKind;
use crate::scheduler::Admit;
use dormouse::{Instance, Reason};
use std::net::SocketAddr;
use std::rc::Rc;

/// The largest body of a request to a function.
pub(super) const BODY_BYTES_MAX: u64 = 64 << 20;

/// The head of a request, taken out of the connection's buffer.
#[derive(Debug)]
pub(super) struct Arrival {
    pub request: Request,
    /// The client waits to be told that it may send the body.
    pub expects_continue: bool,
    /// `OPTIONS *`: the request concerns the server and no function.
    pub is_for_server: bool,
}

impl Arrival {
    pub fn new(
        head: &Head<'_, '_>,
        side: Side,
        remote: SocketAddr,
        local: SocketAddr,
        ids: &mut RequestIds,
    ) -> Arrival {
        let (path, query, is_for_server) = match head.target {
            Target::Resource { path, query } => (path, query.unwrap_or(""), false),
            Target::Server => ("", "", true),
        };
        let (function, rest) = match side {
            Side::Public => split_function(path),
            Side::Admin => ("", path),
        };
        let headers = head.headers.iter().map(|header| {
            let mut value = header.value;
            if header.name.eq_ignore_ascii_case("host") {
                // The authority of an absolute-form target counts (RFC 9112 section 3.2.2).
                value = head.host.map_or(value, str::as_bytes);
            }
            (header.name.to_owned(), value.to_vec())
        });
        Arrival {
            request: Request {
                method: head.method.to_owned(),
                path: rest.to_owned(),
                raw_target: head.raw_target.to_owned(),
                query: query.to_owned(),
                headers: headers.collect(),
                content_length: match head.framing {
                    Framing::Length(length) => Some(length),
                    Framing::Chunked => None,
                },
                remote,
                local,
                function: function.to_owned(),
                id: RequestId(ids.next_id()),
            },
            expects_continue: head.expects_continue,
            is_for_server,
        }
    }
}

/// Splits `/NAME/REST` into `NAME` and `/REST`.
fn split_function(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_at(path.find('/').unwrap_or(path.len()))
}

/// Where an invocation is; the drawing above says which steps are legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Gathering,
    Queued,
    Runnable,
    Blocked,
}

/// What holds the invocation's context.
pub(super) enum Holder {
    /// It has not started.
    Context(Box<Context>),
    Instance(Instance),
    /// It is on its way from the one to the other.
    Nobody,
}

/// One call of a function on behalf of a client.
pub(super) struct Invocation {
    pub client: Key,
    pub service: Key,
    pub request: Rc<Request>,
    pub stage: Stage,
    pub holder: Holder,
    pub admitted_ns: u64,
    pub deadline_ns: u64,
    /// A timer was set for the deadline.
    pub timed: bool,
    /// Its function was not in memory when it should have started.
    pub waited_for_disk: bool,
    /// When it got its instance, and how.
    pub started: Option<(u64, StartKind)>,
    /// The response is being streamed, with this status.
    pub streaming: Option<u16>,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Invocation {
    /// What the host keeps for the guest.
    pub fn context(&mut self) -> &mut Context {
        match &mut self.holder {
            Holder::Context(context) => context,
            Holder::Instance(instance) => instance.data_mut::<Context>(),
            Holder::Nobody => unreachable!("an invocation is looked at while it starts"),
        }
    }

    /// Adds a piece of the body. Whether there is room for more.
    pub fn take_input(&mut self, bytes: &[u8]) -> bool {
        self.bytes_in += bytes.len() as u64;
        let input = &mut self.context().input;
        input.push(bytes);
        input.wants_more()
    }

    /// Processor time it has used.
    pub fn used_ns(&self) -> u64 {
        match &self.holder {
            Holder::Instance(instance) => instance.cpu_time().as_nanos() as u64,
            Holder::Context(_) | Holder::Nobody => 0,
        }
    }
}

impl Server {
    /// A request for a function, or for what could be one.
    pub(super) fn on_arrival(&mut self, client_key: Key, arrival: Arrival) {
        let Arrival {
            request,
            expects_continue,
            is_for_server,
        } = arrival;
        if is_for_server {
            return self.reply_empty(client_key, 204, &request.id.0);
        }
        let Some(service_key) = self.find_service(&request.function) else {
            let refused = Refused::no_function(&request.function);
            return self.reply_refused(client_key, Some(&request), &refused);
        };
        let Some(service) = self.services.get_mut(service_key) else {
            unreachable!("the service was just found");
        };
        let config = &service.version.config;
        if service.admission.waiting() >= config.queue_max as usize
            && service.admission.running() >= config.concurrency_max
        {
            // It would be refused once its body is here; it is kinder to say so now.
            return self.refuse_for_load(client_key, service_key, &request);
        }
        let request = Rc::new(request);
        let environment = service.environment.clone();
        let context = Context::call(request.clone(), service.kind, environment);
        let call = self.invocations.insert(Invocation {
            client: client_key,
            service: service_key,
            request,
            stage: Stage::Gathering,
            holder: Holder::Context(Box::new(context)),
            admitted_ns: self.now_ns,
            deadline_ns: u64::MAX,
            timed: false,
            waited_for_disk: false,
            started: None,
            streaming: None,
            bytes_in: 0,
            bytes_out: 0,
        });
        let Some(client) = self.clients.get_mut(client_key) else {
            unreachable!("a client that is gone sends no requests");
        };
        client.work = Work::Call(call);
        if expects_continue {
            client.connection.send_continue(&mut self.shared);
        }
    }

    fn refuse_for_load(&mut self, client: Key, service_key: Key, request: &Request) {
        if let Some(service) = self.services.get(service_key) {
            self.metrics.record_refused(service.metrics_id);
        }
        self.reply_refused(client, Some(request), &Refused::queue_full());
    }

    /// A piece of the body came. `enough`: the guest has to read before more is taken.
    pub(super) fn on_input(&mut self, call: Key, enough: bool) {
        match self
            .invocations
            .get(call)
            .map(|invocation| invocation.stage)
        {
            Some(Stage::Gathering) if enough => self.admit(call),
            Some(Stage::Blocked) => self.wake_for_input(call),
            _ => {}
        }
    }

    /// The body is complete.
    pub(super) fn on_input_end(&mut self, call: Key) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        invocation.context().input.end();
        match invocation.stage {
            Stage::Gathering => self.admit(call),
            Stage::Blocked => self.wake_for_input(call),
            Stage::Queued | Stage::Runnable => {}
        }
    }

    fn wake_for_input(&mut self, call: Key) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        let context = invocation.context();
        let waits = matches!(context.wait, Some(Wait::Input | Wait::InputOrUntil(_)));
        if waits && context.input.ready() {
            self.wake(call);
        }
    }

    /// The client took bytes of the response.
    pub(super) fn on_client_took(&mut self, call: Key) {
        self.pump_output(call);
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        if invocation.stage == Stage::Blocked {
            let context = invocation.context();
            if context.wait == Some(Wait::OutputSpace) && context.output.room() > 0 {
                self.wake(call);
            }
        }
    }

    /// Lets an invocation that waits look again. One that does not wait is left alone.
    pub(super) fn wake(&mut self, call: Key) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        if invocation.stage == Stage::Blocked {
            invocation.stage = Stage::Runnable;
            let used_ns = invocation.used_ns();
            self.run_queue.push(call, used_ns);
        }
    }

    /// The invocation can start, as far as its client goes.
    fn admit(&mut self, call: Key) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        debug_assert_eq!(
            invocation.stage,
            Stage::Gathering,
            "an invocation is admitted once"
        );
        let Some(service) = self.services.get_mut(invocation.service) else {
            unreachable!("a service with invocations stays");
        };
        let config = &service.version.config;
        invocation.admitted_ns = self.now_ns;
        invocation.deadline_ns = self.now_ns.saturating_add(config.timeout.as_nanos() as u64);
        match service
            .admission
            .arrive(call, config.concurrency_max, config.queue_max)
        {
            Admit::Run => {
                invocation.stage = Stage::Runnable;
                self.run_queue.push(call, 0);
            }
            Admit::Wait => {
                invocation.stage = Stage::Queued;
                self.set_deadline(call);
            }
            Admit::Refuse => {
                let (client, service) = (invocation.client, invocation.service);
                if let Some(invocation) = self.invocations.remove(call) {
                    self.refuse_for_load(client, service, &invocation.request);
                }
            }
        }
    }

    /// An invocation of the service has left; another may run.
    pub(super) fn leave(&mut self, service_key: Key) {
        let Some(service) = self.services.get_mut(service_key) else {
            return;
        };
        let next = service
            .admission
            .leave(service.version.config.concurrency_max);
        if let Some(call) = next
            && let Some(invocation) = self.invocations.get_mut(call)
        {
            debug_assert_eq!(invocation.stage, Stage::Queued);
            invocation.stage = Stage::Runnable;
            self.run_queue.push(call, 0);
        }
        self.retire(service_key);
    }

    /// Sees to it that an invocation that may take its time is looked at when its time is up.
    pub(super) fn set_deadline(&mut self, call: Key) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        if !invocation.timed {
            invocation.timed = true;
            self.deadlines.set(invocation.deadline_ns, call);
        }
    }

    /// An invocation's time is up, if it is still there.
    pub(super) fn on_deadline(&mut self, call: Key) {
        let Some(invocation) = self.invocations.get(call) else {
            return;
        };
        let Some(service) = self.services.get(invocation.service) else {
            return;
        };
        let limit = dormouse::Limit::WallClock(service.version.config.timeout);
        self.end_early(call, Reason::Limit(limit));
    }

    /// Ends an invocation whose client broke the protocol, for which it is told off, or is gone.
    pub(super) fn call_off(&mut self, call: Key, refusal: Option<Refusal>) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        let client = invocation.client;
        if invocation.stage == Stage::Gathering {
            self.invocations.remove(call);
            if let Some(refusal) = refusal {
                self.reply_refusal(client, refusal);
            }
            return;
        }
        invocation.context().input.error();
        self.abandon(call, refusal);
    }

    /// Whether the connection should be asked for more of the body, now that the guest has read some.
    pub(super) fn ask_for_input(&mut self, call: Key) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        let client = invocation.client;
        let input: &mut Input = &mut invocation.context().input;
        if input.wants_more() {
            self.drive_later(client);
        }
    }
}

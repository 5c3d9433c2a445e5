//! Running invocations, one time slice at a time.

use super::Server;
use super::calls::{Holder, Stage};
use super::endings::End;
use super::instances::StartError;
use crate::arena::Key;
use crate::interface::Wait;
use crate::log::Level;
use crate::metrics::StartKind;
use dormouse::{Progress, Reason};
use std::time::Instant;

/// After so much running the sockets are looked at again.
const BATCH_NS: u64 = 1_000_000;

/// Output that a function is ahead of its client with before the response is streamed. Up to here a failing function is
/// answered with an error; beyond, its client sees the connection break.
pub(super) const STREAM_AFTER_BYTES: usize = 1 << 20;

/// Output that waits in the guest's context once a response is streamed.
const STREAM_WINDOW_BYTES: usize = 256 << 10;

/// Output that waits in the connection once a response is streamed.
const UNSENT_BYTES_MAX: usize = 256 << 10;

impl Server {
    /// Runs invocations until none can run or a moment has passed.
    pub(super) fn run_batch(&mut self) {
        if self.run_queue.is_empty() {
            return;
        }
        let began_ns = self.now_ns;
        while let Some((call, turn)) = self.run_queue.take() {
            let before_ns = self.now_ns;
            let again = self.slice(call);
            self.read_clock();
            self.run_queue.charge(turn, self.now_ns - before_ns);
            if again {
                let used_ns = self
                    .invocations
                    .get(call)
                    .map_or(0, |invocation| invocation.used_ns());
                self.run_queue.push(call, used_ns);
            }
            if self.now_ns - began_ns >= BATCH_NS {
                break;
            }
        }
        self.shared.now_ns = self.now_ns;
    }

    /// Runs an invocation for one slice. Whether it is to go back to the run queue.
    fn slice(&mut self, call: Key) -> bool {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return false;
        };
        debug_assert_eq!(invocation.stage, Stage::Runnable);
        if self.now_ns >= invocation.deadline_ns {
            self.on_deadline(call);
            return false;
        }
        if let Holder::Context(_) = invocation.holder
            && !self.start(call)
        {
            return false;
        }
        let Some(invocation) = self.invocations.get_mut(call) else {
            return false;
        };
        let Holder::Instance(instance) = &mut invocation.holder else {
            return false;
        };
        match instance.resume() {
            Progress::Returned(values) => {
                self.end(call, End::Returned(values.first().map(|word| *word as i32)));
                false
            }
            Progress::Stopped(trap) => {
                self.end(call, End::Stopped(trap));
                false
            }
            Progress::Preempted => {
                self.set_deadline(call);
                self.between_slices(call);
                true
            }
            Progress::Blocked => {
                self.set_deadline(call);
                self.between_slices(call);
                self.block(call)
            }
        }
    }

    /// Gives an invocation its instance and begins the call. Whether it can go on now.
    fn start(&mut self, call: Key) -> bool {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return false;
        };
        let service_key = invocation.service;
        let Holder::Context(context) = std::mem::replace(&mut invocation.holder, Holder::Nobody)
        else {
            unreachable!("an invocation starts once");
        };
        let mut context = context;
        context.output.window_bytes = STREAM_AFTER_BYTES;
        let (result, start) = self.acquire(service_key, context);
        let Some(invocation) = self.invocations.get_mut(call) else {
            unreachable!("getting an instance ends no invocation");
        };
        let error = match result {
            Ok((instance, entry)) => {
                let start = match start {
                    StartKind::Cold if invocation.waited_for_disk => StartKind::DiskCold,
                    start => start,
                };
                invocation.started = Some((self.now_ns, start));
                invocation.holder = Holder::Instance(instance);
                let Holder::Instance(instance) = &mut invocation.holder else {
                    unreachable!("it was just put there");
                };
                match instance.begin(entry, &[]) {
                    Ok(()) => return true,
                    Err(error) => {
                        StartError::Exhausted(format!("there is no memory for a stack: {error}"))
                    }
                }
            }
            Err((error, context)) => {
                invocation.holder = Holder::Context(context);
                error
            }
        };
        match error {
            StartError::NotReady => {
                invocation.stage = Stage::Blocked;
                invocation.waited_for_disk = true;
                self.when_ready(service_key, call);
                self.set_deadline(call);
            }
            StartError::Exhausted(message) => {
                self.log.server(Level::Warn, &message);
                self.end(
                    call,
                    End::NotStarted {
                        busy: true,
                        message,
                    },
                );
            }
            StartError::Failed(message) => {
                self.end(
                    call,
                    End::NotStarted {
                        busy: false,
                        message,
                    },
                );
            }
        }
        false
    }

    /// What is to be done for an invocation that has stopped running for now.
    fn between_slices(&mut self, call: Key) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        let lines = invocation.context().stderr.take_lines();
        for line in &lines {
            self.log
                .guest(&invocation.request.function, &invocation.request.id.0, line);
        }
        self.pump_output(call);
        self.ask_for_input(call);
    }

    /// Looks at what an invocation waits for. Whether it can run on at once.
    fn block(&mut self, call: Key) -> bool {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return false;
        };
        let atomic = match &invocation.holder {
            Holder::Instance(instance) => instance.atomic_wait(),
            Holder::Context(_) | Holder::Nobody => None,
        };
        let context = invocation.context();
        let (ready, until) = match context.wait {
            // Nobody can notify it; without a deadline, its call's time limit ends it.
            _ if let Some(wait) = atomic => (wait.notified, wait.deadline),
            None | Some(Wait::Yield) => (true, None),
            Some(Wait::Input) => (context.input.ready(), None),
            Some(Wait::OutputSpace) => (context.output.room() > 0, None),
            Some(Wait::Until(time)) => (false, Some(time)),
            Some(Wait::InputOrUntil(time)) => (context.input.ready(), Some(time)),
        };
        if ready {
            return true;
        }
        invocation.stage = Stage::Blocked;
        if let Some(time) = until {
            let due_ns = self.nanoseconds(time);
            self.wakes.set(due_ns, call);
        }
        false
    }

    fn nanoseconds(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Streams what the guest has written, once that is more than is kept back.
    pub(super) fn pump_output(&mut self, call: Key) {
        let Some(invocation) = self.invocations.get_mut(call) else {
            return;
        };
        if !matches!(invocation.holder, Holder::Instance(_)) {
            return;
        }
        let Some(client) = self.clients.get_mut(invocation.client) else {
            return;
        };
        let streaming = invocation.streaming;
        let id = invocation.request.clone();
        let context = invocation.context();
        // A guest that fills the window and does not wait there may end without writing more.
        let waits = !matches!(context.wait, None | Some(Wait::Yield));
        let output = &mut context.output;
        if streaming.is_none() {
            if output.buffered() < STREAM_AFTER_BYTES || !waits {
                return;
            }
            let Some((status, headers)) = output.head() else {
                return;
            };
            let begun = client
                .connection
                .begin_stream(&mut self.shared, status, headers, &id.id.0);
            if let Err(error) = begun {
                return self.end_early(call, Reason::Host(error.to_string()));
            }
            output.window_bytes = STREAM_WINDOW_BYTES;
            invocation.streaming = Some(status);
        }
        if client.connection.unsent_bytes() < UNSENT_BYTES_MAX {
            let piece = invocation.context().output.take_body();
            invocation.bytes_out += piece.len() as u64;
            client.connection.stream(&mut self.shared, piece);
        }
        if client.connection.is_closed() {
            let client = invocation.client;
            self.ready.push_back(client);
        }
    }
}

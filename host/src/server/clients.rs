//! Clients: accepting them, receiving what they send, and their end.

use super::calls::Arrival;
use super::{ADMIN, CLIENTS, PUBLIC, Server};
use crate::arena::Key;
use crate::gateway::{Accepted, Connection, Expiry, Received};
use crate::http::Refusal;
use crate::log::Level;
use mio::net::TcpStream;
use mio::{Interest, Token};
use std::net::SocketAddr;

/// Steps of one client in a turn of the loop: those who pipeline requests take turns with the others.
const STEPS_MAX: usize = 256;
/// Connections accepted in one go.
const ACCEPTS_MAX: usize = 256;

/// The listener a client came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Public,
    Admin,
}

/// What is being done for a client.
#[derive(Debug)]
pub(super) enum Work {
    Idle,
    /// An invocation.
    Call(Key),
    /// The body of a request to the admin API.
    Upload(Box<super::administration::Upload>),
    /// A deployment.
    Deployment,
}

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    pub connection: Connection<TcpStream>,
    pub side: Side,
    pub remote: SocketAddr,
    pub local: SocketAddr,
    pub work: Work,
}

impl Server {
    /// New connections were reported.
    pub(super) fn accept(&mut self, side: Side) {
        if let Some(listener) = self.listener(side) {
            listener.ready = true;
        }
        self.accept_waiting(side);
    }

    fn listener(&mut self, side: Side) -> Option<&mut crate::gateway::Listener> {
        match side {
            Side::Public => self.public.as_mut(),
            Side::Admin => self.admin.as_mut(),
        }
    }

    /// Accepts connections while there is room; the rest wait for a client to go.
    pub(super) fn accept_waiting(&mut self, side: Side) {
        for _ in 0..ACCEPTS_MAX {
            // The admin API stays reachable when clients of functions have taken all places.
            if side == Side::Public && self.clients.len() >= self.clients_max {
                return;
            }
            let Some(listener) = self.listener(side) else {
                return;
            };
            if !listener.ready {
                return;
            }
            match listener.accept() {
                Accepted::Connection(stream, remote) => self.add_client(stream, remote, side),
                Accepted::Nothing => return,
                Accepted::Exhausted(error) => {
                    let message = format!("connections wait, for none can be accepted: {error}");
                    return self.log.server(Level::Warn, &message);
                }
            }
        }
        // More may be waiting, of which no event will tell; the listener is reported again in the next turn.
        let token = match side {
            Side::Public => PUBLIC,
            Side::Admin => ADMIN,
        };
        let Server {
            poll,
            public,
            admin,
            ..
        } = self;
        let listener = match side {
            Side::Public => public,
            Side::Admin => admin,
        };
        if let Some(listener) = listener {
            // If this fails, the next sweep accepts them.
            let _ = poll
                .registry()
                .reregister(listener.source(), token, Interest::READABLE);
        }
    }

    fn add_client(&mut self, stream: TcpStream, remote: SocketAddr, side: Side) {
        let (local, body_bytes_max) = match side {
            Side::Public => (self.public_address, super::calls::BODY_BYTES_MAX),
            Side::Admin => (self.admin_address, super::administration::BODY_BYTES_MAX),
        };
        let connection = Connection::new(stream, body_bytes_max, self.now_ns);
        let client = Client {
            connection,
            side,
            remote,
            local,
            work: Work::Idle,
        };
        let key = self.clients.insert(client);
        let client = self.clients.get_mut(key).expect("it was just added");
        let token = Token(CLIENTS + key.index());
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = client.connection.transport_mut();
        if self
            .poll
            .registry()
            .register(socket, token, interest)
            .is_err()
        {
            // There is no memory for it; the client sees its connection closed.
            self.clients.remove(key);
        }
    }

    /// A client's socket was reported.
    pub(super) fn on_client_event(&mut self, index: usize, event: &mio::event::Event) {
        // The client may have gone earlier in this turn, and another have its place: that one is looked at in vain.
        let Some(key) = self.clients.key_at(index) else {
            return;
        };
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let ended = event.is_read_closed();
        if event.is_error() || (ended && event.is_write_closed()) {
            client.connection.close(&mut self.shared);
            return self.reap(key);
        }
        if event.is_readable() || ended {
            client.connection.set_readable(ended);
        }
        if event.is_writable() && client.connection.unsent_bytes() > 0 {
            client.connection.flush(&mut self.shared);
            if let Work::Call(call) = client.work {
                self.on_client_took(call);
            }
        }
        self.drive(key);
    }

    /// Receives what a client sent, as far as it can be dealt with now.
    pub(super) fn drive(&mut self, key: Key) {
        for _ in 0..STEPS_MAX {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            let (side, remote, local) = (client.side, client.remote, client.local);
            let ids = &mut self.ids;
            let received = client.connection.receive(&mut self.shared, |head| {
                Arrival::new(head, side, remote, local, ids)
            });
            match received {
                Received::Nothing => return self.reap(key),
                Received::Head(arrival) => match side {
                    Side::Public => self.on_arrival(key, arrival),
                    Side::Admin => self.on_admin_arrival(key, arrival),
                },
                Received::Body(bytes) => match &mut client.work {
                    Work::Call(call) => {
                        let call = *call;
                        let wants_more = match self.invocations.get_mut(call) {
                            Some(invocation) => invocation.take_input(bytes),
                            None => true,
                        };
                        if !wants_more {
                            client.connection.hold_body();
                        }
                        self.on_input(call, !wants_more);
                        if !wants_more {
                            return;
                        }
                    }
                    Work::Upload(upload) => upload.body.extend_from_slice(bytes),
                    Work::Idle | Work::Deployment => {}
                },
                Received::BodyEnd => match &client.work {
                    Work::Call(call) => {
                        let call = *call;
                        self.on_input_end(call);
                    }
                    Work::Upload(_) => self.on_upload_end(key),
                    Work::Idle | Work::Deployment => {}
                },
                Received::Refused(refusal) => self.refuse(key, refusal),
                Received::Closed => return self.reap(key),
            }
        }
        self.ready.push_back(key);
    }

    /// Goes on with a client when its response is out, or its invocation takes input again.
    pub(super) fn drive_later(&mut self, key: Key) {
        if let Some(client) = self.clients.get(key) {
            if client.connection.is_closed() {
                self.reap(key);
            } else if client.connection.has_more() {
                self.ready.push_back(key);
            }
        }
    }

    /// Answers a client that did not keep to the protocol, and ends its request.
    fn refuse(&mut self, key: Key, refusal: Refusal) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match std::mem::replace(&mut client.work, Work::Idle) {
            Work::Call(call) => self.call_off(call, Some(refusal)),
            Work::Upload(_) | Work::Idle => self.reply_refusal(key, refusal),
            Work::Deployment => {}
        }
    }

    /// Removes a client whose connection is over.
    pub(super) fn reap(&mut self, key: Key) {
        if !self
            .clients
            .get(key)
            .is_some_and(|client| client.connection.is_closed())
        {
            return;
        }
        let Some(mut client) = self.clients.remove(key) else {
            return;
        };
        // Closing the socket would do; this keeps mio's own books.
        let _ = self
            .poll
            .registry()
            .deregister(client.connection.transport_mut());
        if let Work::Call(call) = client.work {
            self.call_off(call, None);
        }
        drop(client.connection);
        // There is room for another.
        for side in [Side::Public, Side::Admin] {
            if self.listener(side).is_some_and(|listener| listener.ready) {
                self.accept_waiting(side);
            }
        }
    }

    /// Looks all clients over for those that are too slow.
    pub(super) fn sweep_clients(&mut self) {
        let keys: Vec<Key> = self.clients.keys().collect();
        for key in keys {
            let Some(client) = self.clients.get_mut(key) else {
                continue;
            };
            match client.connection.expiry(&self.shared) {
                None => continue,
                Some(Expiry::Refuse(refusal)) => {
                    client.connection.expire();
                    self.refuse(key, refusal);
                }
                Some(Expiry::Close) => client.connection.close(&mut self.shared),
                Some(Expiry::Abort) => client.connection.abort(&mut self.shared),
            }
            self.reap(key);
        }
    }
}

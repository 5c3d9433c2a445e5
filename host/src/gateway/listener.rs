//! A listening socket that stops accepting when there is no room, without spinning.
//!
//! With edge-triggered polling a connection that is not accepted is not announced again. The listener remembers that
//! there may be some, and is asked again when there is room.

use mio::net::{TcpListener, TcpStream};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// What came of an attempt to accept.
#[derive(Debug)]
pub enum Accepted {
    Connection(TcpStream, SocketAddr),
    /// No connection waits.
    Nothing,
    /// One may be waiting, but the process or the system has no descriptor or memory for it. To be tried again
    /// when a connection was closed or some time has passed.
    Exhausted(io::Error),
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Connections may be waiting.
    pub ready: bool,
}

impl Listener {
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let socket = TcpListener::bind(address)?;
        // Linux hands the option on to every accepted socket. Responses are written whole; to wait for more is a loss.
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        Ok(Listener {
            socket,
            ready: true,
        })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn source(&mut self) -> &mut TcpListener {
        &mut self.socket
    }

    pub fn accept(&mut self) -> Accepted {
        loop {
            match self.socket.accept() {
                Ok((stream, remote)) => return Accepted::Connection(stream, remote),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.ready = false;
                        return Accepted::Nothing;
                    }
                    // accept(2): errors of the new connection, not of the listener.
                    ErrorKind::Interrupted
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::ConnectionReset
                    | ErrorKind::NetworkDown
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::HostUnreachable
                    | ErrorKind::PermissionDenied => {}
                    _ => return Accepted::Exhausted(error),
                },
            }
        }
    }
}

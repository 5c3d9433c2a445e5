//! What a connection needs of a stream socket, so that tests can stand in for one.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// A non-blocking byte stream.
pub trait Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write(&mut self, segments: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Ends our direction; the other stays open.
    fn shutdown_write(&mut self) -> io::Result<()>;
    /// Makes closing reset the connection, so that the client takes nothing for complete.
    fn reset_on_close(&mut self) -> io::Result<()>;
}

impl Transport for mio::net::TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(self, buffer)
    }

    fn write(&mut self, segments: &[IoSlice<'_>]) -> io::Result<usize> {
        match segments {
            [segment] => Write::write(self, segment),
            _ => Write::write_vectored(self, segments),
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset_on_close(&mut self) -> io::Result<()> {
        rustix::net::sockopt::set_socket_linger(&*self, Some(Duration::ZERO))?;
        Ok(())
    }
}

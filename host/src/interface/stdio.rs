//! Standard input, output and error of a guest: of a request, or those of this process.

use super::input::Read;
use super::suspension::Halt;
use super::wasi::Errno;
use super::{Context, Kind, Wait};
use dormouse::Stop;
use rustix::fd::BorrowedFd;

/// Where a guest's standard streams lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// To [`Context::input`], [`Context::output`] and [`Context::stderr`].
    Buffered,
    /// To those of this process, directly; a guest that waits for input holds up the thread, which has nothing else to do.
    Process,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Input,
    Output,
    Error,
}

impl Stream {
    /// This process's own.
    pub fn of_process(self) -> BorrowedFd<'static> {
        match self {
            Stream::Input => rustix::stdio::stdin(),
            Stream::Output => rustix::stdio::stdout(),
            Stream::Error => rustix::stdio::stderr(),
        }
    }
}

impl Context {
    /// Reads standard input, or the body of the request; 0 bytes at its end.
    pub(super) fn read_input(&mut self, into: &mut [u8]) -> Result<usize, Halt<Errno>> {
        match self.stdio {
            Stdio::Process => {
                let stdin = Stream::Input.of_process();
                Ok(retried(|| rustix::io::read(stdin, &mut *into))?)
            }
            Stdio::Buffered => match self.input.read(into) {
                Read::Bytes(bytes) => Ok(bytes),
                Read::End => Ok(0),
                Read::Empty => Err(Halt::Wait(Wait::Input)),
                Read::BrokenOff => Err(Errno::Io.into()),
            },
        }
    }

    /// Whether [`Context::read_input`] would be answered at once.
    pub(super) fn input_ready(&self) -> bool {
        match self.stdio {
            Stdio::Process => process_input_ready(),
            Stdio::Buffered => self.input.ready(),
        }
    }

    /// Writes some of the bytes, at least one, to a stream.
    pub(super) fn write_stream(
        &mut self,
        stream: Stream,
        bytes: &[u8],
    ) -> Result<usize, Halt<Errno>> {
        if self.stdio == Stdio::Process {
            let process = stream.of_process();
            return Ok(retried(|| rustix::io::write(process, bytes))?);
        }
        match (stream, self.kind) {
            (Stream::Input, _) => Err(Errno::BadDescriptor.into()),
            (Stream::Output, Kind::Command) => self.write_output(bytes),
            // What a reactor prints is not its answer.
            (Stream::Output, Kind::Reactor) | (Stream::Error, _) => {
                self.stderr.push(bytes);
                Ok(bytes.len())
            }
        }
    }

    /// Writes some of the bytes, at least one, to the response.
    pub(super) fn write_output(&mut self, bytes: &[u8]) -> Result<usize, Halt<Errno>> {
        if self.stdio == Stdio::Process {
            return self.write_stream(Stream::Output, bytes);
        }
        let written = bytes.len().min(self.output.room());
        if written == 0 && !bytes.is_empty() {
            return Err(Halt::Wait(Wait::OutputSpace));
        }
        match self.output.write(&bytes[..written]) {
            Ok(()) => Ok(written),
            Err(error) => Err(Halt::Stop(Stop::error(error.to_string()))),
        }
    }
}

/// Whether reading this process's standard input would not block.
fn process_input_ready() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdin = Stream::Input.of_process();
    let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // What cannot be polled can be read at once, be it only to learn of the error.
    retried(|| poll(&mut descriptors, Some(&at_once))).map_or(true, |ready| ready > 0)
}

/// Repeats a system call that a signal interrupted: the timer that preempts guests does so at any time.
pub fn retried<T>(call: impl FnMut() -> rustix::io::Result<T>) -> Result<T, Errno> {
    Ok(rustix::io::retry_on_intr(call)?)
}

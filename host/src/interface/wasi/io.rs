//! Reading and writing descriptors: `fd_read`, `fd_write`, `fd_pread`, `fd_pwrite`.

use super::Answer;
use super::descriptors::Object;
use super::errno::Errno;
use super::memory::{Buffers, Memory};
use super::types::{fdflags, rights};
use crate::interface::stdio::{Stdio, Stream, retried};
use crate::interface::suspension::Halt;
use crate::interface::{Context, Wait};
use rustix::fd::{AsFd, BorrowedFd};
use std::io::{IoSlice, IoSliceMut};

pub fn fd_read(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    buffers: Buffers,
    result: u32,
) -> Answer {
    buffers.total_bytes(memory)?;
    memory.slice(result, 4)?;
    let entry = context.wasi.descriptors.get(descriptor)?;
    readable(entry.rights_base)?;
    let read = match &entry.object {
        Object::Directory { .. } => return Err(Errno::BadDescriptor.into()),
        Object::File { file, .. } => read_file(file.as_fd(), memory, buffers, None)?,
        &Object::Stream(stream) => {
            let nonblocking = entry.flags & fdflags::NONBLOCK != 0;
            read_stream(context, memory, stream, buffers, nonblocking)?
        }
    };
    Ok(memory.store_u32(result, read as u32)?)
}

pub fn fd_pread(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    buffers: Buffers,
    offset: u64,
    result: u32,
) -> Answer {
    buffers.total_bytes(memory)?;
    memory.slice(result, 4)?;
    let entry = context.wasi.descriptors.get(descriptor)?;
    let file = entry.as_file()?;
    readable(entry.rights_base)?;
    let read = read_file(file, memory, buffers, Some(offset))?;
    Ok(memory.store_u32(result, read as u32)?)
}

/// `written` is how much of the buffers has been written, so that a write goes on where it was suspended.
pub fn fd_write(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    buffers: Buffers,
    result: u32,
    written: &mut u32,
) -> Answer {
    buffers.total_bytes(memory)?;
    memory.slice(result, 4)?;
    let entry = context.wasi.descriptors.get(descriptor)?;
    writable(entry.rights_base)?;
    match &entry.object {
        Object::Directory { .. } => return Err(Errno::BadDescriptor.into()),
        Object::File { file, .. } => {
            *written = write_file(file.as_fd(), memory, buffers, None)? as u32
        }
        &Object::Stream(stream) => {
            let nonblocking = entry.flags & fdflags::NONBLOCK != 0;
            write_stream(context, memory, stream, buffers, nonblocking, written)?;
        }
    }
    Ok(memory.store_u32(result, *written)?)
}

pub fn fd_pwrite(
    context: &mut Context,
    memory: &mut Memory<'_>,
    descriptor: u32,
    buffers: Buffers,
    offset: u64,
    result: u32,
) -> Answer {
    buffers.total_bytes(memory)?;
    memory.slice(result, 4)?;
    let entry = context.wasi.descriptors.get(descriptor)?;
    let file = entry.as_file()?;
    writable(entry.rights_base)?;
    let written = write_file(file, memory, buffers, Some(offset))?;
    Ok(memory.store_u32(result, written as u32)?)
}

/// Without the right to read, the descriptor is "not open for reading" (read(2)).
fn readable(base: u64) -> Result<(), Errno> {
    if base & rights::FD_READ != 0 {
        Ok(())
    } else {
        Err(Errno::BadDescriptor)
    }
}

fn writable(base: u64) -> Result<(), Errno> {
    if base & rights::FD_WRITE != 0 {
        Ok(())
    } else {
        Err(Errno::BadDescriptor)
    }
}

/// Fills the first buffer that has room. A short read is always allowed, and reading on could wait for bytes that never come.
fn read_stream(
    context: &mut Context,
    memory: &mut Memory<'_>,
    stream: Stream,
    buffers: Buffers,
    nonblocking: bool,
) -> Result<usize, Halt<Errno>> {
    if stream != Stream::Input {
        return Err(Errno::BadDescriptor.into());
    }
    for index in 0..buffers.count() {
        let buffer = buffers.get(memory, index)?;
        if buffer.bytes == 0 {
            continue;
        }
        if nonblocking && !context.input_ready() {
            return Err(Errno::Again.into());
        }
        return context.read_input(memory.slice_mut(buffer.address, buffer.bytes)?);
    }
    Ok(0)
}

/// Writes all of the buffers, waiting where there is no room.
fn write_stream(
    context: &mut Context,
    memory: &mut Memory<'_>,
    stream: Stream,
    buffers: Buffers,
    nonblocking: bool,
    written: &mut u32,
) -> Answer {
    let mut before = 0;
    for index in 0..buffers.count() {
        let buffer = buffers.get(memory, index)?;
        let after = before + buffer.bytes;
        while *written < after {
            let bytes =
                &memory.slice(buffer.address, buffer.bytes)?[(*written - before) as usize..];
            match context.write_stream(stream, bytes) {
                Ok(count) => *written += count as u32,
                Err(Halt::Wait(_)) if nonblocking && *written > 0 => return Ok(()),
                Err(Halt::Wait(_)) if nonblocking => return Err(Errno::Again.into()),
                // What has been written before an error is told first, as write(2) does.
                Err(Halt::Error(_)) if *written > 0 => return Ok(()),
                Err(halt) => return Err(halt),
            }
        }
        before = after;
    }
    Ok(())
}

/// Reads a file at its own position or at the one given, into all buffers by one system call where they do not overlap.
fn read_file(
    file: BorrowedFd<'_>,
    memory: &mut Memory<'_>,
    buffers: Buffers,
    offset: Option<u64>,
) -> Result<usize, Errno> {
    let mut wanted = Vec::with_capacity(buffers.count() as usize);
    for index in 0..buffers.count() {
        let buffer = buffers.get(memory, index)?;
        if buffer.bytes > 0 {
            wanted.push(buffer);
        }
    }
    // Guests pass two buffers in ascending or descending order (their own, then stdio's); sorting by address
    // would change which bytes land where, so that only an ascending array is read at once.
    let ascending = wanted.windows(2).all(|pair| {
        u64::from(pair[0].address) + u64::from(pair[0].bytes) <= u64::from(pair[1].address)
    });
    if !ascending {
        wanted.truncate(1);
    }
    let mut slices = Vec::with_capacity(wanted.len());
    let (mut rest, mut rest_start) = (memory.all_mut(), 0);
    for buffer in &wanted {
        let (_, from) = rest.split_at_mut(buffer.address as usize - rest_start);
        let (slice, tail) = from.split_at_mut(buffer.bytes as usize);
        slices.push(IoSliceMut::new(slice));
        rest = tail;
        rest_start = buffer.address as usize + buffer.bytes as usize;
    }
    match offset {
        None => retried(|| rustix::io::readv(file, &mut slices)),
        Some(offset) => retried(|| rustix::io::preadv(file, &mut slices, offset)),
    }
}

fn write_file(
    file: BorrowedFd<'_>,
    memory: &Memory<'_>,
    buffers: Buffers,
    offset: Option<u64>,
) -> Result<usize, Errno> {
    let mut slices = Vec::with_capacity(buffers.count() as usize);
    for index in 0..buffers.count() {
        let buffer = buffers.get(memory, index)?;
        slices.push(IoSlice::new(memory.slice(buffer.address, buffer.bytes)?));
    }
    match offset {
        None => retried(|| rustix::io::writev(file, &slices)),
        Some(offset) => retried(|| rustix::io::pwritev(file, &slices, offset)),
    }
}

/// Whether bytes can be read from and written to a stream now, for `poll_oneoff`: how many, or what to wait for.
pub fn stream_ready(context: &Context, stream: Stream, reading: bool) -> Result<u64, Halt<Errno>> {
    match (stream, reading) {
        (Stream::Input, true) if context.input_ready() => Ok(match context.stdio {
            Stdio::Buffered => context.input.buffered() as u64,
            Stdio::Process => 1,
        }),
        (Stream::Input, true) => Err(Halt::Wait(Wait::Input)),
        (Stream::Output, false) => match (context.stdio, context.output.room()) {
            (Stdio::Buffered, 0) => Err(Halt::Wait(Wait::OutputSpace)),
            (Stdio::Buffered, room) => Ok(room as u64),
            (Stdio::Process, _) => Ok(1),
        },
        (Stream::Error, false) => Ok(1),
        (Stream::Input, false) | (Stream::Output | Stream::Error, true) => {
            Err(Errno::BadDescriptor.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::Kind;
    use crate::interface::tests::call;

    /// Memory whose first bytes are an array of buffers.
    fn memory_with(buffers: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        for (index, (address, length)) in buffers.iter().enumerate() {
            bytes[index * 8..index * 8 + 4].copy_from_slice(&address.to_le_bytes());
            bytes[index * 8 + 4..index * 8 + 8].copy_from_slice(&length.to_le_bytes());
        }
        bytes
    }

    fn write(
        context: &mut Context,
        bytes: &mut [u8],
        descriptor: u32,
        count: u32,
        written: &mut u32,
    ) -> Answer {
        let buffers = Buffers::new(0, count)?;
        fd_write(
            context,
            &mut Memory::new(bytes),
            descriptor,
            buffers,
            248,
            written,
        )
    }

    fn read(context: &mut Context, bytes: &mut [u8], descriptor: u32, count: u32) -> Answer {
        let buffers = Buffers::new(0, count)?;
        fd_read(context, &mut Memory::new(bytes), descriptor, buffers, 248)
    }

    #[test]
    fn a_command_answers_on_standard_output() {
        let mut context = call(Kind::Command);
        let mut bytes = memory_with(&[(100, 3), (0, 0), (103, 2)]);
        bytes[100..105].copy_from_slice(b"<a>bc");
        assert!(write(&mut context, &mut bytes, 1, 3, &mut 0).is_ok());
        assert_eq!(bytes[248], 5);
        assert!(write(&mut context, &mut bytes, 2, 1, &mut 0).is_ok());
        context.finish().unwrap();
        assert_eq!(context.output.take_body(), b"<a>bc");
        assert_eq!(context.stderr.take_lines(), ["<a>"]);
    }

    #[test]
    fn what_a_reactor_prints_is_not_its_answer() {
        let mut context = call(Kind::Reactor);
        let mut bytes = memory_with(&[(100, 3)]);
        bytes[100..103].copy_from_slice(b"hi\n");
        assert!(write(&mut context, &mut bytes, 1, 1, &mut 0).is_ok());
        assert_eq!(context.output.buffered(), 0);
        assert_eq!(context.stderr.take_lines(), ["hi"]);
    }

    #[test]
    fn a_write_goes_on_where_it_was_suspended() {
        let mut context = call(Kind::Command);
        context.output.write(b"\n").unwrap();
        context.output.take_body();
        context.output.window_bytes = 4;
        let mut bytes = memory_with(&[(100, 3), (103, 7)]);
        bytes[100..110].copy_from_slice(b"0123456789");
        let (mut written, mut body) = (0, Vec::new());
        loop {
            match write(&mut context, &mut bytes, 1, 2, &mut written) {
                Ok(()) => break,
                Err(Halt::Wait(Wait::OutputSpace)) => body.extend(context.output.take_body()),
                Err(_) => panic!("must wait for space"),
            }
        }
        body.extend(context.output.take_body());
        assert_eq!(body, b"0123456789");
        assert_eq!(bytes[248], 10);
    }

    #[test]
    fn reading_waits_for_input_and_fills_one_buffer() {
        let mut context = call(Kind::Command);
        let mut bytes = memory_with(&[(100, 0), (100, 4), (200, 4)]);
        assert!(matches!(
            read(&mut context, &mut bytes, 0, 3),
            Err(Halt::Wait(Wait::Input))
        ));
        context.input.push(*b"abcdef");
        assert!(read(&mut context, &mut bytes, 0, 3).is_ok());
        assert_eq!(
            (bytes[248], &bytes[100..104], bytes[200]),
            (4, &b"abcd"[..], 0)
        );
        context.input.error();
        assert!(read(&mut context, &mut bytes, 0, 3).is_ok());
        assert!(matches!(
            read(&mut context, &mut bytes, 0, 3),
            Err(Halt::Error(Errno::Io))
        ));
        assert!(read(&mut context, &mut bytes, 0, 1).is_ok());
        assert_eq!(bytes[248], 0);
    }

    #[test]
    fn hostile_buffers_are_errors() {
        let mut context = call(Kind::Command);
        context.input.push(*b"abc");
        for buffers in [(255, 2), (u32::MAX, 1), (0, u32::MAX), (257, 0)] {
            let mut bytes = memory_with(&[buffers]);
            assert!(matches!(
                read(&mut context, &mut bytes, 0, 1),
                Err(Halt::Error(Errno::Fault))
            ));
            assert!(matches!(
                write(&mut context, &mut bytes, 1, 1, &mut 0),
                Err(Halt::Error(Errno::Fault))
            ));
        }
        let mut bytes = memory_with(&[(100, 4)]);
        for (descriptor, count, error) in [
            (0, 33, Errno::Fault),
            (0, 1025, Errno::Invalid),
            (1, 1, Errno::BadDescriptor),
            (3, 1, Errno::BadDescriptor),
            (u32::MAX, 1, Errno::BadDescriptor),
        ] {
            let Err(Halt::Error(got)) = read(&mut context, &mut bytes, descriptor, count) else {
                panic!()
            };
            assert_eq!(got, error);
        }
        let buffers = Buffers::new(0, 1).unwrap_or_else(|_| panic!());
        let result = fd_read(&mut context, &mut Memory::new(&mut bytes), 0, buffers, 254);
        assert!(matches!(result, Err(Halt::Error(Errno::Fault))));
        assert_eq!(
            context.input.buffered(),
            3,
            "nothing is read that cannot be told"
        );
    }

    #[test]
    fn buffers_may_lie_over_the_array_that_names_them() {
        let mut context = call(Kind::Command);
        let mut bytes = memory_with(&[(0, 16), (0, 16)]);
        context.input.push([0xff; 32]);
        assert!(read(&mut context, &mut bytes, 0, 2).is_ok());
        assert_eq!(bytes[248], 16);
    }
}

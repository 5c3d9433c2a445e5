//! The module `dormouse`: the request and the response as calls (`guests/include/dormouse.h` is its declaration in C).
//!
//! The calls follow Faasm's host interface (Shillaker and Pietzuch, "Faasm: Lightweight Isolation for Efficient Stateful
//! Serverless Computing", USENIX ATC 2020, table 2). They return no error numbers: a guest that calls them wrongly is
//! stopped with a message for its author.

use super::suspension::{Halt, complete};
use super::wasi::Errno;
use super::{Context, Origin, Stdio, cgi};
use dormouse::{Caller, Imports, Stop};

const MODULE: &str = "dormouse";

/// What `call_header` returns for a header the request does not have.
const ABSENT: i32 = -1;

/// The most bytes of one call that fit its result, an `i32`.
const READ_BYTES_MAX: u32 = i32::MAX as u32;

pub fn define(imports: &mut Imports) {
    imports.define(
        MODULE,
        "read_call_input",
        |caller: &mut Caller<'_>, buffer: u32, bytes: u32| {
            let bytes = bytes.min(READ_BYTES_MAX);
            let read = complete(caller, |context, memory| {
                let into = range_mut(memory, "read_call_input", buffer, bytes)?;
                context.read_input(into)
            })?;
            match read {
                Ok(bytes) => Ok(bytes as i32),
                Err(error) => Err(broken("read_call_input", "the request's body", error)),
            }
        },
    );
    imports.define(
        MODULE,
        "write_call_output",
        |caller: &mut Caller<'_>, buffer: u32, bytes: u32| {
            let mut written = 0;
            let result = complete(caller, |context, memory| {
                let from = range_mut(memory, "write_call_output", buffer, bytes)?;
                while written < from.len() {
                    written += context.write_output(&from[written..])?;
                }
                Ok(())
            })?;
            result.map_err(|error| broken("write_call_output", "the response", error))
        },
    );
    imports.define(
        MODULE,
        "call_header",
        |caller: &mut Caller<'_>, name: u32, name_bytes: u32, buffer: u32, bytes: u32| {
            let (context, memory) = caller.data_and_memory::<Context>();
            header(context, memory, [name, name_bytes], [buffer, bytes])
        },
    );
    imports.define(
        MODULE,
        "set_status",
        |caller: &mut Caller<'_>, code: u32| {
            let context = caller.data::<Context>();
            // A program that runs by itself has no response; what it prints is all there is.
            if context.stdio == Stdio::Process {
                return Ok(());
            }
            context
                .output
                .set_status(code)
                .map_err(|error| Stop::error(error.to_string()))
        },
    );
    imports.define(
        MODULE,
        "set_header",
        |caller: &mut Caller<'_>, name: u32, name_bytes: u32, value: u32, value_bytes: u32| {
            let (context, memory) = caller.data_and_memory::<Context>();
            if context.stdio == Stdio::Process {
                return Ok(());
            }
            let name = range(memory, "set_header", name, name_bytes)?;
            let value = range(memory, "set_header", value, value_bytes)?;
            context
                .output
                .add_header(name, value)
                .map_err(|error| Stop::error(error.to_string()))
        },
    );
}

/// `call_header`: copies as much of a header's value as fits and returns its whole length.
///
/// The name `:method`, `:path` or `:query` means that part of the request line; the path is what follows `/NAME`,
/// decoded as PATH_INFO is.
fn header(
    context: &Context,
    memory: &mut [u8],
    [name, name_bytes]: [u32; 2],
    [buffer, bytes]: [u32; 2],
) -> Result<i32, Stop> {
    let Origin::Call { request, .. } = &context.origin else {
        return Ok(ABSENT);
    };
    let name = range(memory, "call_header", name, name_bytes)?;
    let path;
    let value = match name {
        b":method" => Some(request.method.as_bytes()),
        b":query" => Some(request.query.as_bytes()),
        b":path" => {
            path = cgi::decoded_path(&request.path);
            Some(path.as_slice())
        }
        _ => std::str::from_utf8(name)
            .ok()
            .and_then(|name| request.header(name)),
    };
    let into = range_of(memory, "call_header", buffer, bytes)?;
    let Some(value) = value else {
        return Ok(ABSENT);
    };
    let copied = value.len().min(bytes as usize);
    memory[into][..copied].copy_from_slice(&value[..copied]);
    Ok(value.len() as i32)
}

fn range_of(
    memory: &[u8],
    call: &str,
    address: u32,
    bytes: u32,
) -> Result<std::ops::Range<usize>, Stop> {
    let range = address as usize..(address as usize).saturating_add(bytes as usize);
    if range.end > memory.len() {
        return Err(Stop::error(format!(
            "{call}: {bytes} bytes at {address:#x} lie beyond the guest's memory of {} bytes",
            memory.len()
        )));
    }
    Ok(range)
}

fn range<'a>(memory: &'a [u8], call: &str, address: u32, bytes: u32) -> Result<&'a [u8], Stop> {
    Ok(&memory[range_of(memory, call, address, bytes)?])
}

fn range_mut<'a>(
    memory: &'a mut [u8],
    call: &str,
    address: u32,
    bytes: u32,
) -> Result<&'a mut [u8], Halt<Errno>> {
    let range = range_of(memory, call, address, bytes).map_err(Halt::Stop)?;
    Ok(&mut memory[range])
}

fn broken(call: &str, what: &str, error: Errno) -> Stop {
    match error {
        Errno::Io => Stop::error(format!("{call}: the client broke off {what}")),
        error => Stop::error(format!("{call}: {what}: {error:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::Kind;
    use crate::interface::tests::request;
    use std::rc::Rc;

    fn context() -> Context {
        let mut request = request("PUT", "/a%20b", "q=1");
        request.headers = vec![("X-Long".into(), vec![b'v'; 100])];
        Context::call(Rc::new(request), Kind::Reactor, Rc::new([]))
    }

    /// Asks for a header by name with the buffer at 64, in 128 bytes of memory.
    fn check(name: &str, bytes: u32, length: i32, copied: &[u8]) {
        let mut memory = vec![0; 128];
        memory[..name.len()].copy_from_slice(name.as_bytes());
        let name = [0, name.len() as u32];
        assert_eq!(
            header(&context(), &mut memory, name, [64, bytes]),
            Ok(length)
        );
        assert_eq!(&memory[64..64 + copied.len()], copied);
        assert!(memory[64 + copied.len()..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn header_is_cut_to_the_buffer_and_its_length_told() {
        check("x-LONG", 0, 100, b"");
        check("x-LONG", 3, 100, b"vvv");
        check("x-none", 3, -1, b"");
        check(":method", 64, 3, b"PUT");
        check(":path", 64, 4, b"/a b");
        check(":query", 64, 3, b"q=1");
        check(":other", 64, -1, b"");
        check("\0", 64, -1, b"");
    }

    #[test]
    fn pointers_beyond_memory_stop_the_guest() {
        let mut memory = vec![0; 128];
        for (name, buffer) in [
            ([u32::MAX, 1], [0, 0]),
            ([0, u32::MAX], [0, 0]),
            ([129, 0], [0, 0]),
            ([0, 1], [127, 2]),
            ([0, 1], [u32::MAX, u32::MAX]),
        ] {
            assert!(header(&context(), &mut memory, name, buffer).is_err());
        }
    }
}

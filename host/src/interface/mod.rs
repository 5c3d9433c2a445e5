//! What guests import: WASI preview 1 and the module `dormouse`, and what the host keeps of each instance for them.
//!
//! An instance's data is its [`Context`]. One is made for every call, so that it is small and owns no memory until it is
//! used: environment and descriptors come into being when the guest asks for them, and a reactor that never
//! touches WASI never pays for it. Host functions do no I/O of their own while they serve a request: they take from
//! [`Input`], put into [`Output`] and, where they must wait, note a [`Wait`] and suspend the guest.

mod call;
mod cgi;
mod drive;
mod input;
mod lines;
mod output;
mod stdio;
mod suspension;
mod wasi;

pub use drive::drive;
pub use input::Input;
pub use lines::{Lines, printable};
pub use output::{Headers, Output, OutputError};
pub use stdio::Stdio;
pub use wasi::PreopenError;

use dormouse::Imports;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

/// What a function is, by its exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Exports `_start`; answers by CGI/1.1.
    Command,
    /// Exports `handle: () -> i32`; answers through the module `dormouse`.
    Reactor,
}

/// A request's number in logs and in the header `X-Request-Id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub String);

/// A request as its function sees it, without its body.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// What follows `/NAME` in the path, percent-encoded as it was sent; empty or beginning with `/`.
    pub path: String,
    /// The target as it was sent: path and query.
    pub raw_target: String,
    /// What follows `?`, as it was sent; empty if there is none.
    pub query: String,
    pub headers: Vec<(String, Vec<u8>)>,
    /// The length of the body where it is known in advance.
    pub content_length: Option<u64>,
    pub remote: SocketAddr,
    pub local: SocketAddr,
    pub function: String,
    pub id: RequestId,
}

impl Request {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }
}

/// What a suspended guest waits for. It may be resumed for no reason; it then looks again and waits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Bytes of [`Input`], its end or its error.
    Input,
    /// Fewer bytes in [`Output`] than its window has.
    OutputSpace,
    /// A point in time.
    Until(Instant),
    /// Either of both.
    InputOrUntil(Instant),
    /// Only for others to have their turn.
    Yield,
}

/// What may be drawn from outside while an instance is initialised, before its image is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitPolicy {
    /// Randomness and time would be the same in every instance; asking for them is an error.
    Refuse,
    /// The function's author knows and accepts that (`init-entropy=allow`).
    Allow,
}

/// Where arguments and environment come from.
#[derive(Debug)]
enum Origin {
    Command {
        arguments: Vec<Vec<u8>>,
        environment: Vec<(String, String)>,
    },
    Call {
        request: Rc<Request>,
        environment: Rc<[(String, String)]>,
    },
}

/// What the host keeps for one instance during one call: the instance's data.
pub struct Context {
    pub input: Input,
    pub output: Output,
    /// Standard error; of a reactor, standard output too.
    pub stderr: Lines,
    /// What the guest waits for while it is suspended.
    pub wait: Option<Wait>,
    stdio: Stdio,
    kind: Kind,
    origin: Origin,
    initialising: Option<InitPolicy>,
    wasi: wasi::State,
}

impl Context {
    /// For a call that answers a request. `environment` is the function's own; the request's variables
    /// come before it.
    pub fn call(request: Rc<Request>, kind: Kind, environment: Rc<[(String, String)]>) -> Context {
        Context::new(
            Stdio::Buffered,
            kind,
            Origin::Call {
                request,
                environment,
            },
        )
    }

    /// For a program that runs by itself (`dormouse run`), with these arguments (its name first) and variables.
    pub fn command(
        arguments: Vec<Vec<u8>>,
        environment: Vec<(String, String)>,
        stdio: Stdio,
    ) -> Context {
        Context::new(
            stdio,
            Kind::Command,
            Origin::Command {
                arguments,
                environment,
            },
        )
    }

    /// For the initialisation of a function at deploy: no input, and all output is for the log.
    pub fn initialising(environment: Vec<(String, String)>, policy: InitPolicy) -> Context {
        let origin = Origin::Command {
            arguments: Vec::new(),
            environment,
        };
        let mut context = Context::new(Stdio::Buffered, Kind::Reactor, origin);
        context.input.end();
        context.initialising = Some(policy);
        context
    }

    fn new(stdio: Stdio, kind: Kind, origin: Origin) -> Context {
        Context {
            input: Input::default(),
            output: match kind {
                Kind::Command => Output::of_command(),
                Kind::Reactor => Output::of_reactor(),
            },
            stderr: Lines::default(),
            wait: None,
            stdio,
            kind,
            origin,
            initialising: None,
            wasi: wasi::State::default(),
        }
    }

    /// The call has ended: a last line of standard error is complete, and the head of the response is known unless it
    /// is an error.
    pub fn finish(&mut self) -> Result<(), OutputError> {
        self.stderr.finish();
        self.output.finish()
    }

    /// Calls `put` with the name and value of every environment variable.
    fn environment(&self, mut put: impl FnMut(&[u8], &[u8])) {
        let own = match &self.origin {
            Origin::Command { environment, .. } => environment.as_slice(),
            Origin::Call {
                request,
                environment,
            } => {
                cgi::environment(request, &mut put);
                environment
            }
        };
        for (name, value) in own {
            put(name.as_bytes(), value.as_bytes());
        }
    }

    /// The message that stops a guest which asks for `what` while it must not, if it must not.
    fn refused_while_initialising(&self, what: &str) -> Option<String> {
        (self.initialising == Some(InitPolicy::Refuse)).then(|| {
            format!(
                "the function asked for {what} while it was initialised: its state is frozen after that, so every request would see the same. \
                 Ask for it when a request is answered, or deploy with init-entropy=allow if that does no harm"
            )
        })
    }
}

/// Everything a guest may import.
pub fn imports() -> Imports {
    let mut imports = Imports::new();
    wasi::define(&mut imports);
    call::define(&mut imports);
    imports
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn request(method: &str, path: &str, query: &str) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            raw_target: format!("/web{path}?{query}"),
            query: query.into(),
            headers: Vec::new(),
            content_length: None,
            remote: "192.0.2.7:4711".parse().unwrap(),
            local: "127.0.0.1:8080".parse().unwrap(),
            function: "web".into(),
            id: RequestId("r1".into()),
        }
    }

    pub(crate) fn call(kind: Kind) -> Context {
        Context::call(Rc::new(request("GET", "", "")), kind, Rc::new([]))
    }

    #[test]
    fn a_context_is_small() {
        assert!(
            std::mem::size_of::<Context>() <= 512,
            "{}",
            std::mem::size_of::<Context>()
        );
    }
}

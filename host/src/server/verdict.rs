//! What the client and the log are told of a request that was not answered as its function meant to.
//!
//! The client learns what kind of failure it was and the id under which the log has the rest. Nothing that the
//! function computed or holds goes into an error: messages and backtraces are for the log.

use super::endings::End;
use crate::http::{Refusal, ResponseError};
use crate::interface::{Kind, OutputError};
use crate::log::Failure;
use crate::metrics::Outcome;
use crate::store::FunctionName;
use dormouse::{Limit, Reason, Trap};
use std::borrow::Cow;

/// An answer of the server's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub status: u16,
    /// A word for machines.
    pub code: &'static str,
    pub message: Cow<'static, str>,
    pub retry_after_seconds: Option<u32>,
}

/// When a client is to try again that came when everything was busy.
const RETRY_AFTER_SECONDS: u32 = 1;

impl Refused {
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Refused {
        Refused {
            status,
            code,
            message: message.into(),
            retry_after_seconds: None,
        }
    }

    fn busy(code: &'static str, message: &'static str) -> Refused {
        Refused {
            retry_after_seconds: Some(RETRY_AFTER_SECONDS),
            ..Refused::new(503, code, message)
        }
    }

    pub fn no_function(name: &str) -> Refused {
        let message: Cow<'static, str> = if name.is_empty() {
            "a function is called by its name: /NAME or /NAME/...".into()
        } else if FunctionName::is_valid(name) {
            format!("there is no function named {name}").into()
        } else {
            "there is no such function: names have a-z, 0-9, '.', '_' and '-', and begin with a letter or digit".into()
        };
        Refused::new(404, "no_such_function", message)
    }

    pub fn queue_full() -> Refused {
        Refused::busy("queue_full", "too many calls of this function are waiting")
    }

    pub fn of_refusal(refusal: Refusal) -> Refused {
        Refused::new(refusal.status(), refusal.code(), refusal.to_string())
    }

    /// The body of the response: JSON for those who ask for it, a line of text for the others.
    pub fn body(&self, json: bool, request_id: &str) -> (&'static str, Vec<u8>) {
        if json {
            let error = serde_json::json!({
                "code": self.code, "message": self.message, "request_id": request_id,
            });
            let body = serde_json::json!({ "error": error });
            return ("application/json", format!("{body}\n").into_bytes());
        }
        let mut text = self.message.clone().into_owned();
        if !request_id.is_empty() {
            text.push_str(" (request ");
            text.push_str(request_id);
            text.push(')');
        }
        text.push('\n');
        ("text/plain; charset=utf-8", text.into_bytes())
    }
}

/// How an invocation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// For the client.
    pub refused: Refused,
    /// For the log.
    pub failure: Failure,
    pub outcome: Outcome,
}

impl Failed {
    fn new(
        refused: Refused,
        outcome: Outcome,
        message: impl Into<String>,
        backtrace: Vec<String>,
    ) -> Failed {
        let failure = Failure {
            kind: refused.code,
            message: message.into(),
            backtrace,
        };
        Failed {
            refused,
            failure,
            outcome,
        }
    }

    fn plain(
        status: u16,
        code: &'static str,
        client: &'static str,
        message: impl Into<String>,
    ) -> Failed {
        Failed::new(
            Refused::new(status, code, client),
            Outcome::Failed,
            message,
            Vec::new(),
        )
    }

    /// The function set a response that HTTP does not allow.
    pub fn response(error: &ResponseError) -> Failed {
        Failed::plain(500, "bad_response", BAD_RESPONSE, error.to_string())
    }
}

const BAD_RESPONSE: &str = "the function's response is not valid";

/// Judges how an invocation ended: `None` when what the guest wrote is the answer.
///
/// `refused` is a limit that the guest ran into and was told of; if it then fails, that is why.
pub(super) fn judge(
    kind: Kind,
    end: &End,
    refused: Option<&Limit>,
    output: Result<(), OutputError>,
) -> Option<Failed> {
    let failed = match end {
        End::Returned(None | Some(0)) => None,
        End::Returned(Some(code)) => Some(exit(kind, *code, Vec::new())),
        End::Stopped(Trap {
            reason: Reason::Exit(0),
            ..
        }) => None,
        End::Stopped(Trap {
            reason: Reason::Exit(code),
            backtrace,
        }) => Some(exit(kind, *code, frames(backtrace))),
        End::Stopped(Trap {
            reason: Reason::Limit(reached),
            backtrace,
        }) => {
            return Some(limit(reached, frames(backtrace)));
        }
        End::Stopped(Trap { reason, backtrace }) => Some(trapped(reason, frames(backtrace))),
        End::NotStarted {
            busy: true,
            message,
        } => {
            let refused = Refused::busy("no_instance", "the server has no room for another call");
            return Some(Failed::new(
                refused,
                Outcome::Failed,
                message.clone(),
                Vec::new(),
            ));
        }
        End::NotStarted {
            busy: false,
            message,
        } => {
            return Some(Failed::plain(
                500,
                "cannot_start",
                "the function cannot be started; the server's log has the reason",
                message.clone(),
            ));
        }
        End::Abandoned(refusal) => {
            let refused = match refusal {
                Some(refusal) => Refused::of_refusal(*refusal),
                None => Refused::new(499, "client_gone", "the client is gone"),
            };
            let message = refused.message.clone();
            return Some(Failed::new(
                refused,
                Outcome::Abandoned,
                message,
                Vec::new(),
            ));
        }
    };
    match (failed, refused) {
        (Some(failed), Some(refused)) => {
            let mut failed_by_limit = limit(refused, failed.failure.backtrace);
            failed_by_limit.failure.message = format!(
                "{}; then {}",
                failed_by_limit.failure.message, failed.failure.message
            );
            Some(failed_by_limit)
        }
        (Some(failed), None) => Some(failed),
        (None, _) => {
            let error = output.err()?;
            Some(Failed::plain(
                500,
                "bad_response",
                BAD_RESPONSE,
                error.to_string(),
            ))
        }
    }
}

fn exit(kind: Kind, code: i32, backtrace: Vec<String>) -> Failed {
    let message = match kind {
        Kind::Command => format!("the function ended with exit code {code}"),
        Kind::Reactor => format!("the function returned {code}; 0 means success"),
    };
    let refused = Refused::new(500, "function_failed", "the function failed");
    Failed::new(refused, Outcome::Failed, message, backtrace)
}

fn limit(limit: &Limit, backtrace: Vec<String>) -> Failed {
    let (status, code) = match limit {
        Limit::Memory { .. } => (500, "memory_limit"),
        Limit::Table { .. } => (500, "table_limit"),
        Limit::CpuTime(_) => (504, "cpu_limit"),
        Limit::WallClock(_) => (504, "timeout"),
    };
    let message = limit.to_string();
    Failed::new(
        Refused::new(status, code, message.clone()),
        Outcome::Limited,
        message,
        backtrace,
    )
}

fn trapped(reason: &Reason, backtrace: Vec<String>) -> Failed {
    let (code, client) = match reason {
        Reason::HostPanic(_) => (
            "server_defect",
            "the server failed while it ran the function",
        ),
        Reason::UncaughtException(_) => (
            "uncaught_exception",
            "the function threw an exception that it did not catch",
        ),
        Reason::Host(_) => ("host_error", "the function used a host function wrongly"),
        _ => ("trap", "the function trapped"),
    };
    let refused = Refused::new(500, code, client);
    Failed::new(refused, Outcome::Failed, reason.to_string(), backtrace)
}

fn frames(backtrace: &[dormouse::Frame]) -> Vec<String> {
    backtrace.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse::TrapKind;
    use std::time::Duration;

    fn stopped(reason: Reason) -> End {
        let frame = dormouse::Frame {
            function: 3,
            name: Some("inner".into()),
            offset: Some(31),
        };
        End::Stopped(Trap {
            reason,
            backtrace: vec![frame],
        })
    }

    #[track_caller]
    fn check(kind: Kind, end: &End, refused: Option<&Limit>, status: u16, code: &str) -> Failed {
        let failed = judge(kind, end, refused, Ok(())).expect("a failure");
        assert_eq!((failed.refused.status, failed.refused.code), (status, code));
        failed
    }

    #[test]
    fn success_is_an_answer() {
        for end in [
            End::Returned(None),
            End::Returned(Some(0)),
            stopped(Reason::Exit(0)),
        ] {
            assert_eq!(judge(Kind::Command, &end, None, Ok(())), None);
        }
        // A limit that the guest coped with is no failure.
        let limit = Limit::Memory {
            limit_bytes: 1,
            wanted_bytes: 2,
        };
        assert_eq!(
            judge(Kind::Reactor, &End::Returned(Some(0)), Some(&limit), Ok(())),
            None
        );
    }

    #[test]
    fn failures_are_500_and_time_limits_504() {
        let memory = Limit::Memory {
            limit_bytes: 65_536,
            wanted_bytes: 131_072,
        };
        check(
            Kind::Command,
            &stopped(Reason::Exit(3)),
            None,
            500,
            "function_failed",
        );
        check(
            Kind::Reactor,
            &End::Returned(Some(1)),
            None,
            500,
            "function_failed",
        );
        check(
            Kind::Reactor,
            &stopped(Reason::Trap(TrapKind::Unreachable)),
            None,
            500,
            "trap",
        );
        check(
            Kind::Reactor,
            &stopped(Reason::UncaughtException(dormouse::Exception {
                tag: 0,
                name: None,
                types: Vec::new(),
                words: Vec::new(),
            })),
            None,
            500,
            "uncaught_exception",
        );
        check(
            Kind::Reactor,
            &stopped(Reason::HostPanic("x".into())),
            None,
            500,
            "server_defect",
        );
        check(
            Kind::Reactor,
            &stopped(Reason::Limit(memory.clone())),
            None,
            500,
            "memory_limit",
        );
        let time = Duration::from_secs(1);
        let cpu = stopped(Reason::Limit(Limit::CpuTime(time)));
        check(Kind::Reactor, &cpu, None, 504, "cpu_limit");
        let wall = stopped(Reason::Limit(Limit::WallClock(time)));
        check(Kind::Reactor, &wall, None, 504, "timeout");
        let failed = check(
            Kind::Command,
            &stopped(Reason::Exit(1)),
            Some(&memory),
            500,
            "memory_limit",
        );
        assert!(failed.refused.message.contains("65536"), "{failed:?}");
        assert!(failed.failure.message.contains("exit code 1"), "{failed:?}");
    }

    #[test]
    fn nothing_of_the_guest_is_told_to_the_client() {
        let failed = check(
            Kind::Reactor,
            &stopped(Reason::Host("secret at 0x1000".into())),
            None,
            500,
            "host_error",
        );
        for json in [false, true] {
            let (_, body) = failed.refused.body(json, "id-1");
            let body = String::from_utf8(body).unwrap();
            assert!(
                !body.contains("secret") && !body.contains("inner"),
                "{body}"
            );
            assert!(body.contains("id-1"), "{body}");
        }
        assert!(failed.failure.message.contains("secret"));
        assert_eq!(failed.failure.backtrace.len(), 1);
    }

    #[test]
    fn a_response_that_cannot_be_sent_is_a_failure() {
        let error = OutputError::Status(99);
        let failed = judge(Kind::Reactor, &End::Returned(Some(0)), None, Err(error)).unwrap();
        assert_eq!(
            (failed.refused.status, failed.refused.code),
            (500, "bad_response")
        );
    }

    #[test]
    fn json_is_for_those_who_ask() {
        let refused = Refused::no_function("x\"y");
        let (kind, body) = refused.body(true, "");
        assert_eq!(kind, "application/json");
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["error"]["code"], "no_such_function");
    }
}

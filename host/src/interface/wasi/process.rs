//! The process: `proc_raise`; and sockets, of which there are none yet: `sock_*`.

use super::Answer;
use super::errno::Errno;
use crate::interface::Context;
use crate::interface::suspension::Halt;
use dormouse::Stop;

/// Names of `signal`, from 1 on.
const SIGNALS: [&str; 30] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "POLL", "PWR", "SYS",
];

/// A guest has no signal handlers, so that a signal that ends a process by default ends it.
pub fn proc_raise(signal: u32) -> Answer {
    match signal {
        0 => Ok(()),
        _ => match SIGNALS.get(signal as usize - 1) {
            // Ignored by default.
            Some(&("CHLD" | "CONT" | "URG" | "WINCH")) => Ok(()),
            Some(name) => Err(Halt::Stop(Stop::error(format!(
                "the guest raised SIG{name}"
            )))),
            None => Err(Errno::Invalid.into()),
        },
    }
}

/// Any operation on a socket: an open descriptor is not one.
pub fn socket(context: &mut Context, descriptor: u32) -> Answer {
    context.wasi.descriptors.get(descriptor)?;
    Err(Errno::NotSocket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_end_the_guest_or_do_nothing() {
        assert!(proc_raise(0).is_ok());
        assert!(proc_raise(16).is_ok());
        let Err(Halt::Stop(Stop::Error(message))) = proc_raise(6) else {
            panic!("must stop")
        };
        assert_eq!(message, "the guest raised SIGABRT");
        assert!(matches!(proc_raise(31), Err(Halt::Error(Errno::Invalid))));
        assert!(matches!(
            proc_raise(u32::MAX),
            Err(Halt::Error(Errno::Invalid))
        ));
    }
}

//! Waiting for a moment more exactly than epoll_wait(2) does, which counts in milliseconds: a timerfd(2) among what is polled.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Ends a poll at a moment. Its events say nothing else, and it need not be looked at after one.
#[derive(Debug)]
pub struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    pub fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // mio asks for edges: what has expired and is not read ends no further poll.
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer })
    }

    /// Has the poll that comes next end after this time, if nothing else ends it. What was set before counts no more.
    pub fn set(&self, time: Duration) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
                // No time at all would mean never.
                tv_nsec: time.subsec_nanos().max(1).into(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Instant;

    #[test]
    fn a_poll_ends_at_the_moment_and_not_again() {
        let mut poll = Poll::new().unwrap();
        let alarm = Alarm::new(poll.registry(), Token(7)).unwrap();
        let mut events = Events::with_capacity(4);
        for time in [Duration::from_micros(300), Duration::ZERO] {
            let began = Instant::now();
            alarm.set(time).unwrap();
            poll.poll(&mut events, None).unwrap();
            assert!(began.elapsed() >= time);
            assert!(events.iter().all(|event| event.token() == Token(7)));
            assert_eq!(events.iter().count(), 1);
        }
        poll.poll(&mut events, Some(Duration::from_millis(2)))
            .unwrap();
        assert!(events.is_empty());
    }
}

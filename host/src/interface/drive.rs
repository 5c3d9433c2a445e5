//! Running a call to its end on a thread that has nothing else to do.

use super::stdio::Stream;
use super::{Context, Stdio, Wait};
use dormouse::{Callable, Instance, Progress, Reason, Trap};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::time::Instant;

/// Begins a call and runs it to its end, sleeping while the guest waits.
///
/// Of a guest whose streams are buffered, input must be complete; output beyond the window is discarded, for there is nobody to
/// take it.
///
/// # Errors
/// When there is no memory for a stack; how the call ended is the value.
///
/// # Panics
/// As [`Instance::begin`], and when the instance's data is not a [`Context`].
pub fn drive(
    instance: &mut Instance,
    callable: Callable,
    arguments: &[u64],
) -> io::Result<Result<Vec<u64>, Trap>> {
    instance.begin(callable, arguments)?;
    loop {
        match instance.resume() {
            Progress::Returned(results) => return Ok(Ok(results)),
            Progress::Stopped(trap) => return Ok(Err(trap)),
            Progress::Preempted => {}
            Progress::Blocked => {
                let waited = match instance.atomic_wait() {
                    Some(atomic) => atomic.sleep(),
                    None => wait(instance.data_mut()),
                };
                if let Err(message) = waited {
                    return Ok(Err(instance.stop(Reason::Host(message.into()))));
                }
            }
        }
    }
}

/// Waits for what the guest waits for, or tells why that never comes.
fn wait(context: &mut Context) -> Result<(), &'static str> {
    match (context.wait, context.stdio) {
        (None | Some(Wait::Yield), _) => std::thread::yield_now(),
        (Some(Wait::Until(deadline)), _) => sleep_until(deadline),
        (Some(Wait::Input), Stdio::Process) => wait_for_input(None),
        (Some(Wait::InputOrUntil(deadline)), Stdio::Process) => wait_for_input(Some(deadline)),
        (Some(Wait::InputOrUntil(deadline)), Stdio::Buffered) => sleep_until(deadline),
        (Some(Wait::Input), Stdio::Buffered) => {
            return Err("the guest waits for input that never comes");
        }
        (Some(Wait::OutputSpace), _) => drop(context.output.take_body()),
    }
    Ok(())
}

fn sleep_until(deadline: Instant) {
    std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
}

/// Returns early when a signal arrives; the guest then looks again.
fn wait_for_input(deadline: Option<Instant>) {
    let stdin = Stream::Input.of_process();
    let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
    let timeout = deadline.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        // The guest looks again after a week as after a year.
        let seconds = left.as_secs().min(7 * 24 * 3600) as i64;
        Timespec {
            tv_sec: seconds,
            tv_nsec: i64::from(left.subsec_nanos()),
        }
    });
    // A failure makes the guest look again, and learn of it by reading.
    let _ = poll(&mut descriptors, timeout.as_ref());
}

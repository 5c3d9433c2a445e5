//! Telling a person at a terminal that something takes long.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Does the work; if it takes over a second and standard error is a terminal, shows there what is being done and for how
/// long, and clears the line in the end.
pub fn with_progress<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    std::thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        scope.spawn(move || {
            let begin = Instant::now();
            let mut shown = false;
            let mut stderr = std::io::stderr();
            // The channel closes when the work is done, or has panicked.
            while is_done.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let _ = write!(stderr, "\r{what} ... {} s", begin.elapsed().as_secs());
                shown = true;
            }
            if shown {
                let _ = write!(stderr, "\r\x1b[K");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

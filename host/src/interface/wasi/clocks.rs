//! Clocks: `clock_*`.

use super::Answer;
use super::errno::Errno;
use super::memory::Memory;
use super::types::clockid;
use crate::interface::Context;
use crate::interface::suspension::Halt;
use dormouse::Stop;
use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::time::Duration;

/// Nanoseconds on the host's clock of this kind.
fn now_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + now.tv_nsec as u64
}

/// Nanoseconds since 1970-01-01 UTC.
pub fn realtime_ns() -> u64 {
    now_ns(ClockId::Realtime)
}

/// Nanoseconds since an arbitrary point in time.
pub fn monotonic_ns() -> u64 {
    now_ns(ClockId::Monotonic)
}

/// `cpu_time` is the guest's own: the clock of this thread would tell it about others.
pub fn clock_time_get(
    context: &mut Context,
    memory: &mut Memory<'_>,
    clock: u32,
    result: u32,
    cpu_time: Duration,
) -> Answer {
    if let Some(message) = context.refused_while_initialising("the time (clock_time_get)") {
        return Err(Halt::Stop(Stop::error(message)));
    }
    let time = match clock {
        clockid::REALTIME => realtime_ns(),
        clockid::MONOTONIC => monotonic_ns(),
        clockid::PROCESS_CPUTIME | clockid::THREAD_CPUTIME => cpu_time.as_nanos() as u64,
        _ => return Err(Errno::Invalid.into()),
    };
    Ok(memory.store_u64(result, time)?)
}

pub fn clock_res_get(_: &mut Context, memory: &mut Memory<'_>, clock: u32, result: u32) -> Answer {
    let clock = match clock {
        clockid::REALTIME => ClockId::Realtime,
        clockid::MONOTONIC => ClockId::Monotonic,
        clockid::PROCESS_CPUTIME | clockid::THREAD_CPUTIME => ClockId::ThreadCPUTime,
        _ => return Err(Errno::Invalid.into()),
    };
    let resolution = clock_getres(clock);
    Ok(memory.store_u64(
        result,
        resolution.tv_sec as u64 * 1_000_000_000 + resolution.tv_nsec as u64,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::tests::call;
    use crate::interface::{InitPolicy, Kind};

    fn time(context: &mut Context, clock: u32) -> Result<u64, Errno> {
        let mut bytes = vec![0; 8];
        let mut memory = Memory::new(&mut bytes);
        match clock_time_get(context, &mut memory, clock, 0, Duration::from_micros(3)) {
            Ok(()) => memory.load_u64(0),
            Err(Halt::Error(error)) => Err(error),
            Err(_) => panic!("a clock stops or suspends no request"),
        }
    }

    #[test]
    fn clocks_tell_time() {
        let mut context = call(Kind::Command);
        assert!(time(&mut context, clockid::REALTIME).unwrap() > 1_600_000_000_000_000_000);
        let first = time(&mut context, clockid::MONOTONIC).unwrap();
        assert!(time(&mut context, clockid::MONOTONIC).unwrap() >= first);
        assert_eq!(time(&mut context, clockid::THREAD_CPUTIME), Ok(3000));
        assert_eq!(time(&mut context, 4), Err(Errno::Invalid));
    }

    #[test]
    fn time_cannot_be_frozen_into_an_image() {
        let mut bytes = vec![0; 8];
        let mut memory = Memory::new(&mut bytes);
        let mut context = Context::initialising(Vec::new(), InitPolicy::Refuse);
        let refused = clock_time_get(&mut context, &mut memory, 0, 0, Duration::ZERO);
        let Err(Halt::Stop(Stop::Error(message))) = refused else {
            panic!("must stop")
        };
        assert!(message.contains("init-entropy=allow"), "{message}");
        let mut context = Context::initialising(Vec::new(), InitPolicy::Allow);
        assert!(time(&mut context, clockid::REALTIME).is_ok());
    }
}

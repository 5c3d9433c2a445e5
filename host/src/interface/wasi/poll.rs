//! Waiting for the first of several things: `poll_oneoff`.
//!
//! The array of subscriptions stays in guest memory and is read anew whenever the guest is resumed; only the point in time
//! at which the earliest clock goes off is kept, for a relative timeout counts from the call.

use super::Answer;
use super::clocks::{monotonic_ns, realtime_ns};
use super::descriptors::Object;
use super::errno::Errno;
use super::io::stream_ready;
use super::memory::Memory;
use super::types::{
    EVENT_BYTES, Event, SUBSCRIPTION_BYTES, SUBSCRIPTION_CLOCK_ABSTIME, clockid, eventtype,
};
use crate::interface::suspension::Halt;
use crate::interface::{Context, Wait};
use std::time::{Duration, Instant};

/// The most subscriptions of one call, so that looking at them takes no noticeable time; more is `EINVAL`.
pub const SUBSCRIPTIONS_MAX: u32 = 4096;

/// How soon a guest that waits for room and something else is resumed to look.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long a guest sleeps at a time that waits for a clock beyond the range of clocks.
const NEVER: Duration = Duration::from_secs(3600);

/// When the call began: relative timeouts count from here.
#[derive(Clone, Copy)]
pub struct Began {
    now: Instant,
    realtime_ns: u64,
    monotonic_ns: u64,
}

impl Began {
    pub fn now() -> Began {
        Began {
            now: Instant::now(),
            realtime_ns: realtime_ns(),
            monotonic_ns: monotonic_ns(),
        }
    }

    /// The instant a clock subscription goes off. One too far away to tell never does.
    fn deadline(
        &self,
        clock: u32,
        timeout_ns: u64,
        absolute: bool,
    ) -> Result<Option<Instant>, Errno> {
        let now_ns = match clock {
            clockid::REALTIME => self.realtime_ns,
            clockid::MONOTONIC => self.monotonic_ns,
            clockid::PROCESS_CPUTIME | clockid::THREAD_CPUTIME => return Err(Errno::NotSupported),
            _ => return Err(Errno::Invalid),
        };
        let left_ns = if absolute {
            timeout_ns.saturating_sub(now_ns)
        } else {
            timeout_ns
        };
        Ok(self.now.checked_add(Duration::from_nanos(left_ns)))
    }
}

/// What a subscription says now.
enum Status {
    Event { error: Option<Errno>, bytes: u64 },
    Pending(Pending),
}

#[derive(Clone, Copy)]
enum Pending {
    Clock(Option<Instant>),
    Input,
    OutputSpace,
}

pub fn poll_oneoff(
    context: &mut Context,
    memory: &mut Memory<'_>,
    [subscriptions, events]: [u32; 2],
    count: u32,
    result: u32,
    began: Began,
) -> Answer {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::Invalid.into());
    }
    memory.slice(subscriptions, count * SUBSCRIPTION_BYTES)?;
    memory.slice(events, count * EVENT_BYTES)?;
    memory.slice(result, 4)?;
    let now = Instant::now();
    let (mut earliest, mut input, mut output_space) = (None::<Instant>, false, false);
    let mut pending = 0;
    // Looked at before anything is stored: the arrays may overlap, and then the guest's subscriptions are as
    // they were for as long as it waits.
    let mut happened = Vec::new();
    for index in 0..count {
        let at = subscriptions + index * SUBSCRIPTION_BYTES;
        let userdata = memory.load_u64(at)?;
        let event_type = memory.load_u8(at + 8)?;
        match status(context, memory, at, event_type, began, now)? {
            Status::Event { error, bytes } => {
                happened.push(Event {
                    userdata,
                    error,
                    event_type,
                    bytes,
                });
            }
            Status::Pending(what) => {
                pending += 1;
                match what {
                    Pending::Clock(at) => {
                        earliest = match (earliest, at) {
                            (Some(one), Some(other)) => Some(one.min(other)),
                            (one, other) => one.or(other),
                        };
                    }
                    Pending::Input => input = true,
                    Pending::OutputSpace => output_space = true,
                }
            }
        }
    }
    if happened.is_empty() {
        debug_assert_eq!(pending, count);
        return Err(Halt::Wait(match (input, output_space, earliest) {
            (false, true, None) => Wait::OutputSpace,
            // Room for output and something else is not a wait of its own: the guest looks again soon.
            (_, true, earliest) => {
                let soon = now + LOOK_AGAIN;
                Wait::Until(earliest.map_or(soon, |earliest| earliest.min(soon)))
            }
            (true, false, Some(earliest)) => Wait::InputOrUntil(earliest),
            (true, false, None) => Wait::Input,
            (false, false, Some(earliest)) => Wait::Until(earliest),
            // Only clocks that never go off: the call ends at its own limits.
            (false, false, None) => Wait::Until(now + NEVER),
        }));
    }
    for (index, event) in happened.iter().enumerate() {
        memory.store(events + index as u32 * EVENT_BYTES, &event.to_bytes())?;
    }
    Ok(memory.store_u32(result, happened.len() as u32)?)
}

fn status(
    context: &Context,
    memory: &Memory<'_>,
    at: u32,
    event_type: u8,
    began: Began,
    now: Instant,
) -> Result<Status, Errno> {
    let event = |error| Ok(Status::Event { error, bytes: 0 });
    match event_type {
        eventtype::CLOCK => {
            let clock = memory.load_u32(at + 16)?;
            let timeout_ns = memory.load_u64(at + 24)?;
            let flags = memory.load_u16(at + 40)?;
            let absolute = flags & SUBSCRIPTION_CLOCK_ABSTIME != 0;
            match began.deadline(clock, timeout_ns, absolute) {
                Ok(Some(deadline)) if deadline <= now => event(None),
                Ok(deadline) => Ok(Status::Pending(Pending::Clock(deadline))),
                Err(error) => event(Some(error)),
            }
        }
        eventtype::FD_READ | eventtype::FD_WRITE => {
            let descriptor = memory.load_u32(at + 16)?;
            let stream = match context.wasi.descriptors.get(descriptor) {
                Ok(entry) => match &entry.object {
                    &Object::Stream(stream) => stream,
                    // Files are always ready (poll(2)).
                    Object::File { .. } => {
                        return Ok(Status::Event {
                            error: None,
                            bytes: 1,
                        });
                    }
                    Object::Directory { .. } => return event(Some(Errno::BadDescriptor)),
                },
                Err(error) => return event(Some(error)),
            };
            match stream_ready(context, stream, event_type == eventtype::FD_READ) {
                Ok(bytes) => Ok(Status::Event { error: None, bytes }),
                Err(Halt::Wait(Wait::OutputSpace)) => Ok(Status::Pending(Pending::OutputSpace)),
                Err(Halt::Wait(_)) => Ok(Status::Pending(Pending::Input)),
                Err(Halt::Error(error)) => event(Some(error)),
                Err(Halt::Stop(_)) => event(Some(Errno::Io)),
            }
        }
        _ => Err(Errno::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::Kind;
    use crate::interface::tests::call;

    const EVENTS: u32 = 512;
    const RESULT: u32 = 1000;

    fn clock(userdata: u64, clock: u32, timeout_ns: u64, flags: u16) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes[0..8].copy_from_slice(&userdata.to_le_bytes());
        bytes[16..20].copy_from_slice(&clock.to_le_bytes());
        bytes[24..32].copy_from_slice(&timeout_ns.to_le_bytes());
        bytes[40..42].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    fn descriptor(userdata: u64, event_type: u8, descriptor: u32) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes[0..8].copy_from_slice(&userdata.to_le_bytes());
        bytes[8] = event_type;
        bytes[16..20].copy_from_slice(&descriptor.to_le_bytes());
        bytes
    }

    /// Userdata, error, type and bytes.
    type EventFields = (u64, u16, u8, u64);

    /// The events, or why there are none.
    fn poll(
        context: &mut Context,
        subscriptions: &[Vec<u8>],
        began: Began,
    ) -> Result<Vec<EventFields>, Halt<Errno>> {
        let mut bytes = subscriptions.concat();
        bytes.resize(1024, 0);
        let mut memory = Memory::new(&mut bytes);
        let count = subscriptions.len() as u32;
        poll_oneoff(context, &mut memory, [0, EVENTS], count, RESULT, began)?;
        (0..memory.load_u32(RESULT)?)
            .map(|index| {
                let at = EVENTS + index * EVENT_BYTES;
                Ok((
                    memory.load_u64(at)?,
                    memory.load_u16(at + 8)?,
                    memory.load_u8(at + 10)?,
                    memory.load_u64(at + 16)?,
                ))
            })
            .collect()
    }

    #[test]
    fn sleeping_waits_until_the_earliest_clock() {
        let mut context = call(Kind::Command);
        let began = Began::now();
        let subscriptions = [clock(1, 1, 3_000_000_000, 0), clock(2, 0, 2_000_000_000, 0)];
        let Err(Halt::Wait(Wait::Until(until))) = poll(&mut context, &subscriptions, began) else {
            panic!("must wait");
        };
        assert_eq!(until, began.now + Duration::from_secs(2));
        let earlier = Began {
            now: began.now - Duration::from_secs(2),
            ..began
        };
        let events = poll(&mut context, &subscriptions, earlier);
        assert_eq!(events.unwrap_or_default(), [(2, 0, 0, 0)]);
    }

    #[test]
    fn absolute_times_in_the_past_are_events_at_once() {
        let mut context = call(Kind::Command);
        let subscriptions = [
            clock(7, 0, 1, 1),
            clock(8, 1, u64::MAX, 1),
            clock(9, 1, 0, 0),
        ];
        let events = poll(&mut context, &subscriptions, Began::now());
        assert_eq!(events.unwrap_or_default(), [(7, 0, 0, 0), (9, 0, 0, 0)]);
    }

    #[test]
    fn a_timeout_that_never_ends_still_only_waits() {
        let mut context = call(Kind::Command);
        let waits = poll(&mut context, &[clock(0, 1, u64::MAX, 0)], Began::now());
        assert!(matches!(waits, Err(Halt::Wait(Wait::Until(_)))));
    }

    #[test]
    fn input_with_a_timeout_waits_for_either() {
        let mut context = call(Kind::Command);
        let subscriptions = [descriptor(1, 1, 0), clock(2, 1, 1_000_000_000, 0)];
        let began = Began::now();
        let waits = poll(&mut context, &subscriptions, began);
        assert!(matches!(waits, Err(Halt::Wait(Wait::InputOrUntil(_)))));
        assert!(matches!(
            poll(&mut context, &subscriptions[..1], began),
            Err(Halt::Wait(Wait::Input))
        ));
        context.input.push(*b"abc");
        let events = poll(&mut context, &subscriptions, began);
        assert_eq!(events.unwrap_or_default(), [(1, 0, 1, 3)]);
    }

    #[test]
    fn output_is_ready_while_there_is_room() {
        let mut context = call(Kind::Reactor);
        let subscriptions = [descriptor(1, 2, 1)];
        let events = poll(&mut context, &subscriptions, Began::now());
        assert_eq!(events.unwrap_or_default(), [(1, 0, 2, 1 << 20)]);
        context.output.window_bytes = 0;
        let began = Began::now();
        let waits = poll(&mut context, &subscriptions, began);
        assert!(matches!(waits, Err(Halt::Wait(Wait::OutputSpace))));
        // A timeout beside it is kept.
        let with_timeout = [descriptor(1, 2, 1), clock(2, 1, 1_000_000, 0)];
        let Err(Halt::Wait(Wait::Until(until))) = poll(&mut context, &with_timeout, began) else {
            panic!("must wait for time");
        };
        assert!(until <= began.now + Duration::from_millis(1));
    }

    #[test]
    fn bad_subscriptions_are_events_with_an_error() {
        let mut context = call(Kind::Command);
        let bad = Errno::BadDescriptor as u16;
        for (subscription, error) in [
            (descriptor(1, 1, 9), bad),
            (descriptor(1, 2, 0), bad),
            (descriptor(1, 1, 1), bad),
            (clock(1, 2, 0, 0), Errno::NotSupported as u16),
            (clock(1, 77, 0, 0), Errno::Invalid as u16),
        ] {
            let event_type = subscription[8];
            let events = poll(&mut context, &[subscription], Began::now());
            assert_eq!(events.unwrap_or_default(), [(1, error, event_type, 0)]);
        }
        let unknown = poll(&mut context, &[descriptor(1, 3, 0)], Began::now());
        assert!(matches!(unknown, Err(Halt::Error(Errno::Invalid))));
    }

    #[test]
    fn hostile_arrays_are_errors() {
        let mut context = call(Kind::Command);
        let mut bytes = vec![0; 1024];
        let mut memory = Memory::new(&mut bytes);
        for (arrays, count, result) in [
            ([0, 512], 0, 0),
            ([0, 512], u32::MAX, 0),
            ([0, 512], SUBSCRIPTIONS_MAX + 1, 0),
            ([0, 512], 100, 0),
            ([1000, 0], 1, 0),
            ([u32::MAX, 0], 1, 0),
            ([0, u32::MAX], 1, 0),
            ([0, 0], 1, 1022),
        ] {
            let result = poll_oneoff(
                &mut context,
                &mut memory,
                arrays,
                count,
                result,
                Began::now(),
            );
            assert!(matches!(result, Err(Halt::Error(_))));
        }
    }
}

//! Traces that are made up, with the shape that was published of real ones.
//!
//! After Shahrad et al., "Serverless in the Wild", USENIX ATC 2020, section 3:
//! * how often functions are called differs by eight orders of magnitude: rates fall with a power of the rank, so that a few
//!   hot functions make nearly all calls and most are called less than once a minute;
//! * a part is called by timers, evenly; the hot ones at random; those called rarely come in bursts;
//! * the load follows the day;
//! * mean run times are log-normal (log mean -0.38, deviation 2.36, in seconds), cut at ten minutes;
//! * memory follows Burr's distribution (c = 11.652, k = 0.221, lambda = 107.083, in MB).
//!
//! The same settings make the same trace, on any machine.

use super::Call;
use crate::simulate::random::Random;
use crate::units::parse_duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::str::FromStr;
use std::time::Duration;

const NS_PER_SECOND: f64 = 1e9;
const DAY_SECONDS: f64 = 86_400.0;

/// Calls a second from which on a function is called at random and not in bursts.
const HOT_RATE: f64 = 1.0 / 60.0;
/// The time between the calls of a burst, on average, in seconds.
const BURST_GAP_SECONDS: f64 = 2.0;
/// The deviation of the logarithm of a call's run time around its function's mean.
const RUN_DEVIATION: f64 = 0.3;
const RUN_LOG_MEAN: f64 = -0.38;
const RUN_LOG_DEVIATION: f64 = 2.36;
const RUN_SECONDS_MAX: f64 = 600.0;

/// The shape of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeneratorOptions {
    pub functions: u32,
    pub span: Duration,
    /// Calls a second, of all functions together.
    pub rate: f64,
    pub seed: u64,
    /// The power of the rank with which rates fall.
    pub skew: f64,
    /// Calls in a burst, on average.
    pub burst: f64,
    /// The part of the functions called rarely that a timer calls.
    pub timers: f64,
    /// By how much the load swings around its mean over the day, from 0 to 1.
    pub swing: f64,
}

impl Default for GeneratorOptions {
    fn default() -> GeneratorOptions {
        GeneratorOptions {
            functions: 1000,
            span: Duration::from_secs(6 * 3600),
            rate: 100.0,
            seed: 1,
            skew: 1.5,
            burst: 5.0,
            timers: 0.3,
            swing: 0.5,
        }
    }
}

impl FromStr for GeneratorOptions {
    type Err = String;

    /// Reads `functions=1000,span=6h,rate=100,seed=1,skew=1.5,burst=5,timers=0.3,swing=0.5`, each part with its default.
    fn from_str(text: &str) -> Result<GeneratorOptions, String> {
        let mut options = GeneratorOptions::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("\"{part}\": write it as NAME=VALUE"))?;
            let number = |least: f64, most: f64| match value.parse::<f64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => Err(format!(
                    "{name}={value}: not a number from {least} to {most}"
                )),
            };
            match name {
                "functions" => options.functions = number(1.0, 1e7)? as u32,
                "span" => options.span = parse_duration(value)?,
                "rate" => options.rate = number(1e-6, 1e7)?,
                "seed" => {
                    options.seed = value
                        .parse()
                        .map_err(|_| format!("seed={value}: not a whole number"))?;
                }
                "skew" => options.skew = number(0.0, 5.0)?,
                "burst" => options.burst = number(1.0, 1e4)?,
                "timers" => options.timers = number(0.0, 1.0)?,
                "swing" => options.swing = number(0.0, 1.0)?,
                _ => {
                    return Err(format!(
                        "there is no \"{name}\"; there are functions, span, rate, seed, skew, burst, timers and swing"
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// How a function is called.
#[derive(Clone, Copy, Debug)]
enum Rhythm {
    Timer,
    Random,
    /// So many calls of the burst are still to come.
    Bursts(u32),
}

#[derive(Clone, Debug)]
struct Function {
    /// Calls a second.
    rate: f64,
    rhythm: Rhythm,
    run_log_mean: f64,
    memory_bytes: u64,
    random: Random,
}

/// A trace that is being made.
pub struct Generator {
    options: GeneratorOptions,
    functions: Vec<Function>,
    /// The next call of each function.
    next: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Generator {
    pub fn new(options: GeneratorOptions) -> Generator {
        let mut random = Random::new(options.seed);
        let weight = |rank: u32| power(f64::from(rank + 1), -options.skew);
        let weights: f64 = (0..options.functions).map(weight).sum();
        let functions = (0..options.functions).map(|rank| {
            let mut random = Random::new(random.draw());
            let rate = options.rate * weight(rank) / weights;
            let rhythm = match rate {
                rate if rate >= HOT_RATE => Rhythm::Random,
                _ if random.part() < options.timers => Rhythm::Timer,
                _ => Rhythm::Bursts(0),
            };
            Function {
                rate,
                rhythm,
                run_log_mean: RUN_LOG_MEAN + RUN_LOG_DEVIATION * random.normal(),
                memory_bytes: burr(random.part()),
                random,
            }
        });
        let mut generator = Generator {
            functions: functions.collect(),
            next: BinaryHeap::new(),
            options,
        };
        for number in 0..options.functions {
            let function = &mut generator.functions[number as usize];
            // A timer is somewhere in its period when the trace begins.
            let first_seconds = match function.rhythm {
                Rhythm::Timer => function.random.part() / function.rate,
                _ => function.gap(&options, 0.0),
            };
            generator.schedule(number, 0, first_seconds);
        }
        generator
    }

    fn schedule(&mut self, number: u32, from_ns: u64, seconds: f64) {
        let at_ns = from_ns.saturating_add((seconds * NS_PER_SECOND) as u64);
        if at_ns < self.options.span.as_nanos() as u64 {
            self.next.push(Reverse((at_ns, number)));
        }
    }

    pub fn next_call(&mut self) -> Option<Call> {
        let Reverse((at_ns, number)) = self.next.pop()?;
        let function = &mut self.functions[number as usize];
        let gap = function.gap(&self.options, at_ns as f64 / NS_PER_SECOND);
        let run_ns = function.run_ns();
        self.schedule(number, at_ns, gap);
        Some(Call {
            at_ns,
            run_ns: Some(run_ns),
            function: number,
        })
    }

    pub fn memory_bytes(&self, function: u32) -> u64 {
        self.functions[function as usize].memory_bytes
    }

    pub fn functions(&self) -> u32 {
        self.options.functions
    }
}

impl Function {
    /// Seconds from one call to the next.
    fn gap(&mut self, options: &GeneratorOptions, now_seconds: f64) -> f64 {
        let day = wave(now_seconds / DAY_SECONDS);
        // Never quite still: a rate of 0 would have no next call.
        let rate = self.rate * (1.0 + options.swing * day).max(0.01);
        match self.rhythm {
            Rhythm::Timer => 1.0 / self.rate,
            Rhythm::Random => self.random.exponential() / rate,
            Rhythm::Bursts(0) => {
                // Geometric, with this mean.
                let more = self.random.exponential() / (1.0 / (1.0 - 1.0 / options.burst)).ln();
                self.rhythm = Rhythm::Bursts(if options.burst > 1.0 { more as u32 } else { 0 });
                self.random.exponential() * options.burst / rate
            }
            Rhythm::Bursts(left) => {
                self.rhythm = Rhythm::Bursts(left - 1);
                self.random.exponential() * BURST_GAP_SECONDS
            }
        }
    }

    fn run_ns(&mut self) -> u64 {
        let log = self.run_log_mean + RUN_DEVIATION * self.random.normal();
        (log.exp().min(RUN_SECONDS_MAX) * NS_PER_SECOND) as u64
    }
}

/// The C library's own powers and sines come in variants for many processors, which would be larger than all else here.
fn power(base: f64, exponent: f64) -> f64 {
    (exponent * base.ln()).exp()
}

/// The sine of so many turns, to 0.002 (Bhaskara's approximation, seventh century).
fn wave(turns: f64) -> f64 {
    let turn = turns.fract();
    let (half, sign) = if turn < 0.5 {
        (turn, 1.0)
    } else {
        (turn - 0.5, -1.0)
    };
    let parabola = 2.0 * half * (1.0 - 2.0 * half);
    sign * 16.0 * parabola / (5.0 - 4.0 * parabola)
}

/// Burr's distribution (type XII) of memory, from its quantile function.
fn burr(part: f64) -> u64 {
    let (c, k, lambda) = (11.652, 0.221, 107.083);
    let megabytes = lambda * power(power(1.0 - part, -1.0 / k) - 1.0, 1.0 / c);
    (megabytes * 1e6) as u64
}

//! What must hold of the pool under any sequence of events, against a model that keeps no books but the list of instances.

use super::histogram::HybridOptions;
use super::*;
use std::collections::HashMap;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
const OPTIONS: PredictiveOptions = PredictiveOptions {
    window_ns: 10 * SECOND,
    headroom: 1,
    headroom_ns: 60 * SECOND,
};

/// Every policy, with times short enough to matter within a test.
fn policies() -> [PolicyOptions; 5] {
    [
        PolicyOptions::Predicted(OPTIONS),
        PolicyOptions::Fixed(2),
        PolicyOptions::KeepAlive(Duration::from_secs(20)),
        PolicyOptions::Histogram(HybridOptions {
            bin_ns: SECOND / 2,
            bins: 30,
            ..HybridOptions::default()
        }),
        PolicyOptions::GreedyDual,
    ]
}

/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// The time to the next event of a Poisson process.
    fn exponential(&mut self, per_second: f64) -> u64 {
        let uniform = ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        (-uniform.ln() / per_second * SECOND as f64) as u64
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Waiting,
    Running { since_ns: u64 },
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    id: FunctionId,
    held_bytes: u64,
    place: Place,
}

/// A pool of numbers and, beside it, where each number must be.
struct Model {
    pool: Pool<u64>,
    policy: PolicyOptions,
    limits: Limits,
    records: Vec<Record>,
    /// When each function was last requested or released, as a count of events.
    used: HashMap<FunctionId, u64>,
    events: u64,
    now_ns: u64,
    given_up: Vec<u64>,
}

impl Model {
    fn new(limits: Limits, policy: PolicyOptions) -> Model {
        Model {
            pool: Pool::new(limits, Chosen::new(&policy)),
            policy,
            limits,
            records: Vec::new(),
            used: HashMap::new(),
            events: 0,
            now_ns: 0,
            given_up: Vec::new(),
        }
    }

    fn use_now(&mut self, id: FunctionId) {
        self.events += 1;
        self.used.insert(id, self.events);
    }

    fn make(&mut self, id: FunctionId, place: Place) -> u64 {
        self.records.push(Record {
            id,
            held_bytes: 0,
            place,
        });
        self.records.len() as u64 - 1
    }

    fn request(&mut self, id: FunctionId) {
        self.use_now(id);
        let running = Place::Running {
            since_ns: self.now_ns,
        };
        let waiting = self.waiting_of(id);
        match self.pool.request(id, self.now_ns) {
            Start::Warm(instance) => {
                let record = &mut self.records[instance as usize];
                assert_eq!((record.id, record.place), (id, Place::Waiting));
                record.place = running;
            }
            Start::Cold => {
                assert_eq!(waiting, 0, "a cold start while an instance waits");
                self.make(id, running);
                self.pool.restored(id, 10_000 + self.events % 7 * 1000);
            }
        }
    }

    fn release(&mut self, instance: u64, held_bytes: u64) {
        let Record { id, place, .. } = self.records[instance as usize];
        let Place::Running { since_ns } = place else {
            panic!("{instance} does not run")
        };
        let valid = self.used.contains_key(&id);
        if valid {
            self.use_now(id);
        }
        let finished = Finished {
            instance,
            held_bytes,
            run_ns: self.now_ns - since_ns,
        };
        let refused = self.pool.refuses(id);
        match self
            .pool
            .release(id, finished, &mut self.given_up, self.now_ns)
        {
            Release::Keep => {
                assert!(!refused, "what is refused was kept");
                assert!(valid, "an instance of an old version was kept");
                self.records[instance as usize] = Record {
                    id,
                    held_bytes,
                    place: Place::Waiting,
                };
                let target = self.pool.target(id, self.now_ns);
                assert!(
                    self.waiting_of(id) <= target as usize,
                    "more than {target} kept"
                );
            }
            Release::Drop => assert_eq!(self.given_up.last(), Some(&instance)),
        }
        assert!(self.given_up.len() <= warm::GIVEN_UP_MAX + 1);
        self.settle(Some(id));
    }

    /// Notes what was given up; for the benefit of `keeper`, if of anyone.
    fn settle(&mut self, keeper: Option<FunctionId>) {
        for instance in std::mem::take(&mut self.given_up) {
            let record = self.records[instance as usize];
            assert_ne!(record.place, Place::Gone, "given up twice");
            let by_use = self.policy != PolicyOptions::GreedyDual;
            if record.place == Place::Waiting && keeper.is_some() && by_use {
                // Nobody else who has something waiting was used before.
                let used = self.used[&record.id];
                for other in self
                    .records
                    .iter()
                    .filter(|other| other.place == Place::Waiting)
                {
                    assert!(self.used[&other.id] >= used, "not the least recently used");
                }
            }
            self.records[instance as usize].place = Place::Gone;
        }
    }

    fn trim(&mut self) {
        while let Some(instance) = self.pool.trim(self.now_ns) {
            let record = &mut self.records[instance as usize];
            assert_eq!(record.place, Place::Waiting);
            record.place = Place::Gone;
            let id = record.id;
            if matches!(self.policy, PolicyOptions::Predicted(_)) {
                assert!(self.waiting_of(id) >= self.pool.target(id, self.now_ns) as usize);
            }
        }
        // Otherwise whoever waits for what comes next would not wait.
        let next_ns = self.pool.next_ns();
        assert!(
            next_ns.is_none_or(|next_ns| next_ns > self.now_ns),
            "still due"
        );
    }

    fn prewarm(&mut self, held_bytes: u64) {
        while let Some(id) = self.pool.short(self.now_ns) {
            let Stock {
                waiting, running, ..
            } = self.pool.stock(id);
            // Otherwise it would be given up again at once.
            assert!(waiting < self.pool.target(id, self.now_ns));
            if !matches!(self.policy, PolicyOptions::Predicted(_)) {
                assert!(waiting + running < self.pool.target(id, self.now_ns));
            }
            let instance = self.make(id, Place::Waiting);
            self.records[instance as usize].held_bytes = held_bytes;
            match self
                .pool
                .add(id, instance, held_bytes, &mut self.given_up, self.now_ns)
            {
                Release::Keep => {
                    // It counts as a use, for the order.
                    self.use_now_if_first(id);
                    let displaces = self.pool.policy().displaces();
                    assert!(
                        self.given_up.is_empty() || displaces,
                        "prewarming displaced something"
                    );
                    self.settle(None);
                }
                Release::Drop => {
                    assert_eq!(self.given_up.last(), Some(&instance));
                    self.settle(None);
                }
            }
        }
    }

    fn use_now_if_first(&mut self, id: FunctionId) {
        if self.waiting_of(id) == 1 {
            self.use_now(id);
        }
    }

    fn replace(&mut self, id: FunctionId) -> FunctionId {
        let new = self.pool.replace(id, &mut self.given_up, self.now_ns);
        self.forget(id);
        self.used.insert(new, self.events);
        new
    }

    fn remove(&mut self, id: FunctionId) {
        self.pool.remove(id, &mut self.given_up, self.now_ns);
        self.forget(id);
    }

    fn forget(&mut self, id: FunctionId) {
        self.settle(None);
        assert_eq!(self.waiting_of(id), 0, "instances of an old version wait");
        self.used.remove(&id);
    }

    fn waiting_of(&self, id: FunctionId) -> usize {
        self.records
            .iter()
            .filter(|r| r.id == id && r.place == Place::Waiting)
            .count()
    }

    fn running(&self) -> Vec<u64> {
        let runs = |record: &Record| matches!(record.place, Place::Running { .. });
        (0..self.records.len() as u64)
            .filter(|i| runs(&self.records[*i as usize]))
            .collect()
    }

    fn check(&self) {
        let waiting = self
            .records
            .iter()
            .filter(|record| record.place == Place::Waiting);
        let (count, bytes) = waiting.fold((0, 0), |(count, bytes), r| {
            (count + 1, bytes + r.held_bytes)
        });
        assert_eq!(
            (self.pool.waiting(), self.pool.held_bytes()),
            (count, bytes)
        );
        assert!(bytes <= self.limits.budget_bytes);
        assert!(count <= self.limits.instances_max);
        for id in self.used.keys() {
            let stock = self.pool.stock(*id);
            let runs = |r: &&Record| r.id == *id && matches!(r.place, Place::Running { .. });
            assert_eq!(stock.waiting as usize, self.waiting_of(*id));
            assert_eq!(
                stock.running as usize,
                self.records.iter().filter(runs).count()
            );
        }
    }
}

#[test]
fn accounts_hold_under_any_sequence_of_events() {
    for seed in 0..100 {
        let policy = policies()[seed as usize % policies().len()];
        let mut random = Random(seed);
        let limits = Limits {
            budget_bytes: [0, 50_000, 400_000, u64::MAX][random.below(4) as usize],
            instances_max: [0, 1, 12, 1000][random.below(4) as usize],
        };
        let mut model = Model::new(limits, policy);
        let mut ids: Vec<FunctionId> = (0..6).map(|_| model.pool.register()).collect();
        for id in &ids {
            model.used.insert(*id, 0);
        }
        while model.events < 800 {
            model.now_ns += match random.below(20) {
                0 => 0,
                1 => random.below(90 * SECOND),
                _ => random.below(SECOND / 10),
            };
            // Low numbers are asked for more often.
            let which = random.below(6).min(random.below(6)) as usize;
            match random.below(100) {
                0 => {
                    model.remove(ids[which]);
                    ids[which] = model.pool.register();
                    model.used.insert(ids[which], 0);
                }
                1 => ids[which] = model.replace(ids[which]),
                2..8 => model.trim(),
                8..14 => model.prewarm(4096 + random.below(20_000)),
                14..16 => {
                    if let Some(instance) = model.pool.reclaim(model.now_ns) {
                        model.given_up.push(instance);
                        let id = model.records[instance as usize].id;
                        model.settle(Some(id));
                    }
                }
                16..56 => model.request(ids[which]),
                _ => {
                    let running = model.running();
                    if !running.is_empty() {
                        let instance = running[random.below(running.len() as u64) as usize];
                        let held_bytes = match random.below(10) {
                            0 => random.below(100_000),
                            _ => 4096 + random.below(20_000),
                        };
                        model.release(instance, held_bytes);
                    }
                }
            }
            model.check();
        }
        // Long silence: everything comes back, and then everything is let go, by those who let go at all.
        for instance in model.running() {
            model.release(instance, 4096);
        }
        model.check();
        model.now_ns += 1000 * SECOND;
        model.trim();
        model.check();
        match policy {
            PolicyOptions::Fixed(_) | PolicyOptions::GreedyDual => {
                while let Some(instance) = model.pool.reclaim(model.now_ns) {
                    model.given_up.push(instance);
                    model.settle(None);
                }
            }
            _ => {}
        }
        assert_eq!(model.pool.waiting(), 0, "seed {seed}, {policy}");
        assert!(
            model
                .records
                .iter()
                .all(|record| record.place == Place::Gone)
        );
    }
}

/// Plays Poisson arrivals with runs of `run_ns` and says how many of the starts were warm, and the most that waited.
fn play(
    pool: &mut Pool<(), Predictive>,
    id: FunctionId,
    per_second: f64,
    run_ns: u64,
    count: u64,
) -> (f64, usize) {
    let mut random = Random(7);
    let mut ends = std::collections::VecDeque::new();
    let (mut now_ns, mut warm, mut most) = (0, 0, 0);
    for _ in 0..count {
        now_ns += random.exponential(per_second);
        while ends.front().is_some_and(|end_ns| *end_ns <= now_ns) {
            let end_ns = ends.pop_front().unwrap();
            let finished = Finished {
                instance: (),
                held_bytes: 16 << 10,
                run_ns,
            };
            pool.release(id, finished, &mut Vec::new(), end_ns);
        }
        while pool.trim(now_ns).is_some() {}
        while let Some(short) = pool.short(now_ns) {
            pool.add(short, (), 16 << 10, &mut Vec::new(), now_ns);
        }
        warm += u64::from(pool.request(id, now_ns) == Start::Warm(()));
        ends.push_back(now_ns + run_ns);
        most = most.max(pool.waiting());
    }
    (warm as f64 / count as f64, most)
}

const AMPLE: Limits = Limits {
    budget_bytes: 1 << 30,
    instances_max: 10_000,
};

#[test]
fn a_steady_function_starts_warm_and_holds_little() {
    // (arrivals a second, run time in ms, arrivals, least share of warm starts, most instances). The average demand and one
    // more do not cover all the swings of a Poisson process, and a window passes before the demand is known.
    for (per_second, run_ms, count, warm_min, most_max) in [
        (0.1, 1, 1000, 0.98, 2),
        (100.0, 1, 10_000, 0.99, 2),
        (20.0, 500, 10_000, 0.96, 18),
        (2000.0, 50, 100_000, 0.98, 130),
    ] {
        let mut pool = Pool::new(AMPLE, Predictive::new(OPTIONS));
        let id = pool.register();
        let (warm, most) = play(&mut pool, id, per_second, run_ms * 1_000_000, count);
        assert!(
            warm >= warm_min,
            "{warm} of the starts at {per_second}/s x {run_ms} ms were warm"
        );
        assert!(
            most <= most_max,
            "{most} waited at {per_second}/s x {run_ms} ms"
        );
    }
}

#[test]
fn a_burst_is_let_go_within_a_few_windows() {
    let mut pool = Pool::new(AMPLE, Predictive::new(OPTIONS));
    let id = pool.register();
    let mut now_ns = SECOND;
    for _ in 0..200 {
        for _ in 0..50 {
            assert!(matches!(
                pool.request(id, now_ns),
                Start::Warm(()) | Start::Cold
            ));
        }
        now_ns += SECOND / 10;
        for _ in 0..50 {
            let finished = Finished {
                instance: (),
                held_bytes: 4096,
                run_ns: SECOND / 10,
            };
            pool.release(id, finished, &mut Vec::new(), now_ns);
        }
    }
    assert!(pool.waiting() >= 40, "{} wait", pool.waiting());
    for _ in 0..60 {
        now_ns += SECOND / 2;
        while pool.trim(now_ns).is_some() {}
        assert!(pool.waiting() <= pool.target(id, now_ns) as usize);
    }
    assert!(pool.waiting() <= 4, "{} still wait", pool.waiting());
    // The headroom outlasts the burst, and ends.
    now_ns = now_ns.max(80 * SECOND) + 100 * SECOND;
    while pool.trim(now_ns).is_some() {}
    assert_eq!(pool.waiting(), 0);
}

#[test]
fn a_request_among_many_functions_displaces_the_least_recently_used() {
    let limits = Limits {
        budget_bytes: 4096 * 20_000,
        instances_max: usize::MAX,
    };
    let mut pool: Pool<u32, Predictive> =
        Pool::new(limits, Predictive::new(PredictiveOptions::default()));
    let ids: Vec<FunctionId> = (0..50_000).map(|_| pool.register()).collect();
    let mut given_up = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let now_ns = number as u64 * 1000;
        assert_eq!(pool.request(*id, now_ns), Start::Cold);
        let finished = Finished {
            instance: number as u32,
            held_bytes: 4096,
            run_ns: 1000,
        };
        assert_eq!(
            pool.release(*id, finished, &mut given_up, now_ns + 500),
            Release::Keep
        );
    }
    assert_eq!(given_up, (0..30_000).collect::<Vec<u32>>());
    assert_eq!(pool.held_bytes(), limits.budget_bytes);
}

#[test]
fn an_instance_of_a_replaced_version_never_serves_again() {
    let mut pool: Pool<&str, Predictive> = Pool::new(AMPLE, Predictive::new(OPTIONS));
    let old = pool.register();
    let finished = |instance| Finished {
        instance,
        held_bytes: 4096,
        run_ns: 10,
    };
    assert_eq!(pool.request(old, 1), Start::Cold);
    assert_eq!(pool.request(old, 1), Start::Cold);
    let mut given_up = Vec::new();
    pool.release(old, finished("old, waiting"), &mut given_up, 2);
    let new = pool.replace(old, &mut given_up, 3);
    assert_eq!(given_up, ["old, waiting"]);
    assert_eq!(pool.request(new, 4), Start::Cold);
    assert_eq!(
        pool.release(old, finished("old, running"), &mut given_up, 5),
        Release::Drop
    );
    assert_eq!(pool.request(old, 6), Start::Cold);
    assert_eq!(
        pool.release(new, finished("new"), &mut given_up, 7),
        Release::Keep
    );
    assert_eq!(pool.request(new, 8), Start::Warm("new"));
    pool.remove(new, &mut given_up, 9);
    assert_eq!(
        pool.release(new, finished("new"), &mut given_up, 10),
        Release::Drop
    );
    assert_eq!((pool.waiting(), pool.held_bytes()), (0, 0));
}

#[test]
fn a_large_instance_makes_room_in_bounded_steps() {
    let limits = Limits {
        budget_bytes: 1 << 20,
        instances_max: usize::MAX,
    };
    let mut pool: Pool<u32, Predictive> = Pool::new(limits, Predictive::new(OPTIONS));
    let mut given_up = Vec::new();
    for number in 0..256 {
        let id = pool.register();
        pool.request(id, 1);
        let finished = Finished {
            instance: number,
            held_bytes: 4096,
            run_ns: 1,
        };
        assert_eq!(pool.release(id, finished, &mut given_up, 2), Release::Keep);
    }
    let large = pool.register();
    let mut rounds = 0;
    loop {
        given_up.clear();
        pool.request(large, 3);
        let finished = Finished {
            instance: 1000,
            held_bytes: 256 << 10,
            run_ns: 1,
        };
        let release = pool.release(large, finished, &mut given_up, 4);
        assert!(given_up.len() <= warm::GIVEN_UP_MAX + 1);
        rounds += 1;
        if release == Release::Keep {
            break;
        }
    }
    assert_eq!(rounds, 64 / warm::GIVEN_UP_MAX);
}

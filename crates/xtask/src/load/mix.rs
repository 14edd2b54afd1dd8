//! The synthetic node_exporter mix: series whose values move as those of real machines do, with jitter per host so
//! that no two hosts compress into one.
//!
//! Of a hundred series 50 are constant, 10 step now and then, 8 count events, 8 count bytes in bursts, 8 count CPU
//! seconds (2 decimals), 8 are memory gauges (multiples of 4 KiB), 3 are load gauges (2 decimals), 2 temperatures (3
//! decimals), 2 noise, 1 epoch seconds with microseconds.

use super::remote_write::{self, Body};

/// Milliseconds between two samples of a series.
pub const STEP_MS: i64 = 15_000;

/// Series of one host.
const SERIES_PER_HOST: usize = 1_200;

/// A workload: so many series, each with so many samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its letter.
    pub name: &'static str,
    /// Series.
    pub series: usize,
    /// Samples of each.
    pub steps: usize,
    /// Samples in a request.
    pub per_request: usize,
    /// Steps after which every series gets another label; 0 = never.
    pub churn: usize,
}

impl Shape {
    /// All samples.
    pub fn samples(&self) -> usize {
        self.series * self.steps
    }

    /// Series that there ever are.
    pub fn all_series(&self) -> usize {
        self.series * if self.churn == 0 { 1 } else { self.steps.div_ceil(self.churn) }
    }

    /// A hundredth of it, to show that a benchmark works.
    #[must_use]
    pub fn small(&self) -> Self {
        Self {
            series: (self.series / 100).max(100),
            steps: (self.steps / 100).max(4),
            per_request: self.per_request / 10,
            ..*self
        }
    }
}

/// A small deterministic generator (splitmix64); good enough for load, not for anything else.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    /// A fraction in [0, 1).
    pub fn fraction(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Constant,
    Steps,
    Events,
    Bytes,
    CpuSeconds,
    Memory,
    Load,
    Temperature,
    Noise,
    Epoch,
}

impl Kind {
    /// The kind of the `nth` series of a host.
    fn of(nth: usize) -> (Self, &'static str) {
        // 37 and 100 have no common divisor: every hundred series hold the whole mix, not in blocks.
        match nth * 37 % 100 {
            0..50 => (Self::Constant, "node_filesystem_size_bytes"),
            50..60 => (Self::Steps, "node_sockstat_TCP_inuse"),
            60..68 => (Self::Events, "node_network_receive_packets_total"),
            68..76 => (Self::Bytes, "node_network_receive_bytes_total"),
            76..84 => (Self::CpuSeconds, "node_cpu_seconds_total"),
            84..92 => (Self::Memory, "node_memory_MemAvailable_bytes"),
            92..95 => (Self::Load, "node_load1"),
            95..97 => (Self::Temperature, "node_hwmon_temp_celsius"),
            97..99 => (Self::Noise, "node_scrape_collector_duration_seconds"),
            _ => (Self::Epoch, "node_time_seconds"),
        }
    }
}

/// A series and where its value stands.
#[derive(Debug)]
struct Series {
    index: usize,
    labels: Vec<u8>,
    kind: Kind,
    value: f64,
    dice: Dice,
}

impl Series {
    fn new(index: usize) -> Self {
        let (kind, _) = Kind::of(index % SERIES_PER_HOST);
        let labels = wire_labels(index, None);
        let mut dice = Dice(index as u64 ^ 0x5eed);
        let value = match kind {
            Kind::Constant | Kind::Bytes => dice.below(1 << 34) as f64,
            Kind::Memory => (dice.below(1 << 22) * 4096) as f64,
            Kind::Load | Kind::Noise => dice.fraction(),
            Kind::Temperature => 40.0,
            _ => dice.below(100_000) as f64,
        };
        Self { index, labels, kind, value, dice }
    }

    fn next(&mut self, timestamp: i64) -> f64 {
        let dice = &mut self.dice;
        self.value = match self.kind {
            Kind::Constant => self.value,
            Kind::Steps if dice.below(20) == 0 => self.value + dice.below(7) as f64 - 3.0,
            Kind::Steps => self.value,
            Kind::Events => self.value + (dice.below(20) + dice.below(20)) as f64,
            Kind::Bytes if dice.below(4) == 0 => self.value + dice.below(1 << 20) as f64,
            Kind::Bytes => self.value + dice.below(2_000) as f64,
            Kind::CpuSeconds => hundredths(self.value + dice.fraction() * 15.0),
            Kind::Memory => (self.value + (dice.below(201) as f64 - 100.0) * 4096.0).max(0.0),
            Kind::Load => hundredths((self.value + dice.fraction() * 0.2 - 0.1).max(0.0)),
            Kind::Temperature => ((self.value + dice.fraction() - 0.5) * 1_000.0).round() / 1_000.0,
            Kind::Noise => dice.fraction(),
            Kind::Epoch => (timestamp as f64 * 1_000.0 + dice.below(900_000) as f64).round() / 1e6,
        };
        self.value
    }
}

/// The labels of a series; with churn its pod, which is another one after a while.
fn wire_labels(index: usize, pod: Option<usize>) -> Vec<u8> {
    let (host, nth) = (index / SERIES_PER_HOST, index % SERIES_PER_HOST);
    let (_, family) = Kind::of(nth);
    // cpu and mode tell a host's series apart even without the name, which most functions drop.
    let mode = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"][nth % 8];
    let (name, cpu) = (format!("{family}_{}", nth / 100), format!("{}", nth / 8));
    let (instance, pod) = (format!("host-node-{host}:9100"), pod.map(|pod| format!("api-{pod:05}")));
    let mut pairs = vec![
        ("__name__", name.as_str()),
        ("cpu", &cpu),
        ("instance", &instance),
        ("job", "node_exporter"),
        ("mode", mode),
    ];
    pairs.extend(pod.as_deref().map(|pod| ("pod", pod)));
    remote_write::labels(&pairs)
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The workloads, by letter.
pub const WORKLOADS: &[Shape] = &[
    Shape { name: "A", series: 1_200, steps: 8_000, per_request: 2_000, churn: 0 },
    Shape { name: "B", series: 20_000, steps: 480, per_request: 10_000, churn: 0 },
    Shape { name: "B2", series: 20_000, steps: 480, per_request: 2_000, churn: 0 },
    Shape { name: "C", series: 200_000, steps: 48, per_request: 10_000, churn: 0 },
    Shape { name: "D", series: 20_000, steps: 480, per_request: 10_000, churn: 24 },
    Shape { name: "E", series: 1_000_000, steps: 6, per_request: 10_000, churn: 0 },
];

/// Requests of a workload, ready to be sent, one list for each connection.
#[derive(Debug)]
pub struct Bodies {
    /// Packed bodies, in order; each series stands in one list alone, so its samples stay in order.
    pub lists: Vec<Vec<Vec<u8>>>,
    /// Timestamp of the first samples.
    pub first_ms: i64,
    /// Timestamp of the last samples.
    pub last_ms: i64,
}

/// Builds a workload's requests for `connections`, its last samples at `end_ms`.
pub fn bodies(shape: &Shape, connections: usize, end_ms: i64) -> Bodies {
    let last_ms = end_ms - end_ms % STEP_MS;
    let first_ms = last_ms - (shape.steps as i64 - 1) * STEP_MS;
    let share = shape.series.div_ceil(connections);
    let lists = (0..connections).map(|nth| {
        let range = nth * share..((nth + 1) * share).min(shape.series);
        list(range, shape, first_ms)
    });
    Bodies { lists: lists.collect(), first_ms, last_ms }
}

fn list(range: std::ops::Range<usize>, shape: &Shape, first_ms: i64) -> Vec<Vec<u8>> {
    let mut series: Vec<Series> = range.map(Series::new).collect();
    let mut requests = Vec::new();
    let mut body = Body::default();
    for step in 0..shape.steps {
        let timestamp = first_ms + step as i64 * STEP_MS;
        if shape.churn > 0 && step % shape.churn == 0 {
            let pod = Some(step / shape.churn);
            series.iter_mut().for_each(|one| one.labels = wire_labels(one.index, pod));
        }
        for one in &mut series {
            let value = one.next(timestamp);
            body.series(&one.labels, &[(timestamp, value)]);
            if body.samples == shape.per_request {
                requests.push(body.packed());
                body.clear();
            }
        }
    }
    if body.samples > 0 {
        requests.push(body.packed());
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_one_request() {
        let shape = Shape { name: "test", series: 1_301, steps: 5, per_request: 100, churn: 2 };
        let bodies = bodies(&shape, 2, 1_700_000_000_000);
        let sent: usize = bodies.lists.iter().flatten().map(|body| count(body)).sum();
        assert_eq!(sent, shape.samples());
        assert_eq!(bodies.last_ms - bodies.first_ms, 4 * STEP_MS);
    }

    /// Top-level fields of a body: one for each series, and a series here has one sample.
    fn count(body: &[u8]) -> usize {
        let bytes = snap::raw::Decoder::new().decompress_vec(body).expect("snappy");
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            let (mut length, mut shift) = (0usize, 0);
            at += 1;
            loop {
                length |= usize::from(bytes[at] & 0x7f) << shift;
                shift += 7;
                at += 1;
                if bytes[at - 1] < 0x80 {
                    break;
                }
            }
            at += length;
            count += 1;
        }
        count
    }
}

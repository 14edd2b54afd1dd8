//! The synthetic node_exporter mix: series whose values move as those of real machines do, with jitter per host so
//! that no two hosts compress into one.
//!
//! Of a hundred series 50 are constant, 10 step now and then, 8 count events, 8 count bytes in bursts, 8 count CPU
//! seconds (2 decimals), 8 are memory gauges (multiples of 4 KiB), 3 are load gauges (2 decimals), 2 temperatures (3
//! decimals), 2 noise, 1 epoch seconds with microseconds.

/// The job of every series.
pub(super) const JOB: &str = "node_exporter";

/// Series of one host.
pub(super) const SERIES_PER_HOST: usize = 1_200;

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
pub(super) struct Series {
    index: usize,
    kind: Kind,
    value: f64,
    dice: Dice,
}

impl Series {
    pub(super) fn new(index: usize) -> Self {
        let (kind, _) = Kind::of(index % SERIES_PER_HOST);
        let mut dice = Dice(index as u64 ^ 0x5eed);
        let value = match kind {
            Kind::Constant | Kind::Bytes => dice.below(1 << 34) as f64,
            Kind::Memory => (dice.below(1 << 22) * 4096) as f64,
            Kind::Load | Kind::Noise => dice.fraction(),
            Kind::Temperature => 40.0,
            _ => dice.below(100_000) as f64,
        };
        Self { index, kind, value, dice }
    }

    pub(super) fn next(&mut self, timestamp: i64) -> f64 {
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

    /// Its labels, sorted by name; with churn its pod, which is another one after a while.
    pub(super) fn labels(&self, pod: Option<usize>) -> Vec<(&'static str, String)> {
        let (host, nth) = (self.index / SERIES_PER_HOST, self.index % SERIES_PER_HOST);
        let (_, family) = Kind::of(nth);
        // cpu and mode tell a host's series apart even without the name, which most functions drop.
        let mode = ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"][nth % 8];
        let mut labels = vec![
            ("__name__", format!("{family}_{}", nth / 100)),
            ("cpu", format!("{}", nth / 8)),
            ("instance", instance(host)),
            ("job", JOB.to_owned()),
            ("mode", mode.to_owned()),
        ];
        labels.extend(pod.map(|pod| ("pod", format!("api-{pod:05}"))));
        labels
    }
}

/// The instance of a host's series.
pub(super) fn instance(host: usize) -> String {
    format!("host-node-{host}:9100")
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

//! StatsD listeners of a server in this process, by a wall clock that goes on when the test says so.

mod common;

use std::net::UdpSocket;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use common::{Weir, until};
use env::{Clock, Env};
use server::config::{Settings, Statsd};

/// A wall clock that stands still.
struct Still {
    real: Arc<dyn Clock>,
    now_ms: AtomicI64,
}

impl Clock for Still {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
}

struct Rig {
    weir: Weir,
    clock: Arc<Still>,
    socket: UdpSocket,
}

impl Rig {
    fn start(change: impl FnOnce(&mut Statsd)) -> Self {
        Self::start_with(change, |_| {})
    }

    fn start_with(change: impl FnOnce(&mut Statsd), settings: impl FnOnce(&mut Settings)) -> Self {
        let real = Env::real();
        // In the middle of a window.
        let now_ms = real.clock.now_ms() / 10_000 * 10_000 + 2000;
        let clock = Arc::new(Still { real: Arc::clone(&real.clock), now_ms: AtomicI64::new(now_ms) });
        let env = Env { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..real };
        let mut section = Statsd {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            hostname: Some("web-1".into()),
            ..Statsd::default()
        };
        change(&mut section);
        let begin = |all: &mut Settings| {
            all.statsd = vec![section];
            settings(all);
        };
        let weir = Weir::begin_on(env, tempfile::tempdir().unwrap(), begin, |_| {});
        weir.wait_until_ready();
        Self { weir, clock, socket: UdpSocket::bind("127.0.0.1:0").unwrap() }
    }

    /// Sends a datagram, and waits until it was read.
    fn send(&self, lines: &str) {
        let before = self.datagrams();
        self.socket.send_to(lines.as_bytes(), self.weir.statsd()).unwrap();
        until("a datagram is read", || self.datagrams() > before);
    }

    fn datagrams(&self) -> u64 {
        self.weir.app().metrics.statsd_datagrams.with(&["udp"]).get()
    }

    fn counted(&self, family: impl Fn(&server::metrics::Metrics) -> u64) -> u64 {
        family(&self.weir.app().metrics)
    }

    /// Puts the clock forward.
    fn pass(&self, seconds: i64) {
        self.clock.now_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Values of a query now, by the name and labels of their series.
    fn values(&self, query: &str) -> Vec<(String, String)> {
        let time = self.clock.now_ms() as f64 / 1e3;
        let query = query.replace('+', "%2B").replace(' ', "%20");
        let answer = self.weir.get(&format!("/api/v1/query?time={time}&query={query}"), &self.weir.token);
        assert_eq!(answer.status, 200, "{answer:?}");
        let json = answer.json();
        let series = json["data"]["result"].as_array().unwrap().iter();
        series.map(|one| (one["metric"].to_string(), one["value"][1].as_str().unwrap().to_owned())).collect()
    }

    fn value(&self, query: &str) -> Option<String> {
        self.values(query).pop().map(|(_, value)| value)
    }

    fn wait_for(&self, query: &str, wanted: &str) {
        until(&format!("{query} is {wanted}"), || self.value(query).as_deref() == Some(wanted));
    }
}

#[test]
fn a_window_is_written_when_it_is_over_and_a_key_that_is_gone_ends() {
    let rig = Rig::start(|_| {});
    rig.send("hits:30|c|#a:1,b:2\nhits:20|c|#b:2,a:1\ntemp:5|g\nlat:1:2:3|h\n");
    assert_eq!(rig.value("hits"), None, "the window is open");
    rig.pass(10);
    rig.wait_for("hits{ddtag_a=\"1\",ddtag_b=\"2\",type=\"rate\",interval=\"10\"}", "5");
    assert_eq!(rig.values("hits").len(), 1, "another order of tags is no other series");
    rig.wait_for("lat_median", "2");
    rig.wait_for("histogram_count(lat{type=\"distribution\"})", "3");
    rig.pass(10);
    rig.wait_for("hits", "0");
    assert_eq!(rig.value("temp").as_deref(), Some("5"), "a gauge is what it was");
    assert_eq!(rig.counted(|metrics| metrics.statsd_keys.with(&["default"]).get() as u64), 3);
    // Windows of which nobody saw the end are one.
    rig.pass(150);
    rig.wait_for("count_over_time(hits[10m])", "3");
    rig.pass(150);
    until("the keys are forgotten", || {
        rig.counted(|metrics| metrics.statsd_keys.with(&["default"]).get() as u64) == 0
    });
    // Within the lookback of the counter's last zero: without a marker it would still be there.
    until("the series ended", || rig.values("{__name__=~\"hits|temp|lat_.*\"}").is_empty());
    rig.send("hits:10|c|#a:1,b:2\n");
    rig.pass(10);
    rig.wait_for("hits", "1");
}

#[test]
fn what_cannot_be_read_or_kept_is_counted_and_costs_nothing_else() {
    let rig = Rig::start(|section| section.max_keys = 2);
    rig.send("a:1|c\nnonsense\nb:x|c\nb:1|c|@7\nb:2|c\nc:3|c\na:1|c\n");
    rig.pass(10);
    rig.wait_for("a", "0.2");
    rig.wait_for("b", "0.2");
    assert_eq!(rig.value("c"), None);
    let malformed = |reason| rig.counted(|m| m.statsd_malformed.with(&["default", reason]).get());
    assert_eq!((malformed("no_type"), malformed("value"), malformed("rate")), (1, 1, 1));
    assert_eq!(rig.counted(|m| m.statsd_refused.with(&["default", "keys"]).get()), 1);
    assert_eq!(rig.counted(|m| m.statsd_lines.with(&["default", "c"]).get()), 4);
}

#[test]
fn events_and_checks_are_durable_lines() {
    let rig = Rig::start(|_| {});
    rig.send("_e{5,4}:title|text|#k:v\n_sc|redis up|2|#env:dev|m:timed out\n");
    rig.wait_for("redis_up{ddtag_env=\"dev\",instance=\"web-1\"}", "2");
    let store = rig.weir.app().store().unwrap().clone();
    let tenant = rig.weir.app().authority().tenant("default").unwrap().id;
    let lines = || {
        let mut lines = Vec::new();
        store.log_lines(tenant, 0..=i64::MAX, &mut |line| lines.push(line.line.to_owned())).unwrap();
        lines.sort();
        lines
    };
    until("both lines are held", || lines() == ["text", "timed out"]);
}

#[test]
fn a_stamped_value_keeps_its_time() {
    let rig = Rig::start(|_| {});
    let past = rig.clock.now_ms() / 1000 - 3600;
    rig.send(&format!("old.count:9|c|T{past}\nold.gauge:1.25|g|T{past}\nold.count:1|c|T{past}\n"));
    rig.pass(10);
    for (query, wanted) in [("old_count", "1"), ("old_gauge", "1.25")] {
        rig.wait_for(&format!("{query}{{interval=\"10\"}} @ {past}"), wanted);
        assert_eq!(rig.value(&format!("count_over_time(old_gauge[30m] @ {past})")).as_deref(), Some("1"));
    }
}

#[test]
fn the_kernels_drops_are_counted_to_the_last_datagram() {
    let rig = Rig::start(|section| section.receive_buffer = server::config::Size(4096));
    let dropped = || rig.counted(|metrics| metrics.statsd_dropped.get());
    let mut sent = 0;
    while dropped() == 0 {
        for _ in 0..2000 {
            rig.socket.send_to(b"a:1|c", rig.weir.statsd()).unwrap();
        }
        sent += 2000;
        assert!(sent < 10_000_000, "nothing is dropped");
    }
    until("every datagram is told of", || rig.datagrams() + dropped() == sent);
}

#[test]
fn a_tenant_that_is_not_there_loses_its_rows_by_name() {
    let rig = Rig::start(|section| section.tenant = model::TenantName::parse("nobody").unwrap());
    rig.send("a:1|c\n");
    rig.pass(10);
    until("the row is lost", || rig.counted(|m| m.statsd_lost.with(&["nobody", "no_tenant"]).get()) == 1);
}

#[test]
fn sockets_of_a_process_that_is_gone_make_way_and_others_do_not() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("socket");
    drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
    let rig = Rig::start(|section| section.unix_datagram = Some(path.clone()));
    let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
    client.send_to(b"a:10|c", &path).unwrap();
    until("it is read", || rig.counted(|m| m.statsd_datagrams.with(&["unix_datagram"]).get()) == 1);
    let other = tempfile::tempdir().unwrap();
    let refused = Weir::refused_in(&other, |settings| {
        settings.statsd = vec![Statsd { unix_datagram: Some(path.clone()), ..Statsd::default() }];
    });
    assert!(refused.contains("another process listens there"), "{refused}");
    drop(rig);
    assert!(!path.exists());
}

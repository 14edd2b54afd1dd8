//! Influx line protocol as telegraf writes it: lines of the inputs `net` (two fields) and `cpu` (ten).

use std::fmt::Write as _;

use super::Case;

/// The cases.
pub(crate) const CASES: [Case; 2] = [
    Case { name: "Influx, 2 fields", path: "/write", content_type: "text/plain", body: net, rows: 2 },
    Case { name: "Influx, 10 fields", path: "/write", content_type: "text/plain", body: cpu, rows: 10 },
];

const CPU_FIELDS: [&str; 10] =
    ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];

fn net(lines: usize) -> Vec<u8> {
    let mut body = String::new();
    for i in 0..lines {
        let (host, received) = (i / 50, i * 977);
        // Writing to a String cannot fail.
        let _ = writeln!(
            body,
            "net,env=production,host=host-{host:04}.example.net,interface=eth{} \
             bytes_recv={received}i,bytes_sent={}i {}",
            i % 50,
            received * 3,
            timestamp_ns(i),
        );
    }
    body.into_bytes()
}

fn cpu(lines: usize) -> Vec<u8> {
    let mut body = String::new();
    for i in 0..lines {
        let host = i / 50;
        let fields: Vec<_> = CPU_FIELDS
            .iter()
            .enumerate()
            .map(|(field, name)| {
                format!("usage_{name}={}", ((i * 977 + field * 31) % 100_000) as f64 / 1000.0)
            })
            .collect();
        let _ = writeln!(
            body,
            "cpu,cpu=cpu{},env=production,host=host-{host:04}.example.net {} {}",
            i % 50,
            fields.join(","),
            timestamp_ns(i),
        );
    }
    body.into_bytes()
}

fn timestamp_ns(i: usize) -> i64 {
    super::timestamp_ms(i) * 1_000_000
}

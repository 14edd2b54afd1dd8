//! Every value of a real machine comes back bit for bit: 711 series with 8,400 samples each, through remote write, the
//! log, a kill, blocks and PromQL.
#![allow(clippy::print_stdout, reason = "what was compared is for people")]

use std::collections::BTreeMap;
use std::path::Path;

use xtask::load::http::{Connection, encoded};
use xtask::load::real::{Real, STEP_MS};
use xtask::load::remote_write::{self, Body};
use xtask::repo::Repo;
use xtask::rig::ledger;
use xtask::rig::weir::{Home, SMALL, connect};
use xtask::rig::writer::now_ms;

fn send(connection: &mut Connection, real: &Real, rows: std::ops::Range<usize>, first_ms: i64) {
    let mut body = Body::default();
    for (series, values) in real.values.iter().enumerate() {
        let samples: Vec<(i64, f64)> =
            rows.clone().map(|row| (first_ms + row as i64 * STEP_MS, values[row])).collect();
        body.series(&real.wire_labels(series, &[]), &samples);
    }
    let answer = connection.post("/api/v1/write", remote_write::HEADERS, &body.packed()).expect("an answer");
    assert!(answer.is_success(), "{}: {}", answer.status, answer.text());
}

/// Reads everything and counts what differs; returns how many samples were compared.
fn compare(connection: &mut Connection, real: &Real, first_ms: i64) -> usize {
    let rows = real.values[0].len();
    let seconds = rows as i64 * STEP_MS / 1_000;
    let end = (first_ms + (rows as i64 - 1) * STEP_MS) as f64 / 1e3;
    let mut compared = 0;
    for (labels, values) in real.labels.iter().zip(&real.values) {
        let matcher = |(name, value): &(&str, String)| format!("{name}=\"{value}\"");
        // Absent labels must be said, or a series' query finds its more precise relatives, too.
        let absent =
            ["device", "mode"].into_iter().filter(|name| !labels.iter().any(|(known, _)| known == name));
        let matchers: Vec<String> =
            labels.iter().map(matcher).chain(absent.map(|name| format!("{name}=\"\""))).collect();
        let query = encoded(&format!("{{{}}}[{seconds}s]", matchers.join(",")));
        let answer = connection.get(&format!("/api/v1/query?time={end}&query={query}")).expect("an answer");
        let found = ledger::parse(&answer).expect("samples");
        let pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let sent: Vec<(i64, u64)> =
            (0i64..).zip(values).map(|(row, v)| (first_ms + row * STEP_MS, v.to_bits())).collect();
        assert_eq!(found, BTreeMap::from([(ledger::name(&pairs), sent)]), "{pairs:?}");
        compared += values.len();
    }
    compared
}

#[test]
fn e2e_real_data_comes_back_bit_for_bit() {
    let Some(real) = Real::read(&Repo::here().root) else {
        return xtask::test::skipped("e2e_real_data_comes_back_bit_for_bit", "../shared/data is not there");
    };
    let directory = tempfile::tempdir().expect("a directory");
    let config =
        format!("{}tenants:\n  one: {{}}\n", SMALL.replace("64KiB", "4MiB").replace("256KiB", "8MiB"));
    let data = directory.path().join("data");
    let home = Home::new(Path::new(env!("CARGO_BIN_EXE_weir")), directory.path(), &data, &config);
    let mut weir = home.start().expect("Weir starts");
    let rows = real.values[0].len();
    let first_ms = (now_ms() / STEP_MS - rows as i64) * STEP_MS;
    let mut connection = connect(weir.address, "one").expect("Weir answers");
    for start in (0..rows).step_by(24) {
        send(&mut connection, &real, start..(start + 24).min(rows), first_ms);
    }
    weir.kill().expect("killed");
    let mut weir = home.start().expect("Weir starts again");
    let mut connection = connect(weir.address, "one").expect("Weir answers");
    let compared = compare(&mut connection, &real, first_ms);
    println!("{compared} samples of a real machine, bit for bit, after a kill");
    weir.stop(std::time::Duration::from_secs(60)).expect("it stops");
}

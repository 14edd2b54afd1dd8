//! What was sent, what was answered, and the comparison with what is there.
//!
//! A value is **owed** once its request was answered 2xx. Until then, and when there was no answer, it **may** be
//! there. A sample is lost when it is owed and missing, altered when its value is neither the owed one nor one that
//! was sent after it, phantom when it was never sent, undead when it was deleted and nothing was sent since. A delete
//! that was not answered happened whole or not at all. After a comparison what was found is owed, and what was not found
//! was never there: the next start must not change its mind.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::load::http::{Answer, Connection, encoded};

/// A series as a text: its labels, sorted, `name=value` with commas.
pub type SeriesName = String;

/// One timestamp of a series.
#[derive(Clone, Debug, Default)]
struct Cell {
    /// Bits of the value that must be there.
    owed: Option<u64>,
    /// Bits of values sent later whose requests were not answered 2xx.
    may: Vec<u64>,
    /// Bits of values that an owed one replaced.
    replaced: Vec<u64>,
}

/// A sample with its series.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The series.
    pub series: SeriesName,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// Bits of the value.
    pub bits: u64,
}

/// What a delete takes of what a writer sent.
#[derive(Clone, Debug)]
pub struct Part {
    /// Series whose label `n` is one of these.
    pub numbers: RangeInclusive<u64>,
    /// Milliseconds since the epoch.
    pub times: RangeInclusive<i64>,
}

impl Part {
    /// All that there is.
    pub const ALL: Part = Part { numbers: 0..=u64::MAX, times: i64::MIN..=i64::MAX };

    fn has_series(&self, name: &str) -> bool {
        let number = name.split(',').find_map(|pair| pair.strip_prefix("n=")?.parse().ok());
        number.is_some_and(|number: u64| self.numbers.contains(&number))
    }
}

/// Everything that one writer sent to one tenant.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    cells: BTreeMap<SeriesName, BTreeMap<i64, Cell>>,
    /// A delete that was not answered yet.
    deleting: Option<Part>,
    /// Samples answered 2xx, resent ones included.
    pub answered: u64,
    /// Deletes answered 2xx.
    pub deletes: u64,
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Samples compared.
    pub compared: u64,
    /// Owed and missing.
    pub lost: u64,
    /// With a value that was not sent, or one that a later answered one replaced.
    pub altered: u64,
    /// Never sent.
    pub phantom: u64,
    /// Deleted, and not sent since.
    pub undead: u64,
    /// The first few of them.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether everything is as promised.
    pub fn is_clean(&self) -> bool {
        self.lost + self.altered + self.phantom + self.undead == 0
    }

    /// Adds another one.
    pub fn add(&mut self, other: Verdict) {
        self.compared += other.compared;
        self.lost += other.lost;
        self.altered += other.altered;
        self.phantom += other.phantom;
        self.undead += other.undead;
        self.examples.extend(other.examples);
        self.examples.truncate(10);
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < 10 {
            self.examples.push(text);
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compared, lost, altered, phantom, undead, .. } = self;
        write!(f, "{compared} samples compared: {lost} lost, {altered} altered, {phantom} phantom, ")?;
        write!(f, "{undead} undead")?;
        self.examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

impl Ledger {
    /// A request goes out.
    pub fn sent(&mut self, samples: &[Sent]) {
        for sample in samples {
            let series = self.cells.entry(sample.series.clone()).or_default();
            series.entry(sample.timestamp).or_default().may.push(sample.bits);
        }
    }

    /// It was answered 2xx.
    pub fn answered(&mut self, samples: &[Sent]) {
        for sample in samples {
            if let Some(cell) =
                self.cells.get_mut(&sample.series).and_then(|series| series.get_mut(&sample.timestamp))
            {
                cell.settle(sample.bits);
            }
        }
        self.answered += samples.len() as u64;
    }

    /// A delete goes out. Nothing else does until it is answered.
    pub fn deleting(&mut self, part: Part) {
        self.deleting = Some(part);
    }

    /// It was answered 2xx.
    pub fn deleted(&mut self) {
        if let Some(part) = self.deleting.take() {
            self.take_out(&part);
            self.deletes += 1;
        }
    }

    /// Whether a delete was not answered.
    pub fn is_deleting(&self) -> bool {
        self.deleting.is_some()
    }

    fn take_out(&mut self, part: &Part) {
        for (_, cells) in self.cells.iter_mut().filter(|(name, _)| part.has_series(name)) {
            cells.range_mut(part.times.clone()).for_each(|(_, cell)| cell.delete());
        }
    }

    /// Compares with what is there and settles. Whether samples may have been dropped since (retention) is said by
    /// `expires`: then nothing counts as lost.
    pub fn compare(&mut self, found: &BTreeMap<SeriesName, Vec<(i64, u64)>>, expires: bool) -> Verdict {
        let Some(part) = self.deleting.take() else { return self.settle(found, expires) };
        // Whole or not at all: one of the two must be what is there.
        let mut without = self.clone();
        without.take_out(&part);
        let (with, gone) = (self.settle(found, expires), without.settle(found, expires));
        if with.is_clean() || !gone.is_clean() {
            return with;
        }
        *self = without;
        gone
    }

    fn settle(&mut self, found: &BTreeMap<SeriesName, Vec<(i64, u64)>>, expires: bool) -> Verdict {
        let mut verdict = Verdict::default();
        let mut settled: BTreeMap<SeriesName, BTreeMap<i64, Cell>> = BTreeMap::new();
        for (name, samples) in found {
            let mut before = i64::MIN;
            for &(timestamp, bits) in samples {
                verdict.compared += 1;
                if timestamp <= before {
                    verdict.phantom += 1;
                    verdict.example(format!("{name} at {timestamp}: twice or not in order"));
                }
                before = timestamp;
                let cell = self.cells.get_mut(name).and_then(|series| series.remove(&timestamp));
                let Some(mut cell) = cell else {
                    verdict.phantom += 1;
                    verdict.example(format!("{name} at {timestamp}: never sent"));
                    continue;
                };
                if cell.is_deleted() {
                    verdict.undead += 1;
                    verdict.example(format!("{name} at {timestamp}: deleted, and there again"));
                } else if !cell.allows(bits) {
                    verdict.altered += 1;
                    verdict
                        .example(format!("{name} at {timestamp}: {bits:#x}, which is {}", cell.blame(bits)));
                }
                cell.settle(bits);
                settled.entry(name.clone()).or_default().insert(timestamp, cell);
            }
        }
        for (name, series) in std::mem::take(&mut self.cells) {
            for (timestamp, cell) in series {
                if cell.is_deleted() {
                    settled.entry(name.clone()).or_default().insert(timestamp, cell);
                } else if cell.owed.is_some() && !expires {
                    verdict.lost += 1;
                    verdict.example(format!("{name} at {timestamp}: lost"));
                }
            }
        }
        self.cells = settled;
        verdict
    }
}

impl Cell {
    fn allows(&self, bits: u64) -> bool {
        self.owed.iter().chain(&self.may).any(|&allowed| same(allowed, bits))
    }

    /// What was sent until now is gone.
    fn delete(&mut self) {
        self.replaced.extend(self.owed.take());
        self.replaced.append(&mut self.may);
    }

    /// Whether nothing was sent since it was deleted.
    fn is_deleted(&self) -> bool {
        self.owed.is_none() && self.may.is_empty()
    }

    /// From now on this value must be there.
    fn settle(&mut self, bits: u64) {
        self.replaced.extend(self.owed.take());
        self.replaced.append(&mut self.may);
        self.replaced.retain(|&replaced| replaced != bits);
        self.owed = Some(bits);
    }

    /// What a value that should not be there is.
    fn blame(&self, bits: u64) -> String {
        let replaced = self.replaced.iter().rev().position(|&replaced| same(replaced, bits));
        match replaced {
            Some(back) => format!("{} before {:x?} of {}", back + 1, self.owed, self.replaced.len()),
            None => format!("not one that was ever sent, instead of {:x?}", self.owed),
        }
    }
}

/// Bit for bit; a NaN loses its payload in JSON.
fn same(a: u64, b: u64) -> bool {
    a == b || (f64::from_bits(a).is_nan() && f64::from_bits(b).is_nan())
}

/// Reads a tenant's samples of all series that have `selector`, in the window that ends at `end_ms`.
pub fn read(
    address: SocketAddr,
    tenant: &str,
    selector: &str,
    end_ms: i64,
) -> Result<BTreeMap<SeriesName, Vec<(i64, u64)>>> {
    read_with(&mut super::weir::connect(address, tenant)?, selector, end_ms)
}

/// Reads all samples of a day that end at `end_ms` and have `selector`, over a connection.
pub fn read_with(
    connection: &mut Connection,
    selector: &str,
    end_ms: i64,
) -> Result<BTreeMap<SeriesName, Vec<(i64, u64)>>> {
    let query = format!("{selector}[1d]");
    let target = format!("/api/v1/query?time={}&query={}", end_ms as f64 / 1e3, encoded(&query));
    parse(&connection.get(&target)?).context(query)
}

/// The series of an answer to a range selector: timestamps in ms, bits of values. A warning is an error here.
pub fn parse(answer: &Answer) -> Result<BTreeMap<SeriesName, Vec<(i64, u64)>>> {
    let json: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
    if json["status"] != "success" || !json["warnings"].is_null() {
        bail!("status {}: {:.2000}", answer.status, answer.text());
    }
    let mut found = BTreeMap::new();
    for series in json["data"]["result"].as_array().context("no result")? {
        let (name, samples) = parse_series(series).context("a series has another shape than expected")?;
        found.insert(name, samples);
    }
    Ok(found)
}

fn parse_series(series: &Value) -> Option<(SeriesName, Vec<(i64, u64)>)> {
    let labels = series["metric"].as_object()?;
    let pairs: BTreeMap<&str, &str> =
        labels.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
    let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
    let sample = |pair: &Value| {
        let timestamp = (pair[0].as_f64()? * 1e3).round() as i64;
        Some((timestamp, pair[1].as_str()?.parse::<f64>().ok()?.to_bits()))
    };
    Some((name(&pairs), series["values"].as_array()?.iter().map(sample).collect::<Option<_>>()?))
}

/// A series' name from its labels, which must be sorted.
pub fn name(labels: &[(&str, &str)]) -> SeriesName {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(timestamp: i64, value: f64) -> Sent {
        Sent { series: "s".to_owned(), timestamp, bits: value.to_bits() }
    }

    fn there(samples: &[(i64, f64)]) -> BTreeMap<SeriesName, Vec<(i64, u64)>> {
        BTreeMap::from([("s".to_owned(), samples.iter().map(|&(t, v)| (t, v.to_bits())).collect())])
    }

    fn counts(verdict: &Verdict) -> (u64, u64, u64) {
        (verdict.lost, verdict.altered, verdict.phantom)
    }

    #[test]
    fn owed_may_lost_altered_phantom() {
        let mut ledger = Ledger::default();
        for (timestamp, value) in [(1, 1.0), (2, -0.0), (3, 3.0)] {
            ledger.sent(&[sent(timestamp, value)]);
            ledger.answered(&[sent(timestamp, value)]);
        }
        ledger.sent(&[sent(3, 33.0), sent(4, 4.0)]);
        let found = there(&[(2, 0.0), (3, 33.0), (5, 5.0)]);
        assert_eq!(
            counts(&ledger.compare(&found, false)),
            (1, 1, 1),
            "1 lost, 2 altered, 5 phantom; 3 and 4 may"
        );
        let later = there(&[(2, 0.0), (3, 3.0), (4, 4.0)]);
        let verdict = ledger.compare(&later, false);
        assert_eq!(
            counts(&verdict),
            (0, 1, 2 - 1),
            "what was found once is owed, what was not is gone: {verdict}"
        );
    }

    #[test]
    fn what_is_deleted_is_gone_and_what_is_sent_later_is_there() {
        let part = || Part { numbers: 0..=9, times: 1..=2 };
        let series = |n: u64| format!("n={n},writer=a");
        let sent = |n, timestamp, value: f64| Sent { series: series(n), timestamp, bits: value.to_bits() };
        let there = |samples: &[(u64, i64, f64)]| {
            let mut found = BTreeMap::<_, Vec<_>>::new();
            samples.iter().for_each(|(n, t, v)| found.entry(series(*n)).or_default().push((*t, v.to_bits())));
            found
        };
        let filled = || {
            let mut ledger = Ledger::default();
            for sample in [sent(1, 1, 1.0), sent(1, 2, 2.0), sent(1, 3, 3.0), sent(10, 1, 4.0)] {
                ledger.sent(std::slice::from_ref(&sample));
                ledger.answered(&[sample]);
            }
            ledger.deleting(part());
            ledger
        };
        let all = [(1, 1, 1.0), (1, 2, 2.0), (1, 3, 3.0), (10, 1, 4.0)];
        let (half, left) = (&all[1..], &all[2..]);
        for (found, clean) in [(&all[..], true), (left, true), (half, false), (&all[..2], false)] {
            let verdict = filled().compare(&there(found), false);
            assert_eq!(verdict.is_clean(), clean, "not answered, {found:?}: {verdict}");
        }
        let mut ledger = filled();
        ledger.compare(&there(left), false);
        assert_eq!(ledger.compare(&there(half), false).undead, 1, "a start must not change its mind");
        for (found, undead) in [(left, 0), (half, 1), (&all[..], 2)] {
            let mut ledger = filled();
            ledger.deleted();
            let verdict = ledger.compare(&there(found), false);
            assert_eq!((verdict.undead, verdict.is_clean()), (undead, undead == 0), "{verdict}");
        }
        let mut ledger = filled();
        ledger.deleted();
        ledger.sent(&[sent(1, 2, 7.0)]);
        ledger.answered(&[sent(1, 2, 7.0)]);
        assert_eq!(ledger.compare(&there(left), false).lost, 1, "sent after the delete");
    }

    #[test]
    fn order_and_repetition() {
        let mut ledger = Ledger::default();
        ledger.sent(&[sent(1, 1.0), sent(2, f64::NAN)]);
        ledger.answered(&[sent(1, 1.0), sent(2, f64::NAN)]);
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let verdict = ledger.compare(&there(&[(2, stale), (1, 1.0)]), false);
        assert_eq!(counts(&verdict), (0, 0, 1), "{verdict}");
    }
}

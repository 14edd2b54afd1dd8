//! Any series, sent as v2 and as v3, are the same series with the same samples.

use std::collections::HashMap;

use codec::proto::{write_bytes, write_double, write_message, write_number};
use proptest::prelude::*;
use prost::Message as _;

use super::tests::{Data, PATH, Payload};
use crate::Settings;
use crate::datadog::tests::{decoded, labels};
use crate::datadog::{BareTags, Counts, Profile};

#[derive(Clone, Debug)]
struct Series {
    name: u8,
    tags: Vec<u8>,
    resources: Vec<(u8, u8)>,
    source_type: u8,
    kind: u64,
    interval: u64,
    unit: u8,
    is_hidden: bool,
    /// Where values lie: see the nibbles of v3's types.
    values: u64,
    points: Vec<(i64, i16)>,
}

fn series() -> impl Strategy<Value = Series> {
    let places = (0..4u8, prop::collection::vec(0..9u8, 0..6), prop::collection::vec((0..4u8, 0..3u8), 0..4));
    let facts = (0..3u8, 0..4u64, prop::sample::select(vec![0, 10, 15]), 0..3u8, any::<bool>());
    let points = (0..4u64, prop::collection::vec((-50..50i64, any::<i16>()), 0..4));
    (places, facts, points).prop_map(|(places, facts, points)| Series {
        name: places.0,
        tags: places.1,
        resources: places.2,
        source_type: facts.0,
        kind: facts.1,
        interval: facts.2,
        unit: facts.3,
        is_hidden: facts.4,
        values: points.0 << 4,
        points: points.1,
    })
}

/// A text of a number: the first is none, later ones have what translation changes.
fn text(kind: &str, number: u8) -> String {
    match number {
        0 => String::new(),
        8 => format!("{kind}-bare"),
        n if n % 3 == 2 => format!("{kind}.é:{n}"),
        n => format!("{kind}:{n}"),
    }
}

fn resource(kind: u8, name: u8) -> (String, String) {
    (["host", "device", "pod", "node"][usize::from(kind)].to_owned(), text("name", name))
}

impl Series {
    fn value(&self, value: i16) -> f64 {
        match self.values {
            0x00 => 0.0,
            0x10 => f64::from(value),
            _ => f64::from(value) / 4.0,
        }
    }

    fn timestamp_s(&self, seconds: i64) -> i64 {
        1_700_000_000 + seconds
    }
}

fn v2(all: &[Series]) -> Vec<u8> {
    let mut body = Vec::new();
    for series in all {
        write_message(1, &mut body, |out| {
            for (kind, name) in &series.resources {
                let (kind, name) = resource(*kind, *name);
                write_message(1, out, |out| {
                    write_bytes(1, kind.as_bytes(), out);
                    write_bytes(2, name.as_bytes(), out);
                });
            }
            write_bytes(2, text("metric", series.name).as_bytes(), out);
            series.tags.iter().for_each(|tag| write_bytes(3, text("tag", *tag).as_bytes(), out));
            for (seconds, value) in &series.points {
                write_message(4, out, |out| {
                    write_number(2, series.timestamp_s(*seconds) as u64, out);
                    write_double(1, series.value(*value), out);
                });
            }
            write_number(5, series.kind, out);
            write_bytes(6, text("unit", series.unit).as_bytes(), out);
            write_bytes(7, text("source", series.source_type).as_bytes(), out);
            write_number(8, series.interval, out);
        });
    }
    body
}

/// Ids of things, from 1 on, and what to write for a new one.
struct Ids<T>(HashMap<T, i64>);

impl<T: std::hash::Hash + Eq> Ids<T> {
    fn of(&mut self, thing: T, first: impl FnOnce(&T)) -> i64 {
        let next = self.0.len() as i64 + 1;
        *self.0.entry(thing).or_insert_with_key(|thing| {
            first(thing);
            next
        })
    }
}

struct Texts {
    ids: Ids<String>,
    bytes: Vec<u8>,
}

impl Texts {
    fn new() -> Self {
        Self { ids: Ids(HashMap::new()), bytes: Vec::new() }
    }

    fn id(&mut self, text: String) -> i64 {
        if text.is_empty() {
            return 0;
        }
        self.ids.of(text, |text| {
            self.bytes.push(text.len() as u8);
            self.bytes.extend(text.as_bytes());
        })
    }
}

fn deltas(numbers: &[i64]) -> Vec<i64> {
    let mut last = 0;
    numbers.iter().map(|number| number - std::mem::replace(&mut last, *number)).collect()
}

fn v3(all: &[Series]) -> Vec<u8> {
    let [mut names, mut tags, mut resources, mut sources, mut units] = [(); 5].map(|()| Texts::new());
    let (mut tagsets, mut resource_sets) = (Ids(HashMap::new()), Ids(HashMap::new()));
    let (mut data, mut refs) = (Data::default(), [(); 6].map(|()| Vec::new()));
    for series in all {
        let unit = units.id(text("unit", series.unit));
        let flags = if unit == 0 { 0 } else { 0x200 } | if series.is_hidden { 0x100 } else { 0 };
        data.types.push(series.kind | series.values | flags);
        refs[0].push(names.id(text("metric", series.name)));
        let ids: Vec<i64> = series.tags.iter().map(|tag| tags.id(text("tag", *tag))).collect();
        let longest = (1..ids.len()).rev().find_map(|n| Some((n, *tagsets.0.get(&ids[..n])?)));
        refs[1].push(match ids.len() {
            0 => 0,
            _ => tagsets.of(ids, |ids| {
                // What begins as an earlier set does takes that over whole.
                let written = match longest {
                    Some((n, set)) => [&[-set], &ids[n..]].concat(),
                    None => ids.clone(),
                };
                data.tagsets.push(written.len() as i64);
                data.tagsets.extend(deltas(&written));
            }),
        });
        let pairs: Vec<_> = series.resources.iter().map(|(kind, name)| resource(*kind, *name)).collect();
        let pairs: Vec<_> = pairs.into_iter().map(|(k, n)| (resources.id(k), resources.id(n))).collect();
        refs[2].push(match pairs.len() {
            0 => 0,
            _ => resource_sets.of(pairs, |pairs| {
                let (types, names): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
                data.resource_lens.push(types.len() as i64);
                data.resource_types.extend(deltas(&types));
                data.resource_names.extend(deltas(&names));
            }),
        });
        refs[3].push(sources.id(text("source", series.source_type)));
        if unit != 0 {
            refs[4].push(unit);
        }
        data.intervals.push(series.interval);
        data.num_points.push(series.points.len() as u64);
        for (seconds, value) in &series.points {
            refs[5].push(series.timestamp_s(*seconds));
            match series.values {
                0x00 => {}
                0x10 => data.sint64.push(i64::from(*value)),
                0x20 => data.float32.push(series.value(*value) as f32),
                _ => data.float64.push(series.value(*value)),
            }
        }
    }
    let [name_refs, tagset_refs, resource_refs, source_type_refs, unit_refs, timestamps] =
        refs.map(|numbers| deltas(&numbers));
    (data.name_refs, data.tagset_refs, data.resource_refs) = (name_refs, tagset_refs, resource_refs);
    (data.source_type_refs, data.unit_refs, data.timestamps) = (source_type_refs, unit_refs, timestamps);
    (data.names, data.tags, data.resources) = (names.bytes, tags.bytes, resources.bytes);
    (data.source_types, data.units) = (sources.bytes, units.bytes);
    Payload { metadata: None, data: Some(data) }.encode_to_vec()
}

/// A batch in words.
fn shown(path: &str, body: &[u8], settings: &Settings) -> Vec<String> {
    decoded(path, body, settings, |batch| {
        let series = batch.series.iter().enumerate().map(|(index, series)| {
            format!("{:?} {:?}", labels(batch, index), &batch.samples[series.samples.clone()])
        });
        let mut metadata: Vec<_> = batch.metadata.iter().map(|row| format!("{row:?}")).collect();
        metadata.sort();
        metadata.dedup();
        let rejected = batch.rejections.by_reason().map(|rejected| format!("{rejected:?}"));
        let notes = batch.notes.iter().map(|note| format!("{note:?}"));
        series.chain(metadata).chain(rejected).chain(notes).collect()
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let profile = prop::sample::select(vec![Profile::Opstrace, Profile::Plain]);
    let bare = prop::sample::select(vec![BareTags::Drop, BareTags::Label, BareTags::Value]);
    let counts = prop::sample::select(vec![Counts::Raw, Counts::PerInterval, Counts::Cumulative]);
    (profile, bare, counts).prop_map(|(profile, bare_tags, counts)| Settings {
        datadog: crate::datadog::Settings { bare_tags, counts, ..crate::datadog::Settings::of(profile) },
        ..Settings::default()
    })
}

proptest! {
    #[test]
    fn series_are_the_same_by_either_route(all in prop::collection::vec(series(), 0..12), settings in settings()) {
        let as_v2 = shown("/api/v2/series", &v2(&all), &settings);
        prop_assert_eq!(shown(PATH, &v3(&all), &settings), as_v2);
    }
}

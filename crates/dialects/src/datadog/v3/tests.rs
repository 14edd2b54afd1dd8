//! Payloads that `prost` encodes from the published message, beside the same series as v2 has them.

use prost::Message as _;

use crate::datadog::Profile;
use crate::datadog::tests::{decoded, labels};
use crate::rows::Full;
use crate::{Kind, Received, Request, Settings, find};

pub(super) const PATH: &str = "/api/intake/metrics/v3/series";

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payload {
    #[prost(message, optional, tag = "2")]
    pub(super) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "3")]
    pub(super) data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metadata {
    #[prost(string, repeated, tag = "1")]
    pub(super) tags: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) resources: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Data {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) names: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) tags: Vec<u8>,
    #[prost(sint64, repeated, tag = "3")]
    pub(super) tagsets: Vec<i64>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) resources: Vec<u8>,
    #[prost(int64, repeated, tag = "5")]
    pub(super) resource_lens: Vec<i64>,
    #[prost(sint64, repeated, tag = "6")]
    pub(super) resource_types: Vec<i64>,
    #[prost(sint64, repeated, tag = "7")]
    pub(super) resource_names: Vec<i64>,
    #[prost(bytes = "vec", tag = "8")]
    pub(super) source_types: Vec<u8>,
    #[prost(int32, repeated, tag = "9")]
    pub(super) origins: Vec<i32>,
    #[prost(uint64, repeated, tag = "10")]
    pub(super) types: Vec<u64>,
    #[prost(sint64, repeated, tag = "11")]
    pub(super) name_refs: Vec<i64>,
    #[prost(sint64, repeated, tag = "12")]
    pub(super) tagset_refs: Vec<i64>,
    #[prost(sint64, repeated, tag = "13")]
    pub(super) resource_refs: Vec<i64>,
    #[prost(uint64, repeated, tag = "14")]
    pub(super) intervals: Vec<u64>,
    #[prost(uint64, repeated, tag = "15")]
    pub(super) num_points: Vec<u64>,
    #[prost(sint64, repeated, tag = "16")]
    pub(super) timestamps: Vec<i64>,
    #[prost(sint64, repeated, tag = "17")]
    pub(super) sint64: Vec<i64>,
    #[prost(float, repeated, tag = "18")]
    pub(super) float32: Vec<f32>,
    #[prost(double, repeated, tag = "19")]
    pub(super) float64: Vec<f64>,
    #[prost(uint64, repeated, tag = "20")]
    pub(super) num_bins: Vec<u64>,
    #[prost(sint32, repeated, tag = "21")]
    pub(super) bin_keys: Vec<i32>,
    #[prost(uint32, repeated, tag = "22")]
    pub(super) bin_counts: Vec<u32>,
    #[prost(sint64, repeated, tag = "23")]
    pub(super) source_type_refs: Vec<i64>,
    #[prost(sint64, repeated, tag = "24")]
    pub(super) origin_refs: Vec<i64>,
    #[prost(bytes = "vec", tag = "25")]
    pub(super) units: Vec<u8>,
    #[prost(sint64, repeated, tag = "26")]
    pub(super) unit_refs: Vec<i64>,
}

/// Changes a payload.
type Change = fn(&mut Data);

/// A dictionary of texts.
fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| [&[text.len() as u8], text.as_bytes()].concat()).collect()
}

/// Three series of one point: `a` is a rate, `b` a gauge with all there is, `c` a count.
fn data() -> Data {
    Data {
        names: texts(&["a", "b", "c"]),
        tags: texts(&["env:prod", "bare", "role:web"]),
        // {env, bare}; that and role.
        tagsets: vec![2, 1, 1, 2, -1, 4],
        resources: texts(&["host", "web-1", "device", "sda", "database_instance", "db-1"]),
        resource_lens: vec![1, 3],
        resource_types: vec![1, 1, 2, 2],
        resource_names: vec![2, 2, 2, 2],
        source_types: texts(&["System"]),
        origins: vec![10, 11, 9],
        types: vec![0x12, 0x233, 0x21],
        name_refs: vec![1, 1, 1],
        tagset_refs: vec![1, 1, -2],
        resource_refs: vec![1, 1, -1],
        intervals: vec![10, 0, 10],
        num_points: vec![1, 1, 1],
        timestamps: vec![1_700_000_000, 10, -20],
        sint64: vec![-7],
        float32: vec![0.5],
        float64: vec![0.1],
        source_type_refs: vec![0, 1, -1],
        origin_refs: vec![1, 0, 0],
        units: texts(&["byte"]),
        unit_refs: vec![1],
        ..Data::default()
    }
}

fn encoded(data: Data) -> Vec<u8> {
    Payload { metadata: None, data: Some(data) }.encode_to_vec()
}

/// A batch in words: labels, then values with their seconds.
fn shown(body: &[u8], settings: &Settings) -> Vec<String> {
    decoded(PATH, body, settings, |batch| {
        let series = batch.series.iter().enumerate().map(|(index, series)| {
            let labels: Vec<_> = labels(batch, index).into_iter().map(|(n, v)| format!("{n}={v}")).collect();
            let samples = batch.samples[series.samples.clone()].iter();
            let samples: Vec<_> = samples.map(|s| format!("{}@{}", s.value, s.timestamp_ms / 1000)).collect();
            let histograms = batch.histograms[series.histograms.clone()].iter();
            let histograms: Vec<_> =
                histograms.map(|h| format!("{} of {}", h.histogram.count(), h.histogram.sum)).collect();
            format!("{} {}", labels.join(","), [samples, histograms].concat().join(" "))
        });
        let rejected = batch
            .rejections
            .by_reason()
            .map(|(signal, reason, n)| format!("refused: {n} {} {}", signal.as_str(), reason.as_str()));
        let notes = batch.notes.iter().map(|(what, n)| format!("{what}: {n}"));
        series.chain(rejected).chain(notes).collect()
    })
}

/// What a body is refused with.
fn fault(body: &[u8]) -> &'static str {
    let (_, route) = find("POST", PATH).expect("a route");
    let Kind::Ingest { decode, .. } = route.kind else { panic!("it takes bodies") };
    let received = Received { body, ..Received::new(Request::default()) };
    decode(&received, &mut model::Batch::new(42)).expect_err("a malformed body").what
}

const ALL: [&str; 4] = [
    "__name__=a,ddtag_env=prod,instance=web-1,interval=10,job=ddagent,type=rate -7@1700000000",
    "__name__=b,ddres_database_instance=db-1,ddtag_env=prod,ddtag_role=web,device=sda,instance=web-1,job=ddagent,\
     source_type_name=System,type=gauge 0.1@1700000010",
    "__name__=c,instance=web-1,interval=10,job=ddagent,type=count 0.5@1699999990",
    "bare_tags_dropped: 2",
];

#[test]
fn dictionaries_and_columns_are_put_together() {
    assert_eq!(shown(&encoded(data()), Settings::standard()), ALL);
    let plain = Settings { datadog: crate::datadog::Settings::of(Profile::Plain), ..Settings::default() };
    let series = shown(&encoded(data()), &plain);
    assert_eq!(series[0], "__name__=a,bare=no_label_value,env=prod,host=web-1 -70@1700000000");
    assert_eq!(series[2], "__name__=c,host=web-1 0.5@1699999990");
    assert_eq!(series.len(), 3);
}

#[test]
fn a_column_may_come_in_pieces_packed_or_not() {
    // Pieces of every list: the first half in one message, the rest in another.
    let mut whole = data();
    let mut rest = Data::default();
    fn split<T>(from: &mut Vec<T>, to: &mut Vec<T>) {
        *to = from.split_off(from.len() / 2);
    }
    split(&mut whole.tagsets, &mut rest.tagsets);
    split(&mut whole.types, &mut rest.types);
    split(&mut whole.name_refs, &mut rest.name_refs);
    split(&mut whole.timestamps, &mut rest.timestamps);
    split(&mut whole.float64, &mut rest.float64);
    let pieces = [encoded(whole), encoded(rest)].concat();
    assert_eq!(shown(&pieces, Settings::standard()), ALL);

    let mut unpacked = data();
    let (tagsets, floats) = (std::mem::take(&mut unpacked.tagsets), std::mem::take(&mut unpacked.float32));
    let mut fields = unpacked.encode_to_vec();
    for number in tagsets {
        codec::proto::write_number(3, codec::varint::zigzag(number), &mut fields);
    }
    for float in floats {
        codec::proto::write_key(18, codec::proto::FIXED32, &mut fields);
        fields.extend(float.to_le_bytes());
    }
    let mut body = Vec::new();
    codec::proto::write_bytes(3, &fields, &mut body);
    assert_eq!(shown(&body, Settings::standard()), ALL);
}

#[test]
fn tags_and_resources_of_the_payload_are_those_of_every_series() {
    let metadata = Metadata {
        tags: vec!["env:all".into(), "nothing".into(), "zone:a".into()],
        resources: ["host", "other", "cluster", "c-1"].map(str::to_owned).to_vec(),
    };
    let mut data = data();
    data.resource_refs = vec![1, 0, -1];
    let body = Payload { metadata: Some(metadata), data: Some(data) }.encode_to_vec();
    assert_eq!(
        shown(&body, Settings::standard()),
        [
            "__name__=a,ddres_cluster=c-1,ddtag_env=prod,ddtag_zone=a,instance=web-1,interval=10,job=ddagent,\
             type=rate -7@1700000000",
            "__name__=b,ddres_cluster=c-1,ddtag_env=prod,ddtag_role=web,ddtag_zone=a,instance=web-1,job=ddagent,\
             source_type_name=System,type=gauge 0.1@1700000010",
            "__name__=c,ddres_cluster=c-1,ddtag_env=all,ddtag_zone=a,instance=other,interval=10,job=ddagent,\
             type=count 0.5@1699999990",
            "bare_tags_dropped: 5",
        ]
    );
}

/// Keys are what the store knows series by, from one request to the next.
#[test]
fn keys_are_of_what_was_sent_and_not_of_where_it_lay() {
    let keys = |metadata: &[&str], data: Data| {
        let list = |from: usize| metadata.iter().skip(from).step_by(2).map(|text| (*text).to_owned());
        let resources = list(0).zip(list(1)).flat_map(|(kind, name)| [kind, name]).collect();
        let payload = Payload { metadata: Some(Metadata { tags: vec![], resources }), data: Some(data) };
        let keys =
            |batch: &model::Batch<'_>| batch.series.iter().map(|series| series.key).collect::<Vec<_>>();
        decoded(PATH, &payload.encode_to_vec(), Settings::standard(), keys)
    };
    let known = keys(&[], data());
    // The same series with other dictionaries: the last alone, then in another order.
    let last = Data {
        names: texts(&["x", "c"]),
        resources: texts(&["web-1", "host"]),
        resource_lens: vec![1],
        resource_types: vec![2],
        resource_names: vec![1],
        types: vec![0x03],
        name_refs: vec![2],
        resource_refs: vec![1],
        ..Data::default()
    };
    let count =
        Data { types: vec![0x01], intervals: vec![10], num_points: vec![1], timestamps: vec![1], ..last };
    assert_eq!(keys(&[], count.clone()), known[2..]);
    // Whatever is a label tells series apart.
    let others: [Change; 5] = [
        |d| d.types[0] = 0x02,
        |d| d.intervals[0] = 11,
        |d| d.name_refs[0] = 1,
        |d| d.resource_refs[0] = 0,
        |d| (d.source_types, d.source_type_refs) = (texts(&["s"]), vec![1]),
    ];
    for change in others {
        let mut other = count.clone();
        change(&mut other);
        assert_ne!(keys(&[], other), known[2..]);
    }
    assert_ne!(keys(&["cluster", "c-1"], count.clone()), known[2..]);
    assert_ne!(keys(&["cluster", "c-1"], count.clone()), keys(&["cluster", "c-2"], count));
}

#[test]
fn text_that_is_not_utf8_is_mended_in_tags_and_refused_elsewhere() {
    let mut tags = data();
    tags.tags[8] = 0xff;
    assert!(shown(&encoded(tags), Settings::standard())[0].contains("ddtag_env=pro\u{fffd},"));
    let bad: [fn(&mut Data) -> &mut u8; 4] = [
        |data| &mut data.names[1],
        |data| &mut data.resources[1],
        |data| &mut data.source_types[1],
        |data| &mut data.units[1],
    ];
    for byte in bad {
        let mut data = data();
        *byte(&mut data) = 0xff;
        assert_eq!(fault(&encoded(data)), "text that is not valid UTF-8");
    }
}

#[test]
fn whatever_leads_nowhere_refuses_the_body() {
    let faults: [(Change, &str); 22] = [
        (|d| d.name_refs[0] = 4, "reference out of its dictionary's range"),
        (|d| d.name_refs[0] = -1, "reference out of its dictionary's range"),
        (|d| d.name_refs[1] = i64::MAX, "reference out of its dictionary's range"),
        (|d| d.tagset_refs[0] = 3, "reference out of its dictionary's range"),
        (|d| d.resource_refs[0] = 3, "reference out of its dictionary's range"),
        (|d| d.source_type_refs[0] = 2, "reference out of its dictionary's range"),
        (|d| d.origin_refs[0] = 2, "reference out of its dictionary's range"),
        (|d| d.unit_refs[0] = 2, "reference out of its dictionary's range"),
        (|d| d.tagsets[1] = 4, "tag reference out of range"),
        (|d| d.tagsets[1] = -1, "tag reference out of range"),
        // A set may not take over itself or a later one.
        (|d| d.tagsets[4] = -2, "tag reference out of range"),
        (|d| d.tagsets[2] = i64::MAX, "tag reference out of range"),
        (|d| d.tagsets[0] = -2, "tagset with a negative length"),
        (|d| d.tagsets[3] = i64::MAX, "truncated varint"),
        (|d| d.resource_types[0] = 7, "resource reference out of range"),
        (|d| d.resource_names[0] = -1, "resource reference out of range"),
        (|d| d.resource_lens[0] = -1, "resource reference out of range"),
        (|d| d.resource_lens[1] = 2, "more resources than their sets have"),
        (|d| d.num_points[2] = u64::MAX, "truncated varint"),
        (|d| d.types[0] = 0x42, "unknown type of values"),
        (|d| d.names[0] = 200, "length beyond the end of the message"),
        (|d| d.origins.truncate(2), "truncated varint"),
    ];
    for (change, wanted) in faults {
        let mut data = data();
        change(&mut data);
        assert_eq!(fault(&encoded(data.clone())), wanted, "{data:?}");
    }
    let columns: [Change; 9] = [
        |d| d.name_refs.truncate(2),
        |d| d.num_points.truncate(2),
        |d| d.timestamps.truncate(2),
        |d| d.sint64.clear(),
        |d| d.float32.clear(),
        |d| d.float64.clear(),
        |d| d.timestamps.push(0),
        |d| d.float64.push(0.0),
        |d| d.intervals.push(0),
    ];
    for (index, change) in columns.into_iter().enumerate() {
        let mut data = data();
        change(&mut data);
        let wanted = match index {
            0..4 => "truncated varint",
            4 => "truncated 32-bit field",
            5 => "truncated 64-bit field",
            _ => "column that goes on behind its series",
        };
        assert_eq!(fault(&encoded(data)), wanted, "column {index}");
    }
    // A v2 body, and a field of another wire type.
    assert_eq!(fault(&[0x0a, 0]), "a payload of another version");
    assert_eq!(fault(&[0x1a, 2, 0x0d, 1]), "known field with a wrong wire type");
}

#[test]
fn a_metric_of_an_unknown_type_costs_its_own_points_only() {
    let mut data = data();
    data.types[1] = 0x23f;
    let series = shown(&encoded(data), Settings::standard());
    assert_eq!((series[0].as_str(), series[1].as_str()), (ALL[0], ALL[2]));
    assert_eq!(series[2..], ["refused: 1 sample invalid_series", "bare_tags_dropped: 1"]);
    // None at all is a gauge without a type.
    let mut untyped = self::data();
    untyped.types[0] = 0x10;
    assert!(
        shown(&encoded(untyped), Settings::standard())[0]
            .starts_with("__name__=a,ddtag_env=prod,instance=web-1,interval=10,job=ddagent -7")
    );
}

#[test]
fn what_is_not_finite_or_without_a_name_is_refused_by_itself() {
    let mut data = data();
    (data.float32[0], data.name_refs) = (f32::NAN, vec![1, -1, 3]);
    assert_eq!(
        shown(&encoded(data), Settings::standard())[1..],
        ["refused: 1 sample missing_name", "refused: 1 sample invalid_value", "bare_tags_dropped: 1"]
    );
}

#[test]
fn a_sketch_has_its_summary_where_its_type_says_and_its_count_behind() {
    for bits in [0x04, 0x14, 0x24, 0x34] {
        let mut data = Data {
            names: texts(&["a"]),
            types: vec![bits],
            name_refs: vec![1],
            num_points: vec![2],
            intervals: vec![10],
            timestamps: vec![1_700_000_000, 10],
            num_bins: vec![2, 1],
            bin_keys: vec![1338, 1, 1400],
            bin_counts: vec![2, 1, 5],
            ..Data::default()
        };
        let values = [3.0, 1.0, 1.0, 10.0, 2.0, 2.0];
        match bits {
            0x04 => data.sint64 = vec![3, 5],
            0x14 => data.sint64 = vec![3, 1, 1, 3, 10, 2, 2, 5],
            0x24 => (data.sint64, data.float32) = (vec![3, 5], values.map(|v| v as f32).to_vec()),
            _ => (data.sint64, data.float64) = (vec![3, 5], values.to_vec()),
        }
        let [sum, min] = if bits == 0x04 { [[0, 0]; 2] } else { [[3, 10], [1, 2]] };
        let extreme = |name: &str| {
            format!("__name__=a_{name},job=ddagent,type=gauge {}@1700000000 {}@1700000010", min[0], min[1])
        };
        assert_eq!(
            shown(&encoded(data), Settings::standard()),
            [
                format!("__name__=a,job=ddagent,type=distribution 3 of {} 5 of {}", sum[0], sum[1]),
                extreme("min"),
                extreme("max"),
            ],
            "{bits:#x}"
        );
    }
}

#[test]
fn what_is_only_announced_takes_no_memory() {
    let body = encoded(Data { types: vec![0x04; 4 << 20], ..Data::default() });
    let (_, route) = find("POST", PATH).expect("a route");
    let Kind::Ingest { decode, .. } = route.kind else { panic!("it takes bodies") };
    let mut batch = model::Batch::new(42);
    let received = Received { body: &body, ..Received::new(Request::default()) };
    assert_eq!(decode(&received, &mut batch).map_err(|malformed| malformed.what), Err("truncated varint"));
    assert!(batch.series.capacity() < 1 << 17);
    // Tags of all that are taken over again and again with an empty set.
    let metadata = Metadata { tags: vec![String::new(); 200_000], resources: vec![] };
    let tagsets = [vec![0, 1_000_000], vec![-1], vec![0; 999_999]].concat();
    let data = Data { types: vec![], tagsets, ..Data::default() };
    let body = Payload { metadata: Some(metadata), data: Some(data) }.encode_to_vec();
    let received = Received { body: &body, ..Received::new(Request::default()) };
    assert_eq!(decode(&received, &mut model::Batch::new(42)), Ok(()));
}

#[test]
fn sets_that_double_are_refused_before_they_fill_the_memory() {
    // Each set takes the one before over twice.
    let mut data = Data { tags: texts(&["a:b"]), tagsets: vec![2, 1, 0], ..Data::default() };
    for set in 1..64 {
        data.tagsets.extend([2, -set, 0]);
    }
    assert_eq!(fault(&encoded(data)), Full::WHAT);
    // Many series of one large set: each would be compared tag by tag.
    let mut data = Data { names: texts(&["a"]), tags: texts(&["a:b"]), ..Data::default() };
    data.tagsets = [vec![4000, 1], vec![0; 3999]].concat();
    (data.types, data.num_points) = (vec![0x03; 1000], vec![1; 1000]);
    (data.name_refs, data.tagset_refs, data.timestamps) = (vec![0; 1000], vec![0; 1000], vec![0; 1000]);
    (data.name_refs[0], data.tagset_refs[0]) = (1, 1);
    assert_eq!(fault(&encoded(data.clone())), Full::WHAT);
    // The same of resources.
    data.resources = texts(&["a", "b"]);
    (data.resource_lens, data.resource_types) = (vec![2700], [vec![1], vec![0; 2699]].concat());
    (data.resource_names, data.resource_refs) = (data.resource_types.clone(), data.tagset_refs.clone());
    (data.tags, data.tagsets, data.tagset_refs) = (vec![], vec![], vec![]);
    assert_eq!(fault(&encoded(data)), Full::WHAT);
}

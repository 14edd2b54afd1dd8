//! Bodies that nobody sends by accident: they cost their sender an error and Weir a bounded amount of memory. And what
//! no golden case shows: settings beside the two profiles.

use model::batch::Temporality;
use model::labels::LABELS_MAX;
use model::{Batch, HostRow, HostTags, Reason, Signal};

use super::{Counts, HostTagsUse, Profile, Settings};
use crate::rows::Full;
use crate::{Kind, Malformed, Received, Request, find};

fn decoded<'a>(received: &Received<'a>) -> Result<Batch<'a>, Malformed> {
    let (_, route) = find("POST", received.request.path).expect("the registry has the path");
    let Kind::Ingest { decode, .. } = route.kind else { panic!("not an ingest route") };
    let mut batch = Batch::new(42);
    decode(received, &mut batch).map(|()| batch)
}

fn request(path: &str) -> Request<'_> {
    Request { path, content_type: "application/json", ..Request::default() }
}

/// A list of very many items.
fn many(before: &str, item: &str, after: &str, bytes: usize) -> Vec<u8> {
    let items = vec![item; bytes / (item.len() + 1)].join(",");
    format!("{before}{items}{after}").into_bytes()
}

#[test]
fn what_grows_while_it_is_read_is_bounded() {
    let forty_mib = 40 << 20;
    for (path, body) in [
        ("/api/v1/series", many(r#"{"series":[{"metric":"m","tags":["#, r#""""#, "]}]}", forty_mib)),
        (
            "/api/v2/series",
            many(r#"{"series":["#, r#"{"metric":"m","points":[{"value":1}]}"#, "]}", 60 << 20),
        ),
        ("/api/v1/check_run", many("[", r#"{"check":"a","status":0}"#, "]", forty_mib)),
        ("/intake/", many(r#"{"host-tags":{"a":["#, r#""""#, "]}}", forty_mib)),
        ("/api/v2/logs", many("[", r#""""#, "]", forty_mib)),
        ("/api/v2/logs", many(r#"[{"ddtags":""#, "", r#""}]"#, forty_mib)),
    ] {
        let refused = decoded(&Received { body: &body, ..Received::new(request(path)) });
        assert_eq!(refused.err().map(|malformed| malformed.what), Some(Full::WHAT), "{path}");
    }
}

/// Each entry is given the query's tags: a long query and many entries are more than both.
#[test]
fn a_query_times_its_entries_is_bounded() {
    let query = format!("ddtags={}", "a:b,".repeat(1000));
    let body = many("[", r#"{"message":"m"}"#, "]", 1 << 20);
    let request = Request { query: &query, ..request("/api/v2/logs") };
    let refused = decoded(&Received { body: &body, ..Received::new(request) });
    assert_eq!(refused.err().map(|malformed| malformed.what), Some(Full::WHAT));
}

/// Whatever becomes a label counts, where it stands in a series and where it comes from its host.
#[test]
fn a_series_with_more_labels_than_it_can_have_is_refused() {
    let settings = crate::Settings {
        datadog: Settings { host_tags: HostTagsUse::Attach, ..Settings::of(Profile::Opstrace) },
        ..crate::Settings::default()
    };
    let mut hosts = HostTags::default();
    let tags: Vec<_> = (0..1000).map(|number| format!("k{number}:v")).collect();
    assert!(hosts.set(HostRow { host: "h".to_owned(), tags: tags.clone() }));
    let list = |items: Vec<String>| items.join(",");
    let series = |tags: usize, resources: usize| {
        let tags = list((0..tags).map(|number| format!("\"t{number}:v\"")).collect());
        let of = |number| format!(r#"{{"type":"r{number}","name":"v"}}"#);
        let resources = list((0..resources).map(of).collect());
        format!(
            r#"{{"metric":"m","points":[{{"timestamp":1,"value":1}}],"tags":[{tags}],
            "resources":[{{"type":"host","name":"h"}},{resources}]}}"#
        )
        .replace(",]", "]")
    };
    let decode = |series: &str| {
        let body = format!(r#"{{"series":[{series}]}}"#).into_bytes();
        let (settings, hosts) = (&settings, &hosts);
        let received = Received { body: &body, settings, hosts, ..Received::new(request("/api/v2/series")) };
        let refused = |batch: &Batch<'_>| {
            let is_it = |refused: &_| *refused == (Signal::Sample, Reason::LabelLimit, 1);
            batch.rejections.by_reason().filter(is_it).count()
        };
        decoded(&received).map(|batch| (batch.series.len(), refused(&batch)))
    };
    let rest = LABELS_MAX - tags.len();
    for (tags, resources) in [(rest, 0), (0, rest), (1000, rest - 1000)] {
        assert_eq!(decode(&series(tags, resources)), Ok((1, 0)), "{tags} {resources}");
        assert_eq!(decode(&series(tags, resources + 1)), Ok((0, 1)), "{tags} {resources}");
        assert_eq!(decode(&series(tags + 1, resources)), Ok((0, 1)), "{tags} {resources}");
    }
    // Many series of one host: each gets all of its tags.
    let many = decode(&vec![series(0, 0); 300].join(","));
    assert_eq!(many.err().map(|malformed| malformed.what), Some(Full::WHAT));
}

#[test]
fn totals_are_made_of_deltas() {
    let settings = crate::Settings {
        datadog: Settings { counts: Counts::Cumulative, ..Settings::of(Profile::Plain) },
        ..crate::Settings::default()
    };
    let body = br#"{"series": [
        {"metric": "a", "type": "rate", "interval": 10, "points": [[1700000010, 2], [1700000000, 1]]},
        {"metric": "b", "type": "count", "points": [[1700000000, 3]]},
        {"metric": "c", "type": "gauge", "interval": 10, "points": [[1700000000, 4]]}
    ]}"#;
    let received = Received { body, settings: &settings, ..Received::new(request("/api/v1/series")) };
    let batch = decoded(&received).unwrap();
    let rows: Vec<_> = batch.samples.iter().map(|s| (s.start_ms, s.timestamp_ms, s.value)).collect();
    let [start, middle, end] = [1_699_999_990_000, 1_700_000_000_000, 1_700_000_010_000];
    assert_eq!(rows, [(start, middle, 10.0), (middle, end, 20.0), (0, middle, 3.0), (0, middle, 4.0)]);
    let kinds: Vec<_> = batch.series.iter().map(|series| series.temporality).collect();
    assert_eq!(kinds, [Temporality::Delta, Temporality::Delta, Temporality::Cumulative]);
    let families: Vec<_> = batch.metadata.iter().map(|row| row.family.as_ref()).collect();
    assert_eq!(families, ["a_total", "b_total", "c"]);
}

#[test]
fn tags_of_hosts_become_what_the_tenant_wants() {
    for (host_tags, wanted) in
        [(HostTagsUse::Off, (0, 0)), (HostTagsUse::Info, (0, 1)), (HostTagsUse::Attach, (1, 1))]
    {
        let settings = crate::Settings {
            datadog: Settings { host_tags, ..Settings::of(Profile::Opstrace) },
            ..crate::Settings::default()
        };
        let body = br#"{"internalHostname": "h", "host-tags": {"system": ["a:b"]}}"#;
        let batch =
            decoded(&Received { body, settings: &settings, ..Received::new(request("/intake/")) }).unwrap();
        assert_eq!((batch.hosts.len(), batch.series.len()), wanted, "{host_tags:?}");
    }
}

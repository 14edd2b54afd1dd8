//! What a tenant may choose, and that names are those of other dialects.

use model::Batch;

use super::{DIALECT, Settings, ValueField};
use crate::{Kind, Received, Request, find};

/// The series of a body, each as its labels.
fn series(target: &str, body: &str, influx: &Settings) -> Vec<String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (_, route) = find("POST", path).unwrap();
    let Kind::Ingest { decode, .. } = route.kind else { panic!("{path} takes no body") };
    let settings = crate::Settings { influx: influx.clone(), ..crate::Settings::default() };
    let request = Request { path, query, ..Request::default() };
    let received = Received { body: body.as_bytes(), settings: &settings, ..Received::new(request) };
    let mut batch = Batch::new(7);
    decode(&received, &mut batch).unwrap();
    let shown = |pairs: &mut Vec<(&str, &str)>| {
        Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    };
    (0..batch.series.len()).map(|index| batch.with_labels(index, shown).unwrap()).collect()
}

#[test]
fn a_field_called_value_is_as_the_tenant_wants_it() {
    let keep = Settings { value_field: ValueField::Keep, ..Settings::default() };
    let body = "up,job=x value=1,other=2";
    assert_eq!(
        series("/write", body, &Settings::default()),
        ["__name__=up job=x", "__name__=up_other job=x"]
    );
    assert_eq!(series("/write", body, &keep), ["__name__=up_value job=x", "__name__=up_other job=x"]);
}

#[test]
fn the_database_is_a_label_where_the_tenant_wants_it() {
    let settings = Settings { database_label: "db".to_owned(), ..Settings::default() };
    assert_eq!(series("/write?db=a+b", "m value=1", &settings), ["__name__=m db=a b"]);
    assert_eq!(series("/api/v2/write?bucket=b&db=a", "m value=1", &settings), ["__name__=m db=b"]);
    assert_eq!(series("/write?db=a", "m,db=own value=1", &settings), ["__name__=m db=own"]);
    assert_eq!(series("/write?db=", "m value=1", &settings), ["__name__=m"]);
}

/// Settings may change while the store knows keys that were made before.
#[test]
fn what_the_same_bytes_mean_is_in_the_key() {
    let key = |target: &str, database_label: &str, value_field| {
        let (path, query) = target.split_once('?').unwrap();
        let influx = Settings { value_field, database_label: database_label.to_owned() };
        let settings = crate::Settings { influx, ..crate::Settings::default() };
        let request = Request { path, query, ..Request::default() };
        let received = Received { body: b"m,a=b value=1", settings: &settings, ..Received::new(request) };
        let mut batch = Batch::new(7);
        super::decode::decode(&received, &mut batch).unwrap();
        batch.series[0].key
    };
    let keys = [
        key("/write?db=a", "", ValueField::Omit),
        key("/write?db=a", "", ValueField::Keep),
        key("/write?db=a", "db", ValueField::Omit),
        key("/write?db=b", "db", ValueField::Omit),
    ];
    assert!((1..keys.len()).all(|i| !keys[..i].contains(&keys[i])), "{keys:x?}");
    assert_eq!(key("/write?db=a&precision=s", "db", ValueField::Omit), keys[2]);
}

#[test]
fn accepted_and_refused_points_are_all_points() {
    let body = b"m v=1\nm v=\nm s=\"text\"\nm,m v=1\nm v=1,w=x\n# none\n\nm,a=1,a=2 v=1,w=2\n";
    let (_, route) = find("POST", "/write").unwrap();
    let received = Received { body, ..Received::new(Request::default()) };
    let (verdict, reply) = crate::exercise::answer(route.kind, &received);
    assert_eq!((verdict.items.sent(), verdict.items.refused()), (6, 4));
    assert_eq!(verdict.accepted.samples, 1);
    assert_eq!(reply.status, DIALECT.statuses.partial);
    let text = String::from_utf8(reply.body).unwrap();
    assert!(text.contains("partial write: unable to parse 'm v=': missing field value"), "{text}");
    assert!(text.ends_with(r#" dropped=4"}"#), "{text}");
}

/// No more of a line goes back than its sender needs, and a header is one line of ASCII.
#[test]
fn answers_are_bounded() {
    let body = format!("m,a={} v=\n", "ü\u{1}".repeat(5000)).repeat(20);
    let (_, route) = find("POST", "/write").unwrap();
    let received = Received { body: body.as_bytes(), ..Received::new(Request::default()) };
    let (_, reply) = crate::exercise::answer(route.kind, &received);
    assert!(reply.body.len() < 8000, "{}", reply.body.len());
    let header = reply.headers.iter().find(|(name, _)| *name == "x-influxdb-error").unwrap();
    assert!(header.1.len() <= 512 && header.1.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{header:?}");
}

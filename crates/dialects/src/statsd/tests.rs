//! Lines, one by one; and mutations of them against a reader that splits text.

use super::{AlertType, BadLine, Flavor, Line, MetricKind, Value, exercise, for_each_line};

/// Reads one line, and hands what it says to `with`.
fn read<T>(line: &str, flavor: Flavor, with: impl FnOnce(Result<Line<'_>, BadLine>) -> T) -> T {
    let (mut with, mut out) = (Some(with), None);
    for_each_line(line.as_bytes(), flavor, |line| out = Some(with.take().expect("one line")(line)));
    out.expect("one line")
}

/// Kind, values, weight, timestamp in ms, tags.
type Said = (MetricKind, Vec<f64>, f64, Option<i64>, Vec<String>);

fn metric(line: &str) -> Result<Said, BadLine> {
    read(line, Flavor::DogStatsD, |line| {
        let Line::Metric(metric) = line? else { panic!("no metric") };
        let values = match metric.value {
            Value::Numbers(values) => values.to_vec(),
            other => panic!("{other:?}"),
        };
        let tags = metric.tags().map(|tag| String::from_utf8_lossy(tag).into_owned()).collect();
        Ok((metric.kind, values, metric.weight, metric.timestamp_ms, tags))
    })
}

fn key(line: &str) -> u128 {
    read(line, Flavor::DogStatsD, |line| match line {
        Ok(Line::Metric(metric)) => metric.key(42),
        other => panic!("{other:?}"),
    })
}

#[test]
fn fields_come_in_any_order() {
    let said = (MetricKind::Counter, vec![2.0], 4.0, Some(1_700_000_000_000), vec!["a:b".into(), "c".into()]);
    for fields in
        ["@0.25|#a:b,c|T1700000000", "T1700000000|#a:b,,c|@0.25", "x:9|#a:b,c,|c:ci-1|T1700000000|@.25"]
    {
        assert_eq!(metric(&format!("n:2|c|{fields}")), Ok(said.clone()), "{fields}");
    }
}

#[test]
fn packed_values_are_values_and_empty_ones_are_skipped() {
    assert_eq!(metric("n:1:2.5:-3|h").unwrap().1, [1.0, 2.5, -3.0]);
    assert_eq!(metric("n::1::2:|d").unwrap().1, [1.0, 2.0]);
    assert_eq!(metric("n::|d"), Err(BadLine::NoValue));
    assert_eq!(metric("n:1:x|d"), Err(BadLine::Value));
    let member = |line: &str| {
        read(line, Flavor::DogStatsD, |line| match line {
            Ok(Line::Metric(super::Metric { value: Value::Member(member), .. })) => member.to_vec(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(member("n:1,2:3|s"), b"1,2:3", "members of sets are opaque");
}

#[test]
fn a_gauge_with_a_sign_is_what_the_flavor_says() {
    let value = |line: &str, flavor| {
        read(line, flavor, |line| match line {
            Ok(Line::Metric(metric)) => format!("{:?}", metric.value),
            other => format!("{other:?}"),
        })
    };
    assert_eq!(value("x:-3|g", Flavor::DogStatsD), "Numbers([-3.0])");
    assert_eq!(value("x:-3|g", Flavor::StatsD), "Changes([-3.0])");
    assert_eq!(value("x:+3:-1|g", Flavor::StatsD), "Changes([3.0, -1.0])");
    assert_eq!(value("x:3|g", Flavor::StatsD), "Numbers([3.0])");
    assert_eq!(value("x:-3|c", Flavor::StatsD), "Numbers([-3.0])");
    assert_eq!(value("x:+3:1|g", Flavor::StatsD), "Err(Value)");
}

#[test]
fn telegraf_writes_tags_into_the_name() {
    let (_, values, _, _, tags) = metric("cpu,host=a,url=http://x:80:1.5|g|#later").unwrap();
    assert_eq!((values, tags), (vec![1.5], vec!["host=a".into(), "url=http://x:80".into(), "later".into()]));
    assert_eq!(metric(",a=b:1|g"), Err(BadLine::NoName));
    read("cpu,a=b:1|g|#c:d", Flavor::DogStatsD, |line| {
        let Ok(Line::Metric(metric)) = line else { panic!() };
        assert_eq!(metric.name, b"cpu");
        let mut tags = metric.tags();
        assert!(tags.next().is_some() && tags.is_in_name());
        assert!(tags.next().is_some() && !tags.is_in_name());
    });
}

#[test]
fn what_cannot_be_read_says_why() {
    for (line, why) in [
        ("", None),
        ("hello", Some(BadLine::NoType)),
        ("hello|c", Some(BadLine::NoName)),
        (":1|c", Some(BadLine::NoName)),
        ("n:|c", Some(BadLine::NoValue)),
        ("n:|s", Some(BadLine::NoValue)),
        ("n:1", Some(BadLine::NoType)),
        ("n:1|", Some(BadLine::Type)),
        ("n:1|m", Some(BadLine::Type)),
        ("n:1|C", Some(BadLine::Type)),
        ("n:x|c", Some(BadLine::Value)),
        ("n:inf|g", Some(BadLine::Value)),
        ("n:NaN|g", Some(BadLine::Value)),
        ("n:1e999|g", Some(BadLine::Value)),
        ("n:1|c|@0", Some(BadLine::Rate)),
        ("n:1|c|@-0.5", Some(BadLine::Rate)),
        ("n:1|c|@2", Some(BadLine::Rate)),
        ("n:1|c|@1e-10", Some(BadLine::Rate)),
        ("n:1|c|@", Some(BadLine::Rate)),
        ("n:1|c|T", Some(BadLine::Timestamp)),
        ("n:1|c|T0", Some(BadLine::Timestamp)),
        ("n:1|c|T1.5", Some(BadLine::Timestamp)),
        ("n:1|c|T999999999999", Some(BadLine::Timestamp)),
        ("_e{5,4}:title|texts", Some(BadLine::Event)),
        ("_e{5,5}:title|text", Some(BadLine::Event)),
        ("_e{0,4}:|text", Some(BadLine::Event)),
        ("_e{-1,4}:|text", Some(BadLine::Event)),
        ("_e{5}:title|text", Some(BadLine::Event)),
        ("_e{18446744073709551615,4}:title|text", Some(BadLine::Event)),
        ("_sc|x", Some(BadLine::ServiceCheck)),
        ("_sc|x|4", Some(BadLine::ServiceCheck)),
        ("_sc||0", Some(BadLine::ServiceCheck)),
    ] {
        let mut got = None;
        for_each_line(line.as_bytes(), Flavor::DogStatsD, |read| got = Some(read.expect_err(line)));
        assert_eq!(got, why, "{line}");
    }
}

#[test]
fn a_bad_line_costs_itself_alone() {
    let mut lines = Vec::new();
    for_each_line(b"a:1|c\n\nraw newline\r\nb:2|c\r\n", Flavor::DogStatsD, |line| lines.push(line.is_ok()));
    assert_eq!(lines, [true, false, true]);
}

#[test]
fn an_event_is_as_long_as_it_says() {
    read("_e{12,6}:Exception é|a|b\\n!|d:1700000000|t:error|#k:v|h:h1|p:low", Flavor::DogStatsD, |line| {
        let Ok(Line::Event(event)) = line else { panic!("{line:?}") };
        assert_eq!((event.title, event.text), ("Exception é".as_bytes(), &b"a|b\\n!"[..]));
        assert_eq!((event.timestamp_s, event.alert_type), (Some(1_700_000_000), AlertType::Error));
        assert_eq!((event.host, event.priority), (&b"h1"[..], &b"low"[..]));
        assert_eq!(event.tags().collect::<Vec<_>>(), [b"k:v"]);
    });
    read("_e{5,0}:title||d:x|t:odd", Flavor::DogStatsD, |line| {
        let Ok(Line::Event(event)) = line else { panic!("{line:?}") };
        assert_eq!((event.text, event.timestamp_s, event.alert_type), (&b""[..], None, AlertType::Info));
    });
}

#[test]
fn a_message_may_have_bars_and_may_not_be_last() {
    for (fields, message) in [
        ("m:down|#a:b", "down"),
        ("#a:b|m:timed out|m\\: x\\ny", "timed out|m\\: x\\ny"),
        ("#a:b|m:one|two", "one|two"),
        ("m:one|two|#a:b|three", "one|two"),
        ("m:one|c:ci-1|two|#a:b", "one"),
        ("#a:b", ""),
    ] {
        read(&format!("_sc|redis|2|{fields}"), Flavor::DogStatsD, |line| {
            let Ok(Line::ServiceCheck(check)) = line else { panic!("{line:?}") };
            assert_eq!((check.name, check.status), (&b"redis"[..], 2));
            assert_eq!(String::from_utf8_lossy(check.message), message, "{fields}");
            assert_eq!(check.tags().collect::<Vec<_>>(), [b"a:b"], "{fields}");
        });
    }
}

#[test]
fn a_key_is_name_type_and_tags() {
    let one = key("n:1|c|#a:b");
    assert_eq!(one, key("n:7:8|c|@0.5|T1700000000|#a:b|c:ci-1"));
    assert_eq!(key("n:1|h"), key("n:1|ms"));
    let others =
        ["n:1|g|#a:b", "m:1|c|#a:b", "n:1|c|#a:c", "n:1|c", "n,a:b:1|c", "n,a=b:1|c", "n:1|d", "n:1|h"];
    let mut keys: Vec<u128> = others.into_iter().map(key).chain([one]).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), others.len() + 1);
}

/// What a line says, found by splitting text: for metrics without Telegraf's tags, in the flavor of DogStatsD.
fn naive(line: &str) -> Result<Said, ()> {
    let mut fields = line.split('|');
    let (name, value) = fields.next().ok_or(())?.split_once(':').ok_or(())?;
    let kind = fields.next().ok_or(())?;
    let kind = MetricKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(())?;
    let parse = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or(());
    let values =
        value.split(':').filter(|part| !part.is_empty()).map(parse).collect::<Result<Vec<_>, ()>>()?;
    let (mut weight, mut at, mut tags) = (1.0, None, Vec::new());
    for field in fields {
        if let Some(list) = field.strip_prefix('#') {
            tags = list.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        } else if let Some(rate) = field.strip_prefix('@') {
            let rate = parse(rate)?;
            weight = 1.0 / rate;
            if !(super::RATE_MIN..=1.0).contains(&rate) {
                return Err(());
            }
        } else if let Some(seconds) = field.strip_prefix('T') {
            let seconds: i64 = seconds.parse().map_err(|_| ())?;
            if !(1..=253_402_300_799).contains(&seconds) {
                return Err(());
            }
            at = Some(seconds * 1000);
        }
    }
    if name.is_empty() || values.is_empty() { Err(()) } else { Ok((kind, values, weight, at, tags)) }
}

#[test]
fn random_lines_say_what_splitting_says() {
    const PIECES: [&str; 24] = [
        "n",
        "app.x",
        ":",
        ":",
        "1",
        "-2.5",
        "0.1",
        "|",
        "|",
        "|c",
        "|g",
        "|h",
        "|ms",
        "|d",
        "|#",
        "a:b",
        ",",
        "|@0.5",
        "|T1700000000",
        "|c:x",
        "|T-1",
        "e",
        "+",
        " ",
    ];
    let mut state = 7u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut good = 0;
    for _ in 0..200_000 {
        let mut line = String::from(if next(2) == 0 { "n:1|c" } else { "" });
        for _ in 0..=next(6) {
            line.push_str(PIECES[next(PIECES.len() as u64) as usize]);
        }
        let in_name = line.split(':').next().is_some_and(|name| name.contains(','));
        if in_name || line.split('|').nth(1) == Some("s") {
            continue;
        }
        let wanted = naive(&line);
        good += u64::from(wanted.is_ok());
        assert_eq!(metric(&line).map_err(|_| ()), wanted, "{line:?}");
    }
    assert!(good > 10_000, "{good} lines could be read");
}

#[test]
fn returns_that_stand_together_break_no_rule() {
    for input in [&b"\x08\n\r\r"[..], b"\x08\r\r\n\n`"] {
        exercise(input);
    }
}

#[test]
fn mutations_keep_the_rules() {
    let seeds: Vec<Vec<u8>> = ["datadogpy", "rust-crates", "plain-statsd-python"]
        .into_iter()
        .map(|name| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/statsd/cases");
            let text = std::fs::read_to_string(path.join(name).with_extension("in")).expect("a case");
            text.replace("\\n", "\n").into_bytes()
        })
        .collect();
    let mut state = 11u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for round in 0..4000 {
        let seed = &seeds[round % seeds.len()];
        let begin = next(seed.len());
        let mut input = vec![next(256) as u8];
        input.extend_from_slice(&seed[begin..(begin + next(400)).min(seed.len())]);
        for _ in 0..next(6) {
            let at = 1 + next(input.len() - 1);
            match next(3) {
                0 if at < input.len() => input[at] = b"|:,#@T\n_e{}-+.\xff0"[next(16)],
                1 => input.truncate(at),
                _ => input.insert(at.min(input.len()), b"|:,#\n19"[next(7)]),
            }
        }
        exercise(&input);
    }
}

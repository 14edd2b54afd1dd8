//! Names of metrics, units and labels as Prometheus' own OTLP receiver makes them (module `otlptranslator` 1.0 of its
//! authors), by the tenant's strategy. Pure functions over texts: nothing here knows a request.

use std::borrow::Cow;

use super::settings::{Settings, Strategy};

/// What a metric is, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A value at a time.
    Gauge,
    /// A sum that only grows.
    Counter,
    /// A sum that may shrink.
    UpDown,
    /// Buckets with bounds of their own.
    Histogram,
    /// Buckets whose bounds grow by a factor.
    Exponential,
    /// Quantiles.
    Summary,
}

/// Units that Prometheus has a word for.
const UNITS: &[(&str, &str)] = &[
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// The same for what stands behind the slash.
const PER: &[(&str, &str)] = &[
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// A metric's name; `None` when nothing is left of it.
pub(super) fn metric<'a>(strategy: Strategy, name: &'a str, unit: &str, kind: Kind) -> Option<Cow<'a, str>> {
    let made: Cow<'a, str> = match strategy {
        Strategy::UnderscoreEscapingWithSuffixes => Cow::Owned(with_words(name, unit, kind)),
        Strategy::UnderscoreEscapingWithoutSuffixes => {
            let parts = name.split(|c: char| !is_metric_char(c) && c != '_').filter(|part| !part.is_empty());
            Cow::Owned(without_digit_first(parts.collect::<Vec<_>>().join("_")))
        }
        Strategy::NoUTF8EscapingWithSuffixes => Cow::Owned(with_suffixes(name, unit, kind)),
        Strategy::NoTranslation => Cow::Borrowed(name),
    };
    let is_left = strategy.is_utf8() || made == name || made.chars().any(|c| c != '_');
    (is_left && !made.is_empty()).then_some(made)
}

/// A unit as metadata has it.
pub(super) fn unit(unit: &str) -> String {
    let (main, per) = words_of(unit);
    let (main, per) = (cleaned(&main), cleaned(&per));
    let joined = match (main.as_str(), per.as_str()) {
        ("", per) => per.to_owned(),
        (main, "") => main.to_owned(),
        (main, per) => format!("{main}_{per}"),
    };
    let joined = joined.strip_prefix('_').unwrap_or(&joined);
    joined.strip_suffix('_').unwrap_or(joined).to_owned()
}

/// A label's name; `None` when nothing is left of it.
pub(super) fn label<'a>(settings: &Settings, name: &'a str) -> Option<Cow<'a, str>> {
    let made = if settings.translation_strategy.is_utf8() {
        Cow::Borrowed(name)
    } else {
        escaped_label(settings, name)
    };
    made.chars().any(|c| c != '_').then_some(made)
}

/// A label's name in letters, digits and underscores.
pub(super) fn escaped_label<'a>(settings: &Settings, name: &'a str) -> Cow<'a, str> {
    let keeps_all = settings.label_name_preserve_multiple_underscores;
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_as_wanted = name.chars().all(is_good) && (keeps_all || !name.contains("__"));
    let made = if is_as_wanted {
        Cow::Borrowed(name)
    } else if keeps_all {
        Cow::Owned(name.chars().map(|c| if is_good(c) { c } else { '_' }).collect())
    } else {
        Cow::Owned(collapsed(name))
    };
    match made.as_bytes() {
        [b'0'..=b'9', ..] => Cow::Owned(format!("key_{made}")),
        [b'_', b'_', ..] => made,
        [b'_', ..] if settings.label_name_underscore_sanitization => Cow::Owned(format!("key{made}")),
        _ => made,
    }
}

/// Runs of underscores, and of what becomes one, as one; but for those around a reserved name.
fn collapsed(name: &str) -> String {
    let reserved = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    let (around, name) = match reserved {
        Some(inner) => ("__", inner),
        None => ("", name),
    };
    let mut made = String::from(around);
    let mut after_one = false;
    for c in name.chars() {
        let is_one = !c.is_ascii_alphanumeric();
        if !is_one {
            made.push(c);
        } else if !after_one {
            made.push('_');
        }
        after_one = is_one;
    }
    made + around
}

fn is_metric_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

fn without_digit_first(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The name's words with those of its unit and type behind them, each once.
fn with_words(name: &str, unit: &str, kind: Kind) -> String {
    let mut words: Vec<&str> = name.split(|c| !is_metric_char(c)).filter(|word| !word.is_empty()).collect();
    let (main, per) = words_of(unit);
    let (main, per) = (cleaned(&main), cleaned(&per));
    let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    let per = if words.contains(&per) { "" } else { per };
    let main = if words.contains(&main.as_str()) { "" } else { main.as_str() };
    let main = if per.is_empty() { main } else { main.strip_suffix('_').unwrap_or(main) };
    words.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    let last = type_word(unit, kind);
    if !last.is_empty() {
        words.retain(|word| *word != last);
        words.push(last);
    }
    without_digit_first(words.join("_"))
}

/// The name as it is, with unit and type behind it unless it ends so.
fn with_suffixes(name: &str, unit: &str, kind: Kind) -> String {
    let (main, per) = words_of(unit);
    let last = type_word(unit, kind);
    let mut made = without_suffix(without_suffix(name, last), &per).to_owned();
    if !made.ends_with(main.as_str()) {
        made = made + "_" + &main;
    }
    for word in [per.as_str(), last] {
        if !word.is_empty() {
            made = made + "_" + word;
        }
    }
    made
}

/// Without the suffix and the one character before it.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> &'a str {
    match name.strip_suffix(suffix) {
        Some(rest) if !suffix.is_empty() && rest.len() > 1 => {
            let mut rest = rest.chars();
            rest.next_back();
            rest.as_str()
        }
        _ => name,
    }
}

/// The word that a name ends with for what it is. A unit of 1 is said of gauges only: counters of things are often given it.
fn type_word(unit: &str, kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "total",
        Kind::Gauge if unit == "1" => "ratio",
        _ => "",
    }
}

/// A unit's words: of itself, and `per_` of what stands behind its slash. What stands in braces is a remark.
fn words_of(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |text: &str, table: &[(&str, &str)]| {
        let text = text.trim();
        if text.contains(['{', '}']) {
            return String::new();
        }
        table.iter().find(|(known, _)| *known == text).map_or(text, |(_, word)| word).to_owned()
    };
    let per = word(per, PER);
    (word(main, UNITS), if per.is_empty() { per } else { format!("per_{per}") })
}

/// A unit's word in characters of a name: one underscore for each run of others, none at its beginning.
fn cleaned(word: &str) -> String {
    let mut made = String::with_capacity(word.len());
    for c in word.chars() {
        let c = if is_metric_char(c) { c } else { '_' };
        if c != '_' || !made.ends_with('_') {
            made.push(c);
        }
    }
    made.strip_prefix('_').map(str::to_owned).unwrap_or(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRATEGIES: [Strategy; 4] = [
        Strategy::UnderscoreEscapingWithSuffixes,
        Strategy::UnderscoreEscapingWithoutSuffixes,
        Strategy::NoUTF8EscapingWithSuffixes,
        Strategy::NoTranslation,
    ];

    /// Name, unit, kind, and what each strategy makes of it; facts of upstream's own tests among them.
    #[test]
    fn metrics_are_named_as_prometheus_names_them() {
        use Kind::{Counter, Exponential, Gauge, Histogram, Summary, UpDown};
        let same = |name| [name, name, name, name];
        for (name, unit, kind, wanted) in [
            ("simple_metric", "", Gauge, same("simple_metric")),
            ("requests", "", Counter, ["requests_total", "requests", "requests_total", "requests"]),
            ("requests_total", "", Counter, same("requests_total")),
            (
                "total.requests",
                "",
                Counter,
                ["requests_total", "total_requests", "total.requests_total", "total.requests"],
            ),
            ("cpu_usage", "1", Gauge, ["cpu_usage_ratio", "cpu_usage", "cpu_usage_ratio", "cpu_usage"]),
            ("cpu_usage_ratio", "1", Gauge, same("cpu_usage_ratio")),
            ("items", "1", Counter, ["items_total", "items", "items_total", "items"]),
            (
                "http.server.duration",
                "s",
                Histogram,
                [
                    "http_server_duration_seconds",
                    "http_server_duration",
                    "http.server.duration_seconds",
                    "http.server.duration",
                ],
            ),
            (
                "throughput",
                "By/s",
                Gauge,
                ["throughput_bytes_per_second", "throughput", "throughput_bytes_per_second", "throughput"],
            ),
            (
                "requests",
                "1/s",
                Counter,
                ["requests_per_second_total", "requests", "requests_per_second_total", "requests"],
            ),
            ("requests", "/m", Gauge, ["requests_per_minute", "requests", "requests_per_minute", "requests"]),
            (
                "cpu_seconds_total",
                "s",
                Counter,
                ["cpu_seconds_total", "cpu_seconds_total", "cpu_seconds_total", "cpu_seconds_total"],
            ),
            ("custom", "{thing}", UpDown, same("custom")),
            ("custom", "By/{thing}", UpDown, ["custom_bytes", "custom", "custom_bytes", "custom"]),
            (
                "custom",
                "unit@with#special/chars",
                Gauge,
                [
                    "custom_unit_with_special_per_chars",
                    "custom",
                    "custom_unit@with#special_per_chars",
                    "custom",
                ],
            ),
            ("a__b", "u__v", Summary, ["a_b_u_v", "a__b", "a__b_u__v", "a__b"]),
            ("metric@@##name", "", Gauge, ["metric_name", "metric_name", "metric@@##name", "metric@@##name"]),
            ("123metric", "", Gauge, ["_123metric", "_123metric", "123metric", "123metric"]),
            ("requêsts", "", Counter, ["requ_sts_total", "requ_sts", "requêsts_total", "requêsts"]),
            ("up:time", "d", UpDown, ["up:time_days", "up:time", "up:time_days", "up:time"]),
            ("x", "Cel", Exponential, ["x_celsius", "x", "x_celsius", "x"]),
            ("x.percent", "%", Gauge, ["x_percent", "x_percent", "x.percent", "x.percent"]),
        ] {
            let got = STRATEGIES.map(|strategy| metric(strategy, name, unit, kind).unwrap_or_default());
            assert_eq!(got, wanted, "{name} {unit:?} {kind:?}");
        }
    }

    #[test]
    fn names_of_which_nothing_is_left_are_none() {
        for name in ["", "@#$%"] {
            assert_eq!(metric(STRATEGIES[0], name, "", Kind::Gauge), None, "{name:?}");
            assert_eq!(metric(STRATEGIES[1], name, "", Kind::Gauge), None, "{name:?}");
        }
        assert_eq!(metric(STRATEGIES[1], "_._", "", Kind::Gauge), None);
        assert_eq!(metric(STRATEGIES[3], "", "", Kind::Gauge), None);
        assert_eq!(metric(STRATEGIES[2], "@#$%", "", Kind::Counter).as_deref(), Some("@#$%_total"));
    }

    #[test]
    fn units_have_words() {
        for (given, wanted) in [
            ("s", "seconds"),
            ("1", ""),
            ("By/s", "bytes_per_second"),
            ("{request}", ""),
            ("{request}/s", "per_second"),
            ("m/mo", "meters_per_month"),
            (" ms ", "milliseconds"),
            ("custom_unit", "custom_unit"),
            ("_x_", "x"),
        ] {
            assert_eq!(unit(given), wanted, "{given:?}");
        }
    }

    #[test]
    fn labels_are_named_as_prometheus_names_them() {
        let standard = Settings::default();
        let bare = Settings { label_name_underscore_sanitization: false, ..Settings::default() };
        let short = Settings { label_name_preserve_multiple_underscores: false, ..Settings::default() };
        let utf8 = Settings { translation_strategy: Strategy::NoTranslation, ..Settings::default() };
        for (name, wanted) in [
            ("http.method", ["http_method", "http_method", "http_method", "http.method"]),
            (
                "label:with:colons",
                ["label_with_colons", "label_with_colons", "label_with_colons", "label:with:colons"],
            ),
            ("123label", ["key_123label", "key_123label", "key_123label", "123label"]),
            ("_x", ["key_x", "_x", "key_x", "_x"]),
            ("__x", ["__x", "__x", "key_x", "__x"]),
            ("__a..b__", ["__a__b__", "__a__b__", "__a_b__", "__a..b__"]),
            ("a__b.c", ["a__b_c", "a__b_c", "a_b_c", "a__b.c"]),
            ("字符x", ["__x", "__x", "key_x", "字符x"]),
            ("ようこそ", ["", "", "key_", "ようこそ"]),
            ("__", ["", "", "key_", ""]),
            ("", ["", "", "", ""]),
        ] {
            let got = [&standard, &bare, &short, &utf8].map(|s| label(s, name).unwrap_or_default());
            assert_eq!(got, wanted, "{name:?}");
        }
    }
}

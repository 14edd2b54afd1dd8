//! Relabelling as Prometheus documents it, and laws that hold for all rules.

use proptest::prelude::*;

use super::*;

fn rule(parts: Parts) -> Rule {
    Rule::new(parts, Names::Utf8).unwrap()
}

fn parts(action: Action, sources: &[&str]) -> Parts {
    Parts { action, source_labels: sources.iter().map(|s| (*s).to_owned()).collect(), ..Parts::default() }
}

/// The labels after the rules, or none when they are dropped.
fn after(rules: Vec<Parts>, labels: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
    let mut set = LabelSet::from_iter(labels.iter().copied());
    let verdict = Rules::new(rules.into_iter().map(rule).collect()).apply(&mut set);
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    (verdict == Verdict::Kept).then(|| set.iter().map(owned).collect())
}

fn check(rules: Vec<Parts>, labels: &[(&str, &str)], expected: Option<&[(&str, &str)]>) {
    let shown = format!("{rules:?}");
    let after = after(rules, labels);
    let after: Option<Vec<(&str, &str)>> =
        after.as_ref().map(|after| after.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect());
    assert_eq!(after.as_deref(), expected, "{shown}");
}

#[test]
fn replace_sets_labels() {
    let labels = [("a", "foo"), ("b", "bar"), ("c", "baz")];
    let set = |regex: &str, target: &str, replacement: &str| {
        vec![Parts {
            regex: regex.into(),
            target_label: target.into(),
            replacement: replacement.into(),
            ..parts(Action::Replace, &["a"])
        }]
    };
    let with = |name: &'static str, value: &'static str| {
        let mut labels: Vec<(&str, &str)> = labels.iter().copied().filter(|(n, _)| *n != name).collect();
        labels.push((name, value));
        labels.sort();
        labels.retain(|(_, value)| !value.is_empty());
        labels
    };
    check(set("f(.*)", "d", "ch${1}-ch${1}"), &labels, Some(&with("d", "choo-choo")));
    check(set("(.*)", "d", "$1"), &labels, Some(&with("d", "foo")));
    check(set("(.*)", "d", "$0$1$2"), &labels, Some(&with("d", "foofoo")));
    // No match: nothing happens. A match inside is none.
    check(set("o+", "d", "$1"), &labels, Some(&labels));
    // An empty result removes the label.
    check(set("(.*)", "b", ""), &labels, Some(&with("b", "")));
    check(set("x?(f.*)", "b", "$2"), &labels, Some(&with("b", "")));
    // The target is a template too.
    check(set("(?P<first>.)(.*)", "${first}_x", "$2"), &labels, Some(&with("f_x", "oo")));
    check(set("(?P<first>.)(.*)", "$3", "$2"), &labels, Some(&labels));
    // Dollars that mean nothing stay.
    check(set("f(.*)", "d", "$$1 $"), &labels, Some(&with("d", "$1 $")));
    // The dot matches newlines, flags end where the pattern does.
    check(
        vec![Parts {
            regex: "a.b".into(),
            target_label: "d".into(),
            replacement: "x".into(),
            ..parts(Action::Replace, &["a"])
        }],
        &[("a", "a\nb")],
        Some(&[("a", "a\nb"), ("d", "x")]),
    );
}

#[test]
fn replace_without_a_source_adds_a_constant() {
    let constant = Parts { target_label: "env".into(), replacement: "prod".into(), ..Parts::default() };
    check(vec![constant], &[("a", "x")], Some(&[("a", "x"), ("env", "prod")]));
}

#[test]
fn sources_are_joined() {
    let joined = Parts { target_label: "d".into(), ..parts(Action::Replace, &["a", "missing", "b"]) };
    check(vec![joined.clone()], &[("a", "1"), ("b", "2")], Some(&[("a", "1"), ("b", "2"), ("d", "1;;2")]));
    let slashed = Parts { separator: "/".into(), ..joined };
    check(vec![slashed], &[("a", "1"), ("b", "2")], Some(&[("a", "1"), ("b", "2"), ("d", "1//2")]));
}

#[test]
fn names_decide_where_a_replacement_may_go() {
    let parts = Parts { regex: "(.*)".into(), target_label: "${1}".into(), ..parts(Action::Replace, &["a"]) };
    let labels = [("a", "ünï.code")];
    let mut set = LabelSet::from_iter(labels);
    Rule::new(parts.clone(), Names::Legacy).unwrap().apply(&mut set);
    assert_eq!(set, LabelSet::from_iter(labels));
    Rule::new(parts, Names::Utf8).unwrap().apply(&mut set);
    assert_eq!(set, LabelSet::from_iter([("a", "ünï.code"), ("ünï.code", "ünï.code")]));
}

#[test]
fn keep_and_drop_look_at_the_whole_source() {
    let labels = [("a", "foo")];
    for (regex, matches) in [
        ("foo", true),
        ("fo", false),
        ("oo|foo", true),
        ("f.*", true),
        ("", false),
        (".+", true),
        ("(?i)FOO", true),
    ] {
        let with = |action| vec![Parts { regex: regex.into(), ..parts(action, &["a"]) }];
        check(with(Action::Keep), &labels, matches.then_some(&labels));
        check(with(Action::Drop), &labels, (!matches).then_some(&labels));
    }
    // A label that is not there is empty.
    check(vec![Parts { regex: "".into(), ..parts(Action::Drop, &["b"]) }], &labels, None);
}

#[test]
fn equal_labels_are_kept_or_dropped() {
    let rule = |action, target: &str| vec![Parts { target_label: target.into(), ..parts(action, &["port"]) }];
    let labels = [("other", "81"), ("port", "80"), ("same", "80")];
    check(rule(Action::KeepEqual, "same"), &labels, Some(&labels));
    check(rule(Action::KeepEqual, "other"), &labels, None);
    check(rule(Action::DropEqual, "same"), &labels, None);
    check(rule(Action::DropEqual, "other"), &labels, Some(&labels));
    // Both absent are equal.
    let rule = |action| vec![Parts { target_label: "x".into(), ..parts(action, &["y"]) }];
    check(rule(Action::DropEqual), &labels, None);
    check(rule(Action::KeepEqual), &labels, Some(&labels));
}

#[test]
fn hashes_are_those_of_prometheus() {
    // Prometheus gives 976 for baz; MD5 of nothing ends in e9800998ecf8427e.
    let hashed = |sources: &[&str], separator: &str| {
        vec![Parts {
            modulus: 1000,
            separator: separator.into(),
            target_label: "d".into(),
            ..parts(Action::HashMod, sources)
        }]
    };
    check(hashed(&["c"], ";"), &[("c", "baz")], Some(&[("c", "baz"), ("d", "976")]));
    let empty = (0xe980_0998_ecf8_427e_u64 % 1000).to_string();
    check(hashed(&["none"], ";"), &[("c", "baz")], Some(&[("c", "baz"), ("d", &empty)]));
}

#[test]
fn labels_are_copied_removed_and_kept_by_name() {
    let named = |action, regex: &str, replacement: &str| {
        vec![Parts { action, regex: regex.into(), replacement: replacement.into(), ..Parts::default() }]
    };
    let labels = [("a", "foo"), ("b1", "bar"), ("b2", "baz")];
    check(
        named(Action::LabelMap, "b(.*)", "bar_${1}"),
        &labels,
        Some(&[("a", "foo"), ("b1", "bar"), ("b2", "baz"), ("bar_1", "bar"), ("bar_2", "baz")]),
    );
    check(
        named(Action::LabelMap, "__meta_(my_bar)", "$1"),
        &[("__meta_my_bar", "x"), ("__meta_my_baz", "y")],
        Some(&[("__meta_my_bar", "x"), ("__meta_my_baz", "y"), ("my_bar", "x")]),
    );
    check(named(Action::LabelDrop, "b.*", "$1"), &labels, Some(&[("a", "foo")]));
    check(named(Action::LabelKeep, "b.*", "$1"), &labels, Some(&[("b1", "bar"), ("b2", "baz")]));
    check(named(Action::LabelDrop, "(.*)", "$1"), &labels, Some(&[]));
}

#[test]
fn case_is_mapped_character_by_character() {
    let cased = |action| vec![Parts { target_label: "t".into(), ..parts(action, &["s"]) }];
    check(cased(Action::Uppercase), &[("s", "bÄr ß")], Some(&[("s", "bÄr ß"), ("t", "BÄR ß")]));
    check(cased(Action::Lowercase), &[("s", "BÄRΣ İ")], Some(&[("s", "BÄRΣ İ"), ("t", "bärσ i")]));
    // Of nothing it is nothing, and that removes the label.
    check(cased(Action::Lowercase), &[("t", "x")], Some(&[]));
}

#[test]
fn rules_see_what_those_before_them_did() {
    let first = Parts {
        regex: "f(.*)".into(),
        target_label: "d".into(),
        replacement: "$1".into(),
        ..parts(Action::Replace, &["a"])
    };
    let second = Parts { regex: "oo".into(), ..parts(Action::Drop, &["d"]) };
    check(vec![first, second], &[("a", "foo")], None);
}

#[test]
fn invalid_rules_say_what_is_wrong() {
    let target = |action, target: &str| Parts { target_label: target.into(), ..parts(action, &["a"]) };
    let cases = [
        (parts(Action::HashMod, &["a"]), "hashmod needs a modulus above 0"),
        (parts(Action::Replace, &["a"]), "replace needs a target_label"),
        (parts(Action::Lowercase, &["a"]), "lowercase needs a target_label"),
        (parts(Action::KeepEqual, &["a"]), "keepequal needs a target_label"),
        (
            Parts { replacement: "x".into(), ..target(Action::Uppercase, "b") },
            "uppercase has no use for replacement",
        ),
        (Parts { regex: "x".into(), ..target(Action::DropEqual, "b") }, "dropequal has no use for regex"),
        (
            Parts { separator: ",".into(), ..target(Action::KeepEqual, "b") },
            "keepequal has no use for separator",
        ),
        (target(Action::LabelDrop, "b"), "labeldrop has no use for source_labels"),
        (
            Parts { source_labels: Vec::new(), ..target(Action::LabelKeep, "b") },
            "labelkeep has no use for target_label",
        ),
        (
            Parts { replacement: String::new(), action: Action::LabelMap, ..Parts::default() },
            "\"\" is no valid replacement for labelmap",
        ),
        (
            Parts { regex: "(".into(), ..parts(Action::Keep, &["a"]) },
            "regex: error parsing regexp: missing closing ): `(`",
        ),
    ];
    for (parts, message) in cases {
        let shown = format!("{parts:?}");
        assert_eq!(Rule::new(parts, Names::Utf8).unwrap_err().to_string(), message, "{shown}");
    }
}

#[test]
fn legacy_names_are_checked_when_the_rule_is_made() {
    let allowed = |action, text: &str| {
        let target = Parts { target_label: text.into(), modulus: 1, ..parts(action, &["a"]) };
        let mapped = Parts { replacement: text.into(), action, ..Parts::default() };
        Rule::new(if action == Action::LabelMap { mapped } else { target }, Names::Legacy).is_ok()
    };
    for good in ["a", "_a9", "$1", "${1}", "a${1}b", "${1}_x$2", "a_$name"] {
        assert!(allowed(Action::Replace, good), "{good}");
        assert!(allowed(Action::LabelMap, good), "{good}");
    }
    for bad in ["1", "a-b", "a.b", "${1", "$", "a$", "${}", "9$1", "ä", "a.$1"] {
        assert!(!allowed(Action::Replace, bad), "{bad}");
        assert!(!allowed(Action::LabelMap, bad), "{bad}");
        assert!(!allowed(Action::HashMod, bad), "{bad}");
    }
    assert!(!allowed(Action::HashMod, "$1") && !allowed(Action::Lowercase, "${1}"));
}

#[test]
fn a_set_is_sorted_unique_and_without_empty_values() {
    let mut set = LabelSet::from_iter([("c", "1"), ("a", "2"), ("b", ""), ("a", "3"), ("d", "")]);
    assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "3"), ("c", "1")]);
    set.set("b", "4");
    set.set("c", "");
    assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "4")]);
    assert_eq!((set.get("b"), set.get("c"), set.has("c")), ("4", "", false));
}

fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec(("[ab_][a-c1]{0,2}", "[a-c.:1]{0,4}"), 0..8)
}

fn patterns() -> impl Strategy<Value = String> {
    let words = prop::collection::vec("[a-c]{0,3}", 1..4).prop_map(|words| words.join("|"));
    prop_oneof![
        Just("(.*)".to_owned()),
        Just(".+".to_owned()),
        words,
        "[a-c]{0,2}\\.\\*",
        "\\(\\[a-b\\]\\*\\)[a-c]{0,2}"
    ]
}

proptest! {
    #[test]
    fn keep_and_drop_are_opposites(labels in labels(), regex in patterns(), source in "[ab_][a-c1]{0,2}") {
        let with = |action| {
            let parts = Parts { action, regex: regex.clone(), source_labels: vec![source.clone()], ..Parts::default() };
            let mut set = LabelSet::from_iter(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let before = set.clone();
            let verdict = rule(parts).apply(&mut set);
            assert_eq!(set, before);
            verdict
        };
        prop_assert_ne!(with(Action::Keep), with(Action::Drop));
    }

    #[test]
    fn labeldrop_and_labelkeep_part_the_labels(labels in labels(), regex in patterns()) {
        let with = |action| {
            let mut set = LabelSet::from_iter(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            rule(Parts { action, regex: regex.clone(), ..Parts::default() }).apply(&mut set);
            set
        };
        let all: LabelSet<'_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let (dropped, kept) = (with(Action::LabelDrop), with(Action::LabelKeep));
        prop_assert_eq!(dropped.len() + kept.len(), all.len());
        let together: LabelSet<'_> = dropped.iter().chain(kept.iter()).collect();
        prop_assert_eq!(together, all);
    }

    /// The fast ways (words, prefixes, `(.*)`) give what captures give.
    #[test]
    fn replacing_fast_is_replacing(
        labels in labels(),
        regex in patterns(),
        replacement in "(\\$1|\\$\\{0\\}|\\$\\$|\\$2|x|\\$){0,3}",
    ) {
        let parts = Parts {
            regex: regex.clone(),
            target_label: "target".into(),
            replacement: replacement.clone(),
            ..parts(Action::Replace, &["a", "b"])
        };
        let mut fast = LabelSet::from_iter(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let source = format!("{};{}", fast.get("a"), fast.get("b"));
        let mut slow = fast.clone();
        rule(parts).apply(&mut fast);
        if let Some(found) = crate::re2::capturing(&regex).unwrap().0.captures(&source) {
            let mut value = String::new();
            found.expand(&replacement, &mut value);
            slow.set("target", value);
        }
        prop_assert_eq!(fast, slow);
    }
}

//! The labels of a series, made of its data point's attributes and what stands around it, as Prometheus' receiver makes them:
//! attributes whose names become one are joined with `;` in the order of their keys; an attribute of the point stands before a
//! promoted one of its resource; `job`, `instance`, the scope and `le` stand before all.

use std::borrow::Cow;

use codec::float;
use model::LabelError;
use model::batch::Pair;
use model::labels::METRIC_NAME;

use super::names;
use super::settings::Settings;
use super::source::{IDENTIFYING, Part, Point, Resource, Source};
use super::value::{ATTRIBUTES_MAX, Attributes, NOT_UTF8};

/// The name of the series of a resource's attributes.
pub(super) const TARGET_INFO: &str = "target_info";

/// Attributes of a scope as labels.
pub(super) fn of_scope(
    settings: &Settings,
    [name, version, schema_url]: [&str; 3],
    attributes: Vec<(String, String)>,
) -> Vec<(String, String)> {
    if name.is_empty() {
        return Vec::new();
    }
    let mut labels = named(settings, attributes, |name| format!("otel_scope_{name}"));
    for (label, value) in [("name", name), ("version", version), ("schema_url", schema_url)] {
        let label = format!("otel_scope_{label}");
        labels.retain(|(other, _)| *other != label);
        labels.push((label, value.to_owned()));
    }
    labels.sort_unstable();
    labels
}

/// Attributes under their labels' names, sorted; of those that become one the last counts. One of whose name nothing is left
/// is none.
pub(super) fn named(
    settings: &Settings,
    attributes: Vec<(String, String)>,
    under: impl Fn(String) -> String,
) -> Vec<(String, String)> {
    let label =
        |(name, value): (String, String)| Some((names::label(settings, &under(name))?.into_owned(), value));
    let mut labels: Vec<_> = attributes.into_iter().filter_map(label).collect();
    // Equal ones stay in their order.
    labels.sort_by(|(one, _), (other, _)| one.cmp(other));
    labels.reverse();
    labels.dedup_by(|(later, _), (kept, _)| later == kept);
    labels.reverse();
    labels
}

/// Appends the labels of one of a data point's series.
pub(super) fn of_point<'b>(
    source: &'b Source<'_>,
    point: &'b Point<'_>,
    part: Part,
    pairs: &mut Vec<Pair<'b>>,
) -> Result<(), LabelError> {
    let settings = source.settings;
    let metric = &source.metrics[point.metric as usize];
    let name = names::metric(settings.translation_strategy, &metric.name, &metric.unit, metric.kind)
        .ok_or(LabelError::MissingName)?;
    let suffix = match part {
        Part::Count => "_count",
        Part::Sum => "_sum",
        Part::Bucket(_) => "_bucket",
        _ => "",
    };
    let name = if suffix.is_empty() { name } else { Cow::Owned(format!("{name}{suffix}")) };
    let extra = match part {
        Part::Bucket(bound) => Some(("le", bound)),
        Part::Quantile(quantile) => Some(("quantile", quantile)),
        _ => None,
    };
    let resource = &source.resources[metric.resource as usize];
    let own = attributes(settings, &point.attributes, &[])?;
    let fixed = Fixed {
        name,
        extra: extra.map(|(name, value)| (name, bound(value))),
        scope: &source.scopes[metric.scope as usize].labels,
        resource,
    };
    fixed.put(&own, &resource.promoted, pairs);
    Ok(())
}

/// Appends the labels of the series of a resource's attributes.
pub(super) fn of_resource<'b>(
    source: &'b Source<'_>,
    resource: &'b Resource<'_>,
    pairs: &mut Vec<Pair<'b>>,
) -> Result<(), LabelError> {
    let settings = source.settings;
    let without: &[&str] = if settings.keep_identifying_resource_attributes { &[] } else { &IDENTIFYING };
    let own = attributes(settings, &resource.attributes, without)?;
    Fixed { name: Cow::Borrowed(TARGET_INFO), extra: None, scope: &[], resource }.put(&own, &[], pairs);
    Ok(())
}

/// Labels that stand before those of attributes.
struct Fixed<'b> {
    name: Cow<'b, str>,
    extra: Option<(&'static str, String)>,
    scope: &'b [(String, String)],
    resource: &'b Resource<'b>,
}

impl<'b> Fixed<'b> {
    /// Appends them, then of `own` and `promoted`, both sorted, what has another name.
    fn put(self, own: &[Pair<'b>], promoted: &'b [(String, String)], pairs: &mut Vec<Pair<'b>>) {
        let Self { name, extra, scope, resource } = self;
        let (job, instance) = (resource.job.as_str(), resource.instance.as_str());
        let extra_name = extra.as_ref().map(|(name, _)| *name);
        let in_scope = |label: &str| scope.binary_search_by(|(name, _)| name.as_str().cmp(label)).is_ok();
        let is_free = |label: &str| match label {
            "job" => job.is_empty(),
            "instance" => instance.is_empty(),
            METRIC_NAME => false,
            label => extra_name != Some(label) && !in_scope(label),
        };
        let is_own = |label: &str| own.binary_search_by(|(name, _)| name.as_ref().cmp(label)).is_ok();
        pairs.push((Cow::Borrowed(METRIC_NAME), name));
        let borrowed = |(name, value): (&'b str, &'b str)| (Cow::Borrowed(name), Cow::Borrowed(value));
        let identity =
            [("job", job), ("instance", instance)].into_iter().filter(|(_, value)| !value.is_empty());
        let scope = scope.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let scope = scope.filter(|(name, value)| !value.is_empty() && extra_name != Some(*name));
        pairs.extend(identity.chain(scope).map(borrowed));
        pairs.extend(extra.map(|(name, value)| (Cow::Borrowed(name), Cow::Owned(value))));
        pairs.extend(own.iter().filter(|(name, _)| is_free(name)).cloned());
        let promoted = promoted.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let promoted = promoted.filter(|(name, value)| !value.is_empty() && is_free(name) && !is_own(name));
        pairs.extend(promoted.map(borrowed));
    }
}

/// Attributes as labels, sorted by name, without empty ones.
fn attributes<'b>(
    settings: &Settings,
    attributes: &'b Attributes<'_>,
    without: &[&str],
) -> Result<Vec<Pair<'b>>, LabelError> {
    let mut own: Vec<Pair<'b>> = Vec::with_capacity(8);
    let mut count = 0;
    let read = attributes.first(ATTRIBUTES_MAX + 1, |name, value| {
        count += 1;
        if count <= ATTRIBUTES_MAX && name != METRIC_NAME && !without.contains(&name.as_ref()) {
            own.push((name, value));
        }
    });
    if count > ATTRIBUTES_MAX {
        return Err(LabelError::TooMany { count, limit: ATTRIBUTES_MAX });
    }
    read.map_err(|error| if error.what == NOT_UTF8 { LabelError::NotUtf8 } else { LabelError::Undecodable })?;
    // Equal ones stay in their order.
    own.sort_by(|(one, _), (other, _)| one.cmp(other));
    let is_utf8 = settings.translation_strategy.is_utf8();
    for (name, _) in &mut own {
        let label = names::label(settings, name).ok_or(LabelError::EmptyLabelName)?;
        if let Cow::Owned(label) = label {
            *name = Cow::Owned(label);
        }
    }
    if !is_utf8 {
        unite(&mut own);
    }
    own.retain(|(_, value)| !value.is_empty());
    Ok(own)
}

/// Makes one label of those with the same name: names that were told apart by a character may be no longer.
fn unite(labels: &mut Vec<Pair<'_>>) {
    if !labels.is_sorted_by(|(one, _), (other, _)| one < other) {
        labels.sort_by(|(one, _), (other, _)| one.cmp(other));
        labels.dedup_by(|(name, value), (kept_name, kept)| {
            let is_same = name == kept_name;
            if is_same && kept.is_empty() {
                std::mem::swap(kept, value);
            } else if is_same {
                let joined = kept.to_mut();
                joined.push(';');
                joined.push_str(value);
            }
            is_same
        });
    }
}

/// A bound or quantile as a label's value: never with an exponent.
pub(super) fn bound(value: f64) -> String {
    let mut text = String::new();
    float::write_plain(value, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use codec::proto::{write_bytes, write_message};
    use model::batch::MakeLabels;

    use super::super::names::Kind;
    use super::super::settings::{Promoted, Strategy};
    use super::*;

    fn wire(attributes: &[(&str, &str)]) -> Attributes<'static> {
        let mut bytes = Vec::new();
        for (name, value) in attributes {
            write_message(7, &mut bytes, |out| {
                write_bytes(1, name.as_bytes(), out);
                write_message(2, out, |out| write_bytes(1, value.as_bytes(), out));
            });
        }
        Attributes::Wire(bytes.into())
    }

    fn made(settings: &Settings, resource: &[(&str, &str)], point: &[(&str, &str)], part: Part) -> String {
        let mut source = Source::new(settings, 1, 0);
        source.resources.push(Resource::new(settings, wire(resource)).unwrap());
        let attributes = vec![("a.b".to_owned(), "s".to_owned()), ("version".to_owned(), "x".to_owned())];
        let labels = if settings.promote_scope_metadata {
            of_scope(settings, ["lib", "1.0", ""], attributes)
        } else {
            Vec::new()
        };
        source.scopes.push(super::super::source::Scope { labels });
        source.push_metric("http.requests".into(), "".into(), Kind::Counter);
        source.push_point(wire(point));
        match part {
            Part::TargetInfo => source.target_info(),
            part => source.series(part),
        };
        let mut pairs = Vec::new();
        if let Err(error) = source.make(0, &mut pairs) {
            return error.to_string();
        }
        let mut shown: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        shown.sort();
        shown.join(",")
    }

    const SHOP: &[(&str, &str)] = &[
        ("service.name", "cart"),
        ("service.namespace", "shop"),
        ("service.instance.id", "i-1"),
        ("k8s.pod.name", "cart-0"),
        ("env", "prod"),
    ];

    #[test]
    fn attributes_are_labels_and_those_of_one_name_are_one() {
        let standard = Settings::default();
        let of = |point: &[(&str, &str)], part| made(&standard, SHOP, point, part);
        assert_eq!(
            of(
                &[("x.y", "2"), ("x_y", "3"), ("x-y", "1"), ("e", ""), ("job", "mine"), ("__name__", "n")],
                Part::Value
            ),
            "__name__=http_requests_total,instance=i-1,job=shop/cart,x_y=1;2;3"
        );
        assert_eq!(
            of(&[("x.y", ""), ("x_y", "3"), ("le", "mine")], Part::Bucket(0.000001)),
            "__name__=http_requests_total_bucket,instance=i-1,job=shop/cart,le=0.000001,x_y=3"
        );
        assert_eq!(of(&[("__", "1")], Part::Count), "label with an empty name");
        assert_eq!(
            made(&standard, &[("service.instance.id", "1")], &[("job", "mine")], Part::Quantile(0.5)),
            "__name__=http_requests_total,instance=1,job=mine,quantile=0.5"
        );
    }

    #[test]
    fn attributes_are_not_read_behind_the_most_that_there_may_be() {
        let many = |count| made(&Settings::default(), &[], &vec![("a", "1"); count], Part::Value);
        assert!(many(ATTRIBUTES_MAX).starts_with("__name__=http_requests_total,a=1;1;1;"));
        assert_eq!(many(10 * ATTRIBUTES_MAX), "4097 labels, the limit is 4096");
    }

    #[test]
    fn a_points_attribute_stands_before_a_promoted_one() {
        let some = Promoted::Only(vec!["k8s.pod.name".into(), "env".into(), "gone".into()]);
        let some = Settings { promoted: some, ..Settings::default() };
        assert_eq!(
            made(&some, SHOP, &[("env", "test")], Part::Value),
            "__name__=http_requests_total,env=test,instance=i-1,job=shop/cart,k8s_pod_name=cart-0"
        );
        let all = Promoted::AllBut(vec!["env".into()]);
        let all = Settings { promoted: all, ..Settings::default() };
        assert_eq!(
            made(&all, SHOP, &[], Part::Value),
            "__name__=http_requests_total,instance=i-1,job=shop/cart,k8s_pod_name=cart-0,service_instance_id=i-1,\
             service_name=cart,service_namespace=shop"
        );
    }

    #[test]
    fn a_scope_and_utf8_names_are_a_choice() {
        let scope = Settings { promote_scope_metadata: true, ..Settings::default() };
        assert_eq!(
            made(&scope, &[], &[("otel_scope_schema_url", "mine"), ("otel_scope_a_b", "mine")], Part::Value),
            "__name__=http_requests_total,otel_scope_a_b=s,otel_scope_name=lib,otel_scope_version=1.0"
        );
        let utf8 = Settings { translation_strategy: Strategy::NoTranslation, ..Settings::default() };
        assert_eq!(
            made(&utf8, SHOP, &[("x.y", "2"), ("x_y", "3")], Part::Value),
            "__name__=http.requests,instance=i-1,job=shop/cart,x.y=2,x_y=3"
        );
    }

    #[test]
    fn a_resource_is_told_by_target_info() {
        let standard = Settings::default();
        assert_eq!(
            made(&standard, SHOP, &[], Part::TargetInfo),
            "__name__=target_info,env=prod,instance=i-1,job=shop/cart,k8s_pod_name=cart-0"
        );
        let keep = Settings { keep_identifying_resource_attributes: true, ..standard };
        assert!(
            made(&keep, SHOP, &[], Part::TargetInfo).contains("service_name=cart,service_namespace=shop")
        );
    }
}

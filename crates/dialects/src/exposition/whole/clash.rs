//! Families beside each other: a reader gives each type the names of all its parts, and two families must not have one
//! name. Of those that do, all are told as gauges, which have no name but their own.

use std::collections::HashMap;

use model::MetricType;

use super::super::shape::Shape;
use super::super::{Syntax, openmetrics};
use super::{Whole, groups};

/// The families without clashes.
pub(super) fn settle(mut families: Vec<Whole<'_>>, syntax: Syntax) -> Vec<Whole<'_>> {
    loop {
        let mut owners: HashMap<String, usize> = HashMap::new();
        let mut clashing = vec![false; families.len()];
        for (number, family) in families.iter().enumerate() {
            for name in claimed(family, syntax) {
                if let Some(other) = owners.insert(name, number) {
                    (clashing[number], clashing[other]) = (true, true);
                }
            }
        }
        let is_gauge = |family: &Whole<'_>| claimed(family, syntax).len() == 1;
        let gives_way: Vec<bool> =
            families.iter().zip(clashing).map(|(family, clashes)| clashes && !is_gauge(family)).collect();
        if !gives_way.contains(&true) {
            return families;
        }
        let apart = |(family, gives_way): (_, bool)| {
            let family: Whole<'_> = family;
            match gives_way {
                true => groups::gauges(family.rank, &family.metadata, &family.members),
                false => vec![family],
            }
        };
        families = families.into_iter().zip(gives_way).flat_map(apart).collect();
    }
}

/// The names that a reader takes for a family's.
fn claimed(family: &Whole<'_>, syntax: Syntax) -> Vec<String> {
    let is_open = matches!(syntax, Syntax::OpenMetrics(_));
    let shape = match family.metadata.kind {
        MetricType::Histogram => Shape::Histogram,
        MetricType::GaugeHistogram => Shape::GaugeHistogram,
        MetricType::Summary => Shape::Summary,
        MetricType::Counter if is_open => Shape::Counter,
        MetricType::Info if is_open => Shape::Info,
        _ => Shape::Gauge,
    };
    openmetrics::claimed(family.name, shape)
}

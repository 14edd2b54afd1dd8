//! The messages around the points.

use codec::proto::{write_bytes, write_message, write_number};
use model::Temporality;

use super::point::attribute;
use super::{Data, Metric, unit_of};

/// An `ExportMetricsServiceRequest` of resources, each with its `job`, its `instance` and the numbers of its metrics.
pub(super) fn write(resources: &[([&str; 2], Vec<usize>)], metrics: &[Metric<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for ([job, instance], numbers) in resources {
        write_message(1, &mut out, |out| {
            write_message(1, out, |out| identity(job, instance, out));
            write_message(2, out, |out| {
                for number in numbers {
                    write_message(2, out, |out| metric(&metrics[*number], out));
                }
            });
        });
    }
    out
}

/// Appends the attributes of which a receiver makes `job` and `instance`.
fn identity(job: &str, instance: &str, out: &mut Vec<u8>) {
    let (namespace, name) = match job.split_once('/') {
        Some((namespace, name)) => (Some(namespace), Some(name)),
        None => (None, (!job.is_empty()).then_some(job)),
    };
    let instance = (!instance.is_empty()).then_some(instance);
    let all = [("service.namespace", namespace), ("service.name", name), ("service.instance.id", instance)];
    for (key, value) in all {
        if let Some(value) = value {
            attribute(1, key, value, out);
        }
    }
}

fn metric(metric: &Metric<'_>, out: &mut Vec<u8>) {
    write_bytes(1, metric.name.as_bytes(), out);
    let help = metric.metadata.map_or("", |metadata| metadata.help.as_str());
    for (number, text) in [(2, help), (3, unit_of(metric))] {
        if !text.is_empty() {
            write_bytes(number, text.as_bytes(), out);
        }
    }
    let (field, temporality) = match metric.data {
        Data::Gauge => (5, None),
        Data::Counter(temporality) | Data::UpDown(temporality) => (7, Some(temporality)),
        Data::Histogram(temporality) => (9, Some(temporality)),
        Data::Exponential(temporality) => (10, Some(temporality)),
        Data::Summary => (11, None),
    };
    write_message(field, out, |out| {
        for point in &metric.points {
            write_message(1, out, |out| point.write(out));
        }
        if let Some(temporality) = temporality {
            write_number(2, if temporality == Temporality::Delta { 1 } else { 2 }, out);
        }
        if let Data::Counter(_) = metric.data {
            write_number(3, 1, out);
        }
    });
}

//! Families: each stands together, what is said of it first, and no two have a name in common.

use std::borrow::Cow;
use std::collections::HashMap;

use model::MetricType;

use super::group::{Group, Key};
use super::kind::Kind;
use super::metadata::{Metadata, Said};
use super::sample::Sample;
use super::{Complaints, Rules};

/// The families of a page so far.
pub(super) struct Families<'a> {
    rules: Rules,
    open: Option<Family<'a>>,
    /// Names that are taken, and by which family.
    taken: HashMap<String, usize>,
    closed: Vec<Closed>,
}

/// The family whose lines are read.
struct Family<'a> {
    name: Cow<'a, str>,
    kind: Kind,
    /// Where it begins.
    line: u64,
    has_type: bool,
    has_help: bool,
    unit: Option<&'a str>,
    has_samples: bool,
    /// Whether it was told already that its name is another's.
    is_told: bool,
    /// Its metrics, each where it began.
    groups: Vec<Group>,
    places: HashMap<Key, usize>,
    /// The metric of the last sample.
    last: usize,
}

/// A family that is over.
struct Closed {
    name: String,
    kind: Kind,
    line: u64,
}

impl<'a> Families<'a> {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, open: None, taken: HashMap::new(), closed: Vec::new() }
    }

    /// Takes what is said of a family.
    pub(super) fn metadata(&mut self, metadata: Metadata<'a>, complaints: &mut Complaints) {
        let Metadata { family: name, said } = metadata;
        let family = self.enter(name, complaints);
        let what = match said {
            Said::Type(_) => "TYPE",
            Said::Help => "HELP",
            Said::Unit(_) => "UNIT",
        };
        if family.has_samples {
            complaints.add(format!("{what} of {} behind its samples", family.name));
        }
        let repeated = match said {
            Said::Type(kind) => {
                family.kind.kind = kind;
                std::mem::replace(&mut family.has_type, true)
            }
            Said::Help => std::mem::replace(&mut family.has_help, true),
            Said::Unit(unit) => {
                let ends = family.name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
                if !unit.is_empty() && !ends {
                    complaints.add(format!("unit {unit:?} is not the end of the name {}", family.name));
                }
                family.unit.replace(unit).is_some()
            }
        };
        if repeated {
            complaints.add(format!("second {what} of {}", family.name));
        }
        let has_unit = family.unit.is_some_and(|unit| !unit.is_empty());
        if has_unit && matches!(family.kind.kind, MetricType::Info | MetricType::StateSet) {
            complaints.add(format!("{} is {}, which has no unit", family.name, family.kind.kind.as_str()));
        }
    }

    /// Takes a sample.
    pub(super) fn sample(&mut self, sample: &Sample<'a>, complaints: &mut Complaints) {
        let has_place = |family: &Family<'a>| {
            let suffix = sample.name.strip_prefix(&*family.name);
            suffix.is_some_and(|suffix| family.kind.suffixes().contains(&suffix))
        };
        if !self.open.as_ref().is_some_and(has_place) {
            self.close(complaints);
            self.enter(sample.name.clone(), complaints);
        }
        let Some(family) = &mut self.open else { return };
        family.has_samples = true;
        family.take(sample, complaints);
    }

    /// The page is over.
    pub(super) fn finish(&mut self, complaints: &mut Complaints) {
        self.close(complaints);
    }

    /// The family with this name, which is the open one or begins.
    fn enter(&mut self, name: Cow<'a, str>, complaints: &mut Complaints) -> &mut Family<'a> {
        if self.open.as_ref().is_some_and(|family| family.name != name) {
            self.close(complaints);
        }
        if self.open.is_none()
            && let Some(owner) = self.taken.get(&*name)
        {
            complaints.add(self.closed[*owner].owns(&name));
        }
        let is_told = self.taken.contains_key(&*name);
        let kind = Kind { rules: self.rules, kind: MetricType::Unknown };
        self.open.get_or_insert_with(|| Family {
            name,
            kind,
            line: complaints.line,
            has_type: false,
            has_help: false,
            unit: None,
            has_samples: false,
            is_told,
            groups: Vec::new(),
            places: HashMap::new(),
            last: 0,
        })
    }

    fn close(&mut self, complaints: &mut Complaints) {
        let Some(mut family) = self.open.take() else { return };
        for group in std::mem::take(&mut family.groups) {
            group.finish(&family.name, family.kind, complaints);
        }
        let number = self.closed.len();
        for suffix in family.kind.suffixes().iter().chain(&[""]) {
            let name = format!("{}{suffix}", family.name);
            match self.taken.get(&name) {
                Some(owner) if *owner == number => {}
                Some(owner) => {
                    if !std::mem::replace(&mut family.is_told, true) {
                        complaints.add_at(family.line, self.closed[*owner].owns(&name));
                    }
                }
                None => drop(self.taken.insert(name, number)),
            }
        }
        self.closed.push(Closed { name: family.name.into_owned(), kind: family.kind, line: family.line });
    }
}

impl Closed {
    /// That a name is one of this family's.
    fn owns(&self, name: &str) -> String {
        let Self { name: family, kind, line } = self;
        let suffixes = kind.suffixes();
        if suffixes == [""] {
            return format!(
                "{name}: the family {family} stands on line {line}, and all of it must stand together"
            );
        }
        let series: Vec<_> = suffixes.iter().map(|suffix| format!("{family}{suffix}")).collect();
        let (kind, series) = (kind.kind.as_str(), series.join(", "));
        format!("{name} is a name of the {kind} {family} of line {line}, whose series are {series}")
    }
}

impl Family<'_> {
    fn take(&mut self, sample: &Sample<'_>, complaints: &mut Complaints) {
        let suffix = &sample.name[self.name.len()..];
        if sample.has_exemplar && !self.kind.has_exemplars(suffix) {
            let (name, kind) = (&sample.name, self.kind.kind.as_str());
            complaints.add(format!("exemplar at {name} of the type {kind}, which may have none"));
        }
        let key = Key::of(sample, self.kind.part(&self.name));
        let number = self.groups.len();
        let place = *self.places.entry(key).or_insert(number);
        if place == number {
            self.groups.push(Group::default());
        } else if place != self.last && self.kind.rules == Rules::OpenMetrics {
            complaints.add(format!("{}: samples of a metric do not stand together", sample.name));
        }
        self.last = place;
        self.groups[place].take(&self.name, suffix, self.kind, sample, complaints);
    }
}

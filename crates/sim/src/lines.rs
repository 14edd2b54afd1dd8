//! What was sent as log lines, what was acknowledged, and so what a store may give back.
//!
//! Each line's text is sent once, so it stands for the line. An acknowledged one is there, one that was refused is not, of
//! one whose request failed nobody knows until a restart after a power cut shows it.

use std::collections::{BTreeMap, BTreeSet};

use model::TenantId;

use crate::ledger::{Fate, RequestId};

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Labels of its stream, in the order of the wire.
    pub stream: Vec<(String, String)>,
    /// Its own fields.
    pub fields: Vec<(String, String)>,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// The line.
    pub text: String,
}

/// All lines that were ever sent.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    by_text: BTreeMap<(TenantId, String), (RequestId, Line)>,
    /// What a restart settled.
    settled: BTreeMap<(TenantId, String), Fate>,
}

impl Lines {
    /// Writes lines down before they are sent; those that a store must refuse are left out. Their stream's labels come in
    /// canonical order.
    pub fn send(&mut self, tenant: TenantId, request: RequestId, lines: &[Line]) {
        for line in lines {
            self.by_text.insert((tenant, line.text.clone()), (request, line.clone()));
        }
    }

    /// The first thing that is wrong with what a store gives back of a tenant. `damaged` excuses what is missing.
    pub fn check(
        &self,
        tenant: TenantId,
        found: &[Line],
        fate: impl Fn(RequestId) -> Fate,
        damaged: bool,
    ) -> Option<String> {
        let mut texts = BTreeSet::new();
        for line in found {
            let Some((request, sent)) = self.by_text.get(&(tenant, line.text.clone())) else {
                return Some(format!("{line:?} was never sent by tenant {}", tenant.0));
            };
            if sent != line {
                return Some(format!("altered: found {line:?}, sent {sent:?}"));
            }
            if !texts.insert(&line.text) {
                return Some(format!("{line:?} comes twice"));
            }
            if self.fate_of(tenant, &line.text, fate(*request)) == Fate::Refused {
                return Some(format!("{line:?} was refused"));
            }
        }
        let ours = self.by_text.iter().filter(|((of, _), _)| *of == tenant && !damaged);
        let mut lost = ours.filter(|((_, text), (request, _))| {
            !texts.contains(text) && self.fate_of(tenant, text, fate(*request)) == Fate::Acknowledged
        });
        lost.next().map(|((_, text), _)| format!("lost: {text}"))
    }

    fn fate_of(&self, tenant: TenantId, text: &str, fate: Fate) -> Fate {
        self.settled.get(&(tenant, text.to_owned())).copied().unwrap_or(fate)
    }

    /// After a restart from a power cut: what is there was on the disk and stays, what is not never comes.
    pub fn settle_restart(&mut self, tenant: TenantId, found: &[Line]) {
        let texts: BTreeSet<_> = found.iter().map(|line| &line.text).collect();
        for key in self.by_text.keys().filter(|(of, _)| *of == tenant) {
            let fate = if texts.contains(&key.1) { Fate::Acknowledged } else { Fate::Refused };
            self.settled.insert(key.clone(), fate);
        }
    }

    /// How many were sent.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Whether none were sent.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::naive::Judgement;

    const TENANT: TenantId = TenantId(1);

    fn line(text: &str) -> Line {
        Line { stream: Vec::new(), fields: Vec::new(), timestamp_ns: 5, text: text.to_owned() }
    }

    #[test]
    fn acknowledged_lines_are_required_once_and_unknown_ones_possible() {
        let (mut ledger, mut lines) = (Ledger::default(), Lines::default());
        for (text, fate) in [("kept", Fate::Acknowledged), ("maybe", Fate::Unknown), ("not", Fate::Refused)] {
            let request = ledger.send(TENANT, &Judgement::default());
            ledger.settle(request, fate);
            lines.send(TENANT, request, &[line(text)]);
        }
        let wrong = |lines: &Lines, found: &[&str], damaged| {
            let found: Vec<_> = found.iter().map(|text| line(text)).collect();
            lines.check(TENANT, &found, |request| ledger.fate_of(request), damaged).is_some()
        };
        assert!(!wrong(&lines, &["kept"], false) && !wrong(&lines, &["maybe", "kept"], false));
        for found in [&["maybe"][..], &["kept", "kept"], &["kept", "not"], &["kept", "invented"]] {
            assert!(wrong(&lines, found, false), "{found:?}");
        }
        assert!(!wrong(&lines, &[], true) && wrong(&lines, &["not"], true));
        assert!(wrong(&lines.clone(), &["kept", "other"], false), "of another tenant");
        lines.settle_restart(TENANT, &[line("kept")]);
        assert!(wrong(&lines, &["kept", "maybe"], false), "it was not there");
        let altered = Line { timestamp_ns: 6, ..line("kept") };
        assert!(lines.check(TENANT, &[altered], |_| Fate::Unknown, false).is_some());
    }
}

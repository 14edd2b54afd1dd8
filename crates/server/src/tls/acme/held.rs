//! The certificates that connections are greeted with, by name.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

use super::names::Names;
use crate::tls::certificate::Certificate;

/// What there is. Read by every handshake, changed seldom.
#[derive(Debug, Default)]
pub struct Held {
    shown: ArcSwap<Shown>,
    /// Held while `shown` is being changed.
    changing: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Shown {
    /// What is wanted; the domain's first.
    wanted: Vec<Names>,
    /// What there is of it, under each of its names.
    certificates: HashMap<String, Certificate>,
}

impl Held {
    /// What a client is shown that asks for `name` (in lower case); without one, the domain's certificate.
    pub fn shown(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.load();
        let name = match name {
            Some(name) => name,
            None => shown.wanted.first()?.first(),
        };
        shown.certificates.get(name).map(|certificate| Arc::clone(&certificate.key))
    }

    /// How many there are.
    pub(super) fn number(&self) -> usize {
        let shown = self.shown.load();
        shown.wanted.iter().filter(|names| shown.certificates.contains_key(names.first())).count()
    }

    /// The certificate for these names.
    pub(super) fn of(&self, names: &Names) -> Option<Certificate> {
        self.shown.load().certificates.get(names.first()).cloned()
    }

    /// From now on these are wanted. Gives those that are not any more.
    pub(super) fn want(&self, wanted: &[Names]) -> Vec<Names> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Shown::clone(&self.shown.load());
        if next.wanted == wanted {
            return Vec::new();
        }
        let stay: HashSet<&Names> = wanted.iter().collect();
        let before = std::mem::replace(&mut next.wanted, wanted.to_vec());
        let gone: Vec<Names> = before.into_iter().filter(|names| !stay.contains(names)).collect();
        for name in gone.iter().flat_map(Names::all) {
            next.certificates.remove(name);
        }
        self.shown.store(Arc::new(next));
        gone
    }

    /// Shows certificates from now on, as far as they are still wanted.
    pub(super) fn put(&self, certificates: Vec<(&Names, Certificate)>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Shown::clone(&self.shown.load());
        let wanted: HashSet<&Names> = next.wanted.iter().collect();
        for (names, certificate) in certificates.into_iter().filter(|(names, _)| wanted.contains(names)) {
            next.certificates.extend(names.all().iter().map(|name| (name.clone(), certificate.clone())));
        }
        self.shown.store(Arc::new(next));
    }
}

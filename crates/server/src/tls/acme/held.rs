//! The certificates that connections are greeted with, by name.

use std::collections::HashMap;
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
    /// Those that are wanted, in their order.
    wanted: Vec<(Names, Option<Certificate>)>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Shown {
    fn of(wanted: Vec<(Names, Option<Certificate>)>) -> Self {
        let mut by_name = HashMap::new();
        for (names, certificate) in &wanted {
            let Some(certificate) = certificate else { continue };
            by_name.extend(names.all().iter().map(|name| (name.clone(), Arc::clone(&certificate.key))));
        }
        Self { wanted, by_name }
    }
}

impl Held {
    /// What a client is shown that asks for `name` (in lower case); without one, the domain's certificate.
    pub fn shown(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.load();
        match name {
            Some(name) => shown.by_name.get(name).cloned(),
            None => {
                shown.wanted.first().and_then(|(_, certificate)| Some(Arc::clone(&certificate.as_ref()?.key)))
            }
        }
    }

    /// How many there are.
    pub(super) fn number(&self) -> usize {
        self.shown.load().wanted.iter().filter(|(_, certificate)| certificate.is_some()).count()
    }

    /// The certificate for these names.
    pub(super) fn of(&self, names: &Names) -> Option<Certificate> {
        let shown = self.shown.load();
        shown.wanted.iter().find(|(wanted, _)| wanted == names)?.1.clone()
    }

    /// From now on these are wanted. Gives those that are not any more.
    pub(super) fn want(&self, wanted: &[Names]) -> Vec<Names> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.shown.load();
        if now.wanted.iter().map(|(names, _)| names).eq(wanted) {
            return Vec::new();
        }
        let gone = now.wanted.iter().map(|(names, _)| names).filter(|names| !wanted.contains(names));
        let gone = gone.cloned().collect();
        let next = wanted.iter().map(|names| (names.clone(), self.of(names))).collect();
        self.shown.store(Arc::new(Shown::of(next)));
        gone
    }

    /// Shows a certificate from now on, if it is still wanted.
    pub(super) fn put(&self, names: &Names, certificate: Certificate) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = self.shown.load().wanted.clone();
        if let Some((_, place)) = wanted.iter_mut().find(|(wanted, _)| wanted == names) {
            *place = Some(certificate);
        }
        self.shown.store(Arc::new(Shown::of(wanted)));
    }
}

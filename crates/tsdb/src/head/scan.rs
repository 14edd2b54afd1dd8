//! Going through a tenant's series and label values without keeping those who make new series waiting.
//!
//! The table's lock is given back after a few thousand series or values, and whoever waits to write goes first then: he
//! holds the turn until he has the lock. (The lock alone would be had again before he is awake.) Series that are made
//! meanwhile do no harm: an order of slots or values is only added to. Series that leave do: their slots are given to
//! others, of any tenant, and what is left of an index moves. The table counts them, so each part begins with a look at
//! that count, and what began before an eviction begins anew after it. Series leave once for each flush, all together.

use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use model::select::Stop;
use model::{Budget, Matcher, TenantId};
use roaring::RoaringBitmap;

use super::index::{HeadIndex, Posting};
use super::table::Table;

/// Series or values that are looked at under one hold of the lock.
const PART: usize = 4096;

/// The table, to be read in parts.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    table: &'a RwLock<Table>,
    turn: &'a Mutex<()>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(table: &'a RwLock<Table>, turn: &'a Mutex<()>) -> Self {
        Self { table, turn }
    }

    /// The table for one part. Who waits to change it goes first.
    pub(crate) fn read(self) -> RwLockReadGuard<'a, Table> {
        drop(self.turn.lock().expect("lock"));
        self.table.read().expect("lock")
    }
}

/// One tenant's part of the table, to be read by a query.
#[derive(Clone, Copy)]
pub(crate) struct Scan<'a> {
    table: Reader<'a>,
    tenant: TenantId,
    budget: &'a Budget,
}

/// Series that satisfy matchers, as long as none has left the table.
pub(crate) struct Selected {
    slots: RoaringBitmap,
    /// The table's count when they were selected.
    evicted: u64,
}

impl Selected {
    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.slots.len()
    }

    /// Whether the series in this slot is one of them.
    pub(crate) fn has(&self, slot: u32) -> bool {
        self.slots.contains(slot)
    }
}

/// Why something did not come to its end.
enum Interrupted {
    Evicted,
    Stop(Stop),
}

impl From<Stop> for Interrupted {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// The table to change it: scans wait.
pub(crate) fn write<'a>(table: &'a RwLock<Table>, turn: &Mutex<()>) -> RwLockWriteGuard<'a, Table> {
    let _turn = turn.lock().expect("lock");
    table.write().expect("lock")
}

impl<'a> Scan<'a> {
    pub(crate) fn new(table: Reader<'a>, tenant: TenantId, budget: &'a Budget) -> Self {
        Self { table, tenant, budget }
    }

    /// Series that satisfy all matchers; a label that a series does not have counts as empty.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<Selected, Stop> {
        self.between_evictions(|evicted| Ok(Selected { slots: self.matching(matchers, evicted)?, evicted }))
    }

    /// Whether none of them has left, so that no slot is another's now.
    pub(crate) fn is_current(&self, selected: &Selected) -> Result<bool, Stop> {
        Ok(self.read()?.evicted() == selected.evicted)
    }

    /// Hands over the table and selected slots, part by part. False when it ended early because series have left: those
    /// slots may be others' now.
    pub(crate) fn each_part<E: From<Stop>>(
        &self,
        selected: &Selected,
        mut each: impl FnMut(&Table, &[u32]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut slots = selected.slots.iter();
        let mut part = Vec::with_capacity(PART.min(selected.slots.len() as usize));
        loop {
            part.clear();
            part.extend(slots.by_ref().take(PART));
            if part.is_empty() {
                return Ok(true);
            }
            let table = self.read()?;
            if table.evicted() != selected.evicted {
                return Ok(false);
            }
            each(&table, &part)?;
        }
    }

    /// Hands over the table and the slots of all series that satisfy the matchers, part by part. A series that leaves
    /// and comes back meanwhile may come twice.
    pub(crate) fn each_matching<E: From<Stop>>(
        &self,
        matchers: &[Matcher],
        mut each: impl FnMut(&Table, &[u32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = 0;
        loop {
            let mut selected = self.select(matchers)?;
            selected.slots.remove_range(..next);
            let whole = self.each_part(&selected, |table, slots| {
                next = slots.last().map_or(next, |last| last + 1);
                each(table, slots)
            })?;
            if whole {
                return Ok(());
            }
        }
    }

    /// Label names of the series that satisfy the matchers, not sorted.
    pub(crate) fn names(&self, matchers: &[Matcher]) -> Result<Vec<String>, Stop> {
        self.between_evictions(|evicted| {
            let slots = self.narrowed(matchers, evicted)?;
            let (mut names, mut at) = (Vec::new(), (0, 0));
            let mut part = |index: &HeadIndex| index.names_from(&mut at, PART, slots.as_ref(), &mut names);
            while self.hold(evicted, &mut part)? == Some(true) {}
            Ok(names)
        })
    }

    /// Values of a label of the series that satisfy the matchers, not sorted.
    pub(crate) fn values(&self, name: &str, matchers: &[Matcher]) -> Result<Vec<String>, Stop> {
        self.between_evictions(|evicted| {
            let slots = self.narrowed(matchers, evicted)?;
            let mut values = Vec::new();
            self.each_value(name, evicted, |value, posting| {
                if slots.as_ref().is_none_or(|slots| posting.touches(slots)) {
                    values.push(value.to_owned());
                }
            })?;
            Ok(values)
        })
    }

    /// Hands over the values of a label, not sorted, and how many series have each. When series leave meanwhile it begins
    /// anew, and values come again.
    pub(crate) fn each_value_count<E: From<Stop>>(
        &self,
        name: &str,
        mut each: impl FnMut(String, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut from, mut evicted) = (0, self.read()?.evicted());
        loop {
            let part = self.hold(evicted, |index| {
                let part = index.values_from(name, from).take(PART);
                part.map(|(value, posting)| (value.to_owned(), posting.len())).collect::<Vec<_>>()
            });
            let part = match part {
                Ok(part) => part.unwrap_or_default(),
                Err(Interrupted::Stop(stop)) => return Err(stop.into()),
                Err(Interrupted::Evicted) => {
                    (from, evicted) = (0, self.read()?.evicted());
                    continue;
                }
            };
            let is_last = part.len() < PART;
            part.into_iter().try_for_each(|(value, series)| each(value, series))?;
            if is_last {
                return Ok(());
            }
            from += PART;
        }
    }

    /// Runs `work` until no series leaves while it runs.
    fn between_evictions<T>(&self, mut work: impl FnMut(u64) -> Result<T, Interrupted>) -> Result<T, Stop> {
        loop {
            let evicted = self.read()?.evicted();
            match work(evicted) {
                Ok(done) => return Ok(done),
                Err(Interrupted::Evicted) => {}
                Err(Interrupted::Stop(stop)) => return Err(stop),
            }
        }
    }

    fn read(&self) -> Result<RwLockReadGuard<'a, Table>, Stop> {
        self.budget.check()?;
        Ok(self.table.read())
    }

    /// One hold of the lock; `None` when the tenant has no series.
    fn hold<T>(&self, evicted: u64, read: impl FnOnce(&HeadIndex) -> T) -> Result<Option<T>, Interrupted> {
        let table = self.read()?;
        if table.evicted() != evicted {
            return Err(Interrupted::Evicted);
        }
        Ok(table.tenant(self.tenant).map(|tenant| read(&tenant.index)))
    }

    /// `None` without matchers: all series.
    fn narrowed(&self, matchers: &[Matcher], evicted: u64) -> Result<Option<RoaringBitmap>, Interrupted> {
        if matchers.is_empty() { Ok(None) } else { self.matching(matchers, evicted).map(Some) }
    }

    fn matching(&self, matchers: &[Matcher], evicted: u64) -> Result<RoaringBitmap, Interrupted> {
        let (excluding, including): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|matcher| matcher.matches_empty());
        let mut selected: Option<RoaringBitmap> = None;
        for matcher in including {
            let found = match matcher.literals() {
                Some(literals) => self.hold(evicted, |index| index.with_values(&matcher.name, &literals))?,
                None => Some(self.with_value(&matcher.name, evicted, |value| matcher.matches(value))?),
            };
            let found = found.unwrap_or_default();
            let both = selected.map_or_else(|| found.clone(), |before| before & &found);
            if both.is_empty() {
                return Ok(both);
            }
            selected = Some(both);
        }
        let mut selected = match selected {
            Some(selected) => selected,
            None => self.hold(evicted, |index| index.all().clone())?.unwrap_or_default(),
        };
        // After what includes: a series that is made in between is found by these or was not selected.
        for matcher in excluding {
            selected -= self.with_value(&matcher.name, evicted, |value| !matcher.matches(value))?;
        }
        Ok(selected)
    }

    fn with_value(
        &self,
        name: &str,
        evicted: u64,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, Interrupted> {
        let mut bitmap = RoaringBitmap::new();
        self.each_value(name, evicted, |value, posting| {
            if wanted(value) {
                posting.add_to(&mut bitmap);
            }
        })?;
        Ok(bitmap)
    }

    fn each_value(
        &self,
        name: &str,
        evicted: u64,
        mut each: impl FnMut(&str, &Posting),
    ) -> Result<(), Interrupted> {
        let mut from = 0;
        loop {
            let looked_at = self.hold(evicted, |index| {
                let part = index.values_from(name, from).take(PART);
                part.map(|(value, posting)| each(value, posting)).count()
            })?;
            if looked_at.unwrap_or(0) < PART {
                return Ok(());
            }
            from += PART;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use model::{LabelLimits, Labels, MatchOp};

    use super::*;
    use crate::head::table::{Entry, series_id};

    const OURS: TenantId = TenantId(1);
    const OTHERS: TenantId = TenantId(2);
    const SERIES: u32 = 3 * PART as u32;

    fn labels(i: u32) -> Labels {
        let (i, tens) = (i.to_string(), (i / 10).to_string());
        let mut pairs = vec![("__name__", "metric"), ("i", &i), ("tens", &tens)];
        if i.ends_with('7') {
            pairs.push(("seven", "yes"));
        }
        Labels::canonical(&mut pairs, &LabelLimits::default()).unwrap()
    }

    fn insert(table: &mut Table, tenant: TenantId, series: std::ops::Range<u32>) {
        for i in series {
            table.insert(tenant, series_id(1, tenant, labels(i).as_ref()), labels(i).as_ref(), 0);
        }
    }

    struct World {
        table: RwLock<Table>,
        turn: Mutex<()>,
        budget: Budget,
    }

    impl World {
        fn new() -> Self {
            let mut table = Table::default();
            insert(&mut table, OURS, 0..SERIES);
            Self { table: RwLock::new(table), turn: Mutex::default(), budget: Budget::new(1 << 30) }
        }

        fn scan(&self) -> Scan<'_> {
            Scan::new(Reader::new(&self.table, &self.turn), OURS, &self.budget)
        }

        /// Changes the table in another thread, which comes to it when the lock is given back.
        fn change_later<'s>(
            &'s self,
            scope: &'s thread::Scope<'s, '_>,
            change: impl FnOnce(&mut Table) + Send + 's,
        ) -> mpsc::Receiver<()> {
            let (tell, done) = mpsc::sync_channel(1);
            scope.spawn(move || {
                change(&mut write(&self.table, &self.turn));
                let _ = tell.send(());
            });
            // The turn is taken once it stands at the lock, which the caller has.
            while self.turn.try_lock().is_ok() {
                thread::yield_now();
            }
            done
        }
    }

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).unwrap()
    }

    /// The bug: a lookup held the lock for all of a tenant's series, and every tenant's new series waited for it.
    #[test]
    fn whoever_makes_series_waits_for_one_part() {
        let world = World::new();
        let (mut seen, mut was_let_in) = (0, false);
        thread::scope(|scope| {
            let mut writer = None;
            world
                .scan()
                .each_matching(&[], |_, slots| {
                    match &writer {
                        None => {
                            writer = Some(world.change_later(scope, |table| insert(table, OTHERS, 0..10)));
                        }
                        Some(done) if seen == PART => {
                            was_let_in = done.recv_timeout(Duration::from_secs(5)).is_ok();
                        }
                        Some(_) => {}
                    }
                    seen += slots.len();
                    Ok::<(), Stop>(())
                })
                .unwrap();
        });
        assert!(was_let_in, "after one part");
        assert_eq!(seen, SERIES as usize, "new series are none of ours");
    }

    #[test]
    fn a_slot_that_was_given_to_another_tenant_is_not_read() {
        let world = World::new();
        let mut found = Vec::new();
        thread::scope(|scope| {
            let mut writer = None;
            let scan = world.scan();
            let change = |table: &mut Table| {
                let gone = (PART as u32 + 10..SERIES).collect();
                table.remove(&gone);
                insert(table, OTHERS, 0..SERIES);
            };
            scan.each_matching(&[], |table_now, slots| {
                writer.get_or_insert_with(|| world.change_later(scope, change));
                let entries = slots.iter().map(|slot| table_now.entry(*slot));
                let of = |entry: &Entry| (entry.tenant, table_now.labels(entry, &mut String::new()));
                found.extend(entries.map(of));
                Ok::<(), Stop>(())
            })
            .unwrap();
        });
        let left: Vec<_> = (0..PART as u32 + 10).map(|i| (OURS, labels(i))).collect();
        assert!(found == left, "{} series, the last one is {:?}", found.len(), found.last());
    }

    #[test]
    fn parts_together_are_what_the_matchers_say() {
        let world = World::new();
        let gone = (0..100).collect();
        world.table.write().unwrap().remove(&gone);
        let scan = world.scan();
        let cases = [
            vec![],
            vec![matcher("i", MatchOp::Regex, ".*9")],
            vec![matcher("i", MatchOp::NotRegex, ".*[0-8]")],
            vec![matcher("i", MatchOp::Regex, "200|10000|5"), matcher("__name__", MatchOp::Equal, "metric")],
            vec![matcher("tens", MatchOp::Regex, "1.*"), matcher("i", MatchOp::NotRegex, ".*[02468]")],
            vec![matcher("seven", MatchOp::Equal, "")],
            vec![matcher("seven", MatchOp::NotEqual, ""), matcher("tens", MatchOp::Regex, ".+00")],
            vec![matcher("none", MatchOp::Regex, ".+")],
        ];
        for matchers in cases {
            let all = (100..SERIES).map(labels);
            let matching = |labels: &Labels| {
                matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
            };
            let wanted: Vec<Labels> = all.filter(matching).collect();
            let mut found = Vec::new();
            scan.each_matching(&matchers, |table, slots| {
                let entries = slots.iter().map(|slot| table.entry(*slot));
                found.extend(entries.map(|entry| table.labels(entry, &mut String::new())));
                Ok::<(), Stop>(())
            })
            .unwrap();
            assert!(found == wanted, "{matchers:?}: {} series", found.len());
            let sorted = |mut texts: Vec<String>| {
                texts.sort();
                texts.dedup();
                texts
            };
            let names = wanted.iter().flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned()));
            assert_eq!(sorted(scan.names(&matchers).unwrap()), sorted(names.collect()), "{matchers:?}");
            let values = wanted.iter().map(|labels| labels.get("tens").unwrap().to_owned());
            assert_eq!(
                sorted(scan.values("tens", &matchers).unwrap()),
                sorted(values.collect()),
                "{matchers:?}"
            );
        }
    }

    #[test]
    fn a_cancelled_query_stops_between_parts() {
        let world = World::new();
        let scan = world.scan();
        let mut parts = 0;
        let stopped = scan.each_matching(&[], |_, _| {
            parts += 1;
            world.budget.cancel();
            Ok(())
        });
        assert_eq!((stopped, parts), (Err(Stop::Cancelled), 1));
    }
}

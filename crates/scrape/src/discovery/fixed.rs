//! `static_configs`: targets that stand in the configuration.

use std::collections::BTreeMap;

use super::TargetGroup;
use crate::config::StaticGroup;
use crate::target::ADDRESS;

/// Groups that never change.
#[derive(Debug)]
pub(super) struct Fixed(Vec<TargetGroup>);

impl Fixed {
    pub(super) fn new(groups: &[StaticGroup]) -> Self {
        let groups = groups.iter().enumerate();
        Self(groups.map(|(at, group)| group_of(group.clone(), at.to_string())).collect())
    }

    pub(super) fn groups(self) -> Vec<TargetGroup> {
        self.0
    }
}

/// A group as it is written, as one of targets.
pub(super) fn group_of(group: StaticGroup, source: String) -> TargetGroup {
    let target = |address| BTreeMap::from([(ADDRESS.to_owned(), address)]);
    TargetGroup { source, targets: group.targets.into_iter().map(target).collect(), labels: group.labels }
}

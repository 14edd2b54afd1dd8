//! What upstream keeps behind flags (`--enable-feature`), under their names there; all are off by default.

use crate::Options;
use crate::parse::Syntax;

/// A part of the language or a meaning that is experimental.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Functions and aggregations.
    ExperimentalFunctions,
    /// `fill`, `fill_left`, `fill_right`.
    FillModifiers,
    /// `anchored`, `smoothed`.
    ExtendedRangeSelectors,
    /// Names go at the end of the query.
    DelayedNameRemoval,
    /// Start times tell resets.
    StartTimestamps,
    /// `__type__` tells counters.
    TypeAndUnitLabels,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ExperimentalFunctions,
        Self::FillModifiers,
        Self::ExtendedRangeSelectors,
        Self::DelayedNameRemoval,
        Self::StartTimestamps,
        Self::TypeAndUnitLabels,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExperimentalFunctions => "promql-experimental-functions",
            Self::FillModifiers => "promql-binop-fill-modifiers",
            Self::ExtendedRangeSelectors => "promql-extended-range-selectors",
            Self::DelayedNameRemoval => "promql-delayed-name-removal",
            Self::StartTimestamps => "use-start-timestamps",
            Self::TypeAndUnitLabels => "type-and-unit-labels",
        }
    }

    /// The feature of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.as_str() == name)
    }
}

/// What is read when these features are on.
pub fn syntax(on: &[Feature]) -> Syntax {
    Syntax {
        experimental_functions: on.contains(&Feature::ExperimentalFunctions),
        extended_range_selectors: on.contains(&Feature::ExtendedRangeSelectors),
        fill_modifiers: on.contains(&Feature::FillModifiers),
    }
}

/// What it means when these features are on.
pub fn options(on: &[Feature]) -> Options {
    Options {
        delayed_name_removal: on.contains(&Feature::DelayedNameRemoval),
        start_timestamps: on.contains(&Feature::StartTimestamps),
        type_and_unit_labels: on.contains(&Feature::TypeAndUnitLabels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_turns_on_one_thing() {
        assert_eq!((syntax(&[]), options(&[])), (Syntax::default(), Options::default()));
        assert_eq!(syntax(&Feature::ALL), Syntax::all());
        let all: Vec<_> = Feature::ALL.iter().map(|one| (syntax(&[*one]), options(&[*one]))).collect();
        for (at, one) in all.iter().enumerate() {
            assert_ne!(*one, (syntax(&[]), options(&[])));
            assert!(all[..at].iter().all(|other| other != one));
            assert_eq!(Feature::from_name(Feature::ALL[at].as_str()), Some(Feature::ALL[at]));
        }
        assert_eq!(Feature::from_name("promql-duration-expr"), None);
    }
}

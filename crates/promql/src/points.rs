//! The samples of a series of a range answer.

use crate::column::{Column, Point, Steps, is_absent};

/// The samples of a series with their times in ms, oldest first, floats and histograms in one order.
///
/// Those of a range query stay the column that they were evaluated in: an answer may have millions of them.
#[derive(Clone, Debug)]
pub struct Points(Kind);

#[derive(Clone, Debug)]
enum Kind {
    AtSteps(Steps, Column),
    Listed(Vec<(i64, Point)>),
}

impl Points {
    pub(crate) fn at_steps(steps: Steps, column: Column) -> Self {
        Self(Kind::AtSteps(steps, column))
    }

    /// The samples with their times.
    pub fn iter(&self) -> impl Iterator<Item = (i64, Point)> + '_ {
        let (at_steps, listed) = match &self.0 {
            Kind::AtSteps(steps, column) => (Some((steps, column)), None),
            Kind::Listed(points) => (None, Some(points)),
        };
        let at_steps = at_steps
            .into_iter()
            .flat_map(|(steps, column)| column.points().map(|(step, point)| (steps.at(step), point)));
        at_steps.chain(listed.into_iter().flatten().cloned())
    }

    /// Calls `each` with every float and its time.
    pub fn each_float(&self, mut each: impl FnMut(i64, f64)) {
        match &self.0 {
            Kind::AtSteps(steps, column) => {
                for (step, value) in column.floats.iter().enumerate() {
                    if !is_absent(*value) {
                        each(steps.at(step), *value);
                    }
                }
            }
            Kind::Listed(points) => {
                for (ms, point) in points {
                    if let Point::Float(value) = point {
                        each(*ms, *value);
                    }
                }
            }
        }
    }

    /// Whether there is a histogram among them.
    pub fn has_histograms(&self) -> bool {
        match &self.0 {
            Kind::AtSteps(_, column) => column.histograms.iter().any(Option::is_some),
            Kind::Listed(points) => points.iter().any(|(_, point)| matches!(point, Point::Histogram(_))),
        }
    }

    /// Whether there is a float among them.
    pub fn has_floats(&self) -> bool {
        match &self.0 {
            Kind::AtSteps(_, column) => column.floats.iter().any(|value| !is_absent(*value)),
            Kind::Listed(points) => points.iter().any(|(_, point)| matches!(point, Point::Float(_))),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::AtSteps(_, column) => column.count(),
            Kind::Listed(points) => points.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Kind::AtSteps(_, column) => !column.has_any(),
            Kind::Listed(points) => points.is_empty(),
        }
    }
}

impl From<Vec<(i64, Point)>> for Points {
    fn from(points: Vec<(i64, Point)>) -> Self {
        Self(Kind::Listed(points))
    }
}

impl PartialEq for Points {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

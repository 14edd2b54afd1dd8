//! How the change between a window's samples is stretched to its ends.

use crate::eval::plan::Window;

/// How a change between samples becomes that of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extrapolation {
    /// Whether it is a counter's, which only grows and began at zero.
    pub(crate) is_counter: bool,
    /// Whether it is given by the second.
    pub(crate) per_second: bool,
}

pub(crate) const RATE: Extrapolation = Extrapolation { is_counter: true, per_second: true };
pub(crate) const INCREASE: Extrapolation = Extrapolation { is_counter: true, per_second: false };
pub(crate) const DELTA: Extrapolation = Extrapolation { is_counter: false, per_second: false };

/// Where a window's samples lie in it, in seconds.
pub(super) struct Reach {
    /// From the window's start to the first.
    pub(super) to_start: f64,
    /// From the last to the window's end.
    pub(super) to_end: f64,
    /// From the first to the last.
    pub(super) sampled: f64,
    /// Between two neighbours, on average.
    pub(super) average: f64,
}

impl Reach {
    /// Given in ms: from the window's start to the first sample, from the last to its end, from the first to the last;
    /// and how many samples come after the first.
    fn of((to_start, to_end, sampled, gaps): (i64, i64, i64, u64)) -> Self {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let (to_start, to_end, sampled) = (seconds(to_start), seconds(to_end), seconds(sampled));
        Self { to_start, to_end, sampled, average: sampled / gaps as f64 }
    }

    /// How far the change is stretched before the first sample, as long as no counter's zero is nearer.
    fn limited_to_start(&self) -> f64 {
        if self.to_start >= self.average * 1.1 { self.average / 2.0 } else { self.to_start }
    }

    /// What the change is to be multiplied with. `counts` is a counter's first sample and change, where together they tell
    /// when it stood at zero.
    pub(super) fn factor(mut self, counts: Option<(f64, f64)>) -> f64 {
        let threshold = self.average * 1.1;
        self.to_start = self.limited_to_start();
        if let Some((first, change)) = counts {
            self.to_start = self.to_start.min(self.sampled * (first / change));
        }
        if self.to_end >= threshold {
            self.to_end = self.average / 2.0;
        }
        if self.sampled == 0.0 { 1.0 } else { (self.sampled + self.to_start + self.to_end) / self.sampled }
    }
}

impl Extrapolation {
    pub(super) fn by_time(self, factor: f64, range_ms: i64) -> f64 {
        if self.per_second { factor / (range_ms as f64 / 1000.0) } else { factor }
    }

    /// Of floats without start times: the first value and the change, the times of first and last sample.
    pub(crate) fn float(
        self,
        first: f64,
        change: f64,
        (first_ms, last_ms): (i64, i64),
        samples: u64,
        window: &Window,
        end_ms: i64,
    ) -> Option<f64> {
        Factors::new(self, window).scaled(first, change, (first_ms, last_ms), samples, end_ms)
    }
}

/// The factors of neighbouring windows: samples that come regularly lie in them alike.
pub(super) struct Factors<'w> {
    extrapolation: Extrapolation,
    window: &'w Window,
    /// Where the samples of the last window lay: behind its start, before its end, how far apart, how many.
    place: (i64, i64, i64, u64),
    /// What its change was multiplied with, where no counter's zero was nearer than its start.
    factor: f64,
    /// Its [`Reach::sampled`] and [`Reach::to_start`], the latter a little longer, so that rounding does not matter.
    sampled: f64,
    to_start: f64,
}

impl<'w> Factors<'w> {
    pub(super) fn new(extrapolation: Extrapolation, window: &'w Window) -> Self {
        let place = (0, 0, 0, 0);
        Self { extrapolation, window, place, factor: 0.0, sampled: 0.0, to_start: f64::INFINITY }
    }

    /// [`Extrapolation::float`], with fewer divisions.
    pub(super) fn scaled(
        &mut self,
        first: f64,
        change: f64,
        ends: (i64, i64),
        samples: u64,
        end_ms: i64,
    ) -> Option<f64> {
        let range_ms = self.window.range_ms;
        let gaps = samples.checked_sub(1).filter(|gaps| *gaps > 0)?;
        let place = (ends.0 - end_ms.saturating_sub(range_ms), end_ms - ends.1, ends.1 - ends.0, gaps);
        if place != self.place {
            let reach = Reach::of(place);
            self.place = place;
            self.sampled = reach.sampled;
            self.to_start = reach.limited_to_start() * (1.0 + 1e-9);
            self.factor = self.extrapolation.by_time(reach.factor(None), range_ms);
        }
        // A counter that stood at zero long before the window began, or no counter: its zero changes nothing.
        let is_far = self.sampled * first > self.to_start * change;
        if is_far || !(self.extrapolation.is_counter && change > 0.0 && first >= 0.0) {
            return Some(change * self.factor);
        }
        let factor = Reach::of(place).factor(Some((first, change)));
        Some(change * self.extrapolation.by_time(factor, range_ms))
    }
}

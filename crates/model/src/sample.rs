//! Float samples and the one NaN that means "the series ended".

/// A float at a time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Any bit pattern, NaN payloads included.
    pub value: f64,
    /// When the counter began, in ms; 0 = not known (remote write 2.0 `start_timestamp`, OpenMetrics `_created`).
    pub start_ms: i64,
}

/// Equality of bits: two NaNs are equal when their payloads are, -0.0 is not 0.0.
impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        (self.timestamp_ms, self.value.to_bits(), self.start_ms)
            == (other.timestamp_ms, other.value.to_bits(), other.start_ms)
    }
}

/// Prometheus' stale marker: this NaN and no other.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether `value` is the stale marker. Ordinary NaNs are values.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

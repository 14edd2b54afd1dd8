//! SignalFx, now Splunk Observability: a protocol that Weir speaks and does not read.

mod encode;

pub use encode::SPEAKER;

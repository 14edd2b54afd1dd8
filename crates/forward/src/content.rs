//! What a request is made of: rows of one tenant and of one window.
//!
//! They are kept beside the request until it is taken, so that one that a receiver finds too large can be made anew in halves.
//!
//! ```text
//! tenant · hops (1) · instances, each 8 · rows, each
//!   labels, in canonical form · 1 where it is a delta, else 0 · samples, each timestamp · value (8) · start
//! ```

use aggregation::added::Row;
use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint, put_zigzag};
use dialects::outgoing::Parcel;
use model::{Labels, Origin, Sample, Temporality, TenantId};

/// Rows that go together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) tenant: TenantId,
    /// The way that they came.
    pub(crate) origin: Origin,
    pub(crate) rows: Vec<Row>,
}

impl Content {
    /// Floats of a parcel.
    pub(crate) fn of(tenant: TenantId, origin: &Origin, parcel: &Parcel<'_>) -> Self {
        let row = |series: dialects::outgoing::Series<'_>| Row {
            labels: Labels::from_pairs(series.labels.iter().copied()),
            samples: series.samples.to_vec(),
            temporality: series.temporality,
        };
        Self { tenant, origin: origin.clone(), rows: parcel.series().map(row).collect() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, u64::from(self.tenant.0));
        out.push(self.origin.hops);
        put_varint(&mut out, self.origin.via.len() as u64);
        self.origin.via.iter().for_each(|instance| out.extend_from_slice(&instance.to_le_bytes()));
        put_varint(&mut out, self.rows.len() as u64);
        for row in &self.rows {
            put_bytes(&mut out, row.labels.as_canonical().as_bytes());
            out.push(u8::from(row.temporality == Temporality::Delta));
            put_varint(&mut out, row.samples.len() as u64);
            for sample in &row.samples {
                put_zigzag(&mut out, sample.timestamp_ms);
                out.extend_from_slice(&sample.value.to_bits().to_le_bytes());
                put_zigzag(&mut out, sample.start_ms);
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes);
        let tenant = TenantId(reader.number()?);
        let mut origin = Origin { hops: reader.byte()?, via: Vec::new() };
        for _ in 0..reader.count_of(8)? {
            origin.via.push(u64::from_le_bytes(reader.array()?));
        }
        let mut rows = Vec::new();
        for _ in 0..reader.count_of(3)? {
            let text = std::str::from_utf8(reader.bytes()?).map_err(|_| Corrupt)?;
            let labels = Labels::from_canonical(text).ok_or(Corrupt)?;
            let temporality = match reader.byte()? {
                0 => Temporality::Cumulative,
                1 => Temporality::Delta,
                _ => return Err(Corrupt),
            };
            let mut samples = Vec::new();
            for _ in 0..reader.count_of(10)? {
                let timestamp_ms = reader.zigzag()?;
                let value = f64::from_bits(u64::from_le_bytes(reader.array()?));
                samples.push(Sample { timestamp_ms, value, start_ms: reader.zigzag()? });
            }
            rows.push(Row { labels, samples, temporality });
        }
        if reader.is_empty() { Ok(Self { tenant, origin, rows }) } else { Err(Corrupt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_shorter_one_is_damage() {
        let row = |name, temporality| Row {
            labels: Labels::from_pairs([("__name__", name)]),
            samples: [3, -7].map(|at| Sample { timestamp_ms: at, value: 0.5, start_ms: 2 }).to_vec(),
            temporality,
        };
        let rows = vec![row("a", Temporality::Delta), row("b", Temporality::Cumulative)];
        let origin = Origin { hops: 2, via: vec![7, u64::MAX] };
        let content = Content { tenant: TenantId(9), origin, rows };
        let bytes = content.encode();
        assert_eq!(Content::decode(&bytes).unwrap(), content);
        for length in 0..bytes.len() {
            assert!(Content::decode(&bytes[..length]).is_err(), "{length}");
        }
    }
}

//! Exemplars of a series: times, values and the labels of traces.
//!
//! They are few and their labels are random (trace ids), so they are written one after another as they are.

use model::batch::Exemplar;

use super::bytes::{Reader, put_bytes, put_varint, put_zigzag};
use super::{Corrupt, checked_rows};

/// The least that an exemplar takes: time, value, number of labels.
const EXEMPLAR_BYTES_MIN: usize = 10;
/// The least that a label takes: two lengths.
const LABEL_BYTES_MIN: usize = 2;

/// Appends exemplars.
pub fn encode(exemplars: &[Exemplar], out: &mut Vec<u8>) {
    let mut previous = 0i64;
    for exemplar in exemplars {
        put_zigzag(out, exemplar.timestamp_ms.wrapping_sub(previous));
        previous = exemplar.timestamp_ms;
        out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        put_varint(out, exemplar.labels.len() as u64);
        for (name, value) in &exemplar.labels {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
    }
}

/// Reads `rows` exemplars, appending them.
pub fn decode(reader: &mut Reader<'_>, rows: usize, out: &mut Vec<Exemplar>) -> Result<(), Corrupt> {
    if checked_rows(rows)? > reader.rest().len() / EXEMPLAR_BYTES_MIN {
        return Err(Corrupt);
    }
    let mut timestamp_ms = 0i64;
    for _ in 0..rows {
        timestamp_ms = timestamp_ms.wrapping_add(reader.zigzag()?);
        let value = f64::from_bits(u64::from_le_bytes(reader.array()?));
        let labels = reader.count_of(LABEL_BYTES_MIN)?;
        let labels =
            (0..labels).map(|_| Ok((text(reader)?, text(reader)?))).collect::<Result<_, Corrupt>>()?;
        out.push(Exemplar { labels, value, timestamp_ms });
    }
    Ok(())
}

fn text(reader: &mut Reader<'_>) -> Result<String, Corrupt> {
    std::str::from_utf8(reader.bytes()?).map(str::to_owned).map_err(|_| Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exemplars_come_back(rows in proptest::collection::vec(
            (any::<i64>(), -1e9f64..1e9, proptest::collection::vec((".{0,8}", ".{0,20}"), 0..4)), 0..20
        )) {
            let exemplars: Vec<Exemplar> = rows
                .into_iter()
                .map(|(timestamp_ms, value, labels)| Exemplar { labels, value, timestamp_ms })
                .collect();
            let mut out = Vec::new();
            encode(&exemplars, &mut out);
            let mut back = Vec::new();
            decode(&mut Reader::new(&out), exemplars.len(), &mut back).unwrap();
            prop_assert_eq!(back, exemplars);
        }

        #[test]
        fn any_bytes_are_exemplars_or_corrupt(bytes in proptest::collection::vec(any::<u8>(), 0..200), rows in 0usize..30) {
            let _ = decode(&mut Reader::new(&bytes), rows, &mut Vec::new());
        }
    }
}

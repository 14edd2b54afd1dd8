//! Frames of `prometheus.ChunkedReadResponse`: a length (varint), the CRC32C of the message (four bytes, the highest
//! first), the message. A frame holds chunks of one series; a long series has several frames.

use codec::hash::crc32c;
use codec::proto::{VARINT, write_bytes, write_key, write_message};
use codec::varint;
use model::Labels;

use super::chunks::{Chunk, cut};
use super::rows::Rows;
use super::samples::write_labels;

/// Bytes after which a frame ends, as upstream has it; with one chunk more it may be over.
pub const FRAME_BYTES: usize = 1 << 20;

/// Hands the frames of one series of the query with this number to `each`. A series without samples has none.
pub fn each_frame<E>(
    query: usize,
    labels: &Labels,
    rows: Rows<'_>,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut series = Vec::new();
    write_labels(labels, &mut series);
    let labels_end = series.len();
    let mut frame = Vec::new();
    let mut send = |series: &mut Vec<u8>| {
        write_frame(query, series, &mut frame);
        series.truncate(labels_end);
        each(&frame)
    };
    cut(rows, |chunk| {
        write_chunk(&chunk, &mut series);
        if series.len() >= FRAME_BYTES { send(&mut series) } else { Ok(()) }
    })?;
    if series.len() > labels_end { send(&mut series) } else { Ok(()) }
}

fn write_chunk(chunk: &Chunk, out: &mut Vec<u8>) {
    write_message(2, out, |out| {
        for (field, number) in
            [(1, chunk.min_ms as u64), (2, chunk.max_ms as u64), (3, chunk.encoding as u64)]
        {
            write_key(field, VARINT, out);
            varint::write(number, out);
        }
        write_bytes(4, &chunk.bytes, out);
    });
}

/// Puts a frame in the place of what is in `frame`.
fn write_frame(query: usize, series: &[u8], frame: &mut Vec<u8>) {
    let mut tail = Vec::new();
    if query > 0 {
        write_key(2, VARINT, &mut tail);
        varint::write(query as u64, &mut tail);
    }
    frame.clear();
    write_bytes(1, series, frame);
    frame.extend_from_slice(&tail);
    let mut head = Vec::new();
    varint::write(frame.len() as u64, &mut head);
    head.extend_from_slice(&crc32c(frame).to_be_bytes());
    frame.splice(0..0, head);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::SeriesBlock;
    use model::SeriesRef;
    use model::histogram::{BucketCounts, Histogram, ResetHint, Span};
    use model::select::HistogramPoint;

    use super::*;
    use crate::remote_read::client::{ReadSeries, Value, difference, read_frames, read_samples};
    use crate::remote_read::samples;

    fn histogram(by: u64) -> Histogram {
        Histogram {
            schema: 1,
            zero_threshold: 0.001,
            sum: by as f64,
            reset_hint: ResetHint::Unknown,
            positive_spans: vec![Span { offset: 2, length: 2 }],
            negative_spans: vec![],
            counts: BucketCounts::Integer {
                count: 3 * by,
                zero: by,
                positive: vec![by, by],
                negative: vec![],
            },
            custom_bounds: vec![],
        }
    }

    /// Floats, histograms with a reset among them, floats again: as a series that changed its kind.
    fn mixed() -> (Labels, SeriesBlock) {
        let mut block = SeriesBlock::default();
        block.clear();
        // Another series before it: rows do not begin at 0.
        block.columns.push(5, 5.0);
        block.end_series(SeriesRef(0));
        for row in 0..700i64 {
            let value = if row == 10 { f64::from_bits(model::STALE_NAN_BITS) } else { row as f64 / 3.0 };
            block.columns.push(row * 1000, value);
            if (300..600).contains(&row) {
                let by = if row < 400 { row as u64 } else { row as u64 - 399 };
                let histogram = Arc::new(histogram(by));
                block.columns.histograms.push(HistogramPoint::new(row as u32 + 1, histogram));
            }
        }
        block.end_series(SeriesRef(1));
        (Labels::from_pairs([("__name__", "m"), ("a", "b")]), block)
    }

    fn frames(query: usize, labels: &Labels, rows: Rows<'_>) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        each_frame(query, labels, rows, |frame| {
            frames.push(frame.to_vec());
            Ok::<(), ()>(())
        })
        .unwrap();
        frames
    }

    #[test]
    fn both_forms_say_the_same() {
        let (labels, block) = mixed();
        let rows = Rows::of(&block, 1);
        let frames = frames(3, &labels, rows).concat();
        let [(query, series)] = &read_frames(&frames).unwrap()[..] else { panic!("one series") };
        assert_eq!((*query, &series.labels), (3, &labels));
        let mut body = Vec::new();
        samples::write_result(&mut body, |out| {
            samples::write_series(&labels, rows, out);
            Ok::<(), ()>(())
        })
        .unwrap();
        assert!(body.len() <= samples::series_bytes_max(&labels, rows) + 16);
        let results = read_samples(&body).unwrap();
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].len(), 1);
        let forms = [series, &results[0][0]].map(|series| [series.without_hints()]);
        assert_eq!(difference(&forms[0], &forms[1]), None);
        assert_eq!(series.samples.len(), 700);
        // The reset is at the head of its chunk, so nobody is told that there was none.
        let hint = |series: &ReadSeries, row: usize| match &series.samples[row].1 {
            Value::Histogram(histogram) => histogram.reset_hint,
            Value::Float(_) => panic!("row {row} is a float"),
        };
        assert_eq!((hint(series, 399), hint(series, 400)), (ResetHint::NotReset, ResetHint::Unknown));
        assert_eq!(hint(&results[0][0], 400), ResetHint::Unknown);
    }

    #[test]
    fn a_chunk_has_120_samples_at_most_and_a_kind() {
        let (_, block) = mixed();
        let mut chunks = Vec::new();
        cut(Rows::of(&block, 1), |chunk| {
            chunks.push((chunk.min_ms / 1000, chunk.max_ms / 1000, chunk.encoding as u64));
            Ok::<(), ()>(())
        })
        .unwrap();
        let wanted = [
            (0, 119, 1),
            (120, 239, 1),
            (240, 299, 1),
            (300, 399, 2),
            (400, 519, 2),
            (520, 599, 2),
            (600, 699, 1),
        ];
        assert_eq!(chunks, wanted);
    }

    #[test]
    fn long_series_have_several_frames() {
        let mut block = SeriesBlock::default();
        block.clear();
        let mut bits = 1u64;
        for row in 0..400_000i64 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            block.columns.push(row * 1000, f64::from_bits(bits >> 2));
        }
        block.end_series(SeriesRef(0));
        let labels = Labels::from_pairs([("__name__", "m")]);
        let frames = frames(0, &labels, Rows::of(&block, 0));
        assert_eq!(frames.len(), 4);
        assert!(frames.iter().all(|frame| frame.len() < FRAME_BYTES + 2048));
        let read = read_frames(&frames.concat()).unwrap();
        assert_eq!((read.len(), read[0].1.samples.len()), (1, 400_000));
        assert!(read[0].1.samples.is_sorted_by_key(|(ms, _)| *ms));
    }

    #[test]
    fn a_damaged_frame_is_noticed() {
        let (labels, block) = mixed();
        let good = frames(0, &labels, Rows::of(&block, 1)).concat();
        for at in [0, 3, 20, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read_frames(&bad).is_none(), "{at}");
        }
        assert!(read_frames(&good[..good.len() - 1]).is_none());
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let (labels, block) = mixed();
        let good = frames(0, &labels, Rows::of(&block, 1)).concat();
        let mut seed = 1u64;
        for _ in 0..2_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = good[(seed >> 60) as usize..200].to_vec();
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] ^= (seed >> 20) as u8;
            crate::remote_read::exercise(&bytes);
        }
    }
}

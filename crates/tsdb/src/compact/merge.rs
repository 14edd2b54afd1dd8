//! A merge while it runs: series by series through all inputs, in steps.
//!
//! Inputs stand in the same order, so each is read from front to back; a series' rows are put together, settled and cut
//! into spans. Samples in memory are one series' rows in the spans of a pass, or when these are too many a part of them in
//! one span (`parts`), at least a chunk of each input. Each open output keeps its index until it
//! ends, 25 to 60 bytes and more for each series: a pass takes as few spans as the inputs' series suggest, the others are
//! done in further passes over the inputs, which read only their own chunks. When the indexes take too much all the same,
//! the largest is written, and what follows of its span goes into another file.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::batch::Exemplar;
use model::select::HistogramPoint;
use model::{Labels, SeriesId, TenantId, TimeRange};

use super::parts::{Part, Rows, Weights, bytes_from};
use super::plan::{Plan, Span};
use crate::block::{
    Block, BlockError, BlockWriter, Columns, Damaged, PageCache, SectionReader, SeriesInput, block_order,
    every_chunk,
};
use crate::head::table::series_id;
use crate::manifest::floor_ms;
use crate::merge::Writes;
use crate::named::Named;
use crate::options::Options;
use crate::store::{Inner, View, tombstones_of};
use crate::tombstone::{self, Tombstone};

/// Spans of one pass at most.
const PASS_SPANS: usize = 16;

/// Bytes that a series takes in the index of an output, about, when it has a label value that no other one has.
const SERIES_BYTES: u64 = 64;

/// A tenant with so much in a span gets a file of its own there: it expires alone.
const OWN_FILE_BYTES: u64 = 1 << 20;

/// Pages of the inputs that are kept: a merge must not push out what queries use.
const CACHE_BYTES: u64 = 8 << 20;

/// Bytes that a row takes while it is merged, for the I/O budget.
const ROW_BYTES: u64 = 16;
/// Bytes that a histogram takes beside, about.
const HISTOGRAM_BYTES: u64 = 1024;

/// A merge of some blocks into others.
pub(crate) struct Merge {
    inputs: Vec<Input>,
    sequences: RangeInclusive<u64>,
    view: View,
    spans: Vec<Span>,
    /// Spans that are written now, and how many that are in one pass.
    pass: Range<usize>,
    pass_spans: usize,
    /// Bytes that the indexes of open outputs may take together.
    index_bytes_max: u64,
    /// Bytes of each tenant in the inputs.
    tenants: Vec<(TenantId, u64)>,
    /// Those that are done in this pass.
    done: usize,
    cursors: Vec<Cursor>,
    outputs: Vec<Output>,
    written: Vec<Written>,
    columns: Columns,
    /// Bytes that rows may take.
    rows_bytes_max: u64,
    /// The series that is merged in parts.
    large: Option<Large>,
}

/// A block that is merged.
pub(crate) struct Input {
    /// With a cache of its own.
    pub(super) block: Block,
    pub(crate) id: u64,
    /// What of it could not be read.
    pub(crate) damaged: Vec<Damaged>,
}

/// A file that is whole and synced, under its temporary name.
pub(crate) struct Written {
    pub(crate) id: u64,
    pub(crate) bytes: u64,
}

/// Where the reading of an input's section stands.
struct Cursor {
    input: usize,
    series: u32,
    section: SectionReader,
    ordinal: u32,
    labels: Labels,
    /// What retention has left of it.
    left: TimeRange,
    /// Deletes that mask something in it.
    tombstones: Vec<Arc<Tombstone>>,
}

/// A series whose rows are not read all at once.
struct Large {
    id: SeriesId,
    labels: Labels,
    /// What is left of it.
    parts: std::vec::IntoIter<Part>,
    /// Bytes of its rows that are merged and not written yet.
    rows_bytes: u64,
}

/// A file that is being written.
struct Output {
    span: usize,
    /// Whose file it is; `None` = of all who have little.
    own: Option<TenantId>,
    tenant: Option<TenantId>,
    id: u64,
    writer: BlockWriter,
}

impl Input {
    /// The block as the manifest names it.
    pub(crate) fn named(&self) -> Named {
        Named::of(self.block.meta())
    }
}

impl Merge {
    pub(crate) fn new(plan: Plan, view: &View, options: &Options) -> Merge {
        let index_bytes_max = options.merge_bytes();
        let cache = PageCache::new(CACHE_BYTES);
        let mut inputs = Vec::with_capacity(plan.inputs.len());
        let mut tenants: BTreeMap<TenantId, u64> = BTreeMap::new();
        let mut series = 1;
        for live in &plan.inputs {
            for section in &live.meta().sections {
                *tenants.entry(section.tenant).or_default() += section.bytes;
                series = series.max(u64::from(section.series));
            }
            let block = live.with_cache(cache.clone());
            inputs.push(Input { block, id: live.meta().id, damaged: Vec::new() });
        }
        let sequences = inputs.iter().map(|input| &input.block.meta().sequences);
        let first = sequences.clone().map(|s| *s.start()).min().unwrap_or(0);
        let last = sequences.map(|s| *s.end()).max().unwrap_or(0);
        let pass_spans = pass_spans(series, index_bytes_max);
        Merge {
            inputs,
            sequences: first..=last,
            view: view.clone(),
            pass: 0..plan.spans.len().min(pass_spans),
            pass_spans,
            index_bytes_max,
            spans: plan.spans,
            tenants: tenants.into_iter().collect(),
            done: 0,
            cursors: Vec::new(),
            outputs: Vec::new(),
            written: Vec::new(),
            columns: Columns::default(),
            rows_bytes_max: options.merge_rows_bytes(),
            large: None,
        }
    }

    /// The merged blocks.
    pub(crate) fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The blocks of which the disk refused to read something.
    pub(crate) fn refused(&self) -> Vec<u64> {
        let is_refused = |input: &&Input| input.damaged.iter().any(Damaged::is_unreadable);
        self.inputs.iter().filter(is_refused).map(|input| input.id).collect()
    }

    /// The files that were written, complete after the last step.
    pub(crate) fn written(&self) -> &[Written] {
        &self.written
    }

    /// Goes on for about so many bytes; returns how many there were, `None` when everything is written.
    pub(crate) fn step(&mut self, inner: &Inner, bytes_max: u64) -> io::Result<Option<u64>> {
        let mut bytes = 0;
        while bytes < bytes_max {
            if self.cursors.is_empty() && !self.next_tenant()? {
                if self.pass.end == self.spans.len() {
                    return Ok(None);
                }
                self.pass = self.pass.end..(self.pass.end + self.pass_spans).min(self.spans.len());
                self.done = 0;
                continue;
            }
            bytes += match self.large.take() {
                Some(large) => self.next_part(inner, large)?,
                None => self.next_series(inner)?,
            };
        }
        Ok(Some(bytes))
    }

    /// Removes what was written and is not renamed yet.
    pub(crate) fn discard(self, inner: &Inner) {
        let outputs = self.outputs.iter().map(|output| output.id);
        for id in self.written.iter().map(|written| written.id).chain(outputs) {
            let _ = inner.env.files.remove(&temporary(inner, id));
        }
    }

    /// Opens the next tenant's sections; false when all are done, and their files ended.
    fn next_tenant(&mut self) -> io::Result<bool> {
        while self.cursors.is_empty() {
            let ended = self.done.checked_sub(1).map(|before| self.tenants[before].0);
            let Some((tenant, _)) = self.tenants.get(self.done).copied() else {
                self.finish(|_| true)?;
                return Ok(false);
            };
            self.finish(|output| output.own.is_some() && output.own == ended)?;
            self.done += 1;
            let range = self.range();
            for at in 0..self.inputs.len() {
                let input = &mut self.inputs[at];
                let left_ms = floor_ms(&self.view.floors, tenant, *input.block.meta().sequences.end());
                let left = TimeRange { start_ms: left_ms, end_ms: i64::MAX };
                let meta = input.block.meta().section(tenant);
                if !meta.is_some_and(|meta| meta.range.overlaps(&range) && meta.range.overlaps(&left)) {
                    continue;
                }
                let tombstones = tombstones_of(&self.view.tombstones, tenant, input.id);
                match input.block.section(tenant) {
                    Ok(Some(section)) => {
                        let (series, section) = (section.series(), section.reader());
                        let labels = Labels::default();
                        let mut cursor =
                            Cursor { input: at, series, section, ordinal: 0, labels, left, tombstones };
                        if cursor.settle(input)? {
                            self.cursors.push(cursor);
                        }
                    }
                    Ok(None) => {}
                    Err(error) => note(error, &mut input.damaged)?,
                }
            }
        }
        Ok(true)
    }

    /// The spans of this pass together.
    fn range(&self) -> TimeRange {
        let spans = &self.spans[self.pass.clone()];
        let end_ms = spans.last().map_or(i64::MIN, |span| span.range.end_ms);
        TimeRange { start_ms: spans.first().map_or(i64::MAX, |span| span.range.start_ms), end_ms }
    }

    /// Whose sections are open.
    fn tenant(&self) -> TenantId {
        self.tenants[self.done - 1].0
    }

    /// Merges the first series of all cursors; returns how many bytes its rows took. One that is too large is begun.
    fn next_series(&mut self, inner: &Inner) -> io::Result<u64> {
        let first = self.cursors.iter().map(|cursor| &cursor.labels).min_by(|a, b| block_order(a, b));
        let labels = first.expect("a tenant without cursors is done").clone();
        let id = series_id(inner.id_seed, self.tenant(), labels.as_ref());
        let range = self.range();
        self.columns.clear();
        let [samples, exemplars] = self.weigh(&labels, range)?;
        let bytes = samples.bytes() + exemplars.bytes();
        if bytes > self.rows_bytes_max {
            let parts = self.cut([samples, exemplars]).into_iter();
            self.large = Some(Large { id, labels, parts, rows_bytes: 0 });
            return Ok(0);
        }
        self.charge(inner, bytes);
        self.read_samples(&labels, range)?;
        let exemplars = self.read_exemplars(&labels, range)?;
        self.go_past(&labels)?;
        self.columns.settle(0);
        for span in self.pass.clone() {
            self.write_span(inner, span, id, &labels, &exemplars)?;
        }
        self.end_series(inner)?;
        Ok(merged_bytes(&self.columns))
    }

    /// Merges the next part of a series that is too large; returns how many bytes its rows took.
    fn next_part(&mut self, inner: &Inner, mut large: Large) -> io::Result<u64> {
        let Some(part) = large.parts.next() else {
            self.go_past(&large.labels)?;
            self.end_series(inner)?;
            return Ok(0);
        };
        self.charge(inner, large.rows_bytes + part.bytes.min(self.rows_bytes_max));
        let (first, before) = (self.columns.timestamps.len(), merged_bytes(&self.columns));
        let mut exemplars = Vec::new();
        match part.of {
            Rows::Samples => self.read_samples(&large.labels, part.range)?,
            Rows::Exemplars => exemplars = self.read_exemplars(&large.labels, part.range)?,
        }
        let bytes = merged_bytes(&self.columns) - before + exemplars.len() as u64 * ROW_BYTES;
        self.columns.settle(first);
        let more_bytes = bytes_from(&self.columns, first);
        debug_assert!(more_bytes <= part.bytes, "{more_bytes} of {part:?}");
        large.rows_bytes += more_bytes;
        self.charge(inner, large.rows_bytes);
        // Chunks are cut of as many rows as may be held, as if there were no parts.
        let goes_on = |next: &Part| (next.span, next.of) == (part.span, Rows::Samples);
        if large.rows_bytes >= self.rows_bytes_max || !large.parts.as_slice().first().is_some_and(goes_on) {
            self.write_span(inner, part.span, large.id, &large.labels, &exemplars)?;
            self.columns.clear();
            large.rows_bytes = 0;
        }
        self.charge(inner, large.rows_bytes);
        self.large = Some(large);
        Ok(bytes)
    }

    /// What a series takes once it is read: its samples, its exemplars.
    fn weigh(&mut self, labels: &Labels, range: TimeRange) -> io::Result<[Weights; 2]> {
        let mut weights = [Weights::new(Rows::Samples), Weights::new(Rows::Exemplars)];
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.labels == *labels) {
            match cursor.section.chunks(cursor.ordinal) {
                Ok(chunks) => {
                    for chunk in chunks.iter().filter(|chunk| chunk.range.overlaps(&range)) {
                        weights.iter_mut().for_each(|weights| weights.add(chunk));
                    }
                }
                Err(error) => note(error, &mut self.inputs[cursor.input].damaged)?,
            }
        }
        Ok(weights)
    }

    /// Cuts a series into parts, span by span, samples before exemplars as they lie in a block.
    fn cut(&self, mut weights: [Weights; 2]) -> Vec<Part> {
        weights.iter_mut().for_each(Weights::sort);
        let of_span = |span: usize| {
            let range = self.spans[span].range;
            weights.iter().flat_map(move |weights| weights.cut(span, range, self.rows_bytes_max))
        };
        self.pass.clone().flat_map(of_span).collect()
    }

    /// Appends a series' samples of a range, what was written first before what was written later.
    fn read_samples(&mut self, labels: &Labels, range: TimeRange) -> io::Result<()> {
        let first = self.columns.timestamps.len();
        let columns = &mut self.columns;
        // Inputs stand by sequence: what is read later was written later.
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.labels == *labels) {
            let damaged = &mut self.inputs[cursor.input].damaged;
            for left in cursor.left_of(range) {
                let read = cursor.section.read(cursor.ordinal, left, every_chunk, columns, damaged);
                read.or_else(|error| note(error, damaged))?;
            }
            if bytes_from(columns, first) > self.rows_bytes_max {
                columns.settle(first);
            }
        }
        Ok(())
    }

    /// A series' exemplars of a range, by time.
    fn read_exemplars(&mut self, labels: &Labels, range: TimeRange) -> io::Result<Vec<Exemplar>> {
        let mut exemplars = Vec::new();
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.labels == *labels) {
            let damaged = &mut self.inputs[cursor.input].damaged;
            for left in cursor.left_of(range) {
                match cursor.section.exemplars(cursor.ordinal, left, damaged) {
                    Ok(found) => exemplars.extend(found),
                    Err(error) => note(error, damaged)?,
                }
            }
        }
        exemplars.sort_by_key(|exemplar| exemplar.timestamp_ms);
        exemplars.dedup();
        Ok(exemplars)
    }

    /// Goes on to what comes after a series.
    fn go_past(&mut self, labels: &Labels) -> io::Result<()> {
        let cursors = std::mem::take(&mut self.cursors);
        for mut cursor in cursors {
            if cursor.labels == *labels {
                cursor.ordinal += 1;
                if !cursor.settle(&mut self.inputs[cursor.input])? {
                    continue;
                }
            }
            self.cursors.push(cursor);
        }
        Ok(())
    }

    /// Writes what there is of a series in a span.
    fn write_span(
        &mut self,
        inner: &Inner,
        span: usize,
        id: SeriesId,
        labels: &Labels,
        exemplars: &[Exemplar],
    ) -> io::Result<()> {
        let range = self.spans[span].range;
        let columns = &self.columns;
        let start = columns.timestamps.partition_point(|ms| *ms < range.start_ms);
        let end = columns.timestamps.partition_point(|ms| *ms <= range.end_ms);
        let inside = |exemplar: &Exemplar| exemplar.timestamp_ms < range.start_ms;
        let first = exemplars.partition_point(inside);
        let last = exemplars.partition_point(|exemplar| exemplar.timestamp_ms <= range.end_ms);
        if start == end && first == last {
            return Ok(());
        }
        let histograms: Vec<HistogramPoint> = columns
            .histograms
            .iter()
            .filter(|point| (start..end).contains(&(point.row as usize)))
            .map(|point| HistogramPoint { row: point.row - start as u32, ..point.clone() })
            .collect();
        let output = self.output(inner, span)?;
        self.outputs[output].writer.add_part(SeriesInput {
            id,
            labels,
            timestamps: &self.columns.timestamps[start..end],
            values: &self.columns.values[start..end],
            starts: self.columns.starts.get(start..end).unwrap_or(&[]),
            histograms: &histograms,
            exemplars: &exemplars[first..last],
        })
    }

    /// Ends the series that was written.
    fn end_series(&mut self, inner: &Inner) -> io::Result<()> {
        self.outputs.iter_mut().for_each(|output| output.writer.end_series());
        self.bound_index(inner)
    }

    /// The file that takes a tenant's rows of a span, made when it is not there yet.
    fn output(&mut self, inner: &Inner, span: usize) -> io::Result<usize> {
        let tenant = self.tenant();
        let bytes = self.tenants[self.done - 1].1 / self.spans.len() as u64;
        let own = (bytes >= OWN_FILE_BYTES).then_some(tenant);
        let found = self.outputs.iter().position(|output| output.span == span && output.own == own);
        let at = match found {
            Some(at) => at,
            None => {
                let id = inner.next_file_id();
                let path = temporary(inner, id);
                let level = self.spans[span].level;
                let writer =
                    BlockWriter::create(&*inner.env.files, &path, id, level, self.sequences.clone())?;
                self.outputs.push(Output { span, own, tenant: None, id, writer });
                self.outputs.len() - 1
            }
        };
        let output = &mut self.outputs[at];
        if output.tenant != Some(tenant) {
            output.tenant = Some(tenant);
            output.writer.begin_tenant(tenant)?;
        }
        Ok(at)
    }

    /// Bytes of the indexes of all open files.
    fn index_bytes(&self) -> u64 {
        self.outputs.iter().map(|output| output.writer.index_bytes()).sum()
    }

    /// Says what the merge takes: with the indexes so many bytes of rows.
    fn charge(&self, inner: &Inner, rows_bytes: u64) {
        let bytes = self.index_bytes() + rows_bytes;
        inner.counters.compaction_memory_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Ends files while their indexes take too much.
    fn bound_index(&mut self, inner: &Inner) -> io::Result<()> {
        loop {
            let bytes = self.index_bytes();
            self.charge(inner, 0);
            let largest = self.outputs.iter().max_by_key(|output| output.writer.index_bytes());
            match largest.map(|output| output.id) {
                Some(id) if bytes > self.index_bytes_max => self.finish(|output| output.id == id)?,
                _ => return Ok(()),
            }
        }
    }

    /// Ends the files that are wanted.
    fn finish(&mut self, wanted: impl Fn(&Output) -> bool) -> io::Result<()> {
        while let Some(at) = self.outputs.iter().position(&wanted) {
            let Output { id, writer, .. } = self.outputs.swap_remove(at);
            // Noted before it is whole, so that a failure removes it.
            self.written.push(Written { id, bytes: 0 });
            let bytes = writer.finish()?.bytes;
            self.written.last_mut().expect("just pushed").bytes = bytes;
        }
        Ok(())
    }
}

impl Cursor {
    /// What retention and deletes have left of the series in a range.
    fn left_of(&self, range: TimeRange) -> impl Iterator<Item = TimeRange> + use<> {
        let start_ms = range.start_ms.max(self.left.start_ms);
        let wanted = TimeRange { start_ms, end_ms: range.end_ms.min(self.left.end_ms) };
        tombstone::left_of(&self.tombstones, &self.labels, wanted).into_iter()
    }

    /// Goes on to the next series whose labels can be read; false at the end.
    fn settle(&mut self, input: &mut Input) -> io::Result<bool> {
        while self.ordinal < self.series {
            match self.section.labels(self.ordinal) {
                Ok(labels) => {
                    self.labels = labels;
                    return Ok(true);
                }
                Err(error) => note(error, &mut input.damaged)?,
            }
            self.ordinal += 1;
        }
        Ok(false)
    }
}

/// Bytes of rows for the I/O budget; a series without any takes something too.
fn merged_bytes(columns: &Columns) -> u64 {
    let histograms = columns.histograms.len() as u64 * HISTOGRAM_BYTES;
    (columns.timestamps.len() as u64 + 16) * ROW_BYTES + histograms
}

/// The name under which a file is written: not that of a flush, so that whoever finds one knows.
pub(super) fn temporary(inner: &Inner, id: u64) -> PathBuf {
    inner.block_path(id).with_extension("merged.tmp")
}

/// How many spans are written at once when the input that has most of one tenant has so many series: if the others have
/// the same, their indexes fit in.
fn pass_spans(series: u64, index_bytes_max: u64) -> usize {
    let spans = index_bytes_max / series.saturating_mul(SERIES_BYTES).max(1);
    spans.clamp(1, PASS_SPANS as u64) as usize
}

/// Damage is noted once, anything else ends the merge.
fn note(error: BlockError, damaged: &mut Vec<Damaged>) -> io::Result<()> {
    match error {
        BlockError::Damaged(unit) => {
            if !damaged.contains(&unit) {
                damaged.push(unit);
            }
            Ok(())
        }
        other => Err(fatal(other)),
    }
}

fn fatal(error: BlockError) -> io::Error {
    match error {
        BlockError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

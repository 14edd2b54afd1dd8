//! What the series of a v3 payload refer to, looked at once: texts checked and hashed, sets of tags and of resources put
//! together, so that a series costs a few lookups and the hash of its parts' hashes.
//!
//! Ids count from 1; 0 is the empty text or set. A set of tags may take over an earlier one whole: what that comes to is
//! charged tag by tag, because a few bytes double it again and again.

use std::borrow::Cow;
use std::ops::Range;

use codec::hash::key128;
use codec::proto::{Reader, WireError};
use codec::varint::unzigzag;

use super::columns::{self as column, Columns};
use crate::datadog::submission::{Submission, tag};
use crate::datadog::translate;

/// A part of a series' key.
pub(super) type Hash = [u8; 16];

/// Keeps keys of these parts apart from those of records' text.
const KEY_DOMAIN: u64 = 0x7633_2070_6172_7473;

/// A payload's dictionaries.
pub(super) struct Dictionaries<'a> {
    pub(super) names: Vec<Text<'a>>,
    pub(super) tagsets: Vec<Tagset>,
    pub(super) resources: Vec<ResourceSet<'a>>,
    pub(super) source_types: Vec<Text<'a>>,
    pub(super) units: Vec<Text<'a>>,
    /// How many origins there are; they are not kept.
    pub(super) origins: usize,
    /// Of keys.
    pub(super) seed: u64,
}

/// A text.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) hash: Hash,
}

/// A set of tags, those of the whole payload among them.
#[derive(Clone)]
pub(super) struct Tagset {
    /// In the source's tags.
    pub(super) tags: Range<usize>,
    pub(super) hash: Hash,
    /// How many of them have no place.
    pub(super) dropped: usize,
}

/// A set of resources.
#[derive(Clone)]
pub(super) struct ResourceSet<'a> {
    pub(super) host: &'a str,
    pub(super) device: &'a str,
    /// Others, in the source's resources.
    pub(super) others: Range<usize>,
    pub(super) hash: Hash,
}

struct Tag<'a> {
    text: Cow<'a, str>,
    hash: Hash,
    is_dropped: bool,
}

impl<'a> Dictionaries<'a> {
    /// Reads the dictionaries; tags and resources go to the source.
    pub(super) fn read(columns: &Columns<'a>, submission: &mut Submission<'a>) -> Result<Self, WireError> {
        let seed = submission.seed ^ KEY_DOMAIN;
        let mut texts = |number| texts(columns.text(number), seed, submission);
        let (names, source_types) = (texts(column::NAME_STR)?, texts(column::SOURCE_TYPE_STR)?);
        let (units, resource_texts) = (texts(column::UNIT_STR)?, texts(column::RESOURCE_STR)?);
        let resources = resource_sets(columns, &resource_texts, seed, submission)?;
        let tags = tags(columns.text(column::TAG_STR), seed, submission)?;
        let tagsets = tagsets(columns, &tags, seed, submission)?;
        let mut reader = columns.reader(column::ORIGINS);
        let mut origins = 0;
        while !reader.is_empty() {
            for _ in 0..3 {
                reader.varint()?;
            }
            origins += 1;
        }
        Ok(Self { names, tagsets, resources, source_types, units, origins, seed })
    }
}

fn hash(seed: u64, bytes: &[u8]) -> Hash {
    key128(seed, bytes).to_le_bytes()
}

fn texts<'a>(
    mut reader: Reader<'a>,
    seed: u64,
    submission: &mut Submission<'a>,
) -> Result<Vec<Text<'a>>, WireError> {
    let mut texts = vec![Text { text: "", hash: hash(seed, b"") }];
    while !reader.is_empty() {
        submission.room.take_for(2 * size_of::<Text<'_>>(), &reader)?;
        let text = utf8(reader.message()?)?;
        texts.push(Text { text, hash: hash(seed, text.as_bytes()) });
    }
    Ok(texts)
}

fn utf8(message: Reader<'_>) -> Result<&str, WireError> {
    std::str::from_utf8(message.rest()).map_err(|_| message.error("text that is not valid UTF-8"))
}

fn tags<'a>(
    mut reader: Reader<'a>,
    seed: u64,
    submission: &mut Submission<'a>,
) -> Result<Vec<Tag<'a>>, WireError> {
    let mut tags = vec![Tag { text: Cow::Borrowed(""), hash: [0; 16], is_dropped: false }];
    while !reader.is_empty() {
        submission.room.take_for(2 * size_of::<Tag<'_>>(), &reader)?;
        tags.push(read_tag(reader.message()?, seed, submission)?);
    }
    Ok(tags)
}

fn read_tag<'a>(
    message: Reader<'a>,
    seed: u64,
    submission: &mut Submission<'a>,
) -> Result<Tag<'a>, WireError> {
    let text = tag(message.rest());
    if let Cow::Owned(text) = &text {
        submission.room.take_for(text.len(), &message)?;
    }
    let is_dropped = translate::is_dropped(submission.source.settings, &text);
    Ok(Tag { hash: hash(seed, text.as_bytes()), text, is_dropped })
}

/// Sets of tags while they are put together.
struct Tagsets<'t, 'a> {
    tags: &'t [Tag<'a>],
    /// The payload's own.
    of_all: Vec<Tag<'a>>,
    /// How many of these have no place.
    dropped_of_all: usize,
    /// The hashes of the source's tags, in step with them.
    hashes: Vec<Hash>,
    sets: Vec<Tagset>,
    seed: u64,
}

fn tagsets<'a>(
    columns: &Columns<'a>,
    tags: &[Tag<'a>],
    seed: u64,
    submission: &mut Submission<'a>,
) -> Result<Vec<Tagset>, WireError> {
    let mut of_all = Vec::with_capacity(columns.tags.len());
    for bytes in &columns.tags {
        of_all.push(read_tag(Reader::new(bytes), seed, submission)?);
    }
    let dropped_of_all = of_all.iter().filter(|tag| tag.is_dropped).count();
    let mut sets = Tagsets { tags, of_all, dropped_of_all, hashes: Vec::new(), sets: Vec::new(), seed };
    debug_assert!(submission.source.tags.is_empty(), "hashes are in step with the source's tags");
    let mut reader = columns.reader(column::TAGSETS);
    let empty = sets.begin(submission, &reader)?;
    sets.end(empty, 0);
    while !reader.is_empty() {
        let start = sets.begin(submission, &reader)?;
        let count = usize::try_from(unzigzag(reader.varint()?));
        let count = count.map_err(|_| reader.error("tagset with a negative length"))?;
        let (mut id, mut dropped) = (0i64, 0);
        for _ in 0..count {
            let delta = unzigzag(reader.varint()?);
            id = id.checked_add(delta).ok_or_else(|| reader.error("tag reference out of range"))?;
            dropped += sets.take(id, submission, &reader)?;
        }
        sets.end(start, dropped);
    }
    Ok(sets.sets)
}

impl<'a> Tagsets<'_, 'a> {
    /// Begins a set with the tags of all; where.
    fn begin(&mut self, submission: &mut Submission<'a>, reader: &Reader<'_>) -> Result<usize, WireError> {
        let start = self.hashes.len();
        submission.room.take_for(2 * size_of::<Tagset>(), reader)?;
        for tag in &self.of_all {
            push(tag.text.clone(), tag.hash, &mut self.hashes, submission, reader)?;
        }
        Ok(start)
    }

    /// Takes a tag, or an earlier set whole, into the set that was begun; how many of them have no place.
    fn take(
        &mut self,
        id: i64,
        submission: &mut Submission<'a>,
        reader: &Reader<'_>,
    ) -> Result<usize, WireError> {
        let out_of_range = || reader.error("tag reference out of range");
        let index = usize::try_from(id.unsigned_abs()).map_err(|_| out_of_range())?;
        if id == 0 {
            return Ok(0);
        }
        if id > 0 {
            let tag = self.tags.get(index).ok_or_else(out_of_range)?;
            push(tag.text.clone(), tag.hash, &mut self.hashes, submission, reader)?;
            return Ok(usize::from(tag.is_dropped));
        }
        let set = self.sets.get(index).ok_or_else(out_of_range)?;
        // The tags of all stand there already.
        let own = set.tags.start + self.of_all.len()..set.tags.end;
        for at in own {
            push(submission.source.tags[at].clone(), self.hashes[at], &mut self.hashes, submission, reader)?;
        }
        Ok(set.dropped - self.dropped_of_all)
    }

    fn end(&mut self, start: usize, dropped: usize) {
        let tags = start..self.hashes.len();
        let hash = hash(self.seed, self.hashes[tags.clone()].as_flattened());
        self.sets.push(Tagset { tags, hash, dropped: dropped + self.dropped_of_all });
    }
}

#[inline]
fn push<'a>(
    text: Cow<'a, str>,
    hash: Hash,
    hashes: &mut Vec<Hash>,
    submission: &mut Submission<'a>,
    reader: &Reader<'_>,
) -> Result<(), WireError> {
    let owned = if let Cow::Owned(text) = &text { text.len() } else { 0 };
    submission.room.take_for(2 * (size_of::<Cow<'_, str>>() + size_of::<Hash>()) + owned, reader)?;
    submission.source.tags.push(text);
    hashes.push(hash);
    Ok(())
}

fn resource_sets<'a>(
    columns: &Columns<'a>,
    texts: &[Text<'a>],
    seed: u64,
    submission: &mut Submission<'a>,
) -> Result<Vec<ResourceSet<'a>>, WireError> {
    let mut of_all = Vec::with_capacity(columns.resources.len() / 2);
    let (pairs, rest) = columns.resources.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(columns.reader(column::RESOURCE_LEN).error("resource without a name"));
    }
    for pair in pairs {
        of_all.push((utf8(Reader::new(pair[0]))?, utf8(Reader::new(pair[1]))?));
    }
    let mut lengths = columns.reader(column::RESOURCE_LEN);
    let (mut types, mut names) =
        (columns.reader(column::RESOURCE_TYPE), columns.reader(column::RESOURCE_NAME));
    let mut sets = vec![resource_set(&of_all, &[], seed, submission, &lengths)?];
    let mut own = Vec::new();
    while !lengths.is_empty() {
        let count = lengths.varint()?;
        own.clear();
        let (mut kind, mut name) = (0, 0);
        for _ in 0..count {
            let pair = (text(&mut types, &mut kind, texts)?, text(&mut names, &mut name, texts)?);
            submission.room.take_for(2 * size_of_val(&pair), &types)?;
            own.push(pair);
        }
        sets.push(resource_set(&of_all, &own, seed, submission, &lengths)?);
    }
    if !types.is_empty() || !names.is_empty() {
        return Err(types.error("more resources than their sets have"));
    }
    Ok(sets)
}

/// The text `delta` after the one before it.
fn text<'a>(deltas: &mut Reader<'_>, id: &mut i64, texts: &[Text<'a>]) -> Result<&'a str, WireError> {
    let delta = unzigzag(deltas.varint()?);
    let next = id.checked_add(delta).and_then(|id| Some((id, texts.get(usize::try_from(id).ok()?)?)));
    let (next, text) = next.ok_or_else(|| deltas.error("resource reference out of range"))?;
    *id = next;
    Ok(text.text)
}

/// A set of the resources of the whole payload and its own: of several hosts the last one counts.
fn resource_set<'a>(
    of_all: &[(&'a str, &'a str)],
    own: &[(&'a str, &'a str)],
    seed: u64,
    submission: &mut Submission<'a>,
    reader: &Reader<'_>,
) -> Result<ResourceSet<'a>, WireError> {
    let (mut host, mut device) = ("", "");
    let first = submission.source.resources.len();
    let all = || of_all.iter().chain(own);
    let bytes: usize = all().map(|(kind, name)| kind.len() + name.len() + 8).sum();
    let resource = 2 * size_of::<(Cow<'_, str>, Cow<'_, str>)>();
    let room = 2 * size_of::<ResourceSet<'_>>() + (own.len() + of_all.len()) * resource + bytes;
    submission.room.take_for(room, reader)?;
    let mut parts = Vec::with_capacity(bytes);
    for (kind, name) in all() {
        for text in [kind, name] {
            parts.extend_from_slice(&(text.len() as u32).to_le_bytes());
            parts.extend_from_slice(text.as_bytes());
        }
    }
    for (kind, name) in all() {
        match *kind {
            "host" => host = *name,
            "device" => device = *name,
            _ => submission.source.resources.push(((*kind).into(), (*name).into())),
        }
    }
    let others = first..submission.source.resources.len();
    Ok(ResourceSet { host, device, others, hash: hash(seed, &parts) })
}

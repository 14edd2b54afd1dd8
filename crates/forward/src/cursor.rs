//! The file of an output: from which position of the log on something is not sent.
//!
//! `forward/NAME.cursor` in the data directory, an envelope (`codec::envelope`) with magic "WEIRFWD1", replaced as a whole.
//!
//! ```text
//! stream (0 = metrics, 1 = logs) · segment · sequence  of the cursor (varints, as all numbers here)
//! marks, each segment · sequence · ms (zigzag)
//! length of what windows remember, and that, packed    empty where the receiver keeps what comes again
//! requests that were made and not taken, each
//!   rows · headers, each name and value · body          as it goes over the wire
//!   length of what it was made of, and that             see `content`
//! ```
//! Where a file is damaged, its output begins with all that the log still has: what was sent comes twice and nothing is
//! missing. One whose receiver adds what comes again begins at the end.

use std::io;
use std::path::{Path, PathBuf};

use codec::chunk::Corrupt;
use codec::chunk::bytes::{Reader, put_bytes, put_varint, put_zigzag};
use codec::envelope;
use env::{Env, Files};
use tsdb::Hold;
use wal::{Position, Stream};

use crate::lag::{Mark, Marks};

const MAGIC: &[u8; 8] = b"WEIRFWD1";
const VERSION: u16 = 1;
/// The directory in the data directory.
const DIRECTORY: &str = "forward";
const ENDING: &str = ".cursor";

/// What an output remembers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cursor {
    /// The log that it lies in.
    pub(crate) stream: Stream,
    /// Everything before it was taken, or dropped.
    pub(crate) position: Position,
    pub(crate) marks: Marks,
    /// What windows remember at the position.
    pub(crate) windows: Vec<u8>,
    /// Requests that were made of what lies before the position, and are sent until they are taken.
    pub(crate) outbox: Vec<Stored>,
}

/// A request that may have been sent already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) rows: u64,
    pub(crate) headers: Vec<(String, String)>,
    /// As it goes over the wire.
    pub(crate) body: Vec<u8>,
    /// What it was made of.
    pub(crate) content: Vec<u8>,
}

impl Stored {
    /// Bytes of the file that it takes, about.
    pub(crate) fn len(&self) -> usize {
        self.body.len() + self.content.len()
    }
}

/// What stands in an output's place.
#[derive(Debug)]
pub(crate) enum Found {
    Missing,
    Damaged,
    Whole(Cursor),
}

impl Cursor {
    /// At a position, with nothing to remember.
    pub(crate) fn at(stream: Stream, position: Position) -> Self {
        Self { stream, position, marks: Marks::default(), windows: Vec::new(), outbox: Vec::new() }
    }
}

/// What the outputs of a data directory need of the log, for the opening of the store. A file that cannot be read holds all
/// that there is.
pub fn holds(env: &Env, data_dir: &Path) -> io::Result<Vec<Hold>> {
    let mut holds = Vec::new();
    for name in names(&*env.files, data_dir)? {
        let hold = |stream, from: Position| Hold { holder: holder(&name), stream, segment: from.segment };
        match load(&*env.files, data_dir, &name)? {
            Found::Missing => {}
            Found::Whole(cursor) => holds.push(hold(cursor.stream, cursor.position)),
            Found::Damaged => {
                holds.extend([Stream::Metrics, Stream::Logs].map(|stream| hold(stream, Position::default())));
            }
        }
    }
    Ok(holds)
}

/// Under which name an output holds the log.
pub(crate) fn holder(name: &str) -> String {
    format!("output {name}")
}

/// Names of outputs that have a file.
pub(crate) fn names(files: &dyn Files, data_dir: &Path) -> io::Result<Vec<String>> {
    let listed = match files.list(&directory(data_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    Ok(listed.iter().filter_map(|name| name.strip_suffix(ENDING)).map(str::to_owned).collect())
}

pub(crate) fn load(files: &dyn Files, data_dir: &Path, name: &str) -> io::Result<Found> {
    let path = directory(data_dir).join(format!("{name}{ENDING}"));
    let bytes = match env::read_if_there(files, &path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Found::Missing),
        Err(error) if env::is_unreadable(&error) => return Ok(Found::Damaged),
        Err(error) => return Err(error),
    };
    let cursor = envelope::unwrap(MAGIC, VERSION, &bytes).ok().and_then(|body| decode(body).ok());
    Ok(cursor.map_or(Found::Damaged, Found::Whole))
}

/// Replaces the file durably.
pub(crate) fn store(files: &dyn Files, data_dir: &Path, name: &str, cursor: &Cursor) -> io::Result<()> {
    let directory = directory(data_dir);
    if !files.exists(&directory)? {
        files.create_dir(&directory)?;
        files.sync_dir(data_dir)?;
    }
    let bytes = envelope::wrap(MAGIC, VERSION, &encode(cursor));
    env::replace(files, &directory, &format!("{name}{ENDING}"), &bytes)
}

/// Removes the file.
pub(crate) fn remove(files: &dyn Files, data_dir: &Path, name: &str) -> io::Result<()> {
    let directory = directory(data_dir);
    files.remove(&directory.join(format!("{name}{ENDING}")))?;
    files.sync_dir(&directory)
}

fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join(DIRECTORY)
}

fn encode(cursor: &Cursor) -> Vec<u8> {
    let mut out = vec![match cursor.stream {
        Stream::Metrics => 0,
        Stream::Logs => 1,
    }];
    put_position(cursor.position, &mut out);
    put_varint(&mut out, cursor.marks.iter().len() as u64);
    for mark in cursor.marks.iter() {
        put_position(mark.end, &mut out);
        put_zigzag(&mut out, mark.at_ms);
    }
    put_bytes(&mut out, &cursor.windows);
    put_varint(&mut out, cursor.outbox.len() as u64);
    for stored in &cursor.outbox {
        put_varint(&mut out, stored.rows);
        put_varint(&mut out, stored.headers.len() as u64);
        for (name, value) in &stored.headers {
            put_bytes(&mut out, name.as_bytes());
            put_bytes(&mut out, value.as_bytes());
        }
        put_bytes(&mut out, &stored.body);
        put_bytes(&mut out, &stored.content);
    }
    out
}

fn decode(body: &[u8]) -> Result<Cursor, Corrupt> {
    let mut reader = Reader::new(body);
    let stream = match reader.byte()? {
        0 => Stream::Metrics,
        1 => Stream::Logs,
        _ => return Err(Corrupt),
    };
    let position = position(&mut reader)?;
    let mut marks = Vec::new();
    for _ in 0..reader.count_of(3)? {
        marks.push(Mark { end: self::position(&mut reader)?, at_ms: reader.zigzag()? });
    }
    let windows = reader.bytes()?.to_vec();
    let mut outbox = Vec::new();
    for _ in 0..reader.count_of(4)? {
        let rows = reader.varint()?;
        let mut headers = Vec::new();
        for _ in 0..reader.count_of(2)? {
            let mut text = || String::from_utf8(reader.bytes()?.to_vec()).map_err(|_| Corrupt);
            headers.push((text()?, text()?));
        }
        let (body, content) = (reader.bytes()?.to_vec(), reader.bytes()?.to_vec());
        outbox.push(Stored { rows, headers, body, content });
    }
    Ok(Cursor { stream, position, marks: Marks::new(marks), windows, outbox })
}

fn put_position(position: Position, out: &mut Vec<u8>) {
    put_varint(out, position.segment);
    put_varint(out, position.sequence);
}

fn position(reader: &mut Reader<'_>) -> Result<Position, Corrupt> {
    Ok(Position { segment: reader.varint()?, sequence: reader.varint()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        let at = |segment, sequence| Position { segment, sequence };
        Cursor {
            stream: Stream::Logs,
            position: at(7, 1 << 40),
            marks: Marks::new([Mark { end: at(7, 9), at_ms: -3 }, Mark { end: at(8, 10), at_ms: 1 << 41 }]),
            windows: vec![1, 2, 3],
            outbox: vec![Stored {
                rows: 3,
                headers: vec![("content-type".into(), "x/y".into())],
                body: vec![0; 300],
                content: vec![7; 5],
            }],
        }
    }

    #[test]
    fn what_is_stored_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let (env, path) = (Env::real(), directory.path());
        assert_eq!(holds(&env, path).unwrap(), []);
        assert!(matches!(load(&*env.files, path, "a").unwrap(), Found::Missing));
        for cursor in [Cursor::at(Stream::Metrics, Position::default()), cursor()] {
            store(&*env.files, path, "a", &cursor).unwrap();
            let Found::Whole(found) = load(&*env.files, path, "a").unwrap() else { panic!("not whole") };
            assert_eq!(found, cursor);
        }
        let wanted = Hold { holder: "output a".into(), stream: Stream::Logs, segment: 7 };
        assert_eq!(holds(&env, path).unwrap(), [wanted]);
        remove(&*env.files, path, "a").unwrap();
        assert_eq!(names(&*env.files, path).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn every_shorter_body_is_damage() {
        let whole = encode(&cursor());
        assert_eq!(decode(&whole).unwrap(), cursor());
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn the_first_version_is_read_for_ever() {
        let mut bytes = b"WEIRFWD1\x01\x00\x01\x00".to_vec();
        let body = [0, 7, 9, 1, 7, 12, 2, 0, 0];
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&codec::hash::crc32c_parts(&[&bytes, &body]).to_le_bytes());
        bytes.extend_from_slice(&body);
        let at = |sequence| Position { segment: 7, sequence };
        let marks = Marks::new([Mark { end: at(12), at_ms: 1 }]);
        let wanted = Cursor { marks, ..Cursor::at(Stream::Metrics, at(9)) };
        assert_eq!(decode(envelope::unwrap(MAGIC, VERSION, &bytes).unwrap()).unwrap(), wanted);
        assert_eq!(envelope::wrap(MAGIC, VERSION, &encode(&wanted)), bytes);
    }
}

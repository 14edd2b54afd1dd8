//! What the bodies of several fuzz targets share.

use crate::chunk::bytes::Reader;
use crate::varint;

/// Numbers at the ends of what fields hold: those of a signed field are zigzagged.
const ENDS: [u64; 5] = [u32::MAX as u64, u64::MAX, u64::MAX - 1, i64::MAX as u64, crate::COUNTER_MAX];

/// Changes bytes, as long as the input says how: a good file with one byte changed comes further than bytes as they come.
pub fn change(bytes: &mut Vec<u8>, reader: &mut Reader<'_>) {
    while let Ok(how @ 1..) = reader.byte() {
        let (Ok(place), Ok(by)) = (reader.length(), reader.byte()) else { return };
        let place = place % (bytes.len() + 1);
        match (how % 5, bytes.get_mut(place)) {
            (0, _) => bytes.insert(place, by),
            (1, _) => bytes.truncate(bytes.len() - usize::from(by) % (bytes.len() + 1)),
            (2, Some(_)) => drop(bytes.remove(place)),
            (3, Some(_)) => {
                let mut end = Vec::new();
                varint::write(ENDS[usize::from(by) % ENDS.len()], &mut end);
                bytes.splice(place..=place, end);
            }
            (_, Some(byte)) => *byte = byte.wrapping_add(by),
            (_, None) => {}
        }
    }
}

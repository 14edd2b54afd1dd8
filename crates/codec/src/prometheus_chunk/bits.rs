//! Streams of bits, the highest bit of a byte first, and the numbers that chunks are made of.

use crate::chunk::Corrupt;
use crate::varint;

/// Widths of the payload behind 1, 2, … ones and a zero; behind eight ones come 64 bits.
const VARBIT_WIDTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// Appends bits.
#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    free: u32,
}

impl BitWriter {
    /// Begins behind a header.
    pub(super) fn after(header: &[u8]) -> Self {
        Self { bytes: header.to_vec(), free: 0 }
    }

    /// The lowest `count` bits of `value`, the highest of them first.
    pub(super) fn write(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let part = (value >> (left - taken)) as u8 & (0xff >> (8 - taken));
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (self.free - taken);
            }
            self.free -= taken;
            left -= taken;
        }
    }

    /// A LEB128 number, from whatever bit on.
    pub(super) fn varint(&mut self, value: u64) {
        let mut bytes = Vec::with_capacity(varint::LENGTH_MAX);
        varint::write(value, &mut bytes);
        bytes.iter().for_each(|byte| self.write(u64::from(*byte), 8));
    }

    /// A signed number; 0 takes one bit.
    pub(super) fn varbit(&mut self, value: i64) {
        let fits = |width: u32| in_range(value, width);
        self.varbit_of(value as u64, value == 0, VARBIT_WIDTHS.into_iter().position(fits));
    }

    /// An unsigned number; 0 takes one bit.
    pub(super) fn varbit_unsigned(&mut self, value: u64) {
        let fits = |width: u32| value >> width == 0;
        self.varbit_of(value, value == 0, VARBIT_WIDTHS.into_iter().position(fits));
    }

    fn varbit_of(&mut self, value: u64, zero: bool, class: Option<usize>) {
        match class {
            _ if zero => self.write(0, 1),
            Some(class) => {
                // As many ones as the class says, and a zero.
                self.write((1 << (class + 2)) - 2, class as u32 + 2);
                self.write(value, VARBIT_WIDTHS[class]);
            }
            None => {
                self.write(0xff, 8);
                self.write(value, 64);
            }
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Whether a number is one of those that so many bits are read as: half of them are negative, and the lowest is not.
pub(super) fn in_range(value: i64, width: u32) -> bool {
    let half = 1i64 << (width - 1);
    -half < value && value <= half
}

/// Reads bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits that are left: of what takes at least a bit each there are not more.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    pub(super) fn read(&mut self, count: u32) -> Result<u64, Corrupt> {
        if self.left() < count as usize {
            return Err(Corrupt);
        }
        let (mut value, mut left) = (0u64, count);
        while left > 0 {
            let used = (self.at % 8) as u32;
            let taken = left.min(8 - used);
            let part = u64::from(self.bytes[self.at / 8]) >> (8 - used - taken) & (0xff >> (8 - taken));
            value = value << taken | part;
            self.at += taken as usize;
            left -= taken;
        }
        Ok(value)
    }

    /// So many bits as a number of either sign.
    pub(super) fn signed(&mut self, width: u32) -> Result<i64, Corrupt> {
        let value = self.read(width)?;
        let negative = width < 64 && value > 1 << (width - 1);
        Ok(if negative { value.wrapping_sub(1 << width) as i64 } else { value as i64 })
    }

    /// Ones before a zero, up to `most` of them, behind which no zero stands.
    pub(super) fn ones(&mut self, most: u32) -> Result<u32, Corrupt> {
        let mut ones = 0;
        while ones < most && self.read(1)? == 1 {
            ones += 1;
        }
        Ok(ones)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Corrupt> {
        let mut bytes = Vec::with_capacity(varint::LENGTH_MAX);
        loop {
            let byte = self.read(8)? as u8;
            bytes.push(byte);
            if byte < 0x80 || bytes.len() == varint::LENGTH_MAX {
                return varint::read(&bytes).map(|(value, _)| value).map_err(|_| Corrupt);
            }
        }
    }

    pub(super) fn varbit(&mut self) -> Result<i64, Corrupt> {
        match self.ones(8)? {
            0 => Ok(0),
            8 => self.signed(64),
            ones => self.signed(VARBIT_WIDTHS[ones as usize - 1]),
        }
    }

    pub(super) fn varbit_unsigned(&mut self) -> Result<u64, Corrupt> {
        match self.ones(8)? {
            0 => Ok(0),
            8 => self.read(64),
            ones => self.read(VARBIT_WIDTHS[ones as usize - 1]),
        }
    }
}

/// A float as the XOR with the one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xor {
    bits: u64,
    /// Zeros around what was last written in full; none yet = [`Xor::NOTHING`].
    leading: u32,
    trailing: u32,
}

impl Xor {
    const NOTHING: u32 = 0xff;

    /// Begins with a float that stands there in full.
    pub(super) fn after(value: f64) -> Self {
        Self { bits: value.to_bits(), leading: Self::NOTHING, trailing: 0 }
    }

    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    pub(super) fn write(&mut self, value: f64, out: &mut BitWriter) {
        let delta = value.to_bits() ^ self.bits;
        self.bits = value.to_bits();
        if delta == 0 {
            return out.write(0, 1);
        }
        // Five bits say how many zeros lead.
        let (leading, trailing) = (delta.leading_zeros().min(31), delta.trailing_zeros());
        if self.leading != Self::NOTHING && leading >= self.leading && trailing >= self.trailing {
            out.write(0b10, 2);
            return out.write(delta >> self.trailing, 64 - self.leading - self.trailing);
        }
        (self.leading, self.trailing) = (leading, trailing);
        let significant = 64 - leading - trailing;
        out.write(0b11, 2);
        out.write(u64::from(leading), 5);
        // 64 does not fit in six bits, and none is never written.
        out.write(u64::from(significant & 63), 6);
        out.write(delta >> trailing, significant);
    }

    pub(super) fn read(&mut self, reader: &mut BitReader<'_>) -> Result<(), Corrupt> {
        if reader.read(1)? == 0 {
            return Ok(());
        }
        if reader.read(1)? == 1 {
            let leading = reader.read(5)? as u32;
            let significant = match reader.read(6)? as u32 {
                0 => 64,
                significant => significant,
            };
            self.trailing = (64 - leading).checked_sub(significant).ok_or(Corrupt)?;
            self.leading = leading;
        } else if self.leading == Self::NOTHING {
            return Err(Corrupt);
        }
        self.bits ^= reader.read(64 - self.leading - self.trailing)? << self.trailing;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_the_ends_of_every_width_come_back() {
        let mut writer = BitWriter::default();
        let signed: Vec<i64> = (0..64)
            .flat_map(|bit| [-1i64, 0, 1].map(|by| (1i64 << bit).wrapping_add(by)))
            .flat_map(|value| [value, value.wrapping_neg()])
            .collect();
        for value in &signed {
            writer.varbit(*value);
            writer.varbit_unsigned(*value as u64);
            writer.varint(*value as u64);
        }
        let bytes = writer.into_bytes();
        let mut reader = BitReader::new(&bytes);
        for value in signed {
            assert_eq!(reader.varbit(), Ok(value));
            assert_eq!(reader.varbit_unsigned(), Ok(value as u64));
            assert_eq!(reader.varint(), Ok(value as u64));
        }
        assert!(reader.left() < 8 && reader.read(8).is_err());
    }

    /// As upstream's comments say what each number takes.
    #[test]
    fn numbers_take_the_bits_that_they_should() {
        for (value, bits) in [(0, 1), (4, 5), (-3, 5), (-4, 9), (5, 9), (33, 13), (-256, 17), (2049, 24)] {
            let mut writer = BitWriter::default();
            writer.varbit(value);
            assert_eq!(writer.bytes.len() as u32 * 8 - writer.free, bits, "{value}");
        }
    }
}

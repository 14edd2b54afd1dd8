//! The one checksum of every Weir file: CRC32C, as in Prometheus' blocks; computed by the CPU where it can.

/// CRC32C over several parts as if they lay behind one another.
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

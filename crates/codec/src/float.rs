//! Floats as text, the way Go writes and reads them, because every Prometheus client and answer does.
//!
//! Go's `strconv` prints the shortest digits that come back to the same bits, as Rust and `zmij` do; what differs is
//! where the exponent begins and how it looks (`1e+06`, `1e-07`). Three forms are in use: `'f'` never has an exponent
//! (PromQL scalars), the JSON API's has one below 1e-6 and from 1e21 (samples), and `'g'` has one below 1e-4 and from
//! 1e6 (expositions, label values such as `le`).

use std::fmt::Write as _;

/// The NaN that text stands for: Prometheus' "normal" NaN.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Appends `value` without an exponent, Go's `'f'` with the shortest precision: PromQL scalars.
pub fn write_plain(value: f64, out: &mut String) {
    if write_short(value, out) {
        return;
    }
    match Digits::of(value, out) {
        Some(digits) => digits.write_plain(out),
        None => write_special(value, out),
    }
}

/// Appends `value` as the JSON API prints samples: an exponent when |value| < 1e-6 or >= 1e21.
pub fn write_sample(value: f64, out: &mut String) {
    if write_short(value, out) {
        return;
    }
    match Digits::of(value, out) {
        Some(digits) if digits.is_zero() || (-5..=21).contains(&digits.point) => digits.write_plain(out),
        Some(digits) => digits.write_exponent(out),
        None => write_special(value, out),
    }
}

/// Appends `value` as Go's `'g'` with the shortest precision: an exponent when |value| < 1e-4 or >= 1e6.
pub fn write_general(value: f64, out: &mut String) {
    match Digits::of(value, out) {
        Some(digits) if digits.is_zero() || (-3..=6).contains(&digits.point) => digits.write_plain(out),
        Some(digits) => digits.write_exponent(out),
        None => write_special(value, out),
    }
}

/// Appends a number that all but exotic values are: a whole one that is exact, or one that `zmij` writes without an
/// exponent, which is where none of the forms above has one. False when it is something else.
fn write_short(value: f64, out: &mut String) -> bool {
    const EXACT_MAX: f64 = (1u64 << 53) as f64;
    if value.abs() < EXACT_MAX && value as i64 as f64 == value && !(value == 0.0 && value.is_sign_negative())
    {
        write_whole(value as i64, out);
        return true;
    }
    if !value.is_finite() {
        return false;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let plain = !text.contains('e');
    if plain {
        out.push_str(text.strip_suffix(".0").unwrap_or(text));
    }
    plain
}

/// Appends a whole number.
pub fn write_whole(number: i64, out: &mut String) {
    out.push_str(itoa::Buffer::new().format(number));
}

fn write_special(value: f64, out: &mut String) {
    out.push_str(match value {
        _ if value.is_nan() => "NaN",
        _ if value > 0.0 => "+Inf",
        _ => "-Inf",
    });
}

/// Shortest decimal digits of a finite number: 0.DIGITS × 10^point.
struct Digits {
    digits: [u8; 20],
    length: usize,
    point: i32,
}

impl Digits {
    /// The digits of a finite `value`; its sign is written at once.
    fn of(value: f64, out: &mut String) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        if value.is_sign_negative() {
            out.push('-');
        }
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value.abs());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let whole = mantissa.find('.').unwrap_or(mantissa.len());
        let mut digits = Self { digits: [b'0'; 20], length: 0, point: 0 };
        let mut leading = 0;
        for byte in mantissa.bytes().filter(u8::is_ascii_digit) {
            if digits.length == 0 && byte == b'0' {
                leading += 1;
            } else {
                digits.digits[digits.length] = byte;
                digits.length += 1;
            }
        }
        while digits.length > 0 && digits.digits[digits.length - 1] == b'0' {
            digits.length -= 1;
        }
        digits.point = whole as i32 - leading + exponent.parse::<i32>().unwrap_or(0);
        Some(digits)
    }

    fn is_zero(&self) -> bool {
        self.length == 0
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.digits[..self.length]).unwrap_or("")
    }

    fn write_plain(&self, out: &mut String) {
        let text = self.text();
        if text.is_empty() {
            out.push('0');
        } else if self.point <= 0 {
            out.push_str("0.");
            zeros(-self.point, out);
            out.push_str(text);
        } else {
            let whole = (self.point as usize).min(text.len());
            out.push_str(&text[..whole]);
            zeros(self.point - whole as i32, out);
            if whole < text.len() {
                out.push('.');
                out.push_str(&text[whole..]);
            }
        }
    }

    fn write_exponent(&self, out: &mut String) {
        let text = self.text();
        out.push_str(&text[..1]);
        if text.len() > 1 {
            out.push('.');
            out.push_str(&text[1..]);
        }
        let exponent = self.point - 1;
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a String cannot fail.
        let _ = write!(out, "e{sign}{:02}", exponent.abs());
    }
}

fn zeros(count: i32, out: &mut String) {
    out.extend(std::iter::repeat_n('0', count.max(0) as usize));
}

/// Reads a float as Go's `ParseFloat` does: decimal, hexadecimal with a binary exponent, `Inf` and `Infinity` with or
/// without a sign, `NaN` without one, in any case. What is too large for a float is an error, not infinity.
/// Underscores are not taken: the text formats forbid them.
pub fn parse(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let (negative, rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    match rest {
        [b'0', b'x' | b'X', digits @ ..] => parse_hexadecimal(digits).map(|v| if negative { -v } else { v }),
        [b'0'..=b'9' | b'.', ..] => text.parse::<f64>().ok().filter(|value| value.is_finite()),
        _ if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") => {
            Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        _ if bytes.eq_ignore_ascii_case(b"nan") => Some(f64::from_bits(NORMAL_NAN_BITS)),
        _ => None,
    }
}

/// `1.8p-3` after `0x`: the binary exponent is required.
fn parse_hexadecimal(text: &[u8]) -> Option<f64> {
    let split = text.iter().position(|b| matches!(b, b'p' | b'P'))?;
    let (digits, exponent) = (&text[..split], std::str::from_utf8(&text[split + 1..]).ok()?);
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Far beyond any float: saturate, so that a long exponent is no error of its own.
    let magnitude = unsigned.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    let mut exponent = if exponent.starts_with('-') { -magnitude } else { magnitude };
    // 60 bits of mantissa and one for whatever is not zero beyond them: enough to round correctly.
    let (mut mantissa, mut seen, mut point) = (0u64, false, false);
    for &byte in digits {
        if byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = u64::from(char::from(byte).to_digit(16)?);
        seen = true;
        if mantissa >> 56 == 0 {
            mantissa = mantissa << 4 | digit;
            exponent -= if point { 4 } else { 0 };
        } else {
            mantissa |= u64::from(digit != 0);
            exponent += if point { 0 } else { 4 };
        }
    }
    if !seen {
        return None;
    }
    let value = scale(mantissa, exponent);
    value.is_finite().then_some(value)
}

/// mantissa × 2^exponent, rounded once, half to even. The lowest bit of `mantissa` may stand for many.
fn scale(mantissa: u64, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let bits = i64::from(u64::BITS - mantissa.leading_zeros());
    let top = exponent + bits;
    if top > 1024 {
        return f64::INFINITY;
    }
    // A normal number keeps 53 bits, a subnormal one what lies above 2^-1074.
    let dropped = (bits - 53).max(-1074 - exponent);
    if dropped > bits {
        return 0.0;
    }
    let (kept, exponent) = if dropped <= 0 {
        (mantissa, exponent)
    } else if dropped > 63 {
        (u64::from(mantissa > 1 << 63), exponent + dropped)
    } else {
        let (kept, rest, half) =
            (mantissa >> dropped, mantissa & ((1 << dropped) - 1), 1u64 << (dropped - 1));
        let up = rest > half || rest == half && kept & 1 == 1;
        (kept + u64::from(up), exponent + dropped)
    };
    // `kept` has at most 54 bits and a zero lowest bit then, so both products are exact, or overflow to infinity.
    let half = exponent / 2;
    kept as f64 * power_of_two(half) * power_of_two(exponent - half)
}

fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023).clamp(0, 2047) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: fn(f64, &mut String), value: f64) -> String {
        let mut out = String::new();
        write(value, &mut out);
        out
    }

    #[test]
    fn three_forms_as_go_prints_them() {
        for (value, plain, sample, general) in [
            (0.0, "0", "0", "0"),
            (-0.0, "-0", "-0", "-0"),
            (1.0, "1", "1", "1"),
            (-1.5, "-1.5", "-1.5", "-1.5"),
            (100.0, "100", "100", "100"),
            (0.1, "0.1", "0.1", "0.1"),
            (1e-4, "0.0001", "0.0001", "0.0001"),
            (1.5e-5, "0.000015", "0.000015", "1.5e-05"),
            (1e-6, "0.000001", "0.000001", "1e-06"),
            (9.99e-7, "0.000000999", "9.99e-07", "9.99e-07"),
            (1e-7, "0.0000001", "1e-07", "1e-07"),
            (123456789.125, "123456789.125", "123456789.125", "1.23456789125e+08"),
            (1e20, "100000000000000000000", "100000000000000000000", "1e+20"),
            (1e21, "1000000000000000000000", "1e+21", "1e+21"),
            (1.5e300, &format!("15{}", "0".repeat(299)), "1.5e+300", "1.5e+300"),
            (5e-324, &format!("0.{}5", "0".repeat(323)), "5e-324", "5e-324"),
            (f64::NAN, "NaN", "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf"),
        ] {
            assert_eq!(text(write_plain, value), plain, "plain {value:e}");
            assert_eq!(text(write_sample, value), sample, "sample {value:e}");
            assert_eq!(text(write_general, value), general, "general {value:e}");
        }
    }

    #[test]
    fn text_is_read_as_go_reads_it() {
        for (text, value) in [
            ("1", 1.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e-400", 0.0),
            ("-0", -0.0),
            ("0042", 42.0),
            ("inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1p3", 8.0),
            ("-0X1.8p-1", -0.75),
            ("0x.8p0", 0.5),
            ("0x1p-1074", 5e-324),
            ("0x0.8p-1074", 0.0),
            ("0x0.8000000000000000001p-1074", 5e-324),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000000001p0", 1.0 + f64::EPSILON),
            ("0x1p-99999999999999999999", 0.0),
        ] {
            assert_eq!(parse(text).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        assert_eq!(parse("nAn").map(f64::to_bits), Some(NORMAL_NAN_BITS));
        for text in [
            "", "+", "-", ".", "e5", "1e", "1e400", "-1e400", "1_000", "+NaN", "-nan", "infin", "0x1",
            "0xp1", "0x1p", "0x1p+", "0x1p1024", "0x1..p1", "1 ", " 1", "--1", "1f", "０", "0b1", "1d",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_form_reads_back_to_the_same_bits() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits ^ bits >> 29);
            if value.is_finite() {
                for write in [write_plain, write_sample, write_general] {
                    let text = text(write, value);
                    assert_eq!(parse(&text).map(f64::to_bits), Some(value.to_bits()), "{text}");
                }
            }
        }
    }

    #[test]
    fn hexadecimal_reads_back_to_the_same_bits() {
        for shift in 0..52 {
            for exponent in [-1074i64, -1060, -1022, -52, 0, 52, 971] {
                let mantissa = (1u64 << shift) | 1;
                let value =
                    mantissa as f64 * power_of_two(exponent / 2) * power_of_two(exponent - exponent / 2);
                assert_eq!(
                    parse(&format!("0x{mantissa:x}p{exponent}")),
                    Some(value),
                    "{mantissa:x}p{exponent}"
                );
            }
        }
    }
}

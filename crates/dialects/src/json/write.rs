//! JSON as it is written into a body.

use codec::float;

/// Appends a text in quotes.
pub(crate) fn text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("memory takes what is written");
}

/// Appends a finite number: the shortest digits that come back to the same bits.
pub(crate) fn number(value: f64, out: &mut Vec<u8>) {
    debug_assert!(value.is_finite(), "JSON has no word for it");
    let mut digits = String::new();
    float::write_sample(value, &mut digits);
    out.extend_from_slice(digits.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::{Json, Token};

    #[test]
    fn what_is_written_is_read() {
        for value in [0.0, -0.0, 1.5, -2.0, 1e300, 5e-324, 0.1, 1e21, 123456789.0] {
            let mut out = Vec::new();
            super::number(value, &mut out);
            let read: f64 = serde_json::from_slice(&out).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{value}");
        }
        let mut out = Vec::new();
        super::text("a\"\\\n\u{1}é", &mut out);
        assert_eq!(Json::new(&out).value().unwrap(), Token::Text("a\"\\\n\u{1}é".into()));
    }
}

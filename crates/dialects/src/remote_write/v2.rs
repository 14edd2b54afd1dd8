//! Remote write 2.0.
use codec::proto::{Reader, WireError, walk};
use model::Batch;

pub(super) fn decode<'a>(body: &'a [u8], _batch: &mut Batch<'a>) -> Result<(), WireError> {
    walk(body)?;
    Err(Reader::new(body).error("2.0"))
}

//! As much of DER as it takes to read a request for a certificate, and the certificate that answers a challenge.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
/// ecPublicKey, prime256v1.
const P256: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// 1.2.840.113549.1.9.14
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
/// 1.3.6.1.5.5.7.1.31
const ACME_IDENTIFIER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 31];
/// A DNS name among alternative names.
const DNS_NAME: u8 = 0x82;

#[derive(Clone, Copy, Debug)]
struct Item<'a> {
    tag: u8,
    content: &'a [u8],
    /// With tag and length.
    whole: &'a [u8],
}

/// A request whose signature fits.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) names: Vec<String>,
    /// Its public key.
    pub(super) point: Vec<u8>,
}

/// What matters of a certificate.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) names: Vec<String>,
    /// Its public key.
    pub(super) point: Vec<u8>,
    /// Whether the extension is critical, and its digest.
    pub(super) acme_identifier: Option<(bool, Vec<u8>)>,
}

/// Reads a request (PKCS #10).
pub(super) fn signing_request(bytes: &[u8]) -> Option<Request> {
    let parts = items(only(bytes, SEQUENCE)?)?;
    let [info, _, signature] = parts.as_slice() else { return None };
    let fields = items(info.content)?;
    let [_, _, key, attributes] = fields.as_slice() else { return None };
    let point = point(*key)?;
    let verifies =
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(info.whole, bits(*signature)?);
    verifies.ok()?;
    let attribute = items(attributes.content)?.into_iter().find_map(|attribute| {
        let parts = items(attribute.content)?;
        (parts.first()?.content == EXTENSION_REQUEST).then(|| parts.get(1).copied()).flatten()
    })?;
    let extensions = only(only(attribute.whole, SET)?, SEQUENCE)?;
    Some(Request { names: names(extensions)?, point: point.to_vec() })
}

/// Reads a certificate.
pub(super) fn certificate(bytes: &[u8]) -> Option<Shown> {
    let signed = items(only(bytes, SEQUENCE)?)?;
    let fields = items(signed.first()?.content)?;
    let point = fields.iter().find_map(|item| point(*item))?;
    let extensions = fields.iter().find(|item| item.tag == 0xa3)?;
    let extensions = only(extensions.content, SEQUENCE)?;
    let acme_identifier = match extension(extensions, ACME_IDENTIFIER) {
        Some((critical, value)) => Some((critical, only(value, OCTET_STRING)?.to_vec())),
        None => None,
    };
    Some(Shown { names: names(extensions)?, point: point.to_vec(), acme_identifier })
}

/// The point of a public key on the curve P-256.
fn point(key: Item<'_>) -> Option<&[u8]> {
    let parts = items(key.content)?;
    bits(*parts.get(1)?).filter(|_| parts.first().is_some_and(|item| item.content == P256))
}

/// The DNS names; none at all when there are other kinds of names too.
fn names(extensions: &[u8]) -> Option<Vec<String>> {
    let (_, value) = extension(extensions, SUBJECT_ALT_NAME)?;
    let names = items(only(value, SEQUENCE)?)?;
    let name = |item: &Item<'_>| {
        (item.tag == DNS_NAME).then(|| String::from_utf8(item.content.to_vec()).ok()).flatten()
    };
    names.iter().map(name).collect()
}

/// Whether an extension is critical, and its value.
fn extension<'a>(extensions: &'a [u8], oid: &[u8]) -> Option<(bool, &'a [u8])> {
    items(extensions)?.into_iter().find_map(|extension| {
        let parts = items(extension.content)?;
        let found = parts.first().is_some_and(|item| item.tag == OID && item.content == oid);
        let critical = parts.get(1).is_some_and(|item| item.tag == BOOLEAN && item.content == [0xff]);
        let value = parts.last().filter(|item| found && item.tag == OCTET_STRING)?;
        Some((critical, value.content))
    })
}

/// The content of the one item that there is.
fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    match items(bytes)?.as_slice() {
        [item] if item.tag == tag => Some(item.content),
        _ => None,
    }
}

/// The whole bytes of a bit string.
fn bits(item: Item<'_>) -> Option<&[u8]> {
    item.content.strip_prefix(&[0]).filter(|_| item.tag == BIT_STRING)
}

/// Items one after the other.
fn items(mut bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut items = Vec::new();
    while let [tag, length, rest @ ..] = bytes {
        let (length, rest) = match usize::from(*length) {
            short @ ..0x80 => (short, rest),
            long => {
                let (digits, rest) = rest.split_at_checked(long - 0x80)?;
                (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
            }
        };
        let (content, after) = rest.split_at_checked(length)?;
        items.push(Item { tag: *tag, content, whole: &bytes[..bytes.len() - after.len()] });
        bytes = after;
    }
    bytes.is_empty().then_some(items)
}

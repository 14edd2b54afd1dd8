//! A request is signed by the account's key, for this URL, with a nonce that was given out and not used (RFC 8555, 6).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;

use super::{Shared, Wrong, wrong};

/// An account's public key: the two halves of a point, as they stand in a JWK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    x: String,
    y: String,
}

/// A request that was checked.
pub(super) struct Signed {
    pub(super) key: Key,
    /// By whose number it was signed; none by a key that is only being introduced.
    account: Option<usize>,
    pub(super) payload: Value,
}

impl Signed {
    pub(super) fn account(&self) -> Result<usize, Wrong> {
        self.account.ok_or_else(|| wrong(400, "malformed", "no account signs this"))
    }
}

impl Key {
    fn of(jwk: &Value) -> Option<Self> {
        let half = |name: &str| {
            let text = jwk[name].as_str()?;
            (BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.len() == 32).then(|| text.to_owned())
        };
        (jwk["kty"] == "EC" && jwk["crv"] == "P-256").then(|| Some(Self { x: half("x")?, y: half("y")? }))?
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let half = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let point = [&[4][..], &half(&self.x), &half(&self.y)].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
    }

    /// The answer to the challenge of `token` (8.1), with the thumbprint of RFC 7638.
    pub(super) fn authorization(&self, token: &str) -> String {
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x, self.y);
        format!("{token}.{}", BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes())))
    }
}

pub(super) fn check(shared: &Shared, path: &str, body: &[u8]) -> Result<Signed, Wrong> {
    let bad = |what: &str| wrong(400, "malformed", what);
    let jws: Value = serde_json::from_slice(body).map_err(|_| bad("no JSON"))?;
    let part = |name: &str| jws[name].as_str().ok_or_else(|| bad(name));
    let decoded = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| bad("no base64url"));
    let (protected, payload, signature) = (part("protected")?, part("payload")?, part("signature")?);
    let head: Value = serde_json::from_slice(&decoded(protected)?).map_err(|_| bad("protected"))?;
    if head["alg"] != "ES256" {
        return Err(wrong(400, "badSignatureAlgorithm", "ES256 is taken"));
    }
    if head["url"] != shared.url(path) {
        return Err(wrong(401, "unauthorized", "signed for another URL"));
    }
    let mut state = shared.state();
    if !head["nonce"].as_str().is_some_and(|nonce| state.nonces.remove(nonce)) {
        return Err(wrong(400, "badNonce", "unknown, or used"));
    }
    let introduces = path == "new-account";
    let (key, account) = match (&head["jwk"], &head["kid"]) {
        (jwk, Value::Null) if introduces => (Key::of(jwk).ok_or_else(|| bad("jwk"))?, None),
        (Value::Null, Value::String(kid)) if !introduces => {
            let number = kid.strip_prefix(&shared.url("account/")).and_then(|text| text.parse().ok());
            let key = number.and_then(|number: usize| state.accounts.get(number));
            (key.ok_or_else(|| wrong(400, "accountDoesNotExist", "no such account"))?.clone(), number)
        }
        _ => return Err(bad("either jwk or kid")),
    };
    if !key.verifies(format!("{protected}.{payload}").as_bytes(), &decoded(signature)?) {
        return Err(bad("the signature does not fit"));
    }
    // Whoever only asks sends nothing (6.3).
    let payload = match decoded(payload)?.as_slice() {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).map_err(|_| bad("payload"))?,
    };
    Ok(Signed { key, account, payload })
}

//! Whether a name leads to who asked: over HTTP (RFC 8555, 8.3) or in a handshake (RFC 8737).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring as provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::{Shared, State, der};

pub(super) fn validate(
    shared: &Shared,
    kind: &str,
    name: &str,
    token: &str,
    key: &str,
) -> Result<(), String> {
    match kind {
        "http-01" => http(place(shared, |state| state.http_at), name, token, key),
        _ => handshake(place(shared, |state| state.tls_at), name, key),
    }
}

/// Where names lead to: a test may say so only when its Weir runs.
fn place(shared: &Shared, which: impl Fn(&State) -> Option<SocketAddr>) -> SocketAddr {
    for _ in 0..4000 {
        let place = which(&shared.state());
        match place {
            Some(place) => return place,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    panic!("the name leads nowhere");
}

fn connect(place: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(place).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Ok(stream)
}

fn http(place: SocketAddr, name: &str, token: &str, key: &str) -> Result<(), String> {
    let mut stream = connect(place)?;
    let path = format!("/.well-known/acme-challenge/{token}");
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let good = answer.starts_with("HTTP/1.1 200 ")
        && answer.split_once("\r\n\r\n").is_some_and(|(_, body)| body == key);
    good.then_some(()).ok_or(format!("the file is not as it should be: {answer}"))
}

fn handshake(place: SocketAddr, name: &str, key: &str) -> Result<(), String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let name_asked = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let mut connection = ClientConnection::new(Arc::new(config), name_asked).unwrap();
    let mut stream = connect(place)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|error| format!("the handshake failed: {error}"))?;
    }
    if connection.alpn_protocol() != Some(b"acme-tls/1") {
        return Err("another protocol was taken".to_owned());
    }
    let certificate =
        connection.peer_certificates().and_then(|chain| chain.first()).ok_or("no certificate")?;
    let shown = der::certificate(certificate).ok_or("a certificate that cannot be read")?;
    if shown.names != [name] {
        return Err(format!("a certificate for {:?}", shown.names));
    }
    let wanted = digest(&SHA256, key.as_bytes());
    match shown.acme_identifier {
        Some((true, found)) if found == wanted.as_ref() => Ok(()),
        other => Err(format!("not the answer to this challenge: {other:?}")),
    }
}

/// Believes every certificate: what stands in it is looked at afterwards.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_tls13_signature(message, certificate, signed)
    }

    /// rustls itself does not look into a certificate with an extension that it does not know.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let shown = der::certificate(certificate).ok_or(Error::General("unreadable".to_owned()))?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, shown.point);
        key.verify(message, signed.signature()).map_err(|_| Error::General("another key's".to_owned()))?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

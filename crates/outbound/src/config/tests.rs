//! Prometheus' HTTP settings as they are written, and what is refused of them.

use super::*;

fn read(json: &str) -> HttpConfig {
    serde_json::from_str(json).unwrap()
}

#[test]
fn every_key_is_read_and_no_secret_is_shown() {
    let config = read(
        r#"{"basic_auth": {"username": "me", "password": "canary1"},
            "tls_config": {"ca_file": "ca.pem", "server_name": "x", "insecure_skip_verify": true, "min_version": "TLS12"},
            "proxy_url": "http://me:canary2@proxy:3128", "no_proxy": "a,b",
            "proxy_connect_header": {"Proxy-Authorization": ["canary3"]},
            "follow_redirects": false, "enable_http2": false,
            "http_headers": {"X-A": {"values": ["seen"], "secrets": ["canary4"], "files": ["f"]}}}"#,
    );
    assert_eq!(config.check(), Ok(()));
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("seen") && shown.contains("http://<secret>@proxy:3128/"), "{shown}");
    let config = read(
        r#"{"authorization": {"credentials": "canary"}, "tls_config": {"cert_file": "c", "key": "canary"}}"#,
    );
    assert!(!format!("{config:?} {}", serde_json::to_string(&config).unwrap()).contains("canary"));
    assert_eq!(config.authorization.unwrap().kind, "Bearer");
    let config = read(r#"{"bearer_token": "canary"}"#);
    assert!(!format!("{config:?} {}", serde_json::to_string(&config).unwrap()).contains("canary"));
}

#[test]
fn contradictions_are_named() {
    let cases = [
        (r#"{"bearer_token": "a", "bearer_token_file": "b"}"#, "bearer_token_file"),
        (r#"{"bearer_token": "a", "authorization": {}}"#, "bearer_token"),
        (r#"{"basic_auth": {}, "authorization": {}}"#, "authorization"),
        (r#"{"basic_auth": {"password": "a", "password_file": "b"}}"#, "basic_auth.password_file"),
        (r#"{"basic_auth": {"username": "a", "username_file": "b"}}"#, "basic_auth.username_file"),
        (
            r#"{"authorization": {"credentials": "a", "credentials_file": "b"}}"#,
            "authorization.credentials_file",
        ),
        (r#"{"authorization": {"type": "basic"}}"#, "authorization.type"),
        (r#"{"tls_config": {"ca": "a", "ca_file": "b"}}"#, "tls_config.ca_file"),
        (r#"{"tls_config": {"cert_file": "a"}}"#, "tls_config"),
        (r#"{"tls_config": {"key_file": "a"}}"#, "tls_config"),
        (r#"{"tls_config": {"max_version": "TLS11"}}"#, "tls_config.max_version"),
        (r#"{"tls_config": {"min_version": "TLS13", "max_version": "TLS12"}}"#, "tls_config.max_version"),
        (r#"{"tls_config": {"ca": "no certificate"}}"#, "tls_config.ca"),
        (r#"{"no_proxy": "a"}"#, "no_proxy"),
        (r#"{"proxy_url": "http://p", "proxy_from_environment": true}"#, "proxy_from_environment"),
        (r#"{"proxy_connect_header": {"a": ["b"]}}"#, "proxy_connect_header"),
        (
            r#"{"proxy_url": "http://p", "proxy_connect_header": {"a: b\r\nc": ["d"]}}"#,
            "proxy_connect_header.a: b\r\nc",
        ),
        (
            r#"{"proxy_url": "http://p", "proxy_connect_header": {"a": ["b\r\nc: d"]}}"#,
            "proxy_connect_header.a",
        ),
        (r#"{"http_headers": {"Host": {"values": ["a"]}}}"#, "http_headers.Host"),
        (r#"{"http_headers": {"a b": {"values": ["a"]}}}"#, "http_headers.a b"),
        (r#"{"http_headers": {"a": {"secrets": ["a\nb"]}}}"#, "http_headers.a"),
    ];
    for (json, key) in cases {
        assert_eq!(read(json).check().map_err(|error| error.key), Err(key.to_owned()), "{json}");
    }
    let error = |json: &str| serde_json::from_str::<HttpConfig>(json).unwrap_err().to_string();
    assert!(error(r#"{"oauth2": {"client_id": "a"}}"#).contains("no tokens by OAuth 2"));
    assert!(error(r#"{"basic_auht": {}}"#).contains("unknown field `basic_auht`"));
    assert!(error(r#"{"proxy_url": "ftp://u:canary@p"}"#).contains("unsupported scheme"));
    assert!(!error(r#"{"proxy_url": "ftp://u:canary@p"}"#).contains("canary"));
}

//! Better Stack's bodies: gauges with three tags and a time.

use super::{labels, timestamp_ms, value};

/// A metric a line.
pub(super) fn json_lines(metrics: usize) -> Vec<u8> {
    let mut body = String::new();
    for i in 0..metrics {
        let [(_, name), (_, device), (_, env), (_, host), _] = labels(i);
        body += &format!(
            r#"{{"name":"{name}","gauge":{{"value":{}}},"tags":{{"device":"{device}","env":"{env}","host":"{host}"}},"dt":{}}}"#,
            value(i),
            timestamp_ms(i),
        );
        body.push('\n');
    }
    body.into_bytes()
}

/// A list of metrics.
pub(super) fn msgpack(metrics: usize) -> Vec<u8> {
    fn text(text: &str, body: &mut Vec<u8>) {
        body.extend([0xd9, u8::try_from(text.len()).expect("short")]);
        body.extend(text.as_bytes());
    }
    let mut body = vec![0xdd];
    body.extend(u32::try_from(metrics).expect("few").to_be_bytes());
    for i in 0..metrics {
        let [(_, name), (_, device), (_, env), (_, host), _] = labels(i);
        body.push(0x84);
        text("name", &mut body);
        text(&name, &mut body);
        text("gauge", &mut body);
        body.push(0x81);
        text("value", &mut body);
        body.push(0xcb);
        body.extend(value(i).to_be_bytes());
        text("tags", &mut body);
        body.push(0x83);
        for (key, value) in [("device", &device), ("env", &env), ("host", &host)] {
            text(key, &mut body);
            text(value, &mut body);
        }
        text("dt", &mut body);
        body.push(0xcf);
        body.extend(timestamp_ms(i).to_be_bytes());
    }
    body
}

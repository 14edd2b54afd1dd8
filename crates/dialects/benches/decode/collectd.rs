//! Lists of two values each, as collectd sends them of network interfaces.

use super::{Case, timestamp_ms, value};

/// The JSON form.
pub(crate) const VALUES: Case = Case {
    name: "collectd JSON",
    path: "/collectd",
    content_type: "application/json",
    body: values,
    rows: 2,
};

/// `lists` objects.
fn values(lists: usize) -> Vec<u8> {
    let object = |i: usize| {
        format!(
            r#"{{"values":[{},{}],"dstypes":["derive","derive"],"dsnames":["rx","tx"],"time":{}.{:03},"interval":10.000,"host":"host-{:04}.example.net","plugin":"interface","plugin_instance":"eth{}","type":"if_octets","type_instance":""}}"#,
            value(i),
            value(i + 1),
            timestamp_ms(i) / 1000,
            timestamp_ms(i) % 1000,
            i / 50,
            i % 50,
        )
    };
    let objects: Vec<String> = (0..lists).map(object).collect();
    format!("[{}]", objects.join(",")).into_bytes()
}

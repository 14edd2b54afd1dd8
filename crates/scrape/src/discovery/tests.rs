//! Files that change, servers that fail, name servers that cut their answers.

use std::collections::BTreeMap;
use std::path::Path;

use outbound::config::Authorization;
use outbound::{Secret, Url};
use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, ResourceRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::config::{DnsDiscovery, DnsType, FileDiscovery, Global, HttpDiscovery, JobBlock};

type Told = watch::Receiver<Vec<TargetGroup>>;

/// Starts the only mechanism of a job.
fn start(change: impl FnOnce(&mut JobBlock)) -> (Told, Arc<Counts>) {
    let mut block = JobBlock::default();
    block.own.job_name = "a".to_owned();
    change(&mut block);
    let config = ScrapeConfig::resolve(block, &Global::default()).unwrap();
    run(Discovery::of(&config, &Env::real()).unwrap().remove(0))
}

fn run(discovery: Discovery) -> (Told, Arc<Counts>) {
    let counts = discovery.counts();
    let (sink, told) = watch::channel(Vec::new());
    tokio::spawn(discovery.run(sink));
    (told, counts)
}

/// The next groups, as addresses with one label.
async fn next(told: &mut Told) -> Vec<String> {
    let changed = tokio::time::timeout(Duration::from_secs(60), told.changed()).await;
    changed.expect("it changes within a minute").expect("it goes on");
    let groups = told.borrow_and_update();
    let addresses =
        groups.iter().flat_map(|group| group.targets.iter().map(|target| target["__address__"].clone()));
    addresses.collect()
}

async fn until(mut holds: impl FnMut() -> bool) {
    let all = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("it holds within a minute");
}

fn files(folder: &Path, names: &[&str]) -> FileDiscovery {
    let path = |name: &&str| folder.join(name).display().to_string();
    FileDiscovery { files: names.iter().map(path).collect(), refresh_interval: Duration::from_secs(20) }
}

// The clock is tokio's own, which jumps when nothing else happens: seconds pass in no time.
#[tokio::test(start_paused = true)]
async fn files_are_seen_to_change_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.json", r#"[{"targets": ["a:1"], "labels": {"env": "x"}, "other": 1}]"#);
    write("ignored.txt", "[");
    let (mut told, counts) = start(|block| {
        block.own.file_sd_configs = vec![files(folder.path(), &["*.json", "b.yml"])];
    });
    assert_eq!(next(&mut told).await, ["a:1"]);
    let group = told.borrow()[0].clone();
    let path = folder.path().join("a.json").display().to_string();
    assert_eq!(group.source, format!("{path}:0"));
    let labels = [("__meta_filepath", path.as_str()), ("env", "x")];
    assert_eq!(group.labels, labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into());

    // Another file, in YAML, with a value that is no text.
    write("b.yml", "- targets: ['b:1', 'b:2']\n  labels: {n: '1'}\n- targets: []\n");
    assert_eq!(next(&mut told).await, ["a:1", "b:1", "b:2"]);

    // Half written: what it said goes on, and is corrected once it is whole.
    write("a.json", r#"[{"targets": ["a:1", "a:"#);
    until(|| counts.failures() == 1).await;
    assert!(!told.has_changed().unwrap());
    write("a.json", r#"[{"targets": ["a:1", "a:2"]}]"#);
    assert_eq!(next(&mut told).await, ["a:1", "a:2", "b:1", "b:2"]);

    std::fs::remove_file(folder.path().join("b.yml")).unwrap();
    assert_eq!(next(&mut told).await, ["a:1", "a:2"]);
    write("a.json", "null");
    assert_eq!(next(&mut told).await, Vec::<String>::new());
    write("a.json", "[]");
    let refreshes = counts.refreshes();
    until(|| counts.refreshes() > refreshes + 1).await;
    assert!(!told.has_changed().unwrap(), "the same groups are not told again");
    assert_eq!(counts.failures(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_before_a_change_stands_for_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.json", r#"[{"targets": ["a:1"]}, {"targets": ["a:2"]}]"#);
    write("b.json", r#"[{"targets": ["b:1"]}]"#);
    let mut block = JobBlock::default();
    block.own.job_name = "a".to_owned();
    block.own.file_sd_configs = vec![files(folder.path(), &["*.json"])];
    let config = ScrapeConfig::resolve(block, &Global::default()).unwrap();
    let mut before = Vec::new();
    let mut places = Vec::new();
    for wanted in [&["a:1", "a:2", "b:1"][..], &["a:1", "a:2"]] {
        let discovery = Discovery::of(&config, &Env::real()).unwrap().remove(0);
        places.push(discovery.place());
        let (sink, mut told) = watch::channel(before);
        tokio::spawn(discovery.run(sink));
        assert_eq!(next(&mut told).await, wanted);
        before = told.borrow().clone();
        write("a.json", r#"[{"targets": ["a:"#);
        std::fs::remove_file(folder.path().join("b.json")).unwrap_or_default();
    }
    assert_eq!(places[0], places[1]);
}

#[tokio::test(start_paused = true)]
async fn strange_keys_in_yaml_and_wrong_json_are_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.yml", "- target: ['a:1']\n");
    write("b.json", r#"{"targets": ["b:1"]}"#);
    write("c.json", r#"[null]"#);
    write("d.yaml", "# nothing yet\n");
    let names = ["a.yml", "b.json", "c.json", "d.yaml", "missing.json"];
    let (mut told, counts) = start(|block| block.own.file_sd_configs = vec![files(folder.path(), &names)]);
    assert_eq!(next(&mut told).await, Vec::<String>::new());
    assert_eq!(counts.failures(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_configuration_is_told_once() {
    let (mut told, _) = start(|block| {
        let group = |address: &str| crate::config::StaticGroup {
            targets: vec![address.to_owned()],
            labels: BTreeMap::new(),
        };
        block.own.static_configs = vec![group("a:1"), group("b:1")];
    });
    assert_eq!(next(&mut told).await, ["a:1", "b:1"]);
    let sources: Vec<String> = told.borrow().iter().map(|group| group.source.clone()).collect();
    assert_eq!(sources, ["0", "1"]);
}

/// Answers each connection with the next text; gives what was asked.
async fn server(answers: Vec<String>) -> (String, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/targets", listener.local_addr().unwrap());
    let (asked, questions) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        let last = answers.len() - 1;
        for at in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            stream.write_all(answers[last.min(at)].as_bytes()).await.unwrap();
            // Nobody may be interested any more.
            let _ = asked.try_send(String::from_utf8(head).unwrap());
        }
    });
    (url, questions)
}

fn answer(status: &str, media: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_server_is_asked_with_credentials_and_may_fail() {
    let json = "application/json; charset=utf-8";
    let good = |address: &str| answer("200 OK", json, &format!(r#"[{{"targets": ["{address}"]}}]"#));
    let answers = vec![
        good("a:1"),
        answer("500 Oops", json, "[]"),
        answer("200 OK", "text/plain", "[]"),
        answer("200 OK", json, "[{"),
        good("b:1"),
    ];
    let (url, mut questions) = server(answers).await;
    let (mut told, counts) = start(|block| {
        let mut http = HttpDiscovery::default();
        http.own.url = Some(Url::parse(&url).unwrap());
        http.own.refresh_interval = Duration::from_millis(100);
        let credentials = Some(Secret::new("word".to_owned()));
        http.inner.authorization = Some(Authorization { credentials, ..Authorization::default() });
        block.own.http_sd_configs = vec![http];
    });
    assert_eq!(next(&mut told).await, ["a:1"]);
    assert_eq!(told.borrow()[0].labels["__meta_url"], url);
    assert_eq!(told.borrow()[0].source, format!("{url}:0"));
    // What went wrong in between changed nothing.
    assert_eq!(next(&mut told).await, ["b:1"]);
    assert_eq!(counts.failures(), 3);
    let question = questions.recv().await.unwrap().to_ascii_lowercase();
    for header in [
        "get /targets http/1.1\r\n",
        "authorization: bearer word\r\n",
        "accept: application/json\r\n",
        "x-prometheus-refresh-interval-seconds: 0.1\r\n",
    ] {
        assert!(question.contains(header), "{question}");
    }
}

#[test]
fn more_targets_than_may_be_change_nothing() {
    let (sink, mut told) = watch::channel(Vec::new());
    let (counts, mut last) = (Counts::default(), None);
    let groups = |targets| {
        vec![TargetGroup {
            source: "a".to_owned(),
            targets: vec![BTreeMap::new(); targets],
            labels: BTreeMap::new(),
        }]
    };
    for (targets, is_told, failures) in [(100_000, true, 0), (100_001, false, 1), (2, true, 1)] {
        tell(&sink, &mut last, &counts, "http", groups(targets));
        assert_eq!((told.has_changed().unwrap(), counts.failures()), (is_told, failures), "{targets}");
        told.mark_unchanged();
    }
    assert_eq!(told.borrow()[0].targets.len(), 2);
}

/// A name server that answers over UDP, cut, and over TCP, whole.
async fn name_server(records: Vec<(u16, &'static str)>) -> std::net::SocketAddr {
    let reply = move |question: &[u8], is_cut: bool| {
        let question = Packet::parse(question).unwrap();
        let mut reply = Packet::new_reply(question.id());
        reply.questions = question.questions.clone();
        if is_cut {
            reply.set_flags(PacketFlag::TRUNCATION);
        }
        for (port, target) in records.iter().filter(|_| !is_cut) {
            let target = Name::new(target).unwrap();
            let data = RData::SRV(SRV { priority: 0, weight: 0, port: *port, target });
            reply.answers.push(ResourceRecord::new(question.questions[0].qname.clone(), CLASS::IN, 60, data));
        }
        reply.build_bytes_vec().unwrap()
    };
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let over_tcp = reply.clone();
    tokio::spawn(async move {
        loop {
            let mut bytes = [0; 512];
            let (length, from) = udp.recv_from(&mut bytes).await.unwrap();
            // First somebody who guesses: another number, and another question.
            let mut forged = reply(&bytes[..length], false);
            forged[0] ^= 0xff;
            udp.send_to(&forged, from).await.unwrap();
            udp.send_to(&reply(&bytes[..length], true), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await.unwrap();
            let reply = over_tcp(&bytes, false);
            stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn services_are_found_in_dns() {
    let server = name_server(vec![(9100, "b.example.com"), (9101, "a.example.com")]).await;
    let config = DnsDiscovery { names: vec!["_m._tcp.example.com".to_owned()], ..DnsDiscovery::default() };
    let mut servers = ask::Servers::parse("");
    servers.addresses.push(server);
    let dns = dns::Dns::new(&config, &Env::real()).with_servers(servers);
    let (mut told, counts) = run(Discovery { way: Way::Dns(dns), counts: Arc::default() });
    assert_eq!(next(&mut told).await, ["a.example.com:9101", "b.example.com:9100"]);
    let target = told.borrow()[0].targets[0].clone();
    let expected = [
        ("__address__", "a.example.com:9101"),
        ("__meta_dns_name", "_m._tcp.example.com"),
        ("__meta_dns_srv_record_port", "9101"),
        ("__meta_dns_srv_record_target", "a.example.com."),
    ];
    assert_eq!(target, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!(counts.failures(), 0);
}

#[tokio::test]
async fn addresses_are_asked_of_the_system() {
    let (mut told, _) = start(|block| {
        block.own.dns_sd_configs = vec![DnsDiscovery {
            names: vec!["localhost".to_owned()],
            kind: DnsType::A,
            port: 90,
            ..DnsDiscovery::default()
        }];
    });
    assert_eq!(next(&mut told).await, ["127.0.0.1:90"]);
}

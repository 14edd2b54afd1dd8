//! Certificates that Weir orders: for which names and when, what a restart keeps, and what a failing authority costs.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::acme::{AcmeServer, Trouble};
use common::tls::{Ca, Client};
use common::{Weir, until};
use server::config::{ClientAuth, Config, Directory, Domain, Identity, Settings};

const DOMAIN: &str = "weir.example";
/// What a first start orders.
const FIRST: [&str; 3] = [
    "weir.example",
    "default.weir.example dd.default.weir.example",
    "system.weir.example dd.system.weir.example",
];

/// A Weir whose names lead to itself.
fn start(acme: &AcmeServer, directory: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Weir {
    let authorities = directory.path().join("directory.pem");
    std::fs::write(&authorities, acme.root()).unwrap();
    let configured = |settings: &mut Settings| {
        settings.general.domain = Domain(Some(DOMAIN.to_owned()));
        settings.acme.directory = Directory(Some(acme.directory()));
        settings.acme.accept_terms = true;
        settings.acme.directory_ca = Some(authorities);
        change(settings);
    };
    let mut weir = Weir::begin_as(directory, configured, quick);
    weir.secure = Some(Client::new(&acme.root(), DOMAIN));
    acme.lead_to(Some(weir.address), None);
    weir
}

/// Looks often, and is not patient for long.
fn quick(config: &mut Config) {
    if let Some(Identity::Acme(acme)) = config.tls.as_mut().map(|tls| &mut tls.identity) {
        acme.look = Duration::from_millis(20);
        acme.retry = Duration::from_millis(300);
    }
}

fn begin(acme: &AcmeServer) -> Weir {
    let weir = start(acme, tempfile::tempdir().unwrap(), |_| {});
    weir.wait_until_certified(3);
    weir
}

impl Weir {
    /// Waits until there are so many certificates.
    fn wait_until_certified(&self, number: usize) {
        until("all certificates are there", || {
            self.app().tls.as_ref().unwrap().acme().unwrap().number() == number
        });
    }

    fn client(&self, name: &str) -> Client {
        self.secure.as_ref().unwrap().asking(name)
    }

    fn shows(&self, name: &str) -> bool {
        self.client(name).connect(self.address).is_ok()
    }

    fn metric(&self, name: &str) -> f64 {
        let exposition = self.get("/metrics", &self.admin).body;
        let line =
            exposition.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(f64::NAN, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    fn create_tenant(&self, name: &str) {
        let body = format!(r#"{{"name": "{name}"}}"#);
        let made = self.request("POST", "/api/v1/admin/tenants", &self.admin, "", body.as_bytes());
        assert_eq!(made.status, 201, "{made:?}");
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_first_start_orders_for_the_domain_and_every_tenant() {
    let acme = AcmeServer::start();
    let weir = begin(&acme);
    let mut orders = acme.orders();
    orders.sort_by_key(|names| FIRST.iter().position(|first| first == names));
    assert_eq!(orders, FIRST);
    assert_eq!(acme.validated().into_iter().collect::<Vec<_>>(), ["tls-alpn-01"]);
    for name in FIRST.iter().flat_map(|names| names.split(' ')) {
        assert!(weir.shows(name), "{name}");
    }
    assert_eq!(weir.get("/-/healthy", "").status, 200);
    assert_eq!(weir.metric("weir_acme_certificates_missing"), 0.0);
    assert_eq!(weir.metric("weir_acme_orders_total{outcome=\"success\"}"), 3.0);
    let now_s = weir.app().env.clock.now_ms() as f64 / 1000.0;
    let left =
        weir.metric("weir_tls_certificate_expiry_timestamp_seconds{name=\"default.weir.example\"}") - now_s;
    assert!((89.0 * 86_400.0..=90.0 * 86_400.0).contains(&left), "{left}");
    // Nobody else may look at keys.
    let folder = weir.directory.path().join("acme");
    assert_eq!(mode(&folder), 0o700);
    let folder = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    assert_eq!(mode(&folder), 0o700);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let names: Vec<_> = files.iter().map(|file| file.file_name().into_string().unwrap()).collect();
    let expected =
        ["account.json", "default.weir.example.pem", "system.weir.example.pem", "weir.example.pem"];
    assert_eq!(names, expected);
    assert!(files.iter().all(|file| mode(&file.path()) == 0o600));
}

#[test]
fn other_names_are_refused_and_never_ordered() {
    let acme = AcmeServer::start();
    let weir = begin(&acme);
    let strangers = [
        "other.example",
        "stranger.weir.example",
        "dd.stranger.weir.example",
        "dd.weir.example",
        "x.y.weir.example",
    ];
    for name in strangers {
        assert!(!weir.shows(name), "{name}");
        // Nor is anything validated that was not asked for.
        assert!(weir.client(name).offering(&["acme-tls/1"]).connect(weir.address).is_err());
    }
    assert!(weir.client("default.weir.example").offering(&["acme-tls/1"]).connect(weir.address).is_err());
    let refused = weir.metric("weir_tls_handshake_failures_total{reason=\"no_certificate\"}");
    assert_eq!(refused, 2.0 * strangers.len() as f64 + 1.0);
    weir.create_tenant("acme");
    weir.wait_until_certified(4);
    let mut orders = acme.orders();
    assert_eq!(orders.pop().as_deref(), Some("acme.weir.example dd.acme.weir.example"));
    assert_eq!(orders.len(), 3, "{orders:?}");
}

#[test]
fn a_tenant_has_its_certificate_as_long_as_it_is_there() {
    let acme = AcmeServer::start();
    let weir = begin(&acme);
    assert!(!weir.shows("dd.acme.weir.example"));
    weir.create_tenant("acme");
    until("the new tenant has its certificate", || weir.shows("acme.weir.example"));
    assert!(weir.shows("dd.acme.weir.example"));
    let deleted = weir.request("DELETE", "/api/v1/admin/tenants/acme", &weir.admin, "", b"");
    assert_eq!(deleted.status, 200, "{deleted:?}");
    until("it is gone", || !weir.shows("dd.acme.weir.example"));
    let folder =
        std::fs::read_dir(weir.directory.path().join("acme")).unwrap().next().unwrap().unwrap().path();
    until("its key is gone", || !folder.join("acme.weir.example.pem").exists());
    assert_eq!(acme.orders().len(), 4);
}

#[test]
fn a_restart_orders_nothing() {
    let acme = AcmeServer::start();
    let weir = begin(&acme);
    let shown = |weir: &Weir| weir.client("dd.default.weir.example").shown(weir.address).unwrap();
    let before = shown(&weir);
    let weir = start(&acme, weir.stop(), |_| {});
    // At once: it is not looked for anywhere but on the disk.
    assert_eq!(shown(&weir), before);
    until("it is ready", || weir.get("/-/ready", "").status == 200);
    weir.create_tenant("later");
    weir.wait_until_certified(4);
    assert_eq!(acme.orders().len(), 4, "{:?}", acme.orders());
    assert_eq!(acme.accounts(), 1);

    // A damaged file costs an order, and an account that cannot be read a new account.
    let directory = weir.stop();
    let folder = std::fs::read_dir(directory.path().join("acme")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(folder.join("weir.example.pem"), "nonsense").unwrap();
    std::fs::write(folder.join("account.json"), "nonsense").unwrap();
    let weir = start(&acme, directory, |_| {});
    weir.wait_until_certified(4);
    assert_eq!((acme.orders().len(), acme.orders().pop().as_deref()), (5, Some("weir.example")));
    assert_eq!(acme.accounts(), 2);
}

#[test]
fn a_certificate_is_renewed_before_it_ends() {
    let acme = AcmeServer::start();
    acme.set_life(9);
    let weir = begin(&acme);
    let name = "dd.default.weir.example";
    let first = weir.client(name).shown(weir.address).unwrap();
    let ends_s = weir.metric("weir_tls_certificate_expiry_timestamp_seconds{name=\"default.weir.example\"}");
    acme.set_life(90 * 86_400);
    // Each connection verifies what it is shown, so none was shown one that had ended.
    until("there is a new one", || weir.client(name).shown(weir.address).unwrap() != first);
    // A third of its life was left, less what ordering three took.
    let left_s = ends_s - weir.app().env.clock.now_ms() as f64 / 1000.0;
    assert!((0.0..=3.1).contains(&left_s), "{left_s}");
    weir.wait_until_certified(3);
    until("all are new", || acme.orders().len() >= 6);
}

#[test]
fn an_authority_that_fails_costs_nothing_but_time() {
    let acme = AcmeServer::start();
    acme.set_life(12);
    let weir = begin(&acme);
    acme.set_trouble(Trouble::Down);
    acme.set_life(90 * 86_400);
    let name = "dd.default.weir.example";
    let first = weir.client(name).shown(weir.address).unwrap();
    let before = acme.requests();
    until("it was asked again and again", || acme.requests() >= before + 2);
    assert_eq!(weir.client(name).shown(weir.address).unwrap(), first);
    assert!(weir.metric("weir_acme_orders_total{outcome=\"failure\"}") >= 1.0);
    acme.set_trouble(Trouble::None);
    until("there is a new one", || weir.client(name).shown(weir.address).unwrap() != first);
}

#[test]
fn what_cannot_be_kept_is_shown_and_not_ordered_again() {
    let acme = AcmeServer::start();
    let weir = begin(&acme);
    let folder =
        std::fs::read_dir(weir.directory.path().join("acme")).unwrap().next().unwrap().unwrap().path();
    let in_the_way = folder.join("acme.weir.example.pem.tmp");
    std::fs::create_dir(&in_the_way).unwrap();
    weir.create_tenant("acme");
    until("it is shown", || weir.shows("dd.acme.weir.example"));
    assert!(!folder.join("acme.weir.example.pem").exists());
    std::fs::remove_dir(&in_the_way).unwrap();
    until("it is kept", || folder.join("acme.weir.example.pem").exists());
    assert_eq!(acme.orders().len(), 4, "{:?}", acme.orders());
    let weir = start(&acme, weir.stop(), |_| {});
    weir.wait_until_certified(4);
    assert_eq!(acme.orders().len(), 4, "{:?}", acme.orders());
}

#[test]
fn whoever_says_that_it_is_too_much_is_left_alone() {
    let acme = AcmeServer::start();
    let weir = begin(&acme);
    weir.create_tenant("early");
    weir.create_tenant("earlier");
    weir.wait_until_certified(5);
    acme.set_trouble(Trouble::RateLimited { retry_after_s: 3600 });
    let before = acme.requests();
    for name in ["one", "two", "three"] {
        weir.create_tenant(name);
    }
    until("the order failed", || weir.metric("weir_acme_orders_total{outcome=\"failure\"}") == 1.0);
    acme.set_trouble(Trouble::None);
    // Twice it is seen what is wanted, so between the two all that may be ordered was ordered.
    for name in ["early", "earlier"] {
        let path = format!("/api/v1/admin/tenants/{name}");
        assert_eq!(weir.request("DELETE", &path, &weir.admin, "", b"").status, 200);
        until("it is gone", || !weir.shows(&format!("{name}.weir.example")));
    }
    assert_eq!(acme.requests(), before + 1);
    assert_eq!(weir.metric("weir_acme_certificates_missing"), 3.0);
}

#[test]
fn names_that_lead_elsewhere_keep_no_others_waiting() {
    let acme = AcmeServer::start();
    acme.refuse("dd.default.weir.example");
    let weir = start(&acme, tempfile::tempdir().unwrap(), |_| {});
    weir.wait_until_certified(2);
    let of_default = || acme.orders().iter().filter(|names| names.starts_with("default")).count();
    until("it is tried again", || of_default() >= 2);
    assert!(weir.shows("system.weir.example") && !weir.shows("default.weir.example"));
    assert!(weir.metric("weir_acme_certificates_missing") == 1.0);
    assert_eq!(acme.orders().len() - of_default(), 2);
}

#[test]
fn challenges_are_answered_over_http() {
    let acme = AcmeServer::start();
    // As good as a free port gets.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let weir = start(&acme, tempfile::tempdir().unwrap(), |settings| settings.acme.http_listen = Some(free));
    acme.lead_to(None, Some(free));
    weir.wait_until_certified(3);
    assert_eq!(acme.validated().into_iter().collect::<Vec<_>>(), ["http-01"]);
    assert!(weir.shows("default.weir.example"));
    // Nothing else is there, and no answer stays.
    for path in ["/", "/-/healthy", "/.well-known/acme-challenge/token-1", "/.well-known/acme-challenge/x"] {
        assert_eq!(plain(free, path), Some(404), "{path}");
    }
}

fn plain(address: SocketAddr, path: &str) -> Option<u16> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1)?.parse().ok()
}

#[test]
fn the_authority_shows_no_certificate_where_clients_must() {
    let acme = AcmeServer::start();
    let clients = Ca::new("clients");
    let directory = tempfile::tempdir().unwrap();
    let authorities = directory.path().join("clients.pem");
    std::fs::write(&authorities, clients.pem()).unwrap();
    let mut weir = start(&acme, directory, |settings| {
        settings.tls.client_ca = Some(authorities);
        settings.tls.client_auth = ClientAuth::Required;
    });
    weir.wait_until_certified(3);
    weir.secure = Some(Client::showing(&acme.root(), DOMAIN, &clients.issue(&["agent"])));
    assert_eq!(weir.get("/-/healthy", "").status, 200);
}

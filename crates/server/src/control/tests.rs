//! First starts, damage and administration, on a real directory.

use admission::{LimitOverrides, Presented};
use env::real::read_text;
use sim::files::SimFiles;

use super::admin::{Operation, ROUTES, call};
use super::*;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> Result<(Control, Opening), OpenError> {
        Control::open(Env::real(), self.path(), Policy::default())
    }

    fn opened(&self) -> Control {
        self.open().unwrap().0
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        env::read_all(&env::real::OsFiles, &self.path().join(name)).unwrap()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        env::replace(&env::real::OsFiles, self.path(), name, bytes).unwrap();
    }
}

fn ok(control: &Control, operation: Operation, target: &str, body: &str) -> serde_json::Value {
    call(control, operation, target, body.as_bytes()).unwrap().body
}

fn refused(control: &Control, operation: Operation, target: &str, body: &str) -> (u16, String) {
    let error = call(control, operation, target, body.as_bytes()).unwrap_err();
    (error.status(), error.to_string())
}

fn tenant_of(control: &Control, token: &str, scope: Scope) -> Option<String> {
    let now_ms = Env::real().clock.now_ms();
    let presented = Presented { credentials: &[token], now_ms, ..Presented::default() };
    control.authority().admit(&presented, scope).ok().map(|grant| grant.tenant.name.to_string())
}

#[test]
fn a_first_start_writes_tokens_that_work() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let (control, opening) = directory.open().unwrap();
    assert_eq!(opening, Opening { first_start: true, warnings: Vec::new() });
    let token = |name| read_text(&directory.path().join(name)).unwrap().trim_end().to_owned();
    for (name, tenant) in [(DEFAULT_TOKEN, "default"), (SYSTEM_TOKEN, "system")] {
        assert_eq!(tenant_of(&control, &token(name), Scope::Write).as_deref(), Some(tenant));
        assert_eq!(tenant_of(&control, &token(name), Scope::Read).as_deref(), Some(tenant));
    }
    let admin = token(ADMIN_TOKEN);
    let presented = Presented { credentials: &[&admin], ..Presented::default() };
    assert!(control.authority().admit_admin(&presented).is_ok());
    assert_eq!(tenant_of(&control, &admin, Scope::Read), None);
    for name in [DEFAULT_TOKEN, SYSTEM_TOKEN, ADMIN_TOKEN, "control-0", "control-1"] {
        let mode = directory.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let stored = [directory.bytes("control-0"), directory.bytes("control-1")].concat();
    assert!(!String::from_utf8_lossy(&stored).contains(&admin));

    let (again, opening) = directory.open().unwrap();
    assert_eq!(opening, Opening::default());
    assert_eq!(again.authority().state(), control.authority().state());
}

#[test]
fn a_second_process_is_refused_with_the_first_ones_id() {
    let directory = Directory::new();
    let inner = directory.path().join("made/on/demand");
    let held = lock(&Env::real(), &inner).unwrap();
    let Err(LockError::Held(id)) = lock(&Env::real(), &inner) else { panic!("two locks") };
    assert_eq!(id, std::process::id());
    drop(held);
    assert!(lock(&Env::real(), &inner).is_ok());
}

/// Both files as they are after a few changes, and the names of the newer and the older one.
fn changed() -> (Directory, &'static str, &'static str) {
    let directory = Directory::new();
    let control = directory.opened();
    ok(&control, Operation::CreateTenant, "", r#"{"name": "kept"}"#);
    ok(&control, Operation::CreateTenant, "", r#"{"name": "last", "limits": {"retention": "30d"}}"#);
    let even = control.authority().state().generation.is_multiple_of(2);
    if even { (directory, "control-0", "control-1") } else { (directory, "control-1", "control-0") }
}

/// What opening gives when `name` holds `bytes`; afterwards both files are as before.
fn opened_with(directory: &Directory, name: &str, bytes: &[u8]) -> Result<(Control, Opening), OpenError> {
    let before = ["control-0", "control-1"].map(|name| directory.bytes(name));
    directory.put(name, bytes);
    let result = directory.open();
    for (name, bytes) in ["control-0", "control-1"].iter().zip(before) {
        directory.put(name, &bytes);
    }
    result
}

#[test]
fn whatever_is_damaged_the_generation_before_is_used() {
    // That every flipped bit and every cut counts as damage is shown beside the decoder.
    let (directory, newer, _) = changed();
    let whole = directory.bytes(newer);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for bytes in
        [flipped, whole[..whole.len() - 1].to_vec(), whole[..7].to_vec(), Vec::new(), vec![0; whole.len()]]
    {
        let (control, opening) = opened_with(&directory, newer, &bytes).unwrap();
        let [warning] = opening.warnings.as_slice() else { panic!("{:?}", opening.warnings) };
        assert!(warning.contains(&format!("{newer} is damaged")), "{warning}");
        let authority = control.authority();
        assert!(authority.tenant("kept").is_some() && authority.tenant("last").is_none());
    }
}

#[test]
fn after_damage_no_number_is_given_out_twice_and_both_files_are_whole() {
    let (directory, newer, older) = changed();
    let lost = directory.opened().authority().tenant("last").unwrap().id;
    directory.put(newer, b"rubbish");
    assert_eq!(check(&Env::real(), directory.path()).unwrap().len(), 1);
    let (control, opening) = directory.open().unwrap();
    assert_eq!(opening.warnings.len(), 1);
    assert_eq!(check(&Env::real(), directory.path()).unwrap(), Vec::<String>::new());
    ok(&control, Operation::CreateTenant, "", r#"{"name": "next"}"#);
    assert!(control.authority().tenant("next").unwrap().id > lost);
    assert_eq!(directory.open().unwrap().1, Opening::default());
    // The damaged one is the older one: nothing is lost, and it is told all the same.
    directory.put(older, b"");
    assert_eq!(directory.open().unwrap().1.warnings.len(), 1);
    assert_eq!(directory.open().unwrap().1, Opening::default());
}

#[test]
fn a_missing_file_is_damage_and_two_damaged_ones_are_refused() {
    let (directory, newer, older) = changed();
    let remove = |name| env::Files::remove(&env::real::OsFiles, &directory.path().join(name)).unwrap();
    remove(newer);
    let (control, opening) = directory.open().unwrap();
    assert!(opening.warnings[0].contains("is missing"), "{:?}", opening.warnings);
    assert!(control.authority().tenant("last").is_none());
    directory.put(newer, b"x");
    directory.put(older, b"y");
    assert!(matches!(directory.open(), Err(OpenError::Damaged)));
    remove(newer);
    assert!(matches!(directory.open(), Err(OpenError::Damaged)));
}

#[test]
fn a_first_start_that_was_cut_short_is_finished() {
    let directory = Directory::new();
    directory.opened();
    let remove = |name| env::Files::remove(&env::real::OsFiles, &directory.path().join(name)).unwrap();
    remove("control-0");
    assert_eq!(directory.open().unwrap().1, Opening::default());
    remove("control-1");
    let (control, opening) = directory.open().unwrap();
    assert!(opening.first_start);
    let token = read_text(&directory.path().join(DEFAULT_TOKEN)).unwrap();
    assert!(tenant_of(&control, token.trim_end(), Scope::Read).is_some());
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (directory, newer, _) = changed();
    let mut bytes = directory.bytes(newer);
    bytes[8..12].copy_from_slice(&[9, 0, 7, 0]);
    let checksum = codec::hash::crc32c_parts(&[&bytes[..16], &bytes[20..]]);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    directory.put(newer, &bytes);
    let error = directory.open().unwrap_err().to_string();
    assert_eq!(error, format!("{newer} has format version 9, this Weir reads up to 1; nothing was changed"));
    // One that says that version 1 can read it is read.
    bytes[10] = 1;
    let checksum = codec::hash::crc32c_parts(&[&bytes[..16], &bytes[20..]]);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    directory.put(newer, &bytes);
    assert!(directory.opened().authority().tenant("last").is_some());
}

#[test]
fn tenants_are_administered() {
    let directory = Directory::new();
    let control = directory.opened();
    let made =
        ok(&control, Operation::CreateTenant, "", r#"{"name": "acme", "limits": {"active_series": 5}}"#);
    assert_eq!((&made["name"], &made["id"]), (&"acme".into(), &3.into()));
    assert_eq!((&made["limits"]["active_series"], &made["limits"]["labels"]), (&5.into(), &128.into()));
    let set = ok(&control, Operation::SetLimits, "acme", r#"{"retention": "30d", "samples_per_second": 10}"#);
    assert_eq!(set["overrides"], serde_json::json!({"retention": "30d", "samples_per_second": 10.0}));
    let limits = control.authority().tenant("acme").unwrap().limits;
    assert_eq!((limits.retention_ms, limits.active_series), (30 * 86_400_000, 10_000_000));

    let refused = |operation, target, body| refused(&control, operation, target, body);
    assert_eq!(
        refused(Operation::CreateTenant, "", r#"{"name": "acme"}"#),
        (409, "tenant acme exists already".to_owned())
    );
    assert_eq!(refused(Operation::CreateTenant, "", r#"{"name": "A b"}"#).0, 400);
    assert_eq!(refused(Operation::CreateTenant, "", r#"{"nam": "x"}"#).0, 400);
    assert_eq!(refused(Operation::CreateTenant, "", "").0, 400);
    assert_eq!(refused(Operation::SetLimits, "acme", r#"{"retention": "30"}"#).0, 400);
    assert_eq!(refused(Operation::SetLimits, "acme", r#"{"samples_per_second": 0}"#).0, 400);
    assert_eq!(refused(Operation::SetLimits, "nobody", "{}").0, 404);
    assert_eq!(refused(Operation::DeleteTenant, "system", "").0, 409);

    ok(&control, Operation::DeleteTenant, "acme", "");
    assert_eq!(control.leaving(), [TenantId(3)]);
    control.forget(TenantId(3)).unwrap();
    let names = |control: &Control| {
        let listed = ok(control, Operation::ListTenants, "", "");
        let tenants = listed["tenants"].as_array().unwrap().clone();
        tenants.iter().map(|tenant| tenant["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&control), ["default", "system"]);
    assert_eq!(names(&directory.opened()), ["default", "system"]);
}

#[test]
fn tokens_are_administered() {
    let directory = Directory::new();
    let control = directory.opened();
    let body = r#"{"tenant": "default", "scopes": ["write"], "name": "agent", "expires_in": "1h"}"#;
    let made = ok(&control, Operation::CreateToken, "", body);
    let secret = made["token"].as_str().unwrap();
    assert_eq!(tenant_of(&control, secret, Scope::Write).as_deref(), Some("default"));
    assert_eq!(tenant_of(&control, secret, Scope::Read), None);
    assert!(made["expires"].as_str().unwrap() > made["created"].as_str().unwrap());
    let listed = ok(&control, Operation::ListTokens, "", "");
    assert!(!listed.to_string().contains(secret));
    let admin = &listed["tokens"][2];
    assert_eq!((&admin["name"], &admin["scopes"]), (&ADMIN_TOKEN.into(), &serde_json::json!(["admin"])));

    let id = made["id"].to_string();
    let rotated = ok(&control, Operation::RotateToken, &id, r#"{"overlap": "10m"}"#);
    let next = rotated["token"].as_str().unwrap();
    assert!(
        tenant_of(&control, secret, Scope::Write).is_some()
            && tenant_of(&control, next, Scope::Write).is_some()
    );
    let last = ok(&control, Operation::RotateToken, &rotated["id"].to_string(), "");
    assert!(tenant_of(&control, next, Scope::Write).is_none());
    ok(&control, Operation::RevokeToken, &id, "");
    assert!(tenant_of(&control, secret, Scope::Write).is_none());
    let control = directory.opened();
    assert!(tenant_of(&control, last["token"].as_str().unwrap(), Scope::Write).is_some());

    let refused = |operation, target, body| refused(&control, operation, target, body);
    assert_eq!(refused(Operation::RevokeToken, &id, ""), (404, format!("no token {id}")));
    assert_eq!(refused(Operation::RevokeToken, "x", "").0, 400);
    assert_eq!(refused(Operation::RevokeToken, "3", "").0, 409);
    assert_eq!(refused(Operation::CreateToken, "", r#"{"scopes": ["write"]}"#).0, 400);
    assert_eq!(refused(Operation::CreateToken, "", r#"{"tenant": "x", "scopes": ["write"]}"#).0, 404);
    assert_eq!(refused(Operation::CreateToken, "", r#"{"tenant": "default", "scopes": ["root"]}"#).0, 400);
}

#[test]
fn a_configuration_brings_tenants_and_limits() {
    let directory = Directory::new();
    let control = directory.opened();
    let mut policy = Policy::default();
    let limits = LimitOverrides { active_series: Some(7), ..LimitOverrides::default() };
    policy.overrides.insert(TenantName::parse("configured").unwrap(), limits);
    control.set_policy(policy.clone()).unwrap();
    let first = control.authority().tenant("configured").cloned().unwrap();
    assert_eq!(first.limits.active_series, 7);
    let (again, _) = Control::open(Env::real(), directory.path(), policy).unwrap();
    assert_eq!(again.authority().tenant("configured").unwrap().id, first.id);
}

#[test]
fn every_operation_has_one_route() {
    let mut seen: Vec<_> = ROUTES.iter().map(|(method, path, _)| (method, path)).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), ROUTES.len());
    assert!(ROUTES.iter().all(|(_, path, _)| path.starts_with("/api/v1/admin/")));
}

/// One bit of each byte of the first 4 KiB of either file, every bit with `WEIR_EVERY_BIT`: the check names the file, the
/// start goes on with the other one, nobody is there who was not, and nothing is missing but the last change.
#[test]
fn a_flipped_bit_costs_the_last_change_at_most_and_is_named() {
    const WINDOW: usize = 4096;
    let disk = SimFiles::new(0);
    let env = |disk: &SimFiles| Env { files: Arc::new(disk.clone()), ..sim::env(0) };
    let directory = Path::new("/data");
    let open = |disk: &SimFiles| Control::open(env(disk), directory, Policy::default()).unwrap();
    env::Files::create_dir(&disk, directory).unwrap();
    let (control, _) = open(&disk);
    for i in 0..30 {
        ok(&control, Operation::CreateTenant, "", &format!(r#"{{"name": "tenant-{i}"}}"#));
        let token = format!(r#"{{"tenant": "tenant-{i}", "scopes": ["read"], "name": "token {i}"}}"#);
        ok(&control, Operation::CreateToken, "", &token);
    }
    let newest = State::clone(control.authority().state());
    ok(&control, Operation::DeleteTenant, "tenant-7", "");
    let states = [newest, State::clone(control.authority().state())];
    // What is left when the file of one generation is damaged is the other one, its numbers skipped.
    for (damaged, left) in [(&states[0], &states[1]), (&states[1], &states[0])] {
        let name = file::NAMES[usize::from(!damaged.generation.is_multiple_of(2))];
        let path = directory.join(name);
        let bytes = disk.content(&path).unwrap().len();
        assert!(bytes > WINDOW, "{bytes}");
        let mut expected = left.clone();
        expected.skip_numbers();
        expected.generation += 1;
        for bit in (0..WINDOW * 8).step_by(sim::thinned(9)) {
            disk.flip_bit(&path, bit).unwrap();
            let said = format!("{name} is damaged");
            let warnings = check(&env(&disk), directory).unwrap();
            assert!(warnings.len() == 1 && warnings[0].contains(&said), "bit {bit}: {warnings:?}");
            if bit / 9 % 8 == 0 {
                let copy = disk.fork(1);
                let (control, opening) = open(&copy);
                assert_eq!((opening.first_start, opening.warnings), (false, warnings), "bit {bit}");
                assert_eq!(**control.authority().state(), expected, "bit {bit}");
                assert_eq!(check(&env(&copy), directory).unwrap(), Vec::<String>::new(), "bit {bit}");
            }
            disk.flip_bit(&path, bit).unwrap();
        }
    }
    assert_eq!(open(&disk).1, Opening::default());
}

/// The fuzz target's body over changes of a seed.
#[test]
fn whatever_stands_in_a_control_file_the_state_opens_or_is_refused() {
    const NUMBERS: [&[u8]; 6] = [b"0", b"-1", b"4294967295", b"18446744073709551615", b"1e400", b"null"];
    for seed in 0..3000 {
        let mut rng = sim::random::Rng::new(seed);
        let mut input = vec![2 | rng.below(8) as u8, 1];
        for _ in 0..=rng.below(3) {
            // A piece goes and another one comes; numbers stand at the beginning, as everywhere.
            let place = if rng.chance(1, 3) { 14 } else { rng.index(1200) };
            let gone = if rng.chance(1, 2) { 1 } else { rng.below(12) };
            let length = rng.index(8);
            let number = NUMBERS[rng.index(NUMBERS.len())].to_vec();
            let comes = if rng.chance(2, 3) { number } else { rng.tries(length) };
            let mut change = |how, by| {
                input.push(how);
                codec::varint::write(place as u64, &mut input);
                input.push(by);
            };
            (0..gone).for_each(|_| change(2, 0));
            comes.iter().rev().for_each(|byte| change(5, *byte));
        }
        let directory = Path::new("/data");
        let outcome = std::panic::catch_unwind(|| exercise::exercise(&sim::env(0), directory, &input));
        assert!(outcome.is_ok(), "seed {seed} breaks it: {input:02x?}");
    }
}

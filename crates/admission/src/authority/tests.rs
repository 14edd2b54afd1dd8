//! Every situation that a credential can be in, as a table.

use super::*;

const ACME: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const READER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const ADMIN: &str = "cccccccccccccccccccccccccccccccc";
const SYSTEM_READER: &str = "dddddddddddddddddddddddddddddddd";
const EXPIRED: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
const TENANT_ADMIN: &str = "ffffffffffffffffffffffffffffffff";
const NOW: i64 = 1_000;

fn state() -> State {
    let mut state = State::first(0);
    let acme = state.create_tenant("acme", 0).unwrap();
    let system = state.tenant(SYSTEM).unwrap().id;
    let all: Scopes = [Scope::Write, Scope::Read].into_iter().collect();
    let rows = [
        (ACME, Some(acme), all, None),
        (READER, Some(acme), Scope::Read.into(), None),
        (ADMIN, None, Scope::Admin.into(), None),
        (SYSTEM_READER, Some(system), Scope::Read.into(), None),
        (EXPIRED, Some(acme), all, Some(NOW)),
        (TENANT_ADMIN, Some(acme), Scope::Admin.into(), None),
    ];
    for (secret, tenant, scopes, expires) in rows {
        state.issue(&Token::parse(secret).unwrap(), secret, tenant, scopes, 0, expires).unwrap();
    }
    state
}

fn authority(access: Access) -> Authority {
    let policy = Policy { access, domain: Some("Weir.Example.".to_owned()), ..Policy::default() };
    Authority::new(Arc::new(state()), policy)
}

/// What a situation should give: the tenant's name, or the refusal.
type Wanted = Result<&'static str, Refused>;

struct Case {
    credentials: &'static [&'static str],
    org_ids: &'static [&'static str],
    host: Option<&'static str>,
    write: Wanted,
    read: Wanted,
    admin: Wanted,
    self_metrics: Wanted,
}

fn all(
    credentials: &'static [&'static str],
    org_ids: &'static [&'static str],
    host: Option<&'static str>,
    wanted: Refused,
) -> Case {
    let [write, read, admin, self_metrics] = [Err(wanted); 4];
    Case { credentials, org_ids, host, write, read, admin, self_metrics }
}

fn acme(
    credentials: &'static [&'static str],
    org_ids: &'static [&'static str],
    host: Option<&'static str>,
) -> Case {
    Case {
        write: Ok("acme"),
        read: Ok("acme"),
        admin: Err(Refused::Scope),
        self_metrics: Err(Refused::Scope),
        ..all(credentials, org_ids, host, Refused::Scope)
    }
}

#[test]
fn every_credential_situation() {
    use Refused::*;
    const UNKNOWN: &str = "0123456789abcdef0123456789abcdef";
    let cases = [
        all(&[], &[], None, NoCredential),
        all(&[], &["acme"], Some("acme.weir.example"), NoCredential),
        all(&[""], &[], None, BadCredential),
        all(&[UNKNOWN], &[], None, BadCredential),
        all(&[EXPIRED], &[], None, BadCredential),
        all(&["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"], &[], None, BadCredential),
        all(&["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa "], &[], None, BadCredential),
        // Who guesses learns nothing about tenants: the token is judged first.
        all(&[UNKNOWN], &["acme"], None, BadCredential),
        all(&[UNKNOWN], &["nobody"], None, BadCredential),
        all(&[UNKNOWN], &["a|b"], Some("nobody.weir.example"), BadCredential),
        all(&[ACME, READER], &[], None, Conflicting),
        all(&[ACME, UNKNOWN], &[], None, Conflicting),
        all(&[ACME, ""], &[], None, Conflicting),
        acme(&[ACME], &[], None),
        acme(&[ACME, ACME], &[], None),
        acme(&[ACME], &["acme"], None),
        all(&[ACME], &["default"], None, OtherTenant),
        all(&[ACME], &["nobody"], None, OtherTenant),
        all(&[ACME], &["Acme"], None, OtherTenant),
        all(&[ACME], &[""], None, OtherTenant),
        all(&[ACME], &["acme|default"], None, SeveralTenants),
        all(&[ACME], &["acme|acme"], None, SeveralTenants),
        all(&[ACME], &["acme", "acme"], None, TwoOrgIds),
        all(&[ACME], &["acme", "default"], None, TwoOrgIds),
        acme(&[ACME], &[], Some("acme.weir.example")),
        acme(&[ACME], &[], Some("ACME.weir.EXAMPLE:9347")),
        acme(&[ACME], &[], Some("dd.acme.weir.example.")),
        acme(&[ACME], &["acme"], Some("dd.acme.weir.example:443")),
        acme(&[ACME], &[], Some("weir.example")),
        acme(&[ACME], &[], Some("elsewhere.example")),
        acme(&[ACME], &[], Some("default.notweir.example")),
        acme(&[ACME], &[], Some("127.0.0.1:9347")),
        acme(&[ACME], &[], Some("[::1]:9347")),
        acme(&[ACME], &[], Some("[::1]")),
        all(&[ACME], &[], Some("default.weir.example"), OtherHost),
        all(&[ACME], &[], Some("dd.default.weir.example"), OtherHost),
        all(&[ACME], &[], Some("DD.Default.WEIR.example"), OtherHost),
        all(&[ACME], &[], Some("dd.weir.example"), OtherHost),
        all(&[ACME], &[], Some("x.acme.weir.example"), OtherHost),
        all(&[ACME], &[], Some("dd.dd.acme.weir.example"), OtherHost),
        all(&[ACME], &[], Some(".weir.example"), OtherHost),
        Case { read: Ok("acme"), ..all(&[READER], &[], None, Scope) },
        Case { admin: Ok(""), self_metrics: Ok(""), ..all(&[ADMIN], &[], None, Scope) },
        Case { admin: Ok(""), self_metrics: Ok(""), ..all(&[ADMIN], &[], Some("acme.weir.example"), Scope) },
        all(&[ADMIN], &["acme"], None, OtherTenant),
        Case { admin: Ok(""), self_metrics: Ok(""), ..all(&[TENANT_ADMIN], &["acme"], None, Scope) },
        all(&[TENANT_ADMIN], &["default"], None, OtherTenant),
        Case { read: Ok("system"), self_metrics: Ok(""), ..all(&[SYSTEM_READER], &[], None, Scope) },
    ];
    let authority = authority(Access::Token);
    for case in cases {
        let Case { credentials, org_ids, host, .. } = case;
        let presented = Presented { credentials, org_ids, host, now_ms: NOW };
        let tenant = |scope| authority.admit(&presented, scope).map(|grant| grant.tenant.name.to_string());
        let text = format!("{credentials:?} {org_ids:?} {host:?}");
        assert_eq!(tenant(super::Scope::Write), case.write.map(str::to_owned), "write {text}");
        assert_eq!(tenant(super::Scope::Read), case.read.map(str::to_owned), "read {text}");
        assert_eq!(authority.admit_admin(&presented).map(|_| ""), case.admin, "admin {text}");
        assert_eq!(authority.admit_self_metrics(&presented).map(|_| ""), case.self_metrics, "self {text}");
    }
}

#[test]
fn with_tokens_off_the_header_picks_the_tenant() {
    let authority = authority(Access::Open);
    let tenant = |org_ids, host| {
        let presented = Presented { credentials: &["ignored", "too"], org_ids, host, now_ms: NOW };
        assert_eq!(authority.admit_admin(&presented), Ok(None));
        let grant = authority.admit(&presented, Scope::Write)?;
        assert_eq!((grant.token, grant.scopes.to_string().as_str()), (None, "write,read,admin"));
        Ok(grant.tenant.name.to_string())
    };
    assert_eq!(tenant(&[], None), Ok("default".to_owned()));
    assert_eq!(tenant(&["acme"], None), Ok("acme".to_owned()));
    assert_eq!(tenant(&[], Some("dd.acme.weir.example")), Ok("acme".to_owned()));
    assert_eq!(tenant(&["acme"], Some("acme.weir.example")), Ok("acme".to_owned()));
    assert_eq!(tenant(&["default"], Some("acme.weir.example")), Err(Refused::OtherHost));
    assert_eq!(tenant(&["nobody"], None), Err(Refused::OtherTenant));
    assert_eq!(tenant(&["../etc"], None), Err(Refused::OtherTenant));
    assert_eq!(tenant(&[], Some("nobody.weir.example")), Err(Refused::OtherTenant));
    assert_eq!(tenant(&["acme|default"], None), Err(Refused::SeveralTenants));
    assert_eq!(tenant(&["acme", "acme"], None), Err(Refused::TwoOrgIds));
}

#[test]
fn without_a_domain_no_host_names_a_tenant() {
    let authority = Authority::new(Arc::new(state()), Policy::default());
    let presented =
        Presented { credentials: &[ACME], host: Some("default.weir.example"), ..Presented::default() };
    assert!(authority.admit(&presented, Scope::Write).is_ok());
}

#[test]
fn a_revoked_token_is_refused_by_the_next_authority() {
    let first = authority(Access::Token);
    let presented = Presented { credentials: &[READER], ..Presented::default() };
    let id = first.admit(&presented, Scope::Read).unwrap().token.unwrap();
    let mut state = State::clone(first.state());
    state.revoke(id).unwrap();
    let next = first.succeed(Arc::new(state), first.policy().clone());
    assert_eq!(next.admit(&presented, Scope::Read), Err(Refused::BadCredential));
}

#[test]
fn limits_come_in_three_layers_and_change_the_epoch_of_their_tenant_only() {
    let overrides =
        |active_series| LimitOverrides { active_series: Some(active_series), ..Default::default() };
    let first = authority(Access::Token);
    let mut policy = first.policy().clone();
    policy.limits.active_series = 10;
    policy.overrides.insert(TenantName::parse("acme").unwrap(), overrides(20));
    let second = first.succeed(Arc::clone(first.state()), policy.clone());
    let seen = |authority: &Authority, name: &str| {
        let tenant = authority.tenant(name).unwrap();
        (tenant.limits.active_series, tenant.epoch)
    };
    assert_eq!((seen(&second, "default"), seen(&second, "acme")), ((10, 1), (20, 1)));
    let mut state = State::clone(second.state());
    state.set_limits("acme", overrides(30)).unwrap();
    let third = second.succeed(Arc::new(state), policy);
    assert_eq!((seen(&third, "default"), seen(&third, "acme")), ((10, 1), (30, 2)));
}

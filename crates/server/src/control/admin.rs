//! Administration: tenants, tokens, limits. One table of operations, served under `/api/v1/admin/` and, when no server
//! holds the data directory, called by the command line directly; so both always do the same.
//!
//! A request is JSON or empty, an answer is JSON. A token's secret is in the answer to the request that made it, and
//! nowhere else. After [`Operation::DeleteTenant`] the store still has to forget what [`Control::leaving`] names.

use std::time::Duration;

use admission::{
    ChangeError, LimitOverrides, Scope, Scopes, State, Tenant, TenantRecord, TokenId, TokenRecord,
};
use model::TenantId;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Control, ControlError, new_token};
use crate::config::units;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Lists tenants with their limits.
    ListTenants,
    /// Creates a tenant: [`CreateTenant`].
    CreateTenant,
    /// Deletes a tenant, its tokens and its data.
    DeleteTenant,
    /// Sets a tenant's limits: [`Limits`]. What is not given follows the configuration.
    SetLimits,
    /// Lists tokens without their secrets.
    ListTokens,
    /// Makes a token: [`CreateToken`].
    CreateToken,
    /// Refuses a token from now on.
    RevokeToken,
    /// Replaces a token by a new one: [`RotateToken`].
    RotateToken,
}

/// Method, path and operation; `{target}` is a tenant's name or a token's number.
pub const ROUTES: &[(&str, &str, Operation)] = &[
    ("GET", "/api/v1/admin/tenants", Operation::ListTenants),
    ("POST", "/api/v1/admin/tenants", Operation::CreateTenant),
    ("DELETE", "/api/v1/admin/tenants/{target}", Operation::DeleteTenant),
    ("PUT", "/api/v1/admin/tenants/{target}/limits", Operation::SetLimits),
    ("GET", "/api/v1/admin/tokens", Operation::ListTokens),
    ("POST", "/api/v1/admin/tokens", Operation::CreateToken),
    ("DELETE", "/api/v1/admin/tokens/{target}", Operation::RevokeToken),
    ("POST", "/api/v1/admin/tokens/{target}/rotate", Operation::RotateToken),
];

/// A good answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Value,
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Occurs when the request's body is not what the operation takes.
    #[error("request body: {0}")]
    Body(#[from] serde_json::Error),
    /// Occurs when the target in the path is no token's number.
    #[error("a token is named by its number; `weir token list` shows it")]
    Target,
    /// Occurs when the change is refused or cannot be written.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl AdminError {
    /// HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            AdminError::Body(_) | AdminError::Target => 400,
            AdminError::Control(ControlError::Io(_)) => 503,
            AdminError::Control(ControlError::Change(change)) => match change {
                ChangeError::NoTenant(_) | ChangeError::NoToken(_) => 404,
                ChangeError::TenantExists(_) | ChangeError::SystemTenant | ChangeError::LastAdmin(_) => 409,
                ChangeError::TenantName(_)
                | ChangeError::Scopes
                | ChangeError::TokenName
                | ChangeError::Limit(_)
                | ChangeError::Exhausted => 400,
            },
        }
    }
}

/// Does an operation. `target` is what stands for `{target}` in the path, `body` the request's body.
pub fn call(control: &Control, operation: Operation, target: &str, body: &[u8]) -> Result<Done, AdminError> {
    match operation {
        Operation::ListTenants => list_tenants(control),
        Operation::CreateTenant => create_tenant(control, &read(body)?),
        Operation::DeleteTenant => {
            control.change(|state| state.delete_tenant(target))?;
            done(200, &Deleted { deleted: target.to_owned() })
        }
        Operation::SetLimits => set_limits(control, target, read(body)?),
        Operation::ListTokens => list_tokens(control),
        Operation::CreateToken => create_token(control, &read(body)?),
        Operation::RevokeToken => {
            let id = token_id(target)?;
            let revoked = control.change(|state| state.revoke(id))?;
            done(200, &TokenInfo::of(control.authority().state(), &revoked))
        }
        Operation::RotateToken => rotate_token(control, token_id(target)?, &read(body)?),
    }
}

/// A request for a tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Its name: one DNS label.
    pub name: String,
    /// Limits that differ from the configuration's.
    #[serde(default)]
    pub limits: Limits,
}

/// A tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantInfo {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Limits set for it by this API.
    pub overrides: Limits,
    /// The limits that hold for it: configuration and overrides together.
    pub limits: Limits,
}

/// A list of tenants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantList {
    /// By number.
    pub tenants: Vec<TenantInfo>,
}

/// What was deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deleted {
    /// The tenant's name.
    pub deleted: String,
}

/// A request for a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// Its tenant's name; none for a token that only administers.
    #[serde(default)]
    pub tenant: Option<String>,
    /// `write`, `read`, `admin`.
    pub scopes: Vec<String>,
    /// What it is for.
    #[serde(default)]
    pub name: String,
    /// How long it is valid; without it until it is revoked.
    #[serde(default)]
    pub expires_in: Option<Span>,
}

/// A request for a new token in place of an old one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateToken {
    /// How long the old token is still taken; without it not at all.
    #[serde(default)]
    pub overlap: Option<Span>,
}

/// A token without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its number.
    pub id: u32,
    /// What it is for.
    pub name: String,
    /// Its tenant's name.
    pub tenant: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was created, RFC 3339.
    pub created: String,
    /// From when on it is refused, RFC 3339.
    pub expires: Option<String>,
}

/// A list of tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenList {
    /// By number.
    pub tokens: Vec<TokenInfo>,
}

/// A token that was just made.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewToken {
    /// The secret: shown this once.
    pub token: String,
    /// The rest.
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// A duration, written as in the configuration: `24h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    fn of_ms(ms: i64) -> Self {
        Self(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    fn ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&units::show_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = units::parse_duration(&text).map(Self);
        parsed.ok_or_else(|| {
            D::Error::custom(format!("expected a duration like 30s, 10m or 400d, found {text:?}"))
        })
    }
}

/// Limits by their configuration keys; what is missing is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is documented at its configuration key")]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_name_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_value_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_series: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples_burst: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub future: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_bytes: Option<u64>,
}

impl From<LimitOverrides> for Limits {
    fn from(limits: LimitOverrides) -> Self {
        Self {
            labels: limits.labels,
            label_name_bytes: limits.label_name_bytes,
            label_value_bytes: limits.label_value_bytes,
            labels_bytes: limits.labels_bytes,
            active_series: limits.active_series,
            samples_per_second: limits.samples_per_second,
            samples_burst: limits.samples_burst,
            future: limits.future_ms.map(Span::of_ms),
            retention: limits.retention_ms.map(Span::of_ms),
            max_bytes: limits.max_bytes,
            query_bytes: limits.query_bytes,
        }
    }
}

impl From<Limits> for LimitOverrides {
    fn from(limits: Limits) -> Self {
        Self {
            labels: limits.labels,
            label_name_bytes: limits.label_name_bytes,
            label_value_bytes: limits.label_value_bytes,
            labels_bytes: limits.labels_bytes,
            active_series: limits.active_series,
            samples_per_second: limits.samples_per_second,
            samples_burst: limits.samples_burst,
            future_ms: limits.future.map(Span::ms),
            retention_ms: limits.retention.map(Span::ms),
            max_bytes: limits.max_bytes,
            query_bytes: limits.query_bytes,
        }
    }
}

impl From<&model::TenantLimits> for Limits {
    fn from(limits: &model::TenantLimits) -> Self {
        Self {
            labels: Some(limits.labels.labels as u64),
            label_name_bytes: Some(limits.labels.name_bytes as u64),
            label_value_bytes: Some(limits.labels.value_bytes as u64),
            labels_bytes: Some(limits.labels.total_bytes as u64),
            active_series: Some(limits.active_series),
            samples_per_second: Some(limits.samples_per_second),
            samples_burst: Some(limits.samples_burst),
            future: Some(Span::of_ms(limits.future_ms)),
            retention: Some(Span::of_ms(limits.retention_ms)),
            max_bytes: Some(limits.max_bytes),
            query_bytes: Some(limits.query_bytes),
        }
    }
}

fn list_tenants(control: &Control) -> Result<Done, AdminError> {
    let authority = control.authority();
    let tenants = authority.state().tenants.iter();
    let tenants =
        tenants.filter_map(|record| Some(TenantInfo::of(record, authority.tenant_by_id(record.id)?)));
    done(200, &TenantList { tenants: tenants.collect() })
}

fn create_tenant(control: &Control, request: &CreateTenant) -> Result<Done, AdminError> {
    let now_ms = control.env.clock.now_ms();
    let id = control.change(|state| {
        let id = state.create_tenant(&request.name, now_ms)?;
        state.set_limits(&request.name, request.limits.into())?;
        Ok(id)
    })?;
    tenant(control, 201, id)
}

fn set_limits(control: &Control, name: &str, limits: Limits) -> Result<Done, AdminError> {
    let id = control.change(|state| {
        state.set_limits(name, limits.into())?;
        state.tenant(name).map(|tenant| tenant.id)
    })?;
    tenant(control, 200, id)
}

fn tenant(control: &Control, status: u16, id: TenantId) -> Result<Done, AdminError> {
    let authority = control.authority();
    let found = authority.state().tenant_by_id(id).zip(authority.tenant_by_id(id));
    // Somebody else may have deleted it since.
    let (record, tenant) =
        found.ok_or_else(|| ControlError::from(ChangeError::NoTenant(id.0.to_string())))?;
    done(status, &TenantInfo::of(record, tenant))
}

fn list_tokens(control: &Control) -> Result<Done, AdminError> {
    let authority = control.authority();
    let state = authority.state();
    done(200, &TokenList { tokens: state.tokens.iter().map(|token| TokenInfo::of(state, token)).collect() })
}

fn create_token(control: &Control, request: &CreateToken) -> Result<Done, AdminError> {
    let scopes = request.scopes.iter().map(|name| Scope::parse(name)).collect::<Option<Scopes>>();
    let scopes = scopes.ok_or(ControlError::Change(ChangeError::Scopes))?;
    let now_ms = control.env.clock.now_ms();
    let expires_ms = request.expires_in.map(|span| now_ms.saturating_add(span.ms()));
    let token = new_token(&control.env);
    let record = control.change(|state| {
        let named = request.tenant.as_deref();
        let tenant = named.map(|name| state.tenant(name).map(|tenant| tenant.id)).transpose()?;
        let id = state.issue(&token, &request.name, tenant, scopes, now_ms, expires_ms)?;
        Ok(record(state, id))
    })?;
    let info = TokenInfo::of(control.authority().state(), &record?);
    done(201, &NewToken { token: token.reveal(), info })
}

fn rotate_token(control: &Control, old: TokenId, request: &RotateToken) -> Result<Done, AdminError> {
    let now_ms = control.env.clock.now_ms();
    let old_until_ms = now_ms.saturating_add(request.overlap.map_or(0, Span::ms));
    let token = new_token(&control.env);
    let record = control.change(|state| {
        let id = state.rotate(old, &token, now_ms, old_until_ms)?;
        Ok(record(state, id))
    })?;
    let info = TokenInfo::of(control.authority().state(), &record?);
    done(201, &NewToken { token: token.reveal(), info })
}

fn record(state: &State, id: TokenId) -> Result<TokenRecord, ControlError> {
    let found = state.tokens.iter().find(|token| token.id == id).cloned();
    found.ok_or(ControlError::Change(ChangeError::NoToken(id.0)))
}

impl TenantInfo {
    fn of(record: &TenantRecord, tenant: &Tenant) -> Self {
        Self {
            name: record.name.to_string(),
            id: record.id.0,
            created: rfc_3339(record.created_ms),
            overrides: record.limits.into(),
            limits: Limits::from(&tenant.limits),
        }
    }
}

impl TokenInfo {
    fn of(state: &State, token: &TokenRecord) -> Self {
        let tenant = token.tenant.and_then(|id| state.tenant_by_id(id));
        Self {
            id: token.id.0,
            name: token.name.clone(),
            tenant: tenant.map(|tenant| tenant.name.to_string()),
            scopes: token.scopes.iter().map(|scope| scope.to_string()).collect(),
            created: rfc_3339(token.created_ms),
            expires: token.expires_ms.map(rfc_3339),
        }
    }
}

fn rfc_3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}

fn token_id(target: &str) -> Result<TokenId, AdminError> {
    target.parse().map(TokenId).map_err(|_| AdminError::Target)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, AdminError> {
    // An operation whose every field has a default needs no body at all.
    Ok(serde_json::from_slice(if body.is_empty() { b"{}" } else { body })?)
}

fn done(status: u16, body: &impl Serialize) -> Result<Done, AdminError> {
    Ok(Done { status, body: serde_json::to_value(body)? })
}

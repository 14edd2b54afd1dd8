//! `weir tenant` and `weir token`: through a running server, or on the data directory when no server holds it.
//!
//! Both ways do the same operations of [`server::control::admin`]; here they are only named, confirmed and printed.

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use env::{Env, Lock, LockError};
use serde_json::{Map, Value, json};
use server::control::admin::{self, NewToken, Operation, ROUTES, TenantList, TokenList};
use server::control::{self, Control};

use crate::arguments::{Delete, ListFormat, Server, Tenant, Token};
use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::table;
use crate::terminal::{put, say, tame};
use crate::time::absolute;

/// Where operations are done.
pub(crate) enum Place {
    Server(Client),
    Directory { control: Box<Control>, _lock: Box<dyn Lock> },
}

impl Place {
    /// A URL that was given means that server. Else the data directory, when it is one and no server holds it; else the
    /// server on this machine.
    pub(crate) fn find(flags: &Server) -> Result<Self, Failure> {
        let directory = &flags.data_dir;
        let known = ["control-0", "control-1"].iter().any(|name| directory.join(name).exists());
        if flags.url.is_some() || !known {
            return Ok(Self::Server(Client::new(flags, None, control::ADMIN_TOKEN)?));
        }
        let env = Env::real();
        match control::lock(&env, directory) {
            Ok(lock) => {
                let opened = Control::open(env, directory, admission::Policy::default());
                let (control, opening) = opened.map_err(|error| Failure::new(Code::Failed, error))?;
                opening.warnings.iter().for_each(|warning| say(format_args!("weir: {warning}")));
                Ok(Self::Directory { control: Box::new(control), _lock: lock })
            }
            Err(LockError::Held(_)) => Ok(Self::Server(Client::new(flags, None, control::ADMIN_TOKEN)?)),
            Err(error) => Err(Failure::new(Code::Failed, format_args!("{}: {error}", directory.display()))),
        }
    }

    fn call(&self, operation: Operation, target: &str, body: &Value) -> Result<Value, Failure> {
        match self {
            Self::Server(client) => remote(client, operation, target, body),
            Self::Directory { control, .. } => {
                let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
                let done = admin::call(control, operation, target, &bytes);
                done.map(|done| done.body).map_err(|error| Failure::new(Code::Failed, error))
            }
        }
    }
}

fn remote(client: &Client, operation: Operation, target: &str, body: &Value) -> Result<Value, Failure> {
    let route = ROUTES.iter().find(|(_, _, its)| *its == operation);
    let (method, path, _) = route.ok_or_else(|| Failure::new(Code::Failed, "no route for this"))?;
    let path = path.replace("{target}", target);
    let nothing = Value::Object(Map::new());
    let body = if body.is_null() { &nothing } else { body };
    let answer = match *method {
        "GET" => client.get(&path, &[])?,
        "DELETE" => client.delete(&path)?,
        _ => client.send_json(method, &path, body)?,
    };
    answer.json()
}

/// `weir tenant`.
pub(crate) fn tenant(command: Tenant) -> Result<(), Failure> {
    match command {
        Tenant::Create { name, limits, server } => {
            let body = json!({ "name": name, "limits": parse_limits(&limits)? });
            Place::find(&server)?.call(Operation::CreateTenant, "", &body)?;
            say(format_args!("tenant {name} created"));
            Ok(())
        }
        Tenant::List { output, server } => {
            let list = Place::find(&server)?.call(Operation::ListTenants, "", &Value::Null)?;
            print(output, &list, tenant_rows)
        }
        Tenant::Limits { name, limits, server } => {
            let limits = parse_limits(&limits)?;
            check_name(&name)?;
            let set = Place::find(&server)?.call(Operation::SetLimits, &name, &limits)?;
            say(format_args!("tenant {name}: {}", shown_limits(&set["overrides"])));
            Ok(())
        }
        Tenant::Delete { name, yes, server } => {
            check_name(&name)?;
            if !yes {
                confirm(&format!("Delete tenant {name} and its tokens? Its data is then out of reach."))?;
            }
            Place::find(&server)?.call(Operation::DeleteTenant, &name, &Value::Null)?;
            say(format_args!("tenant {name} deleted"));
            Ok(())
        }
    }
}

/// `weir delete`.
pub(crate) fn delete(command: Delete) -> Result<(), Failure> {
    let Delete { selectors, start, end, yes, tenant, server } = command;
    check_name(&tenant)?;
    if !yes {
        let of = selectors.join(", ");
        let (from, to) = (start.as_deref().unwrap_or("the beginning"), end.as_deref().unwrap_or("the end"));
        confirm(&format!("Delete {of} of tenant {tenant} from {from} to {to}?"))?;
    }
    let now_ms = Env::real().clock.now_ms();
    let mut form: Vec<_> = selectors.into_iter().map(|selector| ("match[]", selector)).collect();
    form.extend(start.map(|start| ("start", absolute(&start, now_ms))));
    form.extend(end.map(|end| ("end", absolute(&end, now_ms))));
    form.push(("tenant", tenant));
    let client = Client::new(&server, None, control::ADMIN_TOKEN)?;
    let answer = client.post_form("/api/v1/admin/tsdb/delete_series", &form)?;
    if !answer.is_good() {
        return Err(Failure::new(Code::Failed, answer.error()));
    }
    say(format_args!("deleted; the disk has the space back after the next merges"));
    Ok(())
}

/// `weir token`.
pub(crate) fn token(command: Token) -> Result<(), Failure> {
    match command {
        Token::Create { tenant, scopes, name, expires_in, to, server } => {
            let body = json!({ "tenant": tenant, "scopes": scopes, "name": name, "expires_in": expires_in });
            let made = Place::find(&server)?.call(Operation::CreateToken, "", &body)?;
            hand_over(made, to)
        }
        Token::List { output, server } => {
            let list = Place::find(&server)?.call(Operation::ListTokens, "", &Value::Null)?;
            print(output, &list, token_rows)
        }
        Token::Revoke { id, server } => {
            Place::find(&server)?.call(Operation::RevokeToken, &id.to_string(), &Value::Null)?;
            say(format_args!("token {id} revoked"));
            Ok(())
        }
        Token::Rotate { id, overlap, to, server } => {
            let body = json!({ "overlap": overlap });
            let made = Place::find(&server)?.call(Operation::RotateToken, &id.to_string(), &body)?;
            hand_over(made, to)
        }
    }
}

/// `KEY=VALUE` as JSON: numbers as numbers, sizes as bytes, the rest as text.
fn parse_limits(pairs: &[String]) -> Result<Value, Failure> {
    let mut limits = Map::new();
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::new(Code::Usage, format_args!("{pair}: expected KEY=VALUE like retention=30d"))
        })?;
        let number = value.parse::<u64>().map(Value::from).or_else(|_| value.parse::<f64>().map(Value::from));
        let size =
            || server::config::units::parse_size(value).filter(|_| key.ends_with("_bytes")).map(Value::from);
        let value = number.ok().or_else(size).unwrap_or_else(|| value.into());
        limits.insert(key.to_owned(), value);
    }
    Ok(Value::Object(limits))
}

/// A name goes into a path: what is none must not get that far.
fn check_name(name: &str) -> Result<(), Failure> {
    model::TenantName::parse(name).map(drop).map_err(|error| Failure::new(Code::Usage, error))
}

pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Code::Usage, "this deletes data: say --yes when nobody can be asked"));
    }
    say(format_args!("{question} [y/N]"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Code::Failed, "nothing was done"))
    }
}

/// The secret to stdout or its file, everything else to stderr.
fn hand_over(made: Value, to: Option<PathBuf>) -> Result<(), Failure> {
    let made: NewToken = read(made)?;
    let info = &made.info;
    let owner = info.tenant.as_deref().map_or_else(String::new, |tenant| format!(" of tenant {tenant}"));
    match to {
        None => put(&format!("{}\n", made.token))?,
        Some(path) => write_secret(&path, &made.token)?,
    }
    say(format_args!(
        "token {}{owner} with scope {}; it cannot be shown again",
        info.id,
        info.scopes.join(", ")
    ));
    Ok(())
}

/// A new or replaced file that only its owner may read.
fn write_secret(path: &Path, secret: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Code::Failed, format_args!("{}: {error}", path.display()));
    let name = path.file_name().and_then(|name| name.to_str());
    let name =
        name.ok_or_else(|| Failure::new(Code::Usage, format_args!("{}: not a file's name", path.display())))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    env::replace(&env::real::OsFiles, directory, name, format!("{secret}\n").as_bytes()).map_err(failed)
}

pub(crate) fn print(
    format: ListFormat,
    list: &Value,
    rows: fn(Value) -> Result<Vec<Vec<String>>, Failure>,
) -> Result<(), Failure> {
    match format {
        ListFormat::Json => put(&format!("{list:#}\n")),
        ListFormat::Table => put(&table(&rows(list.clone())?)),
    }
}

fn tenant_rows(list: Value) -> Result<Vec<Vec<String>>, Failure> {
    let list: TenantList = read(list)?;
    let mut rows = vec![["NAME", "ID", "CREATED", "LIMITS"].map(str::to_owned).to_vec()];
    for tenant in list.tenants {
        let limits = serde_json::to_value(tenant.overrides).unwrap_or_default();
        rows.push(vec![
            tame(&tenant.name),
            tenant.id.to_string(),
            tame(&tenant.created),
            shown_limits(&limits),
        ]);
    }
    Ok(rows)
}

fn token_rows(list: Value) -> Result<Vec<Vec<String>>, Failure> {
    let list: TokenList = read(list)?;
    let mut rows = vec![["ID", "TENANT", "SCOPES", "CREATED", "EXPIRES", "NAME"].map(str::to_owned).to_vec()];
    for token in list.tokens {
        rows.push(vec![
            token.id.to_string(),
            tame(token.tenant.as_deref().unwrap_or("-")),
            tame(&token.scopes.join(",")),
            tame(&token.created),
            tame(token.expires.as_deref().unwrap_or("-")),
            tame(&token.name),
        ]);
    }
    Ok(rows)
}

fn shown_limits(limits: &Value) -> String {
    let entries = limits.as_object().into_iter().flatten();
    let shown: Vec<_> = entries
        .map(|(key, value)| {
            format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .collect();
    if shown.is_empty() { "as configured".to_owned() } else { tame(&shown.join(" ")) }
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Failure> {
    let failed = |error| Failure::new(Code::Failed, format_args!("the answer is not Weir's: {error}"));
    serde_json::from_value(value).map_err(failed)
}

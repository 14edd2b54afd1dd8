//! `/api/v1/admin/*`: tenants and tokens, for whoever holds the admin scope. What is done stands in
//! [`crate::control::admin`], which the command line calls too when no server runs.

use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode};

use crate::app::App;
use crate::body;
use crate::control::admin::{self, AdminError, Done, Operation};
use crate::respond::{self, Answer};
use crate::system::refused_answer;
use crate::{gate, upkeep};

pub use crate::control::admin::ROUTES;

/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Does one of [`ROUTES`].
pub async fn answer(app: Arc<App>, operation: Operation, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    if let Err(refused) = gate::admit_admin(&app, &parts) {
        return refused_answer(refused);
    }
    let body = match body::read_small(body, BODY_BYTES_MAX, app.config().http.body_timeout).await {
        Ok(body) => body,
        Err(error) => return respond::error(error.status(), "bad_data", &error.to_string()),
    };
    // A change is written to the disk before it is answered: not on a thread that serves sockets. It is a small file, and
    // a token must not stay valid because a snapshot takes long.
    let target = target(parts.uri.path());
    let its = Arc::clone(&app);
    match app.decoding.run(move || admin::call(&its.control, operation, &target, &body)).await {
        Ok(result) => finish(&app, operation, result).await,
        Err(error) => respond::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error.to_string()),
    }
}

async fn finish(app: &Arc<App>, operation: Operation, result: Result<Done, AdminError>) -> Answer {
    match result {
        Ok(Done { status, body }) => {
            if operation == Operation::DeleteTenant {
                let its = Arc::clone(app);
                // When this fails, or Weir stops before it, the next look at the deleted tenants does it.
                let _ = upkeep::run(app, move || forget_deleted(&its)).await;
            }
            respond::json(status_code(status), body.to_string())
        }
        Err(error) => respond::error(status_code(error.status()), "bad_data", &error.to_string()),
    }
}

/// Takes the data of deleted tenants out of the store, once it is open.
pub fn forget_deleted(app: &App) {
    let Some(store) = app.store() else { return };
    for tenant in app.control.leaving() {
        let forgotten = store.delete_tenant(tenant);
        match forgotten {
            Ok(()) => {
                app.rates.forget(tenant);
                if let Err(error) = app.hosts.forget(tenant) {
                    tracing::warn!(%error, tenant = tenant.0, "a deleted tenant's tags of hosts are still there");
                }
                if let Err(error) = app.control.forget(tenant) {
                    tracing::warn!(%error, tenant = tenant.0, "a deleted tenant stays on the list");
                }
            }
            Err(error) => {
                tracing::error!(%error, tenant = tenant.0, "a deleted tenant's data is still there")
            }
        }
    }
}

/// Takes what blocks hold of tenants that were deleted long ago out of the store. The control state says who exists;
/// such data came in after its tenant's delete, which older versions let happen.
pub fn forget_strays(app: &App) {
    let Some(store) = app.store() else { return };
    let tenants = store.tenants_in_blocks();
    // Asked afterwards: whoever has data by now is in it.
    let authority = app.authority();
    for tenant in tenants.into_iter().filter(|tenant| authority.state().is_deleted(*tenant)) {
        match store.delete_tenant(tenant) {
            Ok(()) => tracing::warn!(tenant = tenant.0, "data of a tenant that was deleted is removed"),
            Err(error) => {
                tracing::error!(%error, tenant = tenant.0, "a deleted tenant's data is still there")
            }
        }
    }
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What stands behind `/api/v1/admin/tenants/` and its like.
pub(crate) fn target(path: &str) -> String {
    let segment = path.split('/').nth(5).unwrap_or("");
    crate::api::params::decode(segment, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_the_segment_behind_the_kind() {
        assert_eq!(target("/api/v1/admin/tokens/7/rotate"), "7");
        assert_eq!(target("/api/v1/admin/tenants/team%2Da"), "team-a");
        assert_eq!(target("/api/v1/admin/tenants"), "");
    }
}

//! The admin API: deploy, list, look at and remove functions; health and metrics.
//!
//! Everything here is a pure function of a request and a view of the server. What takes time or changes something is
//! handed back as an [`AdminAction`] for the event loop to do, which then asks [`deployed`], [`removed`] or
//! [`rolled_back`] for the answer.
//!
//! ```text
//!   PUT    /v1/functions/NAME?SETTINGS              deploy the body, WebAssembly in binary or text
//!   GET    /v1/functions                            all functions
//!   GET    /v1/functions/NAME                       versions, sizes, calls, latencies
//!   DELETE /v1/functions/NAME                       remove
//!   POST   /v1/functions/NAME/rollback?version=ID   make an earlier version current; the last one without ID
//!   GET    /healthz                                 200, or 503 while draining
//!   GET    /metrics                                 Prometheus text
//! ```

mod query;
mod response;
#[cfg(test)]
mod tests;
mod view;

pub use response::{AdminResponse, deploy_error, deployed, removed, rolled_back, store_error};
pub use view::{
    CallStatistics, DamagedFunction, FunctionDetails, FunctionList, FunctionSummary, ServerView,
    VersionSummary,
};

use crate::metrics;
use crate::store::{FunctionConfig, FunctionName};
use serde_json::json;

/// The longest module that is taken, in bytes: what the compiler takes.
pub const MODULE_BYTES_MAX: u64 = dormouse::compile::WASM_BYTES_MAX as u64;

/// A request to the admin API.
#[derive(Clone, Debug)]
pub struct AdminRequest<'a> {
    pub method: &'a str,
    /// The path as it was sent, without the query.
    pub path: &'a str,
    /// What follows `?`, as it was sent.
    pub query: &'a str,
}

/// What is to be done about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum AdminAction {
    /// Send this; a body, if there is one, was not wanted.
    Respond(AdminResponse),
    /// Read the body, at most [`MODULE_BYTES_MAX`] long, and deploy it.
    Deploy {
        name: FunctionName,
        config: FunctionConfig,
    },
    Remove {
        name: FunctionName,
    },
    Rollback {
        name: FunctionName,
        version: Option<String>,
    },
}

/// Decides about a request by its head, before any of its body is read.
pub fn handle(request: &AdminRequest<'_>, view: &dyn ServerView) -> AdminAction {
    match route(request, view) {
        Ok(action) => action,
        Err(response) => AdminAction::Respond(response),
    }
}

/// What a path stands for.
enum Resource<'a> {
    Health,
    Metrics,
    Functions,
    Function(&'a str),
    Rollback(&'a str),
}

impl Resource<'_> {
    fn methods(&self) -> &'static str {
        match self {
            Resource::Health | Resource::Metrics | Resource::Functions => "GET, HEAD",
            Resource::Function(_) => "GET, HEAD, PUT, DELETE",
            Resource::Rollback(_) => "POST",
        }
    }
}

fn resource(path: &str) -> Option<Resource<'_>> {
    match path {
        "/healthz" => return Some(Resource::Health),
        "/metrics" => return Some(Resource::Metrics),
        "/v1/functions" | "/v1/functions/" => return Some(Resource::Functions),
        _ => {}
    }
    let rest = path.strip_prefix("/v1/functions/")?;
    match rest.split_once('/') {
        None => Some(Resource::Function(rest)),
        Some((name, "rollback")) => Some(Resource::Rollback(name)),
        Some(_) => None,
    }
}

fn route(request: &AdminRequest<'_>, view: &dyn ServerView) -> Result<AdminAction, AdminResponse> {
    let Some(resource) = resource(request.path) else {
        let message = format!(
            "there is nothing at {:?}; functions are at /v1/functions",
            request.path
        );
        return Err(AdminResponse::error(404, "not-found", message));
    };
    // HEAD is GET without the body, which whoever sends the response leaves out.
    let method = if request.method == "HEAD" {
        "GET"
    } else {
        request.method
    };
    match (&resource, method) {
        (Resource::Health, "GET") => Err(health(view)),
        (Resource::Metrics, "GET") => Err(metrics_text(view)),
        (Resource::Functions, "GET") => Err(AdminResponse::json(200, &view::list(view))),
        (Resource::Function(name), "GET") => Err(details(name, view)),
        (Resource::Function(name), "PUT") => deploy(name, request.query, view),
        (Resource::Function(name), "DELETE") => {
            known(name, view)?;
            Ok(AdminAction::Remove {
                name: changeable(name, view)?,
            })
        }
        (Resource::Rollback(name), "POST") => {
            known(name, view)?;
            let version = rollback_version(request.query)?;
            Ok(AdminAction::Rollback {
                name: changeable(name, view)?,
                version,
            })
        }
        _ => {
            let methods = resource.methods();
            let message = format!(
                "{} is not possible at {:?}; use {methods}",
                request.method, request.path
            );
            Err(AdminResponse::error(405, "method-not-allowed", message)
                .with_header("Allow", methods))
        }
    }
}

fn health(view: &dyn ServerView) -> AdminResponse {
    if view.is_draining() {
        AdminResponse::json(503, &json!({ "status": "draining" }))
    } else {
        AdminResponse::json(200, &json!({ "status": "ok" }))
    }
}

fn metrics_text(view: &dyn ServerView) -> AdminResponse {
    let body = metrics::text(view.metrics(), &view.gauges(), view.now()).into_bytes();
    AdminResponse {
        status: 200,
        content_type: metrics::CONTENT_TYPE,
        headers: Vec::new(),
        body,
    }
}

fn details(name: &str, view: &dyn ServerView) -> AdminResponse {
    if let Err(response) = known(name, view) {
        return response;
    }
    match view.store().function(name) {
        Some(function) => AdminResponse::json(200, &view::details(view, function)),
        None => damaged(name, view).unwrap_or_else(|| no_function(name)),
    }
}

/// Refuses a name that no function has.
fn known(name: &str, view: &dyn ServerView) -> Result<(), AdminResponse> {
    if view.store().function(name).is_some() || damaged(name, view).is_some() {
        Ok(())
    } else {
        Err(no_function(name))
    }
}

fn no_function(name: &str) -> AdminResponse {
    AdminResponse::error(
        404,
        "no-such-function",
        format_args!("there is no function {name:?}"),
    )
}

fn damaged(name: &str, view: &dyn ServerView) -> Option<AdminResponse> {
    let (_, error) = view
        .store()
        .damaged()
        .find(|(damaged, _)| damaged.as_str() == name)?;
    Some(response::store_error(error))
}

/// The name, unless somebody else is changing the function.
fn changeable(name: &str, view: &dyn ServerView) -> Result<FunctionName, AdminResponse> {
    let valid: FunctionName = name
        .parse()
        .map_err(|error| AdminResponse::error(400, "invalid-name", error))?;
    if view.is_draining() {
        return Err(AdminResponse::error(
            503,
            "draining",
            "the server is shutting down",
        ));
    }
    if view.is_being_deployed(name) {
        let message = format!("{name} is being deployed; try again when that has ended");
        return Err(
            AdminResponse::error(409, "being-deployed", message).with_header("Retry-After", "1")
        );
    }
    Ok(valid)
}

fn deploy(name: &str, query: &str, view: &dyn ServerView) -> Result<AdminAction, AdminResponse> {
    let invalid = |code, message: String| AdminResponse::error(400, code, message);
    let name: FunctionName = name
        .parse()
        .map_err(|error| AdminResponse::error(400, "invalid-name", error))?;
    if view.is_draining() {
        return Err(AdminResponse::error(
            503,
            "draining",
            "the server is shutting down",
        ));
    }
    let pairs = query::pairs(query).map_err(|error| invalid("invalid-query", error))?;
    let settings = pairs
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let config = FunctionConfig::from_settings(settings)
        .map_err(|error| invalid("invalid-setting", error))?;
    Ok(AdminAction::Deploy { name, config })
}

fn rollback_version(query: &str) -> Result<Option<String>, AdminResponse> {
    let mut pairs =
        query::pairs(query).map_err(|error| AdminResponse::error(400, "invalid-query", error))?;
    match (pairs.pop(), pairs.is_empty()) {
        (None, _) => Ok(None),
        (Some((key, version)), true) if key == "version" => Ok(Some(version)),
        _ => Err(AdminResponse::error(
            400,
            "invalid-query",
            "the query of a rollback is version=ID or nothing",
        )),
    }
}

/// The answer to a module that is longer than [`MODULE_BYTES_MAX`].
pub fn module_too_large() -> AdminResponse {
    let most = crate::units::format_size(MODULE_BYTES_MAX);
    AdminResponse::error(
        413,
        "module-too-large",
        format_args!("a module may have at most {most}"),
    )
}

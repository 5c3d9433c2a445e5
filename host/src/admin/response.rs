//! Answers of the admin API: JSON, and errors in one shape: `{"error":{"code":"...","message":"..."}}`.

use super::view::VersionSummary;
use crate::deploy::{Change, DeployError, Deployed, FailureKind, Finished};
use crate::store::StoreError;
use serde::Serialize;
use serde_json::json;

/// A response as the event loop sends it; the length of the body is the sender's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminResponse {
    pub status: u16,
    pub content_type: &'static str,
    /// Further header fields, `Allow` and `Retry-After`.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl AdminResponse {
    /// A JSON value.
    pub fn json(status: u16, value: &impl Serialize) -> AdminResponse {
        let mut body = serde_json::to_vec_pretty(value).expect("responses are plain data");
        body.push(b'\n');
        AdminResponse {
            status,
            content_type: "application/json",
            headers: Vec::new(),
            body,
        }
    }

    /// An error: `code` is for programs, `message` for people.
    pub fn error(status: u16, code: &str, message: impl std::fmt::Display) -> AdminResponse {
        AdminResponse::json(
            status,
            &json!({ "error": { "code": code, "message": message.to_string() } }),
        )
    }

    pub(super) fn with_header(
        mut self,
        name: &'static str,
        value: impl Into<String>,
    ) -> AdminResponse {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn empty(status: u16) -> AdminResponse {
        AdminResponse {
            status,
            content_type: "application/json",
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

/// The answer to a deployment that has ended.
pub fn deployed(finished: &Finished) -> AdminResponse {
    match &finished.result {
        Ok(Deployed { version, change }) => {
            let (status, word) = match change {
                Change::Created => (201, "created"),
                Change::Updated => (200, "updated"),
                Change::Unchanged => (200, "unchanged"),
                Change::Rebuilt => (200, "rebuilt"),
            };
            AdminResponse::json(status, &VersionSummary::new(version, word))
        }
        Err(error) => deploy_error(error),
    }
}

/// The answer to a deployment that failed. 422: the module is at fault; 507: no room; 500: the server is at fault.
pub fn deploy_error(error: &DeployError) -> AdminResponse {
    let status = match error {
        DeployError::Refused(failure) => match failure.kind {
            FailureKind::DiskFull => 507,
            FailureKind::Internal => 500,
            _ => 422,
        },
        DeployError::Crashed { .. } | DeployError::TimedOut { .. } => 422,
        DeployError::Store(error) => return store_error(error),
        DeployError::Worker(_) => 500,
    };
    AdminResponse::error(status, error.code(), error)
}

/// The answer to a change of the store that failed.
pub fn store_error(error: &StoreError) -> AdminResponse {
    let (status, code) = match error {
        StoreError::NoFunction { .. } => (404, "no-such-function"),
        StoreError::NoVersion { .. } => (404, "no-such-version"),
        error if error.is_full() => (507, "disk-full"),
        _ => (500, "internal"),
    };
    AdminResponse::error(status, code, error)
}

/// The answer to a removal.
pub fn removed(result: &Result<(), StoreError>) -> AdminResponse {
    match result {
        Ok(()) => AdminResponse::empty(204),
        Err(error) => store_error(error),
    }
}

/// The answer to a rollback.
pub fn rolled_back(result: Result<&crate::store::Version, StoreError>) -> AdminResponse {
    match result {
        Ok(version) => AdminResponse::json(200, &VersionSummary::new(version, "updated")),
        Err(error) => store_error(&error),
    }
}

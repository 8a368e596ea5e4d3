//! What Envoy is answered: a `CheckResponse`, framed as the one message of a call.

use std::fmt::Display;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::protobuf::Writer;
use crate::ext_authz::verdict::Passed;
use crate::request_log::{Decided, OK, RequestId};
use crate::uid::Uid;

/// A header that stands beside others of its name (`APPEND_IF_EXISTS_OR_ADD`).
const APPEND: u64 = 0;
/// A header that replaces every other of its name (`OVERWRITE_IF_EXISTS_OR_ADD`).
const OVERWRITE: u64 = 2;

/// Room for all but very long answers.
const TYPICAL_BYTES: usize = 1500;

/// The answer that lets a request pass.
pub(in crate::ext_authz) fn ok(passed: &Passed<'_>, id: &RequestId) -> Bytes {
    framed(|response| {
        response.message(1, |status| status.number(1, rpc_code::OK));
        response.message(3, |ok| {
            for (name, value) in &passed.set {
                header(ok, 2, name, value, OVERWRITE);
            }
            for name in &passed.remove {
                ok.text(5, name.as_bytes());
            }
            // What the client is told beside what the upstream answers: what is left of the limits.
            let mut beside = HeaderMap::new();
            passed.permit.quotas().describe(&mut beside);
            for (name, value) in &beside {
                header(ok, 6, name, value, APPEND);
            }
        });
        metadata(response, Decided::yes(&passed.permit), OK, id);
    })
}

/// The answer that turns a request away with this response. `told` is what access logs and later filters may want to know.
pub(in crate::ext_authz) fn denied(
    response: &Response<Bytes>,
    for_grpc: bool,
    message: &str,
    told: Option<(Decided<'_>, &str, &RequestId)>,
) -> Bytes {
    let code = response.status();
    framed(|answer| {
        answer.message(1, |status| {
            status.number(1, rpc_code::of(code));
            status.text(2, message.as_bytes());
        });
        answer.message(2, |denied| {
            denied.message(1, |status| status.number(1, code.as_u16().into()));
            for (name, value) in response.headers() {
                if !for_grpc || *name != CONTENT_TYPE {
                    header(denied, 2, name, value, OVERWRITE);
                }
            }
            if for_grpc {
                // Envoy makes the status of an RPC of it, and puts this where its message goes.
                denied.text(3, message.as_bytes());
            } else {
                denied.text(3, String::from_utf8_lossy(response.body()).as_bytes());
            }
        });
        if let Some((decided, code, id)) = told {
            metadata(answer, decided, code, id);
        }
    })
}

/// A header for every version of Envoy: up to 1.36 `append` alone decides, later `append_action`.
fn header(to: &mut Writer, field: u8, name: &HeaderName, value: &HeaderValue, action: u64) {
    to.message(field, |option| {
        option.message(1, |header| {
            header.text(1, name.as_str().as_bytes());
            header.text(2, String::from_utf8_lossy(value.as_bytes()).as_bytes());
        });
        option.message(2, |append| append.number(1, (action == APPEND).into()));
        option.number(3, action);
    });
}

/// What access logs and later filters may want to know.
fn metadata(response: &mut Writer, decided: Decided<'_>, code: &str, id: &RequestId) {
    response.message(4, |metadata| {
        text(metadata, "request_id", &id.as_str());
        text(metadata, "decision", &decided.decision);
        text(metadata, "code", &code);
        if let Some(route) = decided.route {
            text(metadata, "route", &route.name());
        }
        if let Some(asked) = decided.asked {
            text(metadata, "principal", &Uid(&asked.principal));
            member(metadata, "policies", |value| {
                value.message(6, |list| {
                    for policy in &*asked.answer.determining_policies {
                        list.message(1, |value| value.text(3, policy.as_bytes()));
                    }
                });
            });
            text(metadata, "revision", &&*asked.answer.revision);
        }
    });
}

/// A member of a `Struct` that is text.
fn text(of: &mut Writer, name: &str, text: &impl Display) {
    member(of, name, |value| value.shown(3, text));
}

/// A member of a `Struct`.
fn member(of: &mut Writer, name: &str, value: impl FnOnce(&mut Writer)) {
    of.message(1, |entry| {
        entry.text(1, name.as_bytes());
        entry.message(2, value);
    });
}

/// The one message of a call: a flag, its length in four bytes, and itself.
fn framed(write: impl FnOnce(&mut Writer)) -> Bytes {
    let mut message = Writer::framed(TYPICAL_BYTES);
    write(&mut message);
    message.into_frame().into()
}

/// `google.rpc.Code`.
mod rpc_code {
    use super::StatusCode;

    pub(super) const OK: u64 = 0;

    /// The code of a denial. Never [`OK`], which would be an allow.
    pub(super) fn of(status: StatusCode) -> u64 {
        match status.as_u16() {
            400 => 3,
            401 => 16,
            404 => 5,
            429 => 8,
            501 => 12,
            503 => 14,
            _ => 7,
        }
    }
}

#[cfg(test)]
mod tests;

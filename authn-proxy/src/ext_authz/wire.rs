//! Envoy's messages: what a `CheckRequest` says of a request, and the `CheckResponse`s.
//!
//! Traps of the protocol that this file knows: a response without a status is an allow; an option that says neither `append` nor
//! `append_action` appends on new Envoys and overwrites on old ones; and Envoy removes headers after it has set them.

use std::net::IpAddr;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue as EnvoyHeader, HeaderValueOption, address, header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{BoolValue, ListValue, Struct, Value};
use envoy_types::pb::google::rpc;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::verdict::Passed;
use crate::path::{AmbiguousPath, CanonicalPath};
use crate::rejection::{Reason, Rejection};
use crate::request_log::RequestId;

/// The head of the request that Envoy asks about.
///
/// # Errors
/// Whatever cannot be a request: a method, a path or a header that is none.
pub(super) fn head(http: &HttpRequest) -> Result<Parts, Rejection> {
    let invalid = |cause: &'static str| Rejection::new(Reason::InvalidRequest).because(cause);
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|_| invalid("the method"))?;
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(Rejection::new(Reason::MethodNotAllowed).because("the method"));
    }
    // Judged as text, because a library would drop a fragment.
    let canonical = CanonicalPath::parse(&http.path)?;
    if canonical.path_and_query().as_str() != http.path {
        return Err(Rejection::new(Reason::AmbiguousPath(AmbiguousPath {
            reason: "a path that is not in its canonical form",
        })));
    }
    let target: PathAndQuery = canonical.path_and_query().clone();
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = method;
    head.uri = Uri::from(target);
    head.headers = headers(http).ok_or_else(|| invalid("a header"))?;
    Ok(head)
}

/// The headers, in whichever of the two encodings they came. Pseudo-headers stand in fields of their own.
fn headers(http: &HttpRequest) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &[u8]| {
        if name.starts_with(':') {
            return Some(());
        }
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(value).ok()?;
        headers.try_append(name, value).ok().map(drop)
    };
    for (name, value) in &http.headers {
        add(name, value.as_bytes())?;
    }
    for header in http.header_map.iter().flat_map(|map| &map.headers) {
        let value = if header.raw_value.is_empty() {
            header.value.as_bytes()
        } else {
            &header.raw_value
        };
        add(&header.key, value)?;
    }
    Some(headers)
}

/// The client's address, as Envoy determined it.
pub(super) fn client(attributes: &AttributeContext) -> Option<IpAddr> {
    let source: &Peer = attributes.source.as_ref()?;
    match source.address.as_ref()?.address.as_ref()? {
        address::Address::SocketAddress(socket) => {
            Some(socket.address.parse::<IpAddr>().ok()?.to_canonical())
        }
        _ => None,
    }
}

/// The answer that lets a request pass.
pub(super) fn ok(passed: &Passed, id: &RequestId) -> CheckResponse {
    let ok = OkHttpResponse {
        headers: passed
            .set
            .iter()
            .map(|(name, value)| overwrite(name, value))
            .collect(),
        headers_to_remove: passed.remove.clone(),
        response_headers_to_add: beside(passed),
        ..OkHttpResponse::default()
    };
    CheckResponse {
        status: Some(status(rpc_code::OK, "")),
        dynamic_metadata: Some(metadata(passed, id)),
        http_response: Some(HttpResponse::OkResponse(ok)),
    }
}

/// What the client is told beside what the upstream answers: what is left of the limits.
fn beside(passed: &Passed) -> Vec<HeaderValueOption> {
    let mut headers = HeaderMap::new();
    passed.permit.quotas().describe(&mut headers);
    headers
        .iter()
        .map(|(name, value)| append(name, value))
        .collect()
}

/// The answer that turns a request away with this response.
pub(super) fn denied(response: &Response<Bytes>, for_grpc: bool, message: &str) -> CheckResponse {
    let code = response.status();
    let headers = response.headers().iter();
    let body = if for_grpc {
        // Envoy makes the status of an RPC of it, and puts this where its message goes.
        message.to_owned()
    } else {
        String::from_utf8_lossy(response.body()).into_owned()
    };
    CheckResponse {
        status: Some(status(rpc_code::of(code), message)),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: i32::from(code.as_u16()),
            }),
            headers: headers
                .filter(|(name, _)| !for_grpc || **name != CONTENT_TYPE)
                .map(|(name, value)| overwrite(name, value))
                .collect(),
            body,
        })),
    }
}

/// A header that replaces every other of its name.
fn overwrite(name: &HeaderName, value: &HeaderValue) -> HeaderValueOption {
    option(
        name,
        value,
        false,
        HeaderAppendAction::OverwriteIfExistsOrAdd,
    )
}

/// A header that stands beside others of its name.
fn append(name: &HeaderName, value: &HeaderValue) -> HeaderValueOption {
    option(name, value, true, HeaderAppendAction::AppendIfExistsOrAdd)
}

/// A header for every version of Envoy.
#[expect(deprecated, reason = "up to 1.36 `append` alone decides")]
fn option(
    name: &HeaderName,
    value: &HeaderValue,
    appended: bool,
    action: HeaderAppendAction,
) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(EnvoyHeader {
            key: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
            raw_value: Vec::new(),
        }),
        append: Some(BoolValue { value: appended }),
        append_action: action.into(),
        keep_empty_value: false,
    }
}

/// What access logs and later filters may want to know.
fn metadata(passed: &Passed, id: &RequestId) -> Struct {
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let mut fields = vec![
        ("request_id", text(id.as_str())),
        ("route", text(passed.permit.route().name())),
    ];
    match passed.permit.decision() {
        None => fields.push(("decision", text("PUBLIC"))),
        Some(asked) => {
            let policies = asked.answer.determining_policies.iter();
            let policies = ListValue {
                values: policies.map(|id| text(id)).collect(),
            };
            fields.extend([
                ("decision", text(asked.answer.decision_name())),
                ("principal", text(&asked.principal.to_string())),
                (
                    "policies",
                    Value {
                        kind: Some(Kind::ListValue(policies)),
                    },
                ),
                ("revision", text(&asked.answer.revision)),
            ]);
        }
    }
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

fn status(code: i32, message: &str) -> rpc::Status {
    rpc::Status {
        code,
        message: message.to_owned(),
        details: Vec::new(),
    }
}

/// `google.rpc.Code`.
mod rpc_code {
    use super::StatusCode;

    pub(super) const OK: i32 = 0;

    /// The code of a denial. Never [`OK`], which would be an allow.
    pub(super) fn of(status: StatusCode) -> i32 {
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

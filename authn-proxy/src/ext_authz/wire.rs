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

use identity::VouchedClaims;

use super::verdict::Passed;
use crate::config::JwtAuthnConfig;
use crate::path::{AmbiguousPath, CanonicalPath};
use crate::rejection::{Reason, Rejection};
use crate::request_log::{Decided, OK, RequestId};
use crate::uid::Uid;

/// The context extension that names a set of routes.
const ROUTES: &str = "portcullis.routes";

/// Up to here every whole number is its own `double`, which is all that a message has for numbers (2^53).
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

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

/// The request that a check is about.
pub(super) fn http(attributes: &AttributeContext) -> Option<&HttpRequest> {
    attributes.request.as_ref()?.http.as_ref()
}

/// The claims that Envoy's `jwt_authn` filter left: one member of one namespace, whatever else is there.
pub(super) fn claims(
    attributes: &AttributeContext,
    filter: &JwtAuthnConfig,
) -> Option<VouchedClaims> {
    let metadata = &attributes.metadata_context.as_ref()?.filter_metadata;
    let claims = metadata
        .get(&filter.namespace)?
        .fields
        .get(&filter.payload_key)?;
    Some(VouchedClaims::new(
        filter.issuer.as_str().into(),
        &json(claims),
    ))
}

/// The name in the client's certificate, which Envoy takes from the URI in it first. What is not there to be believed on
/// Envoy's word is never looked at: the certificate itself (`source.certificate`), the service that a client says it is
/// (`source.service`), and `x-forwarded-client-cert`.
pub(super) fn certificate(attributes: &AttributeContext) -> Option<&str> {
    let principal = attributes.source.as_ref()?.principal.as_str();
    (!principal.is_empty()).then_some(principal)
}

/// The set of routes that the configuration of Envoy's route names.
pub(super) fn route_set(attributes: &AttributeContext) -> Option<&str> {
    let name = attributes.context_extensions.get(ROUTES)?;
    Some(name.as_str())
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
        dynamic_metadata: Some(metadata(Decided::yes(&passed.permit), OK, id)),
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
pub(super) fn metadata(decided: Decided<'_>, code: &str, id: &RequestId) -> Struct {
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let mut fields = vec![
        ("request_id", text(id.as_str())),
        ("decision", text(decided.decision)),
        ("code", text(code)),
    ];
    fields.extend(decided.route.map(|route| ("route", text(route.name()))));
    if let Some(asked) = decided.asked {
        let policies = asked.answer.determining_policies.iter();
        let policies = ListValue {
            values: policies.map(|id| text(id)).collect(),
        };
        let policies = Value {
            kind: Some(Kind::ListValue(policies)),
        };
        fields.extend([
            ("principal", text(&Uid(&asked.principal).to_string())),
            ("policies", policies),
            ("revision", text(&asked.answer.revision)),
        ]);
    }
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

/// A value of Envoy's metadata as JSON. Decoding has bounded its depth.
fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(truth)) => (*truth).into(),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::NumberValue(number)) => whole(*number).map_or((*number).into(), Into::into),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(members)) => {
            let members = members.fields.iter();
            members
                .map(|(name, value)| (name.clone(), json(value)))
                .collect()
        }
    }
}

/// The whole number that a claim was, where it can be told.
#[expect(clippy::cast_possible_truncation, reason = "bounded, and whole")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < MAX_WHOLE).then_some(number as i64)
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

#[cfg(test)]
mod tests;

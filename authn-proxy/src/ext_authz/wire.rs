//! Envoy's messages: what a `CheckRequest` says of a request, and the `CheckResponse`s.
//!
//! Traps of the protocol that this file knows: a response without a status is an allow; an option that says neither `append` nor
//! `append_action` appends on new Envoys and overwrites on old ones; and Envoy removes headers after it has set them.

use std::net::IpAddr;

use envoy_types::pb::google::protobuf::Value;
use envoy_types::pb::google::protobuf::value::Kind;
use identity::VouchedClaims;

use crate::config::JwtAuthnConfig;

mod answer;
mod protobuf;
mod question;

pub(super) use answer::{denied, ok};
pub(super) use question::Question;

use protobuf::Malformed;

/// Up to here every whole number is its own `double`, which is all that a message has for numbers (2^53).
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// The claims that Envoy's `jwt_authn` filter left: one member of one namespace, whatever else is there.
pub(super) fn claims(
    question: &Question<'_>,
    filter: &JwtAuthnConfig,
) -> Result<Option<VouchedClaims>, Malformed> {
    let metadata = question.metadata()?.filter_metadata;
    let members = metadata.get(&filter.namespace);
    let claims = members.and_then(|members| members.fields.get(&filter.payload_key));
    Ok(claims.map(|claims| VouchedClaims::new(filter.issuer.as_str().into(), &json(claims))))
}

/// The name in the client's certificate, which Envoy takes from the URI in it first. What is not there to be believed on
/// Envoy's word is never looked at: the certificate itself (`source.certificate`), the service that a client says it is
/// (`source.service`), and `x-forwarded-client-cert`.
pub(super) fn certificate<'a>(question: &Question<'a>) -> Option<&'a str> {
    (!question.principal.is_empty()).then_some(question.principal)
}

/// The set of routes that the configuration of Envoy's route names.
pub(super) fn route_set<'a>(question: &Question<'a>) -> Option<&'a str> {
    question.route_set
}

/// The client's address, as Envoy determined it.
pub(super) fn client(question: &Question<'_>) -> Option<IpAddr> {
    Some(question.address.parse::<IpAddr>().ok()?.to_canonical())
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

#[cfg(test)]
mod tests;

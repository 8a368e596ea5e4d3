//! What holds for every input.

use proptest::prelude::*;
use serde_json::Map;

use super::*;

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// JSON values small enough to stay below the token's size limit.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z]{1,4}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_never_verifies(text in ".{0,200}") {
        prop_assert!(WORLD.verify(&text).is_err());
    }

    #[test]
    fn text_in_the_shape_of_a_token_never_verifies(
        text in "[A-Za-z0-9_-]{1,60}\\.[A-Za-z0-9_-]{1,200}\\.[A-Za-z0-9_-]{86}"
    ) {
        prop_assert!(WORLD.verify(&text).is_err());
    }

    #[test]
    fn arbitrary_bytes_in_signed_parts_never_verify(
        header in prop::collection::vec(any::<u8>(), 1..80),
        payload in prop::collection::vec(any::<u8>(), 1..300),
    ) {
        prop_assert!(WORLD.verify(&ES256.sign_segments(&header, &payload)).is_err());
    }

    #[test]
    fn an_unsigned_claim_never_verifies(name in "[a-z]{2,5}", value in value()) {
        let token = token(&claims());
        let (_, signature) = token.rsplit_once('.').unwrap();
        let mut claims = claims();
        prop_assume!(claims.get(&name) != Some(&value));
        claims[name] = value;
        let other = self::token(&claims);
        let (input, _) = other.rsplit_once('.').unwrap();
        let mixed = format!("{input}.{signature}");
        prop_assert!(WORLD.verify(&mixed).is_err());
    }

    #[test]
    fn whatever_a_required_claim_is_the_identity_is_sound(
        name in prop::sample::select(vec!["iss", "aud", "sub", "jti", "iat", "exp", "roles", "scope"]),
        value in value(),
    ) {
        let mut claims = claims();
        claims[name] = value;
        if let Ok(identity) = WORLD.verify(&token(&claims)) {
            prop_assert_eq!(&*identity.issuer_url, URL);
            prop_assert!(identity.expires_at + 5 > NOW && identity.issued_at <= NOW + 5);
            prop_assert!(!identity.subject.is_empty() && !identity.subject.contains([':', '*', '\n']));
            prop_assert!(identity.groups.iter().all(|group| !group.contains([',', '\r', '\n', '\0'])));
        }
    }

    #[test]
    fn whatever_else_the_header_says_it_chooses_nothing(name in "[a-z0-9]{1,4}", value in value()) {
        let mut header = Map::new();
        header.insert(name.clone(), value);
        let result = WORLD.verify(&FORGER.sign_jwt(header, &claims()));
        prop_assert!(result.is_err());
    }
}

/// Every one-bit change of a token is refused, wherever it is.
#[test]
fn no_bit_may_flip() {
    let token = token(&claims());
    WORLD.verify(&token).unwrap();
    for place in 0..token.len() {
        for bit in 0..7 {
            let mut bytes = token.clone().into_bytes();
            bytes[place] ^= 1 << bit;
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(WORLD.verify(&flipped).is_err(), "byte {place}, bit {bit}");
        }
    }
}

/// An independent implementation agrees that what passes here is a JWT signed by our key.
#[test]
fn jsonwebtoken_agrees_on_good_tokens() {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, jwk::Jwk};
    for (key, algorithm) in [(&*ES256, Algorithm::ES256), (&*RS256, Algorithm::RS256)] {
        let token = key.sign_jwt(Map::new(), &claims());
        WORLD.verify(&token).unwrap();
        let jwk: Jwk = serde_json::from_value(key.public_jwk()).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["cloud-app"]);
        validation.validate_exp = false;
        let decoded =
            decode::<Value>(&token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).unwrap();
        assert_eq!(decoded.claims, claims());
    }
}

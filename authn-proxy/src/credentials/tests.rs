use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn check(lines: &[&[u8]], expected: Result<&str, CredentialFault>) {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(line).unwrap());
    }
    assert_eq!(bearer(&headers), expected, "{lines:?}");
}

#[test]
fn one_bearer_token_is_read() {
    for line in [
        "Bearer abc.def.ghi",
        "bearer abc.def.ghi",
        "BEARER abc.def.ghi",
        "Bearer    abc.def.ghi",
        "Bearer abc.def.ghi ",
    ] {
        check(&[line.as_bytes()], Ok("abc.def.ghi"));
    }
    // What only an issuer can judge is passed on.
    check(&[b"Bearer opaque"], Ok("opaque"));
    check(&[b"Bearer a.b.c.d.e"], Ok("a.b.c.d.e"));
    check(&[b"Bearer a+b/c=="], Ok("a+b/c=="));
}

#[test]
fn other_schemes_are_no_credentials_here() {
    for line in [
        "Basic YTpi",
        "DPoP abc.def.ghi",
        "Digest a=b, c=d",
        "Bearerabc",
        "",
        "Negotiate",
    ] {
        check(&[line.as_bytes()], Err(CredentialFault::Missing));
    }
    check(&[], Err(CredentialFault::Missing));
}

#[test]
fn tokens_elsewhere_are_not_looked_at() {
    let mut headers = HeaderMap::new();
    headers.insert(
        "proxy-authorization",
        HeaderValue::from_static("Bearer abc"),
    );
    headers.insert("cookie", HeaderValue::from_static("access_token=abc"));
    assert_eq!(bearer(&headers), Err(CredentialFault::Missing));
}

#[test]
fn empty_or_impossible_tokens_are_bad_tokens() {
    for line in ["Bearer", "Bearer ", "Bearer      "] {
        check(
            &[line.as_bytes()],
            Err(CredentialFault::NotAToken("it is empty")),
        );
    }
    for line in [
        "Bearer {\"payload\":\"a\",\"signatures\":[1, 2]}",
        "Bearer a.b?.c",
        "Bearer \"a.b.c\"",
    ] {
        check(
            &[line.as_bytes()],
            Err(CredentialFault::NotAToken(
                "a character outside the alphabet of tokens",
            )),
        );
    }
}

#[test]
fn doubtful_credentials_are_malformed() {
    let several = CredentialFault::Malformed("several `authorization` headers");
    check(&[b"Bearer a", b"Bearer a"], Err(several));
    check(&[b"Bearer a", b"Bearer b"], Err(several));
    check(&[b"Bearer a", b"Basic YTpi"], Err(several));

    let second = CredentialFault::Malformed("more than one credential");
    check(&[b"Bearer a, Bearer b"], Err(second));
    check(&[b"Bearer a,b"], Err(second));
    check(&[b"Bearer a b"], Err(second));
    check(&[b"Bearer a,"], Err(second));

    let odd = CredentialFault::Malformed("a character outside printable ASCII");
    check(&[b"Bearer\tabc"], Err(odd));
    check(&[b"Bearer \tabc"], Err(odd));
    check(&[b"Bearer abc\t"], Err(odd));
    check(&["Bearer abcé".as_bytes()], Err(odd));
    check(&[b"Bearer abc\xff"], Err(odd));
    check(&[b"Basic \xff"], Err(odd));
}

proptest! {
    #[test]
    fn a_token_is_one_word_of_the_line(line in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value);
            if let Ok(token) = bearer(&headers) {
                prop_assert!(!token.is_empty() && token.bytes().all(is_token68));
            }
        }
    }
}

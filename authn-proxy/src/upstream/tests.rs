use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::framing::{FramingFault, check};

/// A status, the headers beside it, and what is said of them.
type Case = (
    u16,
    &'static [(&'static str, &'static str)],
    Result<(), FramingFault>,
);

#[test]
fn responses_that_cannot_be_framed_are_known() {
    use FramingFault::*;
    let cases: &[Case] = &[
        (200, &[], Ok(())),
        (200, &[("content-length", "5")], Ok(())),
        (200, &[("transfer-encoding", "Chunked")], Ok(())),
        (204, &[], Ok(())),
        (204, &[("content-length", "0")], Ok(())),
        (304, &[("content-length", "5")], Ok(())),
        (101, &[], Err(Switched)),
        (
            200,
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            Err(BothLengths),
        ),
        (204, &[("content-length", "5")], Err(BodyWithoutPlace)),
        (
            204,
            &[("transfer-encoding", "chunked")],
            Err(BodyWithoutPlace),
        ),
        (205, &[("content-length", "5")], Err(BodyWithoutPlace)),
        (
            200,
            &[("content-length", "5"), ("content-length", "5")],
            Err(BadLength),
        ),
        (200, &[("content-length", "5, 5")], Err(BadLength)),
        (200, &[("content-length", "+5")], Err(BadLength)),
        (200, &[("content-length", "")], Err(BadLength)),
        (
            200,
            &[("content-length", "18446744073709551616")],
            Err(BadLength),
        ),
        (304, &[("content-length", "x")], Err(BadLength)),
        (
            200,
            &[("transfer-encoding", "gzip, chunked")],
            Err(BadEncoding),
        ),
        (200, &[("transfer-encoding", "gzip")], Err(BadEncoding)),
        (
            200,
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            Err(BadEncoding),
        ),
    ];
    for (status, lines, expected) in cases {
        let headers: HeaderMap = lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        let status = StatusCode::from_u16(*status).unwrap();
        assert_eq!(
            check(status, &headers, None),
            *expected,
            "{status} {lines:?}"
        );
    }
}

//! Just enough DER (X.690) to take an RSA private key apart: aws-lc hands out the key as PKCS#8
//! and nothing smaller.

/// The private integers of `RSAPrivateKey` (RFC 8017, A.1.2), big-endian without leading zeros.
pub(crate) struct RsaPrivateNumbers<'a> {
    pub(crate) d: &'a [u8],
    pub(crate) p: &'a [u8],
    pub(crate) q: &'a [u8],
    pub(crate) dp: &'a [u8],
    pub(crate) dq: &'a [u8],
    pub(crate) qi: &'a [u8],
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// Reads the numbers out of an unencrypted PKCS#8 `PrivateKeyInfo` (RFC 5208) that holds RSA.
pub(crate) fn rsa_private_numbers(pkcs8: &[u8]) -> Option<RsaPrivateNumbers<'_>> {
    let mut info = pkcs8;
    let mut info = element(&mut info, SEQUENCE)?;
    element(&mut info, INTEGER)?;
    element(&mut info, SEQUENCE)?;
    let mut key = element(&mut info, OCTET_STRING)?;
    let mut key = element(&mut key, SEQUENCE)?;
    // The version, then the public half.
    for _ in ["version", "n", "e"] {
        integer(&mut key)?;
    }
    Some(RsaPrivateNumbers {
        d: integer(&mut key)?,
        p: integer(&mut key)?,
        q: integer(&mut key)?,
        dp: integer(&mut key)?,
        dq: integer(&mut key)?,
        qi: integer(&mut key)?,
    })
}

/// Takes one element with this tag off the front of `input` and returns its content.
fn element<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&found, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        rest = after;
        // Four length bytes are far more than any key needs.
        (digits.len() <= 4).then(|| {
            digits
                .iter()
                .fold(0, |length, &digit| (length << 8) | usize::from(digit))
        })?
    };
    let (content, after) = rest.split_at_checked(length)?;
    *input = after;
    (found == tag).then_some(content)
}

/// A non-negative integer without the zero byte that keeps its sign bit clear.
fn integer<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let bytes = element(input, INTEGER)?;
    Some(
        bytes
            .strip_prefix(&[0])
            .filter(|rest| !rest.is_empty())
            .unwrap_or(bytes),
    )
}

//! Keys as JSON Web Keys: RFC 7517 for the form, RFC 7518 §6 for the members.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::der::rsa_private_numbers;
use crate::key::{Error, Pair, SigningKey};

impl SigningKey {
    /// The public key with `kid`, `alg` and `use: sig`, as it belongs in a JWKS.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = self.public_members();
        jwk.insert("kid".to_owned(), json!(self.kid));
        jwk.insert("alg".to_owned(), json!(self.algorithm().name()));
        jwk.insert("use".to_owned(), json!("sig"));
        Value::Object(jwk)
    }

    /// The JWK thumbprint (RFC 7638, SHA-256, base64url): a key id that nobody has to invent.
    pub fn thumbprint(&self) -> String {
        let members = Value::Object(self.public_members()).to_string();
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
    }

    /// The private key as one JWK. It is a secret: write it only where its owner alone can read.
    pub fn to_jwk_json(&self) -> Result<String, Error> {
        let mut jwk = match self.public_jwk() {
            Value::Object(members) => members,
            _ => return Err(Error::Crypto),
        };
        match &self.pair {
            Pair::Ec(pair) => {
                let d: EcPrivateKeyBin<'_> = pair
                    .private_key()
                    .as_be_bytes()
                    .map_err(|_| Error::Crypto)?;
                jwk.insert("d".to_owned(), number(d.as_ref()));
            }
            Pair::Rsa(pair) => {
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::Crypto)?;
                let key = rsa_private_numbers(pkcs8.as_ref()).ok_or(Error::Crypto)?;
                let members = [
                    ("d", key.d),
                    ("p", key.p),
                    ("q", key.q),
                    ("dp", key.dp),
                    ("dq", key.dq),
                    ("qi", key.qi),
                ];
                for (name, bytes) in members {
                    jwk.insert(name.to_owned(), number(bytes));
                }
            }
        }
        Ok(Value::Object(jwk).to_string())
    }

    /// Reads a private JWK: P-256, or RSA of 2048 bits or more with its two primes and the numbers
    /// of the Chinese remainder theorem. `kid` must be there.
    pub fn from_jwk_json(text: &str) -> Result<Self, Error> {
        // The parser's own message could quote the key.
        let jwk: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| Error::NotAJwk("not a JSON object".into()))?;
        let kid = string(&jwk, "kid")?.to_owned();
        let pair = match string(&jwk, "kty")? {
            "EC" => ec(&jwk)?,
            "RSA" => rsa(&jwk)?,
            other => return Err(Error::NotAJwk(format!("unknown key type `{other}`"))),
        };
        let key = Self { kid, pair };
        match jwk.get("alg").and_then(Value::as_str) {
            Some(alg) if alg != key.algorithm().name() => Err(Error::NotAJwk(format!(
                "`alg` is `{alg}`, which this key type cannot sign"
            ))),
            _ => Ok(key),
        }
    }

    /// The members that identify the key, in the lexical order that RFC 7638 hashes.
    fn public_members(&self) -> Map<String, Value> {
        let mut jwk = Map::new();
        match &self.pair {
            Pair::Ec(pair) => {
                // Uncompressed point: 0x04, then two coordinates of 32 bytes.
                let point = pair.public_key().as_ref();
                let (x, y) = point
                    .get(1..)
                    .and_then(|xy| xy.split_at_checked(32))
                    .unwrap_or_default();
                jwk.insert("crv".to_owned(), json!("P-256"));
                jwk.insert("kty".to_owned(), json!("EC"));
                jwk.insert("x".to_owned(), number(x));
                jwk.insert("y".to_owned(), number(y));
            }
            Pair::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                jwk.insert("e".to_owned(), number(&public.e));
                jwk.insert("kty".to_owned(), json!("RSA"));
                jwk.insert("n".to_owned(), number(&public.n));
            }
        }
        jwk
    }
}

fn ec(jwk: &Map<String, Value>) -> Result<Pair, Error> {
    if string(jwk, "crv")? != "P-256" {
        return Err(Error::NotAJwk("the only known curve is P-256".into()));
    }
    let mut point = vec![4];
    point.extend(bytes(jwk, "x")?);
    point.extend(bytes(jwk, "y")?);
    let d = bytes(jwk, "d")?;
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &d, &point)
        .map(Pair::Ec)
        .map_err(|_| Error::Inconsistent)
}

fn rsa(jwk: &Map<String, Value>) -> Result<Pair, Error> {
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: bytes(jwk, "n")?,
            e: bytes(jwk, "e")?,
        },
        d: bytes(jwk, "d")?,
        p: bytes(jwk, "p")?,
        q: bytes(jwk, "q")?,
        dP: bytes(jwk, "dp")?,
        dQ: bytes(jwk, "dq")?,
        qInv: bytes(jwk, "qi")?,
    };
    RsaKeyPair::from_components(&components)
        .map(Pair::Rsa)
        .map_err(|_| Error::Inconsistent)
}

fn string<'a>(jwk: &'a Map<String, Value>, member: &str) -> Result<&'a str, Error> {
    jwk.get(member)
        .and_then(Value::as_str)
        .ok_or_else(|| Error::NotAJwk(format!("`{member}` is missing or no string")))
}

fn bytes(jwk: &Map<String, Value>, member: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD
        .decode(string(jwk, member)?)
        .map_err(|_| Error::NotAJwk(format!("`{member}` is no base64url")))
}

fn number(bytes: &[u8]) -> Value {
    json!(URL_SAFE_NO_PAD.encode(bytes))
}

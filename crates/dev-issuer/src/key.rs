//! A private key and the tokens that it signs.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

/// A signature algorithm of RFC 7518 that the product verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256, signatures as `r || s`.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256; keys are made with 2048 bits.
    Rs256,
}

/// A private key with its key id. `Debug` shows neither.
pub struct SigningKey {
    pub(crate) kid: String,
    pub(crate) pair: Pair,
}

/// The two kinds of key pair, as aws-lc holds them.
pub(crate) enum Pair {
    /// P-256.
    Ec(EcdsaKeyPair),
    /// RSA of 2048 bits or more.
    Rsa(RsaKeyPair),
}

/// Why a key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The algorithm's name is none of ours.
    #[error("unknown algorithm `{0}`: ES256 and RS256 are known")]
    UnknownAlgorithm(String),
    /// The kind of token is none of ours.
    #[error("unknown kind `{0}`: first_party, cognito, cognito-id and service are known")]
    UnknownShape(String),
    /// The text is not the JSON of a private JWK.
    #[error("not a private JWK: {0}")]
    NotAJwk(String),
    /// The numbers do not form a valid key.
    #[error("the key's numbers do not belong together")]
    Inconsistent,
    /// aws-lc could not make or encode the key.
    #[error("the crypto library refused to make the key")]
    Crypto,
}

// === impl Algorithm ===

impl Algorithm {
    /// The `alg` value of RFC 7518.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "ES256" => Ok(Self::Es256),
            "RS256" => Ok(Self::Rs256),
            other => Err(Error::UnknownAlgorithm(other.to_owned())),
        }
    }
}

// === impl SigningKey ===

impl SigningKey {
    /// Makes a fresh key. RSA takes a noticeable part of a second.
    pub fn generate(algorithm: Algorithm, kid: &str) -> Result<Self, Error> {
        let pair = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .map(Pair::Ec)
                .map_err(|_| Error::Crypto)?,
            Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048)
                .map(Pair::Rsa)
                .map_err(|_| Error::Crypto)?,
        };
        Ok(Self {
            kid: kid.to_owned(),
            pair,
        })
    }

    /// The same key under another key id.
    #[must_use]
    pub fn with_kid(mut self, kid: &str) -> Self {
        kid.clone_into(&mut self.kid);
        self
    }

    /// The key id that tokens and the JWKS carry.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm that this key signs with.
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Ec(_) => Algorithm::Es256,
            Pair::Rsa(_) => Algorithm::Rs256,
        }
    }

    /// Signs a compact JWT (RFC 7519). The header is `alg`, `typ: JWT` and `kid`, over which
    /// `header_overrides` are laid: any member may be set (`crit`, another `alg`), and one set to
    /// null is left out. The signature is always made with this key's own algorithm.
    pub fn sign_jwt(&self, header_overrides: Map<String, Value>, claims: &Value) -> String {
        let mut header = Map::new();
        header.insert("alg".to_owned(), json!(self.algorithm().name()));
        header.insert("typ".to_owned(), json!("JWT"));
        header.insert("kid".to_owned(), json!(self.kid));
        header.extend(header_overrides);
        header.retain(|_, value| !value.is_null());
        let header = Value::Object(header).to_string();
        self.sign_segments(header.as_bytes(), claims.to_string().as_bytes())
    }

    /// Signs a compact JWS (RFC 7515) over exactly these header and payload bytes, which need not
    /// be JSON: for tokens that no serializer would write.
    pub fn sign_segments(&self, header: &[u8], payload: &[u8]) -> String {
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.sign_raw(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// The signature over any bytes, in the form that JOSE carries. It is empty, and so verifies
    /// nowhere, if the machine has no randomness to sign with.
    pub fn sign_raw(&self, signing_input: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair
                .sign(&random, signing_input)
                .map(|signature| signature.as_ref().to_vec())
                .unwrap_or_default(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                match pair.sign(&RSA_PKCS1_SHA256, &random, signing_input, &mut signature) {
                    Ok(()) => signature,
                    Err(_) => Vec::new(),
                }
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm())
    }
}

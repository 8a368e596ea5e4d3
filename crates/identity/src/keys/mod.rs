//! Issuers' public keys: which may be used, where they come from, when they are fetched.

mod allowance;
mod jwk;
mod refresh;
mod source;
mod unknown;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc;

use crate::config::Algorithm;

pub(crate) use jwk::{Keys, SetError, parse_set};
pub(crate) use refresh::{KeyStore, Lookup};
pub(crate) use source::Source;

/// A public key, known to be sound, bound to the one algorithm that it verifies.
#[derive(Debug)]
pub(crate) struct Key {
    algorithm: Algorithm,
    decoding: DecodingKey,
    /// What makes it this key and no other.
    material: Vec<u8>,
}

impl Key {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the signature, in the form that JOSE carries, is this key's over these bytes.
    pub(crate) fn verify(&self, signing_input: &[u8], signature: &Vec<u8>) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        };
        // The provider by name: the library's default one panics where features disagree.
        (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&algorithm, &self.decoding)
            .is_ok_and(|verifier| verifier.verify(signing_input, signature).is_ok())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.material == other.material
    }
}

#[cfg(test)]
mod tests;

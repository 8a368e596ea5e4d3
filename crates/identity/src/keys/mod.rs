//! Issuers' public keys: which may be used, where they come from, when they are fetched.

mod allowance;
mod jwk;
mod refresh;
mod source;
mod unknown;

use aws_lc_rs::signature::ParsedPublicKey;

use crate::config::Algorithm;

pub(crate) use jwk::{Keys, SetError, parse_set};
pub(crate) use refresh::{KeyStore, Lookup};
pub(crate) use source::Source;

/// A public key, known to be sound, bound to the one algorithm that it verifies.
#[derive(Debug)]
pub(crate) struct Key {
    algorithm: Algorithm,
    /// Parsed once, for that algorithm and no other: to take a point apart costs a fifth of a verification.
    public: ParsedPublicKey,
}

impl Key {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the signature, in the form that JOSE carries, is this key's over these bytes.
    pub(crate) fn verify(&self, signing_input: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(signing_input, signature).is_ok()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.public.as_ref() == other.public.as_ref()
    }
}

#[cfg(test)]
mod tests;

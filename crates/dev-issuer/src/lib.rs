//! A local issuer: fresh keys, a JWKS and signed tokens for development and tests.

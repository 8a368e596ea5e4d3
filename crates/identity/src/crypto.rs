//! The one crypto library, chosen out loud and tried before it is trusted.

use crate::jose::{Parts, Unverified};
use crate::keys::parse_set;

/// The library does not tell a good signature from a bad one: nothing may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the self-test of the crypto library failed: {0}")]
pub struct SelfTestError(&'static str);

/// Makes aws-lc the process's TLS provider and tries it out with [`self_test`]. Call it first: with
/// two providers in the build, or none chosen, the first TLS connection would panic. Calling it
/// again does no harm.
pub fn install_crypto() -> Result<(), SelfTestError> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    self_test()
}

/// Verifies one fixed ES256 and one fixed RS256 signature through the code that verifies tokens,
/// and sees both refused under the other's payload.
pub fn self_test() -> Result<(), SelfTestError> {
    let keys = parse_set(SELF_TEST_KEYS.as_bytes()).map_err(|_| SelfTestError("keys"))?;
    let cases = [(SELF_TEST_ES256, "es256"), (SELF_TEST_RS256, "rs256")];
    for (token, kid) in cases {
        let key = keys.get(kid).ok_or(SelfTestError("keys"))?;
        let verifies = |token| {
            let parts = Parts::decode(token)?;
            Unverified::parse(&parts)?.verify(key).map(|_| ())
        };
        if verifies(token).is_err() {
            return Err(SelfTestError("a good signature was refused"));
        }
        let forged = token.replacen("eyJzdWIiOiJhbGljZSJ9", "eyJzdWIiOiJtYWxsb3J5In0", 1);
        if forged == token || verifies(&forged).is_ok() {
            return Err(SelfTestError("a forged signature was accepted"));
        }
    }
    Ok(())
}

/// Made once for this test; the private keys were thrown away.
const SELF_TEST_KEYS: &str = "\
    {\"keys\":[{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"93l2sq8CGgBZw-PGVYNC_4s5FYYCRlSyAJrEQ69\
    i7tU\",\"y\":\"O2ywuGWFJ4i1Y_PlBtbeQvVHK0Ev19fJWuVjc-J4yUw\",\"kid\":\"es256\",\"alg\":\"ES2\
    56\",\"use\":\"sig\"},{\"e\":\"AQAB\",\"kty\":\"RSA\",\"n\":\"xvRBY-ZVQNUOknrtwEXMyUm_I7cqd2\
    tIHgRATQyABtjSMCG_UoqmCq2h5_yRiedQLLzV-4_mSIGc1fsczOdORxkVfx2DznhijdhfGlo0ekBvN6qxkvst1-BAJE\
    rGuEgij08UG83alrqr5kHyRayAGdxgyfgPvugvRelRTNY3TwSFTajcW1Fxs688NJ5zz_rF2sa8XRT7KrcvuXa_f0ncbJ\
    MJ5ukrU6ALT_Tl6j6Zfwum43lLAH_wayuqw-JJR_Lu7ml1gxyLxkx0e-MJ762vE80xZN83Jl3g40n8J_60Aj_c9qTiMw\
    yhrFuCqWryQDt9gQBZ4U_GfN5Za8UsRfq6Qw\",\"kid\":\"rs256\",\"alg\":\"RS256\",\"use\":\"sig\"}]\
    }";
const SELF_TEST_ES256: &str = "\
    eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImVzMjU2In0.eyJzdWIiOiJhbGljZSJ9.XxPJFveXH_Et_NO\
    EqbLDAlHVJo72_WUytZiH4_XfJS0dz_LFtrZbeEULQExwH0wCI2Vw81Faxyj2VLcEh5Ri4Q";
const SELF_TEST_RS256: &str = "\
    eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJzMjU2In0.eyJzdWIiOiJhbGljZSJ9.coX1O_9FNLsuVFS\
    dW3MtuwIQD3DDUMK_3qzF-Qc3KnttsNmIfUG-raozpmAmaSVueX5TjJ6FkMGeWj_41mQDz70sejZPu2efvEvZ1Z16kw_\
    kAQy8g7YF9Rjw9qh8HudGYdcxF9qz8pGk2nsSnEYN48uszPz7JDGl8M1FsLGgj8VWXydIeAwdx9YW22wDirIv_0sbhhk\
    V82mf0U7QHhd6ePrkNVPPq7EY3SxuMwwiGXHAoRkGPscgugo4s7YBAatNpWESppja1-orFTjKG2hU4jkF5Mxh4js1auY\
    lduO7qzMFvuUO8SylfwSIv8r8eeL_Vv9Ql3c1Hb57VVbeMFDQ2A";

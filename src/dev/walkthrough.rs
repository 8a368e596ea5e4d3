//! What `dev` prints: where things are, and lines to paste into a second terminal.

use std::fmt;

use super::Demo;

/// The text that a newcomer sees first.
pub(crate) struct Walkthrough<'a> {
    demo: &'a Demo,
    proxy: String,
    decisions: String,
    telemetry: String,
    forged: String,
}

// === impl Walkthrough ===

impl<'a> Walkthrough<'a> {
    /// Prepares the tokens. The three addresses are those that were bound.
    ///
    /// # Errors
    /// When the key of the forged token cannot be made.
    pub(crate) fn new(
        demo: &'a Demo,
        address: impl Fn(&str) -> String,
    ) -> Result<Self, dev_issuer::Error> {
        Ok(Self {
            demo,
            proxy: address("proxy"),
            decisions: address("decisions"),
            telemetry: address("telemetry"),
            forged: demo.issuer.forged_token("root")?,
        })
    }

    fn curl(&self, f: &mut fmt::Formatter<'_>, what: &str, call: &str, token: &str) -> fmt::Result {
        let proxy = &self.proxy;
        writeln!(f, "\n# {what}")?;
        writeln!(
            f,
            "curl -i {call} -H 'Authorization: Bearer {token}'",
            call = call.replace("{}", proxy)
        )
    }
}

impl fmt::Display for Walkthrough<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = &self.demo.issuer;
        let root = issuer.token("root", "admin");
        let alice = issuer.token("alice", "end_user");
        let expired = issuer.expired_token("alice", "end_user");
        let Self {
            proxy,
            decisions,
            telemetry,
            ..
        } = self;
        writeln!(
            f,
            "Portcullis stands in front of a demo upstream on this machine.\n"
        )?;
        writeln!(
            f,
            "  proxy      http://{proxy}  (upstream http://{})",
            self.demo.upstream
        )?;
        writeln!(f, "  decisions  http://{decisions}/v1/authorize")?;
        writeln!(f, "  telemetry  http://{telemetry}/readyz, /metrics")?;
        writeln!(
            f,
            "  issuer     {url}/.well-known/jwks.json",
            url = issuer.url()
        )?;
        writeln!(
            f,
            "             {url}/token?sub=bob prints a fresh token",
            url = issuer.url()
        )?;
        writeln!(
            f,
            "  policies   {}  (edit them: the next answer changes)",
            self.demo.policies.display()
        )?;
        writeln!(f, "  settings   {}", self.demo.configuration.display())?;
        writeln!(f, "\nPaste into another terminal:")?;
        self.curl(
            f,
            "an admin lists the users: allowed",
            "http://{}/v1/users",
            &root,
        )?;
        let update = "-X PUT http://{}/v1/users/alice -d '{\"city\":\"Lund\"}'";
        self.curl(
            f,
            "a user updates their own profile: allowed",
            update,
            &alice,
        )?;
        let other = "-X PUT http://{}/v1/users/bob -d '{\"city\":\"Lund\"}'";
        self.curl(
            f,
            "a user updates another's: denied by policy",
            other,
            &alice,
        )?;
        self.curl(f, "an expired token: refused", "http://{}/v1/me", &expired)?;
        self.curl(
            f,
            "a forged token: refused",
            "http://{}/v1/users",
            &self.forged,
        )?;
        writeln!(f, "\n# the decision point asked directly")?;
        writeln!(
            f,
            "curl -i http://{decisions}/v1/authorize -H 'Content-Type: application/json' -d \
             '{{\"principal\":\"User::\\\"alice\\\"\",\"action\":\"update_user\",\"resource\":\"User::\\\"alice\\\"\"}}'"
        )?;
        writeln!(f, "\nEach request prints a line here. Ctrl-C ends it.\n")
    }
}

//! Whose tokens are believed, and where it is asked whether their users still may.

use authn_proxy::principal::Principals;
use identity::config::{Kind, SessionSource, UserStatusSource};
use identity::{Issuers, Standing};
use pdp::Namespace;
use prometheus::Registry;

use super::super::{ConfigFile, Routes};
use super::Check;

impl Check {
    pub(super) fn issuers<'r>(
        &mut self,
        file: &ConfigFile,
        mut routes: impl Iterator<Item = &'r Routes>,
        namespace: &Namespace,
    ) {
        if file.issuers.is_empty() {
            if routes.any(|routes| routes.list.iter().any(|route| !route.public)) {
                self.add(
                    "issuers",
                    "is missing: routes that are not `public` need somebody whose tokens are believed",
                );
            }
            return;
        }
        // Made to be judged; those that serve are made with the registry that is served.
        if let Err(problems) = Issuers::new(&file.issuers, self.places.base(), &Registry::new()) {
            for (key, message) in problems {
                self.add(&format!("issuers{key}"), message);
            }
        }
        for (index, issuer) in file.issuers.iter().enumerate() {
            let key = format!("issuers[{index}].token_use");
            if issuer.token_use.is_empty() && self.places.given(&key) {
                self.add(&key, "must not be empty; leave it out for the default");
            }
        }
        if let Err(problems) = Principals::new(&file.issuers, namespace) {
            for (key, message) in problems {
                self.add(&key, message);
            }
        }
    }

    /// Redis and the user pool, and whether they are there where somebody needs them.
    pub(super) fn standing(&mut self, file: &ConfigFile) {
        // Made to be judged, like the issuers.
        let (redis, cognito) = (file.redis.as_ref(), file.cognito.as_ref());
        let made = Standing::new(redis, cognito, self.places.base(), &Registry::new());
        for (key, message) in made.err().unwrap_or_default() {
            self.add(&key, message);
        }
        let common = cognito.map(|cognito| cognito.user_pool_id.as_str());
        for (index, issuer) in file.issuers.iter().enumerate() {
            let pool = issuer.user_pool.as_deref().or(common);
            if issuer.user_pool.is_some() && issuer.user_status != UserStatusSource::Cognito {
                let key = format!("issuers[{index}].user_pool");
                self.add(&key, "has no meaning without `user_status: cognito`");
            }
            let is_pools_own = |url: &String| url.rsplit('/').next() == pool;
            if let Some(pool) = pool
                && issuer.kind == Kind::Cognito
                && issuer.user_status == UserStatusSource::Cognito
                && !issuer.issuer.iter().all(is_pools_own)
            {
                let message = format!(
                    "would ask the pool `{pool}` about the users of another: name theirs in `user_pool`"
                );
                self.add(&format!("issuers[{index}].user_status"), message);
            }
            let (session, status) = (issuer.session, issuer.user_status);
            for (key, section, lacking) in [
                (
                    "session",
                    "redis",
                    session == SessionSource::Redis && redis.is_none(),
                ),
                (
                    "user_status",
                    "redis",
                    status == UserStatusSource::Redis && redis.is_none(),
                ),
                (
                    "user_status",
                    "cognito",
                    status == UserStatusSource::Cognito && cognito.is_none(),
                ),
            ] {
                if lacking && !self.places.refused(section) {
                    let key = format!("issuers[{index}].{key}");
                    self.add(
                        &key,
                        format!("needs the section `{section}`, which says where it is"),
                    );
                }
            }
        }
    }
}

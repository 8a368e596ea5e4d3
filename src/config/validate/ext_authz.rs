//! What Envoy is believed, and where.

use std::collections::BTreeMap;

use identity::config::{IssuerConfig, Kind};
use pdp::Namespace;
use settings::{Address, Environment};

use super::super::{ConfigFile, Listen, Routes};
use super::{Check, below};

impl Check {
    /// Section `ext_authz`, by itself and with the listeners and issuers; the sets of routes that it names.
    pub(super) fn ext_authz(
        &mut self,
        file: &ConfigFile,
        listen: &Listen,
        namespace: &Namespace,
        env: Environment<'_>,
    ) -> BTreeMap<String, Routes> {
        for (key, message) in file.ext_authz.problems() {
            self.add(&below("ext_authz", &key), message);
        }
        if let Some(jwt_authn) = &file.ext_authz.jwt_authn {
            self.believe("ext_authz.jwt_authn", listen);
            let mut issuers = file.issuers.iter();
            let known = issuers
                .find(|issuer| issuer.name == jwt_authn.issuer && issuer.kind != Kind::Spiffe);
            let name = &jwt_authn.issuer;
            let message = match known {
                None if self.places.refused("issuers") => None,
                None => Some(format!("no issuer of tokens is named `{name}`")),
                // It tells tokens apart that are alike in their claims.
                Some(issuer) if issuer.typ != IssuerConfig::default().typ => Some(format!(
                    "`{name}` has a `typ` of its own, which stands in the header of a token: Envoy says nothing of it"
                )),
                Some(_) => None,
            };
            if let Some(message) = message {
                self.add("ext_authz.jwt_authn.issuer", message);
            }
        }
        for (index, issuer) in file.issuers.iter().enumerate() {
            if issuer.kind == Kind::Spiffe {
                self.believe(&format!("issuers[{index}].kind"), listen);
            }
        }
        let sets = file.ext_authz.route_sets.iter();
        sets.map(|(name, config)| {
            let key = format!("ext_authz.route_sets.{name}");
            (
                name.clone(),
                self.routes(&key, Some(config), namespace, env),
            )
        })
        .collect()
    }

    /// A key that takes Envoy's word about who is calling, which anybody could give who can connect.
    fn believe(&mut self, key: &str, listen: &Listen) {
        let message = match &listen.ext_authz_grpc {
            None => "needs `listen.ext_authz_grpc`, over which Envoy says it".to_owned(),
            Some(address) if !address.is_local() => at(address),
            Some(_) => return,
        };
        if !self.places.refused("listen.ext_authz_grpc") {
            self.add(key, message);
        }
    }
}

fn at(address: &Address) -> String {
    format!(
        "would believe everyone who can connect to `listen.ext_authz_grpc`, `{address}`: give it an address on loopback or a Unix socket"
    )
}

//! The policies of a rulebook, as they are kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, PolicyId, PolicySet, PolicySetError, SlotId,
};
use smol_str::SmolStr;

use crate::uid::Uid;

/// What policies there are. Those that are written in full, and templates, are kept as Cedar has them;
/// links, of which there can be very many, as no more than what they say: Cedar takes several times as
/// much memory for each.
#[derive(Debug)]
pub(crate) struct Policies {
    /// Without the links.
    written: PolicySet,
    links: Vec<Link>,
    /// With the links, made when it is first asked for.
    whole: OnceLock<PolicySet>,
}

/// A template with its slots filled.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) id: SmolStr,
    pub(crate) template: PolicyId,
    pub(crate) principal: Option<Uid>,
    pub(crate) resource: Option<Uid>,
}

// === impl Policies ===

impl Policies {
    /// Of links that [`Link::onto`] took.
    pub(crate) fn new(written: PolicySet, mut links: Vec<Link>) -> Self {
        links.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        links.shrink_to_fit();
        Self {
            written,
            links,
            whole: OnceLock::new(),
        }
    }

    /// Of what Cedar has, links and all.
    #[cfg(test)]
    pub(crate) fn of(whole: &PolicySet) -> Self {
        let (mut written, mut links) = (whole.clone(), Vec::new());
        for policy in whole.policies() {
            let Some(template) = policy.template_id() else {
                continue;
            };
            let values = policy.template_links().unwrap();
            let value = |slot| values.get(&slot).map(|uid| Uid::of(uid.as_ref()));
            links.push(Link {
                id: SmolStr::new(policy.id()),
                template: template.clone(),
                principal: value(SlotId::principal()),
                resource: value(SlotId::resource()),
            });
            written.unlink(policy.id().clone()).unwrap();
        }
        Self::new(written, links)
    }

    /// Static policies and templates.
    pub(crate) fn written(&self) -> &PolicySet {
        &self.written
    }

    /// By id, sorted.
    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    /// How many there are. Templates are none.
    pub(crate) fn count(&self) -> usize {
        self.written.num_of_policies() + self.links.len()
    }

    /// All as Cedar has them: for what is rarely asked, because the links are made then, and kept.
    pub(crate) fn whole(&self) -> &PolicySet {
        if self.links.is_empty() {
            return &self.written;
        }
        self.whole.get_or_init(|| {
            let mut whole = self.written.clone();
            for link in &self.links {
                if let Err(error) = link.onto(&mut whole) {
                    // It was linked once, and so this does not happen. Verification would tell.
                    tracing::error!(link = &*link.id, %error, "a link cannot be made again");
                }
            }
            whole
        })
    }

    /// Whether [`whole`](Self::whole) has nothing left to make.
    #[cfg(test)]
    pub(crate) fn is_whole(&self) -> bool {
        self.links.is_empty() || self.whole.get().is_some()
    }

    /// The effect and the annotations of a policy.
    pub(crate) fn describe(&self, id: &str) -> Option<(Effect, Vec<(&str, &str)>)> {
        if let Some(policy) = self.written.policy(&PolicyId::new(id)) {
            return Some((policy.effect(), policy.annotations().collect()));
        }
        let place = self
            .links
            .binary_search_by(|link| (*link.id).cmp(id))
            .ok()?;
        let template = self.written.template(&self.links.get(place)?.template)?;
        Some((template.effect(), template.annotations().collect()))
    }

    /// The actions that scopes name.
    pub(crate) fn actions(&self) -> BTreeSet<EntityUid> {
        let linked: BTreeSet<&PolicyId> = self.links.iter().map(|link| &link.template).collect();
        let linked = linked.into_iter();
        let linked = linked.filter_map(|template| self.written.template(template));
        let linked = linked.map(|template| template.action_constraint());
        let written = self.written.policies();
        let written = written.map(|policy| policy.action_constraint());
        let named = written
            .chain(linked)
            .flat_map(|constraint| match constraint {
                ActionConstraint::Any => Vec::new(),
                ActionConstraint::Eq(action) => vec![action],
                ActionConstraint::In(actions) => actions,
            });
        named.collect()
    }
}

// === impl Link ===

impl Link {
    /// Makes the link in `policies`, which hold its template.
    pub(crate) fn onto(&self, policies: &mut PolicySet) -> Result<(), Box<PolicySetError>> {
        let slots = [
            (SlotId::principal(), &self.principal),
            (SlotId::resource(), &self.resource),
        ];
        let values: HashMap<SlotId, EntityUid> = slots
            .into_iter()
            .filter_map(|(slot, uid)| Some((slot, uid.as_ref()?.to_cedar().into())))
            .collect();
        let id = PolicyId::new(&*self.id);
        policies
            .link(self.template.clone(), id, values)
            .map_err(Box::new)
    }
}

//! What an identity takes in memory, for the cache that is bounded in bytes.

use std::mem::size_of;
use std::sync::Arc;

use crate::identity::{ActingFor, Claim, Identity, SessionRef};

/// The two counters in front of what an `Arc` holds.
const COUNTERS: usize = 2 * size_of::<usize>();

type Attribute = (Arc<str>, Claim);

impl Identity {
    /// The bytes that it takes behind an `Arc`, with all that it owns. What it shares with its issuer is no more for one
    /// identity than for none.
    pub(crate) fn weight(&self) -> usize {
        // Every field by name: a new one has to be weighed as well.
        let Self {
            issuer: _,
            issuer_url: _,
            kind: _,
            is_id_token: _,
            subject,
            principal_type: _,
            principal_id,
            group_type: _,
            groups,
            attributes,
            scopes,
            username,
            client_id,
            token_id,
            origin_token_id,
            authenticated_at: _,
            issued_at: _,
            expires_at: _,
            session,
            session_source: _,
            status_source: _,
            on_behalf_of,
        } = self;
        let optional = [username, client_id, token_id, origin_token_id];
        block(COUNTERS + size_of::<Self>())
            + text(subject)
            + text(principal_id)
            + texts(groups)
            + of_attributes(attributes)
            + texts(scopes)
            + optional
                .into_iter()
                .flatten()
                .map(|it| text(it))
                .sum::<usize>()
            + of_session(session.as_ref())
            + on_behalf_of.as_deref().map_or(0, ActingFor::weight)
    }
}

impl ActingFor {
    /// The bytes that it takes in a `Box`, with all that it owns.
    fn weight(&self) -> usize {
        let Self {
            subject,
            principal_type: _,
            principal_id,
            group_type: _,
            groups,
            attributes,
            scopes,
            username,
            session,
        } = self;
        block(size_of::<Self>())
            + text(subject)
            + text(principal_id)
            + texts(groups)
            + of_attributes(attributes)
            + texts(scopes)
            + username.as_deref().map_or(0, text)
            + of_session(session.as_ref())
    }
}

fn text(text: &str) -> usize {
    block(text.len())
}

fn texts(list: &Vec<String>) -> usize {
    let each = list.iter().map(|text| block(text.capacity()));
    block(list.capacity() * size_of::<String>()) + each.sum::<usize>()
}

fn of_attributes(list: &Vec<Attribute>) -> usize {
    let each = list.iter().map(|(_, claim)| match claim {
        Claim::String(text) => block(text.capacity()),
        Claim::Strings(list) => texts(list),
        Claim::Long(_) | Claim::Bool(_) => 0,
    });
    block(list.capacity() * size_of::<Attribute>()) + each.sum::<usize>()
}

fn of_session(session: Option<&SessionRef>) -> usize {
    session.map_or(0, |session| text(&session.id))
}

/// What the allocator sets aside where so many bytes are asked for: its sizes lie 16 bytes apart, and above 128 bytes a
/// quarter of the last power of two (those of jemalloc; glibc's are no larger).
pub(crate) fn block(bytes: usize) -> usize {
    let apart = (bytes.next_power_of_two() / 8).max(16);
    bytes.next_multiple_of(apart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_of_the_allocators_sizes() {
        for (asked, taken) in [
            (0, 0),
            (1, 16),
            (16, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (257, 320),
            (320, 320),
            (321, 384),
            (513, 640),
            (4096, 4096),
            (4097, 5120),
        ] {
            assert_eq!(block(asked), taken, "{asked}");
        }
    }

    /// A hundred thousand are remembered: a field more is a megabyte.
    #[test]
    fn an_identity_is_small() {
        assert_eq!(block(COUNTERS + size_of::<Identity>()), 320);
    }
}

//! The stored entities.

mod stored;

pub(crate) use self::stored::Stored;

//! RFC 7606 §7 as data: the flags of each attribute, and what a malformed one costs.

use crate::attribute::kind;
use crate::negotiated::{Negotiated, PeerKind};

use super::flags::{OPTIONAL, TRANSITIVE};

/// How an attribute is treated on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnError {
    /// The routes are treated as withdrawn.
    Withdraw,
    /// The attribute is discarded.
    Discard,
    /// Discarded unread, well-formed or not.
    Unwanted,
}

/// One row of the table.
pub(super) struct Rule {
    kind: u8,
    flags: u8,
    internal: OnError,
    external: OnError,
}

const WELL_KNOWN: u8 = TRANSITIVE;
const NON_TRANSITIVE: u8 = OPTIONAL;
const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;

const fn rule(kind: u8, flags: u8, internal: OnError, external: OnError) -> Rule {
    Rule { kind, flags, internal, external }
}

use OnError::{Discard, Unwanted, Withdraw};

/// §7.1 to §7.14 in their order; RFC 6793 §6, RFC 8092 §6, RFC 9234 §5. The multiprotocol
/// attributes' own faults are stronger than this table.
const RULES: [Rule; 17] = [
    rule(kind::ORIGIN, WELL_KNOWN, Withdraw, Withdraw),
    rule(kind::AS_PATH, WELL_KNOWN, Withdraw, Withdraw),
    rule(kind::NEXT_HOP, WELL_KNOWN, Withdraw, Withdraw),
    rule(kind::MULTI_EXIT_DISC, NON_TRANSITIVE, Withdraw, Withdraw),
    rule(kind::LOCAL_PREF, WELL_KNOWN, Withdraw, Unwanted),
    rule(kind::ATOMIC_AGGREGATE, WELL_KNOWN, Discard, Discard),
    rule(kind::AGGREGATOR, OPTIONAL_TRANSITIVE, Discard, Discard),
    rule(kind::COMMUNITIES, OPTIONAL_TRANSITIVE, Withdraw, Withdraw),
    rule(kind::ORIGINATOR_ID, NON_TRANSITIVE, Withdraw, Unwanted),
    rule(kind::CLUSTER_LIST, NON_TRANSITIVE, Withdraw, Unwanted),
    rule(kind::MP_REACH_NLRI, NON_TRANSITIVE, Withdraw, Withdraw),
    rule(kind::MP_UNREACH_NLRI, NON_TRANSITIVE, Withdraw, Withdraw),
    rule(kind::EXTENDED_COMMUNITIES, OPTIONAL_TRANSITIVE, Withdraw, Withdraw),
    rule(kind::AS4_PATH, OPTIONAL_TRANSITIVE, Discard, Discard),
    rule(kind::AS4_AGGREGATOR, OPTIONAL_TRANSITIVE, Discard, Discard),
    rule(kind::LARGE_COMMUNITY, OPTIONAL_TRANSITIVE, Withdraw, Withdraw),
    rule(kind::ONLY_TO_CUSTOMER, OPTIONAL_TRANSITIVE, Withdraw, Withdraw),
];

impl Rule {
    /// The rule of an attribute type; `None` for one we do not know.
    pub(super) fn of(kind: u8) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.kind == kind)
    }

    /// Whether the Optional and Transitive bits are those of the type (RFC 7606 §3 c). The
    /// others do not make an attribute malformed.
    pub(super) fn flags_agree(&self, flags: u8) -> bool {
        flags & (OPTIONAL | TRANSITIVE) == self.flags
    }

    /// The treatment on this session.
    pub(super) fn on_error(&self, session: &Negotiated) -> OnError {
        // Between four-octet speakers the AS4 attributes must not be (RFC 6793 §4.1).
        let as4 = matches!(self.kind, kind::AS4_PATH | kind::AS4_AGGREGATOR);
        match session.peer_kind() {
            _ if as4 && session.four_octet_as => Unwanted,
            PeerKind::Internal => self.internal,
            PeerKind::External => self.external,
        }
    }
}

//! Roles and the Only to Customer attribute (RFC 9234 §5): what came from a provider, a lateral peer or
//! a route server goes to customers only, and what breaks that is not used.
//!
//! The rules hold by our role alone, whether or not the peer knows of roles.

use crate::capability::Role;
use crate::rib::PeerSession;

/// Whether a route that a peer sent with or without this attribute is a leak.
pub(crate) fn is_leak(only_to_customer: Option<u32>, session: &PeerSession) -> bool {
    match (only_to_customer, session.role) {
        // It comes from a customer, or a client of ours.
        (Some(_), Some(Role::Provider | Role::RouteServer)) => true,
        (Some(marked_by), Some(Role::Peer)) => marked_by != session.negotiated.peer_as,
        _ => false,
    }
}

/// What an unmarked route of a peer is marked with.
pub(crate) fn mark_taken(session: &PeerSession) -> Option<u32> {
    // It comes from a provider, a route server or a lateral peer.
    let for_customers =
        matches!(session.role, Some(Role::Customer | Role::RouteServerClient | Role::Peer));
    for_customers.then_some(session.negotiated.peer_as)
}

/// What an unmarked route is marked with on its way to a peer.
pub(crate) fn mark_told(session: &PeerSession) -> Option<u32> {
    // It goes to a customer, a client of ours or a lateral peer.
    let from_above = matches!(session.role, Some(Role::Provider | Role::RouteServer | Role::Peer));
    from_above.then_some(session.negotiated.local_as)
}

/// Whether a marked route may go to a peer.
pub(crate) fn takes_marked(session: &PeerSession) -> bool {
    // Not to a provider, a route server or a lateral peer.
    !matches!(session.role, Some(Role::Customer | Role::RouteServerClient | Role::Peer))
}

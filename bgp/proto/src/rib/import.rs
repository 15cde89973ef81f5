//! Which received routes take part in the decision (RFC 4271 §6.3, §9.1.2; RFC 4456 §8).
//!
//! A rejected route stays in the Adj-RIB-In with its reason, so that an operator can ask why a
//! prefix is missing.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::intern::Interner;
use super::{Local, PeerSession, Route};
use crate::attribute::Community;
use crate::message::NextHop;
use crate::negotiated::PeerKind;
use crate::policy::{self, Change, Direction, RuleRef, Subject, Verdict};
use crate::roles;

/// Why a route is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Rejection {
    /// RFC 4271 §9.1.2: it has been here before.
    #[error("our own AS is in the AS path")]
    OwnAs,
    /// RFC 4456 §8: we told it to the AS.
    #[error("we are the originator")]
    OwnOriginatorId,
    /// RFC 4456 §8: our cluster reflected it before.
    #[error("our own cluster is in the cluster list")]
    OwnCluster,
    /// RFC 4271 §6.3: an external peer puts its AS first.
    #[error("the AS path does not start with the AS of the peer")]
    FirstAs,
    /// RFC 9774 §3.
    #[error("the AS path has a set")]
    AsSet,
    /// RFC 4271 §6.3: traffic would come back to us.
    #[error("the next hop is our own address")]
    OwnNextHop,
    /// RFC 4271 §6.3: no unicast destination of a network (RFC 6890).
    #[error("the prefix is loopback, link-local or multicast")]
    NotRoutable,
    /// RFC 9234 §5: what was for customers only comes from one.
    #[error("a route leak: it was meant for customers only, and comes from the wrong side")]
    RouteLeak,
    /// A filter of the peer is broken: nothing is taken.
    #[error("a filter of the peer is broken")]
    BrokenFilter,
    /// A rule of the peer's filters says so.
    #[error("a rule of the peer's filters rejects it")]
    Filtered(RuleRef),
}

/// What becomes of one route of a peer, prefix by prefix.
pub(super) struct Judge<'a> {
    route: Arc<Route>,
    session: &'a PeerSession,
    local: &'a Local,
    rejection: Option<Rejection>,
}

/// What became of it.
pub(super) struct Judged {
    /// Why it is not used.
    pub(super) rejection: Option<Rejection>,
    /// The route as it takes part in the decision, with the changes of a filter.
    pub(super) used: Option<Arc<Route>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        route: &Arc<Route>,
        session: &'a PeerSession,
        local: &'a Local,
        routes: &mut Interner<Route>,
    ) -> Self {
        let rejection = check(route, session, local);
        let taken = taken(route, session).map(|taken| routes.intern(taken));
        Self { route: taken.unwrap_or_else(|| route.clone()), session, local, rejection }
    }

    pub(super) fn judge(&self, prefix: &IpNet, routes: &mut Interner<Route>) -> Judged {
        match self.used(prefix, routes) {
            Ok(route) => Judged { rejection: None, used: Some(route) },
            Err(rejection) => Judged { rejection: Some(rejection), used: None },
        }
    }

    fn used(&self, prefix: &IpNet, routes: &mut Interner<Route>) -> Result<Arc<Route>, Rejection> {
        if let Some(rejection) = self.rejection.or_else(|| check_prefix(prefix)) {
            return Err(rejection);
        }
        match filter(prefix, &self.route, self.session)? {
            None | Some((_, [])) => Ok(self.route.clone()),
            Some((_, changes)) => {
                let route = changed(&self.route, changes);
                if is_own(&route.next_hop, self.session, self.local) {
                    return Err(Rejection::OwnNextHop);
                }
                Ok(routes.intern(route))
            }
        }
    }
}

/// The route as it enters the filters, if that is not as it came: what an external peer wants to be
/// rid of gets the least preference (RFC 8326 §4.2), and what is for customers only is marked so
/// (RFC 9234 §5).
pub(super) fn taken(route: &Route, session: &PeerSession) -> Option<Route> {
    let external = session.negotiated.peer_kind() == PeerKind::External;
    let leaving = external && route.attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN);
    let mark = match route.attributes.only_to_customer {
        Some(_) => None,
        None => roles::mark_taken(session),
    };
    (leaving || mark.is_some()).then(|| {
        let mut attributes = (*route.attributes).clone();
        if leaving {
            attributes.local_pref = Some(0);
        }
        attributes.only_to_customer = attributes.only_to_customer.or(mark);
        Route { attributes: Arc::new(attributes), next_hop: route.next_hop }
    })
}

/// What the filters make of a route that passed the checks: the changes to it, and the rule that
/// says so, if one does.
pub(super) fn filter<'a>(
    prefix: &IpNet,
    route: &Route,
    session: &'a PeerSession,
) -> Result<Option<(RuleRef, &'a [Change])>, Rejection> {
    let subject = Subject {
        prefix,
        attributes: &route.attributes,
        next_hop: Some(route.next_hop),
        peer_kind: session.negotiated.peer_kind(),
        learned: true,
    };
    match session.policy.judge(Direction::Import, &subject) {
        Verdict::Accept(rule, changes) => Ok(Some((rule, changes))),
        Verdict::Reject(rule) => Err(Rejection::Filtered(rule)),
        Verdict::Broken => Err(Rejection::BrokenFilter),
        Verdict::NoMatch => Ok(None),
    }
}

/// The route with the changes of a rule.
fn changed(route: &Route, changes: &[Change]) -> Route {
    let mut attributes = (*route.attributes).clone();
    let next_hop = policy::apply(changes, &mut attributes);
    // No rule takes that mark away (RFC 9494 §4.3).
    if route.attributes.is_stale() {
        attributes.mark_stale();
    }
    let next_hop = next_hop.map_or(route.next_hop, NextHop::from);
    Route { attributes: Arc::new(attributes), next_hop }
}

/// What holds for every prefix of the route.
fn check(route: &Route, session: &PeerSession, local: &Local) -> Option<Rejection> {
    let (attributes, policy) = (&route.attributes, &session.policy);
    let own_as = session.negotiated.local_as;
    let external = session.negotiated.peer_kind() == PeerKind::External;
    let path = &attributes.as_path;
    let first_as_is_peers = || path.neighbor() == Some(session.negotiated.peer_as);

    if path.numbers().filter(|number| *number == own_as).count() > policy.allow_own_as {
        Some(Rejection::OwnAs)
    } else if attributes.originator_id == Some(local.router_id) {
        Some(Rejection::OwnOriginatorId)
    } else if attributes.cluster_list.contains(&local.cluster_id) {
        Some(Rejection::OwnCluster)
    } else if external && !first_as_is_peers() {
        Some(Rejection::FirstAs)
    } else if path.has_set() && !policy.allow_as_set {
        Some(Rejection::AsSet)
    } else if is_own(&route.next_hop, session, local) {
        Some(Rejection::OwnNextHop)
    } else if roles::is_leak(attributes.only_to_customer, session) {
        Some(Rejection::RouteLeak)
    } else {
        None
    }
}

fn is_own(next_hop: &NextHop, session: &PeerSession, local: &Local) -> bool {
    let own = |address: IpAddr| {
        address == session.local_address
            || Some(address) == local.next_hop_ipv4
            || Some(address) == local.next_hop_ipv6
    };
    let link_local = match next_hop {
        NextHop::V6 { link_local, .. } => link_local.map(IpAddr::from),
        NextHop::V4(_) => None,
    };
    own(next_hop.address()) || link_local.is_some_and(own)
}

/// What holds for a prefix alone. The default route is routable.
fn check_prefix(prefix: &IpNet) -> Option<Rejection> {
    let unroutable = match prefix {
        IpNet::V4(prefix) => UNROUTABLE_V4.iter().any(|block| block.contains(prefix)),
        IpNet::V6(prefix) => UNROUTABLE_V6.iter().any(|block| block.contains(prefix)),
    };
    unroutable.then_some(Rejection::NotRoutable)
}

const UNROUTABLE_V4: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(255, 255, 255, 255), 32),
];

const UNROUTABLE_V6: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 128),
    Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128),
    Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

//! The snapshot for operators.

use super::Speaker;
use super::command::PeerName;
use super::status::{FamilyStatus, PeerStatus, SessionStatus, SpeakerStatus};
use crate::family::Family;
use crate::peer::Peer;
use crate::rib::Drain;
use crate::session::Session;
use crate::session::open::capabilities_in_words;

/// Why nobody is spoken to.
pub(super) const NOBODY: &str = "this node has no AS and router id yet";

impl Speaker {
    /// Everything that `brindlectl bgp` shows.
    pub fn status(&self) -> SpeakerStatus {
        SpeakerStatus {
            identity: self.identity.as_ref().map(|i| (i.as_number, i.router_id)),
            restarting: self.deferral.is_restarting(),
            in_sync: self.deferral.is_in_sync(),
            drain: self.identity.as_ref().and_then(|i| i.drain).map(|drain| match drain {
                Drain::GracefulShutdown => "graceful shutdown",
                Drain::Withdraw => "withdrawn",
            }),
            converged: self.deferral.has_converged(),
            originated: self.rib.originated().collect(),
            learned: self.rib.learned_prefixes(),
            broken: self.rib.broken().collect(),
            refused_connections: self.refused,
            ranges: self.range_status(),
            peers: self.peers.iter().map(|(name, peer)| self.peer_status(name, peer)).collect(),
        }
    }

    fn peer_status(&self, name: &PeerName, peer: &Peer) -> PeerStatus {
        let history = &peer.history;
        PeerStatus {
            name: name.clone(),
            address: peer.config.address,
            range: peer.guest.as_ref().map(|guest| guest.range.clone()),
            port: peer.config.port,
            as_number: peer.config.as_number,
            passive: peer.config.passive,
            protection: peer.config.protection(),
            password_problem: peer.config.password.as_ref().and_then(|p| p.problem.clone()),
            state: peer.state(),
            since: history.since,
            established_count: history.established_count,
            flaps: history.flaps,
            updates_received: history.updates_received,
            updates_malformed: history.updates_malformed,
            failures: history.failures,
            panics: history.panics,
            idle_because: self.idle_because(name, peer),
            last_error: history.last_error.clone(),
            last_received_notification: history.last_received.clone(),
            last_sent_notification: history.last_sent.clone(),
            session: peer.established().and_then(session_status),
            filters: peer.config.policy.filters.iter().map(|f| f.name().clone()).collect(),
            filter_problem: peer.config.policy.broken_filter().map(|(name, problem)| {
                format!("nothing is taken or told: BGPFilter {name} {problem}")
            }),
            prefix_warning: self.prefix_warning(peer),
            bfd: self.bfd_status(name),
            families: self.family_status(peer),
            stale_until: peer.helper.deadline(),
        }
    }

    fn prefix_warning(&self, peer: &Peer) -> Option<String> {
        let policy = &peer.config.policy;
        let warnings = |family| {
            let counts = self.rib.counts(peer.id, family);
            let limits = policy.max_prefixes;
            let inward = limits.and_then(|limits| limits.warning(family, counts.received));
            let limits = policy.max_prefixes_out;
            let outward = limits
                .and_then(|limits| limits.warning(family, counts.advertised, counts.withheld));
            [inward, outward].into_iter().flatten()
        };
        let warnings: Vec<String> = Family::ALL.into_iter().flat_map(warnings).collect();
        (!warnings.is_empty()).then(|| warnings.join(", "))
    }

    fn family_status(&self, peer: &Peer) -> Vec<FamilyStatus> {
        let status = |family| {
            let counts = self.rib.counts(peer.id, family);
            FamilyStatus {
                family,
                received: counts.received,
                accepted: counts.accepted,
                stale: counts.stale,
                advertised: counts.advertised,
                end_of_rib_received: counts.end_of_rib_received,
                end_of_rib_sent: counts.end_of_rib_sent,
                disabled: counts.disabled,
            }
        };
        Family::ALL.into_iter().map(status).collect()
    }

    /// Why a peer does not even try.
    pub(super) fn idle_because(&self, name: &PeerName, peer: &Peer) -> Option<String> {
        if self.identity.is_none() {
            return Some(NOBODY.into());
        }
        let owner = self.owner_of(peer.config.address)?;
        if owner != name {
            return Some(format!("peer {owner} has the same address"));
        }
        let over = peer.over_limit().map(|exceeded| exceeded.words());
        over.or_else(|| peer.config.unwanted().map(str::to_owned))
    }
}

fn session_status(session: &Session) -> Option<SessionStatus> {
    let (ours, theirs) = (session.ours.as_ref()?, session.theirs.as_ref()?);
    Some(SessionStatus {
        local_address: session.local?,
        router_id: theirs.router_id,
        hold_time: session.negotiated.hold_time,
        keepalive_time: session.negotiated.hold_time / 3,
        capabilities: capabilities_in_words(ours, theirs),
    })
}

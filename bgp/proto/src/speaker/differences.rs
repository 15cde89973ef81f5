//! What another configuration costs: what it changes at once, and what only another session can have.

use super::command::{Identity, PeerConfig};

/// What a changed value costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cost {
    /// It takes effect at once.
    Nothing,
    /// It is about how a connection is opened: an Established one goes on, an attempt begins anew.
    Attempt,
    /// It is settled when a session begins.
    Session,
}

/// A value that is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// For an operator.
    pub(crate) what: &'static str,
    pub(crate) cost: Cost,
}

impl PeerConfig {
    /// In what another configuration differs.
    pub(crate) fn differences(&self, new: &Self) -> Vec<Difference> {
        // A field that is missing here does not compile.
        let Self {
            address,
            port,
            as_number,
            passive,
            source,
            hops,
            password,
            bfd,
            shutdown,
            unfit,
            role,
            require_role,
            policy,
        } = self;
        // To be signed or not is another session; to be signed differently is not.
        let signed = password.is_some() == new.password.is_some();
        let key = if signed { Cost::Nothing } else { Cost::Session };
        // A session of BFD that ends or changes its pace without the neighbour would look dead to it.
        let watched = if bfd.is_none() { Cost::Nothing } else { Cost::Session };
        let all = [
            (*address == new.address, "address", Cost::Session),
            (*port == new.port, "port", Cost::Attempt),
            (*as_number == new.as_number, "AS", Cost::Session),
            (*passive == new.passive, "passive", Cost::Attempt),
            (*source == new.source, "source address", Cost::Session),
            (*hops == new.hops, "number of hops", Cost::Session),
            (*password == new.password, "password", key),
            (*bfd == new.bfd, "BFD", watched),
            (*shutdown == new.shutdown, "shutdown", Cost::Nothing),
            (*unfit == new.unfit, "what does not fit", Cost::Nothing),
            (*role == new.role, "role", Cost::Session),
            (*require_role == new.require_role, "whether a role is required", Cost::Session),
            (*policy == new.policy, "filters and limits", Cost::Nothing),
        ];
        let changed = all.into_iter().filter(|(same, ..)| !same);
        changed.map(|(_, what, cost)| Difference { what, cost }).collect()
    }
}

/// The differences that end what there is, in words; `None` if it goes on. `is_up` is whether there is
/// a session.
pub(crate) fn ending(differences: &[Difference], is_up: bool) -> Option<String> {
    let bearable = if is_up { Cost::Attempt } else { Cost::Nothing };
    let ending: Vec<&str> =
        differences.iter().filter(|d| d.cost > bearable).map(|d| d.what).collect();
    let words = || format!("the peer's configuration changed: {}", ending.join(", "));
    (!ending.is_empty()).then(words)
}

impl Identity {
    /// In what another identity differs, and when that counts, in words.
    pub(crate) fn differences(&self, new: &Self) -> Vec<String> {
        let Self {
            as_number,
            router_id,
            listen_port,
            hold_time,
            restart_time,
            long_lived_stale_time,
            next_hops,
            notification_restart,
            drain,
            cluster_id,
        } = self;
        let (reset, later, now) =
            ("resets every session", "counts from the next session on", "counts at once");
        let all = [
            (*as_number == new.as_number, "AS", reset),
            (*router_id == new.router_id, "router id", reset),
            (*listen_port == new.listen_port, "port to listen on", now),
            (*hold_time == new.hold_time, "hold time", later),
            (*restart_time == new.restart_time, "restart time", later),
            (*long_lived_stale_time == new.long_lived_stale_time, "long-lived stale time", later),
            (*next_hops == new.next_hops, "next hops", now),
            (*notification_restart == new.notification_restart, "graceful NOTIFICATION", later),
            (*drain == new.drain, "draining", now),
            (*cluster_id == new.cluster_id, "cluster id", now),
        ];
        let changed = all.into_iter().filter(|(same, ..)| !same);
        changed.map(|(_, what, when)| format!("{what}: {when}")).collect()
    }
}

//! OPEN: what we say, and whether what came is acceptable (RFC 4271 §6.2, RFC 4724 §3).

use crate::capability::{
    Capability, ExtendedNextHop, GracefulRestart, LongLivedFamily, RestartFamily, Role,
};
use crate::family::{AFI_IPV6, Family, FamilySet};
use crate::message::{Notification, NotificationCode, Open};
use crate::speaker::command::Identity;

/// Our graceful restart flags on one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RestartFlags {
    /// R: we have just restarted.
    pub(crate) restarted: bool,
    /// F: forwarding went on meanwhile.
    pub(crate) forwarding: FamilySet,
}

/// An OPEN that is not acceptable.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What to answer.
    pub(crate) notification: Notification,
    /// Why, for the operator.
    pub(crate) words: String,
}

/// What we offer to one peer and not to every.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offers {
    /// IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub(crate) extended_next_hop: bool,
    /// Our role (RFC 9234).
    pub(crate) role: Option<Role>,
}

/// Our OPEN.
pub(crate) fn ours(identity: &Identity, flags: RestartFlags, offers: Offers) -> Open {
    let mut capabilities: Vec<_> =
        Family::ALL.into_iter().map(|f| Capability::Multiprotocol(f.afi_safi())).collect();
    capabilities.push(Capability::RouteRefresh);
    capabilities.push(Capability::FourOctetAs(identity.as_number));
    if offers.extended_next_hop {
        let family = Family::Ipv4Unicast.afi_safi();
        let pair = ExtendedNextHop { family, next_hop_afi: AFI_IPV6 };
        capabilities.push(Capability::ExtendedNextHop(vec![pair]));
    }
    capabilities.extend(offers.role.map(Capability::Role));
    capabilities.push(Capability::GracefulRestart(GracefulRestart {
        restarted: flags.restarted,
        notification: identity.notification_restart,
        restart_time: identity.restart_time.min(MAX_RESTART_TIME),
        families: Family::ALL
            .into_iter()
            .map(|f| RestartFamily {
                family: f.afi_safi(),
                forwarding: flags.forwarding.contains(f),
            })
            .collect(),
    }));
    // Without a family it says that we help and mark (RFC 9494 §4.2).
    let long_lived = Family::ALL.into_iter().filter(|_| identity.long_lived_stale_time > 0);
    let long_lived = long_lived.map(|family| LongLivedFamily {
        family: family.afi_safi(),
        forwarding: flags.forwarding.contains(family),
        stale_time: identity.long_lived_stale_time,
    });
    capabilities.push(Capability::LongLivedGracefulRestart(long_lived.collect()));
    Open {
        as_number: identity.as_number,
        hold_time: identity.hold_time,
        router_id: identity.router_id,
        capabilities,
    }
}

/// The field has 24 bits (RFC 9494 §3.1).
pub(crate) const MAX_LONG_LIVED_STALE_TIME: u32 = 0x00ff_ffff;

/// The field has twelve bits (RFC 4724 §3).
pub(crate) const MAX_RESTART_TIME: u16 = 4095;

/// Checks that need our configuration; the decoder has done the others.
pub(crate) fn check(theirs: &Open, identity: &Identity, wanted_as: u32) -> Result<(), Refusal> {
    if theirs.as_number != wanted_as {
        return Err(Refusal {
            notification: NotificationCode::BadPeerAs.empty(),
            words: format!(
                "the neighbour is in AS {}, but the peer is configured with AS {wanted_as}: check \
                 the AS number of both sides",
                theirs.as_number
            ),
        });
    }
    let internal = wanted_as == identity.as_number;
    if internal && theirs.router_id == identity.router_id {
        return Err(Refusal {
            notification: NotificationCode::BadBgpIdentifier.empty(),
            words: format!(
                "the neighbour has our own BGP identifier {}: give each speaker of the AS its own",
                theirs.router_id
            ),
        });
    }
    Ok(())
}

/// Whether the roles of both sides fit (RFC 9234 §4.2); one that we must not know anything of fits,
/// unless it is `required`.
pub(crate) fn check_role(theirs: &Open, ours: Option<Role>, required: bool) -> Result<(), Refusal> {
    let Some(ours) = ours else { return Ok(()) };
    let mismatch = |words: String| {
        Err(Refusal { notification: NotificationCode::RoleMismatch.empty(), words })
    };
    let mut roles = theirs.capabilities.iter().filter_map(|capability| match capability {
        Capability::Role(role) => Some(*role),
        _ => None,
    });
    let Some(role) = roles.next() else {
        return match required {
            true => mismatch("the neighbour says nothing of its BGP role, which we require".into()),
            false => Ok(()),
        };
    };
    if roles.any(|other| other != role) {
        return mismatch("the neighbour claims several BGP roles".into());
    }
    match ours.fits(role) {
        true => Ok(()),
        false => mismatch(format!("the neighbour is {role} and we are {ours}: check both roles")),
    }
}

/// The graceful restart capability of an OPEN; the last one counts (RFC 4724 §3).
pub(crate) fn graceful_restart(open: &Open) -> Option<&GracefulRestart> {
    open.capabilities.iter().rev().find_map(|capability| match capability {
        Capability::GracefulRestart(restart) => Some(restart),
        _ => None,
    })
}

/// What an OPEN says of long-lived graceful restart of a family; the last one counts (RFC 9494 §3.1).
pub(crate) fn long_lived(open: &Open, family: Family) -> Option<LongLivedFamily> {
    let families = open.capabilities.iter().rev().find_map(|capability| match capability {
        Capability::LongLivedGracefulRestart(families) => Some(families),
        _ => None,
    });
    families?.iter().rev().find(|entry| entry.family == family.afi_safi()).copied()
}

/// Families of a graceful restart capability; with `forwarding`, only those with the F bit.
pub(crate) fn restart_families(restart: &GracefulRestart, forwarding: bool) -> FamilySet {
    restart
        .families
        .iter()
        .filter(|entry| entry.forwarding || !forwarding)
        .filter_map(|entry| entry.family.family())
        .collect()
}

/// What both sides agreed on, in words.
pub(crate) fn capabilities_in_words(ours: &Open, theirs: &Open) -> Vec<String> {
    let shared = |wanted: &Capability| ours.capabilities.contains(wanted);
    let mut words = Vec::new();
    for capability in &theirs.capabilities {
        match capability {
            Capability::Multiprotocol(pair) if shared(capability) => {
                words.extend(pair.family().map(|family| family.to_string()));
            }
            Capability::RouteRefresh => words.push("route refresh".into()),
            Capability::FourOctetAs(_) => words.push("four-octet AS".into()),
            Capability::ExtendedNextHop(_) if shared(capability) => {
                words.push("IPv4 over IPv6 next hops".into());
            }
            Capability::Role(role) => words.push(format!("role {role}")),
            Capability::GracefulRestart(restart) => {
                let families: Vec<_> =
                    restart_families(restart, false).iter().map(|f| f.to_string()).collect();
                words.push(match families.is_empty() {
                    true => "graceful restart (helper only)".into(),
                    false => format!(
                        "graceful restart ({}, {} s)",
                        families.join(", "),
                        restart.restart_time
                    ),
                });
            }
            Capability::LongLivedGracefulRestart(families) => {
                let known = families.iter().filter_map(|entry| {
                    Some(format!("{} {} s", entry.family.family()?, entry.stale_time))
                });
                let known: Vec<_> = known.collect();
                words.push(match known.is_empty() {
                    true => "long-lived graceful restart (helper only)".into(),
                    false => format!("long-lived graceful restart ({})", known.join(", ")),
                });
            }
            _ => {}
        }
    }
    words
}

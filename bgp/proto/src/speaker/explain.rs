//! Why a prefix is or is not where it should be: every step of its way, both directions.
//!
//! ```text
//!  inward    session ─ family ─ received ─ checks ─ filters ─ decision ─ forwarding
//!  outward   origin ─ session ─ family ─ rules ─ filters ─ next hop ─ wire
//! ```
//! The first step that stops is the answer; nothing is said of those behind it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Speaker;
use super::command::PeerName;
use crate::export::{Exported, Progress, Source, Withheld};
use crate::family::Family;
use crate::peer::Peer;
use crate::policy::{Direction, PeerPolicy, RuleRef};
use crate::rib::{Inward, Outward, PeerId, Place, Rejection, Route};

/// What becomes of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrefixReport {
    /// What was asked for.
    pub asked: IpNet,
    /// What is answered: the most specific known prefix that contains it.
    pub prefix: IpNet,
    /// From each peer to the forwarding table, by name.
    pub inward: Vec<Trace>,
    /// To each peer, by name.
    pub outward: Vec<Trace>,
}

/// The way of a prefix between one peer and us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The peer.
    pub peer: PeerName,
    /// Whether it gets through to the end.
    pub arrives: bool,
    /// In order, up to the one that stops it.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name, as in the picture above.
    pub step: &'static str,
    /// Whether the prefix gets past it.
    pub passed: bool,
    /// What was found, in words.
    pub detail: String,
}

/// The steps so far.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn pass(&mut self, step: &'static str, detail: impl Into<String>) {
        self.0.push(Step { step, passed: true, detail: detail.into() });
    }

    fn stop(&mut self, step: &'static str, detail: impl Into<String>) {
        self.0.push(Step { step, passed: false, detail: detail.into() });
    }

    fn trace(self, peer: &PeerName) -> Trace {
        let arrives = self.0.iter().all(|step| step.passed);
        Trace { peer: peer.clone(), arrives, steps: self.0 }
    }
}

impl Speaker {
    /// Every step of a prefix, to and from every peer or one of them. An address stands for the
    /// prefix that contains it.
    pub fn explain(&mut self, asked: IpNet, only: Option<&str>) -> PrefixReport {
        let prefix = self.rib.known_prefix(asked);
        let names: Vec<PeerName> = self
            .peers
            .keys()
            .filter(|name| only.is_none_or(|only| only == &***name))
            .cloned()
            .collect();
        let inward = names.iter().filter_map(|name| self.trace_in(name, &prefix)).collect();
        let outward = names.iter().filter_map(|name| self.trace_out(name, &prefix)).collect();
        PrefixReport { asked, prefix, inward, outward }
    }

    fn trace_in(&mut self, name: &PeerName, prefix: &IpNet) -> Option<Trace> {
        let mut steps = Steps::default();
        let peer = self.peers.get(name)?;
        let inward = self.rib.inward(peer.id, prefix);
        let kept = inward
            .as_ref()
            .is_some_and(|facts| facts.received.as_ref().is_some_and(|received| received.stale));
        match peer.established() {
            Some(_) => steps.pass("session", "Established"),
            None if kept => {
                steps.pass("session", "down; the peer restarts and its routes are kept")
            }
            None => {
                steps.stop("session", self.without_session(name, peer));
                return Some(steps.trace(name));
            }
        }
        let facts = inward?;
        if self.arrived(&mut steps, &facts, prefix, &peer.config.policy) {
            self.chosen(&mut steps, &facts, prefix);
        }
        Some(steps.trace(name))
    }

    /// From the wire to the Adj-RIB-In and through the filters; whether it gets past them.
    fn arrived(
        &self,
        steps: &mut Steps,
        facts: &Inward,
        prefix: &IpNet,
        policy: &PeerPolicy,
    ) -> bool {
        let family = Family::of(prefix);
        if facts.disabled {
            steps.stop("family", format!("{family} was given up after an unreadable attribute"));
            return false;
        }
        if !facts.carried {
            steps.stop("family", format!("{family} is not negotiated: the peer does not offer it"));
            return false;
        }
        steps.pass("family", family.to_string());
        let Some(received) = &facts.received else {
            let all = match facts.end_of_rib {
                true => "the peer has sent all its routes, and this one is not among them",
                false => "the peer has not advertised it, and has not said yet that it sent all",
            };
            steps.stop("received", all);
            return false;
        };
        let stale = if received.stale { ", from before the peer's restart" } else { "" };
        steps.pass("received", route_in_words(&received.route) + stale);
        let words = |rule: RuleRef| policy.rule_in_words(rule, Direction::Import, family);
        match received.verdict {
            Ok(rule) => {
                steps.pass("checks", "usable");
                steps.pass("filters", accepted(rule.map(words), policy));
            }
            Err(Rejection::Filtered(rule)) => {
                steps.pass("checks", "usable");
                steps.stop("filters", format!("{} rejects it", words(rule)));
            }
            Err(Rejection::BrokenFilter) => {
                steps.pass("checks", "usable");
                steps.stop("filters", broken(policy));
            }
            Err(rejection) => steps.stop("checks", rejection.to_string()),
        }
        received.verdict.is_ok()
    }

    /// The decision, and what was told of it.
    fn chosen(&self, steps: &mut Steps, facts: &Inward, prefix: &IpNet) {
        match facts.received.as_ref().and_then(|received| received.place) {
            Some(Place::Best(1)) => steps.pass("decision", "the only path"),
            Some(Place::Best(paths)) => steps.pass("decision", format!("best of {paths} paths")),
            Some(Place::Equal(best)) => {
                let best = self.name_of(best);
                steps.pass("decision", format!("of equal cost with the best path, of {best}"));
            }
            Some(Place::Lost(best, step)) => {
                let best = self.name_of(best);
                return steps.stop("decision", format!("the path of {best} has {step}"));
            }
            Some(Place::Ours) => {
                return steps.stop("decision", "this node originates the prefix itself");
            }
            None => return steps.stop("decision", "the path is not in the table yet"),
        }
        match (self.deferral.is_restarting(), self.rib.is_reported(prefix)) {
            (true, _) => steps.stop(
                "forwarding",
                "held back until all peers have sent their routes: this speaker restarts",
            ),
            (false, true) => steps.pass("forwarding", "given to the route table"),
            (false, false) => steps.stop("forwarding", "the route table will be told of it"),
        }
    }

    fn trace_out(&mut self, name: &PeerName, prefix: &IpNet) -> Option<Trace> {
        let mut steps = Steps::default();
        let peer = self.peers.get(name)?;
        let Outward { source, told, progress } = self.rib.outward(peer.id, prefix);
        match source {
            None => steps.stop("origin", "this node does not originate it and no peer told of it"),
            Some(Source::Ours(origin)) if origin.words.is_empty() => {
                steps.pass("origin", "this node originates it");
            }
            Some(Source::Ours(origin)) => {
                steps.pass("origin", format!("this node originates it: {}", origin.words));
            }
            Some(Source::Learned(learned)) => {
                steps.pass(
                    "origin",
                    format!("learned; the best path is of {}", self.name_of(learned.peer)),
                );
            }
        }
        match told {
            _ if steps.0.iter().any(|step| !step.passed) => {}
            None => steps.stop("session", self.without_session(name, peer)),
            Some(told) => {
                steps.pass("session", "Established");
                outward(&mut steps, told, progress, Family::of(prefix), &peer.config.policy);
            }
        }
        Some(steps.trace(name))
    }

    /// Why there is no session.
    fn without_session(&self, name: &PeerName, peer: &Peer) -> String {
        let why = self.idle_because(name, peer);
        let why = why.or_else(|| peer.history.last_error.as_ref().map(|e| e.message.clone()));
        match why {
            Some(why) => format!("{}: {why}", peer.state()),
            None => format!("{}: not yet established", peer.state()),
        }
    }

    /// The name of a peer that has paths.
    pub(super) fn name_of(&self, id: PeerId) -> String {
        let found = self.peers.iter().find(|(_, peer)| peer.id == id);
        found.map_or_else(|| "a peer that is gone".to_owned(), |(name, _)| name.to_string())
    }
}

/// What the peer gets, or why it gets nothing.
fn outward(
    steps: &mut Steps,
    told: Result<(Exported, Option<RuleRef>), Withheld>,
    progress: Progress,
    family: Family,
    policy: &PeerPolicy,
) {
    let words = |rule: RuleRef| policy.rule_in_words(rule, Direction::Export, family);
    let (stop, detail) = match &told {
        Ok(_) => ("", String::new()),
        Err(Withheld::Family) => {
            ("family", format!("{family} is not negotiated: the peer does not offer it"))
        }
        Err(Withheld::Drained) => {
            ("rules", "the node is drained: it advertises nothing (`drain: Withdraw`)".into())
        }
        Err(Withheld::ToldUs) => ("rules", "the best path came from this peer".into()),
        Err(Withheld::ToldInside) => (
            "rules",
            "the best path came from an internal peer, who tells every internal peer himself"
                .into(),
        ),
        Err(Withheld::Originator) => {
            ("rules", "the peer itself brought it into the AS (ORIGINATOR_ID)".into())
        }
        Err(Withheld::OnlyToCustomer) => {
            ("rules", "it is for customers only (OTC), and the peer is none by our role".into())
        }
        Err(Withheld::LongLivedStale) => (
            "rules",
            "it is stale for long (LLGR_STALE), and the peer does not know what that is".into(),
        ),
        Err(Withheld::Community(community)) => {
            ("rules", format!("the well-known community {community} keeps it here"))
        }
        Err(Withheld::BrokenFilter) => ("filters", broken(policy)),
        Err(Withheld::Rejected(rule)) => ("filters", format!("{} rejects it", words(*rule))),
        Err(Withheld::Learned) => (
            "filters",
            "learned routes are not told on: no export rule with `source: RemotePeers` accepts it"
                .into(),
        ),
        Err(Withheld::NextHop) => (
            "next hop",
            format!("this node has no address of {family} that the peer could use as next hop"),
        ),
        Err(Withheld::Limit(limit)) => {
            ("limit", format!("the peer has as many {family} prefixes as it is to have: {limit}"))
        }
    };
    let accepts = match &told {
        Ok((_, rule)) => accepted(rule.map(words), policy),
        Err(_) => "passed".into(),
    };
    let mut before =
        [("family", family.to_string()), ("rules", "may be told".into()), ("filters", accepts)]
            .into_iter();
    let passed = before.by_ref().take_while(|(step, _)| *step != stop);
    passed.for_each(|(step, detail)| steps.pass(step, detail));
    match told {
        Err(_) => steps.stop(stop, detail),
        Ok((exported, _)) => {
            steps.pass("next hop", exported.next_hop.address().to_string());
            match progress {
                Progress::Sent => steps.pass("wire", "sent"),
                Progress::Waiting | Progress::Absent => {
                    steps.stop("wire", "waits until the connection can take more");
                }
            }
        }
    }
}

fn accepted(rule: Option<String>, policy: &PeerPolicy) -> String {
    match rule {
        Some(rule) => format!("{rule} accepts it"),
        None if policy.filters.is_empty() => "none; the built-in policy accepts it".into(),
        None => "no rule matches; the built-in policy accepts it".into(),
    }
}

fn broken(policy: &PeerPolicy) -> String {
    match policy.broken_filter() {
        Some((name, problem)) => format!("nothing passes: BGPFilter {name} {problem}"),
        None => "nothing passes: a filter is broken".into(),
    }
}

fn route_in_words(route: &Route) -> String {
    let next_hop: IpAddr = route.next_hop.address();
    match route.attributes.as_path.is_empty() {
        true => format!("next hop {next_hop}"),
        false => format!("next hop {next_hop}, AS path {}", route.attributes.as_path),
    }
}

//! Peers that share what they are told end with what each would be told alone.

use std::collections::BTreeMap;

use brindle_bgp_proto::attribute::{Attributes, Community};
use brindle_bgp_proto::family::{Family, FamilySet};
use brindle_bgp_proto::message::Update;
use brindle_bgp_proto::policy::{MaxPrefixesOut, PeerPolicy};
use brindle_bgp_proto::rib::{Local, Origin, PeerId, PeerSession, Rib};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::fixture::*;

const CLIENTS: u8 = 5;

fn client(n: u8) -> PeerSession {
    let policy = PeerPolicy { reflector_client: true, ..PeerPolicy::default() };
    PeerSession { policy, ..session(n, LOCAL_AS) }
}

fn id(n: u8) -> PeerId {
    PeerId(n.into())
}

/// One step of the life of a reflector.
#[derive(Clone, Debug)]
enum Step {
    /// `hop` is who forwards, which may be another client.
    Announce {
        from: u8,
        hop: u8,
        prefix: u8,
        med: u32,
    },
    Withdraw {
        from: u8,
        prefix: u8,
    },
    Originate(u8),
    Unoriginate(u8),
    SetLocal(u8),
    Policy {
        peer: u8,
        limit: Option<u32>,
    },
    Refresh(u8),
    Bounce(u8),
    Receive {
        peer: u8,
        limit: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (peer, prefix) = (1..=CLIENTS, 0..8_u8);
    prop_oneof![
        6 => (peer.clone(), peer.clone(), prefix.clone(), 0..3_u32)
            .prop_map(|(from, hop, prefix, med)| Step::Announce { from, hop, prefix, med }),
        3 => (peer.clone(), prefix.clone())
            .prop_map(|(from, prefix)| Step::Withdraw { from, prefix }),
        1 => prefix.clone().prop_map(Step::Originate),
        1 => prefix.prop_map(Step::Unoriginate),
        // The node's next hop may be that of a client.
        1 => (0..=CLIENTS).prop_map(Step::SetLocal),
        1 => (peer.clone(), proptest::option::of(1..4_u32))
            .prop_map(|(peer, limit)| Step::Policy { peer, limit }),
        1 => peer.clone().prop_map(Step::Refresh),
        1 => peer.clone().prop_map(Step::Bounce),
        8 => (peer, 1..6_usize).prop_map(|(peer, limit)| Step::Receive { peer, limit }),
    ]
}

fn block(i: u8) -> IpNet {
    match i % 2 {
        0 => net(&format!("10.{i}.0.0/16")),
        _ => net(&format!("2001:db8:{i:x}::/48")),
    }
}

fn said(from: u8, hop: u8, med: u32, prefix: IpNet) -> Update {
    let communities = vec![Community(from.into())];
    let attributes = Attributes { med: Some(med), communities, ..Attributes::default() };
    announce(hop, attributes, &[prefix])
}

fn policy(limit: Option<u32>) -> PeerPolicy {
    let max_prefixes_out =
        limit.map(|limit| MaxPrefixesOut { ipv4: Some(limit), ipv6: None, warn_percent: 75 });
    PeerPolicy { reflector_client: true, max_prefixes_out, ..PeerPolicy::default() }
}

struct Life {
    rib: Rib,
    sessions: Vec<PeerSession>,
    receivers: Vec<Receiver>,
}

impl Life {
    fn new() -> Self {
        let mut rib = Rib::new(local());
        rib.set_in_sync();
        let sessions: Vec<_> = (1..=CLIENTS).map(client).collect();
        for (n, session) in (1..).zip(&sessions) {
            rib.peer_up(id(n), session.clone());
        }
        Self { rib, sessions, receivers: vec![Receiver::default(); CLIENTS.into()] }
    }

    fn receive(&mut self, peer: u8, limit: usize) {
        let at = usize::from(peer) - 1;
        let session = &self.sessions[at].negotiated;
        self.receivers[at].receive(&mut self.rib, id(peer), session, limit);
    }

    fn bounce(&mut self, peer: u8) {
        let at = usize::from(peer) - 1;
        self.rib.peer_down(id(peer), FamilySet::ALL);
        self.rib.peer_up(id(peer), self.sessions[at].clone());
        self.receivers[at] = Receiver::default();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Announce { from, hop, prefix, med } => {
                self.rib.update(id(from), &said(from, hop, med, block(prefix)));
            }
            Step::Withdraw { from, prefix } => {
                self.rib.update(id(from), &Update::withdraw(vec![block(prefix)]));
            }
            Step::Originate(i) => self.rib.originate(block(i), Origin::default()),
            Step::Unoriginate(i) => self.rib.withdraw(block(i)),
            Step::SetLocal(n) => {
                let hop = address(&format!("192.0.2.{}", if n == 0 { 10 } else { n }));
                self.rib.set_local(Local { next_hop_ipv4: Some(hop), ..local() });
            }
            Step::Policy { peer, limit } => {
                self.sessions[usize::from(peer) - 1].policy = policy(limit);
                self.rib.set_policy(id(peer), policy(limit));
            }
            Step::Refresh(peer) => self.rib.refresh(id(peer), Family::Ipv4Unicast),
            Step::Bounce(peer) => self.bounce(peer),
            Step::Receive { peer, limit } => self.receive(peer, limit),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn every_member_ends_with_a_fresh_export(steps in prop::collection::vec(step(), 1..120)) {
        let mut life = Life::new();
        for step in &steps {
            life.step(step);
        }
        (1..=CLIENTS).for_each(|peer| life.receive(peer, usize::MAX));
        for peer in 1..=CLIENTS {
            let at = usize::from(peer) - 1;
            let has = life.receivers[at].routes.clone();
            let advertised = life.rib.advertised(id(peer)).into_iter();
            let advertised =
                advertised.map(|route| (route.prefix, (route.next_hop, route.attributes)));
            prop_assert_eq!(advertised.collect::<BTreeMap<_, _>>(), has.clone());
            let counts = Family::ALL.map(|family| life.rib.counts(id(peer), family).advertised);
            prop_assert_eq!(counts.iter().sum::<usize>(), has.len());
            prop_assert_eq!(&life.receivers[at].end_of_rib, &Family::ALL);
            // A twin of it, which shares nothing yet. A limit keeps the prefixes that were there first,
            // so which ones is history.
            if life.sessions[at].policy.max_prefixes_out.is_none() {
                let (twin, session) = (id(100 + peer), life.sessions[at].clone());
                life.rib.peer_up(twin, session.clone());
                let mut receiver = Receiver::default();
                receiver.receive(&mut life.rib, twin, &session.negotiated, usize::MAX);
                life.rib.remove_peer(twin);
                prop_assert_eq!(&receiver.routes, &has);
            }
        }
    }
}

/// A member that reads nothing while megabytes go by to the others is told the end of it only.
#[test]
fn a_slow_member_leaves_and_misses_nothing() {
    let mut life = Life::new();
    (1..=CLIENTS).for_each(|peer| life.receive(peer, usize::MAX));
    let prefixes: Vec<IpNet> = (0..=255_u8).map(|i| net(&format!("10.{i}.0.0/16"))).collect();
    let big = |med| {
        let communities = (0..900).map(Community).collect();
        Attributes { med: Some(med), communities, ..Attributes::default() }
    };
    for med in 0..20 {
        for prefix in &prefixes {
            life.rib.update(id(1), &announce(1, big(med), &[*prefix]));
            life.receive(2, usize::MAX);
        }
    }
    let before = life.receivers[2].messages;
    life.receive(3, usize::MAX);
    let told = life.receivers[2].messages - before;
    assert!(told < 2 * prefixes.len(), "{told} messages for {} prefixes", prefixes.len());
    assert_eq!(life.receivers[2].routes, life.receivers[1].routes);
    assert_eq!(life.receivers[2].routes.len(), prefixes.len());
}

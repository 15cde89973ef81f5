//! Peers, sessions and a peer's own view of what it was told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use brindle_bgp_proto::attribute::{AsPath, Attributes};
use brindle_bgp_proto::decode::{decode, frame};
use brindle_bgp_proto::encode::encode;
use brindle_bgp_proto::family::{Family, FamilySet};
use brindle_bgp_proto::message::{Message, NextHop, Reach, Update};
use brindle_bgp_proto::negotiated::Negotiated;
use brindle_bgp_proto::policy::PeerPolicy;
use brindle_bgp_proto::rib::{Local, PeerId, PeerSession, Rib};
use ipnet::IpNet;

/// Our AS.
pub const LOCAL_AS: u32 = 65010;

/// Our identity.
pub fn local() -> Local {
    Local {
        router_id: Ipv4Addr::new(10, 0, 0, 10),
        next_hop_ipv4: Some(address("192.0.2.10")),
        next_hop_ipv6: Some(address("2001:db8::10")),
        drain: None,
        cluster_id: Ipv4Addr::new(10, 0, 0, 10),
    }
}

/// A session with both families; peer `n` has 192.0.2.n and the identifier 10.0.0.n.
pub fn session(n: u8, peer_as: u32) -> PeerSession {
    PeerSession {
        negotiated: Negotiated {
            peer_as,
            four_octet_as: true,
            families: FamilySet::ALL,
            ..Negotiated::before_open(LOCAL_AS)
        },
        router_id: Ipv4Addr::new(10, 0, 0, n),
        peer_address: Ipv4Addr::new(192, 0, 2, n).into(),
        local_address: address("192.0.2.10"),
        role: None,
        policy: PeerPolicy::default(),
    }
}

/// The same, and the peer is told what others told us.
pub fn transit(n: u8, peer_as: u32) -> PeerSession {
    let policy = PeerPolicy { transit: true, ..PeerPolicy::default() };
    PeerSession { policy, ..session(n, peer_as) }
}

/// The AS of external peer `n`.
pub fn external_as(n: u8) -> u32 {
    65100 + u32::from(n)
}

/// Tables with external peers 1 to `count`, all up.
pub fn rib_with_peers(count: u8) -> Rib {
    let mut rib = Rib::new(local());
    for n in 1..=count {
        rib.peer_up(PeerId(n.into()), session(n, external_as(n)));
    }
    rib
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// Attributes as peer `n` sends them from outside.
pub fn attributes(n: u8) -> Attributes {
    let as_path = AsPath::sequence([external_as(n), 65500]);
    Attributes { as_path, ..Attributes::default() }
}

/// A next hop of the family that peer `n` owns.
pub fn hop(n: u8, family: Family) -> NextHop {
    match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::new(192, 0, 2, n)),
        Family::Ipv6Unicast => {
            let address = format!("2001:db8::{n:x}").parse().expect("an address");
            NextHop::V6 { global: address, link_local: None }
        }
    }
}

/// Peer `n` announces prefixes of one family.
pub fn announce(n: u8, attributes: Attributes, prefixes: &[IpNet]) -> Update {
    let family = Family::of(&prefixes[0]);
    let reach = Reach { family, next_hop: hop(n, family), prefixes: prefixes.to_vec() };
    Update { reach: vec![reach], attributes: Arc::new(attributes), ..Update::default() }
}

/// What a peer holds of ours, read from the octets that it gets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receiver {
    pub routes: BTreeMap<IpNet, (NextHop, Arc<Attributes>)>,
    pub end_of_rib: Vec<Family>,
    pub messages: usize,
    pub announced: usize,
    pub withdrawn: usize,
}

impl Receiver {
    /// Takes all that waits, or `limit` UPDATEs of it.
    pub fn receive(&mut self, rib: &mut Rib, id: PeerId, session: &Negotiated, limit: usize) {
        for _ in 0..limit {
            let Some(update) = rib.poll_updates(id) else { return };
            let mut octets = Vec::new();
            encode(&Message::Update(update), session, &mut octets).expect("encodes");
            let len = frame(&octets, session).expect("a header").expect("whole");
            assert_eq!(len, octets.len(), "one UPDATE of the queue is one message");
            match decode(&octets, session).expect("decodes") {
                Message::Update(update) => self.take(update),
                other => panic!("{other:?}"),
            }
        }
    }

    fn take(&mut self, update: Update) {
        assert!(update.errors.is_empty(), "{:?}", update.errors);
        self.messages += 1;
        self.end_of_rib.extend(update.end_of_rib);
        for prefix in update.withdrawn {
            self.withdrawn += 1;
            assert!(self.routes.remove(&prefix).is_some(), "{prefix}: withdrawn, never announced");
        }
        for reach in update.reach {
            for prefix in reach.prefixes {
                self.announced += 1;
                self.routes.insert(prefix, (reach.next_hop, update.attributes.clone()));
            }
        }
    }
}

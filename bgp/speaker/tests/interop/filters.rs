//! Filters as a router sees them: they change and stop routes, both ways, without a reset.

use std::sync::Arc;

use anyhow::Result;
use brindle_bgp_proto::attribute::{Community, LargeCommunity};
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::policy::{
    Action, AnyCommunity, Change, Filter, Matches, PeerFilter, PeerPolicy, Rule, Rules,
};
use brindle_bgp_speaker::PeerConfig;
use brindle_lab::process::wait_until;

use crate::router::{Kind, Router};
use crate::world::{PATIENCE, ROUTER, ROUTER_AS, World, peer};

const BLOCKS: [&str; 2] = ["10.65.0.0/26", "fd65::/122"];

#[test]
fn bird_sees_what_filters_make_of_routes() -> Result<()> {
    filters(Kind::Bird)
}

#[test]
fn frr_sees_what_filters_make_of_routes() -> Result<()> {
    filters(Kind::Frr)
}

#[test]
fn gobgp_sees_what_filters_make_of_routes() -> Result<()> {
    filters(Kind::GoBgp)
}

fn filters(kind: Kind) -> Result<()> {
    let world = World::new()?;
    let router = Router::start(kind, &world, 0, ROUTER_AS)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.originate(&BLOCKS)?;
    us.until_state("tor", State::Established)?;
    us.until("both routes", |us| Ok(us.routes.len() == 2))?;
    router.until_path(BLOCKS[0])?;

    let large = LargeCommunity { global: 65001, local1: 1, local2: 2 };
    let changes = vec![
        Change::AddCommunity(AnyCommunity::Standard(Community(65001 << 16 | 7))),
        Change::AddCommunity(AnyCommunity::Large(large)),
        Change::PrependAsPath(vec![65001, 65001]),
        Change::SetMed(50),
        Change::SetLocalPref(900),
    ];
    let change = rules(Some(Action::Accept(changes)), None);
    us.set_peer("tor", with(Filter { export: change, ..Filter::default() }))?;
    wait_until(PATIENCE, "the changed route", || {
        Ok(router.path(BLOCKS[0])?.is_some_and(|path| path.med == "50"))
    })?;
    let path = router.until_path(BLOCKS[0])?;
    assert_eq!(path.as_path, "65001 65001 65001");
    assert_eq!(path.communities, "65001:7 65001:1:2");
    assert_eq!(path.local_pref, "100", "LOCAL_PREF stays inside");
    assert_eq!(router.until_path(BLOCKS[1])?.as_path, "65001", "a rule is of its family");

    // Export of IPv4 and import of IPv6 are rejected.
    let filter = Filter {
        export: rules(Some(Action::Reject), None),
        import: rules(None, Some(Action::Reject)),
        ..Filter::default()
    };
    us.set_peer("tor", with(filter))?;
    router.until_no_path(BLOCKS[0])?;
    us.until("the route to go", |us| Ok(us.routes.len() == 1))?;
    assert!(us.route("10.200.0.0/24").is_some());
    assert_eq!(us.why("tor", BLOCKS[0], true)?, "filters: BGPFilter edge, exportV4[0] rejects it");
    assert_eq!(
        us.why("tor", "fd20::1/128", false)?,
        "filters: BGPFilter edge, importV6[0] rejects it"
    );

    // A filter that is not there stops all.
    let broken = PeerFilter::Broken { name: "gone".into(), problem: "does not exist".into() };
    let policy = PeerPolicy { filters: vec![broken], ..PeerPolicy::default() };
    us.set_peer("tor", PeerConfig { policy, ..peer(ROUTER[0], ROUTER_AS) })?;
    router.until_no_path(BLOCKS[1])?;
    us.until("all routes to go", |us| Ok(us.routes.is_empty()))?;

    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until("both routes again", |us| Ok(us.routes.len() == 2))?;
    assert_eq!(router.until_path(BLOCKS[0])?.communities, "");
    let tor = us.peer("tor")?;
    assert_eq!((tor.established_count, tor.flaps), (1, 0), "all of it on one session");
    us.stop(false)
}

fn rules(ipv4: Option<Action>, ipv6: Option<Action>) -> Rules {
    let list = |action: Option<Action>| {
        action.into_iter().map(|action| Rule { matches: Matches::default(), action }).collect()
    };
    Rules { ipv4: list(ipv4), ipv6: list(ipv6) }
}

fn with(filter: Filter) -> PeerConfig {
    let filter = Filter { name: "edge".into(), ..filter };
    let filters = vec![PeerFilter::Known(Arc::new(filter))];
    let policy = PeerPolicy { filters, ..PeerPolicy::default() };
    PeerConfig { policy, ..peer(ROUTER[0], ROUTER_AS) }
}

//! Routes go both ways, with the right next hops and AS paths.

use anyhow::Result;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_speaker::Command;
use brindle_lab::process::wait_until;

use crate::router::{Kind, Router};
use crate::world::{OUR_AS, PATIENCE, ROUTER, ROUTER_AS, US, World, identity, peer};

const IPV4: usize = 0;
const IPV6: usize = 1;

#[test]
fn bird_ebgp_over_ipv4_carries_both_families() -> Result<()> {
    exchange(Kind::Bird, IPV4, ROUTER_AS)
}

#[test]
fn bird_ebgp_over_ipv6_carries_both_families() -> Result<()> {
    exchange(Kind::Bird, IPV6, ROUTER_AS)
}

#[test]
fn bird_ibgp_over_ipv4_carries_both_families() -> Result<()> {
    exchange(Kind::Bird, IPV4, OUR_AS)
}

#[test]
fn bird_ibgp_over_ipv6_carries_both_families() -> Result<()> {
    exchange(Kind::Bird, IPV6, OUR_AS)
}

#[test]
fn frr_ebgp_over_ipv4_carries_both_families() -> Result<()> {
    exchange(Kind::Frr, IPV4, ROUTER_AS)
}

#[test]
fn frr_ebgp_over_ipv6_carries_both_families() -> Result<()> {
    exchange(Kind::Frr, IPV6, ROUTER_AS)
}

#[test]
fn frr_ibgp_over_ipv4_carries_both_families() -> Result<()> {
    exchange(Kind::Frr, IPV4, OUR_AS)
}

#[test]
fn frr_ibgp_over_ipv6_carries_both_families() -> Result<()> {
    exchange(Kind::Frr, IPV6, OUR_AS)
}

#[test]
fn gobgp_ebgp_over_ipv4_carries_both_families() -> Result<()> {
    exchange(Kind::GoBgp, IPV4, ROUTER_AS)
}

#[test]
fn gobgp_ibgp_over_ipv6_carries_both_families() -> Result<()> {
    exchange(Kind::GoBgp, IPV6, OUR_AS)
}

#[test]
fn openbgpd_carries_the_family_of_the_session_and_asks_for_it_again() -> Result<()> {
    let cases = [(IPV4, "10.65.0.0/26", "10.200.0.0/24"), (IPV6, "fd65::/122", "fd20::/64")];
    for (transport, block, learned) in cases {
        for router_as in [ROUTER_AS, OUR_AS] {
            let world = World::new()?;
            let router = Router::start(Kind::OpenBgpd, &world, transport, router_as)?;
            let mut us = world.speaker()?;
            us.set_peer("tor", peer(ROUTER[transport], router_as))?;
            us.originate(&["10.65.0.0/26", "fd65::/122"])?;
            us.until("its route", |us| Ok(us.routes.len() == 1))?;
            assert_eq!(us.route(learned).as_deref(), Some(ROUTER[transport]));
            assert_eq!(router.until_path(block)?.next_hop, US[transport]);

            let before = router.updates_received()?;
            router.refresh()?;
            wait_until(PATIENCE, "our route again", || Ok(router.updates_received()? > before))?;
            us.stop(false)?;
            router.until_no_path(block)?;
        }
    }
    Ok(())
}

fn exchange(kind: Kind, transport: usize, router_as: u32) -> Result<()> {
    let world = World::new()?;
    let router = Router::start(kind, &world, transport, router_as)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[transport], router_as))?;
    us.originate(&["10.65.0.0/26", "fd65::/122"])?;
    us.send(Command::InSync)?;
    us.until_state("tor", State::Established)?;

    let external = router_as != OUR_AS;
    for (prefix, next_hop) in [("10.65.0.0/26", US[0]), ("fd65::/122", US[1])] {
        let path = router.until_path(prefix)?;
        assert_eq!(path.next_hop.split(' ').next(), Some(next_hop), "{prefix}: {path:?}");
        assert_eq!(path.as_path, if external { OUR_AS.to_string() } else { String::new() });
        assert_eq!(path.local_pref, "100");
    }
    us.until("both routes", |us| Ok(us.routes.len() == 2))?;
    assert_eq!(us.route("10.200.0.0/24").as_deref(), Some(ROUTER[0]));
    assert_eq!(us.route("fd20::/64").as_deref(), Some(ROUTER[1]));
    us.until("convergence", |us| Ok(us.converged))?;
    us.until("End-of-RIB both ways", |us| {
        let families = us.peer("tor")?.families;
        Ok(families.iter().all(|f| f.end_of_rib_sent && f.end_of_rib_received))
    })?;
    for family in us.peer("tor")?.families {
        // FRR tells an eBGP peer its own routes, which are a loop: received, not accepted.
        assert!((1..=2).contains(&family.received), "{family:?}");
        assert_eq!((family.accepted, family.advertised), (1, 1));
    }

    us.send(Command::Withdraw("10.65.0.0/26".parse()?))?;
    router.until_no_path("10.65.0.0/26")?;
    assert!(router.path("fd65::/122")?.is_some());
    us.stop(false)?;
    router.until_no_path("fd65::/122")
}

#[test]
fn bird_asks_and_answers_route_refresh() -> Result<()> {
    refresh(Kind::Bird)
}

#[test]
fn frr_asks_and_answers_route_refresh() -> Result<()> {
    refresh(Kind::Frr)
}

fn refresh(kind: Kind) -> Result<()> {
    let world = World::new()?;
    let router = Router::start(kind, &world, IPV4, ROUTER_AS)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[IPV4], ROUTER_AS))?;
    us.originate(&["10.65.0.0/26", "fd65::/122"])?;
    us.until("both routes", |us| Ok(us.routes.len() == 2))?;
    router.until_path("10.65.0.0/26")?;
    router.until_path("fd65::/122")?;

    let before = router.updates_received()?;
    router.refresh()?;
    wait_until(PATIENCE, "our routes again", || Ok(router.updates_received()? >= before + 2))?;

    let before = us.peer("tor")?.updates_received;
    us.send(Command::Refresh("tor".into()))?;
    us.until("its routes again", |us| Ok(us.peer("tor")?.updates_received >= before + 2))?;
    assert_eq!(us.peer("tor")?.flaps, 0);
    assert!(us.gone.is_empty(), "a refresh takes nothing back");
    us.stop(false)
}

#[test]
fn another_identity_resets_the_session_and_another_hold_time_does_not() -> Result<()> {
    let world = World::new()?;
    let router = Router::start(Kind::Bird, &world, IPV4, ROUTER_AS)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[IPV4], ROUTER_AS))?;
    us.originate(&["10.65.0.0/26"])?;
    us.until_state("tor", State::Established)?;

    let mut other = identity(OUR_AS);
    other.hold_time = 30;
    other.next_hops = ["10.77.0.9".parse()?, US[1].parse()?].into_iter().collect();
    us.send(Command::SetIdentity(Some(other.clone())))?;
    wait_until(PATIENCE, "the new next hop", || {
        Ok(router.path("10.65.0.0/26")?.is_some_and(|path| path.next_hop == "10.77.0.9"))
    })?;
    assert_eq!(us.peer("tor")?.flaps, 0);

    other.router_id = "10.77.0.9".parse()?;
    us.send(Command::SetIdentity(Some(other)))?;
    us.until("a second session", |us| {
        let tor = us.peer("tor")?;
        Ok(tor.state == State::Established && tor.established_count == 2)
    })?;
    let tor = us.peer("tor")?;
    let sent = tor.last_sent_notification.map(|n| n.message).unwrap_or_default();
    assert!(sent.contains("other configuration change (6/6)"), "{sent}");
    assert_eq!(tor.session.map(|s| s.hold_time), Some(30));
    us.stop(false)
}

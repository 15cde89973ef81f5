//! Routes go both ways, with the right next hops and AS paths.

use anyhow::Result;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_speaker::Command;

use crate::bird::Bird;
use crate::world::{OUR_AS, ROUTER, ROUTER_AS, US, World, peer};

#[test]
fn bird_ebgp_over_ipv4_carries_both_families() -> Result<()> {
    exchange_with_bird(0, ROUTER_AS)
}

#[test]
fn bird_ebgp_over_ipv6_carries_both_families() -> Result<()> {
    exchange_with_bird(1, ROUTER_AS)
}

#[test]
fn bird_ibgp_over_ipv4_carries_both_families() -> Result<()> {
    exchange_with_bird(0, OUR_AS)
}

#[test]
fn bird_ibgp_over_ipv6_carries_both_families() -> Result<()> {
    exchange_with_bird(1, OUR_AS)
}

fn exchange_with_bird(transport: usize, router_as: u32) -> Result<()> {
    let world = World::new()?;
    let next_hops = "";
    let protocol =
        Bird::neighbour(ROUTER[transport], US[transport], (router_as, OUR_AS), next_hops);
    let bird = Bird::start(&world, &protocol)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[transport], router_as))?;
    us.originate(&["10.65.0.0/26", "fd65::/122"])?;
    us.send(Command::InSync)?;
    us.until_state("tor", State::Established)?;

    let external = router_as != OUR_AS;
    for (prefix, next_hop) in [("10.65.0.0/26", US[0]), ("fd65::/122", US[1])] {
        let path = bird.until_path(prefix)?;
        assert_eq!(path.next_hop.split(' ').next(), Some(next_hop), "{prefix}: {path:?}");
        assert_eq!(path.as_path, if external { OUR_AS.to_string() } else { String::new() });
        assert_eq!(path.local_pref, "100");
    }
    us.until("both routes", |us| Ok(us.routes.len() == 2))?;
    assert_eq!(us.route("10.200.0.0/24").as_deref(), Some(ROUTER[0]));
    assert_eq!(us.route("fd20::/64").as_deref(), Some(ROUTER[1]));
    us.until("convergence", |us| Ok(us.converged))?;

    let status = us.peer("tor")?;
    for family in &status.families {
        assert_eq!((family.received, family.accepted, family.advertised), (1, 1, 1));
        assert!(family.end_of_rib_sent && family.end_of_rib_received);
    }

    us.send(Command::Withdraw("10.65.0.0/26".parse()?))?;
    brindle_lab::process::wait_until(crate::world::PATIENCE, "the withdrawal", || {
        Ok(bird.path("10.65.0.0/26")?.is_none() && bird.path("fd65::/122")?.is_some())
    })?;
    us.stop(false)
}

//! IPv4 over a link that has IPv6 alone (RFC 8950).

use std::net::IpAddr;

use anyhow::Result;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_speaker::{Command, Identity};

use crate::bird::Bird;
use crate::frr::Frr;
use crate::world::{OUR_AS, ROUTER, ROUTER_AS, Speaker, US, World, first_start, identity, peer};

/// Us on a link without IPv4.
fn speaker(world: &World) -> Result<Speaker> {
    for netns in [&world.us, &world.router] {
        netns.ip(&["-4", "addr", "flush", "dev", "eth0"])?;
    }
    let next_hops = [US[1].parse::<IpAddr>()?].into_iter().collect();
    let identity = Identity { next_hops, ..identity(OUR_AS) };
    World::speaker_in(&world.us, first_start(), identity)
}

/// Both ways; `path` is what the router has of a prefix.
fn exchange(us: &mut Speaker, next_hop: impl Fn(&str) -> Result<String>) -> Result<()> {
    us.set_peer("tor", peer(ROUTER[1], ROUTER_AS))?;
    us.originate(&["10.65.0.0/26", "fd65::/122"])?;
    us.until_state("tor", State::Established)?;
    us.until("both routes", |us| Ok(us.routes.len() == 2))?;
    assert_eq!(us.route("10.200.0.0/24").as_deref(), Some(ROUTER[1]), "IPv4 over IPv6");
    assert_eq!(us.route("fd20::/64").as_deref(), Some(ROUTER[1]));
    for prefix in ["10.65.0.0/26", "fd65::/122"] {
        us.until("our route", |_| Ok(next_hop(prefix)?.starts_with(US[1])))?;
    }
    let capabilities = us.peer("tor")?.session.map(|s| s.capabilities).unwrap_or_default();
    assert!(capabilities.iter().any(|c| c == "IPv4 over IPv6 next hops"), "{capabilities:?}");
    us.send(Command::Withdraw("10.65.0.0/26".parse()?))?;
    us.until("our route to go", |_| Ok(next_hop("10.65.0.0/26")?.is_empty()))
}

#[test]
fn bird_takes_and_gives_ipv4_over_ipv6_next_hops() -> Result<()> {
    let world = World::new()?;
    let mut us = speaker(&world)?;
    let neighbour = Bird::neighbour(ROUTER[1], US[1], (ROUTER_AS, OUR_AS), "");
    let neighbour = neighbour.replace("ipv4 {", "ipv4 { extended next hop on;");
    let bird = Bird::start(&world, &neighbour)?;
    exchange(&mut us, |prefix| Ok(bird.path(prefix)?.map_or(String::new(), |path| path.next_hop)))?;
    us.stop(false)
}

#[test]
fn frr_takes_and_gives_ipv4_over_ipv6_next_hops() -> Result<()> {
    let world = World::new()?;
    let mut us = speaker(&world)?;
    let frr = Frr::start(&world, US[1], (ROUTER_AS, OUR_AS))?;
    let extended = format!("neighbor {} capability extended-nexthop", US[1]);
    frr.configure(&[&extended])?;
    exchange(&mut us, |prefix| Ok(frr.path(prefix)?.map_or(String::new(), |path| path.next_hop)))?;
    us.stop(false)
}

#[test]
fn without_the_capability_no_ipv4_route_goes_over_ipv6() -> Result<()> {
    let world = World::new()?;
    let mut us = speaker(&world)?;
    let neighbour = Bird::neighbour(ROUTER[1], US[1], (ROUTER_AS, OUR_AS), "");
    let bird = Bird::start(&world, &neighbour)?;
    us.set_peer("tor", peer(ROUTER[1], ROUTER_AS))?;
    us.originate(&["10.65.0.0/26", "fd65::/122"])?;
    us.until_state("tor", State::Established)?;
    us.until("our IPv6 route", |_| Ok(bird.path("fd65::/122")?.is_some()))?;
    assert_eq!(bird.path("10.65.0.0/26")?, None);
    let why = us.why("tor", "10.65.0.0/26", true)?;
    assert!(why.starts_with("next hop: this node has no address of ipv4 unicast"), "{why}");
    us.stop(false)
}

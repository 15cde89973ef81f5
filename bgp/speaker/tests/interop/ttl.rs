//! How far away a neighbour may be: TTL security (RFC 5082), multihop, and neither.

use anyhow::{Context, Result};
use brindle_bgp_proto::fsm::State;
use brindle_bgp_speaker::{Hops, PeerConfig};
use brindle_lab::netns::{Netns, run, veth};

use crate::bird::Bird;
use crate::router::{Kind, Router};
use crate::world::{OUR_AS, ROUTER, ROUTER_AS, US, World, peer};

fn config(address: &str, hops: Hops) -> PeerConfig {
    PeerConfig { hops, ..peer(address, ROUTER_AS) }
}

/// Packets that a namespace's kernel has dropped for their TTL.
fn dropped(netns: &Netns) -> Result<u64> {
    let text = run("ip", &["netns", "exec", netns.name(), "cat", "/proc/net/netstat"])?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = lines.next().zip(lines.next()).context("no TcpExt")?;
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "TCPMinTTLDrop").context("no counter")?;
    Ok(value.parse()?)
}

#[test]
fn bird_and_frr_with_ttl_security_take_ours_over_both_families() -> Result<()> {
    for (kind, over) in [(Kind::Bird, 0), (Kind::Bird, 1), (Kind::Frr, 0), (Kind::Frr, 1)] {
        let world = World::new()?;
        let ases = (ROUTER_AS, OUR_AS);
        let _router = match kind {
            Kind::Bird => {
                let neighbour = Bird::neighbour(ROUTER[over], US[over], ases, "ttl security on;");
                Router::Bird(Bird::start(&world, &neighbour)?)
            }
            _ => {
                let router = Router::start(kind, &world, over, ROUTER_AS)?;
                if let Router::Frr(frr) = &router {
                    frr.configure(&[&format!("neighbor {} ttl-security hops 1", US[over])])?;
                }
                router
            }
        };
        let mut us = world.speaker()?;
        us.set_peer("tor", config(ROUTER[over], Hops::Security(1)))?;
        us.until("its routes", |us| Ok(us.routes.len() == 2))?;
        let protection = us.peer("tor")?.protection;
        assert_eq!(protection, ["TTL security: 1 hops, TTL at least 255"], "{kind:?} {over}");
        // Without it, what we send (TTL 1) is refused by the router's kernel, but for what comes
        // before its daemon has seen the connection.
        us.set_peer("tor", config(ROUTER[over], Hops::Usual))?;
        let before = dropped(&world.router)?;
        us.until("drops at the router", |_| Ok(dropped(&world.router)? >= before + 3))?;
        us.stop(false)?;
    }
    Ok(())
}

#[test]
fn what_bird_sends_without_ttl_security_is_dropped() -> Result<()> {
    for over in [0, 1] {
        let world = World::new()?;
        let _router = Router::start(Kind::Bird, &world, over, ROUTER_AS)?;
        let mut us = world.speaker()?;
        us.set_peer("tor", config(ROUTER[over], Hops::Security(1)))?;
        us.until("drops here", |us| {
            assert_eq!(us.peer("tor")?.established_count, 0);
            Ok(dropped(&world.us)? >= 3)
        })?;
        us.stop(false)?;
    }
    Ok(())
}

/// Behind the usual router, one hop further.
pub const FAR: [&str; 2] = ["10.78.0.2", "fd78::2"];

/// The world with its router moved one hop away; what was the router only forwards.
pub fn far_world() -> Result<(World, Netns)> {
    let World { us, router: middle, dir } = World::new()?;
    let far = Netns::create(&middle.name().replace("-rt-", "-fr-"))?;
    veth((&middle, "eth1"), (&far, "eth0"))?;
    for (netns, device, v4, v6) in
        [(&middle, "eth1", "10.78.0.1", "fd78::1"), (&far, "eth0", FAR[0], FAR[1])]
    {
        netns.ip(&["addr", "add", &format!("{v4}/24"), "dev", device])?;
        netns.ip(&["addr", "add", &format!("{v6}/64"), "dev", device, "nodad"])?;
    }
    for key in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        run("ip", &["netns", "exec", middle.name(), "sysctl", "-qw", key])?;
    }
    us.ip(&["route", "add", "10.78.0.0/24", "via", ROUTER[0]])?;
    us.ip(&["route", "add", "fd78::/64", "via", ROUTER[1]])?;
    far.ip(&["route", "add", "10.77.0.0/24", "via", "10.78.0.1"])?;
    far.ip(&["route", "add", "fd77::/64", "via", "fd78::1"])?;
    Ok((World { us, router: far, dir }, middle))
}

#[test]
fn a_neighbour_behind_a_hop_needs_multihop() -> Result<()> {
    for over in [0, 1] {
        let (world, _middle) = far_world()?;
        let more = "multihop 2; passive;";
        let neighbour = Bird::neighbour(FAR[over], US[over], (ROUTER_AS, OUR_AS), more);
        let _bird = Bird::start(&world, &neighbour)?;
        let mut us = world.speaker()?;
        us.set_peer("tor", config(FAR[over], Hops::Usual))?;
        us.until("an attempt that fails", |us| Ok(us.peer("tor")?.last_error.is_some()))?;
        assert_eq!(us.peer("tor")?.established_count, 0);
        us.set_peer("tor", config(FAR[over], Hops::Multihop(2)))?;
        us.until_state("tor", State::Established)?;
        us.stop(false)?;
    }
    Ok(())
}

#[test]
fn ttl_security_over_two_hops_counts_them() -> Result<()> {
    for over in [0, 1] {
        let (world, _middle) = far_world()?;
        let more = "multihop 2; ttl security on; passive;";
        let neighbour = Bird::neighbour(FAR[over], US[over], (ROUTER_AS, OUR_AS), more);
        let _bird = Bird::start(&world, &neighbour)?;
        let mut us = world.speaker()?;
        us.set_peer("tor", config(FAR[over], Hops::Security(1)))?;
        us.until("an attempt that fails", |us| Ok(us.peer("tor")?.last_error.is_some()))?;
        assert_eq!(us.peer("tor")?.established_count, 0, "it is two hops away");
        us.set_peer("tor", config(FAR[over], Hops::Security(2)))?;
        us.until_state("tor", State::Established)?;
        us.stop(false)?;
    }
    Ok(())
}

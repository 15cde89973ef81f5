//! As many routes as a large cluster has blocks, both ways: what waits, waits in order and bounded.

use std::fmt::Write;
use std::time::Instant;

use anyhow::Result;
use brindle_bgp_speaker::{Command, Origin};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::world::{OUR_AS, PATIENCE, ROUTER, ROUTER_AS, US, World, peer};

const ROUTES: usize = 20_000;

/// The n-th /26 behind 11.0.0.0 or 12.0.0.0.
fn block(first: u8, n: usize) -> Result<ipnet::IpNet> {
    let offset = u32::try_from(n * 64)?;
    let base = u32::from_be_bytes([first, 0, 0, 0]);
    Ok(ipnet::IpNet::new(std::net::Ipv4Addr::from(base + offset).into(), 26)?)
}

#[test]
fn twenty_thousand_routes_go_both_ways() -> Result<()> {
    let world = World::new()?;
    let mut statics = String::from("protocol static many { ipv4;\n");
    for n in 0..ROUTES {
        writeln!(statics, "route {} blackhole;", block(11, n)?)?;
    }
    statics.push_str("}\n");
    let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, OUR_AS), "");
    let bird = Bird::start(&world, &format!("{statics}{neighbour}"))?;
    let mut us = world.speaker()?;
    for n in 0..ROUTES {
        us.send(Command::Originate(block(12, n)?, Origin::default()))?;
    }
    us.send(Command::InSync)?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until("the session", |us| Ok(us.peer("tor")?.established_count == 1))?;
    let start = Instant::now();
    us.until("all routes", |us| Ok(us.routes.len() == ROUTES + 2))?;
    wait_until(PATIENCE, "bird to have all routes", || {
        Ok(bird.ask("show route count protocol node")?.contains(&format!("{ROUTES} of")))
    })?;
    println!("{ROUTES} routes each way: {:?}", start.elapsed());
    assert_eq!(us.peer("tor")?.families[0].advertised, ROUTES);

    for n in 0..ROUTES {
        us.send(Command::Withdraw(block(12, n)?))?;
    }
    wait_until(PATIENCE, "bird to have none", || {
        Ok(bird.ask("show route count protocol node")?.contains("\n0 of"))
    })?;
    assert_eq!(us.peer("tor")?.flaps, 0);
    us.stop(false)
}

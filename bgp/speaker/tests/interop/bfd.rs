//! BFD with BIRD and FRR, over one hop and over two: a link that goes silent ends the session long
//! before the hold time.

use std::time::{Duration, Instant};

use anyhow::Result;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_speaker::{BfdConfig, Hops, PeerConfig};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::ttl::{FAR, far_world};
use crate::world::{OUR_AS, PATIENCE, ROUTER, ROUTER_AS, Speaker, US, World, peer};

const BIRD_BFD: &str = "protocol bfd { interface \"*\" {
  min rx interval 100 ms; min tx interval 100 ms; idle tx interval 300 ms; multiplier 3; }; }\n";

const BIRD_MULTIHOP_BFD: &str = "protocol bfd { multihop {
  min rx interval 100 ms; min tx interval 100 ms; idle tx interval 300 ms; multiplier 3; }; }\n";

fn watched(address: &str) -> PeerConfig {
    let interval = Duration::from_millis(100);
    let bfd = BfdConfig { desired_min_tx: interval, required_min_rx: interval, detect_mult: 3 };
    PeerConfig { bfd: Some(bfd), ..peer(address, ROUTER_AS) }
}

/// Has a link go silent; the session and its routes go long before the hold time of 9 s.
fn falls_silent(us: &mut Speaker, silence: impl FnOnce() -> Result<String>) -> Result<()> {
    let start = Instant::now();
    silence()?;
    us.until("the routes to go", |us| Ok(us.routes.is_empty()))?;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}: the hold time is 9 s");
    let tor = us.peer("tor")?;
    let sent = tor.last_sent_notification.map(|sent| sent.message).unwrap_or_default();
    assert!(sent.starts_with("BFD down (6/10)"), "{sent}");
    Ok(())
}

fn is_up(us: &Speaker) -> Result<bool> {
    Ok(us.peer("tor")?.bfd.is_some_and(|bfd| bfd.state == "Up"))
}

#[test]
fn bird_and_we_see_a_silent_link_within_a_second_over_both_families() -> Result<()> {
    for over in [0, 1] {
        let world = World::new()?;
        let node = Bird::neighbour(ROUTER[over], US[over], (ROUTER_AS, OUR_AS), "bfd on;");
        let bird = Bird::start(&world, &(BIRD_BFD.to_owned() + &node))?;
        let mut us = world.speaker()?;
        us.set_peer("tor", watched(ROUTER[over]))?;
        us.until("BFD to be up", is_up)?;
        us.until("both routes", |us| Ok(us.routes.len() == 2))?;
        wait_until(PATIENCE, "BIRD to say so", || {
            Ok(bird.ask("show bfd sessions")?.contains("Up"))
        })?;
        let bfd = us.peer("tor")?.bfd.map(|bfd| bfd.detection_time);
        assert_eq!(bfd, Some(Some(300)), "3 of 100 ms");

        falls_silent(&mut us, || world.router.ip(&["link", "set", "eth0", "down"]))?;

        world.router.ip(&["link", "set", "eth0", "up"])?;
        let again = format!("{}/64", ROUTER[1]);
        // The kernel removes IPv6 addresses of a link that goes down.
        drop(world.router.ip(&["addr", "add", &again, "dev", "eth0", "nodad"]));
        us.until_state("tor", State::Established)?;
        us.stop(false)?;
    }
    Ok(())
}

#[test]
fn frr_and_we_see_a_silent_link_within_a_second_over_both_families() -> Result<()> {
    for over in [0, 1] {
        let world = World::new()?;
        let mut frr = Frr::start(&world, US[over], (ROUTER_AS, OUR_AS))?;
        frr.watch(&world)?;
        let mut us = world.speaker()?;
        us.set_peer("tor", watched(ROUTER[over]))?;
        us.until("BFD to be up", is_up)?;
        us.until("both routes", |us| Ok(us.routes.len() == 2))?;
        wait_until(PATIENCE, "FRR to say so", || Ok(frr.bfd()?["status"] == "up"))?;
        let bfd = frr.bfd()?;
        assert_eq!((&bfd["multihop"], &bfd["detect-multiplier"]), (&false.into(), &3.into()));
        assert_eq!(bfd["remote-transmit-interval"], 100, "{bfd}");

        falls_silent(&mut us, || world.router.ip(&["link", "set", "eth0", "down"]))?;
        wait_until(PATIENCE, "FRR to see it too", || Ok(frr.bfd()?["status"] != "up"))?;
        us.stop(false)?;
    }
    Ok(())
}

#[test]
fn behind_a_hop_bird_and_frr_and_we_see_a_silent_link_over_both_families() -> Result<()> {
    for (with_frr, over) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let (world, middle) = far_world()?;
        let ases = (ROUTER_AS, OUR_AS);
        let mut routers: (Option<Bird>, Option<Frr>) = (None, None);
        if with_frr {
            let mut frr = Frr::start(&world, US[over], ases)?;
            frr.configure(&[&format!("neighbor {} ebgp-multihop 2", US[over])])?;
            frr.watch(&world)?;
            routers.1 = Some(frr);
        } else {
            let more = "multihop 2; passive; bfd on;";
            let node = Bird::neighbour(FAR[over], US[over], ases, more);
            routers.0 = Some(Bird::start(&world, &(BIRD_MULTIHOP_BFD.to_owned() + &node))?);
        }
        let mut us = world.speaker()?;
        us.set_peer("tor", PeerConfig { hops: Hops::Multihop(2), ..watched(FAR[over]) })?;
        us.until("BFD to be up", is_up)?;
        us.until("both routes", |us| Ok(us.routes.len() == 2))?;
        if let Some(frr) = &routers.1 {
            wait_until(PATIENCE, "FRR to say so", || Ok(frr.bfd()?["status"] == "up"))?;
            assert_eq!(frr.bfd()?["multihop"], true);
        }
        if let Some(bird) = &routers.0 {
            wait_until(PATIENCE, "BIRD to say so", || {
                Ok(bird.ask("show bfd sessions")?.contains("Up"))
            })?;
        }
        falls_silent(&mut us, || middle.ip(&["link", "set", "eth1", "down"]))?;
        us.stop(false)?;
    }
    Ok(())
}

//! BFD with BIRD: a link that goes silent ends the session long before the hold time.

use std::time::{Duration, Instant};

use anyhow::Result;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_speaker::{BfdConfig, PeerConfig};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::world::{OUR_AS, PATIENCE, ROUTER, ROUTER_AS, US, World, peer};

const BIRD_BFD: &str = "protocol bfd { interface \"*\" {
  min rx interval 100 ms; min tx interval 100 ms; idle tx interval 300 ms; multiplier 3; }; }\n";

fn watched(address: &str) -> PeerConfig {
    let interval = Duration::from_millis(100);
    let bfd = BfdConfig { desired_min_tx: interval, required_min_rx: interval, detect_mult: 3 };
    PeerConfig { bfd: Some(bfd), ..peer(address, ROUTER_AS) }
}

#[test]
fn bird_and_we_see_a_silent_link_within_a_second_over_both_families() -> Result<()> {
    for over in [0, 1] {
        let world = World::new()?;
        let node = Bird::neighbour(ROUTER[over], US[over], (ROUTER_AS, OUR_AS), "bfd on;");
        let bird = Bird::start(&world, &(BIRD_BFD.to_owned() + &node))?;
        let mut us = world.speaker()?;
        us.set_peer("tor", watched(ROUTER[over]))?;
        us.until("BFD to be up", |us| {
            Ok(us.peer("tor")?.bfd.is_some_and(|bfd| bfd.state == "Up"))
        })?;
        us.until("both routes", |us| Ok(us.routes.len() == 2))?;
        wait_until(PATIENCE, "BIRD to say so", || {
            Ok(bird.ask("show bfd sessions")?.contains("Up"))
        })?;
        let bfd = us.peer("tor")?.bfd.map(|bfd| bfd.detection_time);
        assert_eq!(bfd, Some(Some(300)), "3 of 100 ms");

        let start = Instant::now();
        world.router.ip(&["link", "set", "eth0", "down"])?;
        us.until("the routes to go", |us| Ok(us.routes.is_empty()))?;
        let took = start.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}: the hold time is 9 s");
        let tor = us.peer("tor")?;
        let sent = tor.last_sent_notification.map(|sent| sent.message).unwrap_or_default();
        assert!(sent.starts_with("BFD down (6/10)"), "{sent}");

        world.router.ip(&["link", "set", "eth0", "up"])?;
        let again = format!("{}/64", ROUTER[1]);
        // The kernel removes IPv6 addresses of a link that goes down.
        drop(world.router.ip(&["addr", "add", &again, "dev", "eth0", "nodad"]));
        us.until_state("tor", State::Established)?;
        us.stop(false)?;
    }
    Ok(())
}

//! Graceful restart in both roles, judged by the kernel's routes of the side that must not notice.

use anyhow::{Context, Result};
use brindle_bgp_proto::family::FamilySet;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_speaker::{Command, Config, Identity, PeerConfig};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::router::{Kind, RouteMonitor, Router};
use crate::world::{
    BESIDE, OUR_AS, PATIENCE, ROUTER, ROUTER_AS, Speaker, US, World, first_start, identity, peer,
    second_speaker,
};

/// Stays over the restart.
const KEPT: [&str; 2] = ["10.65.0.0/26", "fd65::/122"];
/// Is not originated again.
const LEFT: &str = "10.66.0.0/26";

const BIRD_TO_KERNEL: &str = "
protocol kernel k4 { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel k6 { ipv6 { import none; export where source = RTS_BGP; }; }
";

#[test]
fn bird_keeps_forwarding_over_our_restart() -> Result<()> {
    our_restart(Kind::Bird, FamilySet::ALL)
}

#[test]
fn frr_keeps_forwarding_over_our_restart() -> Result<()> {
    our_restart(Kind::Frr, FamilySet::ALL)
}

#[test]
fn bird_drops_routes_whose_forwarding_was_not_preserved() -> Result<()> {
    our_restart(Kind::Bird, FamilySet::NONE)
}

#[test]
fn frr_drops_routes_whose_forwarding_was_not_preserved() -> Result<()> {
    our_restart(Kind::Frr, FamilySet::NONE)
}

fn router(kind: Kind, world: &World) -> Result<Router> {
    Ok(match kind {
        Kind::Bird => {
            let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, OUR_AS), "");
            Router::Bird(Bird::start(world, &format!("{BIRD_TO_KERNEL}{neighbour}"))?)
        }
        _ => Router::start(kind, world, 0, ROUTER_AS)?,
    })
}

fn in_kernel(world: &World, prefix: &str) -> Result<bool> {
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    Ok(!world.router.ip(&[family, "route", "show", prefix])?.is_empty())
}

fn first_run(world: &World) -> Result<Speaker> {
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.originate(&KEPT)?;
    us.originate(&[LEFT])?;
    us.send(Command::InSync)?;
    us.until("both routes and End-of-RIB", |us| {
        let families = us.peer("tor")?.families;
        Ok(us.routes.len() == 2 && families.iter().all(|f| f.end_of_rib_sent))
    })?;
    wait_until(PATIENCE, "our routes in the router's kernel", || {
        Ok(in_kernel(world, KEPT[0])? && in_kernel(world, KEPT[1])? && in_kernel(world, LEFT)?)
    })?;
    Ok(us)
}

/// The table of RFC 4724 helpers as measured: F=1 loses nothing, F=0 makes a hole.
fn our_restart(kind: Kind, preserved: FamilySet) -> Result<()> {
    let world = World::new()?;
    let _router = router(kind, &world)?;
    let before = first_run(&world)?;
    let monitor = RouteMonitor::start(&world)?;
    before.stop(true)?;

    let mut us = world.speaker_with(Config {
        restarting: true,
        forwarding_preserved: preserved,
        jitter_seed: 2,
    })?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    if !preserved.is_empty() {
        us.originate(&KEPT)?;
    }
    us.until("the router's End-of-RIB", |us| {
        let tor = us.peer("tor")?;
        Ok(tor.state == State::Established && tor.families.iter().all(|f| f.end_of_rib_received))
    })?;
    let status = us.status()?.speaker;
    assert!(status.restarting && !status.converged, "sources are not in sync yet");
    assert!(us.routes.is_empty(), "routes are held back until the restart is over");
    if preserved.is_empty() {
        // The router removes what is stale at its own pace; sooner, ours would take their place.
        wait_until(PATIENCE, "stale routes to go at once", || {
            let gone = |prefix| in_kernel(&world, prefix).map(|found| !found);
            Ok(gone(LEFT)? && gone(KEPT[0])? && gone(KEPT[1])?)
        })?;
        us.originate(&KEPT)?;
    } else {
        assert!(in_kernel(&world, LEFT)?, "stale routes stay until our End-of-RIB");
    }

    us.send(Command::InSync)?;
    us.until("convergence", |us| Ok(us.converged))?;
    assert_eq!(us.routes.len(), 2, "all routes were reported before");
    wait_until(PATIENCE, "the stale route to go and ours to be there", || {
        Ok(!in_kernel(&world, LEFT)? && in_kernel(&world, KEPT[0])? && in_kernel(&world, KEPT[1])?)
    })?;
    let lines = monitor.lines(&KEPT)?;
    let deleted = lines.iter().any(|line| line.starts_with("Deleted"));
    assert_eq!(deleted, preserved.is_empty(), "{lines:?}");
    us.stop(false)
}

fn restarting_bird(world: &World, seconds: u32, recovers: bool, statics: &str) -> Result<Bird> {
    let more = format!("graceful restart on; graceful restart time {seconds};");
    let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, OUR_AS), &more);
    Bird::start_with(world, &format!("{statics}{BIRD_TO_KERNEL}{neighbour}"), recovers)
}

const ONE_MORE: &str = "protocol static s5 { ipv4; route 10.201.0.0/24 blackhole; }\n";

#[test]
fn we_keep_routes_of_a_router_that_restarts() -> Result<()> {
    let world = World::new()?;
    let bird = restarting_bird(&world, 30, false, ONE_MORE)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    // A router that restarts waits for our End-of-RIB before it sends its own.
    us.send(Command::InSync)?;
    us.until("three routes", |us| Ok(us.routes.len() == 3))?;

    bird.crash()?;
    us.until("stale routes", |us| {
        let tor = us.peer("tor")?;
        Ok(tor.state != State::Established
            && tor.families.iter().map(|f| f.stale).sum::<usize>() == 3)
    })?;
    assert!(us.peer("tor")?.stale_until.is_some());
    assert!(us.gone.is_empty(), "{:?}", us.gone);

    let _bird = restarting_bird(&world, 30, true, "")?;
    us.until("End-of-RIB to sweep", |us| Ok(us.routes.len() == 2))?;
    assert_eq!(us.gone, ["10.201.0.0/24".parse()?], "only what the router no longer has");
    let tor = us.peer("tor")?;
    assert_eq!((tor.flaps, tor.established_count), (1, 2));
    us.until("nothing stale", |us| Ok(us.peer("tor")?.stale_until.is_none()))?;
    us.stop(false)
}

#[test]
fn a_router_that_does_not_come_back_loses_its_routes() -> Result<()> {
    let world = World::new()?;
    let bird = restarting_bird(&world, 2, false, "")?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until("two routes", |us| Ok(us.routes.len() == 2))?;
    bird.crash()?;
    us.until("stale routes", |us| Ok(us.peer("tor")?.stale_until.is_some()))?;
    assert_eq!(us.routes.len(), 2);
    us.until("the restart time to pass", |us| Ok(us.routes.is_empty()))?;
    us.stop(false)
}

#[test]
fn a_router_that_shuts_down_takes_its_routes_with_it() -> Result<()> {
    let world = World::new()?;
    let bird = restarting_bird(&world, 30, false, "")?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until("two routes", |us| Ok(us.routes.len() == 2))?;
    bird.ask("disable node")?;
    us.until("no routes", |us| Ok(us.routes.is_empty()))?;
    let tor = us.peer("tor")?;
    assert_eq!(tor.stale_until, None);
    let received = tor.last_received_notification.map(|n| n.message).unwrap_or_default();
    assert!(received.contains("(6/2)"), "{received}");
    us.stop(false)
}

#[test]
fn routes_of_a_router_that_stays_away_are_the_last_resort() -> Result<()> {
    let world = World::new()?;
    let more = "graceful restart on; graceful restart time 1; \
                long lived graceful restart on; long lived stale time 100;";
    let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, OUR_AS), more);
    let bird = Bird::start(&world, &neighbour)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until("two routes", |us| Ok(us.routes.len() == 2))?;
    let capabilities = us.peer("tor")?.session.map(|session| session.capabilities);
    let long = "long-lived graceful restart (ipv4 unicast 100 s, ipv6 unicast 100 s)";
    assert!(
        capabilities.clone().is_some_and(|all| all.iter().any(|c| c == long)),
        "{capabilities:?}"
    );
    bird.crash()?;
    us.until("the restart time to pass", |us| {
        let marked = us.received()?.into_iter().filter(|route| route.communities == ["65535:6"]);
        Ok(marked.count() == 2)
    })?;
    assert!(us.gone.is_empty() && us.routes.len() == 2, "{:?}", us.gone);

    // Whoever else has a route has a better one, at any length.
    let mut other = second_speaker(&world, 64999, peer(US[0], OUR_AS))?;
    us.set_peer("other", PeerConfig { passive: true, ..peer(BESIDE, 64999) })?;
    other.originate(&["10.200.0.0/24"])?;
    us.until("the other route", |us| Ok(us.route("10.200.0.0/24").as_deref() == Some(BESIDE)))?;
    other.stop(false)?;
    us.until("the last resort", |us| Ok(us.route("10.200.0.0/24").as_deref() == Some(ROUTER[0])))?;
    us.stop(false)
}

#[test]
fn bird_keeps_ours_for_long_if_we_ask_for_it() -> Result<()> {
    let world = World::new()?;
    let more = "graceful restart aware; long lived graceful restart aware;";
    let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, OUR_AS), more);
    let bird = Bird::start(&world, &neighbour)?;
    let identity = Identity { restart_time: 1, long_lived_stale_time: 100, ..identity(OUR_AS) };
    let mut us = World::speaker_in(&world.us, first_start(), identity)?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.originate(&["10.65.0.0/26"])?;
    us.send(Command::InSync)?;
    wait_until(PATIENCE, "our route", || Ok(bird.path("10.65.0.0/26")?.is_some()))?;
    us.until_state("tor", State::Established)?;
    us.stop(true)?;
    wait_until(PATIENCE, "the mark of a stale route", || {
        let path = bird.path("10.65.0.0/26")?.context("the route is gone")?;
        Ok(path.communities.contains("65535:6"))
    })
}

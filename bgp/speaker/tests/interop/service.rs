//! Limits, shutdowns and draining as routers see them.

use anyhow::{Context, Result};
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::policy::{MaxPrefixes, MaxPrefixesOut, PeerPolicy};
use brindle_bgp_speaker::{Command, Drain, Identity, PeerConfig};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::router::{Kind, Router};
use crate::world::{OUR_AS, PATIENCE, ROUTER, ROUTER_AS, US, World, identity, peer};

#[test]
fn a_drained_node_is_marked_then_withdraws_and_keeps_its_session() -> Result<()> {
    for kind in [Kind::Bird, Kind::Frr, Kind::GoBgp] {
        let world = World::new()?;
        let router = Router::start(kind, &world, 0, ROUTER_AS)?;
        let mut us = world.speaker()?;
        us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
        us.originate(&["10.65.0.0/26", "fd65::/122"])?;
        us.until_state("tor", State::Established)?;
        router.until_path("10.65.0.0/26")?;

        let mut drain = |drain| {
            let identity = Identity { drain, ..identity(OUR_AS) };
            us.send(Command::SetIdentity(Some(identity)))
        };
        drain(Some(Drain::GracefulShutdown))?;
        for prefix in ["10.65.0.0/26", "fd65::/122"] {
            wait_until(PATIENCE, "the community", || {
                let communities = router.path(prefix)?.map(|path| path.communities);
                // FRR has a name for it.
                Ok(communities.is_some_and(|c| c == "65535:0" || c == "graceful-shutdown"))
            })
            .with_context(|| format!("{kind:?}: {:?}", router.path(prefix)))?;
        }
        drain(Some(Drain::Withdraw))?;
        router.until_no_path("10.65.0.0/26")?;
        router.until_no_path("fd65::/122")?;
        drain(None)?;
        assert_eq!(router.until_path("10.65.0.0/26")?.communities, "");
        assert_eq!(us.peer("tor")?.flaps, 0, "{kind:?}");
        us.stop(false)?;
    }
    Ok(())
}

#[test]
fn a_shutdown_is_told_in_words_both_ways() -> Result<()> {
    let world = World::new()?;
    let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, OUR_AS), "");
    let bird = Bird::start(&world, &neighbour)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until_state("tor", State::Established)?;
    let shutdown = Some("Rack 7 is moved".into());
    us.set_peer("tor", PeerConfig { shutdown, ..peer(ROUTER[0], ROUTER_AS) })?;
    wait_until(PATIENCE, "BIRD to have our words", || {
        let log = std::fs::read_to_string(world.dir.path().join("protocol.log"))?;
        Ok(log.contains("Rack 7 is moved"))
    })?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.until_state("tor", State::Established)?;

    bird.ask("disable node \"Spine is upgraded\"")?;
    us.until("its words", |us| {
        let received = us.peer("tor")?.last_received_notification;
        Ok(received.is_some_and(|n| n.message.ends_with("(6/2): Spine is upgraded")))
    })?;
    us.stop(false)
}

#[test]
fn a_router_over_its_limit_is_told_so_and_let_in_with_another() -> Result<()> {
    for kind in [Kind::Bird, Kind::Frr] {
        let world = World::new()?;
        let router = Router::start(kind, &world, 0, ROUTER_AS)?;
        let mut us = world.speaker()?;
        us.set_peer("tor", limited(0))?;
        us.until("the limit to count", |us| {
            let tor = us.peer("tor")?;
            Ok(tor.flaps == 1 && tor.state == State::Idle)
        })?;
        let tor = us.peer("tor")?;
        let why = tor.idle_because.unwrap_or_default();
        assert!(why.starts_with("the peer advertised more than 0 ipv4 unicast prefixes"), "{why}");
        wait_until(PATIENCE, "the router to know why", || {
            let said = router.last_error()?.to_lowercase();
            Ok(said.contains("maximum number of prefixes") || said.contains("max"))
        })
        .with_context(|| router.describe())?;
        us.set_peer("tor", limited(100))?;
        us.until("its routes", |us| Ok(us.routes.len() == 2))?;
        us.stop(false)?;
    }
    Ok(())
}

fn limited(ipv4: u32) -> PeerConfig {
    let limits = MaxPrefixes { ipv4: Some(ipv4), ipv6: None, warn_percent: 75, restart: None };
    let policy = PeerPolicy { max_prefixes: Some(limits), ..PeerPolicy::default() };
    PeerConfig { policy, ..peer(ROUTER[0], ROUTER_AS) }
}

#[test]
fn a_router_is_told_of_no_more_than_its_limit() -> Result<()> {
    for kind in [Kind::Bird, Kind::Frr] {
        let world = World::new()?;
        let router = Router::start(kind, &world, 0, ROUTER_AS)?;
        let mut us = world.speaker()?;
        let limits = MaxPrefixesOut { ipv4: Some(2), ipv6: None, warn_percent: 75 };
        let policy = PeerPolicy { max_prefixes_out: Some(limits), ..PeerPolicy::default() };
        us.set_peer("tor", PeerConfig { policy, ..peer(ROUTER[0], ROUTER_AS) })?;
        us.originate(&["10.65.0.0/26", "10.65.0.64/26", "10.65.0.128/26", "fd65::/122"])?;
        router.until_path("10.65.0.64/26")?;
        router.until_path("fd65::/122")?;
        assert_eq!(router.path("10.65.0.128/26")?, None, "{kind:?}");
        us.send(Command::Withdraw("10.65.0.0/26".parse()?))?;
        router.until_path("10.65.0.128/26")?;
        router.until_no_path("10.65.0.0/26")?;
        us.stop(false)?;
    }
    Ok(())
}

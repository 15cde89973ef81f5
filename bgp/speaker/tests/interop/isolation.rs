//! A panic of ours while one peer is handled: that session restarts, the others do not notice.

use anyhow::Result;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::speaker::Fault;
use brindle_bgp_speaker::{Command, Origin};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::router::{Kind, Router};
use crate::world::{OUR_AS, PATIENCE, ROUTER, ROUTER_AS, US, World, peer};

/// Where the bystander listens: another router of the same namespace may have 179.
const BYSTANDER_PORT: u16 = 1790;

#[test]
fn a_panic_restarts_the_session_with_bird_only() -> Result<()> {
    panic_with(Kind::Bird, 0, 1)
}

#[test]
fn a_panic_restarts_the_session_with_frr_only() -> Result<()> {
    panic_with(Kind::Frr, 1, 0)
}

/// The router `victim` over one transport, a BIRD over the other.
fn panic_with(victim: Kind, over: usize, over_other: usize) -> Result<()> {
    let world = World::new()?;
    let local = format!("{} port {BYSTANDER_PORT}", ROUTER[over_other]);
    let bystander = Bird::neighbour(&local, US[over_other], (ROUTER_AS, OUR_AS), "")
        .replace("bgp node", "bgp bystander");
    let (router, _bird) = match victim {
        Kind::Bird => {
            let node = Bird::neighbour(ROUTER[over], US[over], (ROUTER_AS, OUR_AS), "");
            (Router::Bird(Bird::start(&world, &(node + &bystander))?), None)
        }
        _ => {
            let bird = Bird::start(&world, &bystander)?;
            (Router::start(victim, &world, over, ROUTER_AS)?, Some(bird))
        }
    };
    let mut us = world.speaker()?;
    us.set_peer("victim", peer(ROUTER[over], ROUTER_AS))?;
    let mut other = peer(ROUTER[over_other], ROUTER_AS);
    other.port = BYSTANDER_PORT;
    us.set_peer("other", other)?;
    us.originate(&["10.65.0.0/26", "fd65::/122"])?;
    us.send(Command::InSync)?;
    us.until_state("other", State::Established)?;

    for (count, fault) in (1..).zip([Fault::Receive, Fault::Update, Fault::Transmit]) {
        us.until("the victim's session", |us| {
            let victim = us.peer("victim")?;
            Ok(victim.state == State::Established && victim.families[0].accepted == 1)
        })?;
        router.until_path("10.65.0.0/26")?;
        us.send(Command::Fail("victim".into(), fault))?;
        if fault == Fault::Update {
            us.send(Command::Refresh("victim".into()))?;
        }
        us.until("the panic", |us| Ok(us.peer("victim")?.panics == count))?;
        wait_until(PATIENCE, "its Cease at the router", || {
            Ok(router.last_error()?.to_lowercase().contains("resource"))
        })?;
        let error = us.peer("victim")?.last_error.map(|e| e.message).unwrap_or_default();
        assert!(error.contains("internal error") && error.contains("injected fault"), "{error}");
    }
    us.until("the victim's routes again", |us| Ok(us.peer("victim")?.families[0].accepted == 1))?;
    router.until_path("10.65.0.0/26")?;
    let told = us.states.iter().filter(|(name, _, reason)| {
        name == "victim" && reason.as_ref().is_some_and(|r| r.contains("injected fault"))
    });
    assert!(told.count() >= 1, "{:?}", us.states);
    let bystander = us.peer("other")?;
    assert_eq!((bystander.established_count, bystander.flaps, bystander.panics), (1, 0, 0));
    us.stop(false)
}

#[test]
fn a_panic_in_a_decision_costs_its_prefix_and_no_session() -> Result<()> {
    let world = World::new()?;
    let router = Router::start(Kind::Bird, &world, 0, ROUTER_AS)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", peer(ROUTER[0], ROUTER_AS))?;
    us.originate(&["10.65.0.0/26", "fd65::/122"])?;
    us.until("both routes", |us| Ok(us.routes.len() == 2))?;
    router.until_path("10.65.0.0/26")?;

    us.send(Command::FailDecision(Some("10.65.0.0/26".parse()?)))?;
    // What is said again as it was is nothing to decide about.
    let other = Origin { words: "another".into(), ..Origin::default() };
    us.send(Command::Originate("10.65.0.0/26".parse()?, other))?;
    router.until_no_path("10.65.0.0/26")?;
    assert_eq!(us.status()?.speaker.broken, ["10.65.0.0/26".parse()?]);
    assert!(router.path("fd65::/122")?.is_some());

    us.send(Command::FailDecision(None))?;
    us.originate(&["10.65.0.0/26"])?;
    router.until_path("10.65.0.0/26")?;
    let status = us.status()?.speaker;
    assert!(status.broken.is_empty());
    assert_eq!((status.peers[0].flaps, status.peers[0].panics), (0, 0));
    us.stop(false)
}

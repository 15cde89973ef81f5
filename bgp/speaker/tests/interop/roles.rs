//! Roles and the mark of what is for customers only (RFC 9234).

use anyhow::Result;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::policy::PeerPolicy;
use brindle_bgp_speaker::{PeerConfig, Role};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::world::{OUR_AS, PATIENCE, ROUTER, ROUTER_AS, US, World, peer};

/// The router as a peer that gets everything, under our role to it.
fn with_role(address: &str, role: Role) -> PeerConfig {
    let policy = PeerPolicy { transit: true, ..PeerPolicy::default() };
    PeerConfig { policy, role: Some(role), require_role: true, ..peer(address, ROUTER_AS) }
}

#[test]
fn a_customer_sees_our_mark() -> Result<()> {
    let world = World::new()?;
    let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, OUR_AS), "local role customer;");
    let bird = Bird::start(&world, &neighbour)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", with_role(ROUTER[0], Role::Provider))?;
    us.originate(&["10.65.0.0/26"])?;
    us.until_state("tor", State::Established)?;
    wait_until(PATIENCE, "our block", || {
        let route = bird.ask("show route for 10.65.0.0/26 protocol node all")?;
        Ok(route.contains(&format!("BGP.otc: {OUR_AS}")))
    })?;
    us.stop(false)
}

#[test]
fn two_customers_make_no_session() -> Result<()> {
    let world = World::new()?;
    let neighbour = Bird::neighbour(ROUTER[0], US[0], (ROUTER_AS, OUR_AS), "local role customer;");
    let _bird = Bird::start(&world, &neighbour)?;
    let mut us = world.speaker()?;
    us.set_peer("tor", with_role(ROUTER[0], Role::Customer))?;
    us.until("the mismatch", |us| {
        let tor = us.peer("tor")?;
        let said = tor.last_sent_notification.into_iter().chain(tor.last_received_notification);
        Ok(said.into_iter().any(|n| n.message.contains("role mismatch (2/11)")))
    })?;
    assert_eq!(us.peer("tor")?.established_count, 0);
    us.stop(false)
}

#[test]
fn frr_is_our_customer() -> Result<()> {
    let world = World::new()?;
    let frr = Frr::start(&world, US[0], (ROUTER_AS, OUR_AS))?;
    frr.configure(&[&format!("neighbor {} local-role customer strict-mode", US[0])])?;
    let mut us = world.speaker()?;
    us.set_peer("tor", with_role(ROUTER[0], Role::Provider))?;
    us.originate(&["10.65.0.0/26"])?;
    us.until("its routes", |us| Ok(us.routes.len() == 2))?;
    wait_until(PATIENCE, "our mark", || {
        Ok(frr.ask("show bgp ipv4 unicast 10.65.0.0/26 json")?.contains(&OUR_AS.to_string()))
    })?;
    let capabilities = us.peer("tor")?.session.map(|s| s.capabilities).unwrap_or_default();
    assert!(capabilities.iter().any(|c| c == "role customer"), "{capabilities:?}");
    us.stop(false)
}

//! Route reflection, with us as the reflector and as a client (RFC 4456).

use anyhow::Result;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::policy::PeerPolicy;
use brindle_bgp_speaker::{Command, PeerConfig};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::world::{BESIDE, OUR_AS, PATIENCE, ROUTER, SECOND, US, World, peer, second_speaker};

const BLOCK: &str = "10.66.0.0/26";

fn client(address: &str) -> PeerConfig {
    let policy = PeerPolicy { reflector_client: true, ..PeerPolicy::default() };
    PeerConfig { policy, ..peer(address, OUR_AS) }
}

#[test]
fn bird_is_told_what_another_bird_tells_and_who_began() -> Result<()> {
    let world = World::new()?;
    let ases = (OUR_AS, OUR_AS);
    // The second one has tables and an identifier of its own, and knows us by another address: BIRD
    // has one session with an address.
    let second = "ipv4 table t4; ipv6 table t6;\n".to_owned()
        + &Bird::neighbour(SECOND, BESIDE, ases, "router id 10.77.0.3; strict bind yes;")
            .replace("bgp node", "bgp second")
            .replace("ipv4 {", "ipv4 { table t4;")
            .replace("ipv6 {", "ipv6 { table t6;");
    let first = Bird::neighbour(ROUTER[0], US[0], ases, "strict bind yes;");
    let bird = Bird::start(&world, &(second + &first))?;
    let mut us = world.speaker()?;
    us.set_peer("first", client(ROUTER[0]))?;
    let source = Some(BESIDE.parse()?);
    us.set_peer("second", PeerConfig { source, ..client(SECOND) })?;
    let told = || bird.ask("show route for 10.200.0.0/24 table t4 all");
    wait_until(PATIENCE, "the reflected route", || Ok(told()?.contains("10.200.0.0/24")))?;
    let route = told()?;
    for line in
        ["BGP.originator_id: 10.77.0.2", "BGP.cluster_list: 10.77.0.1", "BGP.next_hop: 10.77.0.2"]
    {
        assert!(route.contains(line), "{line}: {route}");
    }
    let back = bird.ask("show route for 10.200.0.0/24 protocol node all")?;
    assert!(!back.contains("originator_id"), "never back to who began: {back}");
    bird.ask("disable s4")?;
    wait_until(PATIENCE, "the route to go", || Ok(!told()?.contains("10.200.0.0/24 ")))?;
    us.stop(false)
}

#[test]
fn frr_and_a_second_client_hear_of_each_other_through_us() -> Result<()> {
    let world = World::new()?;
    let frr = Frr::start(&world, US[0], (OUR_AS, OUR_AS))?;
    let mut us = world.speaker()?;
    us.set_peer("frr", client(ROUTER[0]))?;
    us.set_peer("second", PeerConfig { passive: true, ..client(BESIDE) })?;
    let mut second = second_speaker(&world, OUR_AS, peer(US[0], OUR_AS))?;
    second.originate(&[BLOCK])?;
    second.until("FRR's route", |second| {
        Ok(second.route("10.200.0.0/24").as_deref() == Some(ROUTER[0]))
    })?;
    let told = || frr.ask(&format!("show bgp ipv4 unicast {BLOCK}"));
    wait_until(PATIENCE, "the second client's block", || Ok(told()?.contains(BESIDE)))?;
    let path = told()?;
    assert!(path.contains("Originator: 10.77.0.4, Cluster list: 10.77.0.1"), "{path}");
    second.send(Command::Withdraw(BLOCK.parse()?))?;
    wait_until(PATIENCE, "the block to go", || Ok(!told()?.contains(BESIDE)))?;
    second.stop(false)?;
    us.stop(false)
}

#[test]
fn we_are_a_client_of_bird() -> Result<()> {
    let world = World::new()?;
    let one = |name: &str, address: &str| {
        format!(
            "protocol bgp {name} {{ local {} as {OUR_AS}; neighbor {address} as {OUR_AS}; \
             rr client; passive; ipv4 {{ import all; export all; }}; }}\n",
            ROUTER[0]
        )
    };
    let _bird = Bird::start(&world, &(one("node", US[0]) + &one("second", BESIDE)))?;
    reflected_to_a_second(&world)
}

#[test]
fn we_are_a_client_of_frr() -> Result<()> {
    let world = World::new()?;
    let frr = Frr::start(&world, US[0], (OUR_AS, OUR_AS))?;
    frr.configure(&[
        &format!("neighbor {BESIDE} remote-as {OUR_AS}"),
        &format!("neighbor {BESIDE} passive"),
        "address-family ipv4 unicast",
        &format!("neighbor {} route-reflector-client", US[0]),
        &format!("neighbor {BESIDE} activate"),
        &format!("neighbor {BESIDE} route-reflector-client"),
    ])?;
    reflected_to_a_second(&world)
}

/// What we tell the reflector reaches its other client over us, and goes again.
fn reflected_to_a_second(world: &World) -> Result<()> {
    let mut us = world.speaker()?;
    us.set_peer("reflector", peer(ROUTER[0], OUR_AS))?;
    us.originate(&[BLOCK])?;
    let mut second = second_speaker(world, OUR_AS, peer(ROUTER[0], OUR_AS))?;
    second.until("our block", |second| Ok(second.route(BLOCK).as_deref() == Some(US[0])))?;
    assert_eq!(us.route(BLOCK), None, "never back to who began");
    us.until_state("reflector", State::Established)?;
    us.send(Command::Withdraw(BLOCK.parse()?))?;
    second.until("our block to go", |second| Ok(second.route(BLOCK).is_none()))?;
    second.stop(false)?;
    us.stop(false)
}

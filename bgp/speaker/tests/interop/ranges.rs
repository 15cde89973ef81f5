//! Neighbours that nobody named, from a range: real routers come, signed or not, and one too many is
//! told so.

use anyhow::Result;
use brindle_bgp_proto::fsm::State;
use brindle_bgp_speaker::{Command, Md5Key, Password, PeerConfig, RangeConfig};
use brindle_lab::process::wait_until;

use crate::bird::Bird;
use crate::router::{Kind, Router};
use crate::world::{
    BESIDE, OUR_AS, PATIENCE, ROUTER, ROUTER_AS, Speaker, US, World, peer, second_speaker,
};

/// All addresses of the link, one range a family.
const LINK: [&str; 2] = ["10.77.0.0/24", "fd77::/64"];

fn range(over: usize, max_peers: u32, template: PeerConfig) -> Result<Command> {
    let config = RangeConfig { prefix: LINK[over].parse()?, max_peers, template };
    Ok(Command::SetRange("racks".into(), config))
}

fn signed(key: &str) -> PeerConfig {
    let key = Some(Md5Key::new(key.as_bytes()).expect("a key"));
    let password = Some(Password { key, problem: None });
    PeerConfig { password, ..peer(ROUTER[0], ROUTER_AS) }
}

/// Who came from this address has a session.
fn until_up(us: &mut Speaker, address: &str) -> Result<()> {
    let name = format!("racks/{address}");
    us.until(&format!("a session of {name}"), |us| {
        let peers = us.status()?.speaker.peers;
        Ok(peers.iter().any(|peer| *peer.name == *name && peer.state == State::Established))
    })
}

#[test]
fn routers_come_from_a_range_of_either_family() -> Result<()> {
    for kind in [Kind::Bird, Kind::Frr, Kind::GoBgp] {
        for over in [0, 1] {
            let world = World::new()?;
            let router = Router::start(kind, &world, over, ROUTER_AS)?;
            let mut us = world.speaker()?;
            us.originate(&["10.65.0.0/26", "fd65::/122"])?;
            us.send(range(over, 10, peer(US[over], ROUTER_AS))?)?;
            us.until("both routes", |us| Ok(us.routes.len() == 2))?;
            router.until_path("10.65.0.0/26")?;
            router.until_path("fd65::/122")?;
            let guest = us.peer(&format!("racks/{}", ROUTER[over]))?;
            assert_eq!((guest.state, guest.range.as_deref()), (State::Established, Some("racks")));

            us.send(Command::RemovePeer("racks".into()))?;
            us.until("the end", |us| Ok(us.routes.is_empty()))?;
            router.until_no_path("10.65.0.0/26")?;
            us.stop(false)?;
        }
    }
    Ok(())
}

#[test]
fn one_key_signs_for_a_whole_range_and_changes_under_its_sessions() -> Result<()> {
    for over in [0, 1] {
        let world = World::new()?;
        let neighbour = |password: &str| {
            let more = format!("password \"{password}\";");
            Bird::neighbour(ROUTER[over], US[over], (ROUTER_AS, OUR_AS), &more)
        };
        let bird = Bird::start(&world, &neighbour("s3cret"))?;
        let mut us = world.speaker()?;
        us.send(range(over, 10, signed("another"))?)?;
        // Its SYNs are dropped: nobody comes.
        wait_until(PATIENCE, "BIRD to try in vain", || {
            Ok(bird.ask("show protocols all node")?.contains("Connect"))
        })?;
        assert!(us.status()?.speaker.peers.is_empty());
        us.send(range(over, 10, signed("s3cret"))?)?;
        us.until("its routes", |us| Ok(us.routes.len() == 2))?;
        let name = format!("racks/{}", ROUTER[over]);
        assert_eq!(us.peer(&name)?.protection, ["TCP MD5 signatures"]);

        // BIRD ends its session for another password, we do not.
        us.send(range(over, 10, signed("n3w"))?)?;
        bird.reconfigure(&neighbour("n3w"))?;
        us.until("a session under the new key", |us| {
            let guest = us.peer(&name)?;
            Ok(guest.established_count == 2 && guest.state == State::Established)
        })?;
        us.stop(false)?;
    }
    Ok(())
}

#[test]
fn a_router_that_finds_no_room_is_told_so() -> Result<()> {
    for kind in [Kind::Bird, Kind::Frr] {
        let world = World::new()?;
        let mut us = world.speaker()?;
        us.send(range(0, 1, peer(US[0], ROUTER_AS))?)?;
        let mut second = second_speaker(&world, ROUTER_AS, peer(US[0], OUR_AS))?;
        until_up(&mut us, BESIDE)?;

        let router = Router::start(kind, &world, 0, ROUTER_AS)?;
        us.until("the router to be turned away", |us| {
            Ok(us.status()?.speaker.ranges[0].rejected > 0)
        })?;
        if let Router::Bird(bird) = &router {
            // FRR keeps no reason of a session that never came up.
            let told = || Ok(bird.last_error()?.contains("Received: Connection rejected"));
            wait_until(PATIENCE, "BIRD to hear why", told)?;
        }
        let status = us.status()?.speaker;
        assert_eq!((status.peers.len(), status.ranges[0].peers), (1, 1));
        let rejected =
            status.ranges[0].last_rejected.clone().map(|r| r.message).unwrap_or_default();
        assert!(rejected.starts_with(ROUTER[0]), "{rejected}");

        // Who has gone makes room before it is forgotten.
        second.send(Command::RemovePeer("peer".into()))?;
        until_up(&mut us, ROUTER[0])?;
        assert_eq!(us.status()?.speaker.peers.len(), 1);
        second.stop(false)?;
        us.stop(false)?;
    }
    Ok(())
}

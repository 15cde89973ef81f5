//! Looking on, and what a reader of MRT files makes of what was seen.

use std::process::Command as Process;

use anyhow::{Result, ensure};
use brindle_bgp_proto::fsm::State;
use brindle_bgp_proto::mrt;
use brindle_bgp_proto::speaker::Seen;
use brindle_bgp_speaker::{Command, News};
use brindle_lab::process::wait_until;

use crate::router::{Kind, Router};
use crate::world::{OUR_AS, PATIENCE, ROUTER, ROUTER_AS, World, peer};

/// A session of its beginning, its routes and its end, as `bgpdump -m` prints them.
fn dumped(over: usize) -> Result<String> {
    let world = World::new()?;
    let router = Router::start(Kind::Bird, &world, over, ROUTER_AS)?;
    let mut us = world.speaker()?;
    let mut news = us.monitor()?;
    us.originate(&["10.65.0.0/26"])?;
    us.set_peer("tor", peer(ROUTER[over], ROUTER_AS))?;
    us.until("its routes", |us| Ok(us.routes.len() == 2))?;
    router.until_path("10.65.0.0/26")?;
    us.send(Command::Withdraw("10.65.0.0/26".parse()?))?;
    router.until_no_path("10.65.0.0/26")?;
    us.send(Command::RemovePeer("tor".into()))?;
    us.until("the end", |us| Ok(us.status()?.speaker.peers.is_empty()))?;
    let mut file = Vec::new();
    let mut routes = 0;
    wait_until(PATIENCE, "the end to be seen", || {
        while let Ok(seen) = news.try_recv() {
            let News::Seen(time, seen) = seen else { anyhow::bail!("something was lost") };
            file.extend(mrt::record(&seen, time).unwrap_or_default());
            match &*seen {
                Seen::Route(_) => routes += 1,
                Seen::State { before: State::Established, .. } => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    })?;
    ensure!(routes >= 2, "{routes} changes of routes");
    us.stop(false)?;
    let path = world.dir.path().join("updates.mrt");
    std::fs::write(&path, file)?;
    let output = Process::new("bgpdump").arg("-m").arg(&path).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn bgpdump_reads_what_was_seen() -> Result<()> {
    for over in [0, 1] {
        let text = dumped(over)?;
        let router = ROUTER[over];
        let said = |kind: &str, fields: &str| {
            let is = |line: &str| line.starts_with(kind) && line.contains(fields);
            ensure!(text.lines().any(is), "no {kind} {fields} in:\n{text}");
            Ok(())
        };
        let has = |fields: &str| said("BGP4MP_ET|", &format!("|{fields}"));
        // What it told us.
        has(&format!("A|{router}|{ROUTER_AS}|10.200.0.0/24|{ROUTER_AS}|IGP|"))?;
        has(&format!("A|{router}|{ROUTER_AS}|fd20::/64|{ROUTER_AS}|IGP|"))?;
        // What we told it.
        let told = |fields: &str| said("BGP4MP_ET_LOCAL|", &format!("|{fields}"));
        told(&format!("A|{router}|{ROUTER_AS}|10.65.0.0/26|{OUR_AS}|IGP|"))?;
        told(&format!("W|{router}|{ROUTER_AS}|10.65.0.0/26"))?;
        // To Established, from OpenSent where OPEN and KEEPALIVE came in one piece; and from it.
        let up = |state: u8| has(&format!("STATE|{router}|{ROUTER_AS}|{state}|6"));
        up(5).or_else(|_| up(4))?;
        has(&format!("STATE|{router}|{ROUTER_AS}|6|"))?;
    }
    Ok(())
}

//! A speaker's thread ends when it should, and says no afterwards.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use brindle_bgp_proto::family::FamilySet;
use brindle_bgp_speaker::{Command, Config, Handle, Identity, InvalidCommand, SendError, spawn};

fn speaker() -> Result<Handle> {
    let forwarding_preserved = FamilySet::NONE;
    Ok(spawn(Config { restarting: false, forwarding_preserved, jitter_seed: 1 })?)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

#[test]
fn joining_stops_it_though_others_hold_the_way_to_it() -> Result<()> {
    let speaker = speaker()?;
    let commands = speaker.commands.clone();
    let start = Instant::now();
    speaker.join();
    ensure!(start.elapsed() < Duration::from_secs(2));
    let answer = runtime()?.block_on(commands.send(Command::InSync));
    ensure!(matches!(answer, Err(SendError::Stopped(_))));
    Ok(())
}

#[test]
fn it_ends_when_nobody_can_command_it_any_more() -> Result<()> {
    let Handle { commands, mut events, .. } = speaker()?;
    let last_word = runtime()?.block_on(async {
        commands.send(Command::InSync).await?;
        // Convergence is an event; after the last sender has gone there is none any more.
        ensure!(events.recv().await.is_some());
        drop(commands);
        Ok(tokio::time::timeout(Duration::from_secs(5), events.recv()).await?)
    })?;
    ensure!(last_word.is_none());
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused_at_the_door() -> Result<()> {
    let speaker = speaker()?;
    let identity = Identity {
        as_number: 65001,
        router_id: [10, 0, 0, 1].into(),
        listen_port: 0,
        hold_time: 2,
        restart_time: 120,
        long_lived_stale_time: 0,
        notification_restart: false,
        cluster_id: None,
        drain: None,
        next_hops: Default::default(),
    };
    let command = Command::SetIdentity(Some(identity));
    let answer = runtime()?.block_on(speaker.commands.send(command));
    ensure!(matches!(answer, Err(SendError::Invalid(InvalidCommand::HoldTime(2)))));
    speaker.join();
    Ok(())
}

use std::sync::Arc;
use std::time::Duration;

use brindle_model::ruleset::{Batch, Generation, Ruleset, RulesetDelta};

use super::{Driver, DriverConfig};
use crate::applied::{DriverState, WaitError};
use crate::backend::DataplaneInput;
use crate::conformance::{conformance, states};
use crate::fake::{FakeBackend, FakeKernel};

const PATIENCE: Duration = Duration::from_secs(10);

fn quick() -> DriverConfig {
    DriverConfig {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(4),
        resync_interval: Duration::from_secs(3600),
        ..DriverConfig::default()
    }
}

fn batch(generation: u64, from: &Ruleset, to: &Ruleset) -> DataplaneInput {
    let ruleset = RulesetDelta::between(from, to);
    let generation = Generation(generation);
    DataplaneInput::Batch(Arc::new(Batch { generation, ruleset, routing: Vec::new() }))
}

#[test]
fn the_fake_conforms() {
    let kernel = FakeKernel::default();
    conformance(
        || FakeBackend::new(kernel.clone()),
        || format!("{:?} {}", kernel.ruleset(), kernel.stops_revoked()),
        || kernel.flush(),
    );
}

#[test]
fn nothing_is_touched_before_the_first_batch() {
    let kernel = FakeKernel::default();
    let states = states();
    let (driver, sender) = Driver::spawn(FakeBackend::new(kernel.clone()), quick()).unwrap();
    sender.send(batch(1, &Ruleset::default(), &states[2])).unwrap();
    driver.applied().wait(Generation(1), PATIENCE).unwrap();
    drop(sender);
    assert!(driver.join());
    let writes = kernel.writes();

    // A restart that never learns the complete ruleset leaves everything as it is.
    let (driver, sender) = Driver::spawn(FakeBackend::new(kernel.clone()), quick()).unwrap();
    let state = {
        let applied = driver.applied().clone();
        sender.inspect(move |_: &FakeBackend| applied.status().state).unwrap()
    };
    assert_eq!(state, DriverState::WaitingForSync);
    drop(sender);
    assert!(driver.join());
    assert_eq!(kernel.ruleset(), states[2]);
    assert_eq!(kernel.writes(), writes);
}

#[test]
fn every_fault_heals_and_the_generation_waits_for_it() {
    let states = states();
    let total = {
        let kernel = FakeKernel::default();
        let (driver, sender) = Driver::spawn(FakeBackend::new(kernel.clone()), quick()).unwrap();
        sender.send(batch(1, &Ruleset::default(), &states[2])).unwrap();
        driver.applied().wait(Generation(1), PATIENCE).unwrap();
        drop(sender);
        assert!(driver.join());
        kernel.writes()
    };
    for step in 0..total {
        let kernel = FakeKernel::default();
        kernel.fail_in(step);
        let (driver, sender) = Driver::spawn(FakeBackend::new(kernel.clone()), quick()).unwrap();
        sender.send(batch(1, &Ruleset::default(), &states[2])).unwrap();
        driver.applied().wait(Generation(1), PATIENCE).unwrap();
        let status = driver.applied().status();
        assert_eq!((status.failures, status.state), (1, DriverState::Running));
        assert_eq!(status.last_error, None);
        assert_eq!(kernel.ruleset(), states[2], "fault at write {step}");
        drop(sender);
        assert!(driver.join());
    }
}

#[test]
fn a_wrong_delta_is_visible_and_never_applied() {
    let states = states();
    let (driver, sender) = Driver::spawn(FakeBackend::new(FakeKernel::default()), quick()).unwrap();
    sender.send(batch(1, &Ruleset::default(), &states[0])).unwrap();
    driver.applied().wait(Generation(1), PATIENCE).unwrap();
    // Removes what was never there.
    sender.send(batch(2, &states[2], &states[0])).unwrap();
    let waited = driver.applied().wait(Generation(2), Duration::from_millis(300));
    let Err(WaitError::Deadline { last_error: Some(text), .. }) = waited else {
        panic!("the driver must say why: {waited:?}");
    };
    assert!(text.contains("the delta or the order of calls is wrong"), "{text}");
    assert_eq!(driver.applied().generation(), Some(Generation(1)));
    drop(sender);
    assert!(driver.join());
}

#[test]
fn drift_is_repaired_by_the_timer_and_on_request() {
    let states = states();
    let kernel = FakeKernel::default();
    let config = DriverConfig { resync_interval: Duration::from_millis(5), ..quick() };
    let (driver, sender) = Driver::spawn(FakeBackend::new(kernel.clone()), config).unwrap();
    sender.send(batch(1, &Ruleset::default(), &states[2])).unwrap();
    driver.applied().wait(Generation(1), PATIENCE).unwrap();
    kernel.flush();
    let deadline = std::time::Instant::now() + PATIENCE;
    while kernel.ruleset() != states[2] {
        assert!(std::time::Instant::now() < deadline, "the timer did not repair");
        sender.inspect(|_: &FakeBackend| ()).unwrap();
    }
    drop(sender);
    assert!(driver.join());

    let kernel = FakeKernel::default();
    let (driver, sender) = Driver::spawn(FakeBackend::new(kernel.clone()), quick()).unwrap();
    sender.send(batch(1, &Ruleset::default(), &states[2])).unwrap();
    driver.applied().wait(Generation(1), PATIENCE).unwrap();
    kernel.flush();
    sender.resync().unwrap();
    sender.inspect(|_: &FakeBackend| ()).unwrap();
    assert_eq!(kernel.ruleset(), states[2]);
    assert!(driver.applied().status().drifted > 0);
    drop(sender);
    assert!(driver.join());
}

#[test]
fn what_was_queued_is_committed_before_the_end() {
    let states = states();
    let kernel = FakeKernel::default();
    let (driver, sender) = Driver::spawn(FakeBackend::new(kernel.clone()), quick()).unwrap();
    for (generation, (from, to)) in [(0, 1), (1, 3), (3, 2)].into_iter().enumerate() {
        let from = if generation == 0 { Ruleset::default() } else { states[from].clone() };
        sender.send(batch(generation as u64 + 1, &from, &states[to])).unwrap();
    }
    drop(sender);
    let applied = driver.applied().clone();
    assert!(driver.join());
    assert_eq!(applied.generation(), Some(Generation(3)));
    assert_eq!(applied.status().state, DriverState::Stopped);
    assert_eq!(kernel.ruleset(), states[2]);
    let late = applied.wait(Generation(4), PATIENCE);
    assert!(matches!(late, Err(WaitError::Stopped { .. })));
}

//! The agent is killed at any step of ADD or DEL, before or after the step took effect.

use super::*;

fn life(left: usize, after_effect: bool) -> Arc<Life> {
    Arc::new(Life { left: AtomicUsize::new(left), after_effect })
}

/// Runs `life` with a kill at each of its steps, restarts, and looks.
fn kill_everywhere(
    prepare: impl Fn(&Rig, &TestServer, &Namespace),
    doomed: impl Fn(&Rig, &TestServer, &Namespace) -> bool,
) -> usize {
    let mut kills = 0;
    for after_effect in [false, true] {
        for left in 1.. {
            let (rig, pod) = (Rig::new(), Namespace::create().unwrap());
            let (server, ..) = rig.start();
            prepare(&rig, &server, &pod);
            drop(server);
            // The start itself submits, so the count begins after it.
            let counted = life(usize::MAX, after_effect);
            let (server, ..) = rig.start_with(&counted, rig.config());
            counted.left.store(left, Ordering::Relaxed);
            let completed = doomed(&rig, &server, &pod);
            drop(server);

            let (server, gate, _) = rig.start();
            rig.assert_consistent(&server, &gate);
            assert!(server.attachments().len() <= 1);
            // The runtime, told nothing or told to try again, calls DEL.
            rig.del(&server, 1).unwrap();
            rig.assert_nothing_left(&server, &gate);
            rig.add(&server, 1, &pod).unwrap();
            rig.assert_consistent(&server, &gate);
            if completed && counted.left.load(Ordering::Relaxed) > 0 {
                break;
            }
            kills += 1;
        }
    }
    kills
}

#[test]
fn a_kill_at_any_step_of_add_leaks_nothing() {
    let kills = kill_everywhere(|_, _, _| {}, |rig, server, pod| rig.add(server, 1, pod).is_ok());
    assert!(kills >= 10, "{kills} steps");
}

#[test]
fn a_kill_at_any_step_of_del_leaks_nothing() {
    let attach = |rig: &Rig, server: &TestServer, pod: &Namespace| {
        rig.add(server, 1, pod).unwrap();
    };
    let kills = kill_everywhere(attach, |rig, server, _| rig.del(server, 1).is_ok());
    assert!(kills >= 4, "{kills} steps");
}

/// The three kinds of leftovers by themselves, and a live attachment beside them.
#[test]
fn the_start_removes_each_kind_of_leftover() {
    let rig = Rig::new();
    let (server, ..) = rig.start();
    let pods: Vec<_> = (0..3).map(|_| Namespace::create().unwrap()).collect();
    let live = rig.add(&server, 0, &pods[0]).unwrap();
    let dead = rig.add(&server, 1, &pods[1]).unwrap();
    let handle = Handle { container_id: "c9".into(), interface: "eth0".into() };
    server.ipam().assign(&handle).unwrap();
    drop(server);
    rig.node
        .run(|| {
            core::PodNetwork.detach(&dead.host_interface).unwrap();
            run("ip link add brdstray type veth peer name brdstraypeer");
            run("ip link add other0 type veth peer name other1");
        })
        .unwrap();
    let (server, gate, restored) = rig.start();
    let expected = Restored { live: 1, dead: 1, stray_links: 2, stray_leases: 2 };
    // Both ends of the stray pair begin with the prefix; with one, the other goes too.
    assert_eq!(restored, expected);
    rig.assert_consistent(&server, &gate);
    assert_eq!(rig.links().len(), 1);
    assert!(rig.is_up(&live.host_interface));
    rig.node.run(|| run("ip link show other0")).unwrap();
}

#[test]
fn after_a_reboot_nothing_is_attached() {
    let mut rig = Rig::new();
    let (server, ..) = rig.start();
    let pods: Vec<_> = (0..2).map(|_| Namespace::create().unwrap()).collect();
    for (n, pod) in pods.iter().enumerate() {
        rig.add(&server, n, pod).unwrap();
    }
    drop(server);
    rig.node = Namespace::create().unwrap();
    let (server, gate, restored) = rig.start();
    assert_eq!((restored.live, restored.dead), (0, 2));
    rig.assert_nothing_left(&server, &gate);
}

//! Many requests at once, over the socket.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use brindle_cni::{read_reply, write_request};

use super::*;

fn ask(rig: &Rig, request: Request, netns: Option<&Namespace>) -> Outcome {
    let stream = UnixStream::connect(rig.config().socket).unwrap();
    let envelope = Envelope { version: PROTOCOL_VERSION, patience_ms: 10_000, request };
    // A server that is full answers without reading.
    let _ = write_request(&stream, &envelope, netns.map(AsFd::as_fd));
    read_reply(&stream, Instant::now() + SOON).unwrap().outcome
}

fn listen(rig: &Rig, server: &Arc<TestServer>) -> Listener {
    rig.node.run(|| Listener::start(Arc::clone(server))).unwrap().unwrap()
}

#[test]
fn thirty_pods_at_once_get_thirty_addresses() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let listener = listen(&rig, &server);
    let pods: Vec<_> = (0..30).map(|_| Namespace::create().unwrap()).collect();
    let added: Vec<Added> = std::thread::scope(|scope| {
        let rig = &rig;
        let threads = pods.iter().enumerate().map(|(n, pod)| {
            scope.spawn(move || match ask(rig, add_request(n), Some(pod)) {
                Outcome::Added(added) => added,
                outcome => panic!("{outcome:?}"),
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let addresses: BTreeSet<_> = added.iter().flat_map(|a| &a.addresses).collect();
    assert_eq!(addresses.len(), 60);
    assert!(added.iter().all(|a| rig.is_up(&a.host_interface)));
    rig.assert_consistent(&server, &gate);
    std::thread::scope(|scope| {
        for n in 0..30 {
            let rig = &rig;
            scope.spawn(move || {
                let request = Request::Del(DelRequest { target: target(n) });
                done(ask(rig, request, None)).unwrap();
            });
        }
    });
    rig.assert_nothing_left(&server, &gate);
    assert!(listener.stop(Instant::now() + SOON));
}

#[test]
fn one_request_too_many_is_told_to_try_again() {
    let rig = Rig::new();
    let config = CniConfig { max_requests: 1, ..rig.config() };
    let (server, gate, _) = rig.start_with(&Life::unlimited(), config);
    let listener = listen(&rig, &server);
    gate.set(|inner| inner.open = false);
    let pod = Namespace::create().unwrap();
    std::thread::scope(|scope| {
        let add = scope.spawn(|| ask(&rig, add_request(1), Some(&pod)));
        assert!(gate.wait(
            |inner| inner.submitted.iter().any(|u| matches!(u, Update::Endpoint(..))),
            Instant::now() + SOON
        ));
        let error = done(ask(&rig, Request::Status, None)).unwrap_err();
        assert_eq!(error.code, ErrorCode::TryAgainLater);
        assert!(error.message.contains("works on 1 CNI requests"), "{error}");
        gate.set(|inner| inner.open = true);
        assert!(matches!(add.join().unwrap(), Outcome::Added(_)));
    });
    assert!(listener.stop(Instant::now() + SOON));
}

#[test]
fn requests_for_one_container_exclude_each_other() {
    let rig = Rig::new();
    let (server, gate, _) = rig.start();
    let listener = listen(&rig, &server);
    gate.set(|inner| inner.open = false);
    let pod = Namespace::create().unwrap();
    std::thread::scope(|scope| {
        let add = scope.spawn(|| ask(&rig, add_request(1), Some(&pod)));
        assert!(gate.wait(
            |inner| inner.submitted.iter().any(|u| matches!(u, Update::Endpoint(..))),
            Instant::now() + SOON
        ));
        let del = scope.spawn(|| ask(&rig, Request::Del(DelRequest { target: target(1) }), None));
        // Another container's DEL is not held up by either.
        done(ask(&rig, Request::Del(DelRequest { target: target(2) }), None)).unwrap();
        assert!(!del.is_finished());
        gate.set(|inner| inner.open = true);
        assert!(matches!(add.join().unwrap(), Outcome::Added(_)));
        done(del.join().unwrap()).unwrap();
    });
    rig.assert_nothing_left(&server, &gate);
    assert!(listener.stop(Instant::now() + SOON));
}

#[test]
fn nonsense_is_answered_and_the_server_goes_on() {
    let rig = Rig::new();
    let (server, ..) = rig.start();
    let listener = listen(&rig, &server);
    let long = vec![b'x'; 2 << 20];
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"{\"version\":9}", b"[[[[", &long] {
        let mut stream = UnixStream::connect(rig.config().socket).unwrap();
        // The server stops reading what is too long.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        if let Ok(reply) = read_reply(&stream, Instant::now() + SOON) {
            assert!(matches!(reply.outcome, Outcome::Failed(_)), "{reply:?}");
        }
    }
    done(ask(&rig, Request::Status, None)).unwrap();
    let without = done(ask(&rig, add_request(1), None)).unwrap_err();
    assert!(without.message.contains("without the descriptor"), "{without}");
    assert!(listener.stop(Instant::now() + SOON));
}

#[test]
fn only_root_may_connect_and_a_stopped_server_is_gone() {
    let rig = Rig::new();
    let (server, ..) = rig.start();
    let socket = rig.config().socket;
    std::fs::write(&socket, "left by an earlier agent").unwrap();
    let listener = listen(&rig, &server);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(listener.stop(Instant::now() + SOON));
    assert!(UnixStream::connect(&socket).is_err());
}

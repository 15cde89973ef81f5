//! The plugin binary as a runtime runs it: environment and stdin in, stdout and exit status out.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brindle_cni::error::{CniError, ErrorCode};
use brindle_cni::protocol::{
    Added, AddedRoute, Envelope, Outcome, PROTOCOL_VERSION, Reply, Request,
};
use brindle_cni::{read_request, write_reply};
use serde_json::{Value, json};

/// A network namespace that is always there.
const OWN_NETNS: &str = "/proc/self/ns/net";
const POD_ARGS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0";

struct Run {
    success: bool,
    stdout: Value,
    took: Duration,
}

struct Rig {
    directory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("cni.sock")
    }

    fn config(&self, version: &str, extra: &Value) -> String {
        let mut config = json!({
            "cniVersion": version, "name": "pods", "type": "brindle-cni", "socket": self.socket(),
        });
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        config.to_string()
    }

    /// Runs the plugin while the far end of the socket takes one request and gives one answer.
    fn run_answered(
        &self,
        command: &str,
        stdin: &str,
        outcome: Outcome,
    ) -> (Run, Envelope, Option<u64>) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        std::thread::scope(|scope| {
            let agent = scope.spawn(|| {
                let (stream, _) = listener.accept().unwrap();
                let (envelope, netns) = read_request(&stream, Duration::from_secs(5)).unwrap();
                let version = PROTOCOL_VERSION;
                write_reply(&stream, &Reply { version, outcome }).unwrap();
                let inode = |fd| rustix::fs::fstat(fd).unwrap().st_ino;
                (envelope, netns.map(|netns| inode(netns.as_fd().try_clone_to_owned().unwrap())))
            });
            let run = run(command, stdin, &[]);
            let (envelope, netns) = agent.join().unwrap();
            (run, envelope, netns)
        })
    }
}

fn run(command: &str, stdin: &str, environment: &[(&str, &str)]) -> Run {
    let begin = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_brindle-cni"))
        .env_clear()
        .envs([
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", OWN_NETNS),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", POD_ARGS),
            ("CNI_PATH", "/opt/cni/bin"),
        ])
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = match output.stdout.as_slice() {
        [] => Value::Null,
        text => serde_json::from_slice(text).unwrap(),
    };
    Run { success: output.status.success(), stdout, took: begin.elapsed() }
}

fn added() -> Added {
    let route = |destination: &str, gateway: Option<&str>| AddedRoute {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
    };
    Added {
        host_interface: "brd0123456789ab".into(),
        host_mac: "02:62:72:64:00:01".into(),
        pod_mac: "02:62:0a:00:00:05".into(),
        mtu: 1500,
        addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
        routes: vec![
            route("169.254.1.1/32", None),
            route("0.0.0.0/0", Some("169.254.1.1")),
            route("::/0", Some("fe80::1")),
        ],
    }
}

fn compare_golden(name: &str, found: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = serde_json::to_string_pretty(found).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn add_answers_in_the_version_asked_for() {
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let rig = Rig::new();
        let stdin = rig.config(version, &json!({ "mtu": 1400 }));
        let (run, envelope, netns) = rig.run_answered("ADD", &stdin, Outcome::Added(added()));
        assert!(run.success);
        compare_golden(&format!("add-{version}.json"), &run.stdout);
        let Request::Add(request) = envelope.request else { panic!("{envelope:?}") };
        assert_eq!((request.target.container_id.as_str(), request.mtu), ("c1", Some(1400)));
        assert_eq!((request.pod.namespace.as_str(), request.pod.name.as_str()), ("shop", "web-0"));
        let own = std::fs::metadata(OWN_NETNS).map(|m| std::os::unix::fs::MetadataExt::ino(&m));
        assert_eq!(netns, Some(own.unwrap()), "the namespace's descriptor arrives");
    }
}

#[test]
fn the_agents_refusal_is_the_plugins() {
    for version in ["0.3.1", "1.1.0"] {
        let rig = Rig::new();
        let mut error = CniError::new(ErrorCode::Address, "no address for pod shop/web-0");
        error.details = "the pool is full".into();
        let (run, ..) =
            rig.run_answered("ADD", &rig.config(version, &json!({})), Outcome::Failed(error));
        assert!(!run.success);
        compare_golden(&format!("error-{version}.json"), &run.stdout);
    }
}

#[test]
fn del_check_gc_and_status_say_nothing_on_success() {
    let previous = json!({ "prevResult": { "ips": [{ "address": "10.0.0.5/32" }] } });
    let valid = json!({ "cni.dev/valid-attachments": [{ "containerID": "c", "ifname": "eth0" }] });
    for (command, extra) in
        [("DEL", &previous), ("CHECK", &previous), ("GC", &valid), ("STATUS", &json!({}))]
    {
        let rig = Rig::new();
        let (run, envelope, netns) =
            rig.run_answered(command, &rig.config("1.1.0", extra), Outcome::Done);
        assert!(run.success, "{command}");
        assert_eq!(run.stdout, Value::Null, "{command}");
        assert_eq!(netns.is_some(), command == "CHECK", "{command}");
        match envelope.request {
            Request::Check(check) => assert_eq!(check.addresses.len(), 1),
            Request::Gc(gc) => assert_eq!(gc.valid[0].container_id, "c"),
            Request::Del(del) => assert_eq!(del.target.interface, "eth0"),
            Request::Status => {}
            Request::Add(_) => panic!("{command} became ADD"),
        }
    }
}

#[test]
fn del_works_when_pod_and_namespace_are_gone() {
    let rig = Rig::new();
    let listener = UnixListener::bind(rig.socket()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (stream, _) = listener.accept().unwrap();
            read_request(&stream, Duration::from_secs(5)).unwrap();
            let reply = Reply { version: PROTOCOL_VERSION, outcome: Outcome::Done };
            write_reply(&stream, &reply).unwrap();
        });
        let environment = [("CNI_NETNS", ""), ("CNI_ARGS", "")];
        assert!(run("DEL", &rig.config("1.0.0", &json!({})), &environment).success);
    });
}

#[test]
fn version_needs_no_agent() {
    let run = run("VERSION", r#"{"cniVersion":"0.4.0"}"#, &[]);
    assert!(run.success);
    compare_golden("version.json", &run.stdout);
}

#[test]
fn an_agent_that_is_down_means_try_again() {
    let rig = Rig::new();
    for (command, code) in [("ADD", 11), ("DEL", 11), ("STATUS", 50)] {
        let run = run(command, &rig.config("1.1.0", &json!({})), &[]);
        assert!(!run.success);
        assert_eq!(run.stdout["code"], code, "{command}: {}", run.stdout);
        assert!(run.took < Duration::from_secs(5));
    }
    let run = run("ADD", &rig.config("1.1.0", &json!({})), &[]);
    let message = run.stdout["msg"].as_str().unwrap();
    assert!(message.starts_with("brindle-agent does not answer at /"), "{message}");
}

#[test]
fn an_agent_that_is_stuck_means_try_again_within_five_seconds() {
    let rig = Rig::new();
    // Nobody accepts: the connection is made by the backlog, and no answer comes.
    let _listener = UnixListener::bind(rig.socket()).unwrap();
    let run = run("ADD", &rig.config("1.0.0", &json!({})), &[]);
    assert_eq!(run.stdout["code"], 11, "{}", run.stdout);
    assert!(run.took < Duration::from_secs(5), "{:?}", run.took);
}

#[test]
fn an_agent_that_answers_nonsense_is_an_internal_error() {
    let rig = Rig::new();
    let listener = UnixListener::bind(rig.socket()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&stream, Duration::from_secs(5)).unwrap();
            stream.write_all(b"{\"version\":2,\"news\":[]}").unwrap();
        });
        let run = run("ADD", &rig.config("1.0.0", &json!({})), &[]);
        assert_eq!(run.stdout["code"], 103, "{}", run.stdout);
        assert!(run.stdout["details"].as_str().unwrap().contains("same release"));
    });
}

#[test]
fn bad_input_has_the_code_of_the_specification() {
    let rig = Rig::new();
    let good = rig.config("1.0.0", &json!({}));
    let code = |command: &str, stdin: &str, environment: &[(&str, &str)]| {
        let run = run(command, stdin, environment);
        assert!(!run.success);
        assert!(run.stdout["msg"].as_str().is_some_and(|m| !m.is_empty()));
        run.stdout["code"].as_u64().unwrap()
    };
    assert_eq!(code("ADD", &good[..good.len() / 2], &[]), 6, "truncated");
    assert_eq!(code("ADD", "", &[]), 6);
    assert_eq!(code("ADD", &rig.config("0.2.0", &json!({})), &[]), 1);
    assert_eq!(code("CHECK", &rig.config("0.3.1", &json!({})), &[]), 1);
    assert_eq!(code("GC", &rig.config("1.0.0", &json!({})), &[]), 1);
    assert_eq!(code("ADD", &rig.config("1.0.0", &json!({ "mtu": 5 })), &[]), 7);
    assert_eq!(code("ADD", &rig.config("1.0.0", &json!({ "prevResult": {} })), &[]), 7);
    assert_eq!(code("CHECK", &good, &[]), 7);
    assert_eq!(code("GC", &rig.config("1.1.0", &json!({})), &[]), 7);
    assert_eq!(code("FROB", &good, &[]), 4);
    assert_eq!(code("ADD", &good, &[("CNI_CONTAINERID", "")]), 4);
    assert_eq!(code("ADD", &good, &[("CNI_ARGS", "K8S_POD_NAME=a")]), 4);
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let rig = Rig::new();
    for (path, part) in [
        ("/run/netns/brindle-none", "CNI_NETNS /run/netns/brindle-none cannot be opened"),
        ("/etc/passwd", "CNI_NETNS /etc/passwd is not a network namespace"),
    ] {
        let run = run("ADD", &rig.config("1.0.0", &json!({})), &[("CNI_NETNS", path)]);
        assert_eq!(run.stdout["code"], 4);
        let message = run.stdout["msg"].as_str().unwrap();
        assert!(message.starts_with(part), "{message}");
    }
}

//! `brindlectl explain` of packets to Services, against golden answers. `UPDATE_GOLDEN=1` writes
//! those anew.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn explain(arguments: &[&str]) -> Output {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services");
    let folder = folder.to_str().unwrap();
    let program = env!("CARGO_BIN_EXE_brindlectl");
    Command::new(program).args(["explain", "--dir", folder]).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{name}: see UPDATE_GOLDEN");
}

#[test]
fn each_ready_backend_is_judged() {
    for (name, arguments, code) in [
        ("service-by-name", &["shop/client", "svc/shop/web:http"] as &[&str], 3),
        ("service-by-cluster-ip", &["shop/client", "fd00:96::1", "--port", "80"], 0),
        ("service-port-behind", &["shop/client", "svc/shop/web:metrics"], 3),
        ("service-leaving", &["shop/client", "svc/shop/leaving"], 0),
        ("service-local", &["shop/client", "svc/shop/near"], 0),
        ("service-outside", &["shop/client", "svc/shop/resolver:dns"], 0),
        // K29: back to itself, and judged in both directions.
        ("service-hairpin", &["shop/web-1", "svc/shop/near"], 3),
    ] {
        let ran = explain(arguments);
        assert_eq!(ran.status.code(), Some(code), "{name}: {}", text(&ran.stderr));
        golden(&format!("{name}.txt"), text(&ran.stdout));
    }
}

#[test]
fn a_backend_is_an_answer_of_its_own_for_programs() {
    let ran = explain(&["shop/client", "svc/shop/web", "--port", "80", "-o", "json"]);
    assert_eq!(ran.status.code(), Some(3), "{}", text(&ran.stderr));
    let answers: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let told: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| {
            let through = &answer["through"];
            assert_eq!(
                (&through["service"], &through["port"]),
                (&"shop/web".into(), &"80/tcp (http)".into())
            );
            assert_eq!(answer["port"], "8080/tcp");
            let backend = through["backend"].as_str().unwrap().to_owned();
            (
                backend,
                answer["destination"].as_str().unwrap(),
                answer["delivered"].as_bool().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("shop/web-1".to_owned(), "10.244.0.2", true),
        ("shop/web-2".to_owned(), "10.244.1.2", false),
        ("shop/web-1".to_owned(), "fd00:244::2", true),
    ];
    assert_eq!(told, expected);
    // Between pods nothing is said of Services.
    let ran = explain(&["shop/client", "shop/web-1", "--port", "8080", "-o", "json"]);
    assert!(!text(&ran.stdout).contains("through"), "{}", text(&ran.stdout));
}

#[test]
fn questions_without_answer() {
    for (arguments, words) in [
        (&["shop/client", "svc/shop/nothing"] as &[&str], "there is no Service shop/nothing"),
        (&["shop/client", "svc/shop/broken"], "Service shop/broken cannot be read: "),
        (&["shop/client", "svc/shop/headless"], "Service shop/headless is headless"),
        (&["shop/client", "svc/shop/alias"], "a name for another host"),
        (&["shop/client", "svc/shop/idle"], "no ready endpoint at 80/tcp; 0 not ready"),
        (
            &["shop/client", "svc/shop/web:81"],
            "81 is no port of Service shop/web, which has 80/tcp (http), 9090/tcp (metrics)",
        ),
        (&["shop/client", "svc/shop/web:https"], "https is no port of Service shop/web"),
        (&["shop/client", "svc/shop/web", "--port", "80/udp"], "80/udp is no port of Service"),
        (
            &["shop/client", "10.96.0.1", "--port", "icmp"],
            "icmp echo is no port of Service shop/web",
        ),
        (
            &["shop/client", "svc/shop/web"],
            "could be meant: 80/tcp (http), 9090/tcp (metrics); say",
        ),
        (&["node/n3", "svc/shop/web:80"], "there is no node n3"),
        (&["192.0.2.1", "fd00:96::1", "--port", "80"], "no address of the same family"),
    ] {
        let ran = explain(arguments);
        assert_eq!(ran.status.code(), Some(1), "{arguments:?}: {}", text(&ran.stdout));
        assert!(text(&ran.stderr).contains(words), "{arguments:?}: {}", text(&ran.stderr));
    }
    // Two backends, of which the sender's node has none.
    let ran = explain(&["203.0.113.1", "svc/shop/near"]);
    assert_eq!(
        text(&ran.stdout).lines().next().unwrap(),
        "0 of 2 ready backends of svc/shop/near 80/tcp can be reached"
    );
}

#[test]
fn a_number_of_two_protocols_is_tcp_unless_said() {
    for (arguments, port) in [
        (&["shop/client", "svc/shop/resolver:53"] as &[&str], "5354/tcp"),
        (&["shop/client", "svc/shop/resolver", "--port", "53/udp"], "5353/udp"),
    ] {
        let ran = explain(arguments);
        assert!(text(&ran.stdout).contains(port), "{}{}", text(&ran.stdout), text(&ran.stderr));
    }
}

#[test]
fn wrong_usage() {
    for arguments in [
        &["svc/shop/web", "shop/client", "--port", "80"] as &[&str],
        &["shop/client", "svc/shop/web:80", "--port", "80"],
        &["shop/client", "svc/shop/web:"],
        &["shop/client", "svc/web", "--port"],
        &["shop/client", "shop/web-1"],
    ] {
        let ran = explain(arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {}", text(&ran.stderr));
    }
}

//! `brindlectl explain` and `get` on a folder, as a user calls them, against golden answers.
//! `UPDATE_GOLDEN=1` writes those anew.

use std::fs;
use std::path::Path;
use std::process::Command;

struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

fn brindlectl(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_brindlectl")).args(arguments).output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

fn folder() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/folder").to_str().unwrap().to_owned()
}

fn explain(from: &str, to: &str, port: &str, rest: &[&str]) -> Ran {
    let folder = folder();
    let mut arguments = vec!["explain", "--dir", &folder, from, to, "--port", port];
    arguments.extend(rest);
    brindlectl(&arguments)
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
fn answers_in_words() {
    for (name, from, to, port, code) in [
        ("allowed-by-named-port", "shop/web", "shop/db", "5432/tcp", 0),
        ("wrong-port", "shop/web", "shop/db", "5433", 3),
        ("wrong-namespace", "blog/app", "shop/db", "5432", 3),
        ("denied-without-rules", "blog/app", "shop/web", "80", 3),
        ("not-isolated", "shop/db", "203.0.113.7", "443", 0),
        ("outside-in-exception", "198.51.100.200", "shop/db", "5432", 3),
        ("outside-admitted", "198.51.100.7", "shop/db", "5432", 0),
        ("own-node", "node/n2", "shop/db", "22", 0),
        ("other-node", "node/n1", "shop/db", "5432", 3),
        ("host-network-pod", "blog/proxy", "shop/db", "5432", 3),
        ("echo", "shop/web", "shop/db", "icmp", 3),
        ("to-itself", "shop/web", "shop/web", "80", 0),
    ] {
        let ran = explain(from, to, port, &[]);
        assert_eq!(ran.code, Some(code), "{name}: {}", ran.error);
        golden(&format!("{name}.txt"), &ran.out);
    }
}

#[test]
fn answers_about_host_endpoints() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts");
    let folder = folder.to_str().unwrap();
    for (name, from, to, port, code) in [
        ("host-failsafe", "203.0.113.7", "node/n1", "22", 0),
        ("host-closed", "203.0.113.7", "hostendpoint/n1-uplink", "8080", 3),
        ("host-before-dnat", "203.0.113.7", "192.0.2.1", "30080", 3),
        ("host-forward", "shop/client", "shop/web", "80", 0),
        ("host-forward-denied", "shop/client", "shop/web", "22", 3),
        ("host-sends", "hostendpoint/n1-uplink", "203.0.113.7", "443", 3),
    ] {
        let ran = brindlectl(&["explain", "--dir", folder, from, to, "--port", port]);
        assert_eq!(ran.code, Some(code), "{name}: {}{}", ran.error, ran.out);
        golden(&format!("{name}.txt"), &ran.out);
    }
    let ran = brindlectl(&["explain", "--dir", folder, "node/n1", "hostendpoint/x", "-p", "80"]);
    assert!(ran.error.contains("there is no HostEndpoint x"), "{}", ran.error);
}

#[test]
fn answers_for_programs() {
    let ran = explain("shop/web", "shop/db", "5433", &["-o", "json"]);
    assert_eq!(ran.code, Some(3));
    let answers: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(answers.as_array().unwrap().len(), 2, "one a family");
    let hop = &answers[0]["hops"][1];
    assert_eq!((&hop["verdict"], &hop["direction"]), (&"deny".into(), &"ingress".into()));
    assert_eq!(hop["decision"]["TierEnd"]["tier"], "default");
    assert_eq!(hop["closest"]["rule"], "NetworkPolicy shop/allow-db ingress rule 1");
    let yaml = explain("shop/web", "shop/db", "5433", &["-o", "yaml"]);
    let again: serde_json::Value = serde_saphyr::from_str(&yaml.out).unwrap();
    assert_eq!(again, answers);
}

#[test]
fn questions_without_answer() {
    for (from, to, port, words) in [
        ("shop/nobody", "shop/db", "80", "there is no pod shop/nobody"),
        ("node/n9", "shop/db", "80", "there is no node n9"),
        ("blog/job", "shop/db", "80", "blog/job has no address: not started, or finished"),
        ("blog/app", "fd00:244:1::1", "80", "no address of the same family"),
    ] {
        let ran = explain(from, to, port, &[]);
        assert_eq!(ran.code, Some(1), "{from} {to}");
        assert!(ran.error.contains(words) && ran.out.is_empty(), "{}", ran.error);
    }
    let ran = brindlectl(&["explain", "--dir", "/nowhere", "a/b", "c/d", "--port", "80"]);
    assert!(
        ran.code == Some(1) && ran.error.contains("cannot read the folder /nowhere"),
        "{}",
        ran.error
    );
}

#[test]
fn wrong_usage() {
    for arguments in [
        &["explain", "a/b", "c/d"] as &[&str],
        &["explain", "a", "c/d", "--port", "80"],
        &["explain", "a/b", "c/d", "--port", "0"],
        &["explain", "a/b", "c/d", "--port", "80/icmp"],
        &["get", "unicorns"],
        &["status", "-o", "xml"],
        &[],
    ] {
        assert_eq!(brindlectl(arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn objects_are_listed() {
    let folder = folder();
    for kind in ["networkpolicies", "pods", "nodes", "namespaces"] {
        let ran = brindlectl(&["get", kind, "--dir", &folder]);
        assert_eq!(ran.code, Some(0), "{}", ran.error);
        golden(&format!("get-{kind}.txt"), &ran.out);
    }
    let ran = brindlectl(&["get", "sets", "--dir", &folder]);
    assert!(ran.code == Some(1) && ran.error.contains("an agent's"), "{}", ran.error);
}

#[test]
fn every_kind_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kinds");
    let folder = folder.to_str().unwrap();
    let mut all = String::new();
    for kind in [
        "serviceaccounts",
        "sa",
        "svc",
        "endpointslices",
        "networkpolicy",
        "networkpolicies.brindle.io",
        "networkpolicy.brindle.io",
        "gnp",
        "cnp",
        "tiers",
        "networksets",
        "globalnetworksets",
        "stagednetworkpolicies",
        "stagedglobalnetworkpolicies",
        "stagedkubernetesnetworkpolicies",
        "hostendpoints",
    ] {
        let ran = brindlectl(&["get", kind, "--dir", folder]);
        assert_eq!(ran.code, Some(0), "{kind}: {}", ran.error);
        all += &format!("# {kind}\n{}", ran.out);
    }
    golden("get-kinds.txt", &all);
}

#[test]
fn an_agent_that_does_not_run() {
    let ran = brindlectl(&["--socket", "/nowhere/agent.sock", "status"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.error.contains("cannot ask the agent at /nowhere/agent.sock"), "{}", ran.error);
    let ran = brindlectl(&["--node", "n7", "sync"]);
    assert!(ran.error.contains("/run/brindle/n7/agent.sock"), "{}", ran.error);
}

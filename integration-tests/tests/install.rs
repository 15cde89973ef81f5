//! `brindlectl install` and `brindlectl preflight` before a real API server.
//!
//! Run by `make conformance`, which has the Kubernetes programs.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use brindle_integration_tests::apiserver::ApiServer;
use brindle_lab::agent::binary;
use brindle_lab::netns::Netns;

/// What an agent of this version refuses, and a definition lets through.
const BROKEN: &str = "\
apiVersion: brindle.io/v1alpha1
kind: GlobalNetworkPolicy
metadata: {name: broken}
spec: {ingress: [{action: Allow, sauce: {nets: [10.0.0.0/8]}}]}
";

/// As an agent writes it.
const REFUSED: &str = r#"{"status": {"observedGeneration": 1, "conditions": [{
    "type": "Accepted", "status": "False", "reason": "Broken", "message": "broken",
    "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}"#;

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn what_is_applied_is_what_was_shown_and_no_object_is_lost_by_it() -> Result<()> {
    let netns = Netns::create("brd-install")?;
    let server = ApiServer::start(&netns, Path::new("/run/brd-install"), &[])?;
    let kubeconfig = server.kubeconfig(None)?.display().to_string();
    let brindlectl = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let program = binary("brindlectl");
        let program = program.to_str().context("the path of brindlectl is not UTF-8")?;
        let output = netns.command(program).args(arguments).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    };
    let settings = ["--set", "dataplane=Nftables", "--image", "example.org/brindle:v1"];
    let install = [&["install", "--kubeconfig", &kubeconfig], &settings[..]].concat();

    let (code, shown) = brindlectl(&[&install[..], &["--dry-run"]].concat())?;
    ensure!(code == Some(0), "{shown}");
    ensure!(server.kubectl(&["get", "namespaces"]).is_ok_and(|all| !all.contains("brindle")));
    let (code, said) = brindlectl(&install)?;
    ensure!(code == Some(0) && said.contains("Installation default applied"), "{said}");
    // Whoever applies what was shown changes nothing any more.
    let difference =
        server.kubectl_with(&["diff", "--server-side", "--force-conflicts", "-f", "-"], &shown);
    ensure!(difference.as_deref().is_ok_and(str::is_empty), "{difference:?}");

    server.install_definitions()?;
    let (code, said) = brindlectl(&["preflight", "--kubeconfig", &kubeconfig])?;
    ensure!(code == Some(0) && said.contains("accepts every object"), "{said}");
    server.apply(BROKEN)?;
    let (code, said) = brindlectl(&["preflight", "--kubeconfig", &kubeconfig])?;
    ensure!(code == Some(3) && said.contains("sauce"), "{said}");
    let other = ["install", "--kubeconfig", &kubeconfig, "--image", "example.org/brindle:v2"];
    let (code, said) = brindlectl(&other)?;
    ensure!(code == Some(1) && said.contains("nothing is applied"), "{said}");
    let image = "jsonpath={.spec.image}";
    let image = || server.kubectl(&["get", "installation", "default", "-o", image]);
    ensure!(image()? == "example.org/brindle:v1");

    // What the installed version refuses as well is no news.
    let policy = ["globalnetworkpolicy", "broken"];
    let patch = ["--subresource=status", "--type=merge", "-p", REFUSED];
    server.kubectl(&[&["patch"], &policy[..], &patch].concat())?;
    let (code, said) = brindlectl(&["preflight", "--kubeconfig", &kubeconfig])?;
    ensure!(code == Some(0) && said.contains("sauce"), "{said}");
    let (code, said) = brindlectl(&other)?;
    ensure!(code == Some(0), "{said}");
    ensure!(image()? == "example.org/brindle:v2");
    Ok(())
}

//! etcd, API server, controller manager and scheduler, in a namespace of their own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::Netns;
use brindle_lab::process::{Daemon, wait_until};

use crate::kubectl::Kubectl;
use crate::paths::{Cache, Paths};
use crate::plan::{CONTROL, DOMAIN, Families};

/// Name of etcd's program.
pub const ETCD_PROGRAM: &str = "etcd";
/// Name of the API server's program.
pub const API_SERVER: &str = "kube-apiserver";
/// What the API server writes down of requests: each that changes policy, and all of Brindle's.
/// Nothing else is measured by it, and so nothing else costs its time.
const AUDIT: &str = include_str!("../manifests/audit.yaml");

const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";

/// Starts them and waits until the API server is ready.
///
/// # Errors
/// One ended, or the API server is not ready within a minute.
pub fn start(cache: &Cache, paths: &Paths, families: Families) -> Result<()> {
    let plane = Plane { cache, paths, families };
    fs::write(paths.audit_policy(), AUDIT).context("write the audit policy")?;
    let mut etcd = plane.start(ETCD_PROGRAM, plane.etcd())?;
    let mut api = plane.start(API_SERVER, plane.api_server())?;
    let kubectl = Kubectl::new(cache, paths);
    wait_until(Duration::from_secs(60), "the API server to be ready", || {
        for (name, daemon) in [(ETCD_PROGRAM, &mut etcd), (API_SERVER, &mut api)] {
            let log = paths.logs().join(format!("{name}.log"));
            ensure!(daemon.exited()?.is_none(), "{name} ended: see {}", log.display());
        }
        Ok(kubectl.run(&["get", "--raw", "/readyz"]).is_ok())
    })?;
    let managers = [
        plane.start("kube-controller-manager", plane.controller_manager())?,
        plane.start("kube-scheduler", plane.scheduler())?,
    ];
    for mut daemon in managers.into_iter().chain([etcd, api]) {
        daemon.let_go();
    }
    Ok(())
}

/// Starts etcd or the API server again, after it was ended, and waits until the API server is ready.
///
/// # Errors
/// It does not come back within a minute.
pub fn start_again(cache: &Cache, paths: &Paths, families: Families, name: &str) -> Result<()> {
    let plane = Plane { cache, paths, families };
    let flags = if name == ETCD_PROGRAM { plane.etcd() } else { plane.api_server() };
    let mut daemon = plane.start(name, flags)?;
    let kubectl = Kubectl::new(cache, paths);
    wait_until(Duration::from_secs(60), "the API server to be ready again", || {
        let log = paths.logs().join(format!("{name}.log"));
        ensure!(daemon.exited()?.is_none(), "{name} ended: see {}", log.display());
        Ok(kubectl.run(&["get", "--raw", "/readyz"]).is_ok())
    })?;
    daemon.let_go();
    Ok(())
}

struct Plane<'a> {
    cache: &'a Cache,
    paths: &'a Paths,
    families: Families,
}

impl Plane<'_> {
    fn start(&self, name: &str, flags: Vec<String>) -> Result<Daemon> {
        let program = self.cache.program(name).display().to_string();
        let mut command: Command = Netns::existing(CONTROL).command(&program);
        command.args(flags);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Daemon::start(name, command, &self.paths.logs().join(format!("{name}.log")))
    }

    fn etcd(&self) -> Vec<String> {
        vec![
            "--name=brindle".into(),
            flag("data-dir", &self.paths.root().join("etcd")),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            format!("--listen-peer-urls={ETCD_PEER}"),
            format!("--initial-advertise-peer-urls={ETCD_PEER}"),
            format!("--initial-cluster=brindle={ETCD_PEER}"),
            // The data lives as long as the cluster, which does not survive a power cut.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ]
    }

    fn api_server(&self) -> Vec<String> {
        let pki = self.paths.pki();
        let in_pki = |name: &str, file: &str| flag(name, &pki.join(file));
        vec![
            format!("--etcd-servers={ETCD}"),
            "--bind-address=::".into(),
            format!("--advertise-address={}", self.families.primary().control()),
            "--secure-port=6443".into(),
            format!("--service-cluster-ip-range={}", self.families.list(|f| f.services().into())),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--allow-privileged=true".into(),
            in_pki("client-ca-file", "ca.crt"),
            in_pki("tls-cert-file", "apiserver.crt"),
            in_pki("tls-private-key-file", "apiserver.key"),
            in_pki("kubelet-client-certificate", "apiserver-kubelet.crt"),
            in_pki("kubelet-client-key", "apiserver-kubelet.key"),
            "--kubelet-preferred-address-types=InternalIP".into(),
            format!("--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}"),
            in_pki("service-account-key-file", "sa.pub"),
            in_pki("service-account-signing-key-file", "sa.key"),
            in_pki("requestheader-client-ca-file", "front-proxy-ca.crt"),
            "--requestheader-allowed-names=front-proxy-client".into(),
            "--requestheader-username-headers=X-Remote-User".into(),
            "--requestheader-group-headers=X-Remote-Group".into(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
            in_pki("proxy-client-cert-file", "front-proxy.crt"),
            in_pki("proxy-client-key-file", "front-proxy.key"),
            // There is no kube-proxy here, but the router knows the way to pods.
            "--enable-aggregator-routing=true".into(),
            flag("audit-policy-file", &self.paths.audit_policy()),
            flag("audit-log-path", &self.paths.audit_log()),
        ]
    }

    fn controller_manager(&self) -> Vec<String> {
        let pki = self.paths.pki();
        let in_pki = |name: &str, file: &str| flag(name, &pki.join(file));
        let mut flags = self.client("controller-manager");
        flags.extend([
            "--use-service-account-credentials=true".into(),
            // For the reference plugin; Brindle has its own address management.
            "--allocate-node-cidrs=true".into(),
            format!("--cluster-cidr={}", self.families.list(|f| f.pods().into())),
            format!("--service-cluster-ip-range={}", self.families.list(|f| f.services().into())),
            in_pki("root-ca-file", "ca.crt"),
            in_pki("cluster-signing-cert-file", "ca.crt"),
            in_pki("cluster-signing-key-file", "ca.key"),
            in_pki("service-account-private-key-file", "sa.key"),
        ]);
        flags
    }

    fn scheduler(&self) -> Vec<String> {
        self.client("scheduler")
    }

    /// What a controller needs to reach the API server, alone of its kind.
    fn client(&self, name: &str) -> Vec<String> {
        let config = self.paths.pki().join(format!("{name}.kubeconfig"));
        let roles = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"];
        let mut flags: Vec<_> = roles.map(|role| flag(role, &config)).into();
        flags.extend(["--bind-address=127.0.0.1".into(), "--leader-elect=false".into()]);
        flags
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

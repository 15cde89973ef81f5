//! A real kube-apiserver and its etcd, without the rest of a cluster: objects are what a test says.
//!
//! The programs come from `BRINDLE_KUBE_BIN`, else from the newest version below
//! `~/.cache/brindle/kubernetes`, where `cargo xtask cluster` builds them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use brindle_lab::agent::binary;
use brindle_lab::netns::{Netns, run};
use brindle_lab::process::{Daemon, wait_until};
use nix::sys::signal::Signal;

/// Where it listens: an address of its own, on the loopback interface of its namespace.
const ADDRESS: &str = "10.200.0.1";
/// The administrator's token.
const ADMIN: &str = "admin-token";

/// A running API server. Dropping it ends it.
pub struct ApiServer {
    netns: Netns,
    dir: PathBuf,
    flags: Vec<String>,
    _etcd: Daemon,
    server: Option<Daemon>,
}

impl ApiServer {
    /// Starts both in the namespace of a router, and waits until the server is ready. `flags` are further ones of
    /// the server.
    ///
    /// # Errors
    /// A program is missing or does not come up; the message names its log.
    pub fn start(netns: &Netns, dir: &Path, flags: &[&str]) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let path = |name: &str| dir.join(name).display().to_string();
        // What an earlier run has left.
        let _ = fs::remove_dir_all(dir.join("etcd"));
        run("openssl", &["genrsa", "-traditional", "-out", &path("sa.key"), "2048"])?;
        fs::write(dir.join("tokens"), format!("{ADMIN},admin,admin,system:masters\n"))?;
        let netns = Netns::existing(netns.name());
        netns.ip(&["addr", "add", &format!("{ADDRESS}/32"), "dev", "lo"])?;
        let mut etcd = netns.command(&program("etcd")?);
        etcd.args(["--data-dir", &path("etcd"), "--unsafe-no-fsync", "--log-level", "warn"]);
        let etcd = Daemon::start("etcd", etcd, &dir.join("etcd.log"))?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut server = Self { netns, dir: dir.to_owned(), flags, _etcd: etcd, server: None };
        server.resume()?;
        Ok(server)
    }

    /// Starts the server again after [`Self::halt`].
    ///
    /// # Errors
    /// It does not come up.
    pub fn resume(&mut self) -> Result<()> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let mut command = self.netns.command(&program("kube-apiserver")?);
        command.args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=6443",
            "--authorization-mode=RBAC",
            // There is no controller that would make accounts.
            "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
        ]);
        command
            .arg(format!("--bind-address={ADDRESS}"))
            .arg(format!("--cert-dir={}", path("certs")))
            .arg(format!("--token-auth-file={}", path("tokens")))
            .arg(format!("--service-account-key-file={}", path("sa.key")))
            .arg(format!("--service-account-signing-key-file={}", path("sa.key")))
            .args(&self.flags);
        let log = self.dir.join("kube-apiserver.log");
        let mut daemon = Daemon::start("kube-apiserver", command, &log)?;
        let ready = wait_until(Duration::from_secs(60), "the API server to be ready", || {
            if let Some(status) = daemon.exited()? {
                bail!("kube-apiserver ended: {status}");
            }
            Ok(self.dir.join("certs/apiserver.crt").exists()
                && self.kubectl(&["get", "--raw", "/readyz"]).is_ok())
        });
        ready.with_context(|| format!("see {}", log.display()))?;
        self.server = Some(daemon);
        Ok(())
    }

    /// Kills the server; etcd goes on.
    ///
    /// # Errors
    /// It does not end.
    pub fn halt(&mut self) -> Result<()> {
        let server = self.server.take().context("the API server does not run")?;
        server.end(Signal::SIGKILL, Duration::from_secs(10))
    }

    /// A kubeconfig for whoever has this token; the administrator's unless said.
    ///
    /// # Errors
    /// The disk refused.
    pub fn kubeconfig(&self, token: Option<&str>) -> Result<PathBuf> {
        let token = token.unwrap_or(ADMIN);
        // Tokens begin alike.
        let name: String =
            token.chars().rev().filter(char::is_ascii_alphanumeric).take(40).collect();
        let path = self.dir.join(format!("{name}.kubeconfig"));
        let authority = self.dir.join("certs/apiserver.crt");
        let text = format!(
            "apiVersion: v1\nkind: Config\n\
             clusters: [{{name: c, cluster: {{server: \"https://{ADDRESS}:6443\", certificate-authority: {}}}}}]\n\
             users: [{{name: u, user: {{token: \"{token}\"}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n",
            authority.display()
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Runs kubectl as the administrator and returns what it printed.
    ///
    /// # Errors
    /// It failed; the message is its own.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, "")
    }

    /// Runs kubectl as a user of this name, whom RBAC alone gives rights, with this input.
    ///
    /// # Errors
    /// It failed; the message is its own.
    pub fn kubectl_as(&self, user: &str, arguments: &[&str], input: &str) -> Result<String> {
        self.kubectl_with(&[&["--as", user], arguments].concat(), input)
    }

    /// Creates an object as whoever has this token.
    ///
    /// # Errors
    /// The server refuses it; the message says why.
    pub fn create_as(&self, token: &str, yaml: &str) -> Result<()> {
        let arguments = ["--token", token, "create", "-f", "-"];
        self.kubectl_with(&arguments, yaml).map(drop)
    }

    /// The token of an agent's pod on a node, with the rights of `manifests/rbac`.
    ///
    /// # Errors
    /// The server refuses an object.
    pub fn agent_token(&self, node: &str) -> Result<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/rbac");
        self.apply_manifest("namespace.yaml")?;
        self.kubectl(&["apply", "-f", &folder.display().to_string()])?;
        self.apply(&format!(
            "apiVersion: v1\nkind: Pod\n\
             metadata: {{name: agent-{node}, namespace: brindle-system}}\n\
             spec:\n  nodeName: {node}\n  serviceAccountName: brindle-agent\n  \
             hostNetwork: true\n  containers: [{{name: agent, image: none}}]\n"
        ))?;
        let pod = format!("agent-{node}");
        let account = ["create", "token", "-n", "brindle-system", "brindle-agent"];
        let bound = ["--bound-object-kind", "Pod", "--bound-object-name", &pod];
        Ok(self.kubectl(&[&account[..], &bound].concat())?.trim().to_owned())
    }

    /// Starts an operator of this name with the rights of the manifest, which must have been applied
    /// as far as it has them. It is ready when it leads.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn operator(&self, name: &str, options: &[&str]) -> Result<Daemon> {
        let account = ["create", "token", "-n", "brindle-system", "brindle-operator"];
        let token = self.kubectl(&account)?;
        let program = binary("brindle-operator");
        let program = program.to_str().context("the path of brindle-operator is not UTF-8")?;
        let mut command = self.netns.command(program);
        command.arg("--kubeconfig").arg(self.kubeconfig(Some(token.trim()))?);
        command.args(["--name", name]).args(options);
        Daemon::start(name, command, &self.dir.join(format!("{name}.log")))
    }

    /// Applies a file of `manifests/`.
    ///
    /// # Errors
    /// The server refuses an object; the message says why.
    pub fn apply_manifest(&self, name: &str) -> Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(name);
        let path = path.display().to_string();
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path]).map(drop)
    }

    /// Creates or changes the objects of a YAML text.
    ///
    /// # Errors
    /// The server refuses one; the message says why.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.kubectl_with(&["apply", "-f", "-"], yaml).map(drop)
    }

    /// Installs Brindle's CustomResourceDefinitions and waits until they are served.
    ///
    /// # Errors
    /// The server refuses one.
    pub fn install_definitions(&self) -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
        let folder = folder.display().to_string();
        self.kubectl(&["apply", "--server-side", "-f", &folder])?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &folder])?;
        Ok(())
    }

    /// Creates what the server takes of a YAML text; returns what kubectl says of those objects, and
    /// of the others.
    ///
    /// # Errors
    /// kubectl could not be run.
    pub fn try_create(&self, yaml: &str) -> Result<(String, String)> {
        let output = self.run_kubectl(&["create", "-f", "-"], yaml)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(&output.stdout), text(&output.stderr)))
    }

    /// Runs kubectl as the administrator with this input.
    ///
    /// # Errors
    /// It failed; the message is its own.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.run_kubectl(arguments, input)?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}", arguments.join(" "), error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn run_kubectl(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let kubeconfig = self.kubeconfig(None)?;
        let mut child = self
            .netns
            .command(&program("kubectl")?)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            // Every server has the same address, by which kubectl names what it knows of one.
            .arg("--cache-dir")
            .arg(self.dir.join("kubectl"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start kubectl")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        // A kubectl that does not read its input may have ended.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Ok(child.wait_with_output()?)
    }
}

fn program(name: &str) -> Result<String> {
    let folder = match std::env::var_os("BRINDLE_KUBE_BIN") {
        Some(folder) => PathBuf::from(folder),
        None => newest()?,
    };
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} is missing; `cargo xtask cluster` builds it", path.display());
    }
    Ok(path.display().to_string())
}

fn newest() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let cache = home.join(".cache/brindle/kubernetes");
    let versions = fs::read_dir(&cache)
        .with_context(|| format!("no Kubernetes programs in {}", cache.display()))?;
    let newest = versions.flatten().map(|entry| entry.path().join("bin")).max();
    newest.with_context(|| format!("no version in {}", cache.display()))
}

//! What the agent is told on its command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use brindle_model::Name;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cni_install::CniDirectories;

/// The node daemon of Brindle: enforces network policy and routes pods on one node.
#[derive(Debug, Parser)]
#[command(name = "brindle-agent", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `run` unless said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `run`.
    #[command(flatten)]
    pub run: Option<RunOptions>,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enforce policy and route pods until SIGTERM; the kernel keeps what it has then.
    Run(RunOptions),
    /// Say what this kernel offers, and fail if that is too little.
    Probe,
    /// Remove everything that an agent made on this node: rules, links of pods, routes, state.
    Uninstall(UninstallOptions),
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// Name of this node's Node object.
    #[arg(long, env = "BRINDLE_NODE")]
    pub node: Name,
    /// Where objects come from: `dir:PATH`, a folder of YAML files; `kubernetes`, the API server of
    /// the cluster this runs in; `kubernetes:PATH`, the one that this kubeconfig names.
    #[arg(long)]
    pub source: Source,
    /// Folder in which the status of each object is written; shared by the nodes. With `dir:` only.
    #[arg(long)]
    pub status_dir: Option<PathBuf>,
    /// Folder in which nodes agree on address blocks; shared by them. Beside the state by default,
    /// which is right for a single node. With `dir:` only: the API server has the blocks otherwise.
    #[arg(long)]
    pub ipam_dir: Option<PathBuf>,
    /// Where state lies that must outlive the agent.
    #[arg(long, default_value = "/var/lib/brindle")]
    pub state_dir: PathBuf,
    /// Where sockets and the lock lie.
    #[arg(long, default_value = "/run/brindle")]
    pub run_dir: PathBuf,
    /// Where the CNI plugin is installed.
    #[command(flatten)]
    pub cni: CniDirectories,
    /// Where the settings of `/proc/sys/net` can be written: in a container that is elsewhere.
    #[arg(long, default_value = "/proc/sys/net")]
    pub sysctl_dir: PathBuf,
    /// Also serve /metrics and /healthz over TCP here.
    #[arg(long)]
    pub admin_listen: Option<SocketAddr>,
    /// Seconds between read-backs that look for changes behind the agent's back.
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub resync_interval: Duration,
    /// What becomes of connections that policy admitted and, after a change, does not any more.
    #[arg(long, value_enum, default_value_t)]
    pub existing_connections: ExistingConnections,
    /// Denied packets of which the kernel tells, a second and decision, for `brindlectl drops`; 0 is
    /// none. All are counted.
    #[arg(long, default_value_t = brindle_dataplane_nftables::DROPS_PER_SECOND)]
    pub drops_per_second: u32,
    /// How many denied packets are remembered, and as many logged ones.
    #[arg(long, default_value_t = 1024)]
    pub packets_kept: usize,
    /// Log as JSON lines.
    #[arg(long)]
    pub log_json: bool,
}

/// Two options that exclude each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} goes with a folder only; the API server holds that of --source {objects}")]
pub struct ConflictError {
    option: &'static str,
    objects: Source,
}

impl RunOptions {
    /// Refuses options that would be without effect.
    ///
    /// # Errors
    /// There is one.
    pub fn check(&self) -> Result<(), ConflictError> {
        let folders =
            [("--status-dir", &self.status_dir), ("--ipam-dir", &self.ipam_dir)].into_iter();
        let given = folders.filter(|(_, path)| path.is_some()).map(|(option, _)| option).next();
        match (&self.source, given) {
            (Source::Kubernetes(_), Some(option)) => {
                Err(ConflictError { option, objects: self.source.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Where nodes agree on address blocks.
    pub fn ipam_dir(&self) -> PathBuf {
        self.ipam_dir.clone().unwrap_or_else(|| self.state_dir.join("blocks"))
    }

    /// The socket of the admin API.
    pub fn admin_socket(&self) -> PathBuf {
        self.run_dir.join("agent.sock")
    }

    /// The socket of the CNI plugin.
    pub fn cni_socket(&self) -> PathBuf {
        self.run_dir.join("cni.sock")
    }
}

/// Options of `uninstall`.
#[derive(Clone, Debug, Args)]
pub struct UninstallOptions {
    /// Where state lies; removed.
    #[arg(long, default_value = "/var/lib/brindle")]
    pub state_dir: PathBuf,
    /// Where sockets and the lock lie; removed. An agent that holds the lock is left alone.
    #[arg(long, default_value = "/run/brindle")]
    pub run_dir: PathBuf,
    /// Where the CNI plugin was installed; removed from there.
    #[command(flatten)]
    pub cni: CniDirectories,
}

/// What becomes of connections that policy does not admit any more (K33).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExistingConnections {
    /// They are judged again and stop within a second.
    #[default]
    Reevaluate,
    /// They go on until they end.
    Keep,
}

impl std::fmt::Display for ExistingConnections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reevaluate => "reevaluate",
            Self::Keep => "keep",
        })
    }
}

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A folder of YAML files.
    Directory(PathBuf),
    /// An API server: the one that a kubeconfig names, or that of the cluster this runs in.
    Kubernetes(Option<PathBuf>),
}

/// A source that the agent does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a source; write dir:PATH, kubernetes or kubernetes:KUBECONFIG")]
pub struct ParseSourceError(String);

impl FromStr for Source {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, ParseSourceError> {
        match text.split_once(':') {
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            Some(("kubernetes", path)) if !path.is_empty() => {
                Ok(Self::Kubernetes(Some(path.into())))
            }
            None if text == "kubernetes" => Ok(Self::Kubernetes(None)),
            _ => Err(ParseSourceError(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Kubernetes(None) => f.write_str("kubernetes"),
            Self::Kubernetes(Some(path)) => write!(f, "kubernetes:{}", path.display()),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_says_its_kind() {
        assert_eq!("dir:/a:b".parse(), Ok(Source::Directory("/a:b".into())));
        assert_eq!("kubernetes".parse(), Ok(Source::Kubernetes(None)));
        assert_eq!("kubernetes:/k".parse(), Ok(Source::Kubernetes(Some("/k".into()))));
        for wrong in ["", "dir:", "/etc/brindle", "kubernetes:", "kube"] {
            assert!(wrong.parse::<Source>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn folders_of_a_folder_source_are_refused_beside_an_api_server() {
        let check = |arguments: &[&str]| {
            let cli = Cli::parse_from(["brindle-agent", "--node", "n1"].iter().chain(arguments));
            cli.run.unwrap().check().map_err(|error| error.to_string())
        };
        assert_eq!(
            check(&["--source", "dir:/o", "--status-dir", "/s", "--ipam-dir", "/i"]),
            Ok(())
        );
        assert_eq!(check(&["--source", "kubernetes"]), Ok(()));
        for option in ["--status-dir", "--ipam-dir"] {
            let error = check(&["--source", "kubernetes", option, "/x"]).unwrap_err();
            assert!(error.starts_with(option), "{error}");
        }
    }

    #[test]
    fn existing_connections_are_judged_again_unless_said() {
        let parse = |rest: &[&str]| {
            let start = ["brindle-agent", "--node", "n1", "--source", "dir:/o"];
            Cli::try_parse_from(start.iter().chain(rest))
                .map(|cli| cli.run.unwrap().existing_connections)
        };
        assert_eq!(parse(&[]).unwrap(), ExistingConnections::Reevaluate);
        for value in [ExistingConnections::Reevaluate, ExistingConnections::Keep] {
            let text = value.to_string();
            assert_eq!(parse(&["--existing-connections", &text]).unwrap(), value);
        }
        assert!(parse(&["--existing-connections", "drop"]).is_err());
    }

    #[test]
    fn run_is_the_default_and_its_options_are_required() {
        let cli = Cli::parse_from(["brindle-agent", "--node", "n1", "--source", "dir:/o"]);
        assert_eq!(cli.run.unwrap().ipam_dir(), PathBuf::from("/var/lib/brindle/blocks"));
        let cli = Cli::parse_from(["brindle-agent", "run", "--node", "n1", "--source", "dir:/o"]);
        assert!(matches!(cli.command, Some(Command::Run(_))));
        assert!(Cli::try_parse_from(["brindle-agent", "--node", "n1"]).is_err());
        assert!(matches!(
            Cli::parse_from(["brindle-agent", "probe"]).command,
            Some(Command::Probe)
        ));
    }
}

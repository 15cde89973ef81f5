//! What the agent is told on its command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use brindle_model::Name;
use brindle_model::host::{Failsafe, ParseFailsafeError};
use brindle_model::settings::{
    Dataplane, EndpointToHost, ExistingConnections, IptablesJump, Settings, Word,
};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::cni_install::CniDirectories;

/// The node daemon of Brindle: enforces network policy and routes pods on one node.
#[derive(Debug, Parser)]
#[command(name = "brindle-agent", version)]
pub struct Cli {
    /// What to do; `run` unless said.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads a command line. Options without a command are those of `run`.
    ///
    /// # Errors
    /// An option is unknown, wrong or missing, or help was asked for: print it and exit with its code.
    pub fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, clap::Error> {
        const OWN: [&str; 4] = ["-h", "--help", "-V", "--version"];
        let mut arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let first = arguments.get(1).and_then(|first| first.to_str());
        // An `Option` of flattened options would do, were there no options flattened into those.
        if first.is_none_or(|first| first.starts_with('-') && !OWN.contains(&first)) {
            arguments.insert(arguments.len().min(1), "run".into());
        }
        Self::try_parse_from(arguments)
    }
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enforce policy and route pods until SIGTERM; the kernel keeps what it has then.
    Run(Box<RunOptions>),
    /// Say what this kernel offers and what would be chosen of it, and fail if that is too little.
    Probe(DataplaneOptions),
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
    /// What AgentConfigurations override.
    #[command(flatten)]
    pub settings: SettingsOptions,
    /// Which of the kernel's ways to filter is used.
    #[command(flatten)]
    pub dataplane: DataplaneOptions,
    /// Log as JSON lines.
    #[arg(long)]
    pub log_json: bool,
}

/// Settings that AgentConfigurations override; what neither says is built in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SettingsOptions {
    /// Seconds between read-backs that look for changes behind the agent's back; 60 unless said.
    #[arg(long, value_parser = seconds)]
    pub resync_interval: Option<Duration>,
    /// What becomes of connections that policy admitted and, after a change, does not any more:
    /// judged again, unless said, or kept.
    #[arg(long, value_parser = word::<ExistingConnections>())]
    pub existing_connections: Option<ExistingConnections>,
    /// What becomes of packets from pods to this node that their egress policies admit; accepted
    /// unless said.
    #[arg(long, value_parser = word::<EndpointToHost>())]
    pub default_endpoint_to_host_action: Option<EndpointToHost>,
    /// Ports of this node that stay open on its host endpoints, whatever policy says: `tcp:22`, or
    /// `tcp:22@10.0.0.0/8` for some peers only; `none` for no port. Unless said: SSH, DHCP, BGP,
    /// etcd, Typha and the API server.
    #[arg(long, value_delimiter = ',')]
    pub failsafe_inbound: Option<Vec<FailsafePort>>,
    /// Ports of others that stay open to this node, likewise; DNS among them.
    #[arg(long, value_delimiter = ',')]
    pub failsafe_outbound: Option<Vec<FailsafePort>>,
    /// Denied packets of which the kernel tells, a second and decision, for `brindlectl drops`; 0 is
    /// none, 5 unless said. All are counted.
    #[arg(long)]
    pub drops_per_second: Option<u32>,
    /// How many denied packets are remembered, and as many logged ones; 1024 unless said.
    #[arg(long)]
    pub packets_kept: Option<u32>,
}

/// Which of the kernel's ways to filter is used, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct DataplaneOptions {
    /// The dataplane; `auto`, nftables if a trial works and else iptables, unless said. What another
    /// one left of ours is removed once this one filters.
    #[arg(long, env = "BRINDLE_DATAPLANE", value_parser = word::<Dataplane>())]
    pub dataplane: Option<Dataplane>,
    /// Where the jumps to our chains stand in FORWARD, INPUT and others of iptables: `insert`, before
    /// all other rules, unless said, or `append`, behind those that are there, whose ACCEPT then goes
    /// past policy.
    #[arg(long, value_parser = word::<IptablesJump>())]
    pub iptables_jump: Option<IptablesJump>,
}

/// Takes the words of a choice, and names them all in help and errors.
fn word<W: Word>() -> impl TypedValueParser<Value = W> {
    PossibleValuesParser::new(W::ALL.iter().map(|choice| choice.word())).try_map(|text| {
        let found = W::ALL.iter().copied().find(|choice| choice.word() == text);
        found.ok_or("unknown word")
    })
}

impl DataplaneOptions {
    /// Refuses an option that would be without effect.
    ///
    /// # Errors
    /// There is one.
    pub fn check(self) -> Result<(), ConflictError> {
        match (self.dataplane, self.iptables_jump) {
            (Some(Dataplane::Nftables), Some(jump @ IptablesJump::Append)) => {
                Err(ConflictError::Jump(jump))
            }
            _ => Ok(()),
        }
    }
}

/// Two options of which one would be without effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConflictError {
    /// A folder of the agent's own beside an API server.
    #[error("{option} goes with a folder only; the API server holds that of --source {objects}")]
    Folder {
        /// The option.
        option: &'static str,
        /// Where objects come from.
        objects: Source,
    },
    /// A place among the rules of iptables, which are not used.
    #[error("--iptables-jump {0} goes with iptables only, and --dataplane is nftables")]
    Jump(IptablesJump),
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
                Err(ConflictError::Folder { option, objects: self.source.clone() })
            }
            _ => self.dataplane.check(),
        }
    }

    /// Where nodes agree on address blocks.
    pub fn ipam_dir(&self) -> PathBuf {
        self.ipam_dir.clone().unwrap_or_else(|| self.state_dir.join("blocks"))
    }

    /// What the command line, and `directives` of the log, say of settings.
    pub fn settings(&self, directives: Option<String>) -> Settings {
        let ports = |list: &Option<Vec<FailsafePort>>| {
            let list = list.as_ref()?.iter().filter_map(|port| port.0.clone());
            Some(list.collect())
        };
        let said = &self.settings;
        Settings {
            log: directives,
            existing_connections: said.existing_connections,
            endpoint_to_host: said.default_endpoint_to_host_action,
            failsafe_inbound: ports(&said.failsafe_inbound),
            failsafe_outbound: ports(&said.failsafe_outbound),
            packets_kept: said.packets_kept,
            drops_per_second: said.drops_per_second,
            resync_interval: said.resync_interval,
            dataplane: self.dataplane.dataplane,
            iptables_jump: self.dataplane.iptables_jump,
        }
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

/// One failsafe port, or the word for none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailsafePort(Option<Failsafe>);

impl FromStr for FailsafePort {
    type Err = ParseFailsafeError;

    fn from_str(text: &str) -> Result<Self, ParseFailsafeError> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|port| Self(Some(port))) }
    }
}

impl std::fmt::Display for FailsafePort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(port) => write!(f, "{port}"),
            None => f.write_str("none"),
        }
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
    use brindle_model::host::Failsafes;
    use brindle_model::settings::{Effective, Origin};

    use super::*;

    /// The options of `run` after those that are required.
    fn options(rest: &[&str]) -> Result<RunOptions, clap::Error> {
        let start = ["brindle-agent", "--node", "n1", "--source", "dir:/o"];
        Ok(match Cli::read([&start[..], rest].concat())?.command {
            Command::Run(options) => *options,
            other => panic!("{other:?}"),
        })
    }

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
            let line = [&["brindle-agent", "run", "--node", "n1"], arguments].concat();
            match Cli::read(line).unwrap().command {
                Command::Run(options) => options.check().map_err(|error| error.to_string()),
                other => panic!("{other:?}"),
            }
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
        let parse =
            |rest: &[&str]| options(rest).map(|options| options.settings.existing_connections);
        assert_eq!(parse(&[]).unwrap(), None);
        for value in ExistingConnections::ALL {
            let text = value.to_string();
            assert_eq!(parse(&["--existing-connections", &text]).unwrap(), Some(*value));
        }
        assert!(parse(&["--existing-connections", "drop"]).is_err());
    }

    #[test]
    fn a_dataplane_can_be_chosen() {
        let parse = |rest: &[&str]| options(rest).map(|options| options.dataplane);
        assert_eq!(parse(&[]).unwrap(), DataplaneOptions::default());
        for dataplane in Dataplane::ALL {
            let text = dataplane.to_string();
            assert_eq!(parse(&["--dataplane", &text]).unwrap().dataplane, Some(*dataplane));
        }
        let jump = parse(&["--iptables-jump", "append"]).unwrap().iptables_jump;
        assert_eq!(jump, Some(IptablesJump::Append));
        assert!(parse(&["--iptables-jump", "first"]).is_err());
        let check = |rest| options(rest).unwrap().check();
        assert_eq!(check(&["--iptables-jump", "append"]), Ok(()));
        let jump = ["--dataplane", "nftables", "--iptables-jump", "append"];
        assert_eq!(check(&jump), Err(ConflictError::Jump(IptablesJump::Append)));
        assert!(parse(&["--dataplane", "ebpf"]).is_err());
    }

    #[test]
    fn failsafe_ports_are_those_of_the_papers_unless_said() {
        let parse = |rest: &[&str]| {
            let said = options(rest).map(|options| options.settings(None));
            said.map(|said| {
                Effective::of([(Origin::Start, &said)]).settings.node_options().failsafes
            })
        };
        assert_eq!(parse(&[]).unwrap(), Failsafes::default());
        let some = parse(&["--failsafe-inbound", "tcp:22@10.0.0.0/8,udp:68"]).unwrap();
        let words: Vec<_> = some.inbound.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["tcp:22@10.0.0.0/8", "udp:68"]);
        assert_eq!(some.outbound, Failsafes::default().outbound);
        assert_eq!(parse(&["--failsafe-outbound", "none"]).unwrap().outbound, []);
        assert!(parse(&["--failsafe-inbound", "22"]).is_err());
    }

    #[test]
    fn run_is_the_default_and_its_options_are_required() {
        let read = |arguments: &[&str]| Cli::read([&["brindle-agent"], arguments].concat());
        assert_eq!(options(&[]).unwrap().ipam_dir(), PathBuf::from("/var/lib/brindle/blocks"));
        let run = read(&["run", "--node", "n1", "--source", "dir:/o"]).unwrap();
        assert!(matches!(run.command, Command::Run(_)));
        assert!(read(&["--node", "n1"]).is_err());
        assert!(matches!(read(&["probe"]).unwrap().command, Command::Probe(_)));
        let help = read(&["--help"]).unwrap_err();
        assert!(help.to_string().contains("uninstall"), "{help}");
    }
}

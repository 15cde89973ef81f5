//! The command line.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use brindle_model::{Name, NamespacedName};
use brindle_sources::object::Kind;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use ipnet::IpNet;

use crate::dumps::Dump;
use crate::output::Format;

/// Asks a node's agent, or the objects of an API server or a folder, what is and why.
///
/// Exit codes: 0 yes or done, 1 failed, 2 wrong usage, 3 the answer is no (denied, not ready).
#[derive(Debug, Parser)]
#[command(name = "brindlectl", version)]
pub struct Cli {
    /// The node whose agent is asked, where several run on one machine: its socket is
    /// /run/brindle/NODE/agent.sock.
    #[arg(long, global = true, value_name = "NAME")]
    pub node: Option<Name>,
    /// The agent's socket; /run/brindle/agent.sock, or what --node says.
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// How the answer is written.
    #[arg(long, short, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// What is asked.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The agent at a glance: health, what is enforced, counts.
    Status {
        /// End with 3 unless the first complete ruleset is enforced.
        #[arg(long)]
        ready: bool,
    },
    /// Wait until everything written to the source before is enforced.
    Sync {
        /// How long to wait, seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
        timeout: f64,
    },
    /// List objects as they were read, or what the agent has made of them.
    Get {
        /// Objects: namespaces, nodes, pods, serviceaccounts, services, endpointslices,
        /// networkpolicies, clusternetworkpolicies, tiers, networkpolicies.brindle.io, globalnetworkpolicies,
        /// stagednetworkpolicies, stagedglobalnetworkpolicies, stagedkubernetesnetworkpolicies,
        /// networksets, globalnetworksets, ippools, bgpconfigurations, bgppeers, bgpfilters,
        /// hostendpoints, agentconfigurations. The agent's: endpoints, sets, ruleset, routing, routes, deltas.
        kind: ResourceKind,
        /// Where objects are read.
        #[command(flatten)]
        origin: Origin,
    },
    /// Say what becomes of a packet, at every hop, which rule decides, and for a denial what came
    /// closest.
    Explain(Question),
    /// Say which flows between pods would be decided otherwise if objects were added, changed or
    /// gone. Ends with 3 if some would.
    WhatIf(WhatIf),
    /// The BGP speaker and its neighbours.
    #[command(args_conflicts_with_subcommands = true)]
    Bgp {
        /// Only this neighbour, in detail.
        peer: Option<String>,
        /// What else is asked.
        #[command(subcommand)]
        question: Option<BgpQuestion>,
    },
    /// Install the operator and an Installation, which it follows; or say what would be applied.
    Install(Install),
    /// Say which objects that an API server has this version would not accept, before one installs
    /// it. Ends with 3 if the installed version accepts any of them.
    Preflight {
        /// The API server.
        #[command(flatten)]
        origin: Server,
    },
    /// Settings of agents.
    Config {
        /// What is asked.
        #[command(subcommand)]
        question: ConfigQuestion,
    },
    /// Address blocks of the node and who holds which address.
    Ipam,
    /// Packets that the kernel denied of late, and who decided so.
    Drops {
        /// Packets that Log rules told of, instead.
        #[arg(long)]
        logged: bool,
        /// Go on with those that come, until interrupted; as JSON a line each.
        #[arg(long, short)]
        follow: bool,
    },
    /// How many packets each rule and default decided about, since the rule was last written: first
    /// packets of flows, and all that are denied.
    Hits,
}

/// What is installed, and where.
#[derive(Clone, Debug, Default, Args)]
pub struct Install {
    /// Only write what would be applied, as YAML, or as a list with `--output json`.
    #[arg(long)]
    pub dry_run: bool,
    /// The image of the operator and the agents; that of this version unless said.
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// A field of the Installation, such as dataplane=Nftables.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Apply it although the cluster has objects that this version would not accept any more.
    #[arg(long)]
    pub force: bool,
    /// The API server.
    #[command(flatten)]
    pub origin: Server,
}

/// An API server.
#[derive(Clone, Debug, Default, Args)]
pub struct Server {
    /// The API server that this kubeconfig names; that of KUBECONFIG unless said, or of the cluster
    /// in which this runs.
    #[arg(long, value_name = "PATH", env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => Ok((field.to_owned(), value.to_owned())),
        _ => Err("expected FIELD=VALUE".into()),
    }
}

/// What can be asked about settings.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigQuestion {
    /// Every setting of the agent that is asked: its value, who says so, and what it waits for. With
    /// --dir or --kubeconfig: what the objects there say for the node that --node names.
    Show {
        /// Where objects are read, in place of asking an agent.
        #[command(flatten)]
        origin: Origin,
    },
}

/// What can be asked of the BGP speaker.
#[derive(Clone, Debug, Subcommand)]
pub enum BgpQuestion {
    /// The neighbours; the same as without a word.
    Peers {
        /// Only this neighbour, in detail.
        peer: Option<String>,
    },
    /// Routes: the chosen ones, or those that neighbours told us of or were told.
    Routes {
        /// What neighbours advertised, used or not.
        #[arg(long, conflicts_with_all = ["advertised", "best"])]
        received: bool,
        /// What neighbours have from us.
        #[arg(long, conflicts_with = "best")]
        advertised: bool,
        /// Paths in order of preference, and what this node originates; this unless said.
        #[arg(long)]
        best: bool,
        /// Of this neighbour only.
        #[arg(long, value_name = "NAME")]
        peer: Option<String>,
        /// How many at most.
        #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
        limit: usize,
    },
    /// What edits of objects would do to this node's speaker, before they are made: sessions that end
    /// and why, routes that neighbours would be told of or no longer, prefixes that would be forwarded
    /// otherwise. Nothing is written. Ends with 3 if anything would change.
    Diff {
        /// The edits.
        #[command(flatten)]
        edits: Edits,
        /// Of this neighbour only.
        #[arg(long, value_name = "NAME")]
        peer: Option<String>,
    },
    /// What goes on, until interrupted: states of sessions, messages both ways, changes of routes.
    Monitor {
        /// Sessions and messages of this neighbour only.
        #[arg(long, value_name = "NAME")]
        peer: Option<String>,
        /// Writes states and messages into a file as MRT records (RFC 6396) instead, for tools such
        /// as bgpdump; a file that is there is replaced.
        #[arg(long, value_name = "FILE")]
        mrt: Option<PathBuf>,
    },
    /// Why a prefix is, or is not, at a neighbour or in the route table: every step, both ways. Ends
    /// with 3 if it gets through nowhere.
    Why {
        /// A prefix, or an address for the prefix that contains it.
        prefix: PrefixOrAddress,
        /// To and from this neighbour only.
        #[arg(long, value_name = "NAME")]
        peer: Option<String>,
    },
}

/// A prefix; an address is one of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixOrAddress(pub IpNet);

impl FromStr for PrefixOrAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let prefix = text.parse::<IpNet>().or(address);
        prefix.map(Self).map_err(|_| "expected a prefix such as 10.65.0.0/26, or an address".into())
    }
}

/// Where objects are read: where the agent reads them, unless said.
#[derive(Clone, Debug, Default, Args)]
pub struct Origin {
    /// A folder of objects; no agent is asked then.
    #[arg(long, value_name = "PATH", conflicts_with = "kubeconfig")]
    pub dir: Option<PathBuf>,
    /// The API server that this kubeconfig names; no agent is asked then. KUBECONFIG names one for
    /// where there is no agent.
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
}

impl Origin {
    /// Whether a place is named.
    pub fn is_given(&self) -> bool {
        self.dir.is_some() || self.kubeconfig.is_some()
    }
}

/// Changes to what objects say. Nothing is written.
#[derive(Clone, Debug, Default, Args)]
pub struct Edits {
    /// A file of objects that count in place of those of the same name, or beside the others.
    #[arg(long, value_name = "FILE")]
    pub with: Vec<PathBuf>,
    /// A file of objects that count as absent, those of the same name.
    #[arg(long, value_name = "FILE")]
    pub without: Vec<PathBuf>,
}

/// Flows to judge before and after an edit.
#[derive(Clone, Debug, Args)]
pub struct WhatIf {
    /// The edits.
    #[command(flatten)]
    pub edits: Edits,
    /// Only flows from this pod, NAMESPACE/POD, or this namespace.
    #[arg(long, value_name = "NAMESPACE[/POD]")]
    pub from: Option<PodPattern>,
    /// Only flows to this pod, NAMESPACE/POD, or this namespace.
    #[arg(long, value_name = "NAMESPACE[/POD]")]
    pub to: Option<PodPattern>,
    /// Only these ports, such as 80/tcp, or `icmp`. Unless said: those that policies name, those
    /// that pods name, 80/tcp and an echo request.
    #[arg(long, short)]
    pub port: Vec<PortAndProtocol>,
    /// Where objects are read.
    #[command(flatten)]
    pub origin: Origin,
}

/// A pod, or every pod of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPattern {
    namespace: Name,
    name: Option<Name>,
}

impl PodPattern {
    /// Whether a pod is meant.
    pub fn matches(&self, pod: &NamespacedName) -> bool {
        self.namespace == pod.namespace && self.name.as_ref().is_none_or(|name| *name == pod.name)
    }
}

impl FromStr for PodPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (namespace, Some(name)),
            None => (text, None),
        };
        if namespace.is_empty() || name.is_some_and(|name| name.is_empty() || name.contains('/')) {
            return Err("expected NAMESPACE or NAMESPACE/POD".into());
        }
        Ok(Self { namespace: namespace.into(), name: name.map(Name::from) })
    }
}

/// A packet to judge.
#[derive(Clone, Debug, Args)]
pub struct Question {
    /// Who sends: NAMESPACE/POD, node/NAME, hostendpoint/NAME or an address.
    pub from: End,
    /// Who is sent to: NAMESPACE/POD, node/NAME, hostendpoint/NAME, svc/NAMESPACE/NAME[:PORT] or an
    /// address; that of a Service means its ready backends.
    pub to: End,
    /// Destination port and protocol, such as 80/tcp, 53/udp, 9/sctp; tcp unless said. Or `icmp`. Of
    /// a Service it may be left out if it has one port, or `:PORT` says which, by number or name.
    #[arg(long, short)]
    pub port: Option<PortAndProtocol>,
    /// What is judged instead of what the objects say.
    #[command(flatten)]
    pub edits: Edits,
    /// Where objects are read.
    #[command(flatten)]
    pub origin: Origin,
}

/// One end of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A pod.
    Pod(NamespacedName),
    /// The network namespace of a node.
    Node(Name),
    /// The same, by the addresses that a HostEndpoint expects.
    HostEndpoint(Name),
    /// Whoever holds this address.
    Address(IpAddr),
    /// The backends of a Service, at one of its ports.
    Service(NamespacedName, Option<ServicePort>),
}

/// A port of a Service, as users write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServicePort {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The upper-layer part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortAndProtocol {
    /// TCP to this port.
    Tcp(u16),
    /// UDP to this port.
    Udp(u16),
    /// SCTP to this port.
    Sctp(u16),
    /// An ICMP or ICMPv6 echo request.
    Icmp,
}

/// What `get` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// Objects of a source.
    Object(Kind),
    /// A part of the agent's state.
    Dump(Dump),
}

impl Cli {
    /// The socket of the agent that is asked.
    pub fn socket(&self) -> PathBuf {
        let run = Path::new("/run/brindle");
        match (&self.socket, &self.node) {
            (Some(socket), _) => socket.clone(),
            (None, Some(node)) => run.join(&**node).join("agent.sock"),
            (None, None) => run.join("agent.sock"),
        }
    }

    /// What the words alone cannot say: which of them go together.
    ///
    /// # Errors
    /// A question that has no meaning.
    pub fn check(&self) -> Result<(), clap::Error> {
        let wrong = |kind, words| Err(Self::command().error(kind, words));
        match &self.command {
            Command::Explain(Question { from: End::Service(..), .. }) => {
                wrong(ErrorKind::ValueValidation, "a Service does not send: name the pod behind it")
            }
            Command::Explain(Question { to: End::Service(_, Some(_)), port: Some(_), .. }) => {
                wrong(ErrorKind::ArgumentConflict, "the port is given twice: `:PORT` and --port")
            }
            Command::Explain(Question { to, port: None, .. })
                if !matches!(to, End::Service(..)) =>
            {
                wrong(ErrorKind::MissingRequiredArgument, "give --port: only a Service has its own")
            }
            Command::Config { question: ConfigQuestion::Show { origin } }
                if origin.is_given() && self.node.is_none() =>
            {
                wrong(ErrorKind::MissingRequiredArgument, "give --node: objects are for many")
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match text.split_once('/') {
            Some(("node", name)) if !name.is_empty() => Ok(Self::Node(name.into())),
            Some(("hostendpoint", name)) if !name.is_empty() => Ok(Self::HostEndpoint(name.into())),
            Some(("svc", rest)) if rest.contains(['/', ':']) => service(rest),
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self::Pod(NamespacedName::new(namespace, name)))
            }
            _ => Err(
                "expected NAMESPACE/POD, node/NAME, hostendpoint/NAME, svc/NAMESPACE/NAME or an \
                      address"
                    .into(),
            ),
        }
    }
}

/// Reads NAMESPACE/NAME[:PORT].
fn service(text: &str) -> Result<End, String> {
    let (id, port) = match text.split_once(':') {
        Some((id, port)) => (id, Some(port)),
        None => (text, None),
    };
    let id = id.split_once('/').filter(|(namespace, name)| {
        !namespace.is_empty() && !name.is_empty() && !name.contains('/')
    });
    let (namespace, name) = id.ok_or("expected svc/NAMESPACE/NAME, with or without :PORT")?;
    let port = match port {
        Some("") => return Err("expected a port's number or name behind the colon".into()),
        Some(port) => Some(match port.parse() {
            Ok(number) => ServicePort::Number(number),
            Err(_) => ServicePort::Name(port.to_owned()),
        }),
        None => None,
    };
    Ok(End::Service(NamespacedName::new(namespace, name), port))
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(id) => id.fmt(f),
            Self::Node(name) => write!(f, "node/{name}"),
            Self::HostEndpoint(name) => write!(f, "hostendpoint/{name}"),
            Self::Address(address) => address.fmt(f),
            Self::Service(id, Some(port)) => write!(f, "svc/{id}:{port}"),
            Self::Service(id, None) => write!(f, "svc/{id}"),
        }
    }
}

impl FromStr for PortAndProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        let (port, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
        if text == "icmp" {
            return Ok(Self::Icmp);
        }
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or("expected a port from 1 to 65535, such as 80/tcp, or `icmp`")?;
        match protocol {
            "tcp" => Ok(Self::Tcp(port)),
            "udp" => Ok(Self::Udp(port)),
            "sctp" => Ok(Self::Sctp(port)),
            _ => Err("expected one of the protocols tcp, udp, sctp".into()),
        }
    }
}

impl fmt::Display for PortAndProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "{port}/tcp"),
            Self::Udp(port) => write!(f, "{port}/udp"),
            Self::Sctp(port) => write!(f, "{port}/sctp"),
            Self::Icmp => f.write_str("icmp echo"),
        }
    }
}

impl FromStr for ResourceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        let named = |name: &str| {
            let name = name.to_ascii_lowercase();
            // The kind of two groups is named with one, as in `networkpolicies.brindle.io`.
            let (singular, group) = match name.split_once('.') {
                Some((singular, _)) => (singular, &name[singular.len()..]),
                None => (&*name, ""),
            };
            let plural = match singular.strip_suffix('y') {
                Some(stem) => format!("{stem}ies{group}"),
                None => format!("{singular}s{group}"),
            };
            text == name || text == plural
        };
        let short = match text.as_str() {
            "ns" => "namespace",
            "po" => "pod",
            "sa" => "serviceaccount",
            "svc" => "service",
            "cnp" => "clusternetworkpolicy",
            "gnp" => "globalnetworkpolicy",
            "netpol" | "policies" | "policy" => "networkpolicy",
            "pools" | "pool" => "ippool",
            other => other,
        };
        let kind = Kind::ALL
            .into_iter()
            .map(|kind| (kind, kind.to_string()))
            .find(|(_, name)| named(name) || name.eq_ignore_ascii_case(short))
            .map(|(kind, _)| kind);
        let dump = Dump::ALL.into_iter().find(|dump| named(dump.name()) || text == dump.name());
        match (kind, dump) {
            (Some(kind), _) => Ok(Self::Object(kind)),
            (None, Some(dump)) => Ok(Self::Dump(dump)),
            (None, None) => Err("unknown kind; see `brindlectl get --help`".into()),
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(kind) => kind.fmt(f),
            Self::Dump(dump) => f.write_str(dump.name()),
        }
    }
}

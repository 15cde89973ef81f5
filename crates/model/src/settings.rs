//! Settings of an agent, typed and in layers: each is taken from the most specific layer that has
//! it.
//!
//! ```text
//!  built in < how it was started < `default` < by node selector < `node.<name>` < emergency
//! ```
//! Of several selectors that match, the object whose name sorts first counts.

mod objects;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use objects::Objects;
pub use words::{Dataplane, EndpointToHost, ExistingConnections, IptablesJump, Word};

use crate::Name;
use crate::admin::SettingReport;
use crate::host::{Failsafe, Failsafes};
use crate::selector::Selector;

/// Denied packets that are told of, a second and decision, unless said otherwise: enough to see who
/// is refused, and at the worst a few hundred messages a second on a node.
pub const DROPS_PER_SECOND: u32 = 5;

/// When a change of a setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// At once.
    Live,
    /// When the agent starts.
    AtStart,
}

/// One setting, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its field of an AgentConfiguration.
    pub name: &'static str,
    /// When a change takes effect.
    pub taken: Taken,
    /// Its value as objects spell it; `None` if it is left to others.
    pub value: Option<String>,
}

macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $type:ty, $name:literal, $taken:ident, $text:expr;)+) => {
        /// Settings; `None` is left to others.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Settings {
            $($(#[$doc])* pub $field: Option<$type>,)+
        }

        impl Settings {
            /// Takes over what `over` has, and tells the name of each.
            fn overlay(&mut self, over: &Self, mut taken_over: impl FnMut(&'static str)) {
                $(if let Some(value) = &over.$field {
                    self.$field = Some(value.clone());
                    taken_over($name);
                })+
            }

            /// Every setting in words.
            pub fn rows(&self) -> Vec<Row> {
                vec![$({
                    let text: fn(&$type) -> String = $text;
                    let value = self.$field.as_ref().map(text);
                    Row { name: $name, taken: Taken::$taken, value }
                },)+]
            }
        }
    };
}

settings! {
    /// What is logged: directives as in `RUST_LOG`.
    log: String, "logLevel", Live, Clone::clone;
    /// What becomes of connections that policy does not admit any more (K33).
    existing_connections: ExistingConnections, "existingConnections", Live, |value| value.name().into();
    /// What becomes of packets from pods to their node (K30, C40).
    endpoint_to_host: EndpointToHost, "defaultEndpointToHostAction", Live, |value| value.name().into();
    /// Ports of the node that stay open on its host endpoints (C36).
    failsafe_inbound: Vec<Failsafe>, "failsafeInboundHostPorts", Live, |ports| listed(ports);
    /// Ports of others that do.
    failsafe_outbound: Vec<Failsafe>, "failsafeOutboundHostPorts", Live, |ports| listed(ports);
    /// Packets that are remembered, of denied and of logged ones each.
    packets_kept: u32, "packetsKept", Live, ToString::to_string;
    /// Denied packets that a decision tells of, a second.
    drops_per_second: u32, "dropsPerSecond", AtStart, ToString::to_string;
    /// Time between read-backs of the kernel.
    resync_interval: Duration, "resyncInterval", AtStart, |span| format!("{}s", span.as_secs());
    /// Which of the kernel's ways to filter is used.
    dataplane: Dataplane, "dataplane", AtStart, |value| value.name().into();
    /// Where the jumps to our chains stand.
    iptables_jump: IptablesJump, "iptablesJump", AtStart, |value| value.name().into();
}

fn listed(ports: &[Failsafe]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    if ports.is_empty() { "none".into() } else { ports.join(",") }
}

impl Settings {
    /// What counts where nobody says anything. Every setting has a value.
    pub fn built_in() -> Self {
        let Failsafes { inbound, outbound } = Failsafes::default();
        Self {
            log: Some("info".into()),
            existing_connections: Some(ExistingConnections::Reevaluate),
            endpoint_to_host: Some(EndpointToHost::Accept),
            failsafe_inbound: Some(inbound),
            failsafe_outbound: Some(outbound),
            packets_kept: Some(1024),
            drops_per_second: Some(DROPS_PER_SECOND),
            resync_interval: Some(Duration::from_secs(60)),
            dataplane: Some(Dataplane::Auto),
            iptables_jump: Some(IptablesJump::Insert),
        }
    }

    /// What the compiler is to know of them.
    pub fn node_options(&self) -> NodeOptions {
        let built_in = Failsafes::default();
        NodeOptions {
            failsafes: Failsafes {
                inbound: self.failsafe_inbound.clone().unwrap_or(built_in.inbound),
                outbound: self.failsafe_outbound.clone().unwrap_or(built_in.outbound),
            },
            drops_pods: self.endpoint_to_host == Some(EndpointToHost::Drop),
        }
    }

    /// The settings that a start takes, of which `running` has others: name, and the value there.
    pub fn awaiting_start(&self, running: &Self) -> BTreeMap<&'static str, String> {
        let pairs = self.rows().into_iter().zip(running.rows());
        let other = pairs.filter(|(now, then)| now.taken == Taken::AtStart && now != then);
        other.map(|(now, then)| (now.name, then.value.unwrap_or_default())).collect()
    }
}

/// What a node's policing depends on besides policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOptions {
    /// The ports that stay open on its host endpoints.
    pub failsafes: Failsafes,
    /// Whether what its pods send to it is dropped, whatever their policies admit.
    pub drops_pods: bool,
}

/// An AgentConfiguration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfiguration {
    /// The nodes that it is for.
    pub scope: SettingsScope,
    /// What it says.
    pub settings: Settings,
}

/// The nodes that an AgentConfiguration is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsScope {
    /// Every one: the object `default`.
    All,
    /// Those with matching labels.
    Selected(Selector),
    /// One: the object `node.<name>`.
    Node(Name),
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody says anything.
    BuiltIn,
    /// The agent's command line, or a variable that stands for a part of it.
    Start,
    /// The AgentConfiguration of this name.
    Object(Name),
    /// The variable for emergencies, which wins over all.
    Emergency,
}

/// The variable whose fields win over every object: those of a `spec`, as YAML.
pub const EMERGENCY_VARIABLE: &str = "BRINDLE_AGENT_CONFIGURATION";

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Start => f.write_str("start"),
            Self::Object(name) => write!(f, "AgentConfiguration {name}"),
            Self::Emergency => f.write_str(EMERGENCY_VARIABLE),
        }
    }
}

/// Settings with a value each, and where each comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The values.
    pub settings: Settings,
    /// By name; what is not here is built in.
    pub origins: BTreeMap<&'static str, Origin>,
}

impl Effective {
    /// Lays the layers upon what is built in; later ones win.
    pub fn of<'a>(layers: impl IntoIterator<Item = (Origin, &'a Settings)>) -> Self {
        let mut settings = Settings::built_in();
        let mut origins = BTreeMap::new();
        for (origin, layer) in layers {
            settings.overlay(layer, |name| {
                origins.insert(name, origin.clone());
            });
        }
        Self { settings, origins }
    }

    /// Where the value of this name comes from.
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::BuiltIn)
    }

    /// Every setting as an agent and `brindlectl` tell it, with what hinders it: `hindered` by name,
    /// else that another one leaves it without effect.
    pub fn reports(&self, hindered: impl Fn(&str) -> Option<String>) -> Vec<SettingReport> {
        let report = |Row { name, taken, value }| SettingReport {
            setting: name.to_owned(),
            value: value.unwrap_or_default(),
            origin: self.origin(name).to_string(),
            live: taken == Taken::Live,
            remark: hindered(name).or_else(|| self.idle(name).map(str::to_owned)),
        };
        self.settings.rows().into_iter().map(report).collect()
    }

    /// Why the value of this name has no effect, if it has none.
    fn idle(&self, name: &str) -> Option<&'static str> {
        let nftables = self.settings.dataplane == Some(Dataplane::Nftables);
        let said = self.origin(name) != Origin::BuiltIn;
        (name == "iptablesJump" && nftables && said)
            .then_some("has no effect: dataplane is Nftables")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(packets: u32) -> Settings {
        Settings { packets_kept: Some(packets), ..Settings::default() }
    }

    #[test]
    fn layers_lie_between_the_start_and_the_emergency() {
        let (start, over) = (kept(7), kept(8));
        let effective = Effective::of([(Origin::Start, &start)]);
        assert_eq!(effective.settings.packets_kept, Some(7));
        assert_eq!(effective.origin("dataplane"), Origin::BuiltIn);
        let effective = Effective::of([(Origin::Start, &start), (Origin::Emergency, &over)]);
        assert_eq!(effective.origin("packetsKept").to_string(), EMERGENCY_VARIABLE);
    }

    #[test]
    fn every_setting_is_built_in_and_some_wait_for_a_start() {
        let built_in = Settings::built_in();
        assert!(built_in.rows().iter().all(|row| row.value.is_some()));
        assert!(built_in.awaiting_start(&built_in).is_empty());
        let wanted = Settings { dataplane: Some(Dataplane::Iptables), ..built_in.clone() };
        let wanted = Settings { packets_kept: Some(1), ..wanted };
        let waiting: Vec<_> = wanted.awaiting_start(&built_in).into_iter().collect();
        assert_eq!(waiting, [("dataplane", "Auto".to_owned())]);
    }

    #[test]
    fn a_place_for_jumps_is_idle_where_there_are_none() {
        let jump = Settings { iptables_jump: Some(IptablesJump::Append), ..Settings::default() };
        let idle = |dataplane| {
            let settings = Settings { dataplane: Some(dataplane), ..jump.clone() };
            Effective::of([(Origin::Start, &settings)]).idle("iptablesJump").is_some()
        };
        assert!(idle(Dataplane::Nftables));
        assert!(!idle(Dataplane::Iptables));
    }
}

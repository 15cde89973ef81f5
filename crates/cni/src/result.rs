//! Results as the specification words them, in each version (1.1.0, "Success"; 0.4.0, "Result").

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde::Serialize;

use crate::protocol::Added;
use crate::version::SpecVersion;

/// The result of ADD.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AddResult {
    cni_version: SpecVersion,
    interfaces: Vec<Interface>,
    ips: Vec<Ip>,
    routes: Vec<Route>,
}

#[derive(Debug, Serialize)]
struct Interface {
    name: String,
    mac: String,
    /// Since 1.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    /// Only of the one in the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<String>,
}

#[derive(Debug, Serialize)]
struct Ip {
    /// `4` or `6`; gone since 1.0.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    address: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    /// Index in `interfaces`.
    interface: usize,
}

#[derive(Debug, Serialize)]
struct Route {
    dst: IpNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
}

impl AddResult {
    /// Words what the agent made, in one version of the specification.
    pub fn new(version: SpecVersion, added: &Added, interface: &str, netns: &Path) -> Self {
        let mtu = (version >= SpecVersion::V1_1_0).then_some(added.mtu);
        let host = Interface {
            name: added.host_interface.clone(),
            mac: added.host_mac.clone(),
            mtu,
            sandbox: None,
        };
        let pod = Interface {
            name: interface.to_owned(),
            mac: added.pod_mac.clone(),
            mtu,
            sandbox: Some(netns.display().to_string()),
        };
        let ip = |addr: &IpAddr| Ip {
            version: (version < SpecVersion::V1_0_0)
                .then(|| if addr.is_ipv4() { "4" } else { "6" }),
            address: IpNet::from(*addr),
            gateway: default_gateway(added, *addr),
            interface: 1,
        };
        let routes = added.routes.iter();
        Self {
            cni_version: version,
            interfaces: vec![host, pod],
            ips: added.addresses.iter().map(ip).collect(),
            routes: routes.map(|r| Route { dst: r.destination, gw: r.gateway }).collect(),
        }
    }
}

fn default_gateway(added: &Added, addr: IpAddr) -> Option<IpAddr> {
    let default = added.routes.iter().filter(|route| route.destination.prefix_len() == 0);
    default.filter_map(|route| route.gateway).find(|gw| gw.is_ipv4() == addr.is_ipv4())
}

//! Addresses and names of a cluster.
//!
//! One Ethernet segment joins the top-of-rack router, the control plane and the nodes. The router
//! alone knows ways beyond it: it learns the pods' blocks by BGP.

use std::fmt;

use clap::ValueEnum;

/// What every namespace, link and control group of a cluster begins with.
pub const PREFIX: &str = "bc-";
/// The namespace of the router.
pub const TOR: &str = "bc-tor";
/// The namespace of the control plane; `kubectl` and the suites run there too.
pub const CONTROL: &str = "bc-control";
/// The domain of the cluster's names.
pub const DOMAIN: &str = "cluster.local";
/// AS number of the router. The nodes have the default one.
pub const TOR_AS: u32 = 64600;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The families of a cluster; of two, IPv4 comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    #[default]
    Dual,
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Dual => "dual",
        })
    }
}

impl Families {
    /// Each of them, the first is the primary one.
    pub fn each(self) -> &'static [Family] {
        match self {
            Self::V4 => &[Family::V4],
            Self::V6 => &[Family::V6],
            Self::Dual => &[Family::V4, Family::V6],
        }
    }

    /// The primary one.
    pub fn primary(self) -> Family {
        self.each()[0]
    }

    /// Something of each family, joined by commas, as Kubernetes' flags want it.
    pub fn list(self, of: impl Fn(Family) -> String) -> String {
        self.each().iter().map(|family| of(*family)).collect::<Vec<_>>().join(",")
    }
}

impl Family {
    /// The router's address on the segment.
    pub fn tor(self) -> String {
        self.on_segment(1)
    }

    /// The control plane's address.
    pub fn control(self) -> String {
        self.on_segment(2)
    }

    /// The address of node `index`, from 1.
    pub fn node(self, index: usize) -> String {
        self.on_segment(10 + index)
    }

    fn on_segment(self, host: usize) -> String {
        match self {
            Self::V4 => format!("10.100.0.{host}"),
            Self::V6 => format!("fd00:100::{host:x}"),
        }
    }

    /// Prefix length of the segment.
    pub fn segment_length(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    /// The pods' range.
    pub fn pods(self) -> &'static str {
        match self {
            Self::V4 => "10.244.0.0/16",
            Self::V6 => "fd00:244::/48",
        }
    }

    /// The services' range.
    pub fn services(self) -> &'static str {
        match self {
            Self::V4 => "10.96.0.0/16",
            Self::V6 => "fd00:96::/112",
        }
    }

    /// The first address of [`Family::services`], the API server's.
    pub fn api_service(self) -> &'static str {
        match self {
            Self::V4 => "10.96.0.1",
            Self::V6 => "fd00:96::1",
        }
    }

    /// The address of the cluster's DNS.
    pub fn dns(self) -> &'static str {
        match self {
            Self::V4 => "10.96.0.10",
            Self::V6 => "fd00:96::a",
        }
    }

    /// The option of `ip` that chooses it.
    pub fn option(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    /// An address as a URL's host.
    pub fn in_url(self, address: &str) -> String {
        match self {
            Self::V4 => address.to_owned(),
            Self::V6 => format!("[{address}]"),
        }
    }
}

/// Name of node `index`, from 1: its Node object and host name.
pub fn node_name(index: usize) -> String {
    format!("node{index}")
}

/// The network namespace of node `index`.
pub fn node_netns(index: usize) -> String {
    format!("{PREFIX}{}", node_name(index))
}

/// The URL of the API server.
pub fn api_url(families: Families) -> String {
    let family = families.primary();
    format!("https://{}:6443", family.in_url(&family.control()))
}
